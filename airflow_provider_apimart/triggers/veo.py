"""The wait for one generation, in Airflow's triggerer.

A trigger only asks: it submits nothing, so a restart costs nothing (invariant 5). It carries no secret: the key is
looked up when it runs. No error ends the wait, only APIMart's final word or the deadline that the worker computed
(invariant 4), and the first event comes no sooner than 12 s after the deferral (invariant 10).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.errors import AuthenticationError, ConfigurationError
from airflow_provider_apimart.generation.polling import FIRST_EVENT_SECONDS, Step, Watch
from airflow_provider_apimart.generation.report import abandoned_text
from airflow_provider_apimart.hooks.apimart import ApimartHook

EVENT_VERSION = 1


class VeoGenerationTrigger(BaseTrigger):
    """Fires when a generation is finished, or when its deadline has passed.

    The event is plain JSON: ``{"version", "generation_id", "reason": "finished" | "deadline", "generation",
    "failures"}``, where ``generation`` is APIMart's final word
    (:class:`~airflow_provider_apimart.client.models.Generation`) or ``None``.

    :param generation_id: what to ask for.
    :param submitted_at: unix seconds of the submission.
    :param deadline: unix seconds; absolute, so that a restart of the triggerer does not move it.
    :param median_seconds: how long such a job takes, usually.
    :param poll_interval: seconds between polls; ``None`` adapts.
    :param apimart_conn_id: the connection to ask with.
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
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generation_id = generation_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.median_seconds = median_seconds
        self.poll_interval = poll_interval
        self.apimart_conn_id = apimart_conn_id
        self._client: AsyncApimartClient | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores, in plain text: ids, times and names."""
        return (
            "airflow_provider_apimart.triggers.veo.VeoGenerationTrigger",
            {
                "generation_id": self.generation_id,
                "submitted_at": self.submitted_at,
                "deadline": self.deadline,
                "median_seconds": self.median_seconds,
                "poll_interval": self.poll_interval,
                "apimart_conn_id": self.apimart_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until there is a final word, or the deadline has passed."""
        started = time.monotonic()
        watch = Watch(
            self.generation_id,
            self.submitted_at,
            self.deadline,
            self.median_seconds,
            self.poll_interval,
            jitter=_spread(self.generation_id),
        )
        await asyncio.sleep(watch.first_wait(time.time()))
        try:
            step = await self._poll(watch)
            while step.wait_seconds is not None:
                await asyncio.sleep(step.wait_seconds)
                step = await self._poll(watch)
        finally:
            await self._close()
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (time.monotonic() - started)))
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {
                "version": EVENT_VERSION,
                "generation_id": self.generation_id,
                "reason": "finished" if step.final else "deadline",
                "generation": step.final.model_dump(mode="json") if step.final else None,
                "failures": watch.failures,
            }
        )

    async def _poll(self, watch: Watch) -> Step:
        try:
            if self._client is None:
                self._client = await ApimartHook(self.apimart_conn_id).aget_conn()
            view = await self._client.send(protocol.generation(self.generation_id), repeat=False)
        except Exception as error:
            # Whatever it is, it says nothing about the generation. (A cancellation is no Exception and passes.)
            if isinstance(error, (AuthenticationError, ConfigurationError)):
                # The key may have been rotated: look the connection up again.
                await self._close()
            step = watch.failed(error, time.time())
        else:
            step = watch.saw(view, time.time())
        if step.say:
            (self.log.warning if step.warn else self.log.info)("%s", step.say)
        return step

    async def on_kill(self) -> None:
        """Say where the money is. Airflow 3.3 calls this when a user ends the task, and sometimes when nobody did."""
        self.log.warning("%s", abandoned_text(self.generation_id))

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _spread(generation_id: str) -> float:
    """Return a number from 0 to 1 that is this generation's own, so that many triggers do not poll in step."""
    return hashlib.sha256(generation_id.encode("utf-8", "replace")).digest()[0] / 255


def __getattr__(name: str) -> Any:
    # The batch lives in files of its own; this is where users look for it, and who does not use it does not load it.
    if name == "VeoBatchTrigger":
        from airflow_provider_apimart.triggers.batch import VeoBatchTrigger

        return VeoBatchTrigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
