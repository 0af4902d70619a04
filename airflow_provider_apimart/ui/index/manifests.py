"""Reads batches' manifests into the index, some lines at a time.

A manifest can have 100,000 lines. How many of them are in the index is kept with them, so that a step that is killed,
or another API server, goes on from there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Engine

from airflow_provider_apimart.ui.index import writing
from airflow_provider_apimart.ui.index.rows import millis, row_of, task_key
from airflow_provider_apimart.ui.index.tables import batches
from airflow_provider_apimart.ui.sources.entries import MAX_PATH, Entry
from airflow_provider_apimart.ui.sources.manifest_file import GENERATED
from airflow_provider_apimart.ui.sources.rows import read_entries
from airflow_provider_apimart.ui.sources.storage import NoAnswer, NotShown
from airflow_provider_apimart.ui.sources.views import Place

STEP = 500
#: A storage that does not answer is asked again, a minute apart.
MAX_TRIES = 50
WAITS, READ, UNREADABLE = 0, 1, 2


def remember(connection: Connection, place: Place, manifest: Any, told_at: datetime) -> None:
    """Remember a manifest, to be read in its turn. A later one of the same task takes the place of an earlier one."""
    if not isinstance(manifest, str) or not 0 < len(manifest) <= MAX_PATH:
        return
    key, at = task_key(place), millis(told_at)
    before = connection.execute(select(batches.c.told_at).where(batches.c.id == key)).first()
    if before is not None and before.told_at >= at:
        return
    fresh = {"manifest": manifest, "told_at": at, "read_lines": 0, "state": WAITS, "tries": 0}
    if before is not None:
        connection.execute(update(batches).where(batches.c.id == key).values(**fresh))
        return
    ids = {"dag_id": place.dag_id, "run_id": place.run_id, "task_id": place.task_id, "map_index": place.map_index}
    connection.execute(insert(batches).values(id=key, **ids, **fresh))


@dataclass
class Reading:
    """A manifest that is being read. It stays open from step to step."""

    key: str
    place: Place
    told_at: int
    done: int
    lines: Iterator[Entry]
    #: Why it cannot be read.
    trouble: str | None = None


def begin(engine: Engine, roots: tuple[str, ...]) -> Reading | None:
    """Open the manifest that waits longest, or return ``None`` if none does."""
    b = batches.c
    with engine.connect() as connection:
        query = select(batches).where(b.state == WAITS).order_by(b.tries, b.told_at).limit(1)
        row = connection.execute(query).first()
    if row is None:
        return None
    place = Place(row.dag_id, row.run_id, row.task_id, row.map_index)
    lines = itertools.islice(read_entries(row.manifest, roots, (GENERATED,)), row.read_lines, None)
    return Reading(row.id, place, row.told_at, row.read_lines, lines)


def step(engine: Engine, reading: Reading) -> bool:
    """Put the next lines into the index, and return whether there are more."""
    try:
        part = list(itertools.islice(reading.lines, STEP))
    except (NotShown, NoAnswer) as error:
        reading.trouble = str(error)
        give_up(engine, reading, for_good=isinstance(error, NotShown))
        return False
    told_at = datetime.fromtimestamp(reading.told_at / 1000, UTC)
    # Rows that nobody has begun cost nothing and show nothing.
    rows = [row_of(reading.place, entry, told_at) for entry in part if entry.outcome != "left"]
    more = len(part) == STEP
    reading.done += len(part)
    with writing.writing(engine) as connection:
        values = {"read_lines": reading.done, "state": WAITS if more else READ}
        here = (batches.c.id == reading.key, batches.c.told_at == reading.told_at)
        if connection.execute(update(batches).where(*here).values(**values)).rowcount == 0:
            # A later try has written another manifest meanwhile.
            return False
        writing.put(connection, rows)
    return more


def give_up(engine: Engine, reading: Reading, *, for_good: bool) -> None:
    """Put a manifest that could not be read at the end of the line, or out of it."""
    b = batches.c
    with writing.writing(engine) as connection:
        tries = connection.scalar(select(b.tries).where(b.id == reading.key)) or 0
        state = UNREADABLE if for_good or tries + 1 >= MAX_TRIES else WAITS
        # It goes to the end of the line, and is read from its beginning.
        connection.execute(
            update(batches).where(b.id == reading.key).values(tries=tries + 1, state=state, read_lines=0)
        )
