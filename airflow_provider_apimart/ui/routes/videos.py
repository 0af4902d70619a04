"""A video's bytes, to watch it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from starlette.requests import Request

from airflow_provider_apimart.ui.index import gallery
from airflow_provider_apimart.ui.index.tables import airflow_engine
from airflow_provider_apimart.ui.routes.access import READS_DAG, MapIndex, nothing_here, usable_ids
from airflow_provider_apimart.ui.routes.delivery import as_http, send_video
from airflow_provider_apimart.ui.sources.locate import Located, find_video
from airflow_provider_apimart.ui.sources.settings import Settings, settings
from airflow_provider_apimart.ui.sources.storage import NoAnswer, NotShown, in_pool, open_video
from airflow_provider_apimart.ui.sources.views import Place

router = APIRouter()

Id = Annotated[str | None, Query(max_length=250)]


def options() -> Settings:
    """Return the options, or say what is wrong with them."""
    try:
        return settings()
    except ValueError as error:
        raise HTTPException(500, str(error)) from None


Options = Annotated[Settings, Depends(options)]


async def located(
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: MapIndex,
    n: str,
    using: Options,
    row: Id = None,
    generation: Id = None,
) -> Located:
    """Return what the record names: the index's for one generation, else the task's own."""
    number = int(n) if n.isascii() and n.isdigit() and len(n) < 4 else 0
    if not usable_ids(dag_id, run_id, task_id, *(each for each in (row, generation) if each is not None)):
        raise nothing_here()
    # The database is read, and left, before anything is sent: a player may stay for an hour.
    place = Place(dag_id, run_id, task_id, map_index)
    try:
        found = None
        if generation is not None and using.gallery:
            path = await in_pool(gallery.video_path, airflow_engine(), place, number, row, generation)
            found = None if path is None else Located(path)
        if found is None:
            found = await in_pool(find_video, place, number, row, generation, using.video_roots)
    except NoAnswer as error:
        raise as_http(error) from None
    if found is None:
        raise nothing_here("video")
    return found


Video = Annotated[Located, Depends(located)]


@router.api_route("/video/{dag_id}/{run_id}/{task_id}/{map_index}/{n}", methods=["GET", "HEAD"], dependencies=READS_DAG)
async def video(found: Video, request: Request, using: Options) -> Response:
    """Return a video, or the part of it that is asked for."""
    try:
        file = await in_pool(open_video, found.path, using.video_roots)
    except (NotShown, NoAnswer) as error:
        raise as_http(error) from None
    return await send_video(file, request.headers.get("range"), using, method=request.method)
