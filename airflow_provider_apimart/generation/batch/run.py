"""One run of the engine, from a plan in storage to its ending: the same in the triggerer and in the worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_apimart.generation.batch.crew import Crew
from airflow_provider_apimart.generation.batch.engine import Ending, Engine
from airflow_provider_apimart.generation.batch.gate import Gate
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.wire import Sender, Wire
from airflow_provider_apimart.generation.storage import Target


async def work_off(
    plan: Plan,
    *,
    writer: str,
    output: Target,
    open_target: Callable[[str], Awaitable[Target]],
    open_client: Callable[[], Awaitable[Sender]],
    log: logging.Logger | Any,
) -> Ending:
    """Work a plan off.

    :param writer: who does it, as the names of journal files say it.
    :param open_target: opens a place in some storage, in a way that is allowed where this runs.
    :param open_client: looks the connection up and makes a client.
    :raises ApimartError: where the journal cannot be read; nothing was submitted then.
    """
    crew = Crew(plan, output, open_target)
    try:
        engine = Engine(
            plan,
            hands=crew,
            wire=Wire(open_client, Gate(plan.index.rules.requests_per_minute), time.time),
            writer=JournalWriter(plan.journal, writer),
            log=log,
            now=time.time,
        )
        return await engine.run()
    finally:
        await crew.aclose()
