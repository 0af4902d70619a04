"""Costs and counts as Airflow metrics: once a generation, and never in a task's way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.purchase.record import Record, RecordState
from airflow_provider_apimart.hooks.reports import metrics
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries


class Seen:
    """What would have been sent."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.tags: set[str] = set()
        self.times: list[float] = []

    def incr(self, name: str, count: int = 1, *, tags: dict[str, Any]) -> None:
        assert type(count) is int
        self.counts[name] = self.counts.get(name, 0) + count
        self.tags |= {f"{key}={value}" for key, value in tags.items()}

    def timing(self, name: str, milliseconds: float, *, tags: dict[str, Any]) -> None:
        assert name == "apimart.generation_duration"
        self.times.append(milliseconds)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen()
    monkeypatch.setattr(metrics, "Stats", seen)
    return seen


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between polls."""
    monkeypatch.setattr("airflow_provider_apimart.operators.tries.time.sleep", lambda seconds: None)


@pytest.fixture
def tries() -> Tries:
    return Tries()


def a_record(**values: Any) -> Record:
    return Record(
        state=RecordState.SUBMITTED,
        fingerprint="f",
        idempotency_key="k",
        epoch=0,
        number=1,
        intent_at=datetime(2026, 1, 1, tzinfo=UTC),
        **values,
    )


def run(tries: Tries, tmp_path: Path, **arguments: Any) -> dict[str, Any]:
    values = {"task_id": "make", "prompt": "a cat", "duration": 4, "deferrable": False, **arguments}
    operator = VeoGenerateOperator(output_path=f"{tmp_path}/", **values)
    return operator.execute(tries.next(operator))


def test_a_landed_generation_is_counted_once_with_its_cost(
    apimart_emulator_conn: Emulator, seen: Seen, tries: Tries, tmp_path: Path
) -> None:
    run(tries, tmp_path, sample_count=2)
    expected = {"apimart.generations.completed": 1, "apimart.videos": 2, "apimart.cost_micro_usd": 512_000}
    assert seen.counts == expected
    assert seen.tags == {"model=veo3.1-fast-official"}
    assert len(seen.times) == 1 and seen.times[0] >= 0
    run(tries, tmp_path, sample_count=2)
    assert seen.counts == expected


def test_failures_are_counted_by_what_they_are(
    apimart_emulator_conn: Emulator, seen: Seen, tries: Tries, tmp_path: Path
) -> None:
    with pytest.raises(AirflowFailException):
        run(tries, tmp_path, prompt="[[reject]] a famous person")
    apimart_emulator_conn.fault("submit", "task_fails", times=1)
    with pytest.raises(Exception, match="failed"):
        run(Tries(), tmp_path)
    assert seen.counts == {"apimart.generations.rejected": 1, "apimart.generations.failed": 1}


def test_names_of_models_that_are_not_known_make_no_tags(seen: Seen) -> None:
    for model in ("veo9", "veo3.1-lite"):
        metrics.count("parked", a_record(model=model, cost_usd=3.0))
    assert seen.tags == {"model=other", "model=veo3.1-lite"}
    # What is parked is not finished, so its cost is not known to be final.
    assert seen.counts == {"apimart.generations.parked": 2}


def test_a_metric_that_cannot_be_sent_is_worth_no_task(
    apimart_emulator_conn: Emulator, monkeypatch: pytest.MonkeyPatch, tries: Tries, tmp_path: Path
) -> None:
    class Broken:
        def incr(self, *_: Any, **__: Any) -> None:
            raise OSError("no statsd")

    monkeypatch.setattr(metrics, "Stats", Broken())
    assert run(tries, tmp_path)["status"] == "completed"


def test_airflows_own_stats_take_what_is_sent(
    apimart_emulator_conn: Emulator, tries: Tries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tries, tmp_path)
    assert "metric could not be sent" not in caplog.text
