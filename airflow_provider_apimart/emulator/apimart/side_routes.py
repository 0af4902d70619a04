"""The routes other than generation: uploads, balances, and a CMS for the example DAG.

The CMS is **not** part of APIMart. It is a webhook that takes the data with which a finished video is published, so
that the example DAG has somewhere to publish to. ``generation_id`` and ``sample`` together make a second delivery a
no-op.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from airflow_provider_apimart.emulator.apimart import answers, tasks
from airflow_provider_apimart.emulator.apimart.context import Context

MAX_UPLOAD_BYTES = 20_971_520
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
)


def sniff(data: bytes) -> tuple[str, str] | None:
    """Return (content type, file extension) of an image, judged by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp", "webp"
    return next(((kind, ext) for magic, kind, ext in _MAGIC if data.startswith(magic)), None)


def _guess(data: bytes) -> str:
    if data.startswith(b"%PDF"):
        return "application/pdf"
    try:
        data[:512].decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"


async def _file(request: Request) -> tuple[str, bytes]:
    missing = answers.bare(400, "missing or invalid file field: http: no such file")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise missing
    try:
        form = await request.form()
    except (MultiPartException, KeyError):
        raise missing from None
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise missing
        return part.filename or "file", await part.read()
    finally:
        await form.close()


def _balance(left: int, used: int, *, unlimited: bool) -> dict[str, Any]:
    shown = -1 if unlimited else tasks.usd(left)
    return {
        "success": True,
        "remain_balance": shown,
        "remain_credits": -1 if unlimited else tasks.usd(left * 10),
        "used_balance": tasks.usd(used),
        "used_credits": tasks.usd(used * 10),
        "unlimited_quota": unlimited,
    }


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    @router.post("/v1/uploads/images")
    async def upload(request: Request) -> Response:
        context.key_id(request)
        filename, data = await _file(request)
        if len(data) > MAX_UPLOAD_BYTES:
            raise answers.bare(413, f"file size {len(data)} exceeds maximum {MAX_UPLOAD_BYTES} bytes")
        kind = sniff(data)
        if kind is None:
            raise answers.bare(400, f"unsupported image type: {_guess(data)}, allowed: jpeg, png, gif, webp")
        now, upload_id = tasks.wall_clock(), secrets.token_hex(12)
        context.store.add_upload(upload_id, kind[0], data, now)
        url = f"{context.base_url(request)}/f/image/{upload_id}.{kind[1]}"
        answer = {"url": url, "filename": filename, "content_type": kind[0], "bytes": len(data), "created_at": int(now)}
        return JSONResponse(answer)

    @router.get("/v1/balance")
    @router.get("/balance")
    async def key_balance(request: Request) -> Response:
        left, used = context.balance_micros(tasks.wall_clock(), context.key_id(request))
        return JSONResponse(_balance(left, used, unlimited=context.settings.unlimited_key))

    @router.get("/v1/user/balance")
    @router.get("/user/balance")
    async def account_balance(request: Request) -> Response:
        context.key_id(request)
        left, used = context.balance_micros(tasks.wall_clock())
        return JSONResponse(_balance(left, used, unlimited=False))

    @router.post("/cms/videos")
    async def publish(request: Request) -> Response:
        try:
            document = json.loads(await request.body())
        except ValueError:
            document = None
        if not isinstance(document, dict):
            return JSONResponse({"error": "a JSON object is expected"}, 400)
        dedupe = None
        if document.get("generation_id") is not None:
            dedupe = json.dumps([document["generation_id"], document.get("sample", 0)])
        number, new = context.store.add_document(dedupe, document)
        return JSONResponse({"id": number}, 201 if new else 200)

    @router.get("/cms/videos")
    async def published() -> Response:
        return JSONResponse(context.store.documents())

    return router
