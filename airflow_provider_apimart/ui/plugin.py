"""What Airflow loads: the plugin's name, its app and its tabs.

Every component and every worker process imports this module, so it imports nothing but Airflow's own plugin class. The
app is built on the first request, in the API server. Nothing here raises: a plugin that fails to load leaves a log line
that nobody reads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)

PREFIX = "/apimart"
#: Name, script, destination, route. Destinations that every supported Airflow (3.1 and later) knows: an unknown one
#: would take the whole plugin out of the UI. The names are globals of the page, and must be unique there.
APPS = (
    ("Video", "video.js", "task_instance", "apimart-video"),
    ("Dag videos", "sheet.js", "dag", "apimart-dag-videos"),
    ("Run videos", "sheet.js", "dag_run", "apimart-run-videos"),
    ("Videos", "gallery.js", "nav", "apimart-videos"),
)
CATEGORY = "browse"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def base_path() -> str:
    """Return the path that Airflow is served under: ``/airflow``, or nothing."""
    try:
        return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    except Exception as error:
        log.warning("[api] base_url cannot be read, so the pages of APIMart assume none: %s", error)
        return ""


def react_apps() -> list[dict[str, Any]]:
    """Return the tabs and the page in the navigation."""
    static = f"{base_path()}{PREFIX}/static/"
    apps: list[dict[str, Any]] = []
    for name, script, destination, route in APPS:
        app = {"name": name, "bundle_url": static + script, "destination": destination, "url_route": route}
        if destination == "nav":
            app["category"] = CATEGORY
        apps.append(app)
    return apps


class LazyApp:
    """An ASGI app that is imported and built on its first request."""

    def __init__(self) -> None:
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in ("http", "websocket"):
            return
        if self._app is None:
            with self._lock:
                if self._app is None:
                    from airflow_provider_apimart.ui.routes.app import create_app

                    self._app = create_app()
        await self._app(scope, receive, send)


class ApimartPlugin(AirflowPlugin):
    """The tabs, the gallery and their routes."""

    name = "apimart"
    # (Airflow declares these as variables of instances, and reads them from the class.)
    fastapi_apps: list[Any] = [{"name": "apimart", "app": LazyApp(), "url_prefix": PREFIX}]  # noqa: RUF012
    react_apps: list[Any] = react_apps()
