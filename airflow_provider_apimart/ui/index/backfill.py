"""Fills the index from what Airflow's database still has of earlier runs: for the command, and not for a request.

It looks at each task instance once, in the order of their keys, and asks what the task's own page would tell of it
(:func:`.task_view.entry_of`). So it also finds runs of versions that left no notes. What the index has from a later
time stays as it is: this can run at any time, twice, and beside API servers that keep the same index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.models.taskinstance import TaskInstance as TI
from airflow.models.xcom import XComModel
from sqlalchemy import exists, or_, select
from sqlalchemy.engine import Engine

from airflow_provider_apimart.hooks.reports.notes import PREFIX
from airflow_provider_apimart.ui.index import manifests, writing
from airflow_provider_apimart.ui.index.rows import row_of
from airflow_provider_apimart.ui.sources.instances import Instance, read_instance
from airflow_provider_apimart.ui.sources.kinds import LINKS, OPERATORS, Kind
from airflow_provider_apimart.ui.sources.rows import manifest_of
from airflow_provider_apimart.ui.sources.task_view import WAITING_STATES, entry_of
from airflow_provider_apimart.ui.sources.views import Place

STEP = 200
_MAKERS = sorted(name for name, kind in OPERATORS.items() if kind in (Kind.GENERATION, Kind.BATCH))


@dataclass
class Count:
    """What a backfill has done so far.

    :param tasks: task instances of the provider that were looked at.
    :param changed: rows that are new in the index, or changed there.
    :param batches: manifests that were found.
    """

    tasks: int = 0
    changed: int = 0
    batches: int = 0


def tasks_into(engine: Engine, *, dag_id: str | None = None, since: datetime | None = None) -> Iterator[Count]:
    """Put what task instances tell into the index, and yield the count after each step.

    :param dag_id: only this Dag.
    :param since: only task instances that began at that time or later.
    """
    count, after = Count(), None
    while True:
        now = datetime.now(UTC)
        with engine.connect() as connection:
            places = list(connection.execute(_query(dag_id, since, after)))
        found = [read_instance(Place(each.dag_id, each.run_id, each.task_id, each.map_index)) for each in places]
        told = [each for each in found if each is not None and (each.note or each.result or each.record)]
        batches = [(each, manifest_of(each)) for each in told if each.kind is Kind.BATCH]
        rows = [
            row_of(each.place, entry_of(each), _told_at(each, now)) for each in told if each.kind is Kind.GENERATION
        ]
        with writing.writing(engine) as connection:
            count.changed += writing.put(connection, rows)
            for each, manifest in batches:
                manifests.remember(connection, each.place, manifest, _told_at(each, now))
        count.tasks += len(told)
        count.batches += sum(manifest is not None for _, manifest in batches)
        yield count
        if len(places) < STEP:
            return
        after = places[-1].id


def manifests_into(engine: Engine, roots: tuple[str, ...] = ()) -> Iterator[tuple[int, str | None]]:
    """Read the manifests that wait into the index. Yield after each step how many lines it read, and what went wrong.

    A storage that does not answer is asked once, and left to the API servers, which ask it again.
    """
    seen: set[str] = set()
    while (reading := manifests.begin(engine, roots)) is not None and reading.key not in seen:
        seen.add(reading.key)
        more = True
        while more:
            before = reading.done
            more = manifests.step(engine, reading)
            where = f"{reading.place.dag_id} / {reading.place.run_id} / {reading.place.task_id}"
            yield reading.done - before, reading.trouble and f"{where}: {reading.trouble}"


def _query(dag_id: str | None, since: datetime | None, after: Any) -> Any:
    x = XComModel
    ours = exists().where(
        x.dag_id == TI.dag_id,
        x.task_id == TI.task_id,
        x.run_id == TI.run_id,
        x.map_index == TI.map_index,
        or_(x.key.in_(sorted(LINKS)), x.key.startswith(PREFIX, autoescape=True)),
    )
    query = select(TI.id, TI.dag_id, TI.run_id, TI.task_id, TI.map_index).where(TI.operator.in_(_MAKERS) | ours)
    if dag_id is not None:
        query = query.where(TI.dag_id == dag_id)
    if since is not None:
        query = query.where(TI.start_date >= since)
    if after is not None:
        query = query.where(TI.id > after)
    return query.order_by(TI.id).limit(STEP)


def _told_at(instance: Instance, now: datetime) -> datetime:
    """Return since when this is true: a note that comes later counts more, one that came before counts less."""
    busy = instance.state in WAITING_STATES
    return now if busy or instance.ended_at is None else instance.ended_at
