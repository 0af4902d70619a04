"""An Airflow that is spread out: two schedulers, and two nodes with a Celery worker and a triggerer each.

A node has an address of its own on the loopback, a folder of its own for logs and temporary files, and nothing that
the other node could read. Losing it kills all its processes at once and its disk with them; what comes back is a new,
empty machine under the old name. As in production, a supervisor starts again what ends by itself; a lost node stays
lost until :meth:`ClusterAirflow.replace_node`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from celery import Celery

from dev.cluster.servers import Servers
from dev.local_airflow import Component, LocalAirflow, LocalAirflowError, free_ports, wipe

NODES = ("node-1", "node-2")
SCHEDULERS = ("scheduler-1", "scheduler-2")
#: Task slots of a node.
CONCURRENCY = 3
NODE_VARIABLE = "APIMART_CLUSTER_NODE_ADDRESS"
#: A database that does not answer is noticed.
CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
NO_CONNECT_ARGS: dict[str, Any] = {}


def hostname() -> str:
    """Return the address of the node that this process is on."""
    return os.environ.get(NODE_VARIABLE, "127.0.0.1")


class ClusterAirflow(LocalAirflow):
    """An Airflow with CeleryExecutor on :class:`Servers`.

    :param servers: running ones.
    :param connections: what its secrets backend holds, by connection id, in Airflow's JSON form.
    """

    def __init__(
        self,
        home: Path,
        dags_folder: Path,
        servers: Servers,
        connections: Mapping[str, Mapping[str, Any]],
        env: Mapping[str, str],
        config: Mapping[str, str],
    ) -> None:
        self.servers = servers
        self.connections = connections
        self._connections_file = home.resolve() / "connections.json"
        super().__init__(home, dags_folder, env=env, config={**self._cluster_options(), **config})
        # Two minutes without the database are many ends and starts.
        self._watchdog.most_starts = 20

    def start(self, timeout: float = 300) -> ClusterAirflow:
        """Start all components and wait until all are healthy and both workers answer.

        :raises LocalAirflowError: if one of them ends or is not healthy in time.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self._connections_file.touch(mode=0o600)
        self._connections_file.write_text(json.dumps(self.connections), "utf-8")
        for node in NODES:
            self._make_node(node)
        super().start(timeout)
        try:
            self.wait_workers(NODES, timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def workers(self) -> set[str]:
        """Return the nodes whose worker answers."""
        with Celery(broker=self.servers.broker_url) as app:
            app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 5}
            answers: list[dict[str, Any]] = app.control.ping(timeout=2) or []
        return {name.partition("@")[2] for answer in answers for name in answer}

    def wait_workers(self, nodes: tuple[str, ...], timeout: float) -> None:
        """Wait until the workers of these nodes answer.

        :raises LocalAirflowError: if one of them does not.
        """
        until = time.monotonic() + timeout
        while missing := set(nodes) - self.workers():
            if time.monotonic() > until:
                names = [f"worker-{node}" for node in sorted(missing)]
                raise LocalAirflowError(f"no answer from {', '.join(names)}\n{self._tails(names)}")
            self.tend()
            time.sleep(0.5)

    def _watched_health(self) -> dict[str, str | None]:
        # Airflow tells of one scheduler and one triggerer only; and to ask it takes long while the database is away.
        return {}

    # --- what can be lost ----------------------------------------------------------------------------------------

    def lose_node(self, node: str) -> None:
        """Kill a worker and a triggerer with all their children, at once, and throw their disk away."""
        self.processes.kill(*_of(node))
        wipe(self._node_folder(node))

    def replace_node(self, node: str) -> None:
        """Start a new, empty machine in the place of a lost node."""
        self._make_node(node)
        for name in _of(node):
            self._spawn(name)

    def freeze_node(self, node: str) -> None:
        """Stop all processes of a node, as a virtual machine that is paused."""
        for name in _of(node):
            self.processes.signal(name, signal.SIGSTOP)

    def thaw_node(self, node: str) -> None:
        """Continue a frozen node: it knows nothing of what the others have done meanwhile."""
        for name in _of(node):
            self.processes.signal(name, signal.SIGCONT)

    def lose(self, name: str) -> None:
        """Kill one component with all its children; it stays away until :meth:`bring_back`."""
        self.processes.kill(name)

    def bring_back(self, name: str) -> None:
        """Start a component that was killed."""
        self._spawn(name)

    def work_of(self, node: str, tasks: Collection[Mapping[str, Any]]) -> tuple[int, int]:
        """Return how many of these task instances run on a node, and how many it waits for in its triggerer."""
        address = self.components[f"worker-{node}"].env[NODE_VARIABLE]
        running = sum(1 for task in tasks if task["state"] == "running" and task["hostname"] == address)
        waits = [task["triggerer_job"] for task in tasks if task["state"] == "deferred" and task["triggerer_job"]]
        return running, sum(1 for job in waits if job["hostname"] == address)

    def logs_of(self, prefix: str) -> str:
        """Return the output of all components of a kind."""
        return "\n".join(
            self.processes.log_path(name).read_text("utf-8", "replace")
            for name in self.components
            if name.startswith(prefix) and self.processes.log_path(name).exists()
        )

    # --- its parts -----------------------------------------------------------------------------------------------

    def _node_folder(self, node: str) -> Path:
        return self.home / node

    def _make_node(self, node: str) -> None:
        (self._node_folder(node) / "tmp").mkdir(parents=True, exist_ok=True)

    def _components(self) -> dict[str, Component]:
        parts = super()._components()
        scheduler = parts.pop("scheduler")
        del parts["triggerer"]
        parts |= dict.fromkeys(SCHEDULERS, scheduler)
        ports = iter(free_ports(2 * len(NODES)))
        for number, node in enumerate(NODES, start=2):
            folder = self._node_folder(node)
            env = {
                NODE_VARIABLE: f"127.0.0.{number}",
                "TMPDIR": str(folder / "tmp"),
                "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
                "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(next(ports)),
                "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(next(ports)),
            }
            worker = ("celery", "worker", "--celery-hostname", node, "--concurrency", str(CONCURRENCY))
            parts[f"worker-{node}"] = Component(worker, env)
            parts[f"triggerer-{node}"] = Component(("triggerer",), env)
        return parts

    def _cluster_options(self) -> dict[str, str]:
        url = self.servers.database_url
        backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
        return {
            "core.executor": "CeleryExecutor",
            "core.hostname_callable": "dev.cluster.airflow.hostname",
            "database.sql_alchemy_conn": url.replace("://", "+psycopg2://", 1),
            "database.sql_alchemy_conn_async": url.replace("://", "+asyncpg://", 1),
            # For SQLite alone.
            "database.sql_alchemy_connect_args": "dev.cluster.airflow.CONNECT_ARGS",
            "database.sql_alchemy_connect_args_async": "dev.cluster.airflow.NO_CONNECT_ARGS",
            "database.sql_alchemy_pool_size": "5",
            "secrets.backend": backend,
            "secrets.backend_kwargs": json.dumps({"connections_file_path": str(self._connections_file)}),
            "celery.broker_url": self.servers.broker_url,
            "celery.result_backend": url.replace("postgresql://", "db+postgresql+psycopg2://", 1),
            # Sending a task takes longer than Celery's 1 s on a busy machine.
            "celery.operation_timeout": "10",
            # How long a message that a lost worker had taken stays lost. Longer than any part of a task here takes; a
            # message that is delivered again while its task still runs is refused by Airflow.
            "celery_broker_transport_options.visibility_timeout": "60",
            # The tasks of the marketing example that only compute have no retries of their own.
            "core.default_task_retries": "3",
            "core.default_task_retry_delay": "5",
            # A frozen broker is noticed.
            "celery_broker_transport_options.socket_timeout": "15",
            "celery_broker_transport_options.socket_connect_timeout": "5",
        }


def _of(node: str) -> tuple[str, str]:
    return f"worker-{node}", f"triggerer-{node}"
