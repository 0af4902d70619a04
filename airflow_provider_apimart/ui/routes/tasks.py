"""One task, and the rows of a batch."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from starlette.concurrency import run_in_threadpool

from airflow_provider_apimart.ui.routes.access import READS_DAG, MapIndex, nothing_here, usable_ids
from airflow_provider_apimart.ui.routes.delivery import as_http
from airflow_provider_apimart.ui.routes.videos import Options
from airflow_provider_apimart.ui.sources.entries import Entry
from airflow_provider_apimart.ui.sources.instances import Instance, read_instance
from airflow_provider_apimart.ui.sources.kinds import BATCHES, Kind
from airflow_provider_apimart.ui.sources.rows import Page, manifest_of, read_page
from airflow_provider_apimart.ui.sources.storage import NoAnswer, NotShown, in_pool
from airflow_provider_apimart.ui.sources.task_view import task_view
from airflow_provider_apimart.ui.sources.views import Place, generation_view

router = APIRouter()

OUTCOME = "^(running|completed|failed|parked|left)$"


async def _instance(dag_id: str, run_id: str, task_id: str, map_index: int, *, whole: bool) -> Instance:
    if not usable_ids(dag_id, run_id, task_id):
        raise nothing_here()
    place = Place(dag_id, run_id, task_id, map_index)
    found = await run_in_threadpool(lambda: read_instance(place, whole=whole))
    if found is None:
        raise nothing_here()
    return found


@router.get("/api/task/{dag_id}/{run_id}/{task_id}/{map_index}", dependencies=READS_DAG)
async def task(dag_id: str, run_id: str, task_id: str, map_index: MapIndex, using: Options) -> dict[str, Any]:
    """Return what the tab of a task shows. A task that is not the provider's costs two small queries."""
    instance = await _instance(dag_id, run_id, task_id, map_index, whole=True)
    if instance.kind is Kind.NONE:
        return {"kind": "none"}
    try:
        return await in_pool(task_view, instance, using.video_roots)
    except NoAnswer as error:
        raise as_http(error) from None


@router.get("/api/rows/{dag_id}/{run_id}/{task_id}/{map_index}", dependencies=READS_DAG)
async def rows(
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: MapIndex,
    using: Options,
    outcome: Annotated[str | None, Query(pattern=OUTCOME)] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Return a page of a batch's rows. There are none until the batch has written its manifest."""
    instance = await _instance(dag_id, run_id, task_id, map_index, whole=False)
    if instance.kind not in BATCHES:
        raise HTTPException(404, "This task is not a batch.")
    path = manifest_of(instance)
    found = Page()
    if path is not None:
        try:
            found = await in_pool(read_page, path, outcome, page, page_size, using.video_roots)
        except (NotShown, NoAnswer) as error:
            raise as_http(error) from None
    return {
        "total": found.total,
        "outcomes": found.outcomes,
        "rows": [_row(instance, entry) for entry in found.rows],
        "manifest": path,
    }


def _row(instance: Instance, entry: Entry) -> dict[str, Any]:
    view = generation_view(instance.place, entry)
    # Another task has paid for it.
    return {**view, "cost_usd": None} if instance.kind is Kind.MEDIA_BATCH else view
