"""The part of a budget that a running batch may spend: asked for in blocks, so that 10,000 rows ask 200 times.

The share in the budget's ledger is always at least what the rows count as that are paid for, or about to be
(:func:`.shares.counts_as`). It grows before the intents of further rows are written. What a crash leaves is a share
that is a block too large, at most; the end of the next try sets it to what was spent.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.batch import shares
from airflow_provider_apimart.generation.batch.engine.active_rows import Active
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.pricing.budget import Budget, BudgetBusyError, Period, amount, refusal
from airflow_provider_apimart.generation.pricing.ledger import Ledger, ledger_of
from airflow_provider_apimart.storage.files import Target, check_same_machine

#: How many rows are asked for at once.
BLOCK = 50
#: How often a ledger that cannot be used is asked again before submissions stop, and after how many seconds.
TRIES, WAIT_SECONDS = 4, 5.0


class Purse:
    """The budget of one run of the engine.

    :param open_target: opens a storage location, in a way that is allowed in this process.
    :param offload: runs something short off the event loop.
    """

    def __init__(
        self,
        plan: Plan,
        budget: Budget,
        name: str,
        *,
        open_target: Callable[[str], Awaitable[Target]],
        offload: Callable[..., Awaitable[Any]],
    ) -> None:
        self.budget = budget
        self.name = name
        self.spent: defaultdict[str, Decimal] = defaultdict(Decimal)
        #: Why there is no room for the next row; ``None`` while there is, or may be.
        self.stop: Stop | None = None
        self._plan = plan
        self._open_target = open_target
        self._offload = offload
        self._ledger: Ledger | None = None
        self._period: Period | None = None
        self._held = Decimal(0)
        self._is_full = False
        self._failures = 0
        self._again_at = -math.inf

    # --- what rows count as ------------------------------------------------------------------------------------------

    def begin(self, spent: shares.Spent) -> None:
        """Start from what the journal says."""
        self.spent.update(spent.by_period())

    def adopt(self, active: Active) -> None:
        """Take over a row that the journal has counted."""
        active.period = self.budget.period_at(active.record.intent_at).name
        active.counted = _worth(active)

    def see(self, active: Active) -> None:
        """Count a row as what it is now."""
        active.period = active.period or self.budget.period_at(active.record.intent_at).name
        worth = _worth(active)
        self.spent[active.period] += worth - active.counted
        active.counted = worth

    # --- what more may be spent --------------------------------------------------------------------------------------

    async def admit(
        self, estimates: Sequence[float], ahead: Callable[[], Sequence[float]], now: float, *, idle: bool
    ) -> int:
        """Return how many of the next rows may be paid for. If none may, :attr:`stop` says why.

        :param estimates: what they are expected to cost.
        :param ahead: what all rows after them are expected to cost.
        :param idle: nothing is running that might turn out cheaper than expected.
        """
        period = self.budget.period_at(shares.moment(now))
        if self._period is None or period != self._period:
            self._period, self._held, self._is_full, self._again_at = period, Decimal(0), False, -math.inf
        fitting = self._fitting(estimates)
        if fitting == len(estimates) or now < self._again_at or (self._is_full and (fitting or not idle)):
            return fitting
        costs = [*map(_exact, estimates)]
        rest = [*map(_exact, ahead())]
        try:
            await self._grow(costs, rest)
        except ApimartError as error:
            self._failures += 1
            # While others reserve at the same moment, the ledger has waited already.
            self._again_at = now if isinstance(error, BudgetBusyError) else now + WAIT_SECONDS
            self.stop = Stop(StopKind.SHARED_BUDGET, error.message, error.terminal) if self._gives_up(error) else None
            return self._fitting(estimates)
        self._failures = 0
        return self._fitting(estimates)

    def _gives_up(self, error: ApimartError) -> bool:
        return error.terminal or self._failures >= TRIES

    async def _grow(self, costs: Sequence[Decimal], rest: Sequence[Decimal]) -> None:
        if self._period is None:
            raise AssertionError("a share belongs to a period")
        spent = self.spent[self._period.name]
        block = sum(costs, Decimal(0)) + sum(rest[: max(0, BLOCK - len(costs))], Decimal(0))
        ledger = await self._opened()
        share, whole = await self._offload(self._ask, ledger, self._period.name, spent + costs[0], spent + block)
        self._is_full = share is None or share < spent + block
        if share is not None:
            self._held, self.stop = share, None
            return
        all_rows, count = sum([*costs, *rest], Decimal(0)), len(costs) + len(rest)
        needed = f"{count:,} rows to be paid for need about {amount(all_rows)} USD"
        error = refusal(
            self.budget,
            self.name,
            self._period,
            left=self.budget.limit - (whole - costs[0]),
            needed=whole - costs[0] + all_rows,
            cost=costs[0],
            what=f"the next row costs about {amount(costs[0])} USD ({needed})",
        )
        until = None if error.resets_at is None else error.resets_at.timestamp()
        self.stop = Stop(StopKind.SHARED_BUDGET, error.message, True, until)

    def _ask(self, ledger: Ledger, period: str, least: Decimal, most: Decimal) -> tuple[Decimal | None, Decimal]:
        key, who = shares.share_key(self._plan), shares.about(self._plan)
        return ledger.grow(period, key, least=least, most=most, limit=self.budget.limit, about=who)

    def _fitting(self, estimates: Sequence[float]) -> int:
        room = Decimal(0) if self._period is None else self._held - self.spent[self._period.name]
        for count, usd in enumerate(map(_exact, estimates)):
            room -= usd
            if room < 0:
                return count
        return len(estimates)

    async def _opened(self) -> Ledger:
        if self._ledger is None:
            ledger = ledger_of(self.budget, self.name, await self._open_target(str(self.budget.folder)))
            # On another machine's disk it would be empty, and count from 0.
            await self._offload(check_same_machine, ledger.home, "the budget's ledger")
            self._ledger = ledger
        return self._ledger


def _worth(active: Active) -> Decimal:
    return shares.counts_as(active.record.state, active.record.cost_usd, active.row.estimated_usd)


def _exact(usd: float) -> Decimal:
    return Decimal(str(usd))
