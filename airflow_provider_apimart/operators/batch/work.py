"""The middle of a batch: its rules, what is known of its rows, and the work itself where no triggerer does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.generation.batch import reuse
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.engine.run import work_off
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import STATE_FOLDER, Plan, Rules
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.storage.paths import target_of
from airflow_provider_apimart.operators import arguments, models
from airflow_provider_apimart.operators.arguments import DEFAULT_TIMEOUT
from airflow_provider_apimart.storage.files import Target

#: How many generations of one row may fail at APIMart per try before the row is given up.
GENERATIONS_PER_TRY = 3


def rules_of(task: Any, context: Mapping[str, Any]) -> Rules:
    """Return the rules by which a batch's task wants its rows to be worked on, for its plan."""
    limit = arguments.money_of(task.max_cost_usd)
    connection = ApimartHook(task.apimart_conn_id)
    fallback = None if arguments.is_unset(task.fallback_model) else task.fallback_model
    return Rules(
        max_in_flight=int(arguments.number_of(task.max_in_flight) or 1),
        requests_per_minute=arguments.number_of(task.requests_per_minute),
        stop_on_failure=task.on_row_failure == "stop",
        max_failed_share=arguments.number_of(task.max_failed_share) or 0.0,
        timeout_seconds=arguments.seconds_of(task.timeout) or DEFAULT_TIMEOUT.total_seconds(),
        poll_interval=arguments.seconds_of(task.poll_interval),
        on_clear=task.on_clear,
        on_unknown_submit=task.on_unknown_submit or connection.settings().on_unknown_submit,
        on_mismatch=task.on_mismatch,
        max_generations=GENERATIONS_PER_TRY * max(1, int(getattr(context["ti"], "try_number", 1) or 1)),
        max_cost_usd=None if limit is None else float(limit),
        fallback_model=fallback,
        fallback_at_last=fallback is not None and models.is_last_try(context),
        budget=None if task.budget is None else task.budget.as_json(),
    )


def known(task: Any, plan: Plan, root: Target) -> Ledger:
    """Return what is known about the rows, after checking their files again and adding what others have landed.

    :param root: the folder of the journals.
    """
    ledger = read_ledger(plan)
    writer = JournalWriter(plan.journal, "worker")
    try:
        lost = reuse.note_lost(plan, ledger, writer, target_of, time.time())
        if lost:
            task.log.warning("%d landed videos are not where they were; they are fetched again if they can be.", lost)
        anew = task.on_clear == "regenerate" and plan.index.identity.clear_epoch > 0
        if task.reuse == "always" and not anew:
            found = reuse.note_reused(plan, ledger, root.child(STATE_FOLDER), writer, target_of, time.time())
            task.log.info("%d rows were landed under %s before and are not paid for again.", found, root.uri)
    finally:
        writer.close()
    return ledger


def here(plan: Plan, output: Target, conn_id: str, log: Any, deadline: float | None) -> Stop | None:
    """Work through the rows in this process. Return why it stopped, unless every row has its outcome.

    :param deadline: when the task has to end, in unix seconds.
    """

    async def open_target(uri: str) -> Target:
        return target_of(uri)

    async def open_client() -> AsyncApimartClient:
        return AsyncApimartClient(ApimartHook(conn_id).settings())

    # This event loop serves only the batch, so a lookup may block it.
    work = work_off(
        plan,
        writer="worker",
        output=output,
        open_target=open_target,
        through=open_client,
        log=log,
        deadline=deadline,
    )
    return asyncio.run(work).stop
