"""What tasks tell comes into the index: each generation once, whoever reads it, however often."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from airflow_provider_apimart.hooks.reports.notes import key_of_hour
from airflow_provider_apimart.ui.index import feed, keeper, tables, writing
from airflow_provider_apimart.ui.index.keeper import Keeper, prune
from airflow_provider_apimart.ui.index.tables import days, generations
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import NOW, Rows

RUN = "run"
SECOND = timedelta(seconds=1)


def told(number: int, outcome: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "kind": "generation",
        "outcome": outcome,
        "generation_id": f"task_{number}",
        "prompt": f"shot {number}",
        "labels": {"sku": f"S{number}"},
        "model": "veo3.1-fast",
        "cost_usd": 0.2 if outcome == "completed" else None,
        "submitted_at": "2026-11-26T13:58:00Z",
        "videos": [{"path": f"/videos/{number}.mp4"}] if outcome == "completed" else [],
        **more,
    }


def leave(rows: Rows, place: Place, note: dict[str, Any], at: Any = NOW) -> None:
    rows.xcom(place, key_of_hour(at), note, at)


def read_all(engine: Any, now: Any = NOW) -> int:
    steps = 1
    while feed.step(engine, now):
        steps += 1
        assert steps < 500
    return steps


def found(engine: Any) -> list[Any]:
    with engine.connect() as connection:
        return connection.execute(select(generations).order_by(generations.c.map_index, generations.c.id)).all()


def sums(engine: Any) -> dict[str, tuple[int, int, int]]:
    with engine.connect() as connection:
        return {row.outcome: (row.generations, row.videos, row.cost) for row in connection.execute(select(days))}


def summed_up(engine: Any) -> dict[str, tuple[int, int, int]]:
    g = generations.c
    query = select(g.outcome, func.count(), func.sum(g.videos), func.sum(g.cost)).group_by(g.outcome)
    with engine.connect() as connection:
        return {outcome: tuple(rest) for outcome, *rest in connection.execute(query)}


def test_a_generation_is_followed_from_running_to_its_end(engine: Any, rows: Rows) -> None:
    place = rows.task(Place("mine", RUN, "make"), state="deferred")
    leave(rows, place, told(1, "running"))
    read_all(engine)
    assert [row.outcome for row in found(engine)] == ["running"]
    leave(rows, place, told(1), NOW + 75 * SECOND)
    read_all(engine, NOW + 80 * SECOND)
    (row,) = found(engine)
    assert (row.outcome, row.cost, row.videos) == ("completed", 200_000, 1)
    assert sums(engine) == {"completed": (1, 1, 200_000)}


def test_rows_outlive_their_xcoms(engine: Any, rows: Rows) -> None:
    place = rows.task(Place("mine", RUN, "make"))
    leave(rows, place, told(1))
    read_all(engine)
    rows.remove()
    read_all(engine, NOW + timedelta(days=3))
    assert len(found(engine)) == 1


def test_reading_again_changes_nothing(engine: Any, rows: Rows) -> None:
    for index in range(3):
        leave(rows, rows.task(Place("mine", RUN, "make", index)), told(index))
    read_all(engine)
    before = found(engine)
    with engine.begin() as connection:
        feed.keep(connection, feed.PROGRESS, "nonsense")
    read_all(engine)
    assert found(engine) == before and sums(engine) == {"completed": (3, 3, 600_000)}


def test_many_notes_of_one_moment_are_all_read(engine: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STEP", 7)
    for index in range(40):
        leave(rows, rows.task(Place("mine", RUN, f"make_{index % 2}", index)), told(index))
    read_all(engine)
    assert len(found(engine)) == 40


def test_hours_are_read_to_their_end_and_not_further_back(engine: Any, rows: Rows) -> None:
    ages = [timedelta(days=20), timedelta(hours=30), timedelta(hours=2), timedelta(minutes=50), timedelta(0)]
    for index, age in enumerate(ages):
        leave(rows, rows.task(Place("mine", RUN, "make", index)), told(index), NOW - age)
    read_all(engine)
    assert [row.map_index for row in found(engine)] == [1, 2, 3, 4]
    assert feed.behind(engine, NOW) == timedelta(0)


def test_a_worker_with_a_wrong_clock_is_heard(engine: Any, rows: Rows) -> None:
    """Its key names the hour before, or after, the one in which the server writes."""
    read_all(engine, NOW)
    for index, key in enumerate([key_of_hour(NOW - 20 * 60 * SECOND), key_of_hour(NOW + timedelta(hours=1))]):
        at = NOW + (10 if index == 0 else 45) * 60 * SECOND
        rows.xcom(rows.task(Place("mine", RUN, "make", index)), key, told(index), at)
        read_all(engine, at + 10 * SECOND)
    assert [row.map_index for row in found(engine)] == [0, 1]


def test_a_note_that_is_committed_late_is_found(engine: Any, rows: Rows) -> None:
    leave(rows, rows.task(Place("mine", RUN, "make", 0)), told(0), NOW)
    read_all(engine, NOW + SECOND)
    # It was written half a minute before the other one, in the same hour.
    rows.xcom(rows.task(Place("mine", RUN, "make", 1)), key_of_hour(NOW), told(1), NOW - 30 * SECOND)
    read_all(engine, NOW + 12 * SECOND)
    assert len(found(engine)) == 2


def test_two_servers_do_each_step_once(engine: Any, rows: Rows) -> None:
    """Both have read the same notes when the first one writes."""
    place = rows.task(Place("mine", RUN, "make"))
    leave(rows, place, told(1))
    before = writing.writing
    raced: list[int] = []

    def second(of: Any) -> Any:
        if not raced:
            raced.append(1)
            read_all(engine)
        return before(of)

    feed.writing.writing = second  # type: ignore[assignment]
    try:
        assert feed.step(engine, NOW) is True
    finally:
        feed.writing.writing = before
    read_all(engine)
    assert sums(engine) == {"completed": (1, 1, 200_000)}


def test_sums_follow_every_change(engine: Any, rows: Rows) -> None:
    place = rows.task(Place("mine", RUN, "make"), state="deferred")
    steps = [
        told(1, "running"),
        told(1, "parked"),
        told(1),
        told(2, "failed"),
        told(3, cost_usd=1.5),
        told(3, cost_usd=1.25, submitted_at="2026-11-27T00:00:00Z"),
    ]
    for number, note in enumerate(steps):
        at = NOW + number * 10 * SECOND
        leave(rows, place, note, at)
        read_all(engine, at)
        assert sums(engine) == {key: value for key, value in summed_up(engine).items() if value[0]} or number == 5
    assert summed_up(engine) == {"completed": (2, 2, 1_450_000), "failed": (1, 0, 0)}


def test_a_failure_before_the_payment_gives_way(engine: Any, rows: Rows) -> None:
    place = rows.task(Place("mine", RUN, "make"))
    leave(rows, place, told(1, "failed", generation_id=None))
    read_all(engine)
    assert [row.outcome for row in found(engine)] == ["failed"]
    leave(rows, place, told(2), NOW + 10 * SECOND)
    read_all(engine, NOW + 10 * SECOND)
    assert [row.outcome for row in found(engine)] == ["completed"]
    assert sums(engine) == {"completed": (1, 1, 200_000)}


def test_an_older_note_changes_nothing(engine: Any, rows: Rows) -> None:
    place = rows.task(Place("mine", RUN, "make"))
    leave(rows, place, told(1), NOW)
    read_all(engine)
    rows.xcom(place, key_of_hour(NOW), told(1, "running"), NOW - 5 * SECOND)
    read_all(engine, NOW + 10 * SECOND)
    assert [row.outcome for row in found(engine)] == ["completed"]


def test_a_task_that_was_killed_is_settled(engine: Any, rows: Rows) -> None:
    states = {0: "failed", 1: "deferred", 2: "up_for_retry", 3: "success"}
    for index, state in states.items():
        leave(rows, rows.task(Place("mine", RUN, "make", index), state=state), told(index, "running"))
    read_all(engine)
    assert feed.settle(engine, (-1, "")) is None
    assert [row.outcome for row in found(engine)] == ["parked", "running", "running", "parked"]
    assert sums(engine) == {key: tuple(value) for key, value in summed_up(engine).items()}
    before = found(engine)
    assert feed.settle(engine, (-1, "")) is None and found(engine) == before


def test_a_task_whose_last_note_was_lost_is_settled_by_its_result(engine: Any, rows: Rows) -> None:
    for index, generation in enumerate(["task_0", "another"]):
        place = rows.task(Place("mine", RUN, "make", index), state="success")
        at = NOW + index * 20 * SECOND
        leave(rows, place, told(index, "running"), at)
        read_all(engine, at)
        rows.remove()
        rows.task(place, return_value={**told(index), "generation_id": generation})
        feed.settle(engine, (-1, ""))
    assert [(row.outcome, row.videos) for row in found(engine)] == [("completed", 1), ("parked", 0)]


def test_a_note_that_comes_after_the_settling_counts(engine: Any, rows: Rows) -> None:
    place = rows.task(Place("mine", RUN, "make"), state="failed")
    leave(rows, place, told(1, "running"))
    read_all(engine)
    feed.settle(engine, (-1, ""))
    leave(rows, place, told(1), NOW + 10 * SECOND)
    read_all(engine, NOW + 10 * SECOND)
    assert sums(engine) == {"completed": (1, 1, 200_000)}


HOSTILE = [
    {"kind": "generation", "outcome": "x" * 400, "prompt": {"a": 1}, "videos": "no", "cost_usd": "many"},
    {"kind": "generation", "outcome": None, "prompt": "\x00\ud800", "labels": [1], "cost_usd": float("inf")},
    {"kind": "generation", "seed": "9" * 400, "videos": [1, None, {"path": 3}], "submitted_at": "yesterday"},
    {"kind": "generation", "generation_id": "g" * 9000, "submitted_at": "0001-01-01T00:00:00Z", "error": 5},
    {"kind": "generation", "cost_usd": 1e300, "parameters": {"a": [1, {"b": 2}]}},
    {"kind": ["generation"]},
    {"kind": "batch", "manifest": {"no": 1}},
    ["no", "object"],
    "text",
    7,
]


@pytest.mark.parametrize("note", HOSTILE, ids=range(len(HOSTILE)))
def test_a_note_that_is_nonsense_stops_nothing(engine: Any, rows: Rows, note: Any) -> None:
    note = json.loads(json.dumps(note, allow_nan=True).replace("Infinity", "1e400"))
    rows.xcom(rows.task(Place("mine", RUN, "make", 0)), key_of_hour(NOW), note)
    leave(rows, rows.task(Place("mine", RUN, "make", 1)), told(1))
    read_all(engine)
    assert [row.map_index for row in found(engine)][-1] == 1


def manifest(path: Path, count: int) -> Path:
    lines = [
        {"row": n, "outcome": "landed" if n % 4 else "rejected", "request": {"prompt": f"p {n}"}, "cost_usd": 0.1}
        | {"generation_id": f"g{n}", "submitted_at": "2026-11-26T12:00:00Z", "labels": {"sku": f"S{n}"}}
        | {"videos": [{"path": f"/v/{n}.mp4"}] if n % 4 else []}
        for n in range(1, count + 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"row": 0, "outcome": "left"}]))
    return path


def test_a_manifest_is_read_in_parts_and_goes_on_after_a_crash(
    engine: Any, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.ui.index.manifests.STEP", 10)
    place = rows.task(Place("mine", RUN, "all"), operator="VeoGenerateBatchOperator")
    path = manifest(tmp_path / "manifest-mine-all-run.jsonl", 45)
    leave(rows, place, {"kind": "batch", "manifest": str(path)})
    read_all(engine)
    first = Keeper(engine, Settings())
    for _ in range(2):
        first.step(NOW, 0.0)
    assert 0 < len(found(engine)) < 45
    other = Keeper(engine, Settings())
    for number in range(40):
        other.step(NOW, float(number))
    assert sums(engine) == {"completed": (34, 34, 3_400_000), "failed": (11, 0, 1_100_000)}
    with engine.connect() as connection:
        (batch,) = connection.execute(select(tables.batches)).all()
    assert (batch.read_lines, batch.state) == (46, 1)


def test_a_manifest_that_cannot_be_read_stops_nothing(engine: Any, rows: Rows, tmp_path: Path) -> None:
    places = [rows.task(Place("mine", RUN, "all", n), operator="VeoGenerateBatchOperator") for n in range(2)]
    good = manifest(tmp_path / "manifest-good.jsonl", 5)
    broken = tmp_path / "manifest-broken.jsonl"
    broken.write_text('{"row": 1, "outcome": "landed"}\n{"half')
    for place, path in zip(places, [broken, good], strict=True):
        leave(rows, place, {"kind": "batch", "manifest": str(path)})
    read_all(engine)
    keeping = Keeper(engine, Settings())
    for number in range(12):
        keeping.step(NOW, number * keeper.MANIFEST_RETRY_SECONDS * 2)
    assert len(found(engine)) == 5


def test_what_is_old_leaves_if_it_shall(engine: Any, rows: Rows) -> None:
    for index, day in enumerate(["2026-11-01", "2026-11-20", "2026-11-26"]):
        place = rows.task(Place("mine", RUN, "make", index))
        leave(rows, place, told(index, submitted_at=f"{day}T10:00:00Z"))
    read_all(engine)
    assert prune(engine, NOW - timedelta(days=7)) == 1
    assert [row.map_index for row in found(engine)] == [1, 2]
    assert sum(count for count, _, _ in summed_up(engine).values()) == 2
    with engine.connect() as connection:
        assert connection.scalar(select(func.sum(days.c.generations))) == 2


def test_tables_of_another_version_are_made_anew(engine: Any) -> None:
    with engine.begin() as connection:
        connection.execute(tables.state.update().where(tables.state.c.name == "version").values(value="0"))
    assert not tables.ready(engine)
    tables.make_ready(engine)
    assert tables.ready(engine)


def test_tables_of_a_newer_version_are_left_alone(engine: Any, rows: Rows) -> None:
    leave(rows, rows.task(Place("mine", RUN, "make")), told(1))
    read_all(engine)
    newer = tables.state.update().where(tables.state.c.name == "version")
    with engine.begin() as connection:
        connection.execute(newer.values(value=str(tables.VERSION + 1)))
    with pytest.raises(tables.IndexUnavailableError, match="newer version"):
        tables.make_ready(engine)
    assert len(found(engine)) == 1
