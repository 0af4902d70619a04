"""What a batch has of a budget: one share of each day's or month's ledger, however many rows it has.

The journal says what each row costs, so the ledger needs one amount for all of them. What a row counts as depends on
its state in the journal alone (:func:`counts_as`), so the share can be computed anew at any time, by any process. While
the batch runs, its share is a few rows ahead of that (``engine/purse.py``).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.states import RowState, merged, state_of
from airflow_provider_apimart.generation.pricing.budget import Budget
from airflow_provider_apimart.generation.pricing.ledger import ledger_name, ledger_of
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE
from airflow_provider_apimart.generation.purchase.record import RecordState
from airflow_provider_apimart.storage.files import Target

log = logging.getLogger(__name__)

#: What is or may be paid for, as long as nobody says what it has cost.
OPEN = (RecordState.INTENT, RecordState.SUBMITTED, RecordState.LANDED)


def counts_as(state: RecordState, cost_usd: float | None, estimated_usd: float | None) -> Decimal:
    """Return what a row's generation counts as, in USD."""
    if cost_usd is not None:
        return Decimal(str(cost_usd))
    return Decimal(str(estimated_usd or 0)) if state in OPEN else Decimal(0)


def budget_of(plan: Plan) -> tuple[Budget, str] | None:
    """Return the budget that a plan is paid from, and what it is called; ``None`` without one."""
    kept = plan.index.rules.budget
    if kept is None:
        return None
    budget = Budget(**kept)
    return budget, ledger_name(budget, plan.index.identity.dag_id)


def share_key(plan: Plan) -> str:
    """Return what names a batch's share: its journal, which all tries and all plans of the task have in common."""
    return f"batch {plan.journal.uri}"


def about(plan: Plan) -> dict[str, Any]:
    """Return who has a share, for people who read the ledger."""
    return {**plan.index.identity.place, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def moment(seconds: float) -> datetime:
    """Return a time in unix seconds as a datetime."""
    return datetime.fromtimestamp(seconds, tz=UTC)


@dataclass
class Spent:
    """What a batch's journal says has been spent, and may have been: the sum of all generations of all rows.

    :param estimates: what a row is expected to cost, by slot, where the journal does not say it.
    """

    budget: Budget
    estimates: Mapping[str, float | None]
    _generations: dict[tuple[str, int, int], RowState] = field(default_factory=dict)
    _estimated: dict[tuple[str, int, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan) -> Spent | None:
        """Return an empty sum for a plan; ``None`` if it has no budget."""
        found = budget_of(plan)
        if found is None:
            return None
        return cls(found[0], dict(zip(plan.index.slots, plan.index.estimates, strict=True)))

    def reading(self, lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass the journal's lines on, and add them up."""
        for line in lines:
            self.add(line)
            yield line

    def add(self, line: Mapping[str, Any]) -> None:
        """Add one line, in any order."""
        fresh = state_of({name: value for name, value in line.items() if name not in ("landed", "note")})
        key = line["row"], fresh.epoch, fresh.number
        known = self._generations.get(key)
        self._generations[key] = fresh if known is None else merged(known, fresh)
        if "usd" in line:
            self._estimated[key] = line["usd"]

    def by_period(self) -> dict[str, Decimal]:
        """Return the sums in USD, by the name of the period."""
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for key, row in self._generations.items():
            # What another run has paid for is in that run's share.
            if not row.reused:
                period = self.budget.period_at(moment(row.intent_at or row.submitted_at or row.at)).name
                sums[period] += counts_as(row.state, row.cost_usd, self._estimated.get(key, self.estimates.get(key[0])))
        return dict(sums)


def settle(plan: Plan, spent: Spent, open_folder: Callable[[], Target]) -> None:
    """Tell the budget what a batch has really spent. Never raises for the ledger's sake: the rows are paid for.

    :param open_folder: opens the budget's folder.
    """
    found = budget_of(plan)
    if found is None:
        return
    now = datetime.now(UTC)
    # Where rows were reserved for and none was paid for.
    idle = {spent.budget.period_at(when).name: Decimal(0) for when in (now, now - KEY_LIFE)}
    try:
        ledger = ledger_of(*found, open_folder())
        for period, usd in {**idle, **spent.by_period()}.items():
            if not usd and not ledger.sums(period).lines:
                continue
            ledger.note_share(period, share_key(plan), usd, about(plan))
    except ApimartError as error:
        log.warning("The batch counts by its estimates: %s", error)
