"""The two ends of a batch that is paid from a budget: a look at what is left, and what was really spent."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from airflow_provider_apimart._compat import AirflowSkipException
from airflow_provider_apimart.client.errors import ApimartError, FieldProblem
from airflow_provider_apimart.generation.batch import shares
from airflow_provider_apimart.generation.batch.bill import Bill
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.manifest import Totals
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.generation.pricing.budget import Budget, amount, title
from airflow_provider_apimart.generation.pricing.ledger import ledger_name, ledger_of
from airflow_provider_apimart.generation.pricing.ledger_files import entry_of
from airflow_provider_apimart.hooks.storage.paths import target_of
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.budget import wait_for_reset

log = logging.getLogger(__name__)


def look(owner: str, plan: Plan, budget: Budget, bill: Bill, fallback_bill: Bill) -> None:
    """Log what the budget has left for a batch, and refuse a table that it cannot be compared with.

    :raises InvalidVeoArgument: if a price is not known; nothing was submitted.
    """
    unknown = {*bill.unknown, *fallback_bill.unknown}
    if unknown:
        allowed = (
            f"no price is known for {', '.join(sorted(unknown))}, so a budget cannot be kept; leave it out to go on"
        )
        arguments.refuse(owner, [FieldProblem("budget", float(budget.limit), allowed)])
    name = ledger_name(budget, plan.index.identity.dag_id)
    period = budget.period_at(datetime.now(UTC)).name
    try:
        # (On a local disk, this also makes the folder, by which the triggerer knows that it sees the same disk.)
        sums = ledger_of(budget, name, target_of(budget.folder)).opened(period)
    except ApimartError as error:
        # What is under way is brought home all the same.
        log.warning("No further row is paid for as long as this lasts: %s", error)
        return
    left = max(Decimal(0), budget.limit - sums.without(entry_of(shares.share_key(plan))).total)
    text = title(budget, name, period)
    log.info("%s has %s USD for this batch. Rows are paid for as long as it lasts.", text, amount(left))


def when_exhausted(task: Any, stop: Stop | None, totals: Totals, text: str) -> None:
    """Do what the budget says about a batch whose rows it has no room for. Return if the task is to fail.

    :param text: what the task fails with.
    :raises AirflowSkipException: for ``on_exhausted="skip"``, if nothing but the budget keeps the batch from its end.
    """
    if task.budget is None or stop is None or stop.kind is not StopKind.SHARED_BUDGET or stop.until is None:
        return
    # What is paid for and not landed cannot wait for a day: a retry lands it, and then comes here again.
    if totals.owed or totals.unchecked:
        return
    if task.budget.on_exhausted == "wait":
        wait_for_reset(task, shares.moment(stop.until), stop.text)
    if task.budget.on_exhausted == "skip" and not totals.failed:
        raise AirflowSkipException(text)


def read_and_settle(plan: Plan) -> Ledger:
    """Return what is known about the rows, and tell the budget, if there is one, what they have cost."""
    spent = shares.Spent.of(plan)
    ledger = read_ledger(plan, spent)
    if spent is not None:
        shares.settle(plan, spent, lambda: target_of(spent.budget.folder))
    return ledger
