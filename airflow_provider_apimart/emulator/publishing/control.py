"""``/_emulator/publishing``: scripts faults, shows what is public, and a page of it for people. Needs no key."""

from __future__ import annotations

import html
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from airflow_provider_apimart.emulator.publishing.faults import read_fault
from airflow_provider_apimart.emulator.publishing.world import World
from airflow_provider_apimart.emulator.publishing.youtube_project import MAX_INSERTS, MAX_UNITS

#: Time is moved by less than ten years at once.
FAR_SECONDS = 10 * 365 * 86_400
REFRESH_SECONDS = 5
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; font-weight: 600; padding: 1rem 0 .3rem }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8884; vertical-align: top }
.public { color: light-dark(#137333, #81c995) }
.private, .unlisted { color: light-dark(#5f6368, #bdc1c6) }
.scheduled { color: light-dark(#b06000, #fdd663) }
"""


def routes(world: World) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    @router.get("/_emulator/publishing")
    async def state() -> Response:
        return JSONResponse(world.state())

    @router.post("/_emulator/publishing/faults")
    async def add(request: Request) -> Response:
        try:
            posted = await request.json()
            script = [read_fault(values) for values in (posted if isinstance(posted, list) else [posted])]
        except (ValueError, TypeError, AttributeError) as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        for fault in script:
            world.faults.add(fault)
        return JSONResponse({}, 201)

    @router.delete("/_emulator/publishing/faults")
    async def clear() -> Response:
        world.faults.clear()
        return JSONResponse({})

    @router.post("/_emulator/publishing/expire_tokens")
    async def expire_tokens() -> Response:
        world.youtube.project.expire_tokens()
        return JSONResponse({})

    @router.post("/_emulator/publishing/expire_uploads")
    async def expire_uploads() -> Response:
        world.youtube.expire_uploads()
        return JSONResponse({})

    @router.post("/_emulator/publishing/advance")
    async def advance(request: Request) -> Response:
        try:
            seconds = float((await request.json())["seconds"])
        except (ValueError, TypeError, KeyError):
            return JSONResponse({"error": {"message": 'expected {"seconds": <number>}'}}, 400)
        if not 0 <= seconds < FAR_SECONDS:
            return JSONResponse({"error": {"message": f"seconds must be from 0 to {FAR_SECONDS}"}}, 400)
        world.advance(seconds)
        return JSONResponse({"now": world.now()})

    @router.post("/_emulator/publishing/reset")
    async def reset() -> Response:
        world.reset()
        return JSONResponse({})

    @router.get("/channel")
    async def channel() -> Response:
        return HTMLResponse(page(world.state()))

    return router


def page(state: dict[str, Any]) -> str:
    """Return what the emulated channel and account show, as a page for people."""
    videos, reels, messages, quota = state["youtube"], state["instagram"], state["webhook"], state["quota"]
    counts = {"public": 0, "unlisted": 0, "scheduled": 0, "private": 0}
    rows = []
    for video in videos:
        status = video["status"]
        kind = "scheduled" if status.get("publishAt") else status["privacyStatus"]
        counts[kind] += 1
        when = status.get("publishAt") or (_time(video["published"][0]) if video["published"] else "")
        label = "made by AI" if status.get("containsSyntheticMedia") else ""
        rows.append((kind, [video["snippet"].get("title", ""), kind, when, label, video["id"], video["sha256"][:12]]))
    posted = [(None, [one["id"], one["status"], ", ".join(one["media"])]) for one in reels]
    sent = [(None, [one["receiver"], one["id"], _time(one["received"]), str(one["deliveries"])]) for one in messages]
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no video"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<meta http-equiv=refresh content={REFRESH_SECONDS}><title>Emulated channel</title><style>{_STYLE}</style>"
        f"<h1>Emulated channel</h1><p>YouTube: {told}. Instagram: {sum(len(one['media']) for one in reels)} Reels. "
        f"Webhooks: {len(messages)} messages.</p>"
        f"<p>Quota of the day: {quota['inserts']} of {MAX_INSERTS} uploads, {quota['units']} of {MAX_UNITS} units. "
        '<a href="/">Generations</a> · <a href="/_emulator/publishing">all of it as JSON</a></p>'
        + _table("YouTube", ("Title", "Shown", "When", "Label", "Id", "sha256"), rows)
        + _table("Instagram", ("Container", "Status", "Media"), posted)
        + _table("Webhook receiver", ("Receiver", "Id", "Received", "Deliveries"), sent)
        + "</html>"
    )


def _table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str | None, list[str]]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th scope=col>{html.escape(each)}</th>" for each in heads)
    body = "".join(
        f"<tr{f' class={kind}' if kind else ''}>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in cells)}</tr>"
        for kind, cells in rows
    )
    return f"<table><caption>{html.escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
