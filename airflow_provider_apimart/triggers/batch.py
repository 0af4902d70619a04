"""The batch's engine, in Airflow's triggerer.

The kwargs hold the place of the plan and nothing else: rows, keys and outcomes are in storage. After a restart of the
triggerer the trigger runs again from the same kwargs, and the engine continues from the journal; every key is computed
again, so nothing is paid for twice (invariant 5). Storage and connections are opened in the one way that a trigger may,
and blocking work runs in the batch's own threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.waiting.polling import FIRST_EVENT_SECONDS
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.storage.paths import target_of
from airflow_provider_apimart.storage.files import Target, check_same_machine

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.batch.plan import Plan

EVENT_VERSION = 1


class VeoBatchTrigger(BaseTrigger):
    """Carries out a batch, and fires when every row has an outcome or nothing more may be paid for.

    The event is small, plain JSON: ``{"version", "reason": "ended" | "error", "plan_uri", "stop", "outcomes", "left",
    "spent_usd", "error"}``; what became of each row is in the journal.

    :param plan_uri: the folder of the plan, which the worker wrote.
    :param output_path: the folder that videos land in.
    :param apimart_conn_id: the connection that pays.
    :param rows: the number of rows in the plan, for people who look at the trigger.
    :param deadline: when the batch must end, in unix seconds; ``None`` for no limit. Absolute, and computed by the
        worker: a restart of the triggerer does not move it.
    """

    def __init__(
        self,
        *,
        plan_uri: str,
        output_path: str,
        apimart_conn_id: str = ApimartHook.default_conn_name,
        rows: int = 0,
        deadline: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plan_uri = plan_uri
        self.output_path = output_path
        self.apimart_conn_id = apimart_conn_id
        self.rows = rows
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores, in plain text: places and names."""
        # Left out where it is not set, so that a triggerer of an older version takes what it knows.
        deadline = {} if self.deadline is None else {"deadline": self.deadline}
        return (
            "airflow_provider_apimart.triggers.veo.VeoBatchTrigger",
            {
                "plan_uri": self.plan_uri,
                "output_path": self.output_path,
                "apimart_conn_id": self.apimart_conn_id,
                "rows": self.rows,
                **deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Carry out the batch."""
        started = time.monotonic()
        try:
            event = await self._work()
        except Exception as error:
            # A worker can explain better what a retry will do than a trigger that just fails.
            self.log.exception("The batch's engine failed; what it has paid for is in its journal.")
            event = {"version": EVENT_VERSION, "reason": "error", "error": f"{type(error).__name__}: {error}"}
        # Airflow's `dags test` keeps the event but drops the deferral's kwargs.
        event["plan_uri"] = self.plan_uri
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (time.monotonic() - started)))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _work(self) -> dict[str, Any]:
        from airflow_provider_apimart.generation.batch.engine.run import work_off
        from airflow_provider_apimart.generation.waiting.poller import here

        plan, output = await self._begin()
        # Other waits and batches of this connection share the client and the account's limit.
        async with here().join(self.apimart_conn_id, self._client) as shared:
            ending = await work_off(
                plan,
                writer="trigger",
                output=output,
                open_target=self._open,
                through=shared.account,
                log=self.log,
                deadline=self.deadline,
            )
        stop = None if ending.stop is None else {**asdict(ending.stop), "kind": str(ending.stop.kind)}
        return {
            "version": EVENT_VERSION,
            "reason": "ended",
            "stop": stop,
            "outcomes": ending.outcomes,
            "left": ending.left,
            "spent_usd": ending.spent_usd,
        }

    async def _begin(self) -> tuple[Plan, Target]:
        from airflow_provider_apimart.generation.batch.plan import read_plan

        try:
            plan = await asyncio.to_thread(read_plan, await self._open(self.plan_uri))
            output = await self._open(self.output_path)
            # If only state_path were shared, videos would land on the triggerer's own disk, where nobody looks.
            await asyncio.to_thread(check_same_machine, output, "the folder of output_path")
        except ApimartError as error:
            error.message = f"{error.message.rstrip('.')}. Nothing was submitted by this trigger"
            raise
        return plan, output

    async def _open(self, uri: str) -> Target:
        from asgiref.sync import sync_to_async

        # This looks up the storage's connection, which a trigger may only do in this way.
        return await sync_to_async(target_of)(uri)

    async def _client(self) -> AsyncApimartClient:
        # A new hook each time: the key may have been rotated.
        return await ApimartHook(self.apimart_conn_id).aget_conn()

    async def on_kill(self) -> None:
        """Log where the money is. Airflow 3.3 calls this when a user ends the task, and sometimes without one."""
        self.log.warning(
            "Airflow stopped this batch of %d rows. APIMart has no cancel: what is running there goes on and is billed "
            "when it completes. The next try, or a clear, goes on with it without paying again.",
            self.rows,
        )
