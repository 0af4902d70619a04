"""What Airflow's database still has of earlier runs comes into the index, however those runs told it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from airflow_provider_apimart.hooks.reports.notes import key_of_hour
from airflow_provider_apimart.ui.index import backfill, feed
from airflow_provider_apimart.ui.index.tables import generations
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import NOW, Rows

RESULT = {
    "generation_id": "task_1",
    "status": "completed",
    "cost_usd": 0.2,
    "model": "veo3.1-fast",
    "submitted_at": "2026-11-26T12:00:00Z",
    "videos": [{"path": "/v/1.mp4"}],
}


def fill(engine: Any, **options: Any) -> backfill.Count:
    return list(backfill.tasks_into(engine, **options))[-1]


def found(engine: Any) -> list[tuple[Any, ...]]:
    g = generations.c
    with engine.connect() as connection:
        query = select(g.task_id, g.map_index, g.row_name, g.outcome, g.cost).order_by(g.task_id, g.map_index, g.id)
        return [tuple(row) for row in connection.execute(query)]


def earlier_runs(rows: Rows, tmp_path: Path) -> None:
    """Runs as each version of the provider has left them."""
    long_ago = NOW - timedelta(days=200)
    rows.task(Place("mine", "r", "result"), rendered={"prompt": "a cat"}, return_value=RESULT)
    rows.task(Place("mine", "r", "subclass", 2), operator="OurVeo", return_value=RESULT, _link_VeoVideoLink="x")
    rows.task(Place("mine", "r", "noted"), operator="OurVeo", state="failed")
    told = {"kind": "generation", "outcome": "parked", "generation_id": "task_2", "cost_usd": 0.4}
    rows.xcom(Place("mine", "r", "noted"), key_of_hour(long_ago), told, long_ago)
    rows.task(Place("mine", "r", "never_paid"), state="failed")
    rows.task(Place("mine", "r", "never_ran"), state="upstream_failed")
    rows.task(Place("mine", "r", "not_ours"), operator="BashOperator", return_value=RESULT)
    manifest = tmp_path / "manifest-mine-all-r.jsonl"
    lines = [{"row": n, "outcome": "landed", "generation_id": f"g{n}", "cost_usd": 0.1} for n in range(3)]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows.task(
        Place("others", "r", "batch"),
        operator="VeoGenerateBatchOperator",
        return_value={"manifest": str(manifest), "rows": 3},
    )


EXPECTED = [
    ("noted", -1, None, "parked", 400_000),
    ("result", -1, None, "completed", 200_000),
    ("subclass", 2, None, "completed", 200_000),
]


@pytest.mark.parametrize("step", [backfill.STEP, 1])
def test_all_kinds_of_earlier_runs_are_found(
    engine: Any, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(backfill, "STEP", step)
    earlier_runs(rows, tmp_path)
    count = fill(engine)
    assert (count.tasks, count.changed, count.batches) == (4, 3, 1)
    assert found(engine) == EXPECTED
    assert list(backfill.manifests_into(engine)) == [(3, None)]
    assert len(found(engine)) == 6


def test_a_second_run_changes_nothing(engine: Any, rows: Rows, tmp_path: Path) -> None:
    earlier_runs(rows, tmp_path)
    fill(engine)
    list(backfill.manifests_into(engine))
    before = found(engine)
    assert fill(engine).changed == 0
    assert list(backfill.manifests_into(engine)) == []
    assert found(engine) == before


def test_a_run_that_was_stopped_is_completed(
    engine: Any, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier_runs(rows, tmp_path)
    monkeypatch.setattr(backfill, "STEP", 1)
    # Tasks that have nothing to tell may come first: their ids are made at random within a millisecond.
    assert next(count for count in backfill.tasks_into(engine) if count.tasks).tasks == 1
    assert len(found(engine)) <= 1
    fill(engine)
    assert found(engine) == EXPECTED


def test_only_what_is_asked_for(engine: Any, rows: Rows, tmp_path: Path) -> None:
    earlier_runs(rows, tmp_path)
    assert fill(engine, dag_id="others").tasks == 1
    assert fill(engine, since=datetime.now(UTC) + timedelta(days=1)).tasks == 0
    assert fill(engine, since=NOW).tasks == 4


def test_a_note_that_comes_later_counts(engine: Any, rows: Rows) -> None:
    """The command has seen the task at work; it ends while an API server reads its notes."""
    place = rows.task(Place("mine", "r", "make"), state="deferred")
    told = {"kind": "generation", "generation_id": "task_1", "cost_usd": 0.2}
    rows.xcom(place, key_of_hour(NOW), {**told, "outcome": "running"}, NOW)
    fill(engine)
    assert [row[3] for row in found(engine)] == ["running"]
    later = datetime.now(UTC) + timedelta(seconds=5)
    rows.xcom(place, key_of_hour(later), {**told, "outcome": "completed"}, later)
    while feed.step(engine, later + timedelta(seconds=1)):
        pass
    assert [row[3] for row in found(engine)] == ["completed"]


def test_what_the_index_has_from_later_stays(engine: Any, rows: Rows) -> None:
    """A note names what became of it; the result of the try before is still there."""
    place = rows.task(Place("mine", "r", "make"), return_value=RESULT)
    later = NOW + timedelta(minutes=5)
    rows.xcom(place, key_of_hour(later), {"kind": "generation", "outcome": "failed", "generation_id": "task_1"}, later)
    while feed.step(engine, later + timedelta(seconds=1)):
        pass
    assert fill(engine).changed == 0
    assert [row[3] for row in found(engine)] == ["failed"]


def test_a_manifest_that_cannot_be_read_is_told_once(engine: Any, rows: Rows, tmp_path: Path) -> None:
    for name, text in {"gone": None, "broken": '{"row": 1}\n{"half'}.items():
        path = tmp_path / f"manifest-{name}.jsonl"
        if text is not None:
            path.write_text(text)
        rows.task(Place("mine", "r", name), operator="VeoGenerateBatchOperator", return_value={"manifest": str(path)})
    fill(engine)
    troubles = [trouble for _, trouble in backfill.manifests_into(engine) if trouble]
    assert sorted(trouble.partition(":")[0] for trouble in troubles) == ["mine / r / broken", "mine / r / gone"]
