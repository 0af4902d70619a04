"""Whatever comes: only our errors come out, readers never raise, and a request without problems can be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import ApimartError, InvalidParameterError
from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.models import Balance, Generation
from airflow_provider_apimart.client.protocol import Reply, retry_after
from airflow_provider_apimart.client.readers import read_number, read_text, read_time
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.settings import Settings

KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
CALLS = [
    protocol.submit({"prompt": "x"}, "key-1"),
    protocol.generation("task_1"),
    protocol.upload("a.png", b"", "image/png"),
    protocol.key_balance(),
    protocol.account_balance(),
    protocol.models(),
    protocol.prices(),
]
NAMES = [
    "code", "data", "error", "message", "type", "status", "id", "task_id", "result", "videos", "url", "video_url",
    "expires_at", "progress", "cost", "credits_cost", "created", "completed", "success", "remain_balance",
    "remain_credits", "unlimited_quota", "models", "video", "fixed_prices", "items", "after_discount", "key", "unit",
    "task_info", "estimated_time", "request_id", "bytes", "filename", "error_message",
]  # fmt: skip
WORDS = [
    "completed", "failed", "submitted", "https://a.org/b.mp4", "http://[", "1", "-1", "NaN", "1e999", "0.1234", "true",
    "idempotency_in_progress", "\ud800", KEY, "token not found", "", " ", "٣",
]  # fmt: skip
ANY_TEXT = st.sampled_from(WORDS) | st.text(st.characters(codec=None), max_size=20)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 253402300799000, 1e11, 402, 200])
SCALARS = st.none() | st.booleans() | NUMBERS | ANY_TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, inner, max_size=8),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
# The same examples in every run: a finding is for whoever changes the code, not for whoever runs the tests next.
many = settings(
    max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def answer(call: protocol.Call[Any], reply: Reply) -> Any:
    """Read an answer: a result, or one of our errors that shows no key."""
    try:
        return call.read(reply)
    except ApimartError as error:
        assert KEY not in f"{error} {error!r} {error.__dict__}"
        str(errors.details(error)).encode()
        str(error).encode()
        return None


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.path)
@many
@given(
    value=VALUES | OBJECTS | st.builds(lambda data: {"code": 200, "data": data}, OBJECTS), status=st.integers(100, 599)
)
def test_any_json(call: protocol.Call[Any], value: Any, status: int) -> None:
    content = json.dumps(value).encode()
    for code in (200, status):
        found = answer(call, Reply(code, {"retry-after": "1"}, content, KEY))
        # Results are logged and stored: they must be text to the last character.
        repr(found).encode()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.path)
@many
@given(content=st.binary(max_size=60), status=st.integers(100, 599))
def test_any_bytes(call: protocol.Call[Any], content: bytes, status: int) -> None:
    answer(call, Reply(status, {}, content, KEY))


@many
@given(
    headers=st.dictionaries(st.sampled_from(["retry-after", "x-oneapi-request-id", "location"]), ANY_TEXT),
    status=st.integers(300, 599),
)
def test_any_headers(headers: dict[str, str], status: int) -> None:
    answer(CALLS[0], Reply(status, headers, b"{}", KEY))
    seconds = retry_after(headers)
    assert seconds is None or seconds >= 0


@many
@given(data=OBJECTS, status=st.sampled_from(["completed", "failed", "processing"]) | SCALARS)
def test_any_task(data: dict[str, Any], status: Any) -> None:
    found = Generation.read({**data, "status": status}, "task_1")
    assert found.generation_id == "task_1"
    assert found.progress is None or 0 <= found.progress <= 100
    assert found.videos == () or found.status == "completed"
    # It crosses processes as JSON.
    assert Generation.model_validate_json(found.model_dump_json()) == found


@many
@given(data=OBJECTS)
def test_any_balance(data: dict[str, Any]) -> None:
    assert Balance.read(data).remaining_usd is None or not Balance.read(data).unlimited


@many
@given(value=VALUES)
def test_readers(value: Any) -> None:
    number, text = read_number(value), read_text(value)
    assert number is None or abs(number) < float("inf")
    read_time(value)
    (text or "").encode()


# --- requests ---


FIELDS = st.sampled_from([*VeoRequest.FIELDS, "nonsense", ""])
GOOD = {
    "prompt": ["a dog", "🐕"],
    "model": [*MODELS, "veo4"],
    "negative_prompt": ["blur", "", None],
    "duration": [4, 6, 8, "8", None],
    "aspect_ratio": ["16:9", "9:16", None],
    "resolution": ["720p", "1080p", "4K", "4k", None],
    "first_frame_image": ["https://a.org/b.png", "asset://x", "b.png", None],
    "last_frame_image": ["https://a.org/c.png", None],
    "seed": [0, "7", 4294967295, None],
    "sample_count": [1, 4, None],
    "generate_audio": [True, False, "true", None],
    "person_generation": ["allow_adult", "disallow", None],
    "resize_mode": ["pad", "crop", None],
    "enhance_prompt": [True, None],
    "extra_body": [{"new": [1, {"a": None}]}, {"duration": 10}, {}, None],
}
PLAUSIBLE = st.fixed_dictionaries(
    {"prompt": st.sampled_from(GOOD["prompt"])},
    optional={name: st.sampled_from(values) for name, values in GOOD.items() if name != "prompt"},
)
REQUESTS = st.builds(
    lambda good, odd: {**good, **odd}, PLAUSIBLE, st.just({}) | st.dictionaries(FIELDS, VALUES, max_size=2)
) | st.dictionaries(FIELDS, VALUES, max_size=6)


@settings(many, max_examples=400)
@given(values=REQUESTS)
def test_requests(values: dict[str, Any]) -> None:
    problems = VeoRequest.problems(values)
    if problems:
        with pytest.raises(InvalidParameterError) as caught:
            VeoRequest.checked(values)
        assert caught.value.problems == tuple(problems) or "nan" in repr(values)
        str(caught.value).encode()
        return
    request = VeoRequest.checked(values)
    body = request.body(dict.fromkeys(request.local_images, "https://up.org/1"))
    written = json.loads(protocol.encode_body(body))
    assert written == body
    assert "duration" not in written or type(written["duration"]) is int
    assert (
        None
        not in {name: value for name, value in written.items() if name not in (values.get("extra_body") or {})}.values()
    )
    assert all(isinstance(note, str) for note in request.notes())


@many
@given(values=st.dictionaries(FIELDS, VALUES, max_size=8), unknown=st.sets(FIELDS))
def test_templates(values: dict[str, Any], unknown: set[str]) -> None:
    problems = VeoRequest.problems(values, unknown)
    assert not {problem.field for problem in problems} & (unknown & set(VeoRequest.FIELDS))


@many
@given(key=ANY_TEXT, host=ANY_TEXT | st.sampled_from(["localhost", "a.b", "[::1]:80", "http://a", "https://é.b:8"]))
def test_settings(key: str, host: str) -> None:
    try:
        found = Settings(key, host)
    except ApimartError:
        return
    assert found.base_url.startswith(("http://", "https://"))
    assert Settings(found.api_key, found.base_url, allow_http=True) == Settings(found.api_key, host, allow_http=True)
