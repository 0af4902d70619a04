"""The routes of YouTube's Data API, its resumable upload, and Google's token endpoint, at their own paths."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from airflow_provider_apimart.emulator.publishing.faults import PublishFault
from airflow_provider_apimart.emulator.publishing.serving import Refused, serve
from airflow_provider_apimart.emulator.publishing.world import World
from airflow_provider_apimart.emulator.publishing.youtube import CATEGORIES, CHANNEL, UPLOADS, Problem, Upload

_RANGE = re.compile(r"bytes (?:\*|(\d{1,15})-(\d{1,15}))/(\d{1,15})")
PAGE = 50


def _refused(status: int, reason: str, message: str = "", location: str = "") -> Refused:
    one = {"domain": "youtube.video", "reason": reason, "message": message or reason}
    if location:
        one |= {"location": location, "locationType": "parameter"}
    return Refused(status, {"error": {"code": status, "message": message or reason, "errors": [one]}})


def _of_fault(fault: PublishFault) -> Refused:
    return _refused(fault.status, fault.reason)


def _json(body: Any, status: int = 200) -> Response:
    return JSONResponse(body, status)


def routes(world: World) -> APIRouter:
    """Return the routes of this module."""
    router, channel = APIRouter(), world.youtube

    async def step(name: str, work: Callable[[PublishFault | None], Awaitable[Response]]) -> Response:
        async def checked(fault: PublishFault | None) -> Response:
            try:
                return await work(fault)
            except Problem as problem:
                raise _refused(problem.status, problem.reason, problem.message, problem.location) from None

        return await serve(world.faults, "youtube", name, checked, _of_fault)

    def allow(request: Request, units: int, *, uploads: bool = False) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        channel.check_token(token if scheme.lower() == "bearer" else "", uploads=uploads)
        channel.spend("inserts" if units == 0 else "units", max(units, 1))

    async def body_of(request: Request) -> Any:
        try:
            return json.loads(await request.body())
        except ValueError:
            raise Problem(400, "parseError", "The request body is no JSON.") from None

    @router.post("/token")
    async def token(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
            if given.get("grant_type") != "refresh_token":
                return _json({"error": "unsupported_grant_type"}, 400)
            try:
                access, seconds = channel.grant(*(given.get(name, "") for name in (
                    "client_id", "client_secret", "refresh_token",
                )))  # fmt: skip
            except Problem as problem:
                return _json({"error": problem.reason, "error_description": problem.message}, problem.status)
            return _json(
                {
                    "access_token": access,
                    "expires_in": int(seconds),
                    "token_type": "Bearer",
                    "scope": "https://www.googleapis.com/auth/youtube",
                }
            )

        return await step("token", work)

    # --- the resumable upload ----------------------------------------------------------------------------------------

    @router.post("/upload/youtube/v3/videos")
    @router.post("/resumable/upload/youtube/v3/videos")
    async def start(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 0, uploads=True)
            if request.query_params.get("uploadType") != "resumable":
                raise Problem(400, "badRequest", "Only resumable uploads are emulated.", "uploadType")
            size = request.headers.get("x-upload-content-length", "")
            upload_id = channel.start(
                await body_of(request), int(size) if size.isdigit() else 0, request.headers.get("slug", "")
            )
            base = str(request.base_url).rstrip("/")
            place = f"{base}{request.url.path}?uploadType=resumable&upload_id={upload_id}"
            return Response(b"", 200, {"Location": place, "X-GUploader-UploadID": upload_id})

        return await step("start", work)

    async def take(request: Request, upload: Upload, first: int, length: int, fault: PublishFault | None) -> None:
        """Read the body in pieces, and keep it while it arrives: what a broken connection brought stays."""
        keeps = first == upload.stored
        left = min(length, fault.bytes) if fault is not None else length
        try:
            async for chunk in request.stream():
                if keeps and left > 0:
                    channel.store(upload, chunk[:left])
                    left -= len(chunk)
                if fault is not None and fault.kind == "cut" and left <= 0:
                    return
        except ClientDisconnect:
            return

    @router.put("/upload/youtube/v3/videos")
    @router.put("/resumable/upload/youtube/v3/videos")
    async def put(request: Request) -> Response:
        asked = _RANGE.fullmatch(request.headers.get("content-range", ""))
        size = request.headers.get("content-length", "0")
        whole = int(size) if size.isdigit() else 0
        is_question = asked is not None and asked[1] is None

        async def work(fault: PublishFault | None) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme:
                # A session's URL is enough; a token that is sent is checked all the same.
                channel.check_token(token, uploads=True)
            total = int(asked[3]) if asked else whole
            upload = channel.session(request.query_params.get("upload_id", ""), total)
            if not is_question:
                first = int(asked[1]) if asked else 0
                last = int(asked[2]) if asked else whole - 1
                piece = last - first + 1
                if piece != whole or last >= total or (last + 1 < total and piece % (256 * 1024)):
                    raise Problem(400, "badRequest", "A piece must be a multiple of 256 KiB, and as long as it says.")
                await take(request, upload, first, piece, fault)
            if upload.video_id:
                video = channel.videos[upload.video_id]
                return _json(channel.resource(video, {"snippet", "status"}), 201)
            stored = channel.shown_offset(upload)
            return Response(b"", 308, {"Range": f"bytes=0-{stored - 1}"} if stored else {})

        return await step("ask" if is_question else "upload", work)

    # --- the Data API ------------------------------------------------------------------------------------------------

    @router.get("/youtube/v3/channels")
    async def channels(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 1)
            parts = set(request.query_params.get("part", "").split(","))
            whole: dict[str, Any] = {
                "snippet": {"title": "Emulated channel"},
                "status": {"longUploadsStatus": "allowed", "privacyStatus": "public"},
                "contentDetails": {"relatedPlaylists": {"uploads": UPLOADS}},
            }
            item: dict[str, Any] = {"kind": "youtube#channel", "etag": "etag", "id": CHANNEL}
            item |= {name: value for name, value in whole.items() if name in parts}
            return _json(_list("youtube#channelListResponse", [item]))

        return await step("channels", work)

    @router.get("/youtube/v3/videos")
    async def videos(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 1)
            parts = set(request.query_params.get("part", "").split(","))
            found = []
            for video_id in request.query_params.get("id", "").split(",")[:PAGE]:
                try:
                    found.append(channel.resource(channel.known(video_id), parts))
                except Problem:
                    continue
            return _json(_list("youtube#videoListResponse", found))

        return await step("videos", work)

    @router.put("/youtube/v3/videos")
    async def update(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 50)
            parts = set(request.query_params.get("part", "").split(","))
            return _json(channel.resource(channel.update(await body_of(request)), parts))

        return await step("update", work)

    @router.get("/youtube/v3/playlistItems")
    async def playlist_items(request: Request) -> Response:
        query = request.query_params
        playlist = query.get("playlistId", "")

        async def work(fault: PublishFault | None) -> Response:
            allow(request, 1)
            if playlist == UPLOADS:
                ids = [video.id for video in channel.listed()]
            elif playlist.startswith("PL"):
                # Every playlist of the channel exists, as one can be added to that was never named before.
                ids = channel.playlists.get(playlist, [])
            else:
                raise Problem(404, "playlistNotFound", "The playlist cannot be found.", "playlistId")
            wanted = query.get("videoId")
            ids = [each for each in ids if wanted in (None, each)]
            size = query.get("maxResults", "5")
            size_, first = (int(size) if size.isdigit() else 5), int(query.get("pageToken") or 0)
            page = ids[first : first + min(PAGE, size_)]
            items = [_entry(playlist, each, number) for number, each in enumerate(page)]
            answer = _list("youtube#playlistItemListResponse", items)
            if first + len(page) < len(ids):
                answer["nextPageToken"] = str(first + len(page))
            return _json(answer)

        return await step("list" if playlist == UPLOADS else "playlist", work)

    @router.post("/youtube/v3/playlistItems")
    async def add_to_playlist(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 50)
            snippet = (await body_of(request)).get("snippet") or {}
            playlist, video_id = str(snippet.get("playlistId")), str((snippet.get("resourceId") or {}).get("videoId"))
            channel.known(video_id)
            ids = channel.playlists.setdefault(playlist, [])
            ids.append(video_id)
            return _json(_entry(playlist, video_id, len(ids) - 1))

        return await step("playlist_add", work)

    @router.post("/upload/youtube/v3/thumbnails/set")
    async def thumbnail(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 50)
            video = channel.known(request.query_params.get("videoId", ""))
            data = await request.body()
            if not data.startswith((b"\xff\xd8\xff", b"\x89PNG")):
                raise Problem(400, "invalidImage", "The provided image content is invalid.")
            video.thumbnail_bytes = len(data)
            return _json({"kind": "youtube#thumbnailSetResponse", "etag": "etag", "items": [{}]})

        return await step("thumbnail", work)

    @router.get("/youtube/v3/videoCategories")
    async def categories(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request, 1)
            items = [
                {"kind": "youtube#videoCategory", "etag": "etag", "id": each, "snippet": {"title": title}}
                for each, title in CATEGORIES.items()
            ]
            return _json(_list("youtube#videoCategoryListResponse", items))

        return await step("categories", work)

    return router


def _list(kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    page = {"totalResults": len(items), "resultsPerPage": len(items)}
    return {"kind": kind, "etag": "etag", "pageInfo": page, "items": items}


def _entry(playlist: str, video_id: str, number: int) -> dict[str, Any]:
    resource = {"kind": "youtube#video", "videoId": video_id}
    return {
        "kind": "youtube#playlistItem",
        "etag": "etag",
        "id": f"{playlist}-{number}",
        "snippet": {"playlistId": playlist, "resourceId": resource, "position": number},
        "contentDetails": {"videoId": video_id},
    }
