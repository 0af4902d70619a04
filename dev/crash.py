"""``make crash``: kill -9 whatever can be killed, at random moments, and audit the bill afterwards.

It runs a scheduler with its LocalExecutor, a dag processor, a triggerer and an API server as processes, an emulator in
APIMart's place, and a few dozen DAG runs. Chaos kills components, single workers, or only a worker's supervisor (which
leaves a zombie that keeps running beside its own retry), and makes the API fail on every route. Then everything is
started again and left alone. A task that has used up its tries is cleared once, as a user would do, and must then
succeed. Airflow itself sometimes fails tasks wrongly, so the audit looks at the money and the video and not at failed
tries (:mod:`dev.crash_audit`).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.crash_audit import Report, audit
from dev.crash_runs import Runs, Say
from dev.crash_storage import LocalFolder
from dev.local_airflow import LocalAirflow, LocalAirflowError, wipe
from dev.processes import end_sessions, pids_of_session
from dev.stage import EXAMPLE_DAGS, REPO, connections_env, end_on_signals

DAG_ID = "crash"
DAG_FILE = REPO / "tests" / "system" / "dags" / "crash_cases.py"
HOME = REPO / ".crash"
#: Short timeouts, so that Airflow notices dead processes within seconds, not minutes.
CONFIG = {
    "scheduler.task_instance_heartbeat_timeout": "20",
    "scheduler.task_instance_heartbeat_timeout_detection_interval": "5",
    "scheduler.scheduler_health_check_threshold": "15",
    "scheduler.orphaned_tasks_check_interval": "10",
    "scheduler.task_queued_timeout": "60",
    "scheduler.task_queued_timeout_check_interval": "10",
    "triggerer.triggerer_health_check_threshold": "15",
    "workers.min_heartbeat_interval": "2",
}
FAULTS: tuple[dict[str, Any], ...] = (
    {"route": "submit", "kind": "drop_after"},
    {"route": "submit", "kind": "drop_before"},
    {"route": "submit", "kind": "status", "status": 503},
    {"route": "submit", "kind": "status", "status": 500, "executed": True},
    {"route": "submit", "kind": "stall", "seconds": 6, "executed": True},
    {"route": "submit", "kind": "no_task_id"},
    {"route": "submit", "kind": "idempotency_in_progress"},
    {"route": "submit", "kind": "task_fails"},
    {"route": "upload", "kind": "drop_after"},
    {"route": "task", "kind": "status", "status": 503, "times": 3},
    {"route": "task", "kind": "stall", "seconds": 6},
    {"route": "task", "kind": "html", "times": 2},
    {"route": "task", "kind": "broken_json"},
    {"route": "media", "kind": "cut", "times": 2},
    {"route": "media", "kind": "wrong_length"},
    {"route": "media", "kind": "status", "status": 503},
    {"route": "media", "kind": "stall", "seconds": 4},
)
#: How often each event is in one bag. Bags are shuffled, so that no event is left out by chance.
BAG = {
    "runner": 4,
    "supervisor": 2,
    "supervisor and runner": 2,
    "fault": 8,
    "emulator": 2,
    "triggerer": 1,
    "scheduler": 1,
    "scheduler alone": 1,
}
#: Which processes of a running task are killed.
WORKERS = ("runner", "supervisor", "supervisor and runner")
#: Without a target for so long, and for so many looks, there is none.
STARVED_SECONDS, STARVED_LOOKS = 15.0, 5
WORKER_TITLE = "airflow worker -- LocalExecutor"


@dataclass(frozen=True)
class Plan:
    """The extent of a crash run.

    :param runs: DAG runs, of six generations each.
    :param active: how many of them run at a time.
    :param pause: the minimum and maximum seconds between two events.
    :param bag: see :data:`BAG`.
    :param bags: chaos ends after this many bags, or when all runs have ended.
    """

    runs: int
    seed: int
    active: int = 3
    pause: tuple[float, float] = (1.0, 7.0)
    bag: dict[str, int] = field(default_factory=lambda: dict(BAG))
    bags: int | None = None


class MortalAirflow(LocalAirflow):
    """An Airflow whose processes can be killed one by one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.orphaned: list[int] = []

    def _scheduler_sessions(self) -> list[int]:
        child = self.processes.children.get("scheduler")
        return [*self.orphaned, *([child.pid] if child else [])]

    def working(self) -> list[tuple[int, int]]:
        """Return the (supervisor, task runner) of every running task, including tasks of killed schedulers."""
        found = []
        for pid in (pid for session in self._scheduler_sessions() for pid in pids_of_session(session)):
            try:
                parent = psutil.Process(pid).parent()
                if parent is not None and " ".join(parent.cmdline()).startswith(WORKER_TITLE):
                    found.append((parent.pid, pid))
            except psutil.Error:
                continue
        return found

    def kill_and_restart(self, component: str, down_seconds: float) -> None:
        """Kill a component and all processes that it has forked, and start it again."""
        self.kill(component, signal.SIGKILL)
        time.sleep(down_seconds)
        self.processes.end(component)
        self._spawn(component)

    def behead_scheduler(self, down_seconds: float) -> None:
        """Kill the scheduler alone and start another: its workers and their tasks keep running without it."""
        child = self.processes.children.pop("scheduler")
        self.orphaned.append(child.pid)
        child.kill()
        child.wait()
        time.sleep(down_seconds)
        self._spawn("scheduler")

    def restart_all(self) -> None:
        """Restart everything except the API server; no earlier process survives."""
        end_sessions(self.orphaned, patience_seconds=1)
        self.orphaned = []
        for component in ("scheduler", "triggerer", "dag-processor"):
            self.processes.end(component, patience_seconds=5)
            self._spawn(component)
        self._wait_healthy(180)


class Crash:
    """One crash run: chaos over many DAG runs, then peace, then the audit."""

    def __init__(self, airflow: MortalAirflow, emulator: EmulatorProcess, plan: Plan, root: Path, say: Say) -> None:
        self.airflow = airflow
        self.emulator = emulator
        self.plan = plan
        self.root = root
        self.say = say
        # Not used for secrets: the same seed must give the same order of events.
        self.random = random.Random(plan.seed)  # noqa: S311
        self.events: Counter[str] = Counter()
        self.run_ids = [f"crash-{number:03d}" for number in range(1, plan.runs + 1)]
        self.runs = Runs(airflow, [(DAG_ID, run_id) for run_id in self.run_ids], plan.active, say)
        self.began = time.monotonic()

    def run(self) -> Report:
        """Run chaos, peace and audit."""
        self.airflow.wait_dag(DAG_ID)
        self._chaos()
        self.say("peace: everything is started again and left alone")
        self._peace()
        cleared = self.runs.clear_failed()
        found = audit(self.airflow, self.emulator, DAG_ID, self.run_ids, LocalFolder(self.root))
        log = self.airflow.processes.log_path("scheduler").read_text("utf-8", "replace")
        mismatches = log.count("but the task instance's state attribute is")
        return Report(found, self.events, cleared, mismatches, time.monotonic() - self.began)

    # --- chaos ---------------------------------------------------------------------------------------------------

    def _chaos(self) -> None:
        bag: list[str] = []
        bags = 0
        struck_at, fruitless = time.monotonic(), 0
        while self.runs.unfinished:
            self.runs.look()
            time.sleep(self.random.uniform(*self.plan.pause))
            # Airflow can lose a queued task together with its worker, and only a new scheduler finds it again. So if no
            # target is left to kill, the next bag is opened. One look says little: on a busy machine it takes long.
            if not bag or (fruitless >= STARVED_LOOKS and time.monotonic() - struck_at > STARVED_SECONDS):
                if bags == self.plan.bags:
                    return
                bags, fruitless = bags + 1, 0
                bag += self._new_bag()
            busy = bool(self.airflow.working())
            name = next((each for each in bag if busy or each not in WORKERS), None)
            happened = self._strike(name) if name is not None else None
            if name is None or happened is None:
                fruitless += 1
                continue
            bag.remove(name)
            struck_at, fruitless = time.monotonic(), 0
            self.events[happened[0]] += 1
            self.say(": ".join(filter(None, happened)))

    def _new_bag(self) -> list[str]:
        bag = [name for name, count in self.plan.bag.items() for _ in range(count)]
        self.random.shuffle(bag)
        return bag

    def _strike(self, name: str) -> tuple[str, str] | None:
        """Cause one event. Returns the event and its details; ``None`` if there was no target."""
        down = self.random.uniform(0.0, 4.0)
        if name in WORKERS:
            return self._strike_worker(name)
        if name == "fault":
            fault = self.random.choice(FAULTS)
            self.emulator.fault(**fault)
            return f"fault {fault['route']}/{fault['kind']}", ""
        if name == "emulator":
            self.emulator.kill()
            time.sleep(down)
            self.emulator.start()
        elif name == "scheduler alone":
            self.airflow.behead_scheduler(down)
        else:
            self.airflow.kill_and_restart(name, down)
        return f"kill -9 {name}", f"down for {down:.1f} s"

    def _strike_worker(self, name: str) -> tuple[str, str] | None:
        working = self.airflow.working()
        if not working:
            return None
        supervisor, runner = self.random.choice(working)
        pids = {"runner": [runner], "supervisor": [supervisor]}.get(name, [supervisor, runner])
        try:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return f"kill -9 {name}", f"pid {', '.join(map(str, pids))}, one of {len(working)} tasks that ran"

    # --- peace ---------------------------------------------------------------------------------------------------

    def _peace(self) -> None:
        self.emulator.clear_faults()
        self.emulator.kill()
        self.emulator.start()
        self.airflow.restart_all()
        self.runs.wait()


def crash(home: Path, plan: Plan, say: Say) -> Report:
    """Run a whole Airflow and an emulator in ``home``, and carry out ``plan``.

    :raises LocalAirflowError, TimeoutError: if Airflow did not come up again or runs did not end.
    """
    root, dags = home / "videos", home / "dags"
    root.mkdir(parents=True)
    dags.mkdir()
    shutil.copy(DAG_FILE, dags)
    # Slow answers, so that kills fall between a POST and its record.
    behaviour: dict[str, Any] = {"job_seconds": 8, "vary_jobs": True, "latency_ms": 400, "balance_usd": Decimal(10_000)}
    with EmulatorProcess(home / "emulator.sqlite", **behaviour) as emulator:
        env = {
            **connections_env(emulator),
            "APIMART_OUTPUT_ROOT": str(root),
            "APIMART_CRASH_FRAME": str(EXAMPLE_DAGS / "frames" / "dawn.png"),
        }
        with MortalAirflow(home / "airflow", dags, env=env, config=CONFIG) as airflow:
            return Crash(airflow, emulator, plan, root, say).run()


def main() -> int:
    """``make crash``; ``CRASH_RUNS`` and ``CRASH_SEED`` set the number of runs and the seed. Returns the exit code."""
    end_on_signals()
    seed = int(os.environ.get("CRASH_SEED") or time.time())
    plan = Plan(runs=int(os.environ.get("CRASH_RUNS") or 30), seed=seed)
    wipe(HOME)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    print(f"{plan.runs} runs, CRASH_SEED={seed}; everything is under {HOME.name}/ ...", flush=True)
    try:
        report = crash(HOME, plan, say)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing is left running.", file=sys.stderr)
        return 130
    except (LocalAirflowError, TimeoutError, httpx.HTTPError) as error:
        print(f"\nNo result: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.text()}")
    return 1 if report.audit.problems else 0


if __name__ == "__main__":
    sys.exit(main())
