"""One run of the engine, from a plan in storage to its ending: the same in the triggerer and in the worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_apimart.generation.account import Account, OpenClient, Wire
from airflow_provider_apimart.generation.batch.crew import Crew
from airflow_provider_apimart.generation.batch.engine import Ending, Engine
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.gate import Gate
from airflow_provider_apimart.generation.storage import Target


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
    """Work a plan off.

    :param writer: who does it, as the names of journal files say it.
    :param open_target: opens a place in some storage, in a way that is allowed where this runs.
    :param through: the account that others here use, too; or what looks the connection up and makes a client, for a
        process that is the batch's alone.
    :param deadline: when this run has to end, in unix seconds; what runs at APIMart is parked then.
    :raises ApimartError: where the journal cannot be read; nothing was submitted then.
    """
    crew = Crew(plan, output, open_target)
    # What the user allows this batch; what the account allows comes on top.
    limit = plan.index.rules.requests_per_minute
    own = None if limit is None else Gate(limit)
    try:
        engine = Engine(
            plan,
            hands=crew,
            wire=through.wire(own) if isinstance(through, Account) else Wire.alone(through, own, time.monotonic),
            writer=JournalWriter(plan.journal, writer),
            log=log,
            now=time.time,
            deadline=deadline,
        )
        return await engine.run()
    finally:
        await crew.aclose()
