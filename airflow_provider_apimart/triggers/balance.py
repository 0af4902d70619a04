"""The wait for money, in Airflow's triggerer. It only asks, and carries no secret; the deadline is Airflow's own
trigger timeout, which is absolute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError, InsufficientBalanceError
from airflow_provider_apimart.client.models import Balance
from airflow_provider_apimart.client.protocol import Call
from airflow_provider_apimart.generation.pricing.funds import Funds, funds_refused, hopeless_text, is_hopeless
from airflow_provider_apimart.generation.waiting.account import RequestLane
from airflow_provider_apimart.generation.waiting.poller import here
from airflow_provider_apimart.generation.waiting.polling import FIRST_EVENT_SECONDS
from airflow_provider_apimart.hooks.apimart import ApimartHook


class ApimartBalanceTrigger(BaseTrigger):
    """Fires when account and key hold an amount, or when asking again is useless.

    The event is ``{"reason": "enough" | "hopeless", "funds": {"account_usd", "key_usd"} | None, "message"}``.

    :param min_usd: the amount, as text, so that no cent is lost.
    :param poll_interval: seconds between two checks.
    :param apimart_conn_id: the connection to ask with.
    """

    def __init__(
        self, *, min_usd: str, poll_interval: float = 60.0, apimart_conn_id: str = ApimartHook.default_conn_name
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.min_usd = min_usd
        self.poll_interval = poll_interval
        self.apimart_conn_id = apimart_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores, in plain text."""
        return (
            "airflow_provider_apimart.triggers.balance.ApimartBalanceTrigger",
            {
                "min_usd": self.min_usd,
                "poll_interval": self.poll_interval,
                "apimart_conn_id": self.apimart_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Check until there is enough."""
        started, event = time.monotonic(), None
        # With the client and rate limiter that all waits of this connection share.
        async with here().join(self.apimart_conn_id, self._client) as shared:
            lane = shared.account.lane()
            try:
                while event is None:
                    # The worker has checked just now.
                    await asyncio.sleep(max(1.0, self.poll_interval))
                    event = await self._ask(lane)
            finally:
                await lane.aclose()
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (time.monotonic() - started)))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _client(self) -> AsyncApimartClient:
        # A new hook each time: the connection may have been edited.
        return await ApimartHook(self.apimart_conn_id).aget_conn()

    async def _ask(self, lane: RequestLane) -> dict[str, Any] | None:
        needed, seen = Decimal(self.min_usd), lane.account.changes
        try:
            account = await _ask(lane, protocol.account_balance())
            funds = Funds(account, await _ask(lane, protocol.key_balance()))
        except InsufficientBalanceError as error:
            funds = funds_refused(error)
        except Exception as error:
            # (A cancellation is not an ``Exception`` and passes.)
            if isinstance(error, ApimartError) and is_hopeless(error):
                if await lane.look_again(seen):
                    # The key was rotated during the wait.
                    return None
                return {"reason": "hopeless", "funds": None, "message": hopeless_text(error)}
            self.log.warning("Could not read the balance (%s); retrying.", error)
            return None
        self.log.info("%s", funds.told(needed))
        return {"reason": "enough", "funds": funds.result(), "message": ""} if funds.cover(needed) else None


async def _ask(lane: RequestLane, call: Call[Balance]) -> Balance:
    await lane.admit()
    return await lane.send(lambda settings: call)
