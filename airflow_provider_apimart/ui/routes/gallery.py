"""All generations that a user may see: lists, sums, a file, and what the pages need to know of the user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from airflow_provider_apimart.ui.index import gallery
from airflow_provider_apimart.ui.index.gallery import Asked
from airflow_provider_apimart.ui.index.keeper import keeping
from airflow_provider_apimart.ui.index.query import Direction, Filters, Sort, WrongCursorError
from airflow_provider_apimart.ui.index.tables import airflow_engine, ready
from airflow_provider_apimart.ui.routes.access import MAX_ID_LENGTH, ReadableDags
from airflow_provider_apimart.ui.routes.tasks import OUTCOME
from airflow_provider_apimart.ui.routes.videos import Options

router = APIRouter()

MAX_SEARCH = 200
MAX_DAGS = 50
OFF = {"state": "off", "text": "The gallery is switched off ([apimart] gallery = False)."}
EPOCH = date(1970, 1, 1)

Text = Annotated[str, Query(max_length=MAX_SEARCH)]
Day = Annotated[date | None, Query()]


def _asked(
    readable: ReadableDags,
    q: Text = "",
    dag_id: Annotated[list[str] | None, Query(max_length=MAX_DAGS)] = None,
    run_id: Annotated[str | None, Query(max_length=MAX_ID_LENGTH)] = None,
    label: Text = "",
    outcome: Annotated[str | None, Query(pattern=OUTCOME)] = None,
    since: Annotated[date | None, Query(alias="from")] = None,
    until: Annotated[date | None, Query(alias="to")] = None,
) -> Asked:
    """Return what is asked for. What is empty is not asked for."""
    wanted = frozenset(each for each in dag_id or () if each)
    filters = Filters(
        run_id=_plain(run_id or "") or None,
        outcome=outcome,
        words=_plain(q),
        label=_plain(label),
        since=_day(since),
        until=_day(until),
    )
    return Asked(readable, wanted, filters)


AskedFor = Annotated[Asked, Depends(_asked)]


def _day(day: date | None) -> int | None:
    return None if day is None else max(-1, (day - EPOCH).days)


def _plain(text: str) -> str:
    # PostgreSQL takes no NUL.
    return text.replace("\x00", "").strip()


Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=300)]


@router.get("/api/generations")
async def generations(
    asked: AskedFor,
    using: Options,
    sort: Sort = "submitted_at",
    direction: Direction = "desc",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Return a page of the gallery."""
    engine = airflow_engine()
    if not using.gallery:
        return {**gallery.empty(), "index": OFF}
    keeper = keeping(using)

    def look() -> dict[str, Any]:
        index = gallery.index_state(engine, keeper)
        if not ready(engine):
            return {**gallery.empty(), "index": index}
        found = gallery.generations(engine, asked, sort=sort, direction=direction, cursor=cursor or None, limit=limit)
        return {**found, "index": index}

    try:
        return await run_in_threadpool(look)
    except WrongCursorError as error:
        raise HTTPException(400, str(error)) from None


@router.get("/api/generations.csv")
async def generations_csv(
    asked: AskedFor, using: Options, sort: Sort = "submitted_at", direction: Direction = "desc"
) -> StreamingResponse:
    """Return all of it as a file, page by page: no more than a page is held at once."""
    engine = airflow_engine()
    has_index = using.gallery and await run_in_threadpool(ready, engine)

    async def lines() -> AsyncIterator[str]:
        yield gallery.csv_header()
        cursor: str | None = None
        while has_index:
            text, cursor = await run_in_threadpool(
                lambda after: gallery.csv_page(engine, asked, sort=sort, direction=direction, cursor=after), cursor
            )
            yield text
            if cursor is None:
                return

    headers = {"Content-Disposition": 'attachment; filename="generations.csv"'}
    return StreamingResponse(lines(), headers=headers, media_type="text/csv; charset=utf-8")


@router.get("/api/spend")
async def spend(asked: AskedFor, using: Options) -> dict[str, Any]:
    """Return what was spent on each day and Dag."""
    engine = airflow_engine()
    if not using.gallery:
        return {"days": [], "index": OFF}
    keeper = keeping(using)

    def look() -> dict[str, Any]:
        index = gallery.index_state(engine, keeper)
        return {"days": gallery.spend(engine, asked) if ready(engine) else [], "index": index}

    return await run_in_threadpool(look)


@router.get("/api/me")
def me(
    readable: ReadableDags, user: GetUserDep, dag_id: Annotated[str, Query(max_length=MAX_ID_LENGTH)] = ""
) -> dict[str, Any]:
    """Return what the pages need to hide buttons. Airflow's own API decides again when a button is pressed."""
    found: dict[str, Any] = {"dags": len(readable)}
    if dag_id in readable:
        may = get_auth_manager().is_authorized_dag(
            method="PUT", access_entity=DagAccessEntity.TASK_INSTANCE, details=DagDetails(id=dag_id), user=user
        )
        found["can_clear"] = may
    return found
