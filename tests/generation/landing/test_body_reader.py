from __future__ import annotations

import hashlib
from typing import Any

import h11
import httpx
import pytest

from airflow_provider_apimart.generation.landing.body_reader import PIECE_BYTES, pieces
from airflow_provider_apimart.storage.checksum import PIECES_BEHIND, Sha256
from tests.generation.landing.fetching import DATA
from tests.generation.landing.media_server import MediaServer, Serve, silent

LARGE = DATA * 8


def chunked(handler: Any) -> None:
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(DATA), DATA)
    handler.reply(200, {"Transfer-Encoding": "chunked", "Content-Length": "5"}, body)


def headers_first(handler: Any) -> None:
    handler.reply(200, {"Content-Length": str(len(DATA))}, b"")
    handler.wfile.flush()
    handler.wfile.write(DATA)


def stuck(handler: Any) -> None:
    handler.reply(200, {"Content-Length": str(len(DATA))}, DATA[:1000])
    silent(handler)


def outcome(url: str, *, parsed: bool) -> tuple[bytes, str]:
    """What was received and how it ended, by our way or by httpx's own."""
    received, ended = b"", "whole"
    with httpx.Client(trust_env=False, timeout=0.3) as client, client.stream("GET", url) as response:
        try:
            for piece in response.iter_raw() if parsed else pieces(response):
                assert len(piece) <= PIECE_BYTES
                received += piece
        except httpx.TransportError as error:
            ended = f"{type(error).__name__}: {error}"
    return received, ended


@pytest.mark.parametrize(
    "answer",
    [
        Serve(LARGE),
        Serve(b""),
        Serve(LARGE, cut=0),
        Serve(LARGE, cut=1),
        Serve(LARGE, cut=len(LARGE) - 1),
        Serve(LARGE, headers={"Content-Length": "1000"}),
        Serve(LARGE, headers={"Content-Length": None}),
        chunked,
        headers_first,
        stuck,
    ],
    ids=[
        "whole",
        "empty",
        "cut at 0",
        "cut at 1",
        "cut at the end",
        "longer",
        "no length",
        "chunked",
        "split",
        "stuck",
    ],
)
def test_the_same_bytes_and_the_same_errors_as_through_httpx(answer: Any) -> None:
    with MediaServer(answer) as media:
        ours, httpxs = (outcome(media.url(), parsed=parsed) for parsed in (False, True))
    assert ours == httpxs


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000])
def test_the_parser_keeps_nothing_of_the_body_back(size: int) -> None:
    """What body_reader.py relies on: once it has given the first bytes of the body, the rest is on the connection."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + bytes(size))
    assert isinstance(parser.next_event(), h11.Response)
    event = parser.next_event()
    assert event is h11.NEED_DATA if not size else isinstance(event, h11.Data) and len(event.data) == size


def test_a_body_that_is_not_streamed_from_a_socket() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=httpx.ByteStream(DATA)))
    with httpx.Client(transport=transport) as client, client.stream("GET", "http://h/") as response:
        assert b"".join(pieces(response)) == DATA


def test_digest_of_all_pieces_in_their_order() -> None:
    parts = [bytes([number]) * (number * 10_000) for number in range(PIECES_BEHIND * 5)]
    with Sha256() as digest:
        assert digest.hexdigest() == hashlib.sha256().hexdigest()
        for _ in range(2):
            for part in parts:
                digest.update(part)
            assert digest.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()
            digest.restart()
        assert digest.hexdigest() == hashlib.sha256().hexdigest()
