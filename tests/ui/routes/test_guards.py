"""No route is forgotten: each asks Airflow who is there, reads only, and works under a prefix."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from airflow_provider_apimart.ui.routes.app import create_app
from tests.ui.conftest import Client

PUBLIC = {"/static/{name}"}


def routes() -> list[APIRoute]:
    app: Any = create_app().app
    return [route for route in app.routes if isinstance(route, APIRoute)]


def filled(path: str, dag_id: str = "others") -> str:
    """Return a route's path with something in its places."""
    values = {"dag_id": dag_id, "map_index": "-1", "n": "1"}
    return "/apimart" + re.sub(r"{(\w+)}", lambda found: values.get(found[1], "x"), path)


def test_nothing_else_is_served() -> None:
    app: Any = create_app().app
    assert all(isinstance(route, APIRoute) for route in app.routes)
    assert {route.path for route in routes()} == {
        "/static/{name}",
        "/api/task/{dag_id}/{run_id}/{task_id}/{map_index}",
        "/api/rows/{dag_id}/{run_id}/{task_id}/{map_index}",
        "/video/{dag_id}/{run_id}/{task_id}/{map_index}/{n}",
        "/poster/{dag_id}/{run_id}/{task_id}/{map_index}/{n}",
        "/picture/{dag_id}/{run_id}/{task_id}/{map_index}/{name}",
        "/api/generations",
        "/api/generations.csv",
        "/api/spend",
        "/api/me",
    }
    assert {method for route in routes() for method in route.methods} == {"GET", "HEAD"}


def test_no_route_takes_a_path_from_the_query() -> None:
    """What names a file comes from records."""
    names = {field.alias for route in routes() for field in route.dependant.query_params}
    names |= {field.alias for route in routes() for part in route.dependant.dependencies for field in part.query_params}
    assert names == {
        *("q", "dag_id", "run_id", "label", "outcome", "from", "to", "sort", "direction", "cursor", "limit"),
        *("page", "page_size", "row", "generation"),
    }


@pytest.mark.parametrize("path", sorted({route.path for route in routes()} - PUBLIC))
def test_nobody_gets_anything_without_a_login(client: Client, engine: Any, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic YWRtaW46YWRtaW4="}):
        answer = client(None).get(filled(path), headers=headers)
        assert answer.status_code in (401, 403), (path, headers)
        assert set(answer.json()) == {"detail"}
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert client("none").get(filled(path)).status_code == 403


def test_the_policy_allows_no_script(client: Client, engine: Any) -> None:
    policy = client("admin").get("/apimart/api/me").headers["content-security-policy"]
    parts = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert parts["default-src"] == "'none'" and parts["base-uri"] == "'none'" and parts["form-action"] == "'none'"
    assert parts["frame-ancestors"] == "'self'"
    assert "script-src" not in parts and "unsafe" not in policy and "*" not in policy and "http" not in policy


UNDER_A_PREFIX = """
import json, sys
from tests.ui.conftest import USERS
from airflow import settings
from airflow.models.base import Base
from airflow.utils.db import import_all_models
import_all_models()
Base.metadata.create_all(settings.engine)
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient
browser = TestClient(create_app(apps="core"), base_url="http://testserver", follow_redirects=False)
found = {"out": browser.get("/airflow/apimart/api/me").status_code}
browser.cookies.set("_token", get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="admin", role="ADMIN")))
for path in sys.argv[1:]:
    found[path] = browser.get(path).status_code
(plugin,) = [each for each in browser.get("/airflow/api/v2/plugins").json()["plugins"] if each["name"] == "apimart"]
found["bundles"] = [app["bundle_url"] for app in plugin["react_apps"]]
print(json.dumps(found))
"""


def test_it_works_under_a_prefix(tmp_path: Path) -> None:
    """In a process of its own: Airflow reads its base URL once."""
    import json

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ours.py").write_text("from airflow_provider_apimart.ui.plugin import ApimartPlugin\n")
    paths = ["/airflow/apimart/api/me", "/airflow/apimart/api/generations", "/apimart/api/me"]
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_PREFIX, *paths],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/server.db",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path / "plugins"),
            "AIRFLOW__API__BASE_URL": "https://example.com/airflow",
            "AIRFLOW__API_AUTH__JWT_SECRET": "for these tests only, " * 4,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json"),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    bundles = found.pop("bundles")
    assert found == {"out": 401, **dict(zip(paths, [200, 200, 404], strict=True))}
    assert bundles and all(bundle.startswith("/airflow/apimart/static/") for bundle in bundles)
