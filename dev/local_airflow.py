"""A complete Airflow in one directory, which this module creates, runs and stops.

Invariants: nothing outside ``home`` is written; no ``AIRFLOW*`` variable of the user reaches it, and the user's own
Airflow home is never touched; two can run on one machine (every port is a free one); once :meth:`LocalAirflow.stop` has
returned, none of its processes is left (``dev.processes``). Each component is a process of its own, because a
terminated ``airflow standalone`` leaves its children behind.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from dev.airflow_api import AirflowApi
from dev.processes import ProcessSessions
from dev.watchdog import Watchdog

_REPO = Path(__file__).resolve().parent.parent
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
#: The components that ``/api/v2/monitor/health`` must report as healthy.
HEALTH = ("metadatabase", "scheduler", "triggerer", "dag_processor")
#: How often the components are checked while the API is in use.
WATCH_SECONDS = 2.0


@dataclass(frozen=True)
class Component:
    """A process of an Airflow.

    :param arguments: its part of Airflow's command line.
    :param env: environment variables of its own.
    """

    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class LocalAirflowError(RuntimeError):
    """A component did not start or does not stay up; the message ends with the tail of its log."""


def free_ports(count: int) -> list[int]:
    """Return distinct free ports of the loopback."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def clean_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment without any variable that configures Airflow."""
    return {key: value for key, value in environ.items() if not key.lstrip("_").startswith("AIRFLOW")}


class LocalAirflow(AirflowApi):
    """An Airflow on sqlite with a LocalExecutor, in ``home``.

    :param home: the directory for everything: database, configuration, logs.
    :param dags_folder: the folder of its DAGs.
    :param env: more environment variables for all components, such as ``AIRFLOW_CONN_<ID>`` (a connection as JSON).
    :param config: more Airflow options as ``{"section.option": "value"}``; they override ours.
    :param login: user name and password of a real login; without it everybody is an admin.
    :param port: the port of the API server; a free one if not given.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.home = home.resolve()
        self.dags_folder = dags_folder.resolve()
        ports = free_ports(3)
        self.port = ports[0] if port is None else port
        super().__init__(f"http://127.0.0.1:{self.port}", login)
        options = {**self._options(ports[1], ports[2]), **self._secrets(), **(config or {})}
        self.env = clean_environment()
        # The components run a module of this repository, whatever the user's working directory is.
        path = [str(_REPO), *filter(None, [self.env.get("PYTHONPATH")])]
        self.env["PYTHONPATH"] = os.pathsep.join(path)
        self.env |= {"AIRFLOW_HOME": str(self.home), "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost"}
        self.env |= {f"AIRFLOW__{key.replace('.', '__').upper()}": value for key, value in options.items()}
        self.env |= dict(env or {})
        self.processes = ProcessSessions(self.home / "logs", self.env)
        self.components = self._components()
        self._watchdog = Watchdog(self.components)
        self._watch_at = 0.0

    @property
    def db_path(self) -> Path:
        """The sqlite database."""
        return self.home / "airflow.db"

    @property
    def _gate(self) -> Path:
        return self.home / "migrated"

    @property
    def task_logs(self) -> Path:
        """The directory of the task logs."""
        return self.home / "logs" / "tasks"

    def start(self, timeout: float = 180) -> Self:
        """Create the database, start all components and wait until all are healthy.

        :raises LocalAirflowError: if one of them ends or is not healthy in time.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        if self.login is not None:
            user, password = self.login
            (self.home / "passwords.json").write_text(json.dumps({user: password}), "utf-8")
        try:
            self._gate.unlink(missing_ok=True)
            migrate = [sys.executable, "-m", "dev.component", str(self.home), "db", "migrate"]
            migration = self.processes.spawn("migrate", migrate)
            for name in self.components:
                self._spawn(name)
            self._finish_migration(migration, timeout)
            self._wait_healthy(timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every process; calling it again is harmless."""
        self.processes.stop()
        self.http.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def kill(self, component: str, signal: int) -> None:
        """Send a signal to a component and all processes that it has forked. The next API call starts it again."""
        self.processes.signal(component, signal)

    def restart(self, component: str, timeout: float = 90) -> None:
        """End a component if it is still running, start it again, and wait until all components are healthy."""
        self.processes.end(component)
        self._spawn(component)
        self._wait_healthy(timeout)

    def api(self, method: str, path: str, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Call the API as :meth:`AirflowApi.api` does; a component that is down is started again first."""
        self.tend()
        return super().api(method, path, json, params)

    def tend(self) -> None:
        """Restart components that have ended by themselves or hang, as a supervisor does in production.

        :raises LocalAirflowError: if one of them does not stay up.
        """
        now = time.monotonic()
        if now < self._watch_at:
            return
        due = self._watchdog.due(self.processes.dead(), self._watched_health(), now)
        if hopeless := self._watchdog.hopeless(now):
            raise LocalAirflowError(f"{', '.join(hopeless)} ended again and again\n{self._tails(hopeless)}")
        for name, why in due.items():
            print(f"Airflow's {name} is started again: {why}; {self.processes.log_path(name)}", file=sys.stderr)
            # Do not wait for it: it may end again, and is then started again.
            self.processes.end(name)
            self._spawn(name)
        self._watch_at = time.monotonic() + WATCH_SECONDS

    def _watched_health(self) -> dict[str, str | None]:
        """Return the health by which components are restarted."""
        return self.health()

    def health(self) -> dict[str, str | None]:
        """Return the state of each component as Airflow sees it; empty while the API server does not answer."""
        try:
            answer = self.http.get("/api/v2/monitor/health")
        except httpx.TransportError:
            return {}
        if answer.is_error:
            return {}
        return {name: part["status"] for name, part in answer.json().items() if part}

    def _components(self) -> dict[str, Component]:
        """Return what this Airflow consists of, by name."""
        server = Component(("api-server", "--host", "127.0.0.1", "--port", str(self.port)))
        return {name: Component((name,)) for name in COMPONENTS} | {"api-server": server}

    def _spawn(self, name: str) -> None:
        component = self.components[name]
        argv = [sys.executable, "-m", "dev.component", str(self._gate), *component.arguments]
        self.processes.spawn(name, argv, component.env)

    def _finish_migration(self, child: subprocess.Popen[bytes], timeout: float) -> None:
        try:
            code: int | str = child.wait(timeout)
        except subprocess.TimeoutExpired:
            code = f"still running after {timeout:.0f} s"
        if code != 0:
            raise LocalAirflowError(f"airflow db migrate failed ({code}):\n{self.processes.log_tail('migrate')}")
        self.processes.end("migrate")
        self._gate.touch()

    def _wait_healthy(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        while True:
            health = self.health()
            if all(health.get(name) == "healthy" for name in HEALTH):
                return
            dead = self.processes.dead()
            if dead or time.monotonic() > until:
                blame = dead or [name for name in self.components if health.get(name.replace("-", "_")) != "healthy"]
                why = f"{', '.join(dead)} ended" if dead else f"not healthy after {timeout:.0f} s: {health}"
                raise LocalAirflowError(f"Airflow did not start: {why}\n{self._tails(blame)}")
            time.sleep(0.25)

    def _tails(self, names: Sequence[str]) -> str:
        return "\n".join(f"--- {name}\n{self.processes.log_tail(name)}" for name in names)

    def _secrets(self) -> dict[str, str]:
        # The secrets are kept, so that encrypted values in the database can be read the next time.
        file = self.home / "secrets.json"
        if not file.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            made = {
                "core.fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "api.secret_key": secrets.token_hex(16),
                # The processes must share this secret, or the server refuses its own workers.
                "api_auth.jwt_secret": secrets.token_hex(32),
            }
            file.touch(mode=0o600)
            file.write_text(json.dumps(made), "utf-8")
        kept: dict[str, str] = json.loads(file.read_text("utf-8"))
        return kept

    def _options(self, worker_log_port: int, trigger_log_port: int) -> dict[str, str]:
        login: dict[str, str] = {"core.simple_auth_manager_all_admins": "True"}
        if self.login is not None:
            login = {
                "core.simple_auth_manager_users": f"{self.login[0]}:admin",
                "core.simple_auth_manager_passwords_file": str(self.home / "passwords.json"),
            }
        return login | {
            "core.dags_folder": str(self.dags_folder),
            "core.load_examples": "False",
            "core.executor": "LocalExecutor",
            "core.parallelism": "6",
            "core.dags_are_paused_at_creation": "True",
            # The URL under which workers reach the API server; the default has port 8080.
            "core.execution_api_server_url": f"{self.url}/execution/",
            "api.base_url": self.url,
            "api.workers": "1",
            # A busy machine's API server must not fail a task that was not begun (after 5 s by default): the task's
            # start is not tried again, and without retries the task is lost.
            "workers.execution_api_timeout": "60",
            "database.sql_alchemy_conn": f"sqlite:///{self.db_path}",
            "database.sql_alchemy_connect_args": "dev.component.CONNECT_ARGS",
            "database.sql_alchemy_connect_args_async": "dev.component.CONNECT_ARGS",
            "logging.base_log_folder": str(self.task_logs),
            "logging.worker_log_server_port": str(worker_log_port),
            "logging.trigger_log_server_port": str(trigger_log_port),
            # The machine's own name may not resolve, and the log server also listens on the loopback.
            "core.hostname_callable": "dev.local_airflow.hostname",
            "dag_processor.refresh_interval": "5",
            "dag_processor.min_file_process_interval": "5",
            "scheduler.catchup_by_default": "False",
            "usage_data_collection.enabled": "False",
            # Where OpenLineage's provider is installed, its settings are the user's own Airflow's.
            "openlineage.disabled": "True",
        }


def hostname() -> str:
    """Return the name under which the components of a local Airflow find each other."""
    return "127.0.0.1"


def wipe(directory: Path) -> None:
    """Remove a directory with its contents, if it exists."""
    shutil.rmtree(directory, ignore_errors=True)
