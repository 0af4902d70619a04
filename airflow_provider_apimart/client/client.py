"""The two clients: thin senders of the calls that ``protocol.py`` builds and parses.

They keep three promises for every call. The key goes to the API's host and nowhere else: no redirects are followed,
public endpoints get no key, and it is removed from every error. An answer is read up to a limit in size and time. A
call is repeated only as ``retry.py`` allows. What an error says about the money is true of the whole call, not only of
its last attempt. The two clients differ only in the lines that wait, and in one transport: the asynchronous one, which
asks thousands of times a minute in a triggerer, sends its GETs over a leaner one (``quick_get.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import AsyncRetrying, Retrying

import airflow_provider_apimart
from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.body import Body
from airflow_provider_apimart.client.deadline import BoundedTransport, whole_call
from airflow_provider_apimart.client.doubt import Doubt
from airflow_provider_apimart.client.environment import check_proxies, load_tls, open_proxy, proxy_for
from airflow_provider_apimart.client.models import Balance, Generation, Model, Price, Submission, Upload
from airflow_provider_apimart.client.protocol import Call, Reply
from airflow_provider_apimart.client.retry import RetryPolicy, tenacity_arguments
from airflow_provider_apimart.client.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_apimart.client.quick_get import QuickGet

T = TypeVar("T")

#: Per client, and for GETs over aiohttp as many again: a little more than the poller sends at once. Polls of one
#: generation are seconds apart, so an idle connection is kept longer than httpx would, but not longer than servers and
#: proxies usually do.
MAX_CONNECTIONS, KEEPALIVE_SECONDS, CONNECT_SECONDS = 60, 30.0, 10.0
COMMON_HEADERS = {
    "Accept": "application/json",
    "User-Agent": f"airflow-provider-apimart/{airflow_provider_apimart.__version__}",
}
PUBLIC_API_HOST = "api.apimart.ai"
PUBLIC_PRICES_URL = "https://apimart.ai"
#: The connection was closed before the answer was there, as servers do with one that was kept. A GET is then sent once
#: more at once.
BROKEN_OFF = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class _Base:
    """What both clients share: settings, building requests, reading answers, naming failures."""

    def __init__(self, settings: Settings, retry: RetryPolicy | None = None) -> None:
        self.settings = settings
        self.retry = retry or RetryPolicy()

    def _options(self) -> dict[str, Any]:
        return {
            "base_url": self.settings.base_url,
            "headers": {**COMMON_HEADERS, "Accept-Encoding": "gzip, deflate"},
            "follow_redirects": False,
            # environment.py reads the environment: httpx rejects settings that curl and requests accept.
            "trust_env": False,
            **self._transport_options(),
        }

    @staticmethod
    def _transport_options() -> dict[str, Any]:
        return {
            "limits": httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
            "verify": load_tls(),
        }

    def _proxies(self) -> dict[str, httpx.Proxy]:
        """Return the environment's proxies, by the server that they lead to.

        A proxy must not see calls to an emulator on this machine.
        """
        if self.settings.is_loopback:
            return {}
        # Check all of them: one not needed here may be needed for the video once that is paid for.
        check_proxies()
        urls = [httpx.URL(url) for url in (self.settings.base_url, self.prices_base_url) if url]
        proxies = {str(url.copy_with(path="")): proxy_for(url) for url in urls}
        return {server: open_proxy(proxy) for server, proxy in proxies.items() if proxy}

    def _request_options(self, call: Call[Any]) -> dict[str, Any]:
        seconds = self._seconds(call)
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, pool=seconds)
        options: dict[str, Any] = {"headers": self._headers(call), "timeout": timeout}
        if call.content is not None:
            options["content"] = call.content
        if call.params:
            options["params"] = dict(call.params)
        if call.file is not None:
            options["files"] = {"file": call.file}
        return options

    def _headers(self, call: Call[Any]) -> dict[str, str]:
        headers = dict(call.headers)
        if call.authenticated:
            headers["Authorization"] = f"Bearer {self.settings.api_key}"
        return headers

    def _seconds(self, call: Call[Any]) -> float:
        """Return how long ``call`` may take as a whole, as the vendor's own client has it (15, 45 or 120 s)."""
        return max(call.timeout_seconds, self.settings.read_timeout_seconds or 0)

    @contextmanager
    def _named_failures(self, call: Call[Any]) -> Iterator[None]:
        """Turn httpx's exceptions into the error tree, and remove the key from every error's text."""
        host = urlsplit(self.settings.base_url).netloc
        try:
            yield
        except errors.ApimartError as error:
            error.scrub(self.settings.api_key)
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            text = f"no connection to {host}: {error or type(error).__name__}"
            raise errors.ApimartConnectionError(self._clean(text)) from None
        except (httpx.TimeoutException, TimeoutError):
            text = f"the {call.what} to {host} got no answer within {self._seconds(call):g} s"
            raise errors.ApimartTimeoutError(self._clean(text)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"the {call.what} to {host} broke off: {error or type(error).__name__}"
            raise errors.OutcomeUnknownError(self._clean(text)) from None

    def _clean(self, text: str) -> str:
        return text.replace(self.settings.api_key, "***")

    def _body(self, call: Call[Any], response: httpx.Response) -> Body:
        # What the transport of a test has read already, httpx has inflated.
        encoding = "" if response.is_stream_consumed else response.headers.get("content-encoding", "")
        return Body(encoding, response.status_code, call.what, self._seconds(call))

    def _reply(self, response: httpx.Response, body: Body) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, body.whole(), self.settings.api_key)

    @property
    def prices_base_url(self) -> str:
        """The base URL of the public price list: apimart.ai for the public API, otherwise the API itself."""
        return PUBLIC_PRICES_URL if urlsplit(self.settings.base_url).hostname == PUBLIC_API_HOST else ""

    def _submission(
        self, body: Mapping[str, Any], idempotency_key: str, resend_unknown: bool, remix_of: str | None
    ) -> Call[Submission]:
        return protocol.submit(
            body,
            idempotency_key,
            resend_unknown=resend_unknown,
            response_version=self.settings.response_version,
            remix_of=remix_of,
        )


class ApimartClient(_Base):
    """APIMart's API, blocking. One connection pool; use it as a context manager or ``close()`` it.

    Every method raises :class:`~airflow_provider_apimart.client.errors.ApimartError`.

    :param settings: base URL, key and limits.
    :param retry: how long a call is tried.
    :param transport: an httpx transport, for tests.
    """

    def __init__(
        self, settings: Settings, retry: RetryPolicy | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        super().__init__(settings, retry)
        proxies = {} if transport else self._proxies()
        options = self._transport_options()
        mounts = {to: BoundedTransport(proxy=proxy, **options) for to, proxy in proxies.items()}
        self._http = httpx.Client(transport=transport or BoundedTransport(**options), mounts=mounts, **self._options())

    def submit(
        self,
        body: Mapping[str, Any],
        idempotency_key: str,
        *,
        resend_unknown: bool = True,
        remix_of: str | None = None,
    ) -> Submission:
        """Submit a generation: the paid call. See :func:`.protocol.submit`."""
        return self.send(self._submission(body, idempotency_key, resend_unknown, remix_of))

    def generation(self, generation_id: str) -> Generation:
        """Return the current state of a generation."""
        return self.send(protocol.generation(generation_id))

    def upload_image(self, filename: str, content: bytes, content_type: str) -> Upload:
        """Upload an image; its URL lives for 72 hours."""
        return self.send(protocol.upload(filename, content, content_type))

    def key_balance(self) -> Balance:
        """Return what the key may still spend."""
        return self.send(protocol.key_balance())

    def account_balance(self) -> Balance:
        """Return the account's balance."""
        return self.send(protocol.account_balance())

    def models(self, *, expand: bool = False) -> tuple[Model, ...]:
        """Return the models that the key may use."""
        return self.send(protocol.models(expand=expand))

    def prices(self) -> tuple[Price, ...]:
        """Return the public price list of video models."""
        return self.send(protocol.prices(self.prices_base_url))

    def send(self, call: Call[T], *, repeat: bool = True) -> T:
        """Send ``call`` and read its answer.

        :param repeat: ``False`` sends it once, for callers that have their own retry loop.
        """
        doubt = Doubt(call)

        def attempt() -> T:
            with doubt.watch(), self._named_failures(call):
                return self._send_once(call)

        with doubt.settle():
            return Retrying(**tenacity_arguments(call, self.retry, time.sleep))(attempt) if repeat else attempt()

    def _send_once(self, call: Call[T]) -> T:
        with whole_call(self._seconds(call)):
            if call.method != "GET":
                return call.read(self._exchange(call))
            steps: list[str] = []
            try:
                reply = self._exchange(call, extensions={"trace": lambda step, _: steps.append(step)})
            except BROKEN_OFF:
                if not steps or "connection.connect_tcp.started" in steps:
                    raise
                reply = self._exchange(call)
        return call.read(reply)

    def _exchange(self, call: Call[Any], **more: Any) -> Reply:
        with self._http.stream(call.method, call.path, **self._request_options(call), **more) as response:
            body = self._body(call, response)
            for chunk in response.iter_bytes() if response.is_stream_consumed else response.iter_raw():
                for _ in body.pieces(chunk):
                    pass
            return self._reply(response, body)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncApimartClient(_Base):
    """The same API for an event loop. Create it on the loop that uses it, and ``await aclose()`` it.

    :param settings: base URL, key and limits.
    :param retry: how long a call is tried.
    :param transport: an httpx transport, for tests.
    """

    def __init__(
        self, settings: Settings, retry: RetryPolicy | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(settings, retry)
        proxies = {} if transport else self._proxies()
        options = self._transport_options()
        mounts = {to: httpx.AsyncHTTPTransport(proxy=proxy, **options) for to, proxy in proxies.items()}
        self._http = httpx.AsyncClient(transport=transport, mounts=mounts, **self._options())
        # Proxies, with their passwords and protocols, are left to one library.
        self._may_be_quick = transport is None and not proxies
        self._quick: QuickGet | None = None

    async def submit(
        self,
        body: Mapping[str, Any],
        idempotency_key: str,
        *,
        resend_unknown: bool = True,
        remix_of: str | None = None,
    ) -> Submission:
        """Submit a generation: the paid call. See :func:`.protocol.submit`."""
        return await self.send(self._submission(body, idempotency_key, resend_unknown, remix_of))

    async def generation(self, generation_id: str) -> Generation:
        """Return the current state of a generation."""
        return await self.send(protocol.generation(generation_id))

    async def upload_image(self, filename: str, content: bytes, content_type: str) -> Upload:
        """Upload an image; its URL lives for 72 hours."""
        return await self.send(protocol.upload(filename, content, content_type))

    async def key_balance(self) -> Balance:
        """Return what the key may still spend."""
        return await self.send(protocol.key_balance())

    async def account_balance(self) -> Balance:
        """Return the account's balance."""
        return await self.send(protocol.account_balance())

    async def models(self, *, expand: bool = False) -> tuple[Model, ...]:
        """Return the models that the key may use."""
        return await self.send(protocol.models(expand=expand))

    async def prices(self) -> tuple[Price, ...]:
        """Return the public price list of video models."""
        return await self.send(protocol.prices(self.prices_base_url))

    async def send(self, call: Call[T], *, repeat: bool = True) -> T:
        """Send ``call`` and read its answer.

        :param repeat: ``False`` sends it once, for callers that have their own retry loop.
        """
        doubt = Doubt(call)

        async def attempt() -> T:
            with doubt.watch(), self._named_failures(call):
                return await self._send_once(call)

        with doubt.settle():
            if not repeat:
                return await attempt()
            return await AsyncRetrying(**tenacity_arguments(call, self.retry, asyncio.sleep))(attempt)

    async def _send_once(self, call: Call[T]) -> T:
        # Headers can trickle in, too. Only this timeout covers the whole call.
        async with asyncio.timeout(self._seconds(call)):
            if (quick := self._quick_for(call)) is not None:
                reply = await quick.get(call, self._headers(call), self._seconds(call), self.settings.api_key)
            else:
                reply = await self._exchange(call)
        return call.read(reply)

    def _quick_for(self, call: Call[Any]) -> QuickGet | None:
        """Return the leaner transport if it may send ``call``: a GET to the API itself."""
        if call.method != "GET" or not self._may_be_quick or not call.path.startswith("/") or self._http.is_closed:
            return None
        if self._quick is None:
            # Loaded here, because only triggers ask so often; the hook has it loaded in a thread before.
            from airflow_provider_apimart.client.quick_get import QuickGet

            self._quick = QuickGet(
                self.settings.base_url,
                COMMON_HEADERS,
                load_tls(),
                connections=MAX_CONNECTIONS,
                keepalive_seconds=KEEPALIVE_SECONDS,
                connect_seconds=CONNECT_SECONDS,
            )
        return self._quick

    async def _exchange(self, call: Call[Any]) -> Reply:
        async with self._http.stream(call.method, call.path, **self._request_options(call)) as response:
            body = self._body(call, response)
            async for chunk in response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw():
                for _ in body.pieces(chunk):
                    # The loop's other work goes on between two pieces of what inflates to much.
                    await asyncio.sleep(0)
            return self._reply(response, body)

    async def aclose(self) -> None:
        """Close the connections."""
        try:
            await self._http.aclose()
        finally:
            quick, self._quick = self._quick, None
            if quick is not None:
                await quick.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
