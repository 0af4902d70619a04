"""What a task tells: to the events of its outlets, and to OpenLineage's own provider."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow.providers.openlineage.extractors import ExtractorManager, OperatorLineage
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.utils.state import TaskInstanceState

from tests.operators.conftest import Tries


def context_of(tries: Tries, operator: Any) -> dict[str, Any]:
    return {**tries.next(operator), "outlet_events": OutletEventAccessors()}


def extracted(operator: Any, state: TaskInstanceState = TaskInstanceState.SUCCESS) -> OperatorLineage[Any, Any]:
    """Return what OpenLineage's own provider takes from a task."""
    if not operator.has_dag():
        operator.dag = DAG("a_dag", schedule=None)
    task_instance = SimpleNamespace(task=operator)
    return ExtractorManager().extract_metadata(SimpleNamespace(run_id="a_run"), operator, state, task_instance)


def names(datasets: Any) -> list[str]:
    return [f"{one.namespace} {one.name}" for one in datasets]
