"""How an operator waits for a generation that is paid for: how long, and whether here or in the triggerer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.models import Generation, VeoRequest
from airflow_provider_apimart.generation.purchase.record import Record
from airflow_provider_apimart.generation.waiting.schedule import expected_seconds, kind_of
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.labels import labels_of
from airflow_provider_apimart.operators.task import DEFAULT_TIMEOUT, TRIGGERER_GRACE

if TYPE_CHECKING:
    from airflow_provider_apimart._compat import BaseOperator
else:
    BaseOperator = object


class WaitsForGeneration(BaseOperator):
    """The wait of :class:`~airflow_provider_apimart.operators.generation.GenerationOperator`."""

    resolution: Any
    generate_audio: Any
    apimart_conn_id: Any
    timeout: Any
    poll_interval: Any
    fallback_model: Any
    labels: Any
    _last_word: str

    @property
    def _timeout_seconds(self) -> float:
        return arguments.seconds_of(self.timeout) or DEFAULT_TIMEOUT.total_seconds()

    def _deadline(self, record: Record) -> float:
        return (record.submitted_at or record.intent_at).timestamp() + self._timeout_seconds

    def _deferred_deadline(self, record: Record, began: float) -> float:
        """Return when a deferred wait ends: Airflow does not enforce ``execution_timeout`` while a task is deferred."""
        limit = self.execution_timeout
        return self._deadline(record) if limit is None else min(self._deadline(record), began + limit.total_seconds())

    def _polling_arguments(self, record: Record, deadline: float) -> dict[str, Any]:
        resolution = self.resolution if isinstance(self.resolution, str) else None
        return {
            "generation_id": record.generation_id,
            "submitted_at": (record.submitted_at or record.intent_at).timestamp(),
            "deadline": deadline,
            "median_seconds": expected_seconds(record.model, resolution),
            "poll_interval": arguments.seconds_of(self.poll_interval),
        }

    def _kind(self, record: Record) -> str:
        return kind_of(record.model, self.resolution, self.generate_audio)

    def _defer(self, record: Record, request: VeoRequest, began: float) -> NoReturn:
        from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

        polling = self._polling_arguments(record, self._deferred_deadline(record, began))
        self.defer(
            trigger=VeoGenerationTrigger(**polling, apimart_conn_id=self.apimart_conn_id, kind=self._kind(record)),
            method_name="execute_complete",
            kwargs={
                # The connection may have been renamed since the payment. The deferral keeps the one that this try uses.
                "record": record.but(apimart_conn_id=self.apimart_conn_id).model_dump(mode="json"),
                "request": request.model_dump(mode="json", exclude_none=True),
                "labels": labels_of(self.labels),
                # Left out where it is not set, for workers of an older version.
                **({"fallback_model": self.fallback_model} if self.fallback_model and not record.fallback_from else {}),
            },
            timeout=timedelta(seconds=max(0.0, polling["deadline"] - time.time())) + TRIGGERER_GRACE,
        )

    def _wait(self, client: ApimartClient, record: Record) -> Generation | None:
        """Wait in the worker, as the trigger does. Return ``None`` if the deadline has passed."""
        from airflow_provider_apimart.generation.waiting.polling import PollingWait, spread_of
        from airflow_provider_apimart.generation.waiting.worker import wait_here

        values = self._polling_arguments(record, self._deadline(record))
        polling = PollingWait(**values, jitter=spread_of(values["generation_id"]))
        final = wait_here(client, polling, self.log)
        self._last_word = polling.last_word
        return final
