"""The routes of YouTube's Data API and of Google's token endpoint, at their own paths."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.publishing import youtube_uploads
from airflow_provider_apimart.emulator.publishing.faults import PublishFault
from airflow_provider_apimart.emulator.publishing.serving import whole_number
from airflow_provider_apimart.emulator.publishing.world import World
from airflow_provider_apimart.emulator.publishing.youtube import CHANNEL, TITLE, UPLOADS
from airflow_provider_apimart.emulator.publishing.youtube_rules import CATEGORIES, Problem
from airflow_provider_apimart.emulator.publishing.youtube_serving import YouTubeServing

PAGE, DEFAULT_PAGE = 50, 5


def routes(world: World) -> APIRouter:
    """Return the routes of YouTube."""
    router, channel = APIRouter(), world.youtube
    youtube = YouTubeServing(channel, world.faults)
    router.include_router(youtube_uploads.routes(youtube, world.base_url))
    _video_routes(router, youtube)
    _playlist_routes(router, youtube)

    @router.post("/token")
    async def token(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
            if given.get("grant_type") != "refresh_token":
                return JSONResponse({"error": "unsupported_grant_type"}, 400)
            names = ("client_id", "client_secret", "refresh_token")
            try:
                access, seconds = channel.project.grant(*(given.get(name, "") for name in names))
            except Problem as problem:
                told = {"error": problem.reason, "error_description": problem.message}
                return JSONResponse(told, problem.status)
            return JSONResponse(
                {
                    "access_token": access,
                    "expires_in": int(seconds),
                    "token_type": "Bearer",
                    "scope": channel.project.scope,
                }
            )

        return await youtube.step("token", work)

    @router.get("/youtube/v3/channels")
    async def channels(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 1)
            parts = youtube.parts(request)
            whole: dict[str, Any] = {
                "snippet": {"title": TITLE},
                "status": {"longUploadsStatus": "allowed", "privacyStatus": "public"},
                "contentDetails": {"relatedPlaylists": {"uploads": UPLOADS}},
            }
            query = request.query_params
            if query.get("mine", "").lower() != "true" and CHANNEL not in youtube.required(request, "id").split(","):
                return JSONResponse(_list("youtube#channelListResponse", []))
            item: dict[str, Any] = {"kind": "youtube#channel", "etag": "etag", "id": CHANNEL}
            item |= {name: value for name, value in whole.items() if name in parts}
            return JSONResponse(_list("youtube#channelListResponse", [item]))

        return await youtube.step("channels", work, domain="youtube.channel")

    @router.get("/youtube/v3/videoCategories")
    async def categories(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 1)
            youtube.parts(request)
            items = [
                {
                    "kind": "youtube#videoCategory",
                    "etag": "etag",
                    "id": each,
                    "snippet": {"title": title, "assignable": True, "channelId": "UCBR8-60-B28hp2BmDPdntcQ"},
                }
                for each, title in CATEGORIES.items()
            ]
            return JSONResponse(_list("youtube#videoCategoryListResponse", items))

        return await youtube.step("categories", work, domain="youtube.videoCategory")

    return router


def _video_routes(router: APIRouter, youtube: YouTubeServing) -> None:
    channel = youtube.channel

    @router.get("/youtube/v3/videos")
    async def videos(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 1)
            parts = youtube.parts(request)
            found = []
            for video_id in youtube.required(request, "id").split(",")[:PAGE]:
                try:
                    found.append(channel.resource(channel.known(video_id), parts))
                except Problem:
                    continue
            return JSONResponse(_list("youtube#videoListResponse", found))

        return await youtube.step("videos", work)

    @router.put("/youtube/v3/videos")
    async def update(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 50)
            parts = youtube.parts(request)
            return JSONResponse(channel.resource(channel.update(await youtube.body_of(request), parts), parts))

        return await youtube.step("update", work)

    @router.delete("/youtube/v3/videos")
    async def delete(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 50)
            channel.delete(youtube.required(request, "id"))
            return Response(b"", 204)

        return await youtube.step("delete", work)


def _playlist_routes(router: APIRouter, youtube: YouTubeServing) -> None:
    channel = youtube.channel

    @router.get("/youtube/v3/playlistItems")
    async def playlist_items(request: Request) -> Response:
        query = request.query_params
        playlist = query.get("playlistId", "")

        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 1)
            parts = youtube.parts(request)
            wanted = query.get("videoId")
            entries = [
                _entry(playlist, each, number)
                for number, each in enumerate(channel.playlist(youtube.required(request, "playlistId")))
                if wanted in (None, each)
            ]
            most = min(PAGE, whole_number(query.get("maxResults", "")) or DEFAULT_PAGE)
            first = whole_number(query.get("pageToken", "0"))
            if first is None:
                raise Problem(400, "invalidPageToken", "The page token is not valid.", "pageToken")
            page = entries[first : first + most]
            answer = _list("youtube#playlistItemListResponse", [_only(each, parts) for each in page])
            answer["pageInfo"] = {"totalResults": len(entries), "resultsPerPage": most}
            if first + len(page) < len(entries):
                answer["nextPageToken"] = str(first + len(page))
            return JSONResponse(answer)

        return await youtube.step("list" if playlist == UPLOADS else "playlist", work, domain="youtube.playlistItem")

    @router.post("/youtube/v3/playlistItems")
    async def add_to_playlist(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            youtube.allow(request, 50)
            parts = youtube.parts(request)
            body = await youtube.body_of(request)
            snippet = (body.get("snippet") if isinstance(body, dict) else None) or {}
            playlist, video_id = str(snippet.get("playlistId")), str((snippet.get("resourceId") or {}).get("videoId"))
            return JSONResponse(_only(_entry(playlist, video_id, channel.add(playlist, video_id)), parts))

        return await youtube.step("playlist_add", work, domain="youtube.playlistItem")


def _list(kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    page = {"totalResults": len(items), "resultsPerPage": len(items)}
    return {"kind": kind, "etag": "etag", "pageInfo": page, "items": items}


def _only(item: dict[str, Any], parts: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name in parts or name in ("kind", "etag", "id")}


def _entry(playlist: str, video_id: str, number: int) -> dict[str, Any]:
    resource = {"kind": "youtube#video", "videoId": video_id}
    return {
        "kind": "youtube#playlistItem",
        "etag": "etag",
        "id": f"{playlist}-{number}",
        "snippet": {"playlistId": playlist, "resourceId": resource, "position": number},
        "contentDetails": {"videoId": video_id},
    }
