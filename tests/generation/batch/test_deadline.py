"""The deadline of a whole batch, in virtual time: nothing more is paid for, and nothing is lost."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.generation.batch.engine import LAST_ANSWERS_SECONDS, LAST_LANDINGS_SECONDS, Ending
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.batch.steps import StopKind
from tests.generation.batch.simulated import Api, Batch, Hands


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


def limited(folder: Path, count: int, limit: float, **api: Any) -> Batch:
    batch = Batch(folder, [f"prompt {number}" for number in range(count)], Api(**api), Rules(max_in_flight=4))
    batch.limit = limit
    return batch


def one_try(batch: Batch) -> Ending:
    began = batch.clock
    ending = batch.run()
    assert ending is not None and batch.limit is not None
    assert batch.clock - began <= batch.limit + LAST_LANDINGS_SECONDS + 1
    return ending


def finish(batch: Batch, count: int) -> None:
    for _ in range(10):
        if batch.outcomes() != {Outcome.LANDED: count}:
            one_try(batch)
    assert batch.outcomes() == {Outcome.LANDED: count}


def test_a_batch_ends_at_its_deadline_and_the_next_try_goes_on(tmp_path: Path) -> None:
    batch = limited(tmp_path, 20, 60, job_seconds=25)
    ending = one_try(batch)
    assert ending.stop is not None
    assert (ending.stop.kind, ending.stop.final) == (StopKind.DEADLINE, False)
    assert batch.clock <= 62
    done = batch.outcomes()
    assert 0 < done[Outcome.LANDED] < 20
    assert done[Outcome.PARKED] == 4
    assert done[Outcome.LEFT] == ending.left > 0
    finish(batch, 20)
    assert set(batch.api.paid.values()) == {1}


@pytest.mark.parametrize(
    "trouble",
    [
        errors.RateLimitError("slow down", status=429, retry_after_seconds=3600),
        errors.ApimartConnectionError("nobody answers"),
        errors.ServerError("down", status=503),
    ],
    ids=["limited", "unreachable", "down"],
)
def test_it_holds_where_nothing_moves(tmp_path: Path, trouble: errors.ApimartError) -> None:
    batch = limited(tmp_path, 8, 120, job_seconds=5)
    batch.api.refuse = lambda kind, call: trouble
    ending = one_try(batch)
    assert ending.stop is not None
    assert batch.clock <= 122
    assert not batch.api.jobs
    batch.api.refuse = lambda kind, call: None
    finish(batch, 8)
    assert set(batch.api.paid.values()) == {1}


def test_a_host_that_never_answers_does_not_hold_up_the_end(tmp_path: Path) -> None:
    batch = limited(tmp_path, 6, 30, job_seconds=5)
    batch.api.dead = True
    ending = one_try(batch)
    assert ending.stop is not None and batch.clock <= 30 + LAST_ANSWERS_SECONDS + 1
    assert batch.outcomes() == {Outcome.UNKNOWN: 4, Outcome.LEFT: 2}
    batch.api.dead = False
    finish(batch, 6)
    assert set(batch.api.paid.values()) == {1}


def test_a_submission_whose_answer_is_lost_at_the_deadline_is_not_paid_for_again(tmp_path: Path) -> None:
    batch = limited(tmp_path, 4, 30, job_seconds=500, dropped=1.0)
    one_try(batch)
    assert batch.outcomes() == {Outcome.UNKNOWN: 4}
    batch.api.dropped, batch.limit = 0.0, 2000
    one_try(batch)
    assert batch.outcomes() == {Outcome.LANDED: 4}
    assert len(batch.api.jobs) == 4


def test_what_is_finished_at_the_deadline_is_landed_and_not_tried_for_ever(tmp_path: Path) -> None:
    tries: Counter[str] = Counter()

    def land(generation_id: str) -> None:
        tries[generation_id] += 1
        raise errors.LandingError("the storage is down")

    batch = limited(tmp_path, 3, 40, job_seconds=15)
    batch.hands = Hands(land)
    ending = one_try(batch)
    assert ending.stop is not None
    assert batch.clock <= 45
    assert batch.outcomes() == {Outcome.UNLANDED: 3}
    batch.hands = Hands()
    one_try(batch)
    assert batch.outcomes() == {Outcome.LANDED: 3}
    assert set(batch.api.paid.values()) == {1}


@pytest.mark.parametrize("seed", range(6))
def test_deadlines_and_kills_at_any_moment_pay_for_each_row_once(tmp_path: Path, seed: int) -> None:
    batch = limited(tmp_path, 30, 7 + 6.5 * seed, job_seconds=6, spread=1.0, dropped=0.1, seed=seed)
    for number in range(60):
        if batch.outcomes() == {Outcome.LANDED: 30}:
            break
        if number % 3 == 2:
            batch.run(kill_at=batch.clock + 3 + seed)
        else:
            one_try(batch)
    assert batch.outcomes() == {Outcome.LANDED: 30}
    assert set(batch.api.paid.values()) == {1}
