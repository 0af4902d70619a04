"""``/_emulator/``: scripts the faults, moves time for single generations, and shows what happened. Needs no key."""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.apimart import answers, tasks
from airflow_provider_apimart.emulator.apimart.context import Context
from airflow_provider_apimart.emulator.state.faults import read_fault
from airflow_provider_apimart.emulator.state.store import REFUNDED, Generation


def _told(generation: Generation, request: Request, context: Context, now: float) -> dict[str, Any]:
    refunded = now >= generation.finish_at and generation.outcome in REFUNDED
    return {
        **context.view(generation, request),
        **generation.spec,
        "generation_id": generation.id,
        "model": generation.model,
        "prompt": generation.prompt,
        "body": generation.body,
        "endpoint": generation.endpoint,
        "idempotency_key": generation.idempotency_key,
        "posts": generation.posts,
        "price_usd": tasks.usd(generation.cost_micros),
        "charged_usd": 0.0 if refunded else tasks.usd(generation.cost_micros),
        "url_expires_at": generation.expires_at(),
        "urls": tasks.video_urls(generation, context.signer, context.base_url(request)),
    }


def summary(context: Context, request: Request) -> dict[str, Any]:
    """Return everything that happened: generations, money, requests, faults."""
    now = tasks.wall_clock()
    generations = [_told(one, request, context, now) for one in context.store.generations()]
    settled, reserved = context.store.spent(now)
    settings = asdict(context.settings)
    del settings["api_keys"]
    return {
        "now": now,
        "settings": {
            name: value if isinstance(value, bool | int | float | None) else str(value)
            for name, value in settings.items()
        },
        "generations": generations,
        "posts": sum(one["posts"] for one in generations),
        "paid": sum(1 for one in generations if one["charged_usd"] > 0),
        "bill_usd": tasks.usd(settled),
        "reserved_usd": tasks.usd(reserved),
        "balance_usd": tasks.usd(context.balance_micros(now)[0]),
        "requests": context.store.requests(),
        "faults": context.faults.describe(),
        "cms": context.store.documents(),
    }


def _wanted(context: Context, body: Any) -> list[Generation]:
    wanted = body.get("generation_id", "all") if isinstance(body, dict) else "all"
    if wanted == "all":
        return context.store.generations()
    found = context.store.generation(str(wanted))
    if found is None:
        raise answers.documented(404, f"no such generation: {wanted}")
    return [found]


async def _json(request: Request) -> Any:
    raw = await request.body()
    try:
        return json.loads(raw) if raw else {}
    except ValueError as error:
        raise answers.documented(400, f"not JSON: {error}") from None


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter(prefix="/_emulator")

    @router.get("/state")
    async def state(request: Request) -> Response:
        return JSONResponse(summary(context, request))

    @router.get("/faults")
    async def faults() -> Response:
        return JSONResponse(context.faults.describe())

    @router.post("/faults")
    async def add_faults(request: Request) -> Response:
        posted = await _json(request)
        values = posted if isinstance(posted, list) else [posted]
        try:
            script = [read_fault(value) for value in values]
        except (ValueError, TypeError) as error:
            raise answers.documented(400, str(error)) from None
        return JSONResponse({"ids": [context.faults.add(fault) for fault in script]}, 201)

    @router.delete("/faults")
    async def clear_faults() -> Response:
        context.faults.clear()
        return JSONResponse({})

    @router.post("/expire")
    async def expire(request: Request) -> Response:
        chosen = _wanted(context, await _json(request))
        for generation in chosen:
            context.store.set_url(generation.id, expires_at=tasks.wall_clock() - 1, new_serial=False)
        return JSONResponse({"expired": [one.id for one in chosen]})

    @router.post("/finish")
    async def finish(request: Request) -> Response:
        body = await _json(request)
        outcome = body.get("outcome") if isinstance(body, dict) else None
        if outcome not in (None, "completed", "empty", *REFUNDED):
            raise answers.documented(400, f"unknown outcome: {outcome}")
        now = tasks.wall_clock()
        done = [one.id for one in _wanted(context, body) if context.store.finish(one.id, now, outcome)]
        return JSONResponse({"finished": done})

    @router.post("/top_up")
    async def top_up(request: Request) -> Response:
        body = await _json(request)
        try:
            micros = int(Decimal(str(body["usd"])) * 1_000_000)
        except (KeyError, TypeError, ArithmeticError, ValueError):
            raise answers.documented(400, "usd: an amount is expected") from None
        context.store.top_up(micros)
        return JSONResponse({"balance_usd": tasks.usd(context.balance_micros(tasks.wall_clock())[0])})

    @router.post("/reset")
    async def reset() -> Response:
        context.store.reset()
        return JSONResponse({})

    return router
