"""Both clients over a transport of httpx: what they send, what they repeat, and what their errors say and hide."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import traceback
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.settings import Settings
from tests.client.harness import KEY, QUICK, Both

BODY = {"model": "veo3.1-fast-official", "prompt": "강아지 🐕", "duration": 8}
ACCEPTED = {"code": 200, "data": [{"status": "submitted", "task_id": "task_1"}]}
CALLS: dict[str, tuple[Any, ...]] = {
    "submit": (BODY, "key-1"),
    "generation": ("task_1",),
    "upload_image": ("a.png", b"png", "image/png"),
    "key_balance": (),
    "account_balance": (),
    "models": (),
    "prices": (),
}
GOOD: dict[str, Any] = {
    "submit": ACCEPTED,
    "generation": {"code": 200, "data": {"id": "task_1", "status": "processing"}},
    "upload_image": {"url": "https://getapib.org/f/image/a.png"},
    "key_balance": {"remain_balance": 1},
    "account_balance": {"remain_balance": 1},
    "models": {"data": []},
    "prices": {"data": {"models": {"video": []}}},
}


class Script:
    """Answers with the rows of a script, one by one (the last again and again), and keeps what was asked."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        row = self.rows[min(len(self.seen), len(self.rows)) - 1]
        if isinstance(row, Exception):
            raise row
        if isinstance(row, httpx.Response):
            return row
        status, body = row if isinstance(row, tuple) else (200, row)
        return httpx.Response(status, json=body)


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


# --- the key ---


ECHO = f"Authorization: Bearer {KEY}"
ECHOES = {
    "json": lambda: httpx.Response(401, json={"error": {"message": ECHO, "code": KEY, "type": KEY}, "request_id": KEY}),
    "escaped": lambda: httpx.Response(
        400, content=b'{"error":{"message":"%s"}}' % KEY.replace("-", "\\u002d").encode()
    ),
    "text": lambda: httpx.Response(502, text=ECHO),
    "cut": lambda: httpx.Response(502, text="x" * 60 + KEY),
    "200": lambda: httpx.Response(200, text=ECHO),
    "header": lambda: httpx.Response(429, headers={"X-Oneapi-Request-Id": KEY, "Retry-After": KEY}),
    "location": lambda: httpx.Response(302, headers={"Location": f"https://evil.example/?{KEY}"}),
    "bad location": lambda: httpx.Response(302, headers={"Location": f"https://[{KEY}"}),
    "encoding": lambda: httpx.Response(200, headers={"Content-Encoding": KEY}),
    "exception": lambda: httpx.ReadError(f"failed with {KEY}"),
    "connect": lambda: httpx.ConnectError(f"failed with {KEY}"),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("method", ["submit", "generation", "upload_image", "key_balance"])
def test_the_key_is_in_no_error_and_no_log(
    both: Both, echo: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ApimartError) as caught:
        both.run(method, *CALLS[method], handler=Script(ECHOES[echo]()))
    error = caught.value
    told = [str(error), repr(error), str(error.args), str(error.__dict__), str(errors.details(error))]
    told += traceback.format_exception(error)
    told += [f"{record.getMessage()} {record.args} {record.exc_info}" for record in caplog.records]
    assert KEY not in "\n".join(told)


@pytest.mark.parametrize("make", [ApimartClient, AsyncApimartClient])
def test_the_key_is_in_no_repr(make: Any) -> None:
    client = make(Settings(KEY))
    assert KEY not in f"{client!r} {client.settings!r} {vars(client)}"
    asyncio.run(client.aclose()) if make is AsyncApimartClient else client.close()


def test_a_redirect_takes_nothing_along(both: Both) -> None:
    script = Script(httpx.Response(307, headers={"Location": "https://evil.example/"}))
    with pytest.raises(errors.RedirectError, match="evil"):
        both.run("submit", *CALLS["submit"], handler=script)
    assert [request.url.host for request in script.seen] == ["api.apimart.ai"]


# --- bodies ---


@pytest.mark.parametrize(
    "content_type", ["text/html", "application/octet-stream", "", "application/json; charset=latin-1"]
)
def test_the_content_type_is_not_believed(both: Both, content_type: str) -> None:
    answer = httpx.Response(200, content=b'{"data":[{"task_id":"task_1"}]}', headers={"Content-Type": content_type})
    assert both.run("submit", *CALLS["submit"], handler=Script(answer)).generation_id == "task_1"


def test_gzip_is_read(both: Both) -> None:
    stream = httpx.ByteStream(gzip.compress(b'{"data":[{"task_id":"task_1"}]}'))
    answer = httpx.Response(200, stream=stream, headers={"Content-Encoding": "gzip"})
    assert both.run("submit", *CALLS["submit"], handler=Script(answer)).generation_id == "task_1"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_packed_as_it_says(both: Both, encoding: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"{} not packed"), headers={"Content-Encoding": encoding})

    with pytest.raises(errors.OutcomeUnknownError):
        both.run("generation", "task_1", handler=answer)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip,br", "compress", "x"])
def test_other_packings_are_refused_unread(both: Both, encoding: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "gzip, deflate"
        return httpx.Response(200, stream=Forbidden(), headers={"Content-Encoding": encoding})

    with pytest.raises(errors.ResponseError, match="compressed"):
        both.run("generation", "task_1", handler=answer)


class Forbidden(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self) -> Any:
        raise AssertionError("read")

    def __aiter__(self) -> Any:
        raise AssertionError("read")


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, chunk: bytes, most: int) -> None:
        self.chunk, self.most, self.sent = chunk, most, 0

    def __iter__(self) -> Any:
        while self.sent < self.most:
            self.sent += 1
            yield self.chunk

    async def __aiter__(self) -> Any:
        for chunk in self:
            yield chunk


def test_a_bomb_is_left_when_it_is_too_large(both: Both) -> None:
    # 200 gzip members of 1 MiB each; reading stops at 32 MiB.
    streams: list[Chunks] = []

    def answer(request: httpx.Request) -> httpx.Response:
        packer, out = gzip.compress(b" " * 1024 * 1024 * 40, compresslevel=6), io.BytesIO()
        out.write(packer)
        data = out.getvalue()
        streams.append(Chunks(data[:1024], 1))
        pieces = [data[i : i + 1024] for i in range(0, len(data), 1024)]
        stream = Pieces(pieces)
        streams.append(stream)
        return httpx.Response(200, stream=stream, headers={"Content-Encoding": "gzip"})

    with pytest.raises(errors.ResponseError, match="larger than 33554432 bytes"):
        both.run("upload_image", *CALLS["upload_image"], handler=answer)
    assert streams[-1].sent < streams[-1].most


class Pieces(Chunks):
    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(b"", len(pieces))
        self.pieces = pieces

    def __iter__(self) -> Any:
        for piece in self.pieces:
            self.sent += 1
            yield piece


def test_an_endless_answer_is_left(both: Both) -> None:
    stream = Chunks(b" " * 1024 * 1024, 1000)
    with pytest.raises(errors.ResponseError, match="larger than"):
        both.run("upload_image", *CALLS["upload_image"], handler=lambda r: httpx.Response(200, stream=stream))
    assert stream.sent == 33


# --- limits and ends ---


def test_connection_limits(both: Both) -> None:
    options = (ApimartClient if both.kind == "sync" else AsyncApimartClient)._options
    client = ApimartClient(Settings(KEY))
    try:
        limits = options(client)["limits"]
        assert limits.max_connections == 20
        assert options(client)["follow_redirects"] is False
        assert options(client)["trust_env"] is True
    finally:
        client.close()


def test_proxies_do_not_see_loopback() -> None:
    client = ApimartClient(Settings(KEY, "http://127.0.0.1:1"))
    assert client._options()["trust_env"] is False
    client.close()


def test_a_longer_timeout_of_the_connection_counts(both: Both) -> None:
    script = Script(httpx.ReadTimeout("x"))
    settings = Settings(KEY, read_timeout_seconds=300)
    with pytest.raises(errors.ApimartTimeoutError, match="within 300 s"):
        both.run("generation", "task_1", handler=script, settings=settings)
    assert script.seen[0].extensions["timeout"] == {"connect": 10.0, "read": 300, "write": 300, "pool": 300}


@pytest.mark.parametrize(("given", "last"), [(None, 60.0), (300, 1200.0), (5, 60.0)])
def test_the_clock_over_a_body_follows_the_timeout(given: float | None, last: float) -> None:
    client = ApimartClient(Settings(KEY, read_timeout_seconds=given))
    now = 0.0
    check = client._body_guard(protocol.key_balance(), lambda: now)
    now = last
    check(1)
    now = last + 0.1
    with pytest.raises(errors.ApimartTimeoutError, match="trickled"):
        check(1)
    client.close()


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
