"""Sends what the targets build. A target's step is a generator: it yields requests and is sent the replies.

So a step is written once, and the worker's blocking sender and the trigger's asynchronous one differ only in the lines
that wait. Both keep these promises. Credentials go to the target's own host and nowhere else, because no redirect is
followed (a 308 is data here). An answer is read up to a limit in size and time. No URL is shown in an error: an upload
session's is a secret. Nothing is repeated here but the one request that found its access token expired.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import httpx

import airflow_provider_apimart
from airflow_provider_apimart.client.deadline import BoundedTransport, whole_call
from airflow_provider_apimart.client.environment import check_proxies, load_tls, open_proxy, proxy_for
from airflow_provider_apimart.client.settings import is_loopback
from airflow_provider_apimart.publishing.errors import PublishError, TargetUnavailableError
from airflow_provider_apimart.publishing.source import VideoSource

T = TypeVar("T")

MAX_REPLY_BYTES = 4 * 1024 * 1024
CONNECT_SECONDS = 10.0
#: How long a whole reply may take once the request is sent, in timeouts.
TOTAL_TIME_FACTOR = 4


@dataclass(frozen=True)
class VideoBytes:
    """A part of the video's file as a request's body, streamed in constant memory.

    :param on_chunk: sees each chunk before it is sent.
    """

    offset: int
    length: int
    on_chunk: Callable[[bytes], None] | None = None


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    :param what: what it does, for messages ("upload", "status question").
    :param url: absolute. May be a secret.
    :param authorized: whether the credentials are added.
    :param timeout_seconds: how long it may go without a byte.
    """

    what: str
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | VideoBytes | None = None
    authorized: bool = True
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Reply:
    """One answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body's JSON, or ``None`` if it holds none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


#: A step of a target: yields requests, is sent replies, returns what it has learned.
Exchange = Generator[Request, Reply, T]


class Credentials(Protocol):
    """Authorizes requests, and renews what expires."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that authorize a request now."""
        ...

    def needs_renewal(self) -> bool:
        """Return whether the next request would find them expired."""
        ...

    def renew(self) -> Exchange[bool]:
        """Renew them; return whether that was possible.

        :raises CredentialsError: if the target says that they are void.
        """
        ...

    def scrub(self, text: str) -> str:
        """Return ``text`` without any secret."""
        ...


class NoCredentials:
    """For targets whose requests are signed one by one, or not at all."""

    def headers(self) -> Mapping[str, str]:
        """Return none."""
        return {}

    def needs_renewal(self) -> bool:
        """Return that nothing expires."""
        return False

    def renew(self) -> Exchange[bool]:
        """Return that nothing can be renewed."""
        yield from ()
        return False

    def scrub(self, text: str) -> str:
        """Return ``text``."""
        return text


class _Base:
    def __init__(self, credentials: Credentials, transport: Any) -> None:
        self.credentials = credentials
        self._transport = transport

    @staticmethod
    def _options() -> dict[str, Any]:
        return {
            "headers": {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": f"airflow-provider-apimart/{airflow_provider_apimart.__version__}",
            },
            "follow_redirects": False,
            "trust_env": False,
            "verify": load_tls(),
        }

    def _proxy(self, url: str) -> str:
        """Return the proxy that leads to ``url``; empty for none."""
        place = httpx.URL(url)
        proxy = None if is_loopback(place.host) or self._transport else proxy_for(place)
        if proxy:
            check_proxies()
        return proxy or ""

    def _arguments(self, request: Request) -> dict[str, Any]:
        headers = dict(request.headers)
        if request.authorized:
            headers |= self.credentials.headers()
        if isinstance(request.content, VideoBytes):
            headers["Content-Length"] = str(request.content.length)
        seconds = request.timeout_seconds
        return {
            "headers": headers,
            "params": dict(request.params) or None,
            "timeout": httpx.Timeout(seconds, connect=CONNECT_SECONDS, pool=seconds),
        }

    @contextmanager
    def _named_failures(self, request: Request) -> Iterator[None]:
        try:
            host = httpx.URL(request.url).host
        except httpx.InvalidURL:
            # Its text holds the URL.
            text = f"the address for the {request.what} is no URL"
            raise TargetUnavailableError(text, nothing_done=True) from None
        try:
            yield
        except PublishError:
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            text = self.credentials.scrub(str(error)) or type(error).__name__
            raise TargetUnavailableError(f"no connection to {host}: {text}", nothing_done=True) from None
        except (httpx.TimeoutException, TimeoutError):
            text = f"the {request.what} at {host} got no answer within {request.timeout_seconds:g} s"
            raise TargetUnavailableError(text) from None
        except httpx.HTTPError as error:
            # The text of some of httpx's errors holds the URL.
            text = f"the {request.what} at {host} broke off ({type(error).__name__})"
            raise TargetUnavailableError(text) from None

    @staticmethod
    def _guard(request: Request) -> Callable[[int], None]:
        end = time.monotonic() + TOTAL_TIME_FACTOR * request.timeout_seconds

        def check(size: int) -> None:
            if size > MAX_REPLY_BYTES:
                raise TargetUnavailableError(f"the answer to the {request.what} is larger than {MAX_REPLY_BYTES} bytes")
            if time.monotonic() > end:
                raise TargetUnavailableError(f"the answer to the {request.what} trickled in and was given up")

        return check

    @staticmethod
    def _reply(response: httpx.Response, content: bytes) -> Reply:
        return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)

    def _steps(self, exchange: Exchange[T]) -> Exchange[T]:
        """Run ``exchange`` with credentials that are renewed before they expire, and once when they are refused."""
        renewed = False
        try:
            request = next(exchange)
            while True:
                try:
                    if request.authorized and self.credentials.needs_renewal():
                        yield from self.credentials.renew()
                    reply = yield request
                    if reply.status == 401 and request.authorized and not renewed:
                        renewed = yield from self.credentials.renew()
                        if renewed and not isinstance(request.content, VideoBytes):
                            reply = yield request
                except PublishError as error:
                    # The step may know what a missing answer means.
                    request = exchange.throw(error)
                else:
                    request = exchange.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result


class Sender(_Base):
    """Runs exchanges in a worker. Use it as a context manager.

    :param credentials: the connection's.
    :param source: the video's file, for requests that send it.
    :param transport: an httpx transport, for tests.
    """

    def __init__(
        self,
        credentials: Credentials,
        source: VideoSource | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(credentials, transport)
        self.source = source
        self._clients: dict[str, httpx.Client] = {}

    def run(self, exchange: Exchange[T]) -> T:
        """Send what ``exchange`` asks for until it returns.

        :raises PublishError: from the exchange, or because the target does not answer.
        """
        steps = self._steps(exchange)
        try:
            request = next(steps)
            while True:
                try:
                    reply = self._send(request)
                except PublishError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _send(self, request: Request) -> Reply:
        with self._named_failures(request):
            arguments = self._arguments(request)
            content = request.content
            if isinstance(content, VideoBytes):
                if self.source is None:
                    raise AssertionError("this sender has no video")
                arguments["content"] = self.source.stream(content.offset, content.length, content.on_chunk)
            elif content is not None:
                arguments["content"] = content
            received = bytearray()
            # A video takes the time that it takes. All else ends as a whole, headers that trickle included.
            seconds = math.inf if isinstance(content, VideoBytes) else TOTAL_TIME_FACTOR * request.timeout_seconds
            with (
                whole_call(seconds),
                self._client(request.url).stream(request.method, request.url, **arguments) as response,
            ):
                # Sending a video took its time. Only the answer counts from here.
                check = self._guard(request)
                for chunk in response.iter_bytes():
                    received += chunk
                    check(len(received))
            return self._reply(response, bytes(received))

    def _client(self, url: str) -> httpx.Client:
        proxy = self._proxy(url)
        if proxy not in self._clients:
            way = self._transport or BoundedTransport(verify=load_tls(), proxy=open_proxy(proxy) if proxy else None)
            self._clients[proxy] = httpx.Client(**self._options(), transport=way)
        return self._clients[proxy]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for client in self._clients.values():
            client.close()


class AsyncSender(_Base):
    """Runs exchanges on an event loop: questions only, no video. Use it as an async context manager.

    :param credentials: the connection's.
    :param transport: an httpx transport, for tests.
    """

    def __init__(self, credentials: Credentials, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(credentials, transport)
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def run(self, exchange: Exchange[T]) -> T:
        """Send what ``exchange`` asks for until it returns.

        :raises PublishError: from the exchange, or because the target does not answer.
        """
        # The first call in a process reads the system's certificates, which takes tens of milliseconds.
        await asyncio.to_thread(load_tls)
        steps = self._steps(exchange)
        try:
            request = next(steps)
            while True:
                try:
                    reply = await self._send(request)
                except PublishError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _send(self, request: Request) -> Reply:
        with self._named_failures(request):
            if isinstance(request.content, VideoBytes):
                raise AssertionError("a trigger sends no video")
            arguments = self._arguments(request)
            if request.content is not None:
                arguments["content"] = request.content
            received, check = bytearray(), self._guard(request)
            async with (
                asyncio.timeout(TOTAL_TIME_FACTOR * request.timeout_seconds),
                self._client(request.url).stream(request.method, request.url, **arguments) as response,
            ):
                async for chunk in response.aiter_bytes():
                    received += chunk
                    check(len(received))
            return self._reply(response, bytes(received))

    def _client(self, url: str) -> httpx.AsyncClient:
        proxy = self._proxy(url)
        if proxy not in self._clients:
            way: dict[str, Any] = {"proxy": open_proxy(proxy)} if proxy else {"transport": self._transport}
            self._clients[proxy] = httpx.AsyncClient(**self._options(), **way)
        return self._clients[proxy]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.aclose()
