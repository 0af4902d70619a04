"""The gallery's queries read a bounded number of rows, on SQLite and PostgreSQL: by their plans, and as counted.

The index holds many times what one walk may look at. So a query that reads all of it, or sorts it, is over the bound.
No clock is asked.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, insert, text
from sqlalchemy.engine import Engine

from airflow_provider_apimart.ui.index import gallery, query, tables
from airflow_provider_apimart.ui.index.gallery import Asked
from airflow_provider_apimart.ui.index.query import Direction, Filters, Sort
from tests.ui.index import postgres

COUNT = 12_000
DAGS = 40
WALK = 300
PAGE = 20
#: A walk, a count, and the rows of a page from each of 20 Dags, each with a row of its table and of an index.
MOST_ROWS = 2 * (2 * WALK + query.MAX_WALKS * (PAGE + 1)) + 100
#: SQLite's own steps: to look at a row takes at least 4.
MOST_STEPS = 2 * COUNT
HOUR = 3_600_000
ALL = frozenset(f"dag_{n}" for n in range(DAGS))


def _row(n: int) -> dict[str, Any]:
    return {
        "id": f"{n:032d}",
        "dag_id": f"dag_{n % DAGS}",
        "run_id": f"run_{n // 1000}",
        "task_id": "make",
        "map_index": n % 1000,
        "row_name": None,
        "outcome": "failed" if n % 10 == 0 else "completed",
        "at": n * HOUR // 20,
        "cost": n * 7919 % 1000,
        "videos": 1,
        "told_at": n,
        "words": f"sku=s{n % 500}\na cat number {n}",
        "body": json.dumps({"generation_id": f"task_{n}", "prompt": "a cat " * 20}),
    }


def _fill(engine: Engine) -> Engine:
    tables.make_ready(engine)
    rows = [_row(n) for n in range(COUNT)]
    sums: dict[tuple[int, str, str], list[int]] = {}
    for row in rows:
        one = sums.setdefault((row["at"] // query.DAY, row["dag_id"], row["outcome"]), [0, 0])
        one[0] += 1
        one[1] += row["cost"]
    days = [
        {"day": day, "dag_id": dag, "outcome": outcome, "generations": count, "videos": count, "cost": cost}
        for (day, dag, outcome), (count, cost) in sums.items()
    ]
    with engine.begin() as connection:
        connection.execute(insert(tables.generations), rows)
        connection.execute(insert(tables.days), days)
    return engine


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path: Path = tmp_path_factory.mktemp("plans") / "index.db"
    engine = _fill(create_engine(f"sqlite:///{path}"))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Engine]:
    reason = postgres.why_not()
    if reason:
        pytest.skip(reason)
    with postgres.running() as url:
        engine = _fill(create_engine(url))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Its autovacuum does so by itself. VACUUM also lets it read an index alone.
            connection.execute(text("VACUUM ANALYZE apimart_generation, apimart_day"))
        yield engine
        engine.dispose()


@pytest.fixture(autouse=True)
def short_walks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "WALK", WALK)
    # One walk a request: how many more there is time for is the clock's affair.
    monkeypatch.setattr(gallery, "SEARCH_SECONDS", -1.0)


READERS = {
    "all": ALL,
    "one": frozenset({"dag_7"}),
    "ten": frozenset(f"dag_{n}" for n in range(10)),
    "most": ALL - {"dag_3"},
    "others": frozenset({"dag_7", "no_such_dag"}),
}
FILTERS = {
    "nothing": Filters(),
    "outcome": Filters(outcome="failed"),
    "run": Filters(run_id="run_5"),
    "run_outcome": Filters(run_id="run_5", outcome="failed"),
    "days": Filters(since=10, until=12),
    "search": Filters(words="cat number"),
    "found_nowhere": Filters(words="zebra"),
    "label": Filters(label="sku=s7"),
    "all": Filters(words="cat", outcome="failed", since=3, until=20, label="sku"),
}
ORDERS: list[tuple[Sort, Direction]] = list(itertools.product(("submitted_at", "cost_usd"), ("desc", "asc")))
CASES = list(itertools.product(READERS, FILTERS))


def pages(engine: Engine, asked: Asked, sort: Sort, direction: Direction) -> None:
    """Ask for the first page and for the next one: a page far on is entered where the last one ended."""
    cursor = None
    for _ in range(2):
        found = gallery.generations(engine, asked, sort=sort, direction=direction, cursor=cursor, limit=PAGE)
        cursor = found["next"]
        if cursor is None:
            return


class Steps:
    """Counts what SQLite does."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        self.connection: Any = engine.raw_connection().driver_connection

    def _more(self) -> int:
        self.count += 10
        return 0

    def __enter__(self) -> Steps:
        self.connection.set_progress_handler(self._more, 10)
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.set_progress_handler(None, 0)


def statements(engine: Engine, work: Any) -> list[tuple[str, Any]]:
    """Return the statements about generations that a piece of work sends."""
    found: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if "apimart_generation" in statement:
            found.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return found


@pytest.mark.parametrize(("reader", "filters"), CASES)
def test_sqlite_enters_each_walk_by_an_index(sqlite: Engine, reader: str, filters: str) -> None:
    asked = Asked(READERS[reader], frozenset(), FILTERS[filters])
    for order in ORDERS:
        for statement, parameters in statements(sqlite, lambda order=order: pages(sqlite, asked, *order)):
            with sqlite.connect() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            lines = [str(line[3]) for line in plan]
            reads = [line for line in lines if "apimart_generation" in line]
            assert reads and all("USING" in line and "AUTOMATIC" not in line for line in reads), lines
            # What is sorted is what a walk has found, never the table.
            sorting = next((n for n, line in enumerate(lines) if "TEMP B-TREE" in line), None)
            assert sorting is None or any("apimart_generation_" in line for line in lines[:sorting]), lines


@pytest.mark.parametrize(("reader", "filters"), CASES)
def test_sqlite_does_no_more_than_a_walk(sqlite: Engine, reader: str, filters: str) -> None:
    asked = Asked(READERS[reader], frozenset(), FILTERS[filters])
    for order in ORDERS:
        for statement, parameters in statements(sqlite, lambda order=order: pages(sqlite, asked, *order)):
            with Steps(sqlite) as steps:
                steps.connection.execute(statement, parameters).fetchall()
            assert steps.count < MOST_STEPS, (steps.count, statement)


def test_reading_all_rows_is_over_the_bound(sqlite: Engine) -> None:
    """So the bound means something."""
    for whole in ("words LIKE '%zebra%'", "task_id = 'none'"):
        with Steps(sqlite) as steps:
            steps.connection.execute(f"SELECT id FROM apimart_generation WHERE {whole}").fetchall()
        assert steps.count > MOST_STEPS


def rows_read(plan: dict[str, Any]) -> int:
    """Return how many rows of generations, or entries of their indexes, PostgreSQL has looked at."""
    own = 0
    if plan.get("Relation Name") == "apimart_generation":
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = int((plan["Actual Rows"] + removed) * plan["Actual Loops"])
    return own + sum(rows_read(part) for part in plan.get("Plans", []))


@pytest.mark.parametrize(("reader", "filters"), CASES)
def test_postgresql_reads_no_more_than_a_walk(postgresql: Engine, reader: str, filters: str) -> None:
    asked = Asked(READERS[reader], frozenset(), FILTERS[filters])
    for order in ORDERS:
        for statement, parameters in statements(postgresql, lambda order=order: pages(postgresql, asked, *order)):
            with postgresql.connect() as connection:
                explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
                (plan,) = connection.exec_driver_sql(explain, parameters).one()
            assert "Seq Scan" not in json.dumps(plan[0]["Plan"]), (statement, plan)
            assert rows_read(plan[0]["Plan"]) <= MOST_ROWS, (statement, plan)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("reader", READERS)
def test_sums_without_a_search_read_no_generations(request: pytest.FixtureRequest, database: str, reader: str) -> None:
    engine: Engine = request.getfixturevalue(database)
    for filters in ("nothing", "outcome", "days"):
        asked = Asked(READERS[reader], frozenset(), FILTERS[filters])
        assert statements(engine, lambda asked=asked: gallery.spend(engine, asked)) == []
        sent = statements(engine, lambda asked=asked: pages(engine, asked, "submitted_at", "desc"))
        assert all("count(" not in statement for statement, _ in sent)


@pytest.mark.parametrize("reader", READERS)
def test_both_databases_give_the_same_pages(sqlite: Engine, postgresql: Engine, reader: str) -> None:
    for filters, (sort, direction) in itertools.product(FILTERS, ORDERS):
        asked = Asked(READERS[reader], frozenset(), FILTERS[filters])
        one, other = (
            gallery.generations(engine, asked, sort=sort, direction=direction, cursor=None, limit=PAGE)
            for engine in (sqlite, postgresql)
        )
        assert one == other, (filters, sort, direction)
    asked = Asked(READERS[reader], frozenset(), Filters())
    assert gallery.spend(sqlite, asked) == gallery.spend(postgresql, asked)
