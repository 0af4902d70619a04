"""Sends the API's GETs over aiohttp, at a fraction of httpx's cost (docs/polling.md has the figures).

A triggerer asks thousands of times a minute, so these reads are worth a transport of their own. They cost no money and
may be repeated, so a kept connection that the server has closed is no failure: the call is sent once more at once.
Whatever is paid for, uploaded or downloaded, and whatever goes through a proxy, is httpx's.

What fails here fails with httpx's exceptions, so that both transports' failures are named in one place.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import httpx
from yarl import URL

from airflow_provider_apimart.client.body import Body
from airflow_provider_apimart.client.protocol import Call, Reply

#: What httpx's parser takes, too: gateways can add long headers.
MAX_HEADER_BYTES = 64 * 1024


class QuickGet:
    """A pool of connections to one server. Create it on the event loop that uses it, and close it.

    :param base_url: the API's address.
    :param headers: sent with every call.
    :param tls: checks the server's certificate.
    :param connections: how many there may be at once. The pool shrinks again when fewer are used.
    :param keepalive_seconds: how long an idle connection is kept.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext,
        *,
        connections: int,
        keepalive_seconds: float,
        connect_seconds: float,
    ) -> None:
        base = URL(base_url)
        self._scheme, self._authority, self._path = base.scheme, base.raw_authority, base.raw_path.rstrip("/")
        self._size = PoolSize(keepalive_seconds)
        self._time = asyncio.get_running_loop().time
        self._session = aiohttp.ClientSession(
            # The system's own resolver, as httpx has it: aiohttp would use another where that is installed.
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=keepalive_seconds, ssl=tls, resolver=aiohttp.ThreadedResolver()
            ),
            # Status answers are a few hundred bytes, which nothing is gained by compressing.
            headers={**headers, "Accept-Encoding": "identity"},
            # The caller bounds the whole call; body.py inflates what comes compressed all the same.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_once,),
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    async def get(self, call: Call[Any], headers: Mapping[str, str], seconds: float, secret: str) -> Reply:
        """Send a call and return its answer.

        :param headers: sent with this call.
        :param seconds: how long the body may take.
        :param secret: the API key, for the reply to remove.
        :raises httpx.HTTPError: whatever goes wrong on the way.
        :raises ApimartError: for a body that may not be read.
        """
        query = urlencode(call.params, quote_via=quote) if call.params else ""
        url = URL.build(
            scheme=self._scheme,
            authority=self._authority,
            path=self._path + call.path,
            query_string=query,
            encoded=True,
        )
        try:
            kept = self._size.has_idle
            try:
                return await self._exchange(url, call, headers, seconds, secret)
            except _BrokenOffError:
                if not kept:
                    raise
            return await self._exchange(url, call, headers, seconds, secret)
        except aiohttp.ClientConnectorError as error:
            # The system's own words. aiohttp's name the host, which the caller names anyway, and objects in memory.
            raise httpx.ConnectError(str(error.os_error)) from None
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from None
        except aiohttp.ClientError as error:
            raise httpx.ReadError(str(error) or type(error).__name__) from None

    async def _exchange(
        self, url: URL, call: Call[Any], headers: Mapping[str, str], seconds: float, secret: str
    ) -> Reply:
        if self._size.surplus(self._time()):
            headers = {**headers, "Connection": "close"}
        self._size.began()
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                fields: dict[str, str] = {}
                for name, value in response.headers.items():
                    # (As httpx has it: what comes several times is one list.)
                    key = name.lower()
                    fields[key] = f"{fields[key]}, {value}" if key in fields else value
                body = Body(fields.get("content-encoding", ""), response.status, call.what, seconds)
                while chunk := await response.content.readany():
                    for _ in body.pieces(chunk):
                        await asyncio.sleep(0)
                return Reply(response.status, fields, body.whole(), secret)
        except aiohttp.ClientError:
            self._size.lost()
            raise
        finally:
            self._size.ended()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


class _BrokenOffError(aiohttp.ClientError):
    """The connection was closed before the answer began."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once: aiohttp itself would send a GET again, on a new connection, too."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error


class PoolSize:
    """Tells a pool when it has more connections than it needs. Pure: the caller passes the time.

    aiohttp uses the connection next that has been idle for longest, so at a steady rate none of those of a busy hour
    would ever be idle for long enough to be closed.

    :param window_seconds: a connection that was needed within this time is kept.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._turns_at = 0.0
        self._now = self._most = self._most_before = 0
        #: At most so many are open: as many as were ever in use at once, less those that were to close.
        self._open = 0

    def surplus(self, now: float) -> bool:
        """Return whether the connection of the next call should close after it. ``True`` counts as done."""
        if now >= self._turns_at:
            self._turns_at = now + self._window
            self._most_before, self._most = self._most, self._now
        if self._open <= max(self._most, self._most_before, self._now + 1):
            return False
        self._open -= 1
        return True

    def began(self) -> None:
        """Count a call that is sent."""
        self._now += 1
        self._most = max(self._most, self._now)
        self._open = max(self._open, self._now)

    def ended(self) -> None:
        """Count a call that is over."""
        self._now -= 1

    def lost(self) -> None:
        """Count the connection of a call that is not over yet as closed."""
        self._open -= 1

    @property
    def has_idle(self) -> bool:
        """True if the next call may use a connection that was kept. (The server may have closed it unnoticed.)"""
        return self._open > self._now
