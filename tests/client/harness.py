"""One harness for both clients: the same test runs blocking and on an event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import pytest

from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.retry import RetryPolicy
from airflow_provider_apimart.client.settings import Settings

KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"
#: Waits so short that a test of repeats takes no time.
QUICK = RetryPolicy(attempts=4, budget_seconds=60, base_seconds=0.001, cap_seconds=0.002)

Handler = Callable[[httpx.Request], httpx.Response]


@dataclass
class Both:
    """Calls a method of one of the two clients.

    :param kind: ``sync`` or ``async``.
    """

    kind: str

    def run(
        self,
        method: str,
        *arguments: Any,
        base_url: str = "",
        handler: Handler | None = None,
        retry: RetryPolicy = QUICK,
        settings: Settings | None = None,
        **options: Any,
    ) -> Any:
        """Call ``method`` on a client of its own, and return the answer."""
        settings = settings or Settings(KEY, base_url)
        transport = httpx.MockTransport(handler) if handler else None
        if self.kind == "sync":
            with ApimartClient(settings, retry, transport) as client:
                return getattr(client, method)(*arguments, **options)

        async def work() -> Any:
            async with AsyncApimartClient(settings, retry, transport) as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(work())


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


# --- a server that does what no HTTP library would do ---


Step = Callable[[socket.socket, threading.Event], None]


def raw(answer: bytes) -> Step:
    """Read the request and answer with these bytes; then close."""

    def step(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(answer)

    return step


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return (
        "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers, "", ""]).encode()
        + body
    )


def drop(connection: socket.socket, stopped: threading.Event) -> None:
    """Read the request, say nothing, close."""


def reset(connection: socket.socket, stopped: threading.Event) -> None:
    """Read the request, then reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def stall(connection: socket.socket, stopped: threading.Event) -> None:
    """Say nothing until the test is over."""
    stopped.wait(30)


def trickle(head: bytes, drip: bytes = b" ", seconds: float = 0.01) -> Step:
    """Send ``head``, then ``drip`` over and over until the client goes away."""

    def step(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(head)
        while not stopped.wait(seconds):
            connection.sendall(drip)

    return step


@dataclass
class WireServer:
    """A loopback server: each connection gets the next step (the last one again and again).

    It reads the whole request before the step; before a reset it does not where ``read`` says so.
    """

    steps: list[Step]
    read: bool = True
    requests: list[bytes] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        # Wakes the accepting thread.
        socket.create_connection(self._socket.getsockname()).close()
        for thread in list(self._threads):
            thread.join()
        self._socket.close()

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while True:
            connection, _ = self._socket.accept()
            if self._stopped.is_set():
                connection.close()
                return
            self._spawn(self._serve, connection, self.steps[min(number, len(self.steps) - 1)])
            number += 1

    def _serve(self, connection: socket.socket, step: Step) -> None:
        try:
            # An answer to what lies unread would be lost when the socket closes: a system then sends a reset.
            if self.read or step is not reset:
                self.requests.append(_read_request(connection))
            step(connection, self._stopped)
        except OSError:
            pass  # The client has gone away: what the test is about.
        finally:
            connection.close()


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += (part := connection.recv(65536))
        if not part:
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (part := connection.recv(65536)):
        body += part
    return head + b"\r\n\r\n" + body


def parts(request: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers (lower-case names) and body of a request as it came over the wire."""
    head, _, body = request.partition(b"\r\n\r\n")
    pairs = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value for name, value in pairs}, body
