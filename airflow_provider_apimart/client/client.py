"""The two clients: thin senders of the calls that ``protocol.py`` builds and parses.

They keep three promises for every call. The key goes to the API's host and nowhere else: no redirects are followed,
public endpoints get no key, and it is removed from every error. An answer is read up to a limit in size and time. A
call is repeated only as ``retry.py`` allows. What an error says about the money is true of the whole call, not only of
its last attempt. The two clients differ only in the lines that wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import AsyncRetrying, Retrying

import airflow_provider_apimart
from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.deadline import BoundedTransport, whole_call
from airflow_provider_apimart.client.environment import check_proxies, load_tls, open_proxy, proxy_for
from airflow_provider_apimart.client.models import Balance, Generation, Model, Price, Submission, Upload
from airflow_provider_apimart.client.protocol import Call, Reply
from airflow_provider_apimart.client.retry import RetryPolicy, tenacity_arguments
from airflow_provider_apimart.client.settings import Settings

T = TypeVar("T")

#: Per client. Polls of one generation are seconds apart, so an idle connection is kept longer than httpx would, but not
#: longer than servers and proxies usually do.
MAX_CONNECTIONS, KEEPALIVE_SECONDS = 20, 30.0
PUBLIC_API_HOST = "api.apimart.ai"
PUBLIC_PRICES_URL = "https://apimart.ai"
#: Encodings whose expansion per chunk is bounded (about a thousandfold of 64 KiB). Others are not requested, and
#: refused if they come: a compression bomb must not fill the memory before the size is checked.
ENCODINGS = ("", "identity", "gzip", "deflate")


class _Base:
    """What both clients share: settings, building requests, reading answers, naming failures."""

    def __init__(self, settings: Settings, retry: RetryPolicy | None = None) -> None:
        self.settings = settings
        self.retry = retry or RetryPolicy()

    def _options(self) -> dict[str, Any]:
        return {
            "base_url": self.settings.base_url,
            "headers": {
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "User-Agent": f"airflow-provider-apimart/{airflow_provider_apimart.__version__}",
            },
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
        headers = dict(call.headers)
        if call.authenticated:
            headers["Authorization"] = f"Bearer {self.settings.api_key}"
        seconds = self._seconds(call)
        options: dict[str, Any] = {"headers": headers, "timeout": httpx.Timeout(seconds, connect=10.0, pool=seconds)}
        if call.content is not None:
            options["content"] = call.content
        if call.params:
            options["params"] = dict(call.params)
        if call.file is not None:
            options["files"] = {"file": call.file}
        return options

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

    def _body_guard(self, call: Call[Any], monotonic: Callable[[], float] = time.monotonic) -> Callable[[int], None]:
        """Return a check of size and time, to be called with the number of bytes after each chunk."""
        end = monotonic() + self._seconds(call)

        def check(size: int) -> None:
            if size > protocol.MAX_RESPONSE_BYTES:
                raise errors.ResponseError(f"APIMart's answer is larger than {protocol.MAX_RESPONSE_BYTES} bytes")
            if monotonic() > end:
                raise errors.ApimartTimeoutError(f"APIMart's answer to the {call.what} trickled in and was given up")

        return check

    @staticmethod
    def _refuse_encoding(response: httpx.Response) -> None:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ENCODINGS:
            text = "APIMart's answer is compressed with an encoding that was not requested"
            raise errors.ResponseError(text, status=response.status_code)

    def _reply(self, response: httpx.Response, content: bytes) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, content, self.settings.api_key)

    @property
    def prices_base_url(self) -> str:
        """The base URL of the public price list: apimart.ai for the public API, otherwise the API itself."""
        return PUBLIC_PRICES_URL if urlsplit(self.settings.base_url).hostname == PUBLIC_API_HOST else ""

    def _submission(self, body: Mapping[str, Any], idempotency_key: str, resend_unknown: bool) -> Call[Submission]:
        return protocol.submit(
            body,
            idempotency_key,
            resend_unknown=resend_unknown,
            response_version=self.settings.response_version,
        )


class _Doubt:
    """Remembers across the attempts of one call that one of them may have been carried out.

    A later answer such as a 402 says nothing about an earlier attempt, so the whole call's error must not say "not
    charged". The error of each attempt stays as it is, because it decides what may be repeated.
    """

    def __init__(self, call: Call[Any]) -> None:
        self.may_cost = call.may_cost
        self.seen = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch one attempt."""
        try:
            yield
        except errors.ApimartError as error:
            # "In progress" refuses this attempt only: another request under the same key is being carried out.
            doubtful = error.charge is errors.Charge.UNKNOWN or isinstance(error, errors.IdempotencyInProgressError)
            self.seen = self.seen or doubtful
            raise

    @contextmanager
    def settle(self) -> Iterator[None]:
        """Make the error of the whole call say what is known about the money."""
        try:
            yield
        except errors.ApimartError as error:
            if not self.may_cost:
                error.charge = errors.Charge.NO
            elif self.seen and error.charge is errors.Charge.NO:
                error.charge = errors.Charge.UNKNOWN
            raise


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

    def submit(self, body: Mapping[str, Any], idempotency_key: str, *, resend_unknown: bool = True) -> Submission:
        """Submit a generation: the paid call. See :func:`.protocol.submit`."""
        return self.send(self._submission(body, idempotency_key, resend_unknown))

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
        doubt = _Doubt(call)

        def attempt() -> T:
            with doubt.watch(), self._named_failures(call):
                return self._send_once(call)

        policy = self.retry if repeat else self.retry.once()
        with doubt.settle():
            return Retrying(**tenacity_arguments(call, policy, time.sleep))(attempt)

    def _send_once(self, call: Call[T]) -> T:
        check, content = self._body_guard(call), bytearray()
        with (
            whole_call(self._seconds(call)),
            self._http.stream(call.method, call.path, **self._request_options(call)) as response,
        ):
            self._refuse_encoding(response)
            for chunk in response.iter_bytes():
                content += chunk
                check(len(content))
        return call.read(self._reply(response, bytes(content)))

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

    async def submit(self, body: Mapping[str, Any], idempotency_key: str, *, resend_unknown: bool = True) -> Submission:
        """Submit a generation: the paid call. See :func:`.protocol.submit`."""
        return await self.send(self._submission(body, idempotency_key, resend_unknown))

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
        doubt = _Doubt(call)

        async def attempt() -> T:
            with doubt.watch(), self._named_failures(call):
                return await self._send_once(call)

        policy = self.retry if repeat else self.retry.once()
        with doubt.settle():
            return await AsyncRetrying(**tenacity_arguments(call, policy, asyncio.sleep))(attempt)

    async def _send_once(self, call: Call[T]) -> T:
        check, content = self._body_guard(call), bytearray()
        async with (
            # Headers can trickle in, too. Only this timeout covers the whole call.
            asyncio.timeout(self._seconds(call)),
            self._http.stream(call.method, call.path, **self._request_options(call)) as response,
        ):
            self._refuse_encoding(response)
            async for chunk in response.aiter_bytes():
                content += chunk
                check(len(content))
        return call.read(self._reply(response, bytes(content)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()
