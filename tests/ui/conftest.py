"""An Airflow API server in this process: its own app, its own auth manager, its own (SQLite) database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient

from tests.ui.airflow_db import Rows

USERS = {"admin": "ADMIN", "viewer": "VIEWER", "one": "VIEWER", "none": "VIEWER"}


class OneDagAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager, but for two users: "one" may read the Dag "mine", and "none" may read none."""

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        mine = details is None or details.id is None or details.id == "mine"
        allowed = user.username not in ("one", "none") or (user.username == "one" and mine)
        return allowed and super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: Any, **others: Any) -> set[str]:
        if user.username in ("one", "none"):
            return dag_ids & ({"mine"} if user.username == "one" else set())
        return super().filter_authorized_dag_ids(dag_ids=dag_ids, user=user, **others)


@pytest.fixture(scope="package")
def airflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database with Airflow's tables, and Airflow's settings for it."""
    from airflow import settings

    home = tmp_path_factory.mktemp("airflow-server")
    (home / "plugins").mkdir()
    (home / "plugins" / "ours.py").write_text("from airflow_provider_apimart.ui.plugin import ApimartPlugin\n")
    wanted = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/server.db",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.ui.conftest.OneDagAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "for these tests only, " * 4,
        "AIRFLOW__API__SECRET_KEY": "for these tests only",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    settings.configure_vars()
    settings.configure_orm()
    from airflow.models.base import Base
    from airflow.utils.db import import_all_models

    import_all_models()
    Base.metadata.create_all(settings.engine)
    yield home
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    settings.dispose_orm()
    settings.configure_vars()
    settings.configure_orm()


def forget_plugins() -> None:
    """Let Airflow look for plugins anew."""
    from airflow import plugins_manager

    if hasattr(plugins_manager, "_get_plugins"):
        plugins_manager._get_plugins.cache_clear()
    else:  # Airflow 3.1 keeps them in variables of the module.
        for name in ("plugins", "external_views", "react_apps", "fastapi_apps", "fastapi_root_middlewares"):
            setattr(plugins_manager, name, None)


@pytest.fixture(scope="package")
def airflow_app(airflow_server: Path) -> Any:
    """Airflow's app, built as the API server builds it: with the plugin in it."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    forget_plugins()
    purge_cached_app()
    yield create_app(apps="core")
    purge_cached_app()
    forget_plugins()


@pytest.fixture
def rows(airflow_server: Path) -> Iterator[Rows]:
    """What is written into Airflow's database, and taken out again."""
    written = Rows()
    yield written
    written.remove()


@pytest.fixture
def engine(airflow_server: Path) -> Iterator[Any]:
    """The database, with an empty index in it."""
    from airflow import settings

    from airflow_provider_apimart.ui.index import tables

    tables.make_ready(settings.engine)
    yield settings.engine
    tables.metadata.drop_all(settings.engine)


Client = Callable[[str | None], TestClient]


@pytest.fixture
def client(airflow_app: Any) -> Iterator[Client]:
    """Return a browser that is logged in as somebody, or as nobody."""
    from airflow.api_fastapi.app import get_auth_manager

    opened = []

    def of(user: str | None) -> TestClient:
        browser = TestClient(airflow_app, base_url="http://testserver", follow_redirects=False)
        if user is not None:
            who = SimpleAuthManagerUser(username=user, role=USERS[user])
            browser.cookies.set("_token", get_auth_manager().generate_jwt(who))
        opened.append(browser)
        return browser

    yield of
    for browser in opened:
        browser.close()
