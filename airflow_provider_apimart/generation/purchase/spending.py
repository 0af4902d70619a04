"""Asks a budget before a generation is paid for, and tells it afterwards what became of the money.

The order, and what a crash between two lines leaves behind:

1. The estimate is reserved. *Crash:* it counts as spent, and the next try, which has the same key, goes on with it.
2. The intent is saved, the paid request is sent, the id is saved (:mod:`.purchase`). *Crash:* what is sent again under
   the same key finds the same reservation, and is never refused: it may be paid for already.
3. APIMart's final word: what it charged replaces the estimate. *Crash:* the estimate stands until the next try.

Only what was certainly not charged is given back: a request that was refused before anything was done, or a generation
that APIMart reports as failed without a cost. An unknown outcome counts as spent.

A payment belongs to the period of its intent. Nothing here keeps a paid video back: once the intent is saved, a ledger
that does not answer is a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.generation.pricing.budget import Budget, BudgetExhaustedError, amount, refusal, title
from airflow_provider_apimart.generation.pricing.ledger import Ledger
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE
from airflow_provider_apimart.generation.purchase.record import Record, RecordState

log = logging.getLogger(__name__)

NOT_MADE = (RecordState.REFUSED, RecordState.FAILED, RecordState.REJECTED, RecordState.MODEL_GONE)


class Spending:
    """A task's budget.

    :param name: what the budget is called.
    :param open_ledger: opens its ledger. Called when the ledger is needed.
    :param place: who asks: dag, run, task and map index, for people who read the ledger.
    :param durable: whether records outlive a try. Where none does, a request that looks new may have been paid for in
        the period before, and the record of that is lost.
    """

    def __init__(
        self,
        budget: Budget,
        name: str,
        open_ledger: Callable[[], Ledger],
        place: Mapping[str, str | int],
        *,
        durable: bool = True,
    ) -> None:
        self.budget = budget
        self.name = name
        self.place = place
        self.durable = durable
        self._open = open_ledger

    @cached_property
    def ledger(self) -> Ledger:
        """The budget's ledger."""
        return self._open()

    def reserve(self, client: ApimartClient, request: VeoRequest, key: str, at: datetime) -> None:
        """Reserve what a new generation is expected to cost.

        :param at: the moment of the intent.
        :raises BudgetExhaustedError: if the budget has no room for it, or its price is not known.
        :raises BudgetBusyError: if too many reserve at the same moment.
        :raises BudgetUnavailableError: if the ledger cannot be used.
        """
        prices = price_list(client)
        price = prices.estimate(request)
        period, limit = self.budget.period_at(at), self.budget.limit
        if self._earlier(at, key) is not None:
            log.info("%s counts this request already.", title(self.budget, self.name, period.name))
            return
        if price is None:
            raise BudgetExhaustedError(
                f"{title(self.budget, self.name, period.name)} cannot be kept: the price of {request.model} is not "
                f"known for this request ({prices.source}). Leave budget out for this task, or ask for something with "
                "a known price"
            )
        spent = self.ledger.reserve(period.name, key, price.usd, limit, self._about(request.model))
        if spent > limit:
            what = f"this request ({request.model}) costs about {price}"
            left = limit - (spent - price.usd)
            raise refusal(self.budget, self.name, period, left=left, needed=spent, cost=price.usd, what=what)
        log.info(
            "%s: %s USD spent or reserved, this request (about %s) included.",
            title(self.budget, self.name, period.name),
            amount(spent),
            price,
        )

    def note_sent(self, client: ApimartClient, request: VeoRequest, record: Record) -> None:
        """Count a request that is sent again, unless it counts already. It is never refused for its cost."""
        try:
            period = self._period(record)
            if self.ledger.holds(period, record.idempotency_key):
                return
            price = price_list(client).estimate(request)
            if price is not None:
                self.ledger.reserve(period, record.idempotency_key, price.usd, None, self._about(request.model))
        except ApimartError as error:
            log.warning("It may be paid for already, so it is sent again, although it could not be counted: %s", error)

    def release(self, record: Record) -> None:
        """Give back what is reserved for a generation that was certainly not paid for."""
        try:
            self.ledger.release(self._period(record), record.idempotency_key)
        except ApimartError as error:
            log.warning("What was reserved and not paid still counts as spent: %s", error)

    def settle(self, record: Record) -> None:
        """Tell the budget what a generation that has ended has cost."""
        if record.state in NOT_MADE and not record.cost_usd:
            self.release(record)
            return
        if record.cost_usd is None:
            return
        about = {**self._about(record.model), "generation_id": record.generation_id, "cost_usd": record.cost_usd}
        try:
            cost = Decimal(str(record.cost_usd))
            self.ledger.settle(self._period(record), record.idempotency_key, cost, about)
        except ApimartError as error:
            log.warning("Generation %s counts by its estimate: %s", record.generation_id, error)

    def _period(self, record: Record) -> str:
        earlier = self._earlier(record.intent_at, record.idempotency_key)
        return self.budget.period_at(record.intent_at).name if earlier is None else earlier

    def _earlier(self, at: datetime, key: str) -> str | None:
        """Return the period before, if that counts a key for which no record was kept."""
        period, before = self.budget.period_at(at), self.budget.period_at(at - KEY_LIFE)
        lost = not self.durable and before != period and self.ledger.holds(before.name, key)
        return before.name if lost else None

    def _about(self, model: str) -> dict[str, Any]:
        return {**self.place, "model": model, "at": datetime.now(UTC).isoformat(timespec="seconds")}
