"""Runs the tasks of a storyboard one by one, with what Airflow would hand from one to the next."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_provider_apimart.operators.media.storyboards import Storyboard, storyboard
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.conftest import FakeStateStore, FakeTaskInstance

RETRIES = 3


class Instance(FakeTaskInstance):
    """A try that can read what other tasks have returned."""

    def __init__(self, xcoms: dict[str, Any], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.xcoms = xcoms

    def get_relevant_upstream_map_indexes(self, **_: Any) -> None:
        return None

    def xcom_pull(self, task_ids: str, key: str = "return_value", default: Any = None, **_: Any) -> Any:
        result = self.xcoms.get(task_ids, default)
        # multiple_outputs: a key of the result is an XCom of its own.
        return result if key == "return_value" or task_ids not in self.xcoms else result.get(key, default)


def film(shots: Any, folder: Path | str, **options: Any) -> Storyboard:
    """Return a storyboard in a DAG of its own, whose shots are waited for in the worker."""
    with DAG("films", schedule=None):
        return storyboard(shots, output_path=f"{folder}/", **{"deferrable": False, "retries": RETRIES, **options})


def in_order(group: Storyboard) -> list[Any]:
    """Return the tasks of a storyboard, each after those that it waits for."""
    return list(group.topological_sort())


class Run:
    """A DAG run of a storyboard: what its tasks have returned, and their state stores."""

    def __init__(self, group: Storyboard, xcoms: dict[str, Any] | None = None) -> None:
        self.group = group
        self.xcoms: dict[str, Any] = {} if xcoms is None else xcoms
        self.stores: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}

    def task(self, name: str) -> Any:
        """Return one of the tasks by its name in the group."""
        return self.group.children[f"{self.group.group_id}.{name}"]

    def rendered(self, name: str, *, cleared: int = 0) -> tuple[Any, dict[str, Any]]:
        """Return a task as it is rendered for its next try, and that try's context.

        :param cleared: how often the task has been cleared.
        """
        task = copy.copy(self.task(name))
        self.numbers[name] = self.numbers.get(name, 0) + 1
        self.xcoms.pop(task.task_id, None)
        ti = Instance(self.xcoms, task.task_id, self.numbers[name], RETRIES + cleared)
        context: Any = {"ti": ti, "task": task, "params": {}, "run_id": "a_run"}
        if HAS_STATE_STORE:
            context["task_state_store"] = self.stores.setdefault(name, FakeStateStore())
        task.render_template_fields(context)
        return task, context

    def run(self, name: str, **options: Any) -> Any:
        """Run one try of a task, and keep what it returns."""
        task, context = self.rendered(name, **options)
        try:
            result = task.execute(context)
        except TaskDeferred:
            raise AssertionError("a shot of these films waits in the worker") from None
        self.xcoms[task.task_id] = json.loads(json.dumps(result))
        return self.xcoms[task.task_id]

    def run_all(self) -> Any:
        """Run all tasks once, and return what the last one returns."""
        return [self.run(task.task_id.rpartition(".")[2]) for task in in_order(self.group)][-1]
