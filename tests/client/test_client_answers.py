"""Both clients and what a server may put into an answer: the API key, a redirect, a bomb, any content type."""

from __future__ import annotations

import asyncio
import gzip
import logging
import traceback
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.settings import Settings
from tests.client.harness import KEY, Both
from tests.client.scripted import CALLS, Script

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


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Sends pieces one by one, and counts those that were wanted."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces, self.sent = pieces, 0

    def __iter__(self) -> Any:
        for piece in self.pieces:
            self.sent += 1
            yield piece

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece


def test_a_bomb_is_left_when_it_is_too_large(both: Both) -> None:
    packed = gzip.compress(bytes(64 * 1024 * 1024))
    stream = Pieces([packed[i : i + 1024] for i in range(0, len(packed), 1024)])
    answer = httpx.Response(200, stream=stream, headers={"Content-Encoding": "gzip"})
    with pytest.raises(errors.ResponseError, match="larger than 33554432 bytes"):
        both.run("upload_image", *CALLS["upload_image"], handler=Script(answer))
    assert stream.sent < 0.6 * len(stream.pieces)


def test_an_endless_answer_is_left(both: Both) -> None:
    stream = Pieces([b" " * 1024 * 1024] * 1000)
    with pytest.raises(errors.ResponseError, match="larger than"):
        both.run("upload_image", *CALLS["upload_image"], handler=lambda r: httpx.Response(200, stream=stream))
    assert stream.sent == 33
