"""The routes of the Graph API that publish Reels, and of Meta's upload host, for any version prefix."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from airflow_provider_apimart.emulator.publishing.faults import PublishFault
from airflow_provider_apimart.emulator.publishing.instagram import DAILY_POSTS, USER, USERNAME, Container, GraphProblem
from airflow_provider_apimart.emulator.publishing.serving import Refused, serve, whole_number
from airflow_provider_apimart.emulator.publishing.world import World

NOT_FETCHED = 2207052
SIXTY_DAYS = 60 * 86_400


def _refused(status: int, message: str, code: int, subcode: int | None = None, *, transient: bool = False) -> Refused:
    error = {"message": message, "type": "OAuthException", "code": code, "is_transient": transient}
    error |= {"error_subcode": subcode} if subcode is not None else {}
    return Refused(status, {"error": {**error, "fbtrace_id": secrets.token_hex(6)}})


def _of_fault(fault: PublishFault) -> Refused:
    text = "An unexpected error has occurred. Please retry later."
    return _refused(fault.status, text, fault.code, fault.subcode, transient=fault.transient)


def _partial(message: str, status: int = 412) -> Response:
    info = {"retriable": True, "type": "PartialRequestError", "message": message}
    return JSONResponse({"debug_info": info}, status)


def routes(world: World) -> APIRouter:
    """Return the routes of this module."""
    router, account = APIRouter(), world.instagram
    fetching: set[asyncio.Task[None]] = set()

    async def step(name: str, work: Callable[[PublishFault | None], Awaitable[Response]]) -> Response:
        async def checked(fault: PublishFault | None) -> Response:
            try:
                return await work(fault)
            except GraphProblem as problem:
                raise _refused(problem.status, problem.message, problem.code, problem.subcode) from None

        return await serve(world.faults, "instagram", name, checked, _of_fault)

    def allow(request: Request, given: dict[str, Any] | None = None) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = (given or {}).get("access_token") or request.query_params.get("access_token")
        account.check_token(token if scheme.lower() in ("bearer", "oauth") else str(sent or ""))

    async def posted(request: Request) -> dict[str, Any]:
        text = (await request.body()).decode()
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = {name: values[0] for name, values in parse_qs(text).items()}
        if not isinstance(found, dict):
            raise GraphProblem(400, "(#100) The body must be an object or a form.", 100)
        return {**dict(request.query_params), **found}

    def own(user: str) -> None:
        if user not in (USER, "me"):
            raise GraphProblem(400, f"Unsupported request. Object with ID '{user}' does not exist", 100, 33)

    async def fetch(container: Container, url: str) -> None:
        """Fetch the video, as Meta does."""
        try:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=60, follow_redirects=True) as client,
                client.stream("GET", url) as response,
            ):
                response.raise_for_status()
                async for chunk in response.aiter_bytes():
                    container.digest.update(chunk)
                    container.stored += len(chunk)
        except (httpx.HTTPError, httpx.InvalidURL):
            container.error = NOT_FETCHED
            return
        account.completed(container)

    @router.post("/v{major:int}.{minor:int}/{user}/media")
    async def create(major: int, minor: int, user: str, request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            given = await posted(request)
            allow(request, given)
            own(user)
            container = account.create({name: value for name, value in given.items() if name != "access_token"})
            if given.get("video_url"):
                task = asyncio.create_task(fetch(container, str(given["video_url"])))
                fetching.add(task)
                task.add_done_callback(fetching.discard)
            answer = {"id": container.id}
            if given.get("upload_type") == "resumable":
                answer["uri"] = f"{world.base_url(request)}/ig-api-upload/v{major}.{minor}/{container.id}"
            return JSONResponse(answer)

        return await step("container", work)

    @router.post("/ig-api-upload/v{major:int}.{minor:int}/{container_id}")
    async def upload(major: int, minor: int, container_id: str, request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request)
            container = account.known(container_id)
            at, size = (whole_number(request.headers.get(name, "")) for name in ("offset", "file_size"))
            if at is None or not size:
                return _partial("The headers offset and file_size must be whole numbers.", 400)
            end = size if fault is None else min(size, at + fault.bytes)
            try:
                async for chunk in request.stream():
                    at = account.store(container, at, chunk[: max(0, end - at)])
                    if fault is not None and at >= end:
                        break
            except ClientDisconnect:
                pass
            if container.stored == size:
                account.completed(container)
                return JSONResponse({"success": True, "message": "Upload successful."})
            return _partial("Partial request")

        return await step("upload", work)

    @router.post("/v{major:int}.{minor:int}/{user}/media_publish")
    async def publish(major: int, minor: int, user: str, request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            given = await posted(request)
            allow(request, given)
            own(user)
            return JSONResponse({"id": account.publish(str(given.get("creation_id"))).id})

        return await step("publish", work)

    @router.get("/v{major:int}.{minor:int}/{user}/content_publishing_limit")
    async def limit(major: int, minor: int, user: str, request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request)
            own(user)
            config = {"quota_total": DAILY_POSTS, "quota_duration": 86_400}
            return JSONResponse({"data": [{"quota_usage": account.used(), "config": config}]})

        return await step("limit", work)

    @router.get("/refresh_access_token")
    async def refresh(request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request)
            token = request.query_params.get("access_token", "")
            return JSONResponse({"access_token": token, "token_type": "bearer", "expires_in": SIXTY_DAYS})

        return await step("refresh", work)

    @router.get("/v{major:int}.{minor:int}/debug_token")
    async def debug(major: int, minor: int, request: Request) -> Response:
        async def work(fault: PublishFault | None) -> Response:
            allow(request)
            data = {"is_valid": True, "expires_at": int(account.now()) + SIXTY_DAYS, "type": "USER"}
            return JSONResponse({"data": data})

        return await step("debug", work)

    @router.get("/v{major:int}.{minor:int}/{name}")
    async def read(major: int, minor: int, name: str, request: Request) -> Response:
        fields = set(request.query_params.get("fields", "").split(","))

        async def work(fault: PublishFault | None) -> Response:
            allow(request)
            if name in (USER, "me"):
                kind = "PERSONAL" if account.has("personal_account") else "BUSINESS"
                found: dict[str, Any] = {"user_id": USER, "username": USERNAME, "account_type": kind}
                return JSONResponse({name: value for name, value in found.items() if name in fields} | {"id": USER})
            media = account.media.get(name)
            if media is not None:
                if account.has("reads_fail"):
                    raise GraphProblem(400, f"Object with ID '{name}' does not exist", 100, 33)
                found = {
                    "permalink": f"https://www.instagram.com/reel/{media.id}/",
                    "is_ai_generated": media.is_ai_generated,
                    "caption": media.caption,
                    "media_type": "VIDEO",
                    "media_product_type": "REELS",
                }
                return JSONResponse({name: value for name, value in found.items() if name in fields} | {"id": media.id})
            container = account.known(name)
            code, text = account.status(container)
            phase = {
                "status": "complete" if container.complete_at is not None else "in_progress",
                "bytes_transferred": container.stored,
            }
            found = {"status_code": code, "status": text, "video_status": {"uploading_phase": phase}}
            return JSONResponse({name: value for name, value in found.items() if name in fields} | {"id": name})

        kind = "account" if name in (USER, "me") else "media" if name in account.media else "status"
        return await step(kind, work)

    return router
