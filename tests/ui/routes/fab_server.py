"""Airflow's API server under the FAB auth manager; prints what each of some users gets. Run by ``test_fab.py``."""

from __future__ import annotations

import json
from typing import Any

from airflow import settings
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.models.base import Base
from airflow.providers.fab.auth_manager.models import Model
from airflow.providers.fab.www.app import create_app as create_flask_app
from airflow.utils.db import import_all_models
from fastapi.testclient import TestClient

from airflow_provider_apimart.ui.index import backfill, tables
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import Rows

READ_MINE = ("can_read", "DAG:mine")
ROLES = {
    "OneDag": [READ_MINE, ("can_read", "XComs"), ("can_read", "Task Instances")],
    "NoXComs": [READ_MINE],
}
USERS = {"admin": "Admin", "viewer": "Viewer", "one": "OneDag", "blind": "NoXComs", "public": "Public"}
PATHS = [f"/apimart/api/task/{dag}/r/t/-1" for dag in ("mine", "others", "~")]


def tokens() -> dict[str, str | None]:
    """Make the users, and return what logs each of them in."""
    found: dict[str, str | None] = {"nobody": None}
    with create_flask_app(enable_plugins=False).app_context():
        from flask import current_app

        manager: Any = current_app.appbuilder.sm  # type: ignore[attr-defined]
        manager.sync_roles()
        for name, permissions in ROLES.items():
            role = manager.add_role(name)
            for permission in permissions:
                manager.add_permission_to_role(role, manager.create_permission(*permission))
        for name, role_name in USERS.items():
            role = manager.find_role(role_name)
            user = manager.add_user(name, name, name, f"{name}@example.com", role, "password")
            found[name] = get_auth_manager().generate_jwt(user)
    return found


def main() -> None:
    """Print, for each user, the statuses of one task of each Dag, the Dags in the gallery, and ``/api/me``."""
    import_all_models()
    Base.metadata.create_all(settings.engine)
    Model.metadata.create_all(settings.engine)
    app = create_app(apps="core")
    rows = Rows()
    told = {"kind": "generation", "outcome": "completed", "generation_id": "g", "videos": []}
    for dag in ("mine", "others"):
        rows.task(Place(dag, "r", "t"), apimart_note_2026112613=told)
    engine = tables.airflow_engine()
    tables.make_ready(engine)
    list(backfill.tasks_into(engine))
    found = {}
    for name, token in tokens().items():
        browser = TestClient(app, base_url="http://testserver", follow_redirects=False)
        if token is not None:
            browser.cookies.set("_token", token)
        listed = browser.get("/apimart/api/generations")
        dags = sorted({item["dag_id"] for item in listed.json().get("items", ())})
        me = browser.get("/apimart/api/me", params={"dag_id": "mine"})
        found[name] = [*(browser.get(path).status_code for path in PATHS), listed.status_code, dags, me.json()]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
