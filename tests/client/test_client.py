"""Both clients over a transport of httpx: what they send, what they repeat, and what their errors say and hide."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client import errors, protocol, retry
from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.settings import Settings
from tests.client.harness import KEY, QUICK, Both
from tests.client.scripted import ACCEPTED, BODY, CALLS, GOOD, Script


@pytest.mark.parametrize("method", CALLS)
def test_every_endpoint(both: Both, method: str) -> None:
    script = Script(GOOD[method])
    assert both.run(method, *CALLS[method], handler=script) is not None
    (request,) = script.seen
    assert request.headers["accept"] == "application/json"
    assert request.headers["user-agent"].startswith("airflow-provider-apimart/")
    if method == "prices":
        assert str(request.url) == "https://apimart.ai/api/pricing/models/all"
        assert "authorization" not in request.headers
        assert KEY not in str(request.headers.raw)
    else:
        assert request.url.host == "api.apimart.ai"
        assert request.headers["authorization"] == f"Bearer {KEY}"


def test_prices_of_another_host_are_beside_its_api(both: Both) -> None:
    script = Script(GOOD["prices"])
    both.run("prices", handler=script, base_url="https://gateway.corp/apimart/v1")
    assert str(script.seen[0].url) == "https://gateway.corp/apimart/api/pricing/models/all"
    assert "authorization" not in script.seen[0].headers


def test_a_base_path_is_kept(both: Both) -> None:
    script = Script(GOOD["generation"])
    both.run("generation", "a/b", handler=script, base_url="https://gateway.corp/apimart")
    assert script.seen[0].url.raw_path == b"/apimart/v1/tasks/a%2Fb?language=en"


def test_upload_is_one_file(both: Both) -> None:
    script = Script(GOOD["upload_image"])
    both.run("upload_image", 'a"b\n.png', b"\x89PNG", "image/png", handler=script)
    (request,) = script.seen
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert request.content.count(b"Content-Disposition") == 1
    assert b'name="file"; filename="a%22b%0A.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n' in request.content


@pytest.mark.parametrize("failure", [(500, {}), (429, {}), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
@pytest.mark.parametrize("version", [None, "2026-07-27"])
def test_a_repeat_is_the_same_to_the_byte(both: Both, failure: Any, version: str | None) -> None:
    script = Script(failure, failure, ACCEPTED)
    settings = Settings(KEY, response_version=version)
    assert both.run("submit", *CALLS["submit"], handler=script, settings=settings).generation_id == "task_1"
    assert len(script.seen) == 3
    assert len({request.content for request in script.seen}) == 1
    assert {request.headers["idempotency-key"] for request in script.seen} == {"key-1"}
    assert {request.headers.get("x-apimart-response-version") for request in script.seen} == {version}
    assert len({str(sorted(request.headers.items())) for request in script.seen}) == 1


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 302])
def test_terminal_errors_are_sent_once(both: Both, method: str, status: int) -> None:
    script = Script((status, {"error": {"message": "m"}}))
    with pytest.raises(ApimartError) as caught:
        both.run(method, *CALLS[method], handler=script)
    assert len(script.seen) == 1
    assert caught.value.terminal


@pytest.mark.parametrize("code", ["idempotency_key_reused", "idempotency_result_indeterminate", "something_else"])
def test_conflicts_stop_at_once(both: Both, code: str) -> None:
    script = Script((409, {"error": {"code": code, "message": "m"}}))
    with pytest.raises(ApimartError):
        both.run("submit", *CALLS["submit"], handler=script)
    assert len(script.seen) == 1


UNKNOWN = [(500, {}), (502, {}), (504, {}), {"code": 200, "data": []}, httpx.ReadTimeout("x"), httpx.WriteError("x")]
NOT_DONE = [
    (429, {}),
    (503, {"error": {"code": "idempotency_unavailable"}}),
    httpx.ConnectError("x"),
    httpx.PoolTimeout("x"),
]


@pytest.mark.parametrize("failure", UNKNOWN, ids=repr)
@pytest.mark.parametrize(("method", "options"), [("submit", {"resend_unknown": False}), ("upload_image", {})])
def test_unknown_outcomes_without_a_trusted_key_are_not_repeated(
    both: Both, failure: Any, method: str, options: dict[str, Any]
) -> None:
    script = Script(failure)
    with pytest.raises(ApimartError):
        both.run(method, *CALLS[method], handler=script, **options)
    assert len(script.seen) == 1


@pytest.mark.parametrize("failure", NOT_DONE, ids=repr)
@pytest.mark.parametrize("method", CALLS)
def test_what_was_not_done_is_repeated(both: Both, failure: Any, method: str) -> None:
    script = Script(failure, GOOD[method])
    both.run(method, *CALLS[method], handler=script)
    assert len(script.seen) == 2


def test_in_progress_is_repeated_even_without_trust_in_the_key(both: Both) -> None:
    row = (409, {"error": {"code": "idempotency_in_progress"}})
    script = Script(row, row, ACCEPTED)
    both.run("submit", *CALLS["submit"], handler=script, resend_unknown=False)
    assert len(script.seen) == 3


def test_without_repeats_a_call_is_sent_once(both: Both) -> None:
    script = Script((500, {}))
    with pytest.raises(errors.ServerError):
        both.run("send", protocol.generation("task_1"), handler=script, repeat=False)
    assert len(script.seen) == 1


def test_no_wait_beyond_the_budget(both: Both) -> None:
    script = Script(httpx.Response(429, headers={"Retry-After": "3600"}))
    with pytest.raises(errors.RateLimitError) as caught:
        both.run("generation", "task_1", handler=script)
    assert len(script.seen) == 1
    assert caught.value.retry_after_seconds == 3600


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("x"), (502, {})], ids=repr)
def test_a_machine_that_was_suspended_does_not_resend_a_paid_call_under_a_forgotten_key(
    both: Both, monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    days = count()
    monkeypatch.setattr(retry, "_wall", lambda: 1_790_000_000.0 + 86_400.0 * next(days))
    script = Script(failure, ACCEPTED)
    with pytest.raises(ApimartError) as caught:
        both.run("submit", *CALLS["submit"], handler=script)
    assert len(script.seen) == 1
    assert caught.value.charge is Charge.UNKNOWN


# --- what an error says about the money ---


DOUBTS = [
    *UNKNOWN,
    (409, {"error": {"code": "idempotency_in_progress", "message": "m"}}),
]
DENIALS = [
    (402, {}),
    (401, {}),
    (400, {}),
    (429, {}),
    (409, {"error": {"code": "idempotency_key_reused"}}),
    httpx.ConnectError("x"),
]


@pytest.mark.parametrize("first", DOUBTS, ids=repr)
@pytest.mark.parametrize("then", DENIALS, ids=repr)
def test_a_doubt_outlives_a_later_denial(both: Both, first: Any, then: Any) -> None:
    script = Script(first, then)
    with pytest.raises(ApimartError) as caught:
        both.run("submit", *CALLS["submit"], handler=script)
    assert caught.value.charge is Charge.UNKNOWN
    assert type(caught.value).charge is Charge.NO, "the class is left as it is"


@pytest.mark.parametrize("row", DENIALS, ids=repr)
def test_a_denial_alone_is_believed(both: Both, row: Any) -> None:
    with pytest.raises(ApimartError) as caught:
        both.run("submit", *CALLS["submit"], handler=Script(row))
    assert caught.value.charge is Charge.NO


@pytest.mark.parametrize("row", UNKNOWN, ids=repr)
@pytest.mark.parametrize("resend", [True, False])
def test_a_doubt_alone_is_a_doubt(both: Both, row: Any, resend: bool) -> None:
    with pytest.raises(ApimartError) as caught:
        both.run("submit", *CALLS["submit"], handler=Script(row), resend_unknown=resend)
    assert caught.value.charge is Charge.UNKNOWN


@pytest.mark.parametrize("row", [*UNKNOWN, *DENIALS], ids=repr)
@pytest.mark.parametrize("method", sorted(set(CALLS) - {"submit"}))
def test_what_costs_nothing_leaves_no_doubt(both: Both, row: Any, method: str) -> None:
    if method == "generation" and row == {"code": 200, "data": []}:
        row = {"code": 200, "data": None}
    if method == "models" and isinstance(row, dict):
        row = {"data": None}
    with pytest.raises(ApimartError) as caught:
        both.run(method, *CALLS[method], handler=Script(row))
    assert caught.value.charge is Charge.NO


# --- limits and ends ---


def test_a_longer_timeout_of_the_connection_counts(both: Both) -> None:
    script = Script(httpx.ReadTimeout("x"))
    settings = Settings(KEY, read_timeout_seconds=300)
    with pytest.raises(errors.ApimartTimeoutError, match="within 300 s"):
        both.run("generation", "task_1", handler=script, settings=settings)
    assert script.seen[0].extensions["timeout"] == {"connect": 10.0, "read": 300, "write": 300, "pool": 300}


@pytest.mark.parametrize(("given", "last"), [(None, 15.0), (300, 300.0), (5, 15.0)])
def test_the_time_of_a_whole_call_follows_the_timeout(given: float | None, last: float) -> None:
    with ApimartClient(Settings(KEY, read_timeout_seconds=given)) as client:
        assert client._seconds(protocol.key_balance()) == last


def test_closed_is_closed() -> None:
    client = ApimartClient(Settings(KEY), QUICK, httpx.MockTransport(Script(GOOD["models"])))
    client.models()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.models()


def test_cancelling_an_async_call_is_not_an_error_of_ours() -> None:
    async def forever(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> None:
        async with AsyncApimartClient(Settings(KEY), QUICK, httpx.MockTransport(forever)) as client:
            task = asyncio.create_task(client.submit(BODY, "key-1"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
