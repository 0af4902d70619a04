"""The wait for a budget's next day or month, in Airflow's triggerer. It asks nobody, and carries no secret."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apimart.generation.waiting.polling import FIRST_EVENT_SECONDS


class BudgetResetTrigger(BaseTrigger):
    """Fires when a budget's next day or month has begun. The event is ``{"reason": "reset"}``.

    :param moment: when that is, in unix seconds.
    """

    def __init__(self, *, moment: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores, in plain text."""
        return "airflow_provider_apimart.triggers.budget.BudgetResetTrigger", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait."""
        # (Airflow can fail a task whose deferral ends sooner. A task that comes too early, since a clock was set, asks
        # the old day or month again, and waits again.)
        await asyncio.sleep(max(FIRST_EVENT_SECONDS, self.moment - time.time()))
        yield TriggerEvent({"reason": "reset"})  # type: ignore[no-untyped-call]
