"""A batch that names a budget: what it pays for, what its manifest and its end say, and what the next try does."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch import bill
from airflow_provider_apimart.generation.pricing.ledger import Ledger, ledger_of
from airflow_provider_apimart.hooks.storage.paths import target_of
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.batch import tries as steps
from airflow_provider_apimart.operators.batch.end import BatchIncompleteError
from airflow_provider_apimart.operators.budget import Budget
from tests.operators.batches import PRICE, batch, first_event, lines, paid, prompts, run
from tests.operators.conftest import Tries
from tests.operators.single import make

pytestmark = pytest.mark.usefixtures("quick", "no_waiting")
COST = Decimal(str(PRICE))


@pytest.fixture(params=[True, False], ids=["triggerer", "worker"])
def deferrable(request: pytest.FixtureRequest) -> Iterator[bool]:
    yield request.param


def of_a_month(folder: Path, rows: float) -> Budget:
    """A budget with room for so many rows."""
    return Budget(round(rows * PRICE, 6), "month", str(folder / "budgets"))


def spent(budget: Budget) -> Decimal:
    ledger = ledger_of(budget, "a_dag", target_of(budget.folder))
    return ledger.sums(budget.period_at(datetime.now(UTC)).name).total


def manifest_of(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "out").glob("manifest-*.jsonl")
    return lines({"manifest": str(path)})


def test_it_pays_as_far_as_the_budget_goes_and_says_which_rows_it_left(
    emulator: Emulator, tries: Tries, tmp_path: Path, deferrable: bool
) -> None:
    budget = of_a_month(tmp_path, 3.5)
    with pytest.raises(AirflowFailException) as caught:
        run(batch(tmp_path, prompts(5), budget=budget, deferrable=deferrable, max_in_flight=2), tries)
    text = str(caught.value)
    for part in (
        "3 of 5 rows have their videos",
        r"Budget 'a_dag' \(0\.896 USD per month, .*has 0\.128 USD left",
        r"the next row costs about 0\.256 USD \(2 rows to be paid for need about 0\.512 USD\)",
        r"resets at .* 00:00 UTC\. To go on now, raise usd in the DAG's Budget to 1\.28 or more, then clear the task",
        "2 rows are left to do, for about 0.51 USD",
        "No try pays again for what was paid for",
    ):
        assert re.search(part, text), part
    told = manifest_of(tmp_path)
    assert [line["outcome"] for line in told].count("landed") == 3
    left = [line for line in told if line["outcome"] == "left"]
    assert len(left) == 2 and all("not paid for: Budget 'a_dag'" in line["error"] for line in left)
    assert sum(paid(emulator).values()) == 3 and spent(budget) == 3 * COST


def test_a_clear_with_a_higher_limit_goes_on_with_the_rest(
    emulator: Emulator, tries: Tries, tmp_path: Path, deferrable: bool
) -> None:
    options: dict[str, Any] = {"deferrable": deferrable, "max_in_flight": 2}
    with pytest.raises(AirflowFailException):
        run(batch(tmp_path, prompts(5), budget=of_a_month(tmp_path, 3), **options), tries)
    tries.clear()
    budget = of_a_month(tmp_path, 5)
    result = run(batch(tmp_path, prompts(5), budget=budget, **options), tries)
    assert (result["landed"], result["left"]) == (5, 0)
    assert set(paid(emulator).values()) == {1} and spent(budget) == 5 * COST


def test_a_batch_and_single_videos_share_it(emulator: Emulator, tmp_path: Path) -> None:
    budget = of_a_month(tmp_path, 4)
    first = make(tmp_path, task_id="first", budget=budget)
    first.execute(Tries().next(first))
    with pytest.raises(AirflowFailException, match="3 of 5 rows have their videos"):
        run(batch(tmp_path, prompts(5), budget=budget), Tries())
    last = make(tmp_path, task_id="last", budget=budget)
    with pytest.raises(AirflowFailException, match=r"has 0\.00 USD left"):
        last.execute(Tries().next(last))
    assert emulator.state()["paid"] == 4 and spent(budget) == 4 * COST


def test_it_tells_what_is_left_before_it_begins(
    emulator: Emulator, tries: Tries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run(batch(tmp_path, prompts(2), budget=of_a_month(tmp_path, 2)), tries)
    assert "has 0.512 USD for this batch. Rows are paid for as long as it lasts." in caplog.text


def test_rows_without_a_known_price_are_refused(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bill.Bill, "add", lambda self, request: self.unknown.update([request.model]))
    with pytest.raises((InvalidVeoArgument, AirflowFailException), match=r"budget=.*no price is known for veo3\.1"):
        run(batch(tmp_path, prompts(2), budget=of_a_month(tmp_path, 2)), tries)
    assert emulator.requests("submit") == []


def test_a_ledger_on_another_machine_pays_for_nothing(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer has another disk: its ledger would be empty, and count from 0."""
    budget = of_a_month(tmp_path, 2)
    operator = batch(tmp_path, prompts(2), budget=budget, deferrable=True)
    work = steps._work

    def elsewhere(*args: Any) -> Any:
        shutil.rmtree(budget.folder)
        return work(*args)

    monkeypatch.setattr(steps, "_work", elsewhere)
    with pytest.raises(BatchIncompleteError, match=r"the budget's ledger .* is not on this machine"):
        run(operator, tries)
    assert emulator.requests("submit") == []


def test_a_ledger_that_cannot_be_used_keeps_no_video_back(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("media", "status", status=404, times=-1)
    budget = of_a_month(tmp_path, 2)
    with pytest.raises(AirflowException, match="not landed"):
        run(batch(tmp_path, prompts(2), budget=budget), tries)
    emulator.clear_faults()

    def down(*args: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Ledger, "sums", down)
    result = run(batch(tmp_path, prompts(2), budget=budget), tries)
    assert result["landed"] == 2 and set(paid(emulator).values()) == {1}
    monkeypatch.undo()
    assert spent(budget) == 2 * COST


def test_a_dry_run_needs_no_budget(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    run(batch(tmp_path, prompts(2), budget=of_a_month(tmp_path, 1), dry_run=True), tries)
    assert not (tmp_path / "budgets").exists()


def test_a_budget_is_checked_when_the_dag_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"budget=20.*a Budget, such as"):
        batch(tmp_path, prompts(1), budget=20)


def test_skip_skips_a_batch_that_only_the_budget_keeps_from_its_end(
    emulator: Emulator, tmp_path: Path, deferrable: bool
) -> None:
    tries = Tries()
    budget = dataclasses.replace(of_a_month(tmp_path, 2), on_exhausted="skip")
    with pytest.raises(AirflowSkipException, match="2 of 3 rows have their videos"):
        run(batch(tmp_path, prompts(3), budget=budget, deferrable=deferrable), tries)
    assert [line["outcome"] for line in manifest_of(tmp_path)].count("landed") == 2


def test_wait_goes_on_with_the_rows_that_are_left(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = dataclasses.replace(of_a_month(tmp_path, 2), on_exhausted="wait")
    operator = batch(tmp_path, prompts(3), budget=budget, deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        run(operator, tries)
    assert deferral.value.method_name == "execute_after_reset"
    assert sum(paid(emulator).values()) == 2
    at, now = Budget.period_at, datetime.now(UTC)

    def a_month_on(self: Budget, moment: datetime) -> Any:
        return at(self, moment if moment < now else moment + timedelta(days=31))

    monkeypatch.setattr(Budget, "period_at", a_month_on)
    context: Any = tries.next(operator, store=False)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute_after_reset(context, event={"reason": "reset"})
    event = asyncio.run(first_event(deferral.value.trigger))
    assert operator.execute_complete(context, event=event, **(deferral.value.kwargs or {}))["landed"] == 3
    assert set(paid(emulator).values()) == {1}


def test_what_is_paid_for_and_not_landed_does_not_wait_for_a_day(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    emulator.fault("media", "status", status=404, times=-1)
    budget = dataclasses.replace(of_a_month(tmp_path, 2), on_exhausted="wait")
    with pytest.raises(BatchIncompleteError, match="the next try lands them"):
        run(batch(tmp_path, prompts(3), budget=budget, deferrable=True), tries)
