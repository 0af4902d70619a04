"""Fetches one video over a network that breaks, in constant memory.

Owns the bytes between a media host and a staged file: resuming after a broken connection, renewing an expired URL, the
size cap and computing the SHA-256. Keeps invariants 7 and 8: the result is as long as the server said and comes from
one version of the file. This client knows no API key, sends no cookies and checks every redirect before following it.
"""

from __future__ import annotations

import functools
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Self

import httpx

from airflow_provider_apimart import __version__
from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.client.environment import load_tls, open_proxy
from airflow_provider_apimart.client.errors import ConfigurationError, LandingError, VideoExpiredError
from airflow_provider_apimart.generation.landing.addresses import Resolver, Route, parse_url, resolve_host, route, shown
from airflow_provider_apimart.generation.landing.body_reader import pieces
from airflow_provider_apimart.generation.landing.encodings import expand, is_compressed
from airflow_provider_apimart.generation.landing.resumable import MismatchError, ResumableFile
from airflow_provider_apimart.storage.checksum import Sha256

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]

MAX_REDIRECTS = 3
MAX_FAILURES = 5
MAX_REFUSALS = 4
MAX_BACKOFF_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 60.0
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
#: The media host has been seen to stall clients that send no browser-like headers.
HEADERS = {
    "User-Agent": f"Mozilla/5.0 (compatible; airflow-provider-apimart/{__version__})",
    "Accept": "video/mp4,video/*;q=0.9,*/*;q=0.8",
    "Accept-Language": "en",
    "Accept-Encoding": "identity",
}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: The statuses with which media hosts reject a signed URL that is no longer valid.
REFUSALS = frozenset({400, 401, 403, 404, 410})
PASSING = frozenset({408, 425, 429})


class _Broken(Exception):
    """This attempt failed temporarily. ``retry_after_seconds`` is the wait that the server requested."""

    def __init__(self, text: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class _Refused(Exception):
    """The server does not serve this URL, or no longer does."""


class Downloader:
    """Fetches videos. One instance serves many videos; as a context manager it closes its connections.

    :param allow_private: whether media may be on the worker's own network (``addresses.host_is_private`` of the API).
    :param deadline_seconds: the time after which it gives up on one video; ``None`` leaves that to the caller.
    :param sleep: waits between attempts.
    :param resolver: resolves a host to addresses.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        deadline_seconds: float | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        sleep: Callable[[float], Any] = time.sleep,
        resolver: Resolver = resolve_host,
    ) -> None:
        self._allow_private = allow_private
        self._deadline_seconds = deadline_seconds
        self._timeout = timeout
        self._sleep = sleep
        self._resolver = resolver
        self._clients: dict[tuple[str | None, bool], httpx.Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        while self._clients:
            self._clients.popitem()[1].close()

    def fetch(
        self,
        url: str,
        refresh: Callable[[], str | None],
        sink: BinaryIO,
        *,
        max_bytes: int,
        on_progress: Progress | None = None,
    ) -> tuple[int, str]:
        """Fetch a whole file into ``sink`` and return its length and SHA-256.

        :param refresh: requests a new URL when the old one is no longer served; returns ``None`` if there is no other.
        :param sink: an empty file, readable, writable and seekable.
        :param max_bytes: a longer file is refused.
        :param on_progress: called with the bytes received and, if known, the total.
        :raises LandingError: and its subclasses; see there.
        """
        with Sha256() as digest:
            resumable = ResumableFile(sink, max_bytes, digest)
            self._fetch_whole(url, refresh, resumable, on_progress)
            sink.flush()
            fetched = resumable.received, resumable.sha256
        return (expand(sink, max_bytes) if resumable.compressed else None) or fetched

    def _fetch_whole(
        self, url: str, refresh: Callable[[], str | None], resumable: ResumableFile, on_progress: Progress | None
    ) -> None:
        failures = refusals = best = 0
        started = time.monotonic()
        while True:
            try:
                self._attempt(url, resumable, on_progress, started)
                return
            except _Refused as refusal:
                refusals += 1
                url = self._renewed(url, refresh, refusal, refusals)
            except (_Broken, MismatchError) as failure:
                progressed, best = resumable.received > best, max(best, resumable.received)
                failures, refusals = (1, 0) if progressed else (failures + 1, refusals)
                self._wait(failure, failures, url, resumable)

    def _renewed(self, url: str, refresh: Callable[[], str | None], refusal: _Refused, refusals: int) -> str:
        """Request a new URL. If it is the same again, wait: a host may learn of a new object with a delay."""
        renewed = refresh() if refusals < MAX_REFUSALS else None
        if renewed is None:
            raise VideoExpiredError(
                f"{shown(url)} is not served ({refusal}), and asking APIMart for the URL anew gave none that is"
            ) from refusal
        log.info("%s is not served (%s); asked APIMart for the URL anew", shown(url), refusal)
        if renewed == url:
            self._sleep(_backoff(refusals))
        return renewed

    def _wait(self, failure: Exception, failures: int, url: str, resumable: ResumableFile) -> None:
        so_far = f"{resumable.received} of {resumable.total if resumable.total is not None else 'unknown'} bytes"
        if failures >= MAX_FAILURES:
            raise LandingError(
                f"{shown(url)} could not be fetched: {failure}; {so_far} received, {failures} attempts without progress"
            ) from failure
        asked = failure.retry_after_seconds if isinstance(failure, _Broken) else None
        pause = _backoff(failures) if asked is None else min(max(asked, 0.0), MAX_RETRY_AFTER_SECONDS)
        log.info("Fetching %s: %s; %s received, going on in %.1f s", shown(url), failure, so_far, pause)
        self._sleep(pause)

    def _attempt(self, url: str, resumable: ResumableFile, on_progress: Progress | None, started: float) -> None:
        """Fetch the missing bytes. Return when none are missing."""
        headers = resumable.request_headers()
        hop = parse_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            with self._get(hop, headers) as response:
                if response.status_code in REDIRECTS:
                    hop = _redirected(hop, response)
                    continue
                compressed = _admit(response)
                resumable.begin(response.status_code, response.headers)
                resumable.compressed = resumable.compressed or compressed
                if response.status_code != 416:
                    for chunk in pieces(response):
                        resumable.write(chunk)
                        self._check_deadline(started, resumable)
                        if on_progress is not None:
                            on_progress(resumable.received, resumable.total)
                resumable.end()
            if not resumable.finished:
                raise _Broken("the connection ended early")
            return
        raise LandingError(f"{shown(url)} redirects more than {MAX_REDIRECTS} times, last to {shown(hop)}")

    def _check_deadline(self, started: float, resumable: ResumableFile) -> None:
        if self._deadline_seconds is not None and time.monotonic() - started > self._deadline_seconds:
            raise LandingError(
                f"The video was not fetched within {self._deadline_seconds:g} s: "
                f"{resumable.received} of {resumable.total} bytes received"
            )

    @contextmanager
    def _get(self, url: httpx.URL, headers: dict[str, str]) -> Iterator[httpx.Response]:
        try:
            way = route(url, allow_private=self._allow_private, resolver=self._resolver)
        except ConfigurationError as error:
            raise _unusable(error) from error
        except OSError as error:
            raise _Broken(f"{url.host} could not be resolved: {error}") from error
        try:
            response = self._send(way, {**HEADERS, **headers})
            try:
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            raise _Broken(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error

    def _send(self, way: Route, headers: dict[str, str]) -> httpx.Response:
        client = self._client(way.proxy, encrypted="https" in (way.url.scheme, httpx.URL(way.proxy or "").scheme))
        addresses: tuple[str | None, ...] = way.addresses or (None,)
        for address in addresses[:-1]:
            try:
                return client.send(way.request(address, headers, self._timeout), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                log.debug("No connection to %s of %s: %s", address, way.url.host, error)
        return client.send(way.request(addresses[-1], headers, self._timeout), stream=True)

    def _client(self, proxy: str | None, *, encrypted: bool) -> httpx.Client:
        if (proxy, encrypted) not in self._clients:
            # addresses.py reads the proxies from the environment. If httpx read it too, it would also send .netrc's
            # passwords, and it would use a proxy in spite of NO_PROXY, because the pinned address hides the host's
            # name. No connection is reused: the pool distinguishes them by address, and two hosts may share one.
            try:
                self._clients[proxy, encrypted] = httpx.Client(
                    verify=load_tls() if encrypted else _no_tls(),
                    proxy=open_proxy(proxy) if proxy else None,
                    trust_env=False,
                    limits=httpx.Limits(max_keepalive_connections=0),
                )
            except ConfigurationError as error:
                raise _unusable(error) from error
        return self._clients[proxy, encrypted]


def _unusable(error: ConfigurationError) -> LandingError:
    """Turn a configuration error into a temporary one: the video is paid for, and the next try may run in a working
    environment. Before payment the same error would be final.
    """
    return LandingError(f"The video cannot be fetched with this environment: {error}")


@functools.cache
def _no_tls() -> ssl.SSLContext:
    """Return a context that trusts nobody. Plain HTTP needs no certificates, but httpx requires a context."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _admit(response: httpx.Response) -> bool:
    """Accept only answers that carry the file; return whether the headers call it compressed."""
    status = response.status_code
    if status in (200, 206, 416):
        return is_compressed(response.headers)
    if status in REFUSALS:
        raise _Refused(f"HTTP {status}")
    if status in PASSING or status >= 500:
        raise _Broken(f"HTTP {status}", retry_after(response.headers))
    raise LandingError("The media host gave an answer that is no video", status=status)


def _redirected(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location")
    if not location:
        raise LandingError(f"{shown(url)} redirects to nowhere", status=response.status_code)
    try:
        return url.join(location)
    except httpx.InvalidURL as error:
        raise LandingError(f"{shown(url)} redirects to an unreadable URL", status=response.status_code) from error


def _backoff(failures: int) -> float:
    return min(MAX_BACKOFF_SECONDS, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads, hides nothing
