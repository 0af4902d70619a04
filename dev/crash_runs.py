"""The DAG runs of a crash run: started, watched, and what has failed of them cleared once.

What the kills do to Airflow's own API and database is waited for here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import httpx

from dev.airflow_api import ENDED, AirflowApi, AirflowApiError

PATIENCE_SECONDS = 900.0
#: How long Airflow's API may be away.
AWAY_SECONDS = 120.0

_Answer = TypeVar("_Answer")
Say = Callable[[str], None]
#: A DAG and one of its runs.
RunKey = tuple[str, str]


class Runs:
    """DAG runs of one Airflow.

    :param waiting: the runs to start, in this order.
    :param at_once: how many of them run at a time.
    """

    def __init__(self, airflow: AirflowApi, waiting: Sequence[RunKey], at_once: int, say: Say) -> None:
        self.airflow = airflow
        self.all = list(waiting)
        self.waiting = list(waiting)
        self.active: set[RunKey] = set()
        self.at_once = at_once
        self.say = say

    @property
    def unfinished(self) -> bool:
        """Whether some still wait or run."""
        return bool(self.waiting or self.active)

    def ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Call Airflow, and retry: the kills can make its database or API fail for a while."""
        until = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                return call()
            except (httpx.TransportError, AirflowApiError) as error:
                if time.monotonic() > until or (isinstance(error, AirflowApiError) and error.status < 500):
                    raise
                time.sleep(1)

    def start(self, run: RunKey) -> None:
        """Start a run now."""
        if run not in self.all:
            self.all.append(run)
        try:
            self.ask(lambda: self.airflow.trigger(run[0], run_id=run[1]))
        except AirflowApiError as error:
            # An interrupted call may have been carried out.
            if error.status != 409:
                raise
        self.active.add(run)

    def look(self) -> None:
        """Take note of runs that have ended, and start more."""
        for run in sorted(self.active):
            state = str(self.ask(lambda run=run: self.airflow.dag_run(*run))["state"])  # type: ignore[misc]
            if state in ENDED:
                self.active.discard(run)
                self.say(f"run {run[1]} ended: {state}")
        while self.waiting and len(self.active) < self.at_once:
            self.start(self.waiting.pop(0))

    def wait(self) -> None:
        """Wait until all have ended.

        :raises TimeoutError: with the tasks that have not.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while self.unfinished:
            self.look()
            if time.monotonic() > until:
                states = {
                    _name(run, task): task["state"]
                    for run in sorted(self.active)
                    for task in self.airflow.task_instances(*run)
                    if task["state"] != "success"
                }
                raise TimeoutError(f"runs have not ended {PATIENCE_SECONDS:.0f} s after the chaos: {states}")
            time.sleep(2)

    def clear_failed(self) -> dict[str, str]:
        """Clear, once, the tasks that have used up their tries, and wait for them.

        :return: the last error of each, by the task's name.
        """
        failed: dict[str, str] = {}
        for run in self.all:
            tasks = [one for one in self.airflow.task_instances(*run) if one["state"] != "success"]
            for task in tasks:
                name = _name(run, task)
                failed[name] = self._last_error(run, task)
                self.say(f"clear {name} ({task['state']}, try {task['try_number']}): {failed[name]}")
            if tasks:
                self.airflow.clear(run[0], run[1], [_cleared(one) for one in tasks])
                self.active.add(run)
        self.wait()
        return failed

    def _last_error(self, run: RunKey, task: dict[str, Any]) -> str:
        try:
            log = self.airflow.task_log(*run, task["task_id"], task["try_number"], task["map_index"])
        except AirflowApiError as error:
            return f"no log: {error}"[:300]
        errors = [
            line for line in log.splitlines() if "Error" in line or "Exception" in line or line.startswith("error")
        ]
        return errors[-1][:300] if errors else "no error in its last log"


def _name(run: RunKey, task: dict[str, Any]) -> str:
    return f"{run[1]} {task['task_id']}[{task['map_index']}]"


def _cleared(task: dict[str, Any]) -> Any:
    return task["task_id"] if task["map_index"] < 0 else [task["task_id"], task["map_index"]]
