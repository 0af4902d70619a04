"""Writes Dags, runs, task instances and XComs into Airflow's database, as its scheduler and workers would."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import delete, insert, select

from airflow_provider_apimart.ui.sources.views import Place

NOW = datetime(2026, 11, 26, 14, 0, tzinfo=UTC)


def new_id() -> Any:
    """Return an id for a task instance: text on Airflow 3.1, a UUID later."""
    return TaskInstance.__table__.c.id.type.python_type(str(uuid.uuid4()))


class Rows:
    """What a test has written."""

    def __init__(self) -> None:
        self.remove()

    def remove(self) -> None:
        """Empty the tables."""
        with create_session() as session:
            for model in (XComModel, RenderedTaskInstanceFields, TaskInstance, DagRun, DagModel, DagBundleModel):
                session.execute(delete(model))

    def task(
        self,
        place: Place,
        *,
        operator: str = "VeoGenerateOperator",
        state: str = "success",
        rendered: dict[str, Any] | None = None,
        **xcoms: Any,
    ) -> Place:
        """Write a task instance with its XComs, and the Dag and the run if they are not there."""
        with create_session() as session:
            self._dag(session, place.dag_id)
            run = self._run(session, place)
            ids = {"dag_id": place.dag_id, "run_id": place.run_id, "task_id": place.task_id}
            ids |= {"map_index": place.map_index}
            ti = {"id": new_id(), "state": state, "operator": operator, "pool": "default_pool", "pool_slots": 1}
            ti |= {"try_number": 1, "start_date": NOW, "end_date": NOW, "span_status": "ended", "max_tries": 0}
            session.execute(insert(TaskInstance.__table__).values(**ids, **ti))
            if rendered is not None:
                session.execute(insert(RenderedTaskInstanceFields.__table__).values(**ids, rendered_fields=rendered))
            for key, value in xcoms.items():
                self._xcom(session, place, run, key, value, NOW)
        return place

    def xcom(self, place: Place, key: str, value: Any, at: datetime = NOW) -> None:
        """Write an XCom of a task instance, or replace it."""
        with create_session() as session:
            run = self._run(session, place)
            here = (XComModel.dag_run_id == run, XComModel.task_id == place.task_id, XComModel.key == key)
            session.execute(delete(XComModel).where(*here, XComModel.map_index == place.map_index))
            self._xcom(session, place, run, key, value, at)

    def state(self, place: Place, state: str) -> None:
        """Change the state of a task instance."""
        table = TaskInstance.__table__
        with create_session() as session:
            session.execute(
                table.update()
                .where(
                    table.c.dag_id == place.dag_id,
                    table.c.run_id == place.run_id,
                    table.c.task_id == place.task_id,
                    table.c.map_index == place.map_index,
                )
                .values(state=state)
            )

    def dag(self, dag_id: str) -> None:
        """Write a Dag."""
        with create_session() as session:
            self._dag(session, dag_id)

    @staticmethod
    def _xcom(session: Any, place: Place, run: int, key: str, value: Any, at: datetime) -> None:
        session.execute(
            insert(XComModel.__table__).values(
                dag_run_id=run,
                dag_id=place.dag_id,
                run_id=place.run_id,
                task_id=place.task_id,
                map_index=place.map_index,
                key=key,
                value=value,
                timestamp=at,
            )
        )

    @staticmethod
    def _dag(session: Any, dag_id: str) -> None:
        if session.scalar(select(DagBundleModel.name)) is None:
            session.execute(insert(DagBundleModel.__table__).values(name="bundle", active=True))
        if session.scalar(select(DagModel.dag_id).where(DagModel.dag_id == dag_id)) is None:
            session.add(
                DagModel(
                    dag_id=dag_id,
                    bundle_name="bundle",
                    max_active_tasks=1,
                    max_consecutive_failed_dag_runs=0,
                    has_task_concurrency_limits=False,
                    is_stale=False,
                )
            )
            session.flush()

    @staticmethod
    def _run(session: Any, place: Place) -> int:
        query = select(DagRun.id).where(DagRun.dag_id == place.dag_id, DagRun.run_id == place.run_id)
        found = session.scalar(query)
        if found is None:
            values = {"dag_id": place.dag_id, "run_id": place.run_id, "run_type": "manual", "state": "running"}
            session.execute(insert(DagRun.__table__).values(**values, run_after=NOW, span_status="ended"))
            found = session.scalar(query)
        return int(found)
