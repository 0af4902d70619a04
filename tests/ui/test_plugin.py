"""What Airflow makes of the plugin."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_apimart.ui import plugin
from tests.ui.conftest import Client

#: What Airflow 3.1 knows. One other word, and none of the plugin's pages is shown.
DESTINATIONS = {"nav", "dag", "dag_run", "task", "task_instance"}


def test_airflow_shows_all_tabs(client: Client) -> None:
    (found,) = [each for each in client("admin").get("/api/v2/plugins").json()["plugins"] if each["name"] == "apimart"]
    assert [app["url_prefix"] for app in found["fastapi_apps"]] == ["/apimart"]
    assert {app["url_route"]: app["destination"] for app in found["react_apps"]} == {
        "apimart-video": "task_instance",
        "apimart-dag-videos": "dag",
        "apimart-run-videos": "dag_run",
        "apimart-videos": "nav",
    }
    assert {app["destination"] for app in found["react_apps"]} <= DESTINATIONS
    assert len({app["name"] for app in found["react_apps"]}) == 4


@pytest.mark.parametrize(
    ("base_url", "wanted"),
    [
        ("http://localhost:8080", ""),
        ("https://example.com/airflow/", "/airflow"),
        ("/", ""),
        ("https://example.com/a/b", "/a/b"),
        ("http://[broken", ""),
    ],
)
def test_scripts_are_found_under_a_prefix(monkeypatch: pytest.MonkeyPatch, base_url: str, wanted: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    for app in plugin.react_apps():
        assert app["bundle_url"].startswith(f"{wanted}/apimart/static/"), app


def test_the_end_of_the_server_builds_nothing() -> None:
    app = plugin.LazyApp()
    asyncio.run(app({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert app._app is None
