"""A media host on loopback that serves one file well, and badly when told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = Callable[["Handler"], None]


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    peer_port: int


@dataclass(frozen=True)
class Serve:
    """Serve a file with ranges, or wrongly.

    ``cut`` closes the connection after so many bytes of body; ``headers`` override what would be sent, ``None`` drops.
    """

    data: bytes
    etag: str | None = '"v1"'
    cut: int | None = None
    ranges: bool = True
    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)

    def __call__(self, handler: Handler) -> None:
        start, status = 0, 200
        asked = handler.headers.get("Range")
        condition = handler.headers.get("If-Range")
        if asked and self.ranges and (condition is None or condition == self.etag):
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        body = self.data[start:]
        headers: dict[str, str | None] = {"Content-Length": str(len(body)), "ETag": self.etag}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        if status == 206 and not body:
            status, headers["Content-Range"] = 416, f"bytes */{len(self.data)}"
        handler.reply(self.status or status, {**headers, **self.headers}, body, self.cut)


def status(code: int, body: bytes = b"<Error/>", **headers: str) -> Answer:
    """Answer with an error; underscores in the names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.reply(code, {"Content-Length": str(len(body)), **named}, body)


def redirect(location: str, code: int = 302) -> Answer:
    """Answer with a redirect."""
    return status(code, b"", Location=location)


def endless(handler: Handler) -> None:
    """Send for ever, announcing no length."""
    handler.reply(200, {}, b"")
    chunk = bytes(65536)
    try:
        while True:
            handler.wfile.write(chunk)
    except OSError:
        pass


def silent(handler: Handler) -> None:
    """Accept the request and say nothing until the client goes away."""
    handler.connection.recv(1)
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    """Plays the script of its server: one answer a request, then the last for ever."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        media = self.server.media
        with media.lock:
            media.seen.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, self.client_address[1]))
            answer = media.script.pop(0) if media.script else media.otherwise
        answer(self)
        self.close_connection = True

    def reply(self, code: int, headers: dict[str, str | None], body: bytes, cut: int | None = None) -> None:
        self.send_response_only(code)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body if cut is None else body[:cut])
        except OSError:
            pass

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    media: MediaServer

    def handle_error(self, *_: Any) -> None:
        """Clients that go away are what is being tried."""


class MediaServer:
    """The host. ``script`` is played first, then ``otherwise`` answers."""

    def __init__(self, otherwise: Answer, *script: Answer) -> None:
        self.otherwise = otherwise
        self.script = list(script)
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.media = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/video.mp4?sig=s3cret", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
