"""The API server's database user may do less than the one who made the tables; and rows that come in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import ProgrammingError

from airflow_provider_apimart.ui.index import keeper, query, tables, writing
from airflow_provider_apimart.ui.index.keeper import Keeper
from airflow_provider_apimart.ui.index.rows import row_of
from airflow_provider_apimart.ui.sources.entries import of_note
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import NOW, Rows
from tests.ui.conftest import Client
from tests.ui.index.test_feed import told

LISTS = ("/apimart/api/generations", "/apimart/api/spend")


@pytest.fixture
def denied(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    """A database that lets nobody read our tables, as PostgreSQL does without a GRANT."""

    def refuse(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if "apimart_" in statement and "sqlite_master" not in statement and "PRAGMA" not in statement:
            raise ProgrammingError(statement, {}, Exception("permission denied for table apimart_index"))

    event.listen(engine, "before_cursor_execute", refuse)
    keeping = Keeper(engine, Settings())
    monkeypatch.setattr(keeper, "_keeper", keeping)
    yield keeping
    event.remove(engine, "before_cursor_execute", refuse)


class Once(threading.Event):
    """Stops a keeper after its first step."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def test_tables_that_may_not_be_read_are_told(client: Client, denied: Keeper) -> None:
    denied.run(Once())
    for path in LISTS:
        answer = client("admin").get(path)
        assert answer.status_code == 200, path
        index = answer.json()["index"]
        assert index["state"] == "unavailable" and "may not" in index["text"]
    assert client("admin").get("/apimart/api/generations.csv").status_code == 200
    answer = client("admin").get("/apimart/video/mine/run/make/-1/1", params={"generation": "task_1"})
    assert answer.status_code == 404


def put(engine: Any, dag_id: str, number: int) -> None:
    with writing.writing(engine) as connection:
        writing.put(connection, [row_of(Place(dag_id, "run", "make", number), of_note(told(number)), NOW)])


@pytest.mark.parametrize("part", ["totals", "page", "spend"])
def test_a_dag_that_comes_in_between_is_not_told(
    client: Client, engine: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The first row of another Dag is written after the answer began."""
    rows.dag("mine")
    rows.dag("other")
    put(engine, "mine", 1)
    asked = getattr(query, part)

    def late(*arguments: Any, **options: Any) -> Any:
        put(engine, "other", 2)
        return asked(*arguments, **options)

    monkeypatch.setattr(query, part, late)
    for path in (*LISTS, "/apimart/api/generations.csv"):
        answer = client("one").get(path)
        assert answer.status_code == 200 and "other" not in answer.text, path
    found = client("one").get(LISTS[0]).json()
    assert (found["total"], found["cost_usd"]) == (1, 0.2)


@pytest.mark.parametrize("key", ["\x00", "\ud800", "'", {"a": 1}, None])
def test_a_cursor_holds_nothing_but_an_id(client: Client, engine: Any, rows: Rows, key: Any) -> None:
    rows.dag("mine")
    put(engine, "mine", 1)
    cursor = query._cursor("submitted_at", "desc", 1, key)
    assert client("admin").get(LISTS[0], params={"cursor": cursor}).status_code == 400


def test_tables_that_were_dropped_are_made_again(engine: Any) -> None:
    keeping = Keeper(engine, Settings())
    keeping.run(Once())
    tables.metadata.drop_all(engine)
    keeping.run(Once())
    assert keeping.trouble is not None
    keeping.run(Once())
    assert keeping.trouble is None and tables.ready(engine)
