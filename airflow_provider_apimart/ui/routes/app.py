"""The app behind ``/apimart``: built once in each API server process, on its first request.

Every route but the static files asks Airflow's own auth manager. There are only reading routes: what changes something
goes through Airflow's API. What is served came from models, tables and other people, so every answer says to the
browser what it may do with it (:mod:`.headers`).
"""

from __future__ import annotations

from fastapi import FastAPI

from airflow_provider_apimart.ui.routes import gallery, posters, static, tasks, videos
from airflow_provider_apimart.ui.routes.headers import GuardedApp


def create_app() -> GuardedApp:
    """Return the app with all its routes."""
    # Its own documentation pages would answer anybody.
    app = FastAPI(title="APIMart", docs_url=None, redoc_url=None, openapi_url=None)
    for room in (static, tasks, videos, posters, gallery):
        app.include_router(room.router)
    return GuardedApp(app)
