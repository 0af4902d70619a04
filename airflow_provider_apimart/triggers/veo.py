"""The wait for one generation, in Airflow's triggerer.

A trigger only polls: it submits nothing, so a restart costs nothing (invariant 5). It carries no secret: the key is
looked up when it runs, once for all triggers of a connection, which share one poller
(``generation/waiting/poller.py``). No error ends the wait, only APIMart's final word or the deadline that the worker
computed (invariant 4). The first event comes no sooner than 12 s after the deferral (invariant 10).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.generation.purchase.report import abandoned_text
from airflow_provider_apimart.generation.waiting.poller import here
from airflow_provider_apimart.generation.waiting.polling import FIRST_EVENT_SECONDS, PollingWait, Step, spread_of
from airflow_provider_apimart.hooks.apimart import ApimartHook

EVENT_VERSION = 1


class VeoGenerationTrigger(BaseTrigger):
    """Fires when a generation is finished, or when its deadline has passed.

    The event is plain JSON: ``{"version", "generation_id", "reason": "finished" | "deadline", "generation", "failures",
    "last_word"}``. ``generation`` is APIMart's final word (:class:`~airflow_provider_apimart.client.models.Generation`)
    or ``None``; ``last_word`` is what was unusual about its last answer, or empty.

    :param generation_id: the generation to poll.
    :param submitted_at: unix seconds of the submission.
    :param deadline: unix seconds; absolute, so that a restart of the triggerer does not move it.
    :param median_seconds: the usual duration of such a job.
    :param poll_interval: seconds between polls; ``None`` adapts.
    :param apimart_conn_id: the connection to poll with.
    :param kind: the kind that its duration is learnt with (:func:`.schedule.kind_of`).
    """

    def __init__(
        self,
        *,
        generation_id: str,
        submitted_at: float,
        deadline: float,
        median_seconds: float = 75.0,
        poll_interval: float | None = None,
        apimart_conn_id: str = ApimartHook.default_conn_name,
        kind: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generation_id = generation_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.median_seconds = median_seconds
        self.poll_interval = poll_interval
        self.apimart_conn_id = apimart_conn_id
        self.kind = kind

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores, in plain text: ids, times and names."""
        # Left out if not set, so that a triggerer with an older version accepts the kwargs.
        kind = {} if self.kind is None else {"kind": self.kind}
        return (
            "airflow_provider_apimart.triggers.veo.VeoGenerationTrigger",
            {
                "generation_id": self.generation_id,
                "submitted_at": self.submitted_at,
                "deadline": self.deadline,
                "median_seconds": self.median_seconds,
                "poll_interval": self.poll_interval,
                "apimart_conn_id": self.apimart_conn_id,
                **kind,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until there is a final word or the deadline has passed."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        # All waits of this connection share one client, one rate limiter and the observed durations.
        async with here().join(self.apimart_conn_id, self._client) as shared:
            polling = PollingWait(
                self.generation_id,
                self.submitted_at,
                self.deadline,
                self.median_seconds,
                self.poll_interval,
                jitter=spread_of(self.generation_id),
                durations=shared.kinds.of(self.kind or f"{self.median_seconds:g} s", self.median_seconds),
            )
            final = await shared.poller.follow(polling, self._say)
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (loop.time() - started)))
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {
                "version": EVENT_VERSION,
                "generation_id": self.generation_id,
                "reason": "finished" if final else "deadline",
                "generation": final.model_dump(mode="json") if final else None,
                "failures": polling.failures,
                "last_word": polling.last_word,
            }
        )

    def _say(self, step: Step) -> None:
        (self.log.warning if step.warn else self.log.info)("%s", step.say)

    async def _client(self) -> AsyncApimartClient:
        # A new hook each time: the connection may have been edited.
        return await ApimartHook(self.apimart_conn_id).aget_conn()

    async def on_kill(self) -> None:
        """Log where the money is. Airflow 3.3 calls this when a user ends the task, and sometimes without one."""
        self.log.warning("%s", abandoned_text(self.generation_id))


def __getattr__(name: str) -> Any:
    # The batch has its own modules. Users look for it here; those who do not use it do not load it.
    if name == "VeoBatchTrigger":
        from airflow_provider_apimart.triggers.batch import VeoBatchTrigger

        return VeoBatchTrigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
