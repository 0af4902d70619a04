"""The resumable protocol, to the header."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import PostRejectedError, TargetLimitError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Reply, VideoBytes
from airflow_provider_apimart.publishing.target import Drafted, Session, SessionGone, Stored
from airflow_provider_apimart.publishing.targets.youtube.resumable import Resumable
from tests.publishing.targets.youtube.driving import NOW, body_of, drive, refused, reply

BASE = "https://www.googleapis.com"
URL = f"{BASE}/upload/youtube/v3/videos?uploadType=resumable&upload_id=AB-secret"
UPLOAD = Resumable(BASE, str, lambda: NOW)
SIZE = 700_000


def start(*replies: Reply, upload: Resumable = UPLOAD) -> Any:
    return drive(upload.start({"snippet": {"title": "Ä"}}, "apm-1.mp4", SIZE, {"part": "snippet"}), *replies)


def test_start_declares_the_whole() -> None:
    session, (request,) = start(reply(200, location=URL))
    assert session == Session(URL)
    assert (request.method, request.url) == ("POST", f"{BASE}/upload/youtube/v3/videos")
    assert request.params == {"uploadType": "resumable", "part": "snippet"}
    assert request.headers == {
        "Content-Type": "application/json; charset=UTF-8",
        "X-Upload-Content-Length": "700000",
        "X-Upload-Content-Type": "video/*",
        "Slug": "apm-1.mp4",
    }
    assert body_of(request) == {"snippet": {"title": "Ä"}}


@pytest.mark.parametrize(
    "location", ["/upload/x?upload_id=1", "https://upload.youtube.com/?id=1", "https://youtube.googleapis.com/x"]
)
def test_a_session_of_google_is_taken(location: str) -> None:
    assert start(reply(200, location=location))[0].url.startswith("https://")


@pytest.mark.parametrize(
    "location",
    [
        "http://www.googleapis.com/x",
        "https://evil.example/x",
        "https://googleapis.com.evil.example/x",
        "https://www.googleapis.com@evil.example/x",
        "https://www.googleapis.com:8443/x",
        "",
    ],
)
def test_the_token_goes_to_no_other_host(location: str) -> None:
    with pytest.raises(TargetUnavailableError) as caught:
        start(reply(200, location=location))
    assert caught.value.nothing_done
    assert "evil" not in str(caught.value)


def test_a_session_at_another_host_is_never_asked() -> None:
    assert drive(UPLOAD.ask("https://evil.example/x", SIZE)) == (SessionGone(), [])
    assert drive(UPLOAD.send("https://evil.example/x", VideoBytes(0, SIZE), SIZE)) == (SessionGone(), [])
    emulator = Resumable("http://127.0.0.1:1", str, lambda: NOW)
    assert drive(emulator.ask(URL, SIZE)) == (SessionGone(), [])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refused(400, "invalidDescription"), PostRejectedError),
        (refused(400, "uploadLimitExceeded"), TargetLimitError),
        (refused(409, "ALREADY_EXISTS"), TargetUnavailableError),
        (reply(200), TargetUnavailableError),
        (reply(503), TargetUnavailableError),
    ],
)
def test_start_refused(answer: Reply, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        start(answer)


DONE = {"kind": "youtube#video", "id": "vid1"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(308), Stored(0)),
        (reply(308, range="bytes=0-0"), Stored(1)),
        (reply(308, range="bytes=0-524287"), Stored(524288)),
        (reply(308, range="0-9"), Stored(10)),
        (reply(200, DONE), Drafted("vid1")),
        (reply(201, DONE), Drafted("vid1")),
        (reply(404), SessionGone()),
        (reply(410), SessionGone()),
    ],
)
def test_both_kinds_of_put_read_the_same_answers(answer: Reply, told: Any) -> None:
    found, (request,) = drive(UPLOAD.ask(URL, SIZE), answer)
    assert found == told
    assert (request.method, request.url, request.content) == ("PUT", URL, b"")
    assert request.headers == {"Content-Range": "bytes */700000", "Content-Length": "0"}
    body = VideoBytes(524288, 175712)
    found, (request,) = drive(UPLOAD.send(URL, body, SIZE), answer)
    assert found == told
    assert request.content is body
    assert request.headers == {"Content-Range": "bytes 524288-699999/700000", "Content-Type": "video/*"}


@pytest.mark.parametrize(
    "answer",
    [
        reply(308, range="bytes=5-9"),
        reply(308, range="nonsense"),
        reply(308, range="bytes=0-9, 20-29"),
        reply(201),
        reply(200, {"id": ""}),
        reply(200, {"id": 5}),
        reply(200, []),
        reply(500),
        refused(401, "authError"),
    ],
)
def test_what_proves_nothing_is_asked_again(answer: Reply) -> None:
    with pytest.raises(TargetUnavailableError):
        drive(UPLOAD.send(URL, VideoBytes(0, SIZE), SIZE), answer)


def test_retry_after_is_honoured() -> None:
    with pytest.raises(TargetUnavailableError) as caught:
        drive(UPLOAD.ask(URL, SIZE), reply(308, range="bytes=0-9", retry_after="30"))
    assert caught.value.retry_after_seconds == 30


def test_no_error_shows_the_session() -> None:
    with pytest.raises(PostRejectedError) as caught:
        drive(UPLOAD.ask(URL, SIZE), refused(400, "invalidVideo", f"not at {URL}"))
    assert "secret" not in str(caught.value)
