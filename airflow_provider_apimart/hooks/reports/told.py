"""What tasks have told of generations in XComs, read from Airflow's metadata database."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_apimart.hooks.reports.notes import PREFIX


def told_by_tasks(operators: Collection[str], since: datetime) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield who told it, and what: the notes, and the results of some operators. It blocks.

    :param operators: the names of their classes, as Airflow keeps them.
    :param since: only what was told at this time or later.
    """
    from airflow.models.taskinstance import TaskInstance as TI
    from airflow.models.xcom import XComModel as Row
    from airflow.utils.session import create_session
    from sqlalchemy import and_, or_, select

    on = and_(
        TI.dag_id == Row.dag_id, TI.run_id == Row.run_id, TI.task_id == Row.task_id, TI.map_index == Row.map_index
    )
    results = and_(Row.key == "return_value", TI.operator.in_(sorted(operators)))
    query = (
        select(Row.dag_id, Row.run_id, Row.task_id, Row.map_index, Row.value)
        .join(TI, on)
        .where(or_(Row.key.startswith(PREFIX, autoescape=True), results), Row.timestamp >= since)
        .order_by(Row.timestamp)
        .execution_options(yield_per=500)
    )
    with create_session() as session:
        for row in session.execute(query):
            where = f"{row.dag_id} / {row.run_id} / {row.task_id}"
            yield where if row.map_index < 0 else f"{where} [{row.map_index}]", object_of(row.value)


def object_of(value: Any) -> Mapping[str, Any]:
    """Return a value of the database as an object of JSON, or an empty one."""
    found = json_of(value)
    return found if isinstance(found, Mapping) else {}


def json_of(value: Any) -> Any:
    """Return a value of the database as JSON; ``None`` for a text that is none."""
    # Older versions of Airflow keep XComs as JSON in JSON. Airflow's own reader would make objects of classes that the
    # text names, and raise for those that it must not.
    for _ in range(2):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
    return value
