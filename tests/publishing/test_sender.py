"""Both senders, over real sockets: what they promise whatever the other side does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_provider_apimart.publishing import exchange
from airflow_provider_apimart.publishing.errors import CredentialsError, PublishError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import (
    AsyncSender,
    Credentials,
    Exchange,
    NoCredentials,
    Reply,
    Request,
    Sender,
    VideoBytes,
)
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.storage.files import Target
from tests.client.harness import WireServer, drop, http, parts, raw, reset, stall, trickle

SECRET = "geheim"


class Token:
    """Credentials that expire and can be renewed, by a request of their own."""

    def __init__(self, url: str, *, expired: bool = False, void: bool = False) -> None:
        self.url, self.expired, self.void, self.value = url, expired, void, "first"

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.value}"}

    def needs_renewal(self) -> bool:
        return self.expired

    def renew(self) -> Exchange[bool]:
        yield Request("token", "POST", f"{self.url}/token", content=b"refresh", authorized=False)
        if self.void:
            raise CredentialsError("the refresh token is void")
        self.value, self.expired = "second", False
        return True

    def scrub(self, text: str) -> str:
        return text.replace(SECRET, "***")


class Line:
    """Runs an exchange with one of the two senders."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def run(self, steps: Exchange[Any], credentials: Credentials | None = None) -> Any:
        credentials = credentials or NoCredentials()
        if self.kind == "sync":
            with Sender(credentials) as sender:
                return sender.run(steps)

        async def work() -> Any:
            async with AsyncSender(credentials) as sender:
                return await sender.run(steps)

        return asyncio.run(work())


@pytest.fixture(params=["sync", "async"])
def line(request: pytest.FixtureRequest) -> Line:
    return Line(request.param)


def ask(url: str, **more: Any) -> Exchange[Reply]:
    reply = yield Request("question", "GET", f"{url}/session?upload_id={SECRET}", timeout_seconds=0.2, **more)
    return reply


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "308 Resume Incomplete", "404 Not Found", "503 Busy"])
def test_every_status_is_data_and_no_redirect_is_followed(line: Line, status: str) -> None:
    answer = raw(http(b"{}", "Location: http://127.0.0.1:9/", "Range: bytes=0-41", status=status))
    with WireServer([answer]) as server:
        reply = line.run(ask(server.base_url))
    assert (reply.status, reply.headers["range"]) == (int(status[:3]), "bytes=0-41")
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b"NaN", b"1" * 5000])
def test_a_body_that_is_no_json_is_none(line: Line, body: bytes) -> None:
    with WireServer([raw(http(body))]) as server:
        told = line.run(ask(server.base_url)).json()
    assert told is None or told != told


@pytest.mark.parametrize(
    "answer",
    [
        trickle(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x"),
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        stall,
        drop,
        reset,
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        raw(b"gibberish\r\n\r\n"),
    ],
    ids=["headers that trickle", "a body that trickles", "silence", "drop", "reset", "half a body", "gibberish"],
)
def test_whatever_may_have_had_an_effect_is_not_called_undone(line: Line, answer: Any) -> None:
    with WireServer([answer]) as server:
        with pytest.raises(TargetUnavailableError) as caught:
            line.run(ask(server.base_url))
    assert not caught.value.nothing_done
    assert SECRET not in str(caught.value) and "question" in str(caught.value)
    assert len(server.requests) == 1, "nothing is repeated"


def test_an_answer_that_is_too_large_is_given_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_REPLY_BYTES", 1000)
    with WireServer([raw(http(b"x" * 2000))]) as server:
        with pytest.raises(TargetUnavailableError, match="larger than 1000 bytes"):
            line.run(ask(server.base_url))


def test_only_a_connection_that_was_never_made_is_surely_without_effect(line: Line) -> None:
    with WireServer([drop]) as server:
        closed = server.base_url
    with pytest.raises(TargetUnavailableError) as caught:
        line.run(ask(closed))
    assert caught.value.nothing_done and SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://h/\n", "https://" + "a" * 70_000, "https://\udc80.example", "ftp://h", "/here"]
)
def test_an_address_that_is_none_is_not_shown(line: Line, url: str) -> None:
    with pytest.raises(TargetUnavailableError) as caught:
        line.run(ask(url))
    assert SECRET not in str(caught.value) and len(str(caught.value)) < 200


def test_a_step_hears_what_went_wrong(line: Line) -> None:
    def step(url: str) -> Exchange[str]:
        try:
            yield from ask(url)
        except TargetUnavailableError:
            reply = yield from ask(url)
            return reply.content.decode()
        return ""

    with WireServer([drop, raw(http(b"second"))]) as server:
        assert line.run(step(server.base_url)) == "second"


# --- credentials -----------------------------------------------------------------------------------------------------


def authorization(request: bytes) -> str | None:
    return parts(request)[0].get("authorization")


def test_credentials_go_only_where_they_are_asked_for(line: Line) -> None:
    with WireServer([raw(http(b"{}"))]) as server:
        line.run(ask(server.base_url), Token(server.base_url))
        line.run(ask(server.base_url, authorized=False), Token(server.base_url))
    assert [authorization(request) for request in server.requests] == ["Bearer first", None]


def test_an_expired_token_is_renewed_before_the_request(line: Line) -> None:
    with WireServer([raw(http(b"{}"))]) as server:
        line.run(ask(server.base_url), Token(server.base_url, expired=True))
    assert [authorization(request) for request in server.requests] == [None, "Bearer second"]


def test_a_refused_token_is_renewed_once(line: Line) -> None:
    refused = raw(http(b"no", status="401 Unauthorized"))
    with WireServer([refused, raw(http(b"{}")), raw(http(b"yes"))]) as server:
        reply = line.run(ask(server.base_url), Token(server.base_url))
    assert (reply.status, reply.content) == (200, b"yes")
    assert [authorization(request) for request in server.requests] == ["Bearer first", None, "Bearer second"]


def test_a_token_that_is_refused_again_is_the_answer(line: Line) -> None:
    refused = raw(http(b"no", status="401 Unauthorized"))
    with WireServer([refused, raw(http(b"{}")), refused]) as server:
        assert line.run(ask(server.base_url), Token(server.base_url)).status == 401
    assert len(server.requests) == 3


@pytest.mark.parametrize("expired", [False, True])
def test_a_void_token_is_told_and_nothing_more_is_sent(line: Line, expired: bool) -> None:
    answers = [raw(http(b"no", status="401 Unauthorized")), raw(http(b"{}"))]
    with WireServer(answers[expired:]) as server:
        with pytest.raises(CredentialsError, match="void"):
            line.run(ask(server.base_url), Token(server.base_url, expired=expired, void=True))
    assert len(server.requests) == 2 - expired


def test_a_question_through_a_proxy_that_is_gone_had_no_effect(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    with WireServer([drop]) as server:
        gone = server.base_url
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, gone.replace("http://", f"http://user:{SECRET}@"))
    with pytest.raises(TargetUnavailableError) as caught:
        line.run(ask("http://network.invalid"))
    assert caught.value.nothing_done and SECRET not in str(caught.value)


# --- a video ---------------------------------------------------------------------------------------------------------


def send(url: str, offset: int, length: int) -> Exchange[Reply]:
    reply = yield Request("upload", "PUT", url, content=VideoBytes(offset, length), timeout_seconds=1)
    return reply


def source_of(tmp_path: Path, data: bytes) -> VideoSource:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    return VideoSource(
        Target(fsspec.filesystem("file"), str(path), str(path)),
        VideoFile(str(path), len(data), hashlib.sha256(data).hexdigest()),
    )


def test_a_part_of_a_video_is_sent_with_its_length(tmp_path: Path) -> None:
    with (
        WireServer([raw(http(b"{}"))]) as server,
        Sender(NoCredentials(), source_of(tmp_path, b"0123456789")) as sender,
    ):
        sender.run(send(server.base_url, 3, 5))
    headers, body = parts(server.requests[0])
    assert body == b"34567" and headers["content-length"] == "5" and "transfer-encoding" not in headers


def test_a_video_is_not_sent_twice_when_the_token_has_expired(tmp_path: Path) -> None:
    """The session knows how much of it has arrived; the step asks."""
    refused = raw(http(b"no", status="401 Unauthorized"))
    source = source_of(tmp_path, b"0123456789")
    with WireServer([refused, raw(http(b"{}"))]) as server, Sender(Token(server.base_url), source) as sender:
        assert sender.run(send(server.base_url, 0, 10)).status == 401
    assert [parts(request)[1] for request in server.requests] == [b"0123456789", b"refresh"]
    assert isinstance(sender.credentials, Token) and sender.credentials.value == "second"


def test_a_video_that_is_shorter_than_it_was_is_told_as_such(tmp_path: Path) -> None:
    source = source_of(tmp_path, b"0123456789")
    (tmp_path / "clip.mp4").write_bytes(b"0123")
    with WireServer([raw(http(b"{}"))]) as server, Sender(NoCredentials(), source) as sender:
        with pytest.raises(PublishError, match="the file has changed since"):
            sender.run(send(server.base_url, 0, 10))
