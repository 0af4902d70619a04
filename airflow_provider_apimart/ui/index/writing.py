"""Writes rows into the index, so that its sums stay right whoever writes at the same time.

Each transaction first changes one row of ``apimart_index``, which holds up all other writers until it ends. So what it
read before stays true, and what it writes again changes nothing: a step that was killed, or done twice, does no harm.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import delete, insert, literal, select, update
from sqlalchemy.engine import Connection, Engine

from airflow_provider_apimart.ui.index.rows import day_of, row_key
from airflow_provider_apimart.ui.index.tables import days, generations, state
from airflow_provider_apimart.ui.sources.views import Place

#: SQLite takes 999 values in one statement where it is old.
PART = 200

Sums = dict[tuple[int, str, str], list[int]]


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Yield a transaction that no other writer of the index runs beside."""
    with engine.begin() as connection:
        # Any change will do: it is the lock that is wanted.
        connection.execute(update(state).where(state.c.name == "writer").values(value=secrets.token_hex(8)))
        yield connection


def put(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write rows, each once: a later one of the same id wins. Return how many were new or changed.

    A task that has failed before it paid leaves a row without a generation; it goes when the task's next row comes.
    """
    wanted: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        before = wanted.get(row["id"])
        if before is None or before["told_at"] <= row["told_at"]:
            wanted[row["id"]] = row
    known = _known(connection, list(wanted))
    fresh = [row for key, row in wanted.items() if key not in known or _newer(row, known[key])]
    if not fresh:
        return 0
    gone = [known[row["id"]] for row in fresh if row["id"] in known]
    gone += _superseded(connection, fresh)
    _remove(connection, gone)
    for part in _parts(fresh):
        connection.execute(insert(generations), [dict(row) for row in part])
    _add(connection, gone, fresh)
    return len(fresh)


def take_out(connection: Connection, before: int, most: int) -> int:
    """Remove the oldest rows, and return how many.

    :param before: milliseconds; what is older goes.
    :param most: how many to remove at once.
    """
    query = select(*_SUMMED).where(generations.c.at < before).order_by(generations.c.at, generations.c.id).limit(most)
    gone = [dict(row._mapping) for row in connection.execute(query)]
    _remove(connection, gone)
    _add(connection, gone, ())
    return len(gone)


_SUMMED = (
    generations.c.id,
    generations.c.dag_id,
    generations.c.outcome,
    generations.c.at,
    generations.c.cost,
    generations.c.videos,
    generations.c.told_at,
)


def _known(connection: Connection, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for part in _parts(ids):
        for row in connection.execute(select(*_SUMMED).where(generations.c.id.in_(part))):
            found[row.id] = dict(row._mapping)
    return found


def _newer(row: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    if row["told_at"] != known["told_at"]:
        return bool(row["told_at"] > known["told_at"])
    # The same source, read again: a newer version of the provider may read more from it.
    return any(row[name] != known[name] for name in ("outcome", "at", "cost", "videos"))


def _superseded(connection: Connection, fresh: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows without a generation that these take the place of."""
    empty = {
        row_key(Place(row["dag_id"], row["run_id"], row["task_id"], row["map_index"]), row["row_name"], None): row
        for row in fresh
    }
    own = {row["id"] for row in fresh}
    found = _known(connection, [key for key in empty if key not in own])
    return [known for key, known in found.items() if known["told_at"] <= empty[key]["told_at"]]


def _remove(connection: Connection, gone: Sequence[Mapping[str, Any]]) -> None:
    for part in _parts([row["id"] for row in gone]):
        connection.execute(delete(generations).where(generations.c.id.in_(part)))


def _add(connection: Connection, gone: Collection[Mapping[str, Any]], fresh: Collection[Mapping[str, Any]]) -> None:
    """Bring the sums in line."""
    sums: Sums = defaultdict(lambda: [0, 0, 0])
    for sign, rows in ((-1, gone), (1, fresh)):
        for row in rows:
            one = sums[day_of(row["at"]), row["dag_id"], row["outcome"]]
            one[0] += sign
            one[1] += sign * row["videos"]
            one[2] += sign * row["cost"]
    for (day, dag_id, outcome), (count, videos, cost) in sums.items():
        if not (count or videos or cost):
            continue
        here = (days.c.day == day, days.c.dag_id == dag_id, days.c.outcome == outcome)
        more = {
            "generations": days.c.generations + literal(count),
            "videos": days.c.videos + literal(videos),
            "cost": days.c.cost + literal(cost),
        }
        if connection.execute(update(days).where(*here).values(more)).rowcount == 0:
            ids = {"day": day, "dag_id": dag_id, "outcome": outcome}
            connection.execute(insert(days).values(**ids, generations=count, videos=videos, cost=cost))
        if count < 0:
            connection.execute(delete(days).where(*here, days.c.generations <= 0))


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), PART):
        yield values[start : start + PART]
