"""What an operator needs of Airflow, without a database."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from airflow_provider_apimart._compat import BaseOperator
from airflow_provider_apimart.emulator.server import Emulator
from tests.airflow_at_hand import HAS_STATE_STORE


class FakeStateStore:
    """The task state store's interface, kept in memory: JSON in, JSON out."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.retentions: list[Any] = []

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.values[key] = value
        self.retentions.append(retention)


class FakeTaskInstance:
    """A try of a task."""

    dag_id, run_id, map_index = "a_dag", "a_run", -1

    def __init__(self, task_id: str, try_number: int, max_tries: int) -> None:
        self.task_id, self.try_number, self.max_tries = task_id, try_number, max_tries
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


class Tries:
    """The tries of one task: the same store, a rising try number, and a clear that raises ``max_tries``."""

    def __init__(self) -> None:
        self.store = FakeStateStore()
        self.number = 0
        self.cleared = 0

    def next(self, operator: BaseOperator, *, store: bool = HAS_STATE_STORE) -> dict[str, Any]:
        """Return the context of the next try.

        :param store: with Airflow's task state store. A test that cannot do without it is skipped where there is none.
        """
        if store and not HAS_STATE_STORE:
            pytest.skip("the task state store came with Airflow 3.3")
        self.number += 1
        ti = FakeTaskInstance(operator.task_id, self.number, int(operator.retries or 0) + self.cleared)
        context: dict[str, Any] = {"ti": ti, "task": operator}
        return {**context, "task_state_store": self.store} if store else context

    def clear(self) -> None:
        """Do what Airflow does on a clear."""
        self.cleared = self.number


@pytest.fixture
def tries() -> Tries:
    """The tries of one task."""
    return Tries()


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator) -> Emulator:
    """An emulator behind ``apimart_default``, whose jobs take no time."""
    return apimart_emulator_conn


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait between polls; keep what would have been waited."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch not wait: the order of events is what is tried, not their pace."""
    from airflow_provider_apimart.generation.batch import group_commit
    from airflow_provider_apimart.generation.waiting import schedule
    from airflow_provider_apimart.triggers import batch as trigger_module

    monkeypatch.setattr(schedule, "FIRST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)
