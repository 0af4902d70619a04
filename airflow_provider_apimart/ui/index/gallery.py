"""The gallery's answers, from the index: lists, sums, and the text of a CSV file."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy.engine import Connection, Engine

from airflow_provider_apimart.ui.index import feed, query
from airflow_provider_apimart.ui.index.keeper import Keeper
from airflow_provider_apimart.ui.index.query import Direction, Filters, Sort
from airflow_provider_apimart.ui.index.rows import entry_of, row_key
from airflow_provider_apimart.ui.index.tables import ready
from airflow_provider_apimart.ui.sources.views import Place, generation_view

T = TypeVar("T")

#: A search that finds little goes on for this long before it is answered.
SEARCH_SECONDS = 0.1
CSV_PAGE = 500
BEHIND = timedelta(minutes=10)
CSV_COLUMNS = (
    *("submitted_at", "completed_at", "dag_id", "run_id", "task_id", "map_index", "row", "outcome", "detail"),
    *("generation_id", "model", "prompt", "label", "seed", "cost_usd", "paths", "error"),
)
#: What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: The same where a spreadsheet begins a cell at a semicolon, a tab or the end of a line, quoted or not.
_INNER = re.compile(r"([;\t\r\n]\s{0,8})(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


@dataclass(frozen=True)
class Asked:
    """What a user asks of the gallery.

    :param readable: the Dags that the user may read.
    :param wanted: of these, those that are asked for; empty for all.
    """

    readable: frozenset[str]
    wanted: frozenset[str]
    filters: Filters


def _asking(engine: Engine, asked: Asked, look: Callable[[Connection, Filters], T]) -> T:
    """Return what ``look`` finds of the Dags that the user may read. It blocks."""
    with engine.connect() as connection:
        filters = _filters(connection, asked)
        found = look(connection, filters)
        if filters.dags is None and not query.indexed_dags(connection) <= asked.readable:
            # The first row of a Dag that this user may not read came while nobody's was left out.
            found = look(connection, _filters(connection, asked))
        return found


def _filters(connection: Any, asked: Asked) -> Filters:
    known = query.indexed_dags(connection)
    dags = known & asked.readable
    if asked.wanted:
        return replace(asked.filters, dags=dags & asked.wanted)
    # A user who may read all of it is the usual one, and needs no condition.
    return replace(asked.filters, dags=None if dags == known else dags)


def generations(
    engine: Engine, asked: Asked, *, sort: Sort, direction: Direction, cursor: str | None, limit: int
) -> dict[str, Any]:
    """Return a page of the gallery, and what all its pages sum up to. It blocks.

    :raises WrongCursorError: for a cursor that no list has given.
    """

    def look(connection: Connection, filters: Filters) -> tuple[query.Totals, list[Any], str | None]:
        sums = query.totals(connection, filters)
        rows: list[Any] = []
        after, began = cursor, time.monotonic()
        while True:
            found, after = query.page(
                connection, filters, sort=sort, direction=direction, cursor=after, limit=limit - len(rows)
            )
            rows += found
            if after is None or len(rows) >= limit or time.monotonic() - began > SEARCH_SECONDS:
                return sums, rows, after

    sums, rows, following = _asking(engine, asked, look)
    items = [generation_view(*entry_of(row._mapping)) for row in rows]
    return {
        "items": items,
        "next": following,
        "total": sums.generations if sums.exact else max(sums.generations, len(items)),
        "cost_usd": sums.cost / 1_000_000,
        "outcomes": sums.outcomes,
        "exact": sums.exact,
    }


def video_path(engine: Engine, place: Place, n: int, row: str | None, generation_id: str) -> str | None:
    """Return the path of a video of one generation, or ``None`` if the index does not have it. It blocks."""
    if not ready(engine):
        return None
    with engine.connect() as connection:
        found = query.generation(connection, row_key(place, row, generation_id))
    return None if found is None else entry_of(found._mapping)[1].video_path(n)


def empty() -> dict[str, Any]:
    """Return the page of a gallery without an index."""
    return {"items": [], "next": None, "total": 0, "cost_usd": 0.0, "outcomes": {}, "exact": True}


def spend(engine: Engine, asked: Asked) -> list[dict[str, Any]]:
    """Return what was spent on each day and Dag. It blocks."""
    return _asking(engine, asked, query.spend)


def index_state(engine: Engine, keeper: Keeper) -> dict[str, str]:
    """Return how the index is, for the gallery. It blocks."""
    if keeper.trouble is not None and not ready(engine):
        return {"state": "unavailable", "text": keeper.trouble}
    if not ready(engine):
        return {"state": "behind", "text": "The index is being made; this page fills by itself."}
    late = feed.behind(engine, datetime.now(UTC))
    if keeper.trouble is not None:
        return {"state": "behind", "text": keeper.trouble}
    if late > BEHIND:
        hours = late.total_seconds() / 3600
        return {"state": "behind", "text": f"The index is {hours:.1f} hours behind and catching up."}
    return {"state": "ready", "text": ""}


def csv_header() -> str:
    """Return the first line of the file, with the mark that lets a spreadsheet read it as UTF-8."""
    return "\ufeff" + _csv([CSV_COLUMNS])


def csv_page(
    engine: Engine, asked: Asked, *, sort: Sort, direction: Direction, cursor: str | None
) -> tuple[str, str | None]:
    """Return the next lines of the file, and the cursor of what comes after them. It blocks."""

    def look(connection: Connection, filters: Filters) -> tuple[list[Any], str | None]:
        return query.page(connection, filters, sort=sort, direction=direction, cursor=cursor, limit=CSV_PAGE)

    found, following = _asking(engine, asked, look)
    return _csv(_lines(found)), following


def _lines(found: list[Any]) -> Iterator[list[Any]]:
    for row in found:
        view = generation_view(*entry_of(row._mapping))
        view["paths"] = " ".join(video["path"] for video in view["videos"] if video["path"])
        view["error"] = view["error"] and view["error"]["text"]
        yield [view[name] for name in CSV_COLUMNS]


def _csv(lines: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    for line in lines:
        writer.writerow([_cell(value) for value in line])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _INNER.sub(r"\1'", f"'{value}" if value.startswith(FORMULA) else value)
    return "" if value is None else value
