"""The pages' own files. They hold nothing of anybody, so they are for everybody."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.requests import Request

from airflow_provider_apimart.ui.routes.access import nothing_here

router = APIRouter()

FOLDER = Path(__file__).parent.parent / "static"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@router.get("/static/{name}")
def static_file(name: str, request: Request) -> Response:
    """Return one of the files that lie in the folder."""
    # Looked up among the files that there are, so that no name can lead out of the folder.
    found = next((path for path in FOLDER.glob("*") if path.name == name and path.is_file()), None)
    if found is None or found.suffix not in TYPES:
        raise nothing_here("file")
    file = FileResponse(found, media_type=TYPES[found.suffix], stat_result=found.stat())
    # Asked for again each time, and mostly answered with 304: an upgrade of the provider is seen at once.
    file.headers["Cache-Control"] = "no-cache"
    if request.headers.get("if-none-match") == file.headers["etag"]:
        kept = {name: file.headers[name] for name in ("etag", "cache-control")}
        return Response(status_code=304, headers=kept)
    return file
