"""The harness itself: a run through real components, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dev.local_airflow import COMPONENTS, LocalAirflow, LocalAirflowError, clean_environment
from dev.processes import ProcessSessions, pids_of_session
from dev.watchdog import MOST_STARTS, PATIENCE_SECONDS, STARTS_SECONDS, Watchdog

REPO = Path(__file__).parents[2]
#: A leader that ignores SIGTERM, with a child that has left its process group, as Airflow's supervisors do.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
print(os.getpid(), flush=True)
time.sleep(300)
"""
#: A parent that starts a child and is then killed before it can clean up.
KILLED_PARENT = """
import os, signal, sys, time
from pathlib import Path
from dev.processes import ProcessSessions
sessions = ProcessSessions(Path(sys.argv[1]), os.environ)
child = sessions.spawn("child", [sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def wait_until_gone(pids: list[int], seconds: float = 30) -> list[int]:
    """Return those that are still alive when the time is up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(psutil.pid_exists(pid) for pid in pids):
        time.sleep(0.1)
    return [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.fixture(scope="module")
def green_run(local_airflow: LocalAirflow) -> tuple[str, set[str]]:
    """A finished run of the trivial DAG, and the states that its tasks were seen in."""
    run = local_airflow.trigger("harness_trivial", {"asked": "by a test"})
    seen: set[str] = set()
    state = local_airflow.wait_run(
        "harness_trivial", run, on_poll=lambda tasks: seen.update(str(task["state"]) for task in tasks)
    )
    assert state == "success", local_airflow.task_log("harness_trivial", run, "wait")
    return run, seen


def test_run_with_deferral_and_mapping(local_airflow: LocalAirflow, green_run: tuple[str, set[str]]) -> None:
    run, seen = green_run
    assert "deferred" in seen
    assert [local_airflow.xcom("harness_trivial", run, "double", map_index=index) for index in range(3)] == [2, 4, 6]
    assert local_airflow.xcom("harness_trivial", run, "double", key="absent", map_index=0) is None
    assert "trigger starting" in local_airflow.task_log("harness_trivial", run, "wait")
    assert local_airflow.rendered_fields("harness_trivial", run, "double", 1)["op_kwargs"] == {"number": 2}
    assert local_airflow.dag_run("harness_trivial", run)["conf"] == {"asked": "by a test"}


def test_clear_runs_one_mapped_task_again(local_airflow: LocalAirflow, green_run: tuple[str, set[str]]) -> None:
    run, _ = green_run
    local_airflow.clear("harness_trivial", run, [["double", 1]])
    assert local_airflow.wait_run("harness_trivial", run) == "success"

    tries = [local_airflow.task_instance("harness_trivial", run, "double", index)["try_number"] for index in range(3)]
    assert tries == [1, 2, 1]


def test_a_scheduler_that_ended_is_started_again(
    local_airflow: LocalAirflow, green_run: tuple[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    local_airflow.kill("scheduler", signal.SIGKILL)
    run, _ = green_run
    local_airflow.clear("harness_trivial", run, [["double", 0]])
    assert local_airflow.wait_run("harness_trivial", run) == "success"
    assert "Airflow's scheduler is started again: it has ended by itself" in capsys.readouterr().err


ILL = {"scheduler": "unhealthy", "dag_processor": "healthy", "metadatabase": "healthy"}
WELL = {**ILL, "scheduler": "healthy"}


class TestWatchdog:
    def test_what_has_ended_is_started_at_once(self) -> None:
        found = Watchdog(COMPONENTS).due(["dag-processor", "migrate"], WELL, 0.0)
        assert found == {"dag-processor": "it has ended by itself"}

    def test_what_hangs_is_started_after_a_while(self) -> None:
        dog = Watchdog(COMPONENTS)
        assert [dog.due([], ILL, now) for now in (0.0, PATIENCE_SECONDS - 1)] == [{}, {}]
        assert dog.due([], ILL, PATIENCE_SECONDS) == {"scheduler": "it has been unhealthy for 30 s"}
        # The new one has as long as the old one had.
        assert dog.due([], ILL, PATIENCE_SECONDS + 1) == {}

    def test_who_was_only_late_is_left_alone(self) -> None:
        dog = Watchdog(COMPONENTS)
        looks = [(ILL, 0.0), (WELL, 20.0), (ILL, 40.0), ({}, 60.0), (ILL, 80.0)]
        assert [dog.due([], health, now) for health, now in looks] == [{}] * 5

    def test_what_does_not_stay_up_is_given_up(self) -> None:
        dog = Watchdog(COMPONENTS)
        assert all(dog.due(["scheduler"], WELL, 10.0 * count) for count in range(MOST_STARTS))
        assert dog.hopeless(50.0) == []
        assert dog.due(["scheduler"], WELL, 50.0)
        assert dog.hopeless(50.0) == ["scheduler"]
        assert dog.hopeless(50.0 + STARTS_SECONDS) == []


def test_nothing_of_the_users_airflow_gets_in() -> None:
    inherited = {"AIRFLOW_HOME": "/theirs", "AIRFLOW__CORE__FERNET_KEY": "x", "_AIRFLOW__AS_LIBRARY": "1", "LANG": "C"}
    assert clean_environment(inherited) == {"LANG": "C"}


def test_stop_ends_what_ignores_sigterm_and_what_left_the_group(tmp_path: Path) -> None:
    sessions = ProcessSessions(tmp_path, os.environ)
    child = sessions.spawn("stubborn", [sys.executable, "-c", STUBBORN])
    until = time.monotonic() + 30
    while len(sessions.log_tail("stubborn").splitlines()) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    pids = pids_of_session(child.pid)
    assert len(pids) == 2

    sessions.stop(patience_seconds=0.2)

    assert wait_until_gone(pids) == []


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", KILLED_PARENT, str(tmp_path)], cwd=REPO, capture_output=True, text=True, timeout=60
    )
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    assert wait_until_gone([int(parent.stdout)]) == []


def test_a_component_that_cannot_start_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    airflow = LocalAirflow(tmp_path / "home", tmp_path, config={"core.executor": "no.such.Executor"})
    with pytest.raises(LocalAirflowError, match=r"scheduler ended[\s\S]*(no\.such|module named 'no')"):
        airflow.start()

    assert airflow.processes.children == {}
    home = str(airflow.home)
    assert [process for process in psutil.process_iter(["cmdline"]) if home in str(process.info["cmdline"])] == []
