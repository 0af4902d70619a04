"""Reads what tasks have told since the last time, in small steps, and writes it into the index.

A note's key names the hour in which it was left, and Airflow has an index on keys. So a step asks for one hour, from
where the last step ended: what it reads is bounded by its size, however old or large the database is. The position is
kept in the same transaction as the rows. Reading some minutes twice is cheap and makes up for notes that were committed
late; a note that is read twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.models.xcom import XComModel
from sqlalchemy import and_, insert, select, update
from sqlalchemy.engine import Connection, Engine, Row

from airflow_provider_apimart.hooks.reports.notes import key_of_hour
from airflow_provider_apimart.ui.index import manifests, writing
from airflow_provider_apimart.ui.index.rows import entry_of, row_of
from airflow_provider_apimart.ui.index.tables import generations, state
from airflow_provider_apimart.ui.sources.entries import of_note
from airflow_provider_apimart.ui.sources.instances import as_object, read_instance
from airflow_provider_apimart.ui.sources.kinds import Kind
from airflow_provider_apimart.ui.sources.task_view import STOPPED, WAITING_STATES
from airflow_provider_apimart.ui.sources.task_view import entry_of as told_by
from airflow_provider_apimart.ui.sources.views import Place

STEP = 200
#: How far back each look begins: notes may be committed in another order than their times.
OVERLAP = timedelta(minutes=2)
#: A worker's clock may be wrong by this, so an hour is asked for until this long after its end.
CLOCKS_APART = timedelta(minutes=30)
TICK_SECONDS = 10
HOUR = timedelta(hours=1)
#: Where an index begins that has never been filled: older runs are for the command.
FIRST_LOOK = timedelta(days=2)
#: Hours that are read at the same time: the last one, this one, and the next by a clock that is fast.
MAX_OPEN = 3
BEFORE_ALL = (-1, "", -2)
PROGRESS = "progress"


@dataclass(frozen=True)
class Position:
    """How far one hour has been read.

    :param hour: the beginning of the hour, ISO 8601.
    :param since: what was written before this is read, ISO 8601.
    :param after: the last note that was read, of those with the same time.
    :param looked: when the last minutes were looked at, to some seconds: they are looked at once in that time.
    """

    hour: str
    since: str = datetime(1970, 1, 1, tzinfo=UTC).isoformat()
    after: tuple[int, str, int] = BEFORE_ALL
    looked: str = ""

    @property
    def key(self) -> str:
        """The key of the notes of this hour."""
        return key_of_hour(datetime.fromisoformat(self.hour))

    def is_over(self, now: datetime) -> bool:
        """Return whether no more notes of this hour can come."""
        return datetime.fromisoformat(self.hour) + HOUR + CLOCKS_APART < now


@dataclass(frozen=True)
class Progress:
    """How far the reading has come: the hours that are being read, and the first that is not yet."""

    following: str
    open: tuple[Position, ...] = ()

    def text(self) -> str:
        """Return it as the index keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str | None, now: datetime) -> Progress:
        """Return what the index keeps, or the beginning if it keeps nothing that can be read."""
        try:
            told = json.loads(text or "")
            hours = [
                Position(each["hour"], each["since"], tuple(each["after"]), each["looked"]) for each in told["open"]
            ]
            datetime.fromisoformat(told["following"])
            return cls(told["following"], tuple(hours))
        except (ValueError, KeyError, TypeError):
            return cls.beginning(now - FIRST_LOOK)

    @classmethod
    def beginning(cls, moment: datetime) -> Progress:
        """Return the progress of a reading that begins with the hour of a time."""
        return cls(hour_of(moment).isoformat())

    def opened(self, now: datetime) -> Progress:
        """Return it with those hours opened that have begun by anybody's clock."""
        following, hours = datetime.fromisoformat(self.following), list(self.open)
        while len(hours) < MAX_OPEN and following <= now + CLOCKS_APART:
            hours.append(Position(following.isoformat()))
            following += HOUR
        return Progress(following.isoformat(), tuple(hours))

    def moved(self, old: Position, new: Position | None) -> Progress:
        """Return it with one hour read further, or to its end."""
        hours = (new if each is old else each for each in self.open)
        return replace(self, open=tuple(each for each in hours if each is not None))


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of an hour."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def step(engine: Engine, now: datetime) -> bool:
    """Do one small step, and return whether there is more to do at once."""
    found: list[Row[Any]] = []
    with engine.connect() as connection:
        before = Progress.of(_value(connection, PROGRESS), now)
        after = opened = before.opened(now)
        for position in opened.open:
            if position.looked == _tick(now).isoformat():
                continue
            found = _notes(connection, position)
            after = opened.moved(position, _following(position, found, now))
            if after != opened:
                break
    if after == before:
        return False
    with writing.writing(engine) as connection:
        if Progress.of(_value(connection, PROGRESS), now) != before:
            # Another API server has done this step.
            return True
        put_notes(connection, found)
        keep(connection, PROGRESS, after.text())
    return bool(found) or len(after.open) < len(opened.open)


def behind(engine: Engine, now: datetime) -> timedelta:
    """Return how far the reading is behind."""
    with engine.connect() as connection:
        progress = Progress.of(_value(connection, PROGRESS), now)
    return max(timedelta(0), now - datetime.fromisoformat(progress.following))


def _notes(connection: Connection, position: Position) -> list[Row[Any]]:
    """Return the next notes of an hour, in the order of their times."""
    x = XComModel
    since = datetime.fromisoformat(position.since)
    run, task, index = position.after
    later = (x.timestamp > since) | and_(
        x.timestamp == since,
        (x.dag_run_id > run)
        | and_(x.dag_run_id == run, (x.task_id > task) | and_(x.task_id == task, x.map_index > index)),
    )
    query = (
        select(x.dag_run_id, x.dag_id, x.run_id, x.task_id, x.map_index, x.value, x.timestamp)
        .where(x.key == position.key, later)
        .order_by(x.timestamp, x.dag_run_id, x.task_id, x.map_index)
        .limit(STEP)
    )
    return list(connection.execute(query))


def _following(position: Position, found: list[Row[Any]], now: datetime) -> Position | None:
    """Return where to go on in an hour, or ``None`` at its end."""
    again = now - OVERLAP
    if found and (len(found) == STEP or found[-1].timestamp <= again):
        last = found[-1]
        after = (last.dag_run_id, last.task_id, last.map_index)
        return replace(position, since=last.timestamp.isoformat(), after=after)
    if position.is_over(now):
        return None
    if not found and datetime.fromisoformat(position.since) <= again:
        return position
    # What was committed late may have an earlier time. So the last minutes are looked at again.
    return replace(position, since=again.isoformat(), after=BEFORE_ALL, looked=_tick(now).isoformat())


def _tick(now: datetime) -> datetime:
    return now.replace(second=now.second - now.second % TICK_SECONDS, microsecond=0)


def put_notes(connection: Connection, found: list[Row[Any]]) -> int:
    """Write notes into the index."""
    rows = []
    for each in found:
        note = as_object(each.value)
        place = Place(each.dag_id, each.run_id, each.task_id, each.map_index)
        if note.get("kind") == Kind.GENERATION:
            rows.append(row_of(place, of_note(note), each.timestamp))
        elif note.get("kind") == Kind.BATCH:
            manifests.remember(connection, place, note.get("manifest"), each.timestamp)
    return writing.put(connection, rows)


def settle(engine: Engine, after: tuple[int, str]) -> tuple[int, str] | None:
    """Look at some generations that are said to be running: their task may have been killed, and told nothing.

    :param after: where the last look ended.
    :return: where this one ended; ``None`` once all were looked at.
    """
    g = generations.c
    later = (g.at > after[0]) | and_(g.at == after[0], g.id > after[1])
    query = select(generations).where(g.outcome == "running", later).order_by(g.at, g.id).limit(STEP)
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(query)]
    # Looked at one by one, in their own short transactions. Whatever comes in meanwhile is later, and counts more.
    settled = [row for row in map(_settled, found) if row is not None]
    if settled:
        with writing.writing(engine) as connection:
            writing.put(connection, settled)
    return (found[-1]["at"], found[-1]["id"]) if len(found) == STEP else None


def _settled(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what became of a generation whose task works no more, or ``None`` while it does."""
    place, entry = entry_of(row)
    instance = read_instance(place)
    if instance is not None and (instance.state is None or instance.state in WAITING_STATES):
        return None
    told = None if instance is None or instance.kind is not Kind.GENERATION else told_by(instance)
    if told is None or told.outcome == "running" or told.generation_id != entry.generation_id:
        outcome = "parked" if entry.generation_id else "failed"
        told = replace(entry, outcome=outcome, error=STOPPED)
    since = datetime.fromtimestamp(row["told_at"] / 1000, UTC)
    # The time of its note and a little, so that a note that comes later counts.
    return {**row_of(place, told, since), "at": row["at"], "told_at": row["told_at"] + 1}


def keep(connection: Connection, name: str, value: str) -> None:
    """Keep a value of the index's own."""
    if connection.execute(update(state).where(state.c.name == name).values(value=value)).rowcount == 0:
        connection.execute(insert(state).values(name=name, value=value))


def _value(connection: Connection, name: str) -> str | None:
    value = connection.scalar(select(state.c.value).where(state.c.name == name))
    return None if value is None else str(value)
