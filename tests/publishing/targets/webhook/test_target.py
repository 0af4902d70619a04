"""The webhook target by itself: signatures, messages, what it asks and what it says. No network."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from airflow_provider_apimart.client.errors import ConfigurationError, LandingError
from airflow_provider_apimart.publishing.errors import PostRejectedError
from airflow_provider_apimart.publishing.exchange import Exchange, Reply
from airflow_provider_apimart.publishing.post import Post, VideoFile
from airflow_provider_apimart.publishing.target import Drafted, DraftState
from airflow_provider_apimart.publishing.targets.webhook.message import MAX_BODY_BYTES, VIDEO_FACTS
from airflow_provider_apimart.publishing.targets.webhook.settings import WebhookSettings
from airflow_provider_apimart.publishing.targets.webhook.target import WebhookTarget, signature, skew_of

T = TypeVar("T")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VIDEO = VideoFile("s3://c@b/folder/clip one.mp4", 7, "ab" * 32, 8.0, 720, 1280, True, "gen-1")
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MARKER = "apm-0123456789abcdef"


def target(
    link: Any = lambda lifetime: f"https://b.example/clip.mp4?life={lifetime.total_seconds():g}",
) -> WebhookTarget:
    return WebhookTarget(WebhookSettings("https://hooks.example.com/x", (SECRET,)), link, lambda: NOW)


def post(payload: Any = None, *, include_url: bool = True, seconds: float = 3600.0) -> Post:
    content = {"payload": payload, "include_url": include_url, "url_expires_seconds": seconds}
    return Post("webhook", VIDEO, content)


def result(exchange: Exchange[T]) -> T:
    """Run an exchange that sends nothing."""
    try:
        next(exchange)
    except StopIteration as stop:
        found: T = stop.value
        return found
    raise AssertionError("it sends something")


def message(*arguments: Any, **more: Any) -> Any:
    drafted = result(target().start(post(*arguments, **more), MARKER))
    assert isinstance(drafted, Drafted) and drafted.message is not None
    return json.loads(drafted.message)


def test_the_specifications_own_example() -> None:
    keys = WebhookSettings("https://hooks.example.com/x", (SECRET,)).keys
    signed = signature(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64), st.text(max_size=50))
def test_every_signature_is_what_the_package_makes(key: bytes, text: str) -> None:
    body = json.dumps(text)
    now = datetime.now(UTC)
    secret = "whsec_" + base64.b64encode(key).decode()
    signed = signature(
        WebhookSettings("https://h.example.com", (secret,)).keys, MARKER, int(now.timestamp()), body.encode()
    )
    assert signed == Webhook(secret).sign(MARKER, now, body)


def test_facts_stand_in_their_places_with_their_types() -> None:
    found = message(
        {name: {"$video": name} for name in VIDEO_FACTS} | {"post": [{"$post": "id"}, {"$post": "created_at"}]}
    )
    assert found.pop("post") == [MARKER, "2026-11-26T12:00:00Z"]
    assert found.pop("all") == found
    assert found == {
        "url": "https://b.example/clip.mp4?life=3600",
        "url_expires_at": "2026-11-26T13:00:00Z",
        "name": "clip one.mp4",
        "path": VIDEO.uri,
        "bytes": 7,
        "sha256": VIDEO.sha256,
        "duration_seconds": 8.0,
        "width": 720,
        "height": 1280,
        "has_audio": True,
        "generation_id": "gen-1",
    }


@pytest.mark.parametrize(
    "data",
    [
        "{$video}",
        "{{ video.url }}",
        "{url}",
        '{"$video": "url"}',
        {"$video": "url", "b": 1},
        {"$vid": "url"},
        {"url": {}},
    ],
)
def test_what_is_no_place_is_data(data: Any) -> None:
    assert message({"data": data}) == {"data": data}


def test_a_message_without_a_link_makes_none() -> None:
    def never(lifetime: timedelta) -> str:
        raise AssertionError("no link is wanted")

    silent = target(never)
    for one in (
        post({"sum": {"$video": "sha256"}}),
        post(include_url=False),
        post({"a": {"$video": "all"}}, include_url=False),
    ):
        assert silent.problems(one) == []
        drafted = result(silent.start(one, MARKER))
        assert isinstance(drafted, Drafted) and drafted.draft_id == MARKER


def test_a_link_that_is_named_but_not_wanted_is_a_problem() -> None:
    (problem,) = target().problems(post({"media": {"$video": "url"}}, include_url=False))
    assert problem.field == "include_url"


def test_a_storage_that_cannot_sign_is_a_problem_and_one_that_does_not_answer_is_none() -> None:
    def fails(error: Exception) -> Any:
        def link(lifetime: timedelta) -> str:
            raise error

        return link

    (problem,) = target(fails(ConfigurationError("a disk"))).problems(post())
    assert "a disk" in problem.allowed and "include_url=False" in problem.allowed
    assert target(fails(LandingError("no answer"))).problems(post()) == []


def test_a_message_that_the_facts_make_too_long_is_not_sent() -> None:
    long = {"text": "x" * (MAX_BODY_BYTES - 300), "media": {"$video": "all"}}
    assert target().problems(post(long)) == []
    with pytest.raises(PostRejectedError, match=r"20,\d\d\d bytes.*Nothing was sent"):
        result(target().start(post(long), MARKER))


@pytest.mark.parametrize(("seconds", "state"), [(3600, DraftState.READY), (0, DraftState.EXPIRED)])
def test_a_draft_knows_when_its_link_dies(seconds: float, state: DraftState) -> None:
    drafted = result(target().start(post(seconds=seconds), MARKER))
    assert isinstance(drafted, Drafted)
    assert result(target().ask(drafted.draft_id, None, None)).state is state
    assert result(target().ask(drafted.draft_id, MARKER, None)).state is DraftState.PUBLIC


def test_skew_is_read_from_the_date() -> None:
    reply = Reply(200, {"date": "Thu, 26 Nov 2026 12:10:00 GMT"}, b"")
    assert skew_of(reply, NOW) == timedelta(minutes=10)
    assert skew_of(Reply(200, {}, b""), NOW) is None
