"""``GET /v1/usage``: what was billed, by day and model (section 6 of the contract).

As the service says it: generations count at the time of their completion, failed and refunded ones do not count, there
are no task ids, and days are those of the requested time zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_apimart.emulator.apimart import tasks
from airflow_provider_apimart.emulator.apimart.answers import documented
from airflow_provider_apimart.emulator.apimart.context import Context
from airflow_provider_apimart.emulator.state.store import REFUNDED, Generation

MAX_DAYS, MAX_MODELS = 31, 50
GROUPINGS = ("none", "model", "date", "model,date")
DEFAULT_ZONE = "Asia/Shanghai"


def _moment(name: str, text: str) -> datetime:
    """Read a unix time or RFC 3339."""
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text), UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise documented(400, f"invalid {name}: {text}, expected unix seconds or RFC 3339")
    return moment


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise documented(400, f"invalid tz: {name}") from None


def _items(generations: Iterable[Generation], grouping: str, zone: ZoneInfo) -> list[dict[str, object]]:
    sums: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for one in generations:
        day = datetime.fromtimestamp(one.finish_at, zone).date().isoformat()
        names = {"model": one.model, "date": day}
        key = tuple((name, names[name]) for name in grouping.split(",") if name in names)
        total = sums.setdefault(key, [0, 0])
        total[0] += one.cost_micros
        total[1] += 1
    return [
        {
            **dict(key),
            "amount_usd": tasks.usd(micros),
            "credits": tasks.usd(10 * micros),
            "requests": requests,
            "prompt_tokens": 0,
            "completion_tokens": 0,
        }
        for key, (micros, requests) in sorted(sums.items())
    ]


def routes(context: Context) -> APIRouter:
    """Return the routes of this module."""
    router = APIRouter()

    @router.get("/v1/usage")
    async def usage(
        request: Request,
        start: str = "",
        end: str = "",
        model: str = "",
        group_by: str = "none",
        tz: str = DEFAULT_ZONE,
        scope: str = "key",
    ) -> Response:
        key_id = context.key_id(request)
        first, last = _moment("start", start), _moment("end", end)
        models = [name for name in model.split(",") if name]
        if group_by not in GROUPINGS or scope not in ("key", "account") or len(models) > MAX_MODELS:
            raise documented(400, "invalid group_by, scope or model")
        if not 0 <= (last - first).total_seconds() <= MAX_DAYS * 86_400:
            raise documented(400, f"the range must be at most {MAX_DAYS} days")
        now = tasks.wall_clock()
        billed = [
            one
            for one in context.store.generations()
            if (scope == "account" or one.key_id == key_id)
            and (not models or one.model in models)
            and one.outcome not in REFUNDED
            and first.timestamp() <= one.finish_at < last.timestamp()
            and one.finish_at <= now
        ]
        items = _items(billed, group_by, _zone(tz))
        return JSONResponse({"success": True, "data": {"group_by": group_by, "tz": tz, "scope": scope, "items": items}})

    return router
