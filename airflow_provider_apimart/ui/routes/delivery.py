"""Sends a stored file to a browser, in parts, with a bound on what this process holds for it.

An open range (``bytes=0-``, what a ``<video>`` asks for) gets one piece of the file and no more: a player that has
enough buffered would otherwise hold its connection for as long as it plays. It asks for the next piece by itself.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import AsyncIterator, MutableMapping
from threading import Lock
from typing import Any

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response, StreamingResponse

from airflow_provider_apimart.ui.routes.headers import Receive, Scope, Send
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.storage import PIECE, NoAnswer, NotShown, StoredFile, in_pool, presigned

#: A private copy, in the browser of the one who may see it. Permissions are asked again after that.
CACHE = "private, max-age=60"
#: Who logs in after them, in the same browser, gets a copy of their own.
VARY = "Cookie, Authorization"
RETRY_SECONDS = "2"
#: Bytes that are handed to the server at once.
SLICE = 128 * 1024
#: A client that takes nothing for so long is let go: its place is for others. A browser asks for the rest by itself.
STALL_SECONDS = 60.0


class Streams:
    """How many files are being sent by this process."""

    def __init__(self) -> None:
        self.sending = 0
        # An answer that was never sent is counted out by the garbage collector, in any thread.
        self._lock = Lock()

    def begin(self, most: int) -> None:
        """Count one more.

        :raises HTTPException: 503 if there are too many.
        """
        with self._lock:
            free = self.sending < most
            self.sending += free
        if not free:
            text = "Too many videos are being watched through this server; try again in a moment."
            raise HTTPException(503, text, headers={"Retry-After": RETRY_SECONDS})

    def end(self) -> None:
        """Count one less."""
        with self._lock:
            self.sending -= 1


streams = Streams()


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte that a request asks for, or ``None`` for the whole file.

    Whatever is no single range is ignored, as RFC 9110 allows.

    :raises HTTPException: 416 for a range that is not in the file.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", header or "")
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size - 1
        beyond = int(last) == 0 or size == 0
    elif not last:
        start, end = int(first), min(size - 1, int(first) + PIECE - 1)
        beyond = start >= size
    else:
        start, end = int(first), min(size - 1, int(last))
        beyond = start >= size
        if int(last) < start:
            return None
    if beyond:
        raise HTTPException(416, "This range is not in the file.", headers={"Content-Range": f"bytes */{size}"})
    return start, end


async def send_file(file: StoredFile, header: str | None, settings: Settings, *, method: str = "GET") -> Response:
    """Return the answer that sends a file, or a part of it.

    :param header: the request's ``Range``.
    """
    part = byte_range(header, file.size)
    start, end = part or (0, file.size - 1)
    headers = {"Accept-Ranges": "bytes", "Cache-Control": CACHE, "Vary": VARY, "Content-Length": str(end - start + 1)}
    if part:
        headers["Content-Range"] = f"bytes {start}-{end}/{file.size}"
    status = 206 if part else 200
    if method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    streams.begin(settings.max_streams)
    try:
        # The first piece before the first header, so that a storage that fails is told as that.
        first = await _piece(file, start, end)
    except BaseException:
        streams.end()
        raise
    return _Sending(_pieces(file, first, start, end), status, headers, file.media_type)


class _Sending(StreamingResponse):
    """An answer that is counted until it has been sent, its client has gone or sleeps, or it is thrown away."""

    def __init__(self, body: AsyncIterator[bytes], status: int, headers: dict[str, str], media_type: str) -> None:
        super().__init__(body, status, headers, media_type)
        self._end = weakref.finalize(self, streams.end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stalled = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal stalled
            try:
                await asyncio.wait_for(send(message), STALL_SECONDS)
            except TimeoutError:
                stalled = True
                raise ClientDisconnect from None

        try:
            await super().__call__(scope, receive, sending)
        except BaseException:
            # (Starlette wraps it in a group, or not, as the server's version says.)
            if stalled:
                raise ClientDisconnect from None
            raise
        finally:
            self._end()


async def _pieces(file: StoredFile, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    piece = first
    while True:
        start += len(piece)
        # The server keeps a copy of what a slow client has not taken yet: so it gets little at a time.
        for at in range(0, len(piece), SLICE):
            yield piece[at : at + SLICE]
        if start > end:
            return
        piece = await _piece(file, start, end)


async def _piece(file: StoredFile, start: int, end: int) -> bytes:
    length = min(PIECE, end - start + 1)
    if length <= 0:
        return b""
    try:
        piece = await in_pool(file.read, start, length)
    except (NotShown, NoAnswer) as error:
        raise as_http(error) from None
    except Exception as error:
        raise HTTPException(502, f"The storage does not answer now ({type(error).__name__}).") from error
    if len(piece) != length:
        raise HTTPException(502, "The file is shorter than it was.")
    return piece


async def send_video(file: StoredFile, header: str | None, settings: Settings, *, method: str = "GET") -> Response:
    """Return the answer for a video: the file itself, or a short-lived link to it, as the configuration says."""
    if settings.video_delivery != "proxy":
        try:
            link = await in_pool(presigned, file, settings.video_link_seconds)
        except NoAnswer as error:
            raise HTTPException(504, str(error)) from None
        if link is not None:
            return RedirectResponse(link, 307, {"Cache-Control": "no-store"})
        if settings.video_delivery == "redirect":
            text = "[apimart] video_delivery is redirect, and this storage makes no presigned links; auto or proxy do."
            raise HTTPException(501, text)
    return await send_file(file, header, settings, method=method)


def as_http(error: NotShown | NoAnswer) -> HTTPException:
    """Return the answer for a file that cannot be shown."""
    return HTTPException(404 if isinstance(error, NotShown) else 504, str(error))
