"""Reads what Airflow's database knows of one task instance: its state, its XComs, its rendered arguments, its record.

These are Airflow's models, which are no public interface. So they are used here and in ``index/feed.py``, and nowhere
else, and only columns that 3.1 to 3.3 have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
from airflow.models.taskinstance import TaskInstance as TI
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_apimart.hooks.reports.notes import PREFIX
from airflow_provider_apimart.hooks.reports.told import json_of
from airflow_provider_apimart.hooks.stores.record_stores import STATE_KEY
from airflow_provider_apimart.ui.sources.kinds import ASKED_KEY, NOTED, REPORT_KEY, RESULT_KEY, Kind, kind_of
from airflow_provider_apimart.ui.sources.plain import plain
from airflow_provider_apimart.ui.sources.views import Place


@dataclass(frozen=True)
class Instance:
    """One task instance, as the database knows it now.

    :param note: the latest note that it left (:mod:`~airflow_provider_apimart.hooks.reports.notes`).
    :param result: what it returned, if it is an object.
    :param rendered: its arguments.
    :param asked: what an approval task tells of its question and of the decision.
    :param record: its generation's record in the task state store (Airflow 3.3 and later).
    :param reports: of a check task: what it found, video by video.
    """

    place: Place
    kind: Kind
    state: str | None
    try_number: int
    started_at: datetime | None
    ended_at: datetime | None
    note: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    rendered: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    reports: Sequence[Mapping[str, Any]] = ()


def read_instance(place: Place, *, whole: bool = True) -> Instance | None:
    """Return a task instance, or ``None`` if there is none. The database is left before this returns.

    :param whole: also its rendered arguments and its record.
    """
    here = (TI.dag_id == place.dag_id, TI.run_id == place.run_id, TI.task_id == place.task_id)
    columns = (TI.state, TI.try_number, TI.start_date, TI.end_date, TI.operator)
    with create_session() as session:
        row = session.execute(select(*columns).where(*here, TI.map_index == place.map_index)).first()
        if row is None:
            return None
        ours = (
            XComModel.dag_id == place.dag_id,
            XComModel.task_id == place.task_id,
            XComModel.run_id == place.run_id,
            XComModel.map_index == place.map_index,
        )
        keys = list(session.scalars(select(XComModel.key).where(*ours)))
        kind = kind_of(row.operator, keys)
        found: dict[str, Any] = {"place": place, "kind": kind, "state": None if row.state is None else str(row.state)}
        found |= {"try_number": row.try_number, "started_at": row.start_date, "ended_at": row.end_date}
        if kind is Kind.NONE:
            return Instance(**found)
        # Two notes of one try lie in two keys if an hour has begun between them.
        latest = max((key for key in keys if key.startswith(PREFIX)), default=None)
        wanted = {"note": latest, "result": RESULT_KEY, "asked": ASKED_KEY if kind is Kind.APPROVAL else None}
        for name, key in wanted.items():
            if key in keys:
                value = session.scalars(select(XComModel.value).where(*ours, XComModel.key == key)).first()
                found[name] = as_object(value)
        if kind is Kind.MEDIA and REPORT_KEY in keys:
            value = session.scalars(select(XComModel.value).where(*ours, XComModel.key == REPORT_KEY)).first()
            found["reports"] = as_objects(value)
        told = found.get("note", {}).get("kind")
        if told in NOTED:
            found["kind"] = Kind(told)
        if whole:
            fields = (
                Rendered.dag_id == place.dag_id,
                Rendered.task_id == place.task_id,
                Rendered.run_id == place.run_id,
                Rendered.map_index == place.map_index,
            )
            found["rendered"] = as_object(session.scalars(select(Rendered.rendered_fields).where(*fields)).first())
            found["record"] = _record(session, place)
        return Instance(**found)


def _record(session: Any, place: Place) -> Mapping[str, Any]:
    try:
        from airflow.models.task_state_store import TaskStateStoreModel as Row
    except ImportError:  # before 3.3
        return {}
    here = (
        Row.dag_id == place.dag_id,
        Row.run_id == place.run_id,
        Row.task_id == place.task_id,
        Row.map_index == place.map_index,
    )
    return as_object(session.scalars(select(Row.value).where(*here, Row.key == STATE_KEY)).first())


def as_object(value: Any) -> Mapping[str, Any]:
    """Return a value of the database as a plain object, or an empty one."""
    found = json_of(value)
    return plain(found) if isinstance(found, Mapping) else {}


def as_objects(value: Any) -> list[Mapping[str, Any]]:
    """Return a value of the database as a list of plain objects, or an empty one."""
    found = json_of(value)
    return [plain(each) for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
