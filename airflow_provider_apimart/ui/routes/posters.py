"""Still pictures: of a video, where a task has made one, and all that a task has made."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.requests import Request

from airflow_provider_apimart.ui.routes.access import READS_DAG, MapIndex, nothing_here, usable_ids
from airflow_provider_apimart.ui.routes.delivery import as_http, send_file
from airflow_provider_apimart.ui.routes.videos import Options, Video
from airflow_provider_apimart.ui.sources.locate import picture_path
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.sidecars import poster_path
from airflow_provider_apimart.ui.sources.storage import NoAnswer, NotShown, in_pool, open_picture
from airflow_provider_apimart.ui.sources.views import Place

router = APIRouter()


@router.api_route(
    "/poster/{dag_id}/{run_id}/{task_id}/{map_index}/{n}", methods=["GET", "HEAD"], dependencies=READS_DAG
)
async def poster(found: Video, request: Request, using: Options) -> Response:
    """Return the poster of a video, or 404 if there is none."""
    try:
        path = found.poster or await in_pool(poster_path, found.path, using.video_roots)
    except (NotShown, NoAnswer) as error:
        raise as_http(error) from None
    return await _send("poster", path, request, using)


@router.api_route(
    "/picture/{dag_id}/{run_id}/{task_id}/{map_index}/{name}", methods=["GET", "HEAD"], dependencies=READS_DAG
)
async def picture(
    dag_id: str, run_id: str, task_id: str, map_index: MapIndex, name: str, request: Request, using: Options
) -> Response:
    """Return a picture that a task has made: a poster, a frame, a contact sheet."""
    if not usable_ids(dag_id, run_id, task_id):
        raise nothing_here()
    try:
        path = await in_pool(picture_path, Place(dag_id, run_id, task_id, map_index), name)
    except NoAnswer as error:
        raise as_http(error) from None
    return await _send("picture", path, request, using)


async def _send(what: str, path: str | None, request: Request, using: Settings) -> Response:
    if path is None:
        raise nothing_here(what)
    try:
        file = await in_pool(open_picture, path, using.video_roots)
    except (NotShown, NoAnswer) as error:
        raise as_http(error) from None
    return await send_file(file, request.headers.get("range"), using, method=request.method)
