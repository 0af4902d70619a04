"""The page at ``/``: the generations, their videos and the bill. Every text that came from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from airflow_provider_apimart.emulator.apimart.context import Context
from airflow_provider_apimart.emulator.control.control_routes import summary

REFRESH_SECONDS = 5
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1c1c }
h1 { font-size: 1.4rem } table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .5rem .6rem; border-top: 1px solid #ddd }
video { width: 15rem; background: #000; display: block; margin-bottom: .3rem } code { font-size: .85em }
.bill { display: flex; gap: 2.5rem; margin: 1rem 0 } .bill b { display: block; font-size: 1.3rem }
.failed, .cancelled { color: #a11212 } .completed { color: #14682f } .muted { color: #666 }
"""


def _videos(one: dict[str, Any], now: float) -> str:
    if not one.get("result", {}).get("videos"):
        problem = one.get("error", {}).get("message") or one.get("error_message") or ""
        return f'<span class="muted">{escape(str(problem))}</span>'
    if now >= one["url_expires_at"]:
        return '<span class="muted">the URL has expired</span>'
    return "".join(f'<video controls preload="none" src="{escape(url)}"></video>' for url in one["urls"])


def _row(one: dict[str, Any], now: float) -> str:
    status = escape(str(one["status"]))
    again = f'<br><span class="muted">{one["posts"]} POSTs</span>' if one["posts"] > 1 else ""
    return (
        f"<tr><td><code>{escape(one['generation_id'])}</code><br>{escape(one['model'])}{again}</td>"
        f"<td>{escape(one['prompt'])}</td>"
        f'<td class="{status}">{status}<br><progress max="100" value="{int(one["progress"])}"></progress></td>'
        f"<td>{one['charged_usd']:.4f}</td><td>{_videos(one, now)}</td></tr>"
    )


def render(told: dict[str, Any]) -> str:
    """Return the page for a summary of what happened."""
    rows = "".join(_row(one, told["now"]) for one in reversed(told["generations"]))
    busy = any(one["progress"] < 100 for one in told["generations"])
    # The page does not reload while nothing runs, so that a video can be watched to its end.
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if busy or not rows else ""
    bill = [("bill", told["bill_usd"]), ("reserved", told["reserved_usd"]), ("left", told["balance_usd"])]
    sums = "".join(f"<div>{name}<b>{value:.4f} USD</b></div>" for name, value in bill)
    none = '<tr><td colspan="5" class="muted">No generation yet.</td></tr>'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>APIMart emulator</title>{refresh}'
        f"<style>{_STYLE}</style></head><body><h1>APIMart emulator</h1>"
        '<p class="muted">Nothing here is paid for or made by APIMart. <a href="/_emulator/state">State as JSON</a> · '
        '<a href="/channel">emulated channels</a></p>'
        f'<div class="bill">{sums}'
        f"<div>generations<b>{len(told['generations'])}</b></div></div>"
        "<table><thead><tr><th>generation</th><th>prompt</th><th>status</th><th>USD</th><th>video</th></tr></thead>"
        f"<tbody>{rows or none}</tbody></table></body></html>"
    )


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    @router.get("/")
    async def index(request: Request) -> HTMLResponse:
        return HTMLResponse(render(summary(context, request)))

    return router
