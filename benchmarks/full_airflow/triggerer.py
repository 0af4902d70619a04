"""Airflow's own triggerer with thousands of deferred tasks:
``python -m benchmarks.full_airflow.triggerer --tasks 1000``.

The tasks are set to deferred directly in the metadata database (``benchmarks/full_airflow/triggerer_rows.py``), so that
no worker has to run. Then Airflow's triggerer runs alone, with a raised capacity and otherwise default settings. It is
started, ended with SIGTERM and restarted, then killed with SIGKILL and restarted. Finally all jobs are completed at
once. ``benchmarks/servers/wait.py`` counts the polls. The database shows which trigger belongs to which triggerer, and
Airflow's log has its warnings of a blocked loop. *base* is the same with a trigger of Airflow's own that sleeps for
hours.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.full_airflow.triggerer_rows import DAG_FILE, DAG_ID
from benchmarks.servers.wait import CONTROL_ADDRESS
from dev.local_airflow import LocalAirflow
from dev.processes import pids_of_session

BLOCKED = re.compile(r"async thread was blocked for ([0-9.]+) seconds")
KINDS = ("ours", "base")
#: After how long Airflow gives the triggers of a killed triggerer to the next one. Airflow's default is 30 s.
DEAD_AFTER_SECONDS = 10


class Server:
    """The job server, as its parent process sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        transport = httpx.HTTPTransport(local_address=CONTROL_ADDRESS)
        self._http = httpx.Client(base_url=url, transport=transport, timeout=60.0)

    def ask(self, what: str = "count") -> dict[str, Any]:
        """Return the counts since the last mark; ``mark`` resets the counts, ``done`` completes all jobs."""
        counts: dict[str, Any] = self._http.get(f"/control/{what}").raise_for_status().json()
        return counts


@contextmanager
def wait_server(answer_seconds: float) -> Iterator[Server]:
    """Run the server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.servers.wait", f"--answer-seconds={answer_seconds}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own module
        try:
            url = child.stdout.readline().strip() if child.stdout else ""
            if not url.startswith("http://127.0.0.1:"):
                raise RuntimeError("the server did not start")
            yield Server(url)
        finally:
            child.kill()


class Triggerer:
    """Airflow's triggerer with a database of its own, as its parent process sees it."""

    def __init__(self, airflow: LocalAirflow) -> None:
        self.airflow = airflow
        self._log_read = 0
        self.job = 0
        self.peak = {"runner": 0, "supervisor": 0}

    def run(self, *arguments: str) -> None:
        """Run a Python module in this Airflow's environment."""
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, env=self.airflow.env, capture_output=True, text=True)  # noqa: S603 - ours
        if done.returncode:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}")

    def start(self) -> float:
        """Start it; return the time."""
        self.job = self._newest_job()
        self.peak = dict.fromkeys(self.peak, 0)
        self.blocked()
        began = time.time()
        command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
        self.airflow.processes.spawn("triggerer", command)
        return began

    def end(self, number: int, patience_seconds: float = 120.0) -> tuple[float, list[int]]:
        """End it with a signal; return how long that took, and which processes had to be killed."""
        child, began = self.airflow.processes.children["triggerer"], time.monotonic()
        if number == signal.SIGKILL:
            self.airflow.processes.signal("triggerer", number)
        else:
            child.send_signal(number)
        while (left := pids_of_session(child.pid)) and time.monotonic() - began < patience_seconds:
            child.poll()
            time.sleep(0.1)
        took = time.monotonic() - began
        self.airflow.processes.end("triggerer")
        return took, left

    def usage(self) -> dict[str, dict[str, float]]:
        """Return CPU seconds and memory of the process with the event loop and of the process with the database."""
        leader = self.airflow.processes.children["triggerer"].pid
        found: dict[str, dict[str, float]] = {}
        for pid in pids_of_session(leader):
            try:
                process = psutil.Process(pid)
                times, held = process.cpu_times(), process.memory_full_info()
            except psutil.NoSuchProcess:
                continue
            name = "supervisor" if pid == leader else "runner"
            # Any other forked process counts towards the runner.
            sums = found.setdefault(name, {"cpu": 0.0, "rss": 0, "pss": 0})
            for key, value in (("cpu", times.user + times.system), ("rss", held.rss), ("pss", held.pss)):
                sums[key] += value
        for name, sums in found.items():
            self.peak[name] = max(self.peak[name], int(sums["rss"]))
        return found

    def blocked(self) -> list[float]:
        """Return the seconds from Airflow's warnings of a blocked loop since the last call."""
        path = self.airflow.processes.log_path("triggerer")
        if not path.exists():
            return []
        with path.open("rb") as log:
            log.seek(self._log_read)
            text = log.read()
            self._log_read += len(text)
        return [float(each) for each in BLOCKED.findall(text.decode("utf-8", "replace"))]

    def assigned(self) -> int:
        """Return how many triggers belong to the triggerer that was started last."""
        newest = self._newest_job()
        return 0 if newest == self.job else self._one("select count(*) from trigger where triggerer_id = ?", newest)

    def triggers(self) -> int:
        """Return how many trigger rows there are."""
        return self._one("select count(*) from trigger")

    def in_state(self, state: str) -> int:
        """Return how many task instances are in a state."""
        return self._one("select count(*) from task_instance where dag_id = ? and state = ?", DAG_ID, state)

    def told(self, words: str) -> int:
        """Return how many tasks will resume with an event that contains these words."""
        return self._one(
            "select count(*) from task_instance where dag_id = ? and cast(next_kwargs as text) like ?",
            *(DAG_ID, f"%{words}%"),
        )

    def failed(self) -> int:
        """Return how many tasks will resume only to fail, because their trigger did."""
        return self._one("select count(*) from task_instance where dag_id = ? and next_method = '__fail__'", DAG_ID)

    def _newest_job(self) -> int:
        return self._one("select coalesce(max(id), 0) from job where job_type = 'TriggererJob'")

    def _one(self, query: str, *values: Any) -> int:
        with closing(sqlite3.connect(f"file:{self.airflow.db_path}?mode=ro", uri=True, timeout=60)) as base:
            found: int = base.execute(query, values).fetchone()[0]
        return found


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--tasks", type=int, default=1000)
    parse.add_argument("--kind", choices=KINDS, default="ours")
    parse.add_argument("--answer-seconds", type=float, default=0.2, help="how long the server takes to answer")
    parse.add_argument("--steady-seconds", type=float, default=60.0, help="the steady window")
    parse.add_argument("--json", type=Path, default=None, help="write the figures here, too")
    return parse


def measure(kind: str, tasks: int, answer_seconds: float, seconds: float) -> dict[str, Any]:
    """Run one kind with this many tasks; return what was measured."""
    with wait_server(answer_seconds) as server, tempfile.TemporaryDirectory(prefix="apimart-triggerer-") as name:
        folder = Path(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "waits.py").write_text(DAG_FILE.format(tasks=tasks, out=f"{folder}/out/"))
        connection = {"conn_type": "apimart", "host": server.url, "password": "benchmark"}
        config = {
            **{"triggerer.capacity": str(2 * tasks), "core.max_map_length": str(2 * tasks)},
            **{"triggerer.job_heartbeat_sec": "2", "core.dags_are_paused_at_creation": "False"},
            "triggerer.triggerer_health_check_threshold": str(DEAD_AFTER_SECONDS),
        }
        env = {"AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection)}
        airflow = LocalAirflow(folder / "airflow", folder / "dags", env=env, config=config)
        try:
            return _measure(Triggerer(airflow), server, kind, tasks, seconds)
        except BaseException:
            print(airflow.processes.log_tail("triggerer"), file=sys.stderr)
            raise
        finally:
            airflow.stop()


def _measure(triggerer: Triggerer, server: Server, kind: str, tasks: int, seconds: float) -> dict[str, Any]:
    triggerer.run("airflow", "db", "migrate")
    triggerer.run("airflow", "dags", "reserialize")
    triggerer.run("benchmarks.full_airflow.triggerer_rows", kind, str(tasks))
    polls = kind == "ours"
    line: dict[str, Any] = {"row": kind, "tasks": tasks, "phases": []}

    def tell(phase: dict[str, Any]) -> None:
        line["phases"].append(phase)
        print(f"  {kind}, {tasks:,}: {summary(phase)}", flush=True)

    server.ask("mark")
    tell(_picked_up("start", triggerer, server, tasks, polls))
    tell(_steady(triggerer, server, seconds))
    for name, number in (("SIGTERM, start", signal.SIGTERM), ("SIGKILL, start", signal.SIGKILL)):
        server.ask("mark")
        took, killed = triggerer.end(number)
        tell(_picked_up(name, triggerer, server, tasks, polls) | {"end_seconds": took, "had_to_be_killed": len(killed)})
    if polls:
        # Run until every trigger's pace has been set by the new process.
        tell(_steady(triggerer, server, seconds / 2) | {"phase": "after the kill"})
        tell(_finish(triggerer, server, tasks))
    return line


def _picked_up(name: str, triggerer: Triggerer, server: Server, tasks: int, polls: bool) -> dict[str, Any]:
    """Start the triggerer and wait until every task belongs to it and was polled.

    The server has counted since before the previous triggerer was ended, so it sees polls of the two that overlap.
    """
    before = server.ask()
    server_seen: dict[str, Any] = {}
    began = triggerer.start()
    server.ask("mark")
    first_assigned = all_assigned = 0.0

    def ready() -> bool:
        nonlocal first_assigned, all_assigned, server_seen
        if not all_assigned:
            count = triggerer.assigned()
            first_assigned = first_assigned or (time.time() if count else 0.0)
            all_assigned = time.time() if count >= tasks else 0.0
        server_seen = server.ask()
        return bool(all_assigned) and (not polls or server_seen["seen"] >= tasks)

    in_time = _until(ready, triggerer, f"{name}: all picked up")
    phase = _phase(name, triggerer, time.time() - began)
    phase |= {
        **_since(began, first_assigned=first_assigned, all_assigned=all_assigned),
        **{"in_time": in_time, "assigned": triggerer.assigned()},
        "overlaps": server_seen["overlaps"] + before["overlaps"],
    }
    if polls:
        all_asked = server_seen["last_first_at"] if server_seen["seen"] >= tasks else 0.0
        phase |= _since(began, first_asked=server_seen["first_at"], all_asked=all_asked) | _counts(server_seen)
    return phase


def _steady(triggerer: Triggerer, server: Server, seconds: float) -> dict[str, Any]:
    """Measure a steady phase of this many seconds."""
    triggerer.blocked()
    server.ask("mark")
    first, began = triggerer.usage(), time.monotonic()
    last = first
    while time.monotonic() - began < seconds:
        time.sleep(1)
        _alive(triggerer)
        last = triggerer.usage()
    took, seen = time.monotonic() - began, server.ask()
    phase = _phase("steady", triggerer, took) | _counts(seen) | {"overlaps": seen["overlaps"]}
    phase["cpu_share"] = {name: (last[name]["cpu"] - first[name]["cpu"]) / took for name in last if name in first}
    return phase | {"most_gap": seen["most_gap"], "polls_per_second": seen["polls"] / took}


def _finish(triggerer: Triggerer, server: Server, tasks: int) -> dict[str, Any]:
    """Complete all jobs and wait until no task is deferred and no trigger is left."""
    triggerer.blocked()
    server.ask("mark")
    began, told, left = time.time(), 0.0, 0.0
    server.ask("done")

    def ready() -> bool:
        nonlocal told, left
        told = told or (time.time() if server.ask()["told"] >= tasks else 0.0)
        left = left or (time.time() if triggerer.in_state("scheduled") >= tasks else 0.0)
        return bool(left) and not triggerer.triggers()

    in_time = _until(ready, triggerer, "all ended")
    seen = server.ask()
    phase = _phase("all completed", triggerer, time.time() - began) | _counts(seen) | {"overlaps": seen["overlaps"]}
    return phase | {
        **_since(began, all_told=told, all_left=left),
        **{"in_time": in_time, "told": seen["told"], "triggers_left": triggerer.triggers()},
        **{"scheduled": triggerer.in_state("scheduled"), "deferred": triggerer.in_state("deferred")},
        **{"finished": triggerer.told("finished"), "failed": triggerer.failed()},
    }


def _since(began: float, **moments: float) -> dict[str, float]:
    """Return the seconds from the beginning to each moment; moments that never came (0) are left out."""
    return {f"{name}_seconds": moment - began for name, moment in moments.items() if moment}


def _alive(triggerer: Triggerer) -> None:
    if triggerer.airflow.processes.dead():
        raise RuntimeError("the triggerer ended")


def _until(ready: Callable[[], bool], triggerer: Triggerer, what: str, timeout: float = 900.0) -> bool:
    """Wait, and say whether it was ready in time. A timeout is also a result, and no reason to discard the others."""
    until = time.monotonic() + timeout
    while not ready():
        triggerer.usage()
        _alive(triggerer)
        if time.monotonic() > until:
            print(f"  {what}: not after {timeout:.0f} s", flush=True)
            return False
        time.sleep(0.25)
    return True


def _phase(name: str, triggerer: Triggerer, seconds: float) -> dict[str, Any]:
    usage, blocked = triggerer.usage(), triggerer.blocked()
    return {
        **{"phase": name, "seconds": seconds, "warnings": len(blocked), "longest": max(blocked, default=0.0)},
        "cpu_seconds": {name: each["cpu"] for name, each in usage.items()},
        "rss_mb": {name: each["rss"] / 2**20 for name, each in usage.items()},
        "pss_mb": {name: each["pss"] / 2**20 for name, each in usage.items()},
        "peak_mb": {name: each / 2**20 for name, each in triggerer.peak.items()},
    }


def _counts(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: seen[name] for name in ("polls", "seen", "connections", "open", "peak_open", "least_gap")}


def summary(phase: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    words = [f"{phase['phase']}: {phase['seconds']:.1f} s"]
    words += [
        f"{key.replace('_', ' ')} {phase[key]:.1f}" for key in phase if key.endswith("_seconds") and key[0] != "c"
    ]
    for name in phase["rss_mb"]:
        words.append(f"{name} {phase['rss_mb'][name]:.0f} MB (peak {phase['peak_mb'][name]:.0f})")
    words += [f"{name} {share:.2f} CPU" for name, share in phase.get("cpu_share", {}).items()]
    words += [f"{phase['warnings']} warnings, longest {phase['longest']:.2f} s", f"{phase['overlaps']} asked twice"]
    if "polls" in phase:
        words += [f"{phase['polls']:,} polls of {phase['seen']:,}", f"{phase['peak_open']} connections at once"]
    words += [f"{key} {phase[key]:.1f}" for key in ("least_gap", "most_gap") if phase.get(key) is not None]
    words += [
        f"{key} {phase[key]}" for key in ("told", "finished", "failed", "deferred", "triggers_left") if key in phase
    ]
    return ", ".join(words)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all sizes, with our trigger and with Airflow's own."""
    lines = []
    for tasks in options.tasks:
        for kind in KINDS:
            try:
                lines.append(measure(kind, tasks, options.answer_seconds, options.steady_seconds))
            except Exception as error:
                # The other figures are valid without this one.
                traceback.print_exc()
                lines.append({"row": kind, "tasks": tasks, "phases": [], "error": f"{type(error).__name__}: {error}"})
    return {"lines": lines, "answer_seconds": options.answer_seconds, "dead_after": DEAD_AFTER_SECONDS}


def main() -> None:
    """Measure one kind with one number of tasks."""
    options = parser().parse_args()
    line = measure(options.kind, options.tasks, options.answer_seconds, options.steady_seconds)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(line, indent=1))
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
