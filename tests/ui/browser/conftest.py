"""A real Chromium in front of the Airflow of the system tests, and a second API server at which one has to log in."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from dev.local_airflow import LocalAirflow, free_ports
from dev.processes import ProcessSessions

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_HERE = Path(__file__).parent
RUN = "manual__2026-01-02T03:04:05+00:00"
USERS = ("admin:admin", "one:viewer", "none:viewer")
#: An Airflow behind a proxy often has a path of its own.
PREFIX = "/airflow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def has_chromium() -> None:
    """Skip where there is no browser, before anything is started."""
    pytest.importorskip("playwright", reason="Playwright is not installed (it is in the dev extra)")
    from dev.browser import find_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def chrome(has_chromium: None) -> Iterator[Browser]:
    """A Chromium for the tests of a file; each test has a window of its own.

    Not for the whole session: as long as Playwright is there, it has an event loop running in this process, in which no
    other test can call ``asyncio.run``.
    """
    from dev.browser import chromium

    with chromium() as browser:
        yield browser


@dataclass
class Window:
    """A page of Airflow, and what went wrong in it."""

    page: Page
    url: str
    errors: list[str]

    def open(self, path: str, wait_for: str = ".apimart") -> Page:
        """Open a path of Airflow and wait until something of ours is there."""
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_selector(wait_for)
        return self.page

    def open_tab(self, dag_id: str, task_id: str, map_index: int = -1, run_id: str = RUN) -> Page:
        """Open the tab of a task instance."""
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        return self.open(f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/{task_id}{mapped}/plugin/apimart-video")


OpenWindow = Callable[..., Window]


@contextmanager
def window_at(chrome: Browser, url: str, token: str | None = None, **look: Any) -> Iterator[Window]:
    """Open a window at an Airflow; with a token, somebody has logged in."""
    from dev.browser import airflow_window

    context = airflow_window(chrome, url, **look)
    context.set_default_timeout(30_000)
    if token is not None:
        context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: (errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    try:
        yield Window(page, url, errors)
    finally:
        context.close()


@pytest.fixture
def open_window(chrome: Browser, local_airflow: LocalAirflow) -> Iterator[OpenWindow]:
    """Opens windows at the Airflow in which everybody is an admin."""
    yield from _windows(chrome, lambda _: (local_airflow.url, None))


@dataclass
class LoginServer:
    """An API server with users, under a path, over the same database."""

    url: str

    def token(self, user: str) -> str:
        """Log somebody in."""
        body = {"username": user, "password": "secret"}
        answer = httpx.post(f"{self.url}/auth/token", json=body, trust_env=False, timeout=30)
        return str(answer.raise_for_status().json()["access_token"])


@pytest.fixture(scope="session")
def login_server(local_airflow: LocalAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginServer]:
    """A second API server: "admin" may see all, "one" the Dag "mine", "none" nothing."""
    home = tmp_path_factory.mktemp("login-server")
    passwords = {user.partition(":")[0]: "secret" for user in USERS}
    (home / "passwords.json").write_text(json.dumps(passwords), "utf-8")
    (home / "go").touch()
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}{PREFIX}"
    env = {
        **local_airflow.env,
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.ui.conftest.OneDagAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(USERS),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
    }
    processes = ProcessSessions(home / "logs", env)
    server = [sys.executable, "-m", "dev.component", str(home / "go"), "api-server"]
    processes.spawn("api-server", [*server, "--host", "127.0.0.1", "--port", str(port)])
    try:
        _wait_for(url, processes)
        yield LoginServer(url)
    finally:
        processes.stop()


@pytest.fixture
def open_as(chrome: Browser, login_server: LoginServer) -> Iterator[OpenWindow]:
    """Opens windows at that server: ``open_as("one")``, or ``open_as(None)`` for somebody who has not logged in."""
    yield from _windows(chrome, lambda user: (login_server.url, login_server.token(user) if user else None))


@pytest.fixture(scope="session")
def runs(has_chromium: None, local_airflow: LocalAirflow) -> LocalAirflow:
    """Airflow, with a finished run of each Dag of these tests."""
    for dag_id in ("mine", "theirs"):
        local_airflow.trigger(dag_id, run_id=RUN)
    assert local_airflow.wait_run("mine", RUN) == "success"
    assert local_airflow.wait_run("theirs", RUN) == "failed"
    return local_airflow


def _windows(chrome: Browser, whose: Callable[[str | None], tuple[str, str | None]]) -> Iterator[OpenWindow]:
    opened = []

    def open_one(user: str | None = None, **look: Any) -> Window:
        manager = window_at(chrome, *whose(user), **look)
        opened.append(manager)
        return manager.__enter__()

    yield open_one
    for manager in opened:
        manager.__exit__(None, None, None)


def _wait_for(url: str, processes: ProcessSessions) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/api/v2/version", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        assert not processes.dead(), processes.log_tail("api-server")
        time.sleep(0.2)
    raise TimeoutError(f"no API server at {url}: {processes.log_tail('api-server')}")


def whole_number(text: str) -> int:
    """Return the number in a text."""
    return int(re.sub(r"\D", "", text))
