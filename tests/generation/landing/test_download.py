from __future__ import annotations

import gzip
import zlib
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client.environment import load_tls
from airflow_provider_apimart.client.errors import Charge, LandingError, VideoExpiredError, VideoTooLargeError
from airflow_provider_apimart.generation.landing.resumable import OVERLAP_BYTES
from tests.generation.landing.fetching import DATA, Fetch, fetch
from tests.generation.landing.media_server import MediaServer, Serve, endless, free_port, redirect, silent, status

__all__ = ["fetch"]

OTHER = bytes(reversed(DATA))


def test_whole(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA)) as media:
        fetch.check(fetch(media.url()))
        assert fetch.progress[-1] == (len(DATA), len(DATA))
        headers = media.seen[0].headers
        assert headers["accept-encoding"] == "identity"
        assert "range" not in headers and "authorization" not in headers and "cookie" not in headers
        assert headers["host"] == f"127.0.0.1:{media.port}"
    assert fetch.slept == []


@pytest.mark.parametrize("offset", [0, 1, 2, 255, 65535, 65536, 65537, 200_000, len(DATA) - 1])
def test_cut_goes_on_from_where_it_was(fetch: Fetch, offset: int) -> None:
    with MediaServer(Serve(DATA), Serve(DATA, cut=offset)) as media:
        fetch.check(fetch(media.url()))
        assert len(media.seen) == 2
        second = media.seen[1].headers
        if offset:
            assert second["range"] == f"bytes={offset}-" and second["if-range"] == '"v1"'
        else:
            assert "range" not in second


def test_many_cuts_each_with_progress_never_give_up(fetch: Fetch) -> None:
    step = len(DATA) // 40
    with MediaServer(Serve(DATA, cut=step)) as media:
        fetch.check(fetch(media.url()))
        assert len(media.seen) >= 40


def test_no_progress_gives_up_after_five_attempts(fetch: Fetch) -> None:
    with MediaServer(status(503), Serve(DATA, cut=1000)) as media:
        with pytest.raises(LandingError, match=r"HTTP 503; 1000 of 307200 bytes received, 5 attempts") as caught:
            fetch(media.url())
        assert len(media.seen) == 5 and not caught.value.terminal
        assert "s3cret" not in str(caught.value)
    assert len(fetch.slept) == 4


def test_shorter_than_its_content_length(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA, headers={"Content-Length": str(len(DATA) + 10)})) as media:
        with pytest.raises(LandingError):
            fetch(media.url())


def test_longer_than_its_content_length_is_cut_there(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA, headers={"Content-Length": "1000"})) as media:
        fetch.check(fetch(media.url()), DATA[:1000])


@pytest.mark.parametrize(
    "lie",
    [
        {"Content-Range": f"bytes 999-{len(DATA) - 1}/{len(DATA)}"},
        {"Content-Range": f"bytes 1000-{len(DATA)}/{len(DATA) + 1}"},
        {"Content-Range": f"bytes 1000-{len(DATA) + 5}/{len(DATA)}"},
        {"Content-Range": "bytes nonsense"},
        {"Content-Range": None},
        {"ETag": '"v2"'},
    ],
)
def test_lying_part_starts_anew(fetch: Fetch, lie: dict[str, str | None]) -> None:
    with MediaServer(Serve(DATA), Serve(DATA, cut=1000), Serve(DATA, headers=lie)) as media:
        fetch.check(fetch(media.url()))
        assert "range" not in media.seen[2].headers


def test_part_with_more_bytes_than_the_file(fetch: Fetch) -> None:
    chunked = {"Content-Length": None, "Content-Range": f"bytes 1000-{len(DATA) - 1}/{len(DATA)}"}
    with MediaServer(Serve(DATA), Serve(DATA, cut=1000), Serve(DATA + b"more", headers=chunked)) as media:
        fetch.check(fetch(media.url()))
        assert "range" not in media.seen[2].headers


def test_smaller_parts_than_asked_for(fetch: Fetch) -> None:
    part = {"Content-Range": f"bytes 1000-1999/{len(DATA)}", "Content-Length": "1000"}
    with MediaServer(Serve(DATA), Serve(DATA, cut=1000), Serve(DATA, headers=part)) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[2].headers["range"] == "bytes=2000-"


def test_file_changed_between_the_parts(fetch: Fetch) -> None:
    with MediaServer(Serve(OTHER, etag='"v2"'), Serve(DATA, cut=1000)) as media:
        fetch.check(fetch(media.url()), OTHER)
        assert len(media.seen) == 2


def test_server_without_ranges(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA, ranges=False), Serve(DATA, cut=1000)) as media:
        fetch.check(fetch(media.url()))


@pytest.mark.parametrize("cut", [10, 100_000])
@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_no_strong_etag_compares_an_overlap(fetch: Fetch, etag: str | None, cut: int) -> None:
    with MediaServer(Serve(DATA, etag=etag), Serve(DATA, etag=etag, cut=cut)) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[1].headers["range"] == f"bytes={max(0, cut - OVERLAP_BYTES)}-"
        assert "if-range" not in media.seen[1].headers and len(media.seen) == 2


def test_no_etag_and_other_bytes_starts_anew(fetch: Fetch) -> None:
    with MediaServer(Serve(OTHER, etag=None), Serve(DATA, etag=None, cut=100_000)) as media:
        fetch.check(fetch(media.url()), OTHER)
        assert len(media.seen) == 3 and "range" not in media.seen[2].headers


def test_last_modified_stands_in_for_an_etag(fetch: Fetch) -> None:
    date = {"Last-Modified": "Wed, 01 Oct 2025 10:00:00 GMT"}
    with MediaServer(
        Serve(DATA, etag=date["Last-Modified"], headers={**date, "ETag": None}),
        Serve(DATA, etag=None, headers=date, cut=100_000),
    ) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[1].headers["if-range"] == date["Last-Modified"]
        assert media.seen[1].headers["range"] == "bytes=100000-"


def test_no_length_ends_with_the_connection(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA, headers={"Content-Length": None})) as media:
        fetch.check(fetch(media.url()))
        assert fetch.progress[-1] == (len(DATA), None)


def test_416_when_all_is_there(fetch: Fetch) -> None:
    """A chunked answer breaks right after its last byte: only the server can say that it was the last."""

    def broken_chunks(handler: Any) -> None:
        body = b"%x\r\n%s\r\n" % (len(DATA), DATA)
        handler.reply(200, {"Transfer-Encoding": "chunked", "ETag": '"v1"'}, body)

    with MediaServer(Serve(DATA), broken_chunks) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[1].headers["range"] == f"bytes={len(DATA)}-" and len(media.seen) == 2


def test_416_that_contradicts_starts_anew(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA), Serve(DATA, cut=1000), status(416, Content_Range="bytes */500")) as media:
        fetch.check(fetch(media.url()))
        assert "range" not in media.seen[2].headers


@pytest.mark.parametrize("code", [403, 404, 410])
def test_refused_then_renewed(fetch: Fetch, code: int) -> None:
    with MediaServer(Serve(DATA), Serve(DATA, cut=1000), status(code)) as media:
        fetch.renewals = [media.url("/new.mp4")]
        fetch.check(fetch(media.url()))
        assert [seen.path for seen in media.seen] == ["/video.mp4?sig=s3cret"] * 2 + ["/new.mp4"]
        assert media.seen[2].headers["range"] == "bytes=1000-"
    assert fetch.refreshed == 1


def test_refused_and_no_other_url(fetch: Fetch) -> None:
    with MediaServer(status(403)) as media:
        with pytest.raises(VideoExpiredError, match="HTTP 403") as caught:
            fetch(media.url())
        assert len(media.seen) == 1 and "s3cret" not in str(caught.value)


def test_refused_and_the_same_url_again(fetch: Fetch) -> None:
    with MediaServer(status(403)) as media:
        fetch.renewals = [media.url()] * 20
        with pytest.raises(VideoExpiredError):
            fetch(media.url())
        assert len(media.seen) == 4 and fetch.refreshed == 3


def test_a_new_object_that_is_known_a_moment_late(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA), status(404)) as media:
        fetch.renewals = [media.url()]
        fetch.check(fetch(media.url()))
    assert len(fetch.slept) == 1


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("100000", 60.0), ("-5", 0.0), ("0", 0.0)])
def test_retry_after(fetch: Fetch, asked: str, waited: float) -> None:
    with MediaServer(Serve(DATA), status(429, Retry_After=asked)) as media:
        fetch.check(fetch(media.url()))
    assert fetch.slept == [waited]


@pytest.mark.parametrize("asked", ["soon", "Wed, 99 Oct", "nan"])
def test_unreadable_retry_after(fetch: Fetch, asked: str) -> None:
    with MediaServer(Serve(DATA), status(503, Retry_After=asked)) as media:
        fetch.check(fetch(media.url()))
    assert 0.4 < fetch.slept[0] <= 1.0


def test_redirect_is_followed_and_keeps_the_range(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA), Serve(DATA, cut=1000), redirect("/moved.mp4", 307)) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[2].path == "/moved.mp4" and media.seen[2].headers["range"] == "bytes=1000-"


def test_redirect_loop(fetch: Fetch) -> None:
    with MediaServer(redirect("/again")) as media:
        with pytest.raises(LandingError, match="more than 3"):
            fetch(media.url())
        assert len(media.seen) == 4


@pytest.mark.parametrize(
    "named", ["aws-chunked", "binary", "utf-8", "none", "", "identity", "base64", "aws-chunked,gzip", "gzip", "deflate"]
)
def test_plain_bytes_are_taken_whatever_their_content_encoding_says(fetch: Fetch, named: str) -> None:
    headers = {"Content-Encoding": named}
    with MediaServer(Serve(DATA, headers=headers), Serve(DATA, cut=1000, headers=headers)) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[1].headers["range"] == "bytes=1000-"


@pytest.mark.parametrize("named", ["gzip", "x-gzip", "deflate", "aws-chunked, gzip"])
def test_compressed_video_is_resumed_as_it_is_sent_and_then_expanded(fetch: Fetch, named: str) -> None:
    half = len(DATA) // 2
    packed = zlib.compress(DATA) if named == "deflate" else gzip.compress(DATA[:half]) + gzip.compress(DATA[half:])
    headers = {"Content-Encoding": named}
    with MediaServer(Serve(packed, headers=headers), Serve(packed, cut=100, headers=headers)) as media:
        fetch.check(fetch(media.url()))
        assert media.seen[1].headers["range"] == "bytes=100-"


def test_compressed_bytes_that_nobody_calls_compressed_stay_as_they_are(fetch: Fetch) -> None:
    packed = gzip.compress(DATA)
    with MediaServer(Serve(packed)) as media:
        fetch.check(fetch(media.url()), packed)


def test_compressed_video_is_held_to_the_cap_and_to_its_end(fetch: Fetch) -> None:
    packed = gzip.compress(bytes(len(DATA)))
    headers = {"Content-Encoding": "gzip"}
    with MediaServer(Serve(packed, headers=headers)) as media, pytest.raises(VideoTooLargeError, match="cap"):
        fetch(media.url(), max_bytes=len(DATA) - 1)
    with MediaServer(Serve(packed[:-9], headers=headers)) as media, pytest.raises(LandingError, match="ends early"):
        fetch(media.url())
    damaged = gzip.compress(DATA)[:-8] + b"damaged!"
    with MediaServer(Serve(damaged, headers=headers)) as media, pytest.raises(LandingError, match="damaged"):
        fetch(media.url())


@pytest.mark.parametrize("named", ["br", "zstd", "gzip, gzip"])
def test_coding_that_cannot_be_undone_is_refused(fetch: Fetch, named: str) -> None:
    with MediaServer(Serve(DATA, headers={"Content-Encoding": named})) as media:
        with pytest.raises(LandingError, match=named):
            fetch(media.url())
        assert len(media.seen) == 1


def test_other_answers_are_no_video(fetch: Fetch) -> None:
    with MediaServer(status(204, b"")) as media, pytest.raises(LandingError, match="HTTP 204"):
        fetch(media.url())


def test_announced_too_large_is_refused_before_a_byte(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA)) as media, pytest.raises(VideoTooLargeError, match="307200"):
        fetch(media.url(), max_bytes=len(DATA) - 1)
    assert fetch.progress == []


def test_exactly_the_cap_passes(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA)) as media:
        fetch.check(fetch(media.url(), max_bytes=len(DATA)))


def test_too_large_without_a_length(fetch: Fetch) -> None:
    with MediaServer(endless) as media, pytest.raises(VideoTooLargeError):
        fetch(media.url(), max_bytes=1_000_000)
    assert len(fetch.sink.getvalue()) <= 1_000_000


def test_a_part_that_announces_too_much(fetch: Fetch) -> None:
    huge = {"Content-Range": "bytes 1000-1999999/2000000", "ETag": None}

    def chunked(handler: Any) -> None:
        handler.reply(200, {"Transfer-Encoding": "chunked", "ETag": '"v1"'}, b"3e8\r\n" + DATA[:1000] + b"\r\n")

    with MediaServer(Serve(DATA, headers=huge), chunked) as media, pytest.raises(VideoTooLargeError):
        fetch(media.url(), max_bytes=1_000_000)


def test_silence_times_out_and_goes_on(fetch: Fetch) -> None:
    with MediaServer(Serve(DATA), silent) as media:
        fetch.check(fetch(media.url(), timeout=httpx.Timeout(0.2)))
    assert len(fetch.slept) == 1


def test_deadline(fetch: Fetch) -> None:
    with MediaServer(endless) as media, pytest.raises(LandingError, match="not fetched within"):
        fetch(media.url(), deadline_seconds=0.1)


def test_nobody_listens(fetch: Fetch) -> None:
    with pytest.raises(LandingError, match="ConnectError") as caught:
        fetch(f"http://127.0.0.1:{free_port()}/v.mp4")
    assert not caught.value.terminal and len(fetch.slept) == 4


def test_no_such_host(fetch: Fetch) -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(LandingError, match="could not be resolved"):
        fetch("https://nowhere.example/v.mp4", resolver=nowhere)


def test_cookies_are_not_kept(fetch: Fetch) -> None:
    setting = Serve(DATA, cut=1000, headers={"Set-Cookie": "a=b; Path=/"})
    with MediaServer(Serve(DATA), setting) as media:
        fetch.check(fetch(media.url()))
        assert "cookie" not in media.seen[1].headers


def test_errors_of_refresh_are_passed_on(fetch: Fetch) -> None:
    def refresh() -> str:
        raise RuntimeError("APIMart is away")

    fetch.refresh = refresh  # type: ignore[method-assign]
    with MediaServer(status(403)) as media, pytest.raises(RuntimeError, match="away"):
        fetch(media.url())


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PROXY", "ftp://user:hunter2@proxy"), ("ALL_PROXY", "http://user:hunter2@proxy:port")],
)
def test_a_proxy_that_cannot_be_used_is_named_and_the_next_try_may_land(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(LandingError, match=name) as caught:
        fetch("http://media.example/v.mp4")
    # The video is paid for: another try, or another worker, may have the right environment.
    assert not caught.value.terminal
    assert caught.value.charge is Charge.YES
    assert "hunter2" not in str(caught.value)


def test_certificates_that_are_not_there_are_named(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    load_tls.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(LandingError, match=r"SSL_CERT_FILE='/nowhere\.pem'"):
        fetch("https://media.example/v.mp4", resolver=lambda *_: ["8.8.8.8"])


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "fd07::/64,[::1]", ""])
def test_this_machine_is_fetched_from_without_a_proxy(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with MediaServer(Serve(DATA)) as server:
        fetch.check(fetch(server.url("/v.mp4")))
