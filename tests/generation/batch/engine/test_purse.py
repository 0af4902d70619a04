"""A batch and its budget, in virtual time: never more than the limit, every dollar counted once, and few requests."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.generation.batch import shares
from airflow_provider_apimart.generation.batch.engine import purse as purse_module
from airflow_provider_apimart.generation.batch.engine.error_verdicts import StopKind
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.pricing.budget import Budget, BudgetBusyError, BudgetUnavailableError
from airflow_provider_apimart.generation.pricing.ledger import Ledger, ledger_of
from tests.generation.batch.engine.simulated import EPOCH, PRICE, Api, Batch, local

COST = Decimal(str(PRICE))


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Poor(Batch):
    """A batch with a budget."""

    @property
    def budget(self) -> Budget:
        return Budget(**self.rules.budget or {})

    @property
    def ledger(self) -> Ledger:
        return ledger_of(self.budget, "ads", local(str(self.budget.folder)))

    def period(self, days: int = 0) -> str:
        return self.budget.period_at(shares.moment(EPOCH + self.clock) + timedelta(days=days)).name

    def whole(self) -> Decimal:
        """What the ledger counts now."""
        return self.ledger.sums(self.period()).total

    def settle(self) -> Decimal:
        """What the end of a try does, and what the ledger counts then."""
        plan = self.plan()
        spent = shares.Spent.of(plan)
        assert spent is not None
        read_ledger(plan, spent)
        shares.settle(plan, spent, lambda: local(str(self.budget.folder)))
        return self.whole()

    def may_spend(self, usd: float) -> None:
        """Change the limit, as a person does in the DAG."""
        self.again(budget={**(self.rules.budget or {}), "usd": str(usd)})


@pytest.fixture
def poor(tmp_path: Path) -> Callable[..., Poor]:
    def make(rows: int, usd: float, in_flight: int = 10, **api: Any) -> Poor:
        budget = Budget(usd, "day", str(tmp_path / "budgets"), "ads").as_json()
        rules = Rules(max_in_flight=in_flight, budget=budget)
        one = Poor(tmp_path / "batch", [f"prompt {number}" for number in range(rows)], Api(**api), rules)
        one.ledger.opened(one.period())
        return one

    return make


def test_rows_are_paid_for_as_long_as_there_is_room(poor: Callable[..., Poor]) -> None:
    one = poor(40, 20 * PRICE + 0.1)
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert ending.stop.kind is StopKind.SHARED_BUDGET and ending.stop.final and ending.left == 20
    text = ending.stop.text
    assert "Budget 'ads' (5.1 USD per day" in text and "has 0.10 USD left" in text
    assert "the next row costs about 0.25 USD (20 rows to be paid for need about 5.00 USD)" in text
    assert "raise usd in the DAG's Budget to 10.00 or more" in text
    assert one.outcomes() == {Outcome.LANDED: 20, Outcome.LEFT: 20}
    assert one.settle() == 20 * COST == one.whole()


def test_a_raised_limit_goes_on_and_pays_for_no_row_again(poor: Callable[..., Poor]) -> None:
    one = poor(40, 20 * PRICE)
    one.run()
    one.settle()
    one.may_spend(40 * PRICE)
    assert one.outcomes()[Outcome.LANDED] == 20
    ending = one.run()
    assert ending is not None and ending.stop is None
    assert one.outcomes() == {Outcome.LANDED: 40} and set(one.api.paid.values()) == {1}
    assert one.settle() == 40 * COST


def test_it_shares_with_others(poor: Callable[..., Poor]) -> None:
    one = poor(40, 20 * PRICE)
    one.ledger.reserve(one.period(), "a video", 5 * COST, one.budget.limit, {})
    ending = one.run()
    assert ending is not None and ending.left == 25
    assert one.settle() == one.budget.limit
    assert one.ledger.reserve(one.period(), "another", COST, one.budget.limit, {}) > one.budget.limit


def test_what_fails_uncharged_makes_room_for_others(poor: Callable[..., Poor]) -> None:
    one = poor(40, 20 * PRICE, outcome_of=lambda prompt, ordinal: "failed" if ordinal == 1 else "completed")
    ending = one.run()
    assert ending is not None
    assert sum(one.api.paid.values()) == 20
    assert one.settle() == 20 * COST


@pytest.mark.parametrize("outcome", ["rejected", "empty"])
def test_rows_without_a_video_count_as_what_they_cost(poor: Callable[..., Poor], outcome: str) -> None:
    one = poor(8, 100, outcome_of=lambda prompt, ordinal: outcome if int(prompt.split()[1]) < 3 else "completed")
    one.run()
    assert one.settle() == sum(one.api.paid.values()) * COST


def test_an_unknown_outcome_and_a_parked_row_count(poor: Callable[..., Poor]) -> None:
    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        lost = kind == "submit" and b"prompt 1" in call.content
        return errors.IdempotencyIndeterminateError("who knows", status=409) if lost else None

    one = poor(4, 100, job_seconds=5000, refuse=refuse)
    one.again(timeout_seconds=60.0)
    one.run()
    assert one.outcomes() == {Outcome.PARKED: 3, Outcome.UNKNOWN: 1}
    assert one.settle() == 4 * COST


def test_refused_rows_do_not_count(poor: Callable[..., Poor]) -> None:
    one = poor(4, 100, balance=0.0)
    one.run()
    assert one.settle() == 0


@pytest.mark.parametrize("seconds", [0.1, 3.0, 6.0, 11.0, 17.0])
def test_killed_at_any_time_it_counts_once(poor: Callable[..., Poor], seconds: float) -> None:
    one = poor(60, 30 * PRICE, outcome_of=lambda prompt, ordinal: "failed" if ordinal == 1 else "completed")
    for times in (1, 2):
        one.run(kill_at=one.clock + seconds * times)
        # Whatever is, or may be, paid for counts; and never more than the limit.
        assert sum(one.api.paid.values()) * COST <= one.whole() <= one.budget.limit
    ending = one.run()
    assert ending is not None
    assert sum(one.api.paid.values()) == 30 and set(one.api.paid.values()) == {1}
    assert one.settle() == 30 * COST


def test_two_engines_of_one_batch_have_one_share(poor: Callable[..., Poor]) -> None:
    """A triggerer that was taken for dead goes on beside its successor."""
    one = poor(60, 30 * PRICE)
    one.run_beside(0.0, 4.0)
    assert set(one.api.paid.values()) == {1}
    assert one.settle() == sum(one.api.paid.values()) * COST <= one.budget.limit


def test_many_rows_ask_few_times(poor: Callable[..., Poor], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str] = Counter()
    for name in ("sums", "_write", "_remove"):
        original = getattr(Ledger, name)

        def counting(*args: Any, name: str = name, original: Any = original) -> Any:
            asked[name] += 1
            return original(*args)

        monkeypatch.setattr(Ledger, name, counting)
    one = poor(1000, 900 * PRICE, in_flight=40, job_seconds=2)
    ending = one.run()
    assert ending is not None and ending.left == 100
    assert one.settle() == 900 * COST
    # Two listings, a write and a removal for each block of rows, and the ends of it.
    assert asked["_write"] <= 900 / purse_module.BLOCK + 5
    assert asked.total() <= 4 * 900 / purse_module.BLOCK + 20
    assert len(one.ledger.sums(one.period()).lines) == 1


def test_each_row_belongs_to_the_day_of_its_intent(poor: Callable[..., Poor]) -> None:
    one = poor(30, 20 * PRICE, in_flight=2, job_seconds=6 * 3600)
    one.again(timeout_seconds=9 * 3600.0, poll_interval=3600.0)
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 30}
    one.settle()
    plan = one.plan()
    spent = shares.Spent.of(plan)
    assert spent is not None
    read_ledger(plan, spent)
    by_day = spent.by_period()
    assert len(by_day) >= 3 and sum(by_day.values()) == 30 * COST
    for day, usd in by_day.items():
        assert one.ledger.sums(day).total == usd <= one.budget.limit


def test_rows_that_left_the_table_still_count(poor: Callable[..., Poor]) -> None:
    one = poor(10, 100)
    one.run()
    one.prompts = one.prompts[:4]
    assert one.settle() == 10 * COST


def test_a_clear_that_regenerates_counts_both(poor: Callable[..., Poor]) -> None:
    one = poor(10, 15 * PRICE)
    one.run()
    one.identity = type(one.identity)(one.identity.dag_id, one.identity.run_id, one.identity.task_id, clear_epoch=1)
    one.again(on_clear="regenerate")
    ending = one.run()
    assert ending is not None and ending.left == 5
    assert one.settle() == 15 * COST


def test_a_ledger_that_is_away_pays_for_nothing_and_brings_home_what_runs(
    poor: Callable[..., Poor], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = poor(40, 100)
    grow, asked = Ledger.grow, []

    def down(*args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        if len(asked) > 1:
            raise BudgetUnavailableError("the ledger is away")
        return grow(*args, **kwargs)

    monkeypatch.setattr(Ledger, "grow", down)
    monkeypatch.setattr(purse_module, "BLOCK", 5)
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert ending.stop.text == "the ledger is away" and not ending.stop.final
    assert one.outcomes() == {Outcome.LANDED: 20, Outcome.LEFT: 20}


def test_a_rush_is_waited_for(poor: Callable[..., Poor], monkeypatch: pytest.MonkeyPatch) -> None:
    one = poor(4, 100)
    grow, asked = Ledger.grow, []

    def busy(*args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        if len(asked) < purse_module.TRIES:
            raise BudgetBusyError("others are here")
        return grow(*args, **kwargs)

    monkeypatch.setattr(Ledger, "grow", busy)
    ending = one.run()
    assert ending is not None and ending.stop is None
    assert one.outcomes() == {Outcome.LANDED: 4}
