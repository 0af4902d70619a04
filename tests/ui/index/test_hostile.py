"""What the author of one Dag writes stops nothing of the others', and breaks nobody's gallery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from airflow_provider_apimart.hooks.reports.notes import key_of_hour
from airflow_provider_apimart.ui.index import tables, writing
from airflow_provider_apimart.ui.index.keeper import Keeper
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import NOW, Rows
from tests.ui.conftest import Client
from tests.ui.index.test_feed import RUN, SECOND, found, leave, read_all, told


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


HOSTILE: dict[str, Any] = {
    "not a number": {"labels": {"a": float("nan")}, "parameters": {"b": [float("inf")]}},
    "half a surrogate pair": {"labels": {"a\ud83d": "x\ud83d"}, "parameters": {"b\ud83d": {"c\ud83d": "\ud83d"}}},
    "NUL": {"labels": {"a\x00": "b\x00"}, "prompt": "a\x00b"},
    "deep": {"labels": nested(200), "parameters": nested(200)},
    "a fortune": {"cost_usd": 9e15},
    "a gift": {"cost_usd": -9e15},
    "long": {"labels": {f"l{n}": "x" * 20_000 for n in range(200)}, "prompt": "x" * 20_000},
    "a class": {"labels": {"__classname__": "os.system", "__version__": 1, "__data__": "true"}},
    "right to left": {"labels": {"\u202e": "\u202e<script>"}, "prompt": "\u202e<script>alert(1)</script>"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_note_stops_nothing_and_breaks_no_page(engine: Any, rows: Rows, client: Client, name: str) -> None:
    leave(rows, rows.task(Place("mine", RUN, "bad")), told(1, **HOSTILE[name]))
    leave(rows, rows.task(Place("other", RUN, "good")), told(2), NOW + SECOND)
    read_all(engine, NOW + 10 * SECOND)
    assert {row.task_id for row in found(engine)} == {"bad", "good"}
    assert sum(len(row.words) + len(row.body) for row in found(engine)) < 100_000
    browser = client("admin")
    page = browser.get("/apimart/api/generations")
    assert page.status_code == 200
    assert {each["task_id"] for each in page.json()["items"]} == {"bad", "good"}
    assert page.json()["cost_usd"] == pytest.approx(0.4 if "cost_usd" not in HOSTILE[name] else 0.2)
    assert browser.get("/apimart/api/generations.csv").status_code == 200
    assert browser.get(f"/apimart/api/task/mine/{RUN}/bad/-1").status_code == 200


def batch(rows: Rows, task: str, manifest: Path, at: Any = NOW) -> None:
    place = rows.task(Place("mine", RUN, task), operator="VeoGenerateBatchOperator")
    leave(rows, place, {"version": 1, "kind": "batch", "manifest": str(manifest)}, at)


def line(name: str, **more: Any) -> str:
    told = {"row": name, "outcome": "landed", "generation_id": f"task_{name}", "request": {"prompt": name}, **more}
    return json.dumps(told)


def keep(engine: Any) -> None:
    """Do the keeper's work, as often as it would in some minutes."""
    read_all(engine, NOW + 10 * SECOND)
    keeper = Keeper(engine, Settings())
    for clock in range(30):
        try:
            keeper.step(NOW + 10 * SECOND, 100.0 * clock)
        except Exception:
            keeper._reading = None  # As the thread does.


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_stops_no_other(engine: Any, rows: Rows, tmp_path: Path, name: str) -> None:
    bad, good = tmp_path / "manifest-bad.jsonl", tmp_path / "manifest-good.jsonl"
    bad.write_text(line("bad", **HOSTILE[name]) + "\n")
    good.write_text(line("good") + "\n")
    batch(rows, "bad", bad)
    batch(rows, "good", good, NOW + SECOND)
    keep(engine)
    assert {row.row_name for row in found(engine)} == {"bad", "good"}


def test_a_manifest_that_cannot_be_written_lets_the_others_go_first(
    engine: Any, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the database does not take."""
    bad, good = tmp_path / "manifest-bad.jsonl", tmp_path / "manifest-good.jsonl"
    bad.write_text(line("bad") + "\n")
    good.write_text(line("good") + "\n")
    batch(rows, "bad", bad)
    batch(rows, "good", good, NOW + SECOND)
    put = writing.put

    def refusing(connection: Any, rows: Any) -> int:
        if any(row["row_name"] == "bad" for row in rows):
            raise OverflowError("too large")
        return put(connection, rows)

    monkeypatch.setattr(writing, "put", refusing)
    keep(engine)
    assert {row.row_name for row in found(engine)} == {"good"}


TEXTS = {
    "a class": '{"__classname__": "os.system", "__version__": 1, "__data__": "true"}',
    "a class of Airflow's": '{"__classname__": "airflow.sdk.Asset", "__version__": 1, "__data__": {}}',
    "an old one": '{"__type": "dict", "__var": 7}',
    "deep": "[" * 100_000,
    "no JSON": "{",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_note_that_is_text_is_nothing_to_build_an_object_from(
    engine: Any, rows: Rows, client: Client, name: str
) -> None:
    rows.xcom(rows.task(Place("mine", RUN, "bad")), key_of_hour(NOW), TEXTS[name])
    leave(rows, rows.task(Place("other", RUN, "good")), told(2), NOW + SECOND)
    read_all(engine, NOW + 10 * SECOND)
    assert {row.task_id for row in found(engine)} == {"good"}
    assert client("admin").get(f"/apimart/api/task/mine/{RUN}/bad/-1").status_code == 200


def test_a_manifest_with_an_endless_name_is_not_kept(engine: Any, rows: Rows) -> None:
    """MySQL takes 64 KiB."""
    batch(rows, "bad", Path("/" + "x" * 70_000))
    read_all(engine, NOW + 10 * SECOND)
    with engine.connect() as connection:
        assert connection.execute(select(tables.batches)).all() == []
