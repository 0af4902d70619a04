"""One run of the engine, from a plan in storage to its end: the same in the triggerer and in the worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_apimart.generation.batch.engine.engine import Ending, Engine
from airflow_provider_apimart.generation.batch.engine.purse import Purse
from airflow_provider_apimart.generation.batch.engine.worker_threads import WorkerThreads
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.shares import budget_of
from airflow_provider_apimart.generation.waiting.account import Account, OpenClient, RequestLane
from airflow_provider_apimart.generation.waiting.rate_limiter import RateLimiter
from airflow_provider_apimart.storage.files import Target


async def work_off(
    plan: Plan,
    *,
    writer: str,
    output: Target,
    open_target: Callable[[str], Awaitable[Target]],
    through: OpenClient | Account,
    log: logging.Logger | Any,
    deadline: float | None = None,
) -> Ending:
    """Carry out a plan.

    :param writer: names this process in the names of journal files.
    :param open_target: opens a storage location, in a way that is allowed in this process.
    :param through: the account that is shared within this process; or, if the batch has the process to itself, a
        function that looks the connection up and creates a client.
    :param deadline: when this run must end, in unix seconds. Generations that still run at APIMart are parked then.
    :raises ApimartError: if the journal cannot be read. Nothing has been submitted in that case.
    """
    workers = WorkerThreads(plan, output, open_target)
    # The user's limit for this batch. The account's limit applies as well.
    limit = plan.index.rules.requests_per_minute
    budget = budget_of(plan)
    own = None if limit is None else RateLimiter(limit)
    try:
        engine = Engine(
            plan,
            workers=workers,
            lane=through.lane(own) if isinstance(through, Account) else RequestLane.alone(through, own, time.monotonic),
            writer=JournalWriter(plan.journal, writer),
            log=log,
            now=time.time,
            deadline=deadline,
            purse=None if budget is None else Purse(plan, *budget, open_target=open_target, offload=workers.offload),
        )
        return await engine.run()
    finally:
        await workers.aclose()
