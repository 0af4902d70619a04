"""A model that ends in the middle of a batch: what is still sent, what is paid, and where the rows go."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.manifest import Totals, manifest_lines
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from tests.generation.batch.engine.simulated import PRICE, Api, Batch

OTHER = "veo3.1-quality-official"
ROWS = 500
FALLBACK = Rules(fallback_model=OTHER)


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


class Ending:
    """A model that ends after so many of its generations were accepted."""

    def __init__(self, how: str, after: int = 200, model: str = DEFAULT_MODEL) -> None:
        self.how, self.after, self.model = how, after, model
        self.api: Api | None = None
        self.asked: Counter[str] = Counter()

    def __call__(self, model: str) -> str | None:
        assert self.api is not None
        self.asked[model] += 1
        return self.how if model == self.model and len(self.api.jobs) >= self.after else None


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., Batch]:
    def make(ending: Ending, rules: Rules | None = None, rows: int = ROWS, **api: Any) -> Batch:
        one = Batch(tmp_path, [f"prompt {number}" for number in range(rows)], Api(**api), rules or Rules())
        ending.api, one.api.model_ends = one.api, ending
        return one

    return make


def made_by(one: Batch) -> Counter[str]:
    """How many charged generations each model has."""
    return Counter(json.loads(job.body)["model"] for job in one.api.jobs.values() if job.outcome == "completed")


def manifest(one: Batch) -> tuple[list[dict[str, Any]], Totals]:
    plan, totals = one.plan(), Totals()
    return list(manifest_lines(plan, read_ledger(plan), totals)), totals


@pytest.mark.parametrize("how", ["refused", "fails"])
def test_the_batch_stops_paying_for_a_model_that_has_ended(batch: Callable[..., Batch], how: str) -> None:
    ending = Ending(how)
    one = batch(ending)
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 200, Outcome.MODEL_GONE: 300}
    # What was on its way when the first answer came, and no more; never twice for one row.
    assert ending.asked[DEFAULT_MODEL] <= 200 + 40
    assert max(one.api.posts.values()) == 1
    assert made_by(one) == {DEFAULT_MODEL: 200}
    (told,) = [line for line in one.said if "Nothing more is paid for it" in line]
    assert "end without a submission, at no cost" in told
    lines, totals = manifest(one)
    gone = [line for line in lines if line["outcome"] == "model_gone"]
    assert all(line["error"] and not line["cost_usd"] and not line["videos"] for line in gone)
    notes = Counter("not submitted, since its model is gone" in line["error"] for line in gone)
    assert notes[True] >= 260 and all("is no longer" in line["error"] or how == "fails" for line in gone)
    assert totals.hopeless == 300 and totals.gone == {DEFAULT_MODEL: 300}


@pytest.mark.parametrize("how", ["refused", "fails"])
def test_the_next_try_asks_little_and_pays_nothing(batch: Callable[..., Batch], how: str) -> None:
    ending = Ending(how)
    one = batch(ending)
    one.run()
    asked = one.api.requests["submit"]
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 200, Outcome.MODEL_GONE: 300}
    assert one.api.requests["submit"] - asked <= 40 and made_by(one) == {DEFAULT_MODEL: 200}


def test_a_model_that_is_back_makes_the_rest(batch: Callable[..., Batch]) -> None:
    ending = Ending("refused")
    one = batch(ending)
    one.run()
    ending.how = ""
    one.run()
    assert one.outcomes() == {Outcome.LANDED: ROWS} and made_by(one) == {DEFAULT_MODEL: ROWS}


@pytest.mark.parametrize("how", ["refused", "fails"])
def test_the_fallback_makes_the_remaining_rows(batch: Callable[..., Batch], how: str) -> None:
    ending = Ending(how)
    one = batch(ending, FALLBACK)
    one.run()
    assert one.outcomes() == {Outcome.LANDED: ROWS}
    assert made_by(one) == {DEFAULT_MODEL: 200, OTHER: 300}
    assert set(one.api.paid.values()) == {1} and ending.asked[DEFAULT_MODEL] <= 240
    lines, totals = manifest(one)
    by_model = Counter((line["request"]["model"], line["fallback_from"]) for line in lines)
    assert by_model == {(DEFAULT_MODEL, None): 200, (OTHER, DEFAULT_MODEL): 300}
    assert totals.fallbacks == {(DEFAULT_MODEL, OTHER): 300}
    assert {line["idempotency_key"] for line in lines} <= set(one.api.by_key)
    assert sum("new generations, which are paid for" in line for line in one.said) == 1
    # Nothing is left to do, and nothing is asked again.
    asked = one.api.requests["submit"]
    one.run()
    assert one.api.requests["submit"] == asked


def test_a_fallback_that_ends_too_ends_the_rows(batch: Callable[..., Batch]) -> None:
    ending = Ending("refused", after=100)
    one = batch(ending, FALLBACK)
    one.api.model_ends = lambda model: ending(DEFAULT_MODEL)
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 100, Outcome.MODEL_GONE: 400}
    assert one.api.requests["submit"] < 200


@pytest.mark.parametrize("how", ["refused", "fails"])
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_no_row_has_two_paid_generations(
    batch: Callable[..., Batch], how: str, seed: int
) -> None:
    rand = random.Random(seed)
    one = batch(Ending(how, after=40), FALLBACK, rows=120, latency=0.3, spread=0.5, seed=seed)
    one.again(max_in_flight=15)
    kills = 0
    while one.run(kill_at=one.clock + rand.uniform(0.05, 12)) is None:
        kills += 1
        assert kills < 200
    assert kills > 3
    assert max(one.api.paid.values()) == 1
    outcomes = one.outcomes()
    # A refusal that was lost with its process leaves a row of which nobody knows: it has no fallback.
    assert set(outcomes) <= {Outcome.LANDED, Outcome.UNKNOWN} and outcomes[Outcome.LANDED] >= 60
    assert how == "refused" or outcomes == {Outcome.LANDED: 120}


@pytest.mark.parametrize("how", ["refused", "fails"])
@pytest.mark.parametrize("late", [0.0, 0.4, 3.0, 7.0, 9.0, 12.0])
def test_two_triggers_at_once_pay_once(batch: Callable[..., Batch], how: str, late: float) -> None:
    one = batch(Ending(how, after=30), FALLBACK, rows=90, latency=0.3)
    one.run_beside(0.0, late)
    assert set(one.api.paid.values()) == {1}
    # (A row that one of them may have submitted, when the other hears that the model is gone, is left to people.)
    assert set(one.outcomes()) <= {Outcome.LANDED, Outcome.UNKNOWN} and one.outcomes()[Outcome.LANDED] >= 60


def test_a_lost_answer_gets_no_fallback(batch: Callable[..., Batch]) -> None:
    ending = Ending("refused", after=0)
    one = batch(ending, FALLBACK, rows=3)
    lost: set[str] = set()

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        if kind == "submit" and "prompt 1" in call.content.decode() and not lost:
            lost.add(call.headers["Idempotency-Key"])
            return errors.OutcomeUnknownError("the answer was lost")
        return None

    one.api.refuse = refuse
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 2, Outcome.UNKNOWN: 1}


# --- no channel ---------------------------------------------------------------------------------------------------


def test_no_channel_for_a_moment_costs_a_wait(batch: Callable[..., Batch]) -> None:
    ending = Ending("no_channel", after=5)
    one = batch(ending, rows=30)
    seen = one.api.model_ends

    def passing(model: str) -> str | None:
        return seen(model) if ending.asked[model] < 40 else None

    one.api.model_ends = passing
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 30}


@pytest.mark.parametrize(("listed", "outcome"), [((DEFAULT_MODEL,), Outcome.LEFT), ((OTHER,), Outcome.MODEL_GONE)])
@pytest.mark.parametrize("fallback", [None, OTHER])
def test_no_channel_for_long_leaves_the_rows_unless_the_model_is_not_listed(
    batch: Callable[..., Batch], listed: tuple[str, ...], outcome: Outcome, fallback: str | None
) -> None:
    one = batch(Ending("no_channel"), Rules(fallback_model=fallback), models=listed)
    ended = one.run()
    assert ended is not None and ended.stop is None
    if fallback and outcome is Outcome.MODEL_GONE:
        assert one.outcomes() == {Outcome.LANDED: ROWS} and made_by(one)[OTHER] == 300
    else:
        assert one.outcomes() == {Outcome.LANDED: 200, outcome: 300}
        assert ended.left == (300 if outcome is Outcome.LEFT else 0)
    assert one.api.posts.total() < 200 + 20 * 6 + (300 if fallback else 0)


def test_on_the_last_try_no_channel_is_enough_for_the_fallback(batch: Callable[..., Batch]) -> None:
    one = batch(Ending("no_channel"), Rules(fallback_model=OTHER, fallback_at_last=True), models=(DEFAULT_MODEL,))
    one.run()
    assert one.outcomes() == {Outcome.LANDED: ROWS} and made_by(one) == {DEFAULT_MODEL: 200, OTHER: 300}


# --- with other rules ---------------------------------------------------------------------------------------------


def test_a_stop_on_failure_holds_for_models_too(batch: Callable[..., Batch]) -> None:
    one = batch(Ending("refused"), Rules(stop_on_failure=True))
    ended = one.run()
    assert ended is not None and ended.stop is not None and ended.stop.final
    outcomes = one.outcomes()
    assert outcomes[Outcome.LANDED] == 200 and outcomes[Outcome.LEFT] > 200


def test_a_budget_is_held_to_with_the_fallback(batch: Callable[..., Batch]) -> None:
    one = batch(Ending("refused", after=10), Rules(fallback_model=OTHER, max_cost_usd=25 * PRICE), rows=60)
    ended = one.run()
    assert ended is not None and ended.stop is not None and ended.spent_usd <= 25 * PRICE + 0.001
    assert one.outcomes()[Outcome.LANDED] == 25
