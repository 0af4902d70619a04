"""What a purchase tells its budget, and when the budget stops it: for each answer, each try and each clear."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge, InsufficientBalanceError
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.pricing.budget import Budget, BudgetExhaustedError, BudgetUnavailableError
from airflow_provider_apimart.generation.pricing.ledger import Ledger, ledger_of
from airflow_provider_apimart.generation.purchase import spending as spending_module
from airflow_provider_apimart.generation.purchase.decide import Action
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.kept import settle
from airflow_provider_apimart.generation.purchase.record import NoRecordStore, RecordState, RecordStore
from airflow_provider_apimart.generation.purchase.spending import Spending
from airflow_provider_apimart.storage.files import Target
from tests.generation.purchase.buying import HOME, ONCE, PRICE, REGENERATE, Store, bill, purchase

COST = Decimal(str(PRICE))


class Purse:
    """A budget of so much a day, its ledger, and tries that pay from it."""

    def __init__(self, folder: Path, usd: float = 1.0, fs: Any = None) -> None:
        self.folder = Target(fs or fsspec.filesystem("file"), str(folder), str(folder))
        self.budget = Budget(usd, "day", str(folder), "ads")

    @property
    def spending(self) -> Spending:
        return self.over(durable=True)

    def over(self, *, durable: bool) -> Spending:
        return Spending(
            self.budget, "ads", lambda: ledger_of(self.budget, "ads", self.folder), HOME.place, durable=durable
        )

    @property
    def spent(self) -> Decimal:
        return self.spending.ledger.sums(self.budget.period_at(datetime.now(UTC)).name).total

    def obtain(self, emulator: Emulator, store: RecordStore, **options: Any) -> Any:
        with purchase(emulator, store, **options) as one:
            one.spending = self.over(durable=store.durable)
            return one.obtain()

    def wait(self, emulator: Emulator, store: RecordStore, **options: Any) -> Action:
        with purchase(emulator, store, **options) as one:
            one.spending = self.spending
            record = one.obtain().record
            final = one.client.generation(record.generation_id or "")
            return settle(store, record, final, self.spending)[0].action


@pytest.fixture
def purse(tmp_path: Path) -> Purse:
    return Purse(tmp_path)


def test_the_estimate_is_reserved_and_the_cost_takes_its_place(emulator: Emulator, purse: Purse) -> None:
    store = Store()
    purse.obtain(emulator, store)
    assert purse.spent == COST
    purse.wait(emulator, store)
    assert purse.spent == COST
    sums = purse.spending.ledger.sums(purse.budget.period_at(datetime.now(UTC)).name)
    assert list(sums.by_entry("paid").values()) == [COST]


def test_refused_before_the_intent_with_all_that_a_person_needs(emulator: Emulator, tmp_path: Path) -> None:
    purse = Purse(tmp_path, usd=0.4)
    purse.wait(emulator, Store())
    store = Store()
    with pytest.raises(BudgetExhaustedError) as refusal:
        purse.obtain(emulator, store, identity=Identity("marketing", "manual__2", "video"))
    error = refusal.value
    assert error.terminal and error.charge is Charge.NO
    for part in ("0.144 USD left", "costs about 0.256 USD", "resets at", "00:00 UTC", "raise usd", "0.512 or more"):
        assert part in error.message
    assert store.saved == [] and bill(emulator) == (1, PRICE)
    assert purse.spent == COST


def test_no_later_try_and_no_clear_counts_it_again_or_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    store = Store()
    Purse(tmp_path).obtain(emulator, store)
    lower = Purse(tmp_path, usd=0.01)
    for epoch in range(3):
        assert lower.wait(emulator, store, identity=Identity("marketing", "manual__1", "video", clear_epoch=epoch))
    assert lower.spent == COST and bill(emulator) == (1, PRICE)


def test_a_clear_that_regenerates_is_paid_from_the_budget(emulator: Emulator, tmp_path: Path) -> None:
    store, again = Store(), Identity("marketing", "manual__1", "video", clear_epoch=1)
    Purse(tmp_path, usd=0.3).wait(emulator, store)
    with pytest.raises(BudgetExhaustedError):
        Purse(tmp_path, usd=0.3).obtain(emulator, store, identity=again, policy=REGENERATE)
    purse = Purse(tmp_path, usd=1)
    purse.wait(emulator, store, identity=again, policy=REGENERATE)
    assert purse.spent == 2 * COST and bill(emulator) == (2, round(2 * PRICE, 6))


@pytest.mark.parametrize("status", [400, 401, 402, 429])
def test_a_refused_request_gives_its_reservation_back(emulator: Emulator, purse: Purse, status: int) -> None:
    emulator.fault("submit", "status", status=status, times=-1)
    store = Store()
    with pytest.raises(ApimartError):
        purse.obtain(emulator, store, retry=ONCE)
    assert store.record.state is RecordState.REFUSED
    assert purse.spent == 0


def test_a_refusal_takes_nothing_back_that_another_try_has_paid_for(
    emulator: Emulator, purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zombie and its retry have the same key. One is refused, the other has got further."""
    store = Store()

    def submit(*args: Any, **kwargs: Any) -> Any:
        store.change(state=RecordState.SUBMITTED, generation_id="task_of_the_other")
        raise InsufficientBalanceError("top up", status=402)

    monkeypatch.setattr(ApimartClient, "submit", submit)
    with pytest.raises(InsufficientBalanceError):
        purse.obtain(emulator, store)
    assert purse.spent == COST


def test_without_records_a_refused_request_gives_its_reservation_back(emulator: Emulator, purse: Purse) -> None:
    emulator.fault("submit", "status", status=402, times=-1)
    with pytest.raises(ApimartError):
        purse.obtain(emulator, NoRecordStore("nowhere"), retry=ONCE)
    assert purse.spent == 0


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_unknown_outcome_counts_as_spent_and_the_resend_is_not_refused(
    emulator: Emulator, tmp_path: Path, status: int
) -> None:
    emulator.fault("submit", "status", status=status, times=1)
    purse, store = Purse(tmp_path, usd=0.3), Store()
    with pytest.raises(ApimartError):
        purse.obtain(emulator, store, retry=ONCE)
    assert purse.spent == COST and store.record.state is RecordState.INTENT
    lower = Purse(tmp_path, usd=0.01)
    assert lower.wait(emulator, store) is Action.LAND
    assert lower.spent == COST and bill(emulator) == (1, PRICE)


def test_a_resend_that_the_ledger_has_lost_is_counted_again(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("submit", "status", status=500, times=1)
    store = Store()
    with pytest.raises(ApimartError):
        Purse(tmp_path / "lost").obtain(emulator, store, retry=ONCE)
    found = Purse(tmp_path / "new", usd=0.01)
    found.obtain(emulator, store)
    assert found.spent == COST


def test_a_failed_generation_was_not_charged_and_the_next_number_pays(emulator: Emulator, tmp_path: Path) -> None:
    emulator.fault("submit", "task_fails", times=1)
    purse, store = Purse(tmp_path, usd=0.3), Store()
    assert purse.wait(emulator, store) is not Action.LAND
    assert purse.spent == 0
    assert purse.wait(emulator, store) is Action.LAND
    assert purse.spent == COST and store.record.number == 2


def test_a_failure_that_only_the_next_try_sees_is_given_back_first(emulator: Emulator, tmp_path: Path) -> None:
    """The try that waited died before it could tell the budget."""
    emulator.fault("submit", "task_fails", times=1)
    purse, store = Purse(tmp_path, usd=0.3), Store()
    purse.obtain(emulator, store)
    assert purse.spent == COST
    purse.obtain(emulator, store)
    assert store.record.number == 2 and purse.spent == COST


def test_a_price_that_is_not_known_is_refused(
    emulator: Emulator, purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unknown:
        source = "nobody's list"

        def estimate(self, request: Any) -> None:
            return None

    monkeypatch.setattr(spending_module, "price_list", lambda client: Unknown())
    store = Store()
    with pytest.raises(BudgetExhaustedError, match=r"price of .* is not known .*nobody's list"):
        purse.obtain(emulator, store)
    assert store.saved == [] and emulator.requests("submit") == []


def test_a_ledger_that_does_not_answer_pays_nothing_and_can_be_retried(
    emulator: Emulator, purse: Purse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: Ledger, period: str) -> Any:
        raise BudgetUnavailableError("the ledger is away")

    monkeypatch.setattr(Ledger, "sums", down)
    store = Store()
    with pytest.raises(BudgetUnavailableError) as found:
        purse.obtain(emulator, store)
    assert not found.value.terminal and found.value.charge is Charge.NO
    assert store.saved == [] and emulator.requests("submit") == []


def test_a_ledger_that_goes_away_later_keeps_no_video_back(
    emulator: Emulator, purse: Purse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    purse.obtain(emulator, store)

    def down(*args: Any) -> Any:
        raise BudgetUnavailableError("the ledger is away")

    monkeypatch.setattr(Ledger, "settle", down)
    with caplog.at_level(logging.WARNING):
        assert purse.wait(emulator, store) is Action.LAND
    assert "counts by its estimate: the ledger is away" in caplog.text
    assert purse.spent == COST


def test_an_empty_ledger_is_told_and_blocks_nothing(
    emulator: Emulator, purse: Purse, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        purse.obtain(emulator, Store())
    assert "is empty, so it counts from 0" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        purse.obtain(emulator, Store(), identity=Identity("marketing", "manual__2", "video"))
    assert "is empty" not in caplog.text


def test_without_records_midnight_does_not_refuse_what_is_paid(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the key outlives the try; the next one runs a day later by the budget's calendar."""
    purse = Purse(tmp_path, usd=0.3)
    purse.obtain(emulator, NoRecordStore("nowhere"))
    at = Budget.period_at

    def a_day_on(budget: Budget, moment: datetime) -> Any:
        return at(budget, moment + timedelta(days=1))

    monkeypatch.setattr(Budget, "period_at", a_day_on)
    monkeypatch.setattr(spending_module, "KEY_LIFE", timedelta(days=1))
    purse.obtain(emulator, NoRecordStore("nowhere"))
    assert bill(emulator) == (1, PRICE)
    assert purse.spent == 0  # yesterday's, by that calendar


class Died(BaseException):
    """The process has died."""


POINTS = ("after reserve", "before intent", "after intent", "before POST", "after POST", "after id", "before settle")


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_each_line_counts_once_and_pays_once(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    purse, store = Purse(tmp_path, usd=0.3), Store()
    wait_for_death(monkeypatch, store, point)
    with pytest.raises(Died):
        purse.wait(emulator, store)
    monkeypatch.undo()
    store.on_save = lambda record: None
    # Whatever is open counts, so nothing else takes its room meanwhile.
    assert purse.spent == COST
    with pytest.raises(BudgetExhaustedError):
        purse.obtain(emulator, Store(), identity=Identity("marketing", "manual__other", "video"))
    assert purse.wait(emulator, store) is Action.LAND
    assert purse.spent == COST and bill(emulator) == (1, PRICE)


def wait_for_death(monkeypatch: pytest.MonkeyPatch, store: Store, point: str) -> None:
    """Let the process die at a line."""

    def dying(original: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if after:
                original(*args, **kwargs)
            raise Died

        return call

    when, what = point.split()
    if what in ("intent", "id"):
        state = RecordState.INTENT if what == "intent" else RecordState.SUBMITTED
        save = Store.save

        def dying_save(self: Store, record: Any) -> None:
            if record.state is state and when == "before":
                raise Died
            save(self, record)
            if record.state is state:
                raise Died

        monkeypatch.setattr(Store, "save", dying_save)
        return
    owner, name = {
        "reserve": (Ledger, "reserve"),
        "POST": (ApimartClient, "submit"),
        "settle": (Ledger, "settle"),
    }[what]
    monkeypatch.setattr(owner, name, dying(getattr(owner, name), after=when == "after"))
