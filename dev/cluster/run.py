"""Videos are made on a cluster, and it loses one part after the other; then the money and the files are counted.

Before each loss, one run of single videos and one batch are started, and the loss comes when they are under way. What
was lost comes back after a while, as it would in production, and nothing else is done for the runs: no restart, no
clearing, until all have ended.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.cluster.airflow import NODES, SCHEDULERS, ClusterAirflow
from dev.cluster.audit import BATCH_DAG, CRASH_DAG, MARKETING_DAG, audit_cluster
from dev.cluster.servers import BROKER, BUCKET, DATABASE, STORE_CONNECTION, Servers
from dev.crash import CONFIG, DAG_FILE, FAULTS
from dev.crash_audit import Report
from dev.crash_runs import RunKey, Runs, Say
from dev.crash_storage import Bucket
from dev.stage import EXAMPLE_DAGS, REPO, connections

#: What can be lost, and for how many seconds.
LOSSES = {
    "node": 25.0,
    # Longer than it takes Airflow to give its tasks and waits to others: then both go on at the same time.
    "node frozen": 50.0,
    "scheduler": 15.0,
    "broker": 20.0,
    "broker frozen": 20.0,
    "database": 20.0,
    "database frozen": 20.0,
    "API server": 10.0,
    "emulator": 10.0,
}
#: The losses of ``make cluster``.
STANDARD = ("node", "scheduler", "broker", "database")
BATCH_FILE = REPO / "tests" / "cluster" / "dags" / "cluster_batch.py"
#: How long the runs of a loss may take to get under way.
UNDER_WAY_SECONDS = 240.0
PREFIX = "videos/"
#: A message may be used only so long after it was sent (its token expires), so it must outlast the visibility timeout.
PATIENCE = {"scheduler.task_queued_timeout": "150", "scheduler.task_instance_heartbeat_timeout": "30"}

_Seen = TypeVar("_Seen")


@dataclass(frozen=True)
class ClusterPlan:
    """The extent of a run on a cluster.

    :param losses: what is lost, in this order; names of :data:`LOSSES`.
    :param rows: the rows of each batch.
    :param marketing: whether the marketing example runs, too.
    :param faults: how many faults of APIMart's API come with each loss.
    """

    losses: tuple[str, ...]
    seed: int
    rows: int = 12
    marketing: bool = True
    faults: int = 0


class ClusterRun:
    """Carries out a plan on a running cluster."""

    def __init__(
        self, airflow: ClusterAirflow, emulator: EmulatorProcess, servers: Servers, plan: ClusterPlan, say: Say
    ) -> None:
        self.airflow = airflow
        self.emulator = emulator
        self.servers = servers
        self.plan = plan
        self.say = say
        # Not used for secrets: the same seed must give the same order of events.
        self.random = random.Random(plan.seed)  # noqa: S311
        self.runs = Runs(airflow, [], 0, say)
        self.events: Counter[str] = Counter()
        #: Tasks that ran on lost nodes, and waits of their triggerers.
        self.lost_work: list[tuple[int, int]] = []
        self.began = time.monotonic()

    def run(self) -> Report:
        """Lose everything that the plan names, wait for the runs, audit."""
        if self.plan.marketing:
            self.runs.start((MARKETING_DAG, "cluster-marketing"))
        for number, name in enumerate(self.plan.losses, start=1):
            started = [(dag_id, f"cluster-{number:02d}-{dag_id}") for dag_id in (CRASH_DAG, BATCH_DAG)]
            for run in started:
                self.runs.start(run)
            self.emulator.faults(*(self.random.choice(FAULTS) for _ in range(self.plan.faults)))
            self.events["fault"] += self.plan.faults
            self._lose(name, started)
            self.runs.look()
        self.say("nothing more is lost; waiting for the runs")
        self.emulator.clear_faults()
        self.runs.wait()
        cleared = self.runs.clear_failed()
        storage = Bucket(self.servers.store_client(), BUCKET, PREFIX)
        found = audit_cluster(self.airflow, self.emulator, self.runs.all, storage, self.plan.rows)
        again = self.airflow.logs_of("worker").count("ignoring redelivered message")
        found.notes.append(f"Celery     {again} messages delivered again while their task still ran, and ignored")
        mismatches = self.airflow.logs_of("scheduler").count("but the task instance's state attribute is")
        return Report(found, +self.events, cleared, mismatches, time.monotonic() - self.began)

    def _lose(self, name: str, runs: list[RunKey]) -> None:
        seconds = LOSSES[name]
        what, back = self._strike(name, runs)
        self.events[name] += 1
        self.say(f"lost for {seconds:.0f} s: {what}")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.airflow.tend()
            time.sleep(1)
        back()
        self.say(f"back: {name}")

    def _strike(self, name: str, runs: list[RunKey]) -> tuple[str, Callable[[], object]]:
        """Lose a part as soon as the runs are under way; return what was lost and how it comes back."""
        if name in ("node", "node frozen"):
            node, (running, waits) = self._busy_node(runs)
            self.lost_work.append((running, waits))
            work = f"{running} tasks ran there and {waits} waited in its triggerer"
            if name == "node frozen":
                self.airflow.freeze_node(node)
                return f"{node}, frozen; {work}", lambda: self.airflow.thaw_node(node)
            self.airflow.lose_node(node)
            return f"{node} with its disk; {work}", lambda: self.airflow.replace_node(node)
        self._until_under_way(runs)
        if name in ("scheduler", "API server"):
            component = self.random.choice(SCHEDULERS) if name == "scheduler" else "api-server"
            self.airflow.lose(component)
            return component, lambda: self.airflow.bring_back(component)
        if name == "emulator":
            self.emulator.kill()
            return "APIMart (the emulator)", self.emulator.start
        server = {"broker": BROKER, "database": DATABASE}[name.removesuffix(" frozen")]
        if name.endswith(" frozen"):
            self.servers.freeze(server)
            return f"{server}, frozen with its connections open", lambda: self.servers.thaw(server)
        self.servers.kill(server)
        return f"{server}, killed", lambda: self.servers.start_again(server)

    def _tasks(self, runs: list[RunKey]) -> list[dict[str, Any]]:
        return [
            task
            for run in runs
            for task in self.runs.ask(lambda run=run: self.airflow.task_instances(*run))  # type: ignore[misc]
        ]

    def _busy_node(self, runs: list[RunKey]) -> tuple[str, tuple[int, int]]:
        """Wait until a node has a task and a wait to lose, and return the one that has most."""

        def look() -> tuple[str, tuple[int, int]] | None:
            tasks = self._tasks(runs)
            work = {node: self.airflow.work_of(node, tasks) for node in NODES}
            node = max(NODES, key=lambda each: (min(work[each]), sum(work[each])))
            return (node, work[node]) if min(work[node]) else None

        return self._wait_for(look, "no node had both a task and a wait")

    def _until_under_way(self, runs: list[RunKey]) -> None:
        """Wait until of these runs something has been paid for, and something is still to come."""

        def look() -> bool:
            states = Counter(task["state"] for task in self._tasks(runs))
            return states["deferred"] > 0 and states["running"] + states["queued"] > 0

        self._wait_for(look, "the runs did not get under way")

    def _wait_for(self, look: Callable[[], _Seen | None], problem: str) -> _Seen:
        until = time.monotonic() + UNDER_WAY_SECONDS
        while not (seen := look()):
            if time.monotonic() > until:
                raise TimeoutError(f"{problem} within {UNDER_WAY_SECONDS:.0f} s")
            time.sleep(0.3)
        return seen


def run_cluster(home: Path, plan: ClusterPlan, say: Say) -> tuple[Report, list[tuple[int, int]]]:
    """Run servers, an emulator and an Airflow in ``home``, and carry out ``plan``.

    :return: the report, and of each lost node how many tasks ran there and how many waits it held.
    :raises LocalAirflowError, ServerError, TimeoutError: if something did not come up, or runs did not end.
    """
    dags = home / "dags"
    dags.mkdir(parents=True)
    for file in (DAG_FILE, BATCH_FILE, EXAMPLE_DAGS / f"{MARKETING_DAG}.py", EXAMPLE_DAGS / "products.csv"):
        shutil.copy(file, dags)
    behaviour: dict[str, Any] = {"job_seconds": 8, "vary_jobs": True, "latency_ms": 200, "balance_usd": Decimal(10_000)}
    env = {
        "APIMART_OUTPUT_ROOT": f"s3://{STORE_CONNECTION}@{BUCKET}/{PREFIX.removesuffix('/')}",
        "APIMART_CRASH_FRAME": str(EXAMPLE_DAGS / "frames" / "dawn.png"),
        "APIMART_CLUSTER_ROWS": str(plan.rows),
    }
    # The marketing example has a schedule: a run of its own would be paid for, too.
    config = {**CONFIG, "scheduler.use_job_schedule": "False", **PATIENCE}
    with EmulatorProcess(home / "emulator.sqlite", **behaviour) as emulator, Servers(home) as servers:
        secrets = {**connections(emulator), STORE_CONNECTION: servers.store_connection()}
        say("servers are up; starting Airflow: two schedulers, and two nodes with a worker and a triggerer each")
        with ClusterAirflow(home / "airflow", dags, servers, secrets, env, config) as airflow:
            say("Airflow is up")
            run = ClusterRun(airflow, emulator, servers, plan, say)
            return run.run(), run.lost_work
