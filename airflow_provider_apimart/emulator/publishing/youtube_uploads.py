"""The routes of YouTube's resumable upload, and of the thumbnail's upload."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from airflow_provider_apimart.emulator.publishing.faults import PublishFault
from airflow_provider_apimart.emulator.publishing.serving import whole_number
from airflow_provider_apimart.emulator.publishing.youtube import PIECE, Upload
from airflow_provider_apimart.emulator.publishing.youtube_rules import Problem
from airflow_provider_apimart.emulator.publishing.youtube_serving import YouTubeServing

_RANGE = re.compile(r"bytes (?:\*|(\d{1,15})-(\d{1,15}))/(\d{1,15}|\*)")
MAX_THUMBNAIL = 50 * 1024 * 1024


@dataclass(frozen=True)
class Piece:
    """What a PUT on a session says that it brings.

    :param first: ``None`` for a question: how far are you?
    :param length: ``None`` if the body's length is not announced.
    :param total: the whole file's size, if it is said.
    """

    first: int | None
    length: int | None
    total: int | None


def read_piece(request: Request) -> Piece:
    """Read ``Content-Range`` and ``Content-Length``.

    :raises Problem: if they contradict each other, or a piece that is not the last is no multiple of 256 KiB.
    """
    text = request.headers.get("content-range")
    length = whole_number(request.headers.get("content-length", ""))
    if text is None:
        return Piece(0, length, length)
    found = _RANGE.fullmatch(text)
    if found is None:
        raise Problem(400, "badRequest", f"Content-Range is not understood: {text[:100]!r}.", "Content-Range")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return Piece(None, 0, total)
    first, last = int(found[1]), int(found[2])
    whole = last - first + 1
    is_last = total is not None and last + 1 == total
    if (
        whole < 1
        or length not in (None, whole)
        or (total is not None and last >= total)
        or (not is_last and whole % PIECE)
    ):
        raise Problem(400, "badRequest", "A piece must be a multiple of 256 KiB, and as long as it says.")
    return Piece(first, whole, total)


def routes(youtube: YouTubeServing, base_url: Callable[[Request], str]) -> APIRouter:
    """Return the routes of this module.

    :param base_url: the base of a session's URL.
    """
    router, channel = APIRouter(), youtube.channel

    @router.post("/upload/youtube/v3/videos")
    @router.post("/resumable/upload/youtube/v3/videos")
    async def start(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, inserts=1, uploads=True)
            if request.query_params.get("uploadType") != "resumable":
                raise Problem(400, "badRequest", "Only resumable uploads are emulated.", "uploadType")
            upload_id = channel.start(
                await youtube.body_of(request),
                youtube.parts(request),
                whole_number(request.headers.get("x-upload-content-length", "")),
                request.headers.get("slug", ""),
                notifies=request.query_params.get("notifySubscribers", "true").lower() != "false",
            )
            place = f"{base_url(request)}{request.url.path}?uploadType=resumable&upload_id={upload_id}"
            return Response(b"", 200, {"Location": place, "X-GUploader-UploadID": upload_id})

        return await youtube.step("start", work)

    async def take(request: Request, upload: Upload, piece: Piece, fault: PublishFault | None) -> None:
        """Read the body in pieces, and keep it while it arrives: what a broken connection brought stays."""
        at = piece.first or 0
        # What two workers send at once must not be mixed: each byte has its place, from the first to the last.
        keeps = at == upload.stored
        end = None if piece.length is None else at + piece.length
        if fault is not None and fault.kind in ("cut", "short"):
            end = at + fault.bytes if end is None else min(end, at + fault.bytes)
        try:
            async for chunk in request.stream():
                kept = chunk if end is None else chunk[: max(0, end - at)]
                if keeps and kept:
                    channel.store(upload, at, kept)
                    at += len(kept)
                if fault is not None and fault.kind == "cut" and at == end:
                    return
        except ClientDisconnect:
            return
        if keeps and piece.length is None:
            channel.end(upload)

    @router.put("/upload/youtube/v3/videos")
    @router.put("/resumable/upload/youtube/v3/videos")
    async def put(request: Request) -> Response:
        is_question = request.headers.get("content-range", "").startswith("bytes *")

        async def work(fault: PublishFault | None) -> Response:
            if request.headers.get("authorization"):
                # A session's URL is enough; a token that is sent is checked all the same.
                youtube.check_token(request, uploads=True)
            piece = read_piece(request)
            upload = channel.session(request.query_params.get("upload_id", ""), piece.total)
            if piece.first is not None:
                await take(request, upload, piece, fault)
            if fault is not None and fault.kind == "lose":
                channel.lose(upload)
            if upload.video is not None:
                return JSONResponse(channel.resource(upload.video, upload.parts), 201)
            stored = channel.shown_offset(upload)
            return Response(b"", 308, {"Range": f"bytes=0-{stored - 1}"} if stored else {})

        return await youtube.step("ask" if is_question else "upload", work)

    @router.post("/upload/youtube/v3/thumbnails/set")
    async def thumbnail(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 50, uploads=True)
            video = channel.known(request.query_params.get("videoId", ""))
            first, size = b"", 0
            async for chunk in request.stream():
                first, size = (first + chunk)[:8] if len(first) < 8 else first, size + len(chunk)
                if size > MAX_THUMBNAIL:
                    raise Problem(400, "mediaBodyTooLarge", "The thumbnail is larger than 50 MB.")
            if not first.startswith((b"\xff\xd8\xff", b"\x89PNG")):
                raise Problem(400, "invalidImage", "The provided image content is invalid.")
            video.thumbnail_bytes = size
            picture = {"url": f"https://i.ytimg.com/vi/{video.id}/default.jpg", "width": 120, "height": 90}
            told = {"kind": "youtube#thumbnailSetResponse", "etag": "etag", "items": [{"default": picture}]}
            return JSONResponse(told)

        return await youtube.step("thumbnail", work, domain="youtube.thumbnail")

    return router
