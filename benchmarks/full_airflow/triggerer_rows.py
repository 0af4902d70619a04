"""Makes deferred tasks without running them: ``python -m benchmarks.full_airflow.triggerer_rows ours 1000`` in the
environment of an Airflow that has already parsed the DAG file.

For all task instances of a mapped task, it does what the execution API does when a worker defers a task: it adds a
trigger row with Airflow's own model and sets the task instance's columns.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

DAG_ID, TASK_ID, RUN_ID = "waits", "make", "bench"
#: The jobs count as submitted this long ago, so that all are due at once.
SUBMITTED_SECONDS_AGO = 60.0
DEADLINE_SECONDS = 4 * 3600.0

DAG_FILE = f"""
from airflow.sdk import DAG
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

with DAG({DAG_ID!r}, schedule=None):
    VeoGenerateOperator.partial(task_id={TASK_ID!r}, output_path={{out!r}}, duration=4).expand(
        prompt=[f"row {{{{number}}}}" for number in range({{tasks}})]
    )
"""


def trigger_of(kind: str, number: int) -> Any:
    """Return the trigger of one task: ours, or one of Airflow's own that does nothing for hours."""
    if kind == "base":
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        return DateTimeTrigger(moment=datetime.now(UTC) + timedelta(seconds=DEADLINE_SECONDS))
    from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

    submitted_at = time.time() - SUBMITTED_SECONDS_AGO
    return VeoGenerationTrigger(
        generation_id=f"task_{number:026d}",
        submitted_at=submitted_at,
        deadline=submitted_at + DEADLINE_SECONDS,
        kind="veo3.1-fast/720p/silent",
    )


def main(kind: str, tasks: int) -> None:
    """Make the DAG run and defer all of its tasks."""
    from airflow.models.dagbag import DBDagBag
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select

    now = datetime.now(UTC)
    with create_session() as session:
        dag = DBDagBag().get_latest_version_of_dag(DAG_ID, session=session)
        if dag is None:
            raise RuntimeError("the DAG is not there")
        dag.create_dagrun(
            run_id=RUN_ID, run_after=now, run_type=DagRunType.MANUAL, state=DagRunState.RUNNING,
            triggered_by=DagRunTriggeredByType.TEST, start_date=now, session=session,
        )  # fmt: skip
    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == DAG_ID)).all()
        if len(found) != tasks:
            raise RuntimeError(f"{len(found)} task instances instead of {tasks}")
        rows = [Trigger.from_object(trigger_of(kind, each.map_index)) for each in found]
        session.add_all(rows)
        session.flush()
        for each, row in zip(found, rows, strict=True):
            each.state, each.trigger_id, each.start_date, each.try_number = TaskInstanceState.DEFERRED, row.id, now, 1
            each.next_method, each.trigger_timeout = "execute_complete", now + timedelta(seconds=DEADLINE_SECONDS)
            each.next_kwargs = {"record": {"generation_id": f"task_{each.map_index:026d}"}, "request": {}}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
