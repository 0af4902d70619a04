"""The routes for polling a task and for the media that it names."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.apimart import answers, tasks
from airflow_provider_apimart.emulator.apimart.context import Context, fault_of
from airflow_provider_apimart.emulator.apimart.submit import task_error
from airflow_provider_apimart.emulator.media import host
from airflow_provider_apimart.emulator.media.videos import VideoSpec
from airflow_provider_apimart.emulator.state.faults import OUTCOMES, Fault
from airflow_provider_apimart.emulator.state.store import Generation

UPLOAD_TTL_SECONDS = 72 * 3600


def _apply(context: Context, generation: Generation, fault: Fault | None, now: float) -> Generation:
    """Let a fault, or the ``renew_urls`` setting, change the generation before it is shown."""
    store = context.store
    if fault is not None and fault.kind in OUTCOMES:
        store.finish(generation.id, now, OUTCOMES[fault.kind], task_error(fault, generation.model))
    elif fault is not None and fault.kind == "expire_url":
        store.set_url(generation.id, expires_at=now - 1, new_serial=False)
    elif (fault is not None and fault.kind == "renew_url") or (
        context.settings.renew_urls and now >= generation.expires_at()
    ):
        store.set_url(generation.id, expires_at=now + context.settings.url_ttl_seconds, new_serial=True)
    return store.generation(generation.id) or generation


def _video_urls(data: dict[str, Any]) -> list[str]:
    return [url for video in data.get("result", {}).get("videos", []) for url in video["url"]]


def _reshape(data: dict[str, Any], fault: Fault | None) -> Any:
    """Return the whole answer, in another recorded shape if a fault requests one."""
    shape = fault.value if fault is not None and fault.kind == "shape" else None
    urls = _video_urls(data)
    videos = data.get("result", {}).get("videos", [])
    if fault is not None and fault.kind == "task_status":
        data["status"] = fault.value
    elif shape == "url_string":
        for video in videos:
            video["url"] = video["url"][0]
    elif shape == "result_url" and urls:
        data["result"] = {"url": urls}
    elif shape == "video_url" and urls:
        data["result"] = {"video_url": urls[0]}
    elif shape == "result_text" and urls:
        data["result"] = json.dumps(urls)
    elif shape == "result_output" and urls:
        data["result"] = {"output": urls}
    elif shape == "file_url" and urls:
        data["result"] = {"file_url": urls[0]}
    elif shape == "no_expires_at":
        for video in videos:
            del video["expires_at"]
    elif shape == "no_result":
        data.pop("result", None)
    elif shape == "cost_string" and "cost" in data:
        data["cost"], data["credits_cost"] = str(data["cost"]), str(data["credits_cost"])
    elif shape == "error_string" and "error" in data:
        data["error"] = data["error"]["message"]
    if shape == "unwrapped":
        return data
    return {"code": 200, "data": [data] if shape == "data_list" else data}


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    @router.get("/v1/tasks/{task_id}")
    async def task(task_id: str, request: Request, language: str = "en") -> Response:
        key_id = context.key_id(request)
        generation = context.store.generation(task_id)
        if generation is None or generation.key_id != key_id:
            raise answers.documented(400, "invalid task id")
        fault = fault_of(request)
        generation = _apply(context, generation, fault, tasks.wall_clock())
        return JSONResponse(_reshape(context.view(generation, request, language.strip().lower()), fault))

    @router.api_route("/media/{name}", methods=["GET", "HEAD"])
    async def media(name: str, request: Request) -> Response:
        read = context.signer.read(name)
        generation = context.store.generation(read[0]) if read else None
        if read is None or generation is None:
            return host.denied()
        now = tasks.wall_clock()
        fault = fault_of(request)
        if fault is not None and fault.kind == "expire_url":
            context.store.set_url(generation.id, expires_at=now - 1, new_serial=False)
            return host.denied()
        usable = generation.outcome == "completed" and generation.finish_at <= now < generation.expires_at()
        if not usable or read[1] != generation.url_serial or read[2] >= generation.spec["samples"]:
            return host.denied()
        video = await context.shelf.get(_spec(generation, read[2]))
        return host.serve(request, video.data, etag=video.etag, media_type="video/mp4", modified=generation.finish_at)

    @router.api_route("/f/image/{name}", methods=["GET", "HEAD"])
    async def image(name: str, request: Request) -> Response:
        found = context.store.upload(name.rpartition(".")[0])
        if found is None or tasks.wall_clock() >= found[1] + UPLOAD_TTL_SECONDS:
            return host.denied()
        content_type, created, data = found
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        return host.serve(request, data, etag=etag, media_type=content_type, modified=created)

    return router


def _spec(generation: Generation, sample: int) -> VideoSpec:
    spec = generation.spec
    asked = f"{spec['seconds']} s  {spec['width']}x{spec['height']}  {'audio' if spec['audio'] else 'silent'}"
    lines = [f"APIMart emulator  {generation.model}", generation.id, asked]
    if spec["samples"] > 1:
        lines.append(f"sample {sample + 1} of {spec['samples']}")
    defect, defect_seconds = spec.get("defect"), spec.get("defect_seconds")
    seconds = spec["seconds"]
    if defect == "length":
        seconds = spec["seconds"] / 2 if defect_seconds is None else defect_seconds
        defect = defect_seconds = None
    return VideoSpec(
        width=spec["width"],
        height=spec["height"],
        seconds=seconds,
        audio=spec["audio"],
        prompt=generation.prompt[:2000],
        lines=tuple(lines),
        defect=defect,
        defect_seconds=defect_seconds,
    )
