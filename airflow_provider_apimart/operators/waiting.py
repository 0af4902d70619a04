"""How a task waits for a generation that is paid for: how long, and whether here or in the triggerer."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from airflow_provider_apimart.generation.waiting.polling import PollingWait, spread_of
from airflow_provider_apimart.generation.waiting.schedule import expected_seconds
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.arguments import DEFAULT_TIMEOUT, TRIGGERER_GRACE
from airflow_provider_apimart.operators.labels import labels_of
from airflow_provider_apimart.operators.recall import Resumed

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.client.models import Generation, VeoRequest
    from airflow_provider_apimart.generation.purchase.record import Record


class WaitingTask(Resumed, Protocol):
    """A task that waits for a generation."""

    resolution: Any

    def _kind(self, record: Record) -> str:
        """Return the kind of generation whose durations are like this one's."""
        ...


def deadline_of(task: WaitingTask, record: Record) -> float:
    """Return when a generation has taken too long, in unix seconds."""
    seconds = arguments.seconds_of(task.timeout) or DEFAULT_TIMEOUT.total_seconds()
    return (record.submitted_at or record.intent_at).timestamp() + seconds


def deferred_deadline(task: WaitingTask, record: Record, began: float) -> float:
    """Return when a deferred wait ends: Airflow does not enforce ``execution_timeout`` while a task is deferred.

    :param began: when this try began, in unix seconds.
    """
    deadline, limit = deadline_of(task, record), task.execution_timeout
    return deadline if limit is None else min(deadline, began + limit.total_seconds())


def _polling_arguments(task: WaitingTask, record: Record, deadline: float) -> dict[str, Any]:
    resolution = task.resolution if isinstance(task.resolution, str) else None
    return {
        "generation_id": record.generation_id,
        "submitted_at": (record.submitted_at or record.intent_at).timestamp(),
        "deadline": deadline,
        "median_seconds": expected_seconds(record.model, resolution),
        "poll_interval": arguments.seconds_of(task.poll_interval),
    }


def defer(task: WaitingTask, record: Record, request: VeoRequest, began: float) -> NoReturn:
    """Wait in the triggerer, and free the worker.

    :param began: when this try began, in unix seconds.
    """
    from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

    polling = _polling_arguments(task, record, deferred_deadline(task, record, began))
    task.defer(
        trigger=VeoGenerationTrigger(**polling, apimart_conn_id=task.apimart_conn_id, kind=task._kind(record)),
        method_name="execute_complete",
        kwargs={
            # The connection may have been renamed since the payment. The deferral keeps the one that this try uses.
            "record": record.but(apimart_conn_id=task.apimart_conn_id).model_dump(mode="json"),
            "request": request.model_dump(mode="json", exclude_none=True),
            "labels": labels_of(task.labels),
            # Left out where it is not set, for workers of an older version.
            **({"fallback_model": task.fallback_model} if task.fallback_model and not record.fallback_from else {}),
        },
        timeout=timedelta(seconds=max(0.0, polling["deadline"] - time.time())) + TRIGGERER_GRACE,
    )


def wait(task: WaitingTask, client: ApimartClient, record: Record) -> tuple[Generation | None, str]:
    """Wait in the worker, as the trigger does.

    :return: the generation, ``None`` if the deadline has passed; and what APIMart said last, for messages.
    """
    from airflow_provider_apimart.generation.waiting.worker import wait_here

    values = _polling_arguments(task, record, deadline_of(task, record))
    polling = PollingWait(**values, jitter=spread_of(values["generation_id"]))
    return wait_here(client, polling, task.log), polling.last_word
