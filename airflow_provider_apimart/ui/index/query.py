"""What the gallery asks of the index, so that each answer reads a bounded number of rows.

Every list is a walk along one index, in its order, from where the last page ended. Conditions that the index has in
front are met by where the walk begins; the others are looked at on the way, over at most :data:`WALK` rows: then the
page is given as it is, with a cursor to go on from. Sums come from ``apimart_day`` wherever whole days are asked for.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import BigInteger, Select, and_, case, cast, func, literal, or_, select, union_all
from sqlalchemy.engine import Connection
from sqlalchemy.sql.elements import ColumnElement

from airflow_provider_apimart.ui.index.rows import DAY, day_text
from airflow_provider_apimart.ui.index.tables import days, generations

Sort = Literal["submitted_at", "cost_usd"]
Direction = Literal["asc", "desc"]

#: The last row of the page before: what the list is sorted by, and its id.
Start = tuple[int, str] | None

#: Rows that one list looks at, and rows that one count looks at.
WALK = 5_000
#: Of so many Dags that a user may read, each is walked for itself. Beyond that they are looked at on the way.
MAX_WALKS = 20

g = generations.c
#: What a walk looks at on its way, beside the order.
_LOOKED_AT = (g.words, g.run_id, g.dag_id, g.outcome)
_ORDER = (g.id, g.at, g.cost)


@dataclass(frozen=True)
class Filters:
    """What a list is to hold.

    :param dags: those Dags alone; ``None`` for all that the index has.
    :param since: the first day, counted from 1970.
    :param until: the last day.
    """

    dags: frozenset[str] | None = None
    run_id: str | None = None
    outcome: str | None = None
    words: str = ""
    label: str = ""
    since: int | None = None
    until: int | None = None

    @property
    def searches(self) -> bool:
        """Whether texts are to be looked at."""
        return bool(self.words or self.label)

    @property
    def nothing(self) -> bool:
        """Whether there is no Dag to show: no condition would mean all of them."""
        return self.dags is not None and not self.dags


@dataclass(frozen=True)
class Totals:
    """What a list sums up to.

    :param exact: whether all rows were counted; otherwise there are at least so many.
    """

    generations: int
    cost: int
    outcomes: dict[str, int]
    exact: bool


class WrongCursorError(ValueError):
    """A cursor that no list has given."""


def indexed_dags(connection: Connection) -> frozenset[str]:
    """Return the Dags that the index knows. They are few: the sums of the days are read, not the generations."""
    return frozenset(connection.scalars(select(days.c.dag_id).distinct()))


def page(
    connection: Connection, filters: Filters, *, sort: Sort, direction: Direction, cursor: str | None, limit: int
) -> tuple[list[Any], str | None]:
    """Return rows of the index, and the cursor of what comes after them.

    :raises WrongCursorError: for a cursor that no list has given.
    """
    column = g.at if sort == "submitted_at" else g.cost
    start = _position(cursor, sort, direction)
    if filters.nothing:
        return [], None
    found = list(connection.execute(_walk(filters, column, direction, start, limit + 1)))
    if len(found) > limit:
        last = found[limit - 1]
        return found[:limit], _cursor(sort, direction, last.at if sort == "submitted_at" else last.cost, last.id)
    if _looks_on_the_way(filters, sort):
        # The walk may have ended before the index did.
        end = connection.execute(_edge(filters, column, direction, start)).first()
        if end is not None:
            return found, _cursor(sort, direction, end[0], end[1])
    return found, None


def totals(connection: Connection, filters: Filters) -> Totals:
    """Return what all pages of a list sum up to."""
    if filters.nothing:
        return _summed((), exact=True)
    if not filters.searches and filters.run_id is None:
        query = select(days.c.outcome, func.sum(days.c.generations), func.sum(days.c.cost))
        rows = connection.execute(query.where(*_of_days(filters)).group_by(days.c.outcome)).all()
        return _summed(rows, exact=True)
    inner = _inner(filters, g.at, "desc", None, WALK + 1, (*_ORDER, *_LOOKED_AT)).subquery()
    part = select(inner.c.outcome, func.count(), func.sum(inner.c.cost)).where(
        *_on_the_way(filters, "submitted_at", inner.c)
    )
    rows = connection.execute(part.group_by(inner.c.outcome)).all()
    seen = connection.scalar(select(func.count()).select_from(inner)) or 0
    return _summed(rows, exact=seen <= WALK)


def spend(connection: Connection, filters: Filters) -> list[dict[str, Any]]:
    """Return what was spent on each day and Dag."""
    failures = _sum(case((days.c.outcome == "failed", days.c.generations), else_=0))
    query = (
        select(days.c.day, days.c.dag_id, _sum(days.c.cost), _sum(days.c.videos), failures)
        .where(*_of_days(filters))
        .group_by(days.c.day, days.c.dag_id)
        .order_by(days.c.day, days.c.dag_id)
    )
    return [
        {
            "day": day_text(day),
            "dag_id": dag_id,
            "cost_usd": cost / 1_000_000,
            "videos": videos,
            "failures": failed,
        }
        for day, dag_id, cost, videos, failed in connection.execute(query)
    ]


def _sum(column: Any) -> Any:
    # PostgreSQL sums whole numbers to decimal ones, which Python is slow to read.
    return cast(func.sum(column), BigInteger)


def _summed(rows: Iterable[Any], *, exact: bool) -> Totals:
    outcomes = {str(outcome): (int(count), int(cost)) for outcome, count, cost in rows if count}
    return Totals(
        sum(count for count, _ in outcomes.values()),
        sum(cost for _, cost in outcomes.values()),
        {outcome: count for outcome, (count, _) in outcomes.items()},
        exact,
    )


def generation(connection: Connection, key: str) -> Any:
    """Return a row of the index by its key, or ``None``."""
    return connection.execute(select(generations).where(g.id == key)).first()


# --- the walk -------------------------------------------------------------------------------------------------------


def _walk(filters: Filters, column: Any, direction: Direction, start: Start, wanted: int) -> Select[Any]:
    """Return the query for the next rows of a list.

    The walk itself reads only what it looks at; the rows that it finds are then read whole, by their ids.
    """
    sort: Sort = "submitted_at" if column is g.at else "cost_usd"
    on_the_way = _on_the_way(filters, sort, g)
    if not on_the_way and filters.dags is not None and len(filters.dags) > 1:
        walks = [
            select(_inner(_only(filters, dag), column, direction, start, wanted, _ORDER).subquery())
            for dag in sorted(filters.dags)
        ]
        inner = union_all(*walks).subquery()
    else:
        looked_at = (*_ORDER, *(_LOOKED_AT if on_the_way else ()))
        inner = _inner(filters, column, direction, start, WALK if on_the_way else wanted, looked_at).subquery()
    ids = select(inner.c.id).where(*_on_the_way(filters, sort, inner.c))
    found = _ordered(ids, inner.c[column.key], inner.c.id, direction).limit(wanted).subquery()
    query = select(generations).select_from(found.join(generations, g.id == found.c.id))
    return _ordered(query, column, g.id, direction)


def _edge(filters: Filters, column: Any, direction: Direction, start: Start) -> Select[Any]:
    """Return the query for the last row of a walk that went its whole length."""
    return _inner(filters, column, direction, start, 1, (column, g.id)).offset(WALK - 1)


def _inner(
    filters: Filters,
    column: Any,
    direction: Direction,
    start: Start,
    length: int,
    wanted: Iterable[Any],
) -> Select[Any]:
    """Return the walk itself: nothing but conditions that its index has in front."""
    sort: Sort = "submitted_at" if column is g.at else "cost_usd"
    query = select(*wanted).where(*_in_front(filters, sort))
    if start is not None:
        at, key = start
        # The first condition is what the index is entered with, in every database.
        if direction == "desc":
            query = query.where(column <= at, or_(column < at, and_(column == at, g.id < key)))
        else:
            query = query.where(column >= at, or_(column > at, and_(column == at, g.id > key)))
    return _ordered(query, column, g.id, direction).limit(length)


def _ordered(query: Select[Any], column: Any, key: Any, direction: Direction) -> Select[Any]:
    if direction == "desc":
        return query.order_by(column.desc(), key.desc())
    return query.order_by(column.asc(), key.asc())


def _in_front(filters: Filters, sort: Sort) -> list[ColumnElement[bool]]:
    """Return the conditions that an index has in front of the order."""
    found: list[ColumnElement[bool]] = []
    if filters.dags is not None and len(filters.dags) == 1:
        found.append(g.dag_id == next(iter(filters.dags)))
        if filters.run_id is not None and sort == "submitted_at":
            found.append(g.run_id == filters.run_id)
        elif filters.outcome is not None and sort == "submitted_at":
            found.append(g.outcome == filters.outcome)
    elif filters.outcome is not None and sort == "submitted_at" and filters.run_id is None:
        found.append(g.outcome == filters.outcome)
    if sort == "submitted_at":
        found += _of_times(filters, g.at)
    return found


def _of_times(filters: Filters, at: Any) -> list[ColumnElement[bool]]:
    found = []
    if filters.since is not None:
        found.append(at >= filters.since * DAY)
    if filters.until is not None:
        found.append(at < (filters.until + 1) * DAY)
    return found


def _looks_on_the_way(filters: Filters, sort: Sort) -> bool:
    """Return whether there are conditions that no index has in front."""
    return bool(_on_the_way(filters, sort, g))


def _on_the_way(filters: Filters, sort: Sort, c: Any) -> list[ColumnElement[bool]]:
    """Return the other conditions, for the rows that a walk comes across."""
    one = filters.dags is not None and len(filters.dags) == 1
    many = filters.dags is not None and not one
    timed = sort == "submitted_at"
    found: list[ColumnElement[bool]] = []
    if filters.words:
        found += [c.words.contains(word, autoescape=True) for word in filters.words.casefold().split()[:10]]
    if filters.label:
        found.append(c.words.contains(filters.label.casefold(), autoescape=True))
    if filters.run_id is not None and not (one and timed):
        found.append(c.run_id == filters.run_id)
    if filters.outcome is not None and (not timed or filters.run_id is not None):
        found.append(c.outcome == filters.outcome)
    if not timed:
        found += _of_times(filters, c.at)
    if many and filters.dags is not None and (found or len(filters.dags) > MAX_WALKS):
        found.append(c.dag_id.in_(sorted(filters.dags)))
    return found


def _only(filters: Filters, dag_id: str) -> Filters:
    return Filters(**{**vars(filters), "dags": frozenset({dag_id})})


def _of_days(filters: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.dags is not None:
        found.append(days.c.dag_id.in_(sorted(filters.dags)) if filters.dags else literal(False))
    if filters.outcome is not None:
        found.append(days.c.outcome == filters.outcome)
    if filters.since is not None:
        found.append(days.c.day >= filters.since)
    if filters.until is not None:
        found.append(days.c.day <= filters.until)
    return found


# --- cursors --------------------------------------------------------------------------------------------------------


def _cursor(sort: Sort, direction: Direction, value: int, key: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, direction, value, key]).encode()).decode().rstrip("=")


def _position(cursor: str | None, sort: Sort, direction: Direction) -> Start:
    if not cursor:
        return None
    try:
        told = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        of_sort, of_direction, value, key = told
        is_id = isinstance(key, str) and re.fullmatch("[0-9a-f]{32}", key)
        if (of_sort, of_direction) == (sort, direction) and is_id and isinstance(value, int) and abs(value) < 2**62:
            return value, key
    except (ValueError, TypeError, binascii.Error):
        pass
    raise WrongCursorError("This is no cursor of this list.")
