"""``max_cost_usd`` and ``budget``: checked before a new generation is paid for, never for one that is paid for."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_apimart._compat import AirflowSkipException
from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.generation.pricing.budget import (
    Budget,
    BudgetExhaustedError,
    amount,
    budget_problem,
    refusal,
    title,
)
from airflow_provider_apimart.operators import arguments

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.client.request import VeoRequest
    from airflow_provider_apimart.generation.pricing.ledger import Ledger
    from airflow_provider_apimart.generation.purchase.identity import Identity
    from airflow_provider_apimart.generation.purchase.record import RecordStore
    from airflow_provider_apimart.generation.purchase.spending import Spending

__all__ = ["Budget", "BudgetExhaustedError"]

log = logging.getLogger(__name__)

#: Tasks that wait for a reset ask again within this time after it.
SPREAD_SECONDS = 60.0


def approve(owner: str, request: VeoRequest, limit: Decimal, client: ApimartClient) -> None:
    """Refuse a request that costs more than ``limit``, or whose price is not known.

    :raises InvalidVeoArgument: with the estimate in its text.
    """
    from airflow_provider_apimart.generation.pricing.balance import price_list

    prices = price_list(client)
    price = prices.estimate(request)
    if price is None:
        allowed = (
            f"the price of {request.model} is not known for this request ({prices.source}), so it cannot be compared; "
            "leave it out to go on"
        )
        arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
    elif price.usd > limit:
        allowed = f"this request ({request.model}) costs about {price}"
        arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
    log.info("This request (%s) costs about %s; max_cost_usd is %s.", request.model, price, limit)


def budget_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with a ``budget`` argument."""
    problem = budget_problem(value)
    return [] if problem is None else [FieldProblem(name, value, problem)]


def wait_problems(name: str, value: Any, deferrable: Any) -> list[FieldProblem]:
    """Return whether a budget asks a task to wait that does not wait in the triggerer."""
    if not isinstance(value, Budget) or value.on_exhausted != "wait" or deferrable is not False:
        return []
    return [FieldProblem(name, value, 'on_exhausted="wait" needs deferrable=True: the wait is in the triggerer')]


def check_together(budget: Budget, identity: Identity, usd: Decimal | None, what: str) -> None:
    """Refuse what several tasks will pay if the budget has no room for all of it. It reserves nothing.

    What has fitted once is not compared again: it may be paid for, and after a clear it counts in the ledger already.

    :param usd: what it costs together; ``None``: a price is not known.
    :param what: what it is, for the message.
    :raises BudgetExhaustedError: if it does not fit.
    :raises BudgetUnavailableError: if the ledger cannot be used.
    """
    from airflow_provider_apimart.generation.pricing.ledger import ledger_name, ledger_of
    from airflow_provider_apimart.hooks.storage.paths import target_of

    name = ledger_name(budget, identity.dag_id)
    ledger = ledger_of(budget, name, target_of(budget.folder))
    key = f"plan {identity.slug}"
    if ledger.has_passed(key):
        return
    period = budget.period_at(datetime.now(UTC))
    if usd is None:
        raise BudgetExhaustedError(
            f"{title(budget, name, period.name)} cannot be kept: a price of {what} is not known. Leave budget out, or "
            "ask for something with a known price"
        )
    spent = ledger.opened(period.name).total
    if spent + usd > budget.limit:
        cost = f"{what} together cost about {amount(usd)} USD"
        raise refusal(budget, name, period, left=budget.limit - spent, needed=spent + usd, cost=usd, what=cost)
    ledger.note_passed(key, identity.place)
    log.info("%s has room for %s, about %s USD.", title(budget, name, period.name), what, amount(usd))


def when_exhausted(task: Any, error: BudgetExhaustedError) -> None:
    """Do what the budget says about a task for which it has no room. Return if the task is to fail.

    :param task: has ``budget`` and ``execute_after_reset``.
    :raises AirflowSkipException: for ``on_exhausted="skip"``.
    """
    if task.budget is None or error.resets_at is None:
        return
    if task.budget.on_exhausted == "skip":
        raise AirflowSkipException(f"{error.message}. Nothing was submitted")
    if task.budget.on_exhausted == "wait":
        wait_for_reset(task, error.resets_at, error.message)


def wait_for_reset(task: Any, moment: datetime, why: str) -> NoReturn:
    """Defer a task until its budget resets, and a little longer, so that not all tasks come at once."""
    from airflow_provider_apimart.triggers.budget import BudgetResetTrigger

    at = moment.timestamp() + random.uniform(0, SPREAD_SECONDS)  # noqa: S311
    task.log.warning("%s. Nothing was submitted. This task waits for the reset, and asks again then.", why)
    task.defer(trigger=BudgetResetTrigger(moment=at), method_name="execute_after_reset")
    raise AssertionError("a deferral ends the method")


def spending_of(budget: Budget | None, identity: Identity, store: RecordStore) -> Spending | None:
    """Return the budget that a task pays from. Its folder is opened when it is needed.

    :param store: keeps the records of the task.
    """
    if budget is None:
        return None
    # Loaded only by who has one.
    from airflow_provider_apimart.generation.pricing.ledger import ledger_name, ledger_of
    from airflow_provider_apimart.generation.purchase.spending import Spending
    from airflow_provider_apimart.hooks.storage.paths import target_of

    name = ledger_name(budget, identity.dag_id)

    def open_ledger() -> Ledger:
        return ledger_of(budget, name, target_of(budget.folder))

    return Spending(budget, name, open_ledger, identity.place, durable=store.durable)
