"""The reading of every sample of the contract, and the building of every request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import Charge
from airflow_provider_apimart.client.protocol import Call, Repeat, Reply
from tests.client import sample_errors, sample_tasks, samples
from tests.client.samples import ULID, Answer, Refusal

KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"


def read(call: Call[Any], sample: Answer | Refusal, secret: str = KEY) -> Any:
    headers = {name.lower(): value for name, value in sample.headers.items()}
    return call.read(Reply(sample.status, headers, sample.content, secret))


def named(rows: list[Any]) -> Any:
    return pytest.mark.parametrize("sample", rows, ids=lambda row: row.name)


def check(found: Any, wanted: dict[str, Any]) -> None:
    assert {name: getattr(found, name) for name in wanted} == wanted


SUBMIT = protocol.submit({"prompt": "x"}, "key-1")
STATUS = protocol.generation(ULID)
UPLOAD = protocol.upload("a.png", b"", "image/png")
ENDPOINTS = {
    "submit": SUBMIT,
    "status": STATUS,
    "upload": UPLOAD,
    "key balance": protocol.key_balance(),
    "account balance": protocol.account_balance(),
    "models": protocol.models(),
    "prices": protocol.prices(),
}


@named(samples.SUBMISSIONS)
def test_submission(sample: Answer) -> None:
    check(read(SUBMIT, sample), sample.wanted)


@named(samples.NO_ID)
def test_accepted_without_an_id_is_unknown(sample: Answer) -> None:
    with pytest.raises(errors.MissingTaskIdError) as caught:
        read(SUBMIT, sample)
    assert caught.value.charge is Charge.UNKNOWN
    assert caught.value.status == sample.status


@named(sample_tasks.TASKS)
def test_task(sample: Answer) -> None:
    found = read(STATUS, sample)
    wanted = dict(sample.wanted)
    if "urls" in wanted:
        assert [video.url for video in found.videos] == wanted.pop("urls")
    if "expires" in wanted:
        assert [video.expires_at for video in found.videos] == wanted.pop("expires")
    check(found, wanted)
    assert found.generation_id == ULID, "records are kept under the id that was asked for"


@pytest.mark.parametrize(("word", "status"), sample_tasks.STATUSES.items())
def test_status_words(word: str, status: str) -> None:
    found = read(STATUS, Answer("3.3", {"data": {"status": word}}))
    assert found.status == status
    assert found.is_final is (status in ("completed", "failed"))
    assert found.raw_status == word


@named(sample_tasks.NO_TASK)
def test_no_task_is_no_verdict(sample: Answer) -> None:
    with pytest.raises(errors.ApimartError) as caught:
        read(STATUS, sample)
    assert not caught.value.terminal


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@named(sample_errors.REFUSALS)
def test_refusals_of_every_endpoint(endpoint: str, sample: Refusal) -> None:
    with pytest.raises(errors.ApimartError) as caught:
        read(ENDPOINTS[endpoint], sample)
    found = caught.value
    assert type(found) is sample.kind
    assert (found.charge, found.terminal) == (sample.charge, sample.terminal)
    # Behind HTTP 200 the status is the envelope's.
    check(found, {**({"status": sample.status} if sample.status != 200 else {}), **sample.wanted})
    assert found.message


@named(samples.UPLOADS)
def test_upload(sample: Answer) -> None:
    check(read(UPLOAD, sample), sample.wanted)


@named(sample_errors.UPLOAD_REFUSALS)
def test_upload_refusals(sample: Refusal) -> None:
    with pytest.raises(sample.kind) as caught:
        read(UPLOAD, sample)
    assert type(caught.value) is sample.kind
    check(caught.value, sample.wanted)


@pytest.mark.parametrize("call", [protocol.key_balance(), protocol.account_balance()], ids=["key", "account"])
@named(samples.BALANCES)
def test_balance(sample: Answer, call: Call[Any]) -> None:
    check(read(call, sample), sample.wanted)


@named(samples.NO_BALANCE)
def test_no_balance_is_not_an_unknown_amount(sample: Answer) -> None:
    with pytest.raises(errors.ResponseError):
        read(protocol.key_balance(), sample)


@named(samples.MODEL_LISTS)
def test_models(sample: Answer) -> None:
    assert [model.id for model in read(protocol.models(), sample)] == sample.wanted["ids"]


def test_prices() -> None:
    found = read(protocol.prices(), Answer("8.4", samples.PRICES))
    assert [(price.model, price.unit, price.key, price.usd) for price in found] == [
        ("veo3.1-fast-official", "usd_per_second", "720p", 0.064),
        ("veo3.1-lite", "usd_per_call", "", 0.07),
    ]


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": []}, {"data": {"models": {"video": {}}}}])
def test_no_price_list(body: Any) -> None:
    with pytest.raises(errors.ResponseError):
        read(protocol.prices(), Answer("8.4", body))


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"id": "a"}}, {"data": "a"}])
def test_no_model_list(body: Any) -> None:
    with pytest.raises(errors.ResponseError):
        read(protocol.models(), Answer("3.7", body))


# --- the key in what the server says ---


@pytest.mark.parametrize("before", [*range(40, 82), *range(960, 1002)])
@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_a_cut_leaves_no_part_of_the_key(status: int, before: int) -> None:
    text = "x" * before + KEY
    json_body = {"error": {"message": text, "code": text, "type": text}, "request_id": text}
    for body in (text, json_body):
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        headers = {"location": "y" * before + text, "x-oneapi-request-id": "z" * before + text}
        with pytest.raises(errors.ApimartError) as caught:
            STATUS.read(Reply(status, headers, content, KEY))
        shown = f"{caught.value} {caught.value.__dict__} {caught.value.args}"
        assert KEY[:4] not in shown


def test_a_failed_task_that_echoes_the_key() -> None:
    task = {"status": f"failed {KEY}", "error": {"message": f"bad key {KEY}", "code": KEY}}
    assert KEY not in repr(read(STATUS, Answer("", {"data": task})))
    task["status"] = "failed"
    found = read(STATUS, Answer("", {"data": task}))
    assert (found.error_message, found.error_code) == ("bad key ***", "***")
    assert KEY not in repr(found)


def test_a_short_key_does_not_damage_a_video() -> None:
    answer = Answer("", {"data": {"status": "completed", "result": {"url": "https://a.org/video.mp4"}}})
    assert read(STATUS, answer, "e").videos[0].url == "https://a.org/video.mp4"


def test_the_reply_does_not_show_the_key() -> None:
    assert KEY not in repr(Reply(200, {}, KEY.encode(), KEY))


# --- requests ---


def test_submission_as_sent() -> None:
    body = {"prompt": "강아지 🐕", "model": "m", "duration": 8}
    call = protocol.submit(body, "k" * 191)
    assert (call.method, call.path, call.repeat) == ("POST", "/v1/videos/generations", Repeat.WITH_SAME_KEY)
    assert call.headers == {"Idempotency-Key": "k" * 191, "Content-Type": "application/json"}
    assert call.content == '{"duration":8,"model":"m","prompt":"강아지 🐕"}'.encode()
    assert call.may_cost
    assert call.timeout_seconds == 45


def test_the_same_body_is_the_same_bytes() -> None:
    one, other = {"a": 1, "b": {"x": 1, "y": 2}}, {"b": {"y": 2, "x": 1}, "a": 1}
    assert protocol.encode_body(one) == protocol.encode_body(other)


def test_submission_options() -> None:
    call = protocol.submit({}, "k", resend_unknown=False, response_version="2026-07-27")
    assert call.repeat is Repeat.IF_NOT_DONE
    assert call.headers["X-APIMart-Response-Version"] == "2026-07-27"


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 192, "ключ", "a\n", "a\x7f", None, 7])
def test_keys_that_are_none(key: Any) -> None:
    with pytest.raises(errors.InvalidParameterError, match="idempotency_key=") as caught:
        protocol.submit({}, key)
    assert caught.value.charge is Charge.NO


@pytest.mark.parametrize(
    "body", [{"a": float("nan")}, {"a": "\ud800"}, {"a": {1: 2, "b": 3}}, {"a": object()}, {"a": {"s"}}]
)
def test_bodies_that_are_no_json(body: Any) -> None:
    with pytest.raises(errors.InvalidParameterError, match="body="):
        protocol.submit(body, "k")


@pytest.mark.parametrize(
    ("generation_id", "path"),
    [
        (ULID, f"/v1/tasks/{ULID}"),
        ("a/b?c#d%e é", "/v1/tasks/a%2Fb%3Fc%23d%25e%20%C3%A9"),
        ("..", "/v1/tasks/%2E%2E"),
        (".", "/v1/tasks/%2E"),
        ("a..b", "/v1/tasks/a..b"),
    ],
)
def test_task_paths(generation_id: str, path: str) -> None:
    call = protocol.generation(generation_id)
    assert (call.method, call.path, call.params) == ("GET", path, {"language": "en"})
    assert not call.may_cost


@pytest.mark.parametrize("generation_id", ["", "x" * 256, "a\ud800", None, 5])
def test_ids_that_are_none(generation_id: Any) -> None:
    with pytest.raises(errors.InvalidParameterError, match="generation_id="):
        protocol.generation(generation_id)


def test_upload_as_sent() -> None:
    call = protocol.upload("a\udcff.png", b"png", "image/png")
    assert call.file == ("a?.png", b"png", "image/png")
    assert (call.method, call.path, call.repeat) == ("POST", "/v1/uploads/images", Repeat.IF_NOT_DONE)
    assert not call.may_cost
    assert call.timeout_seconds == 120


def test_reads() -> None:
    assert protocol.key_balance().path == "/v1/balance"
    assert protocol.account_balance().path == "/v1/user/balance"
    assert protocol.models().path == "/v1/models"
    assert protocol.prices("https://apimart.ai").path == "https://apimart.ai/api/pricing/models/all"
    for name in ("status", "key balance", "account balance", "models", "prices"):
        call = ENDPOINTS[name]
        assert (call.method, call.repeat, call.may_cost) == ("GET", Repeat.FREELY, False)
        assert call.timeout_seconds == 15
        assert call.authenticated is (name != "prices")
