"""What an operator takes from Airflow's context: who is asking, and what the sidecar says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import airflow_provider_apimart
from airflow_provider_apimart.client.models import VeoRequest
from airflow_provider_apimart.generation import report
from airflow_provider_apimart.generation.identity import Identity
from airflow_provider_apimart.generation.record import Record, RecordStore

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class Known:
    """What is known of the money when something fails."""

    store: RecordStore | None = None

    def record(self) -> Record | None:
        """Return the record as it stands, or ``None`` where it cannot be had."""
        try:
            return self.store.load() if self.store else None
        except Exception:
            # The error that is being told matters more than the store's.
            return None


def identity_of(context: Mapping[str, Any] | Context) -> Identity:
    """Return who is asking, the same in every try."""
    ti, task = context["ti"], context["task"]
    # A clear sets max_tries to the tries so far + retries: the difference moves with a clear and with nothing else.
    epoch = int(getattr(ti, "max_tries", 0) or 0) - int(task.retries or 0)
    return Identity(ti.dag_id, ti.run_id, ti.task_id, _map_index(ti), max(0, epoch))


def provenance_of(record: Record, request: VeoRequest, context: Mapping[str, Any] | Context) -> dict[str, Any]:
    """Return how a video was made, for its sidecar. Holds no secret and no URL of the video."""
    ti = context["ti"]
    return {
        "generation_id": record.generation_id,
        "idempotency_key": record.idempotency_key,
        "request": request.model_dump(mode="json", exclude_none=True),
        "model": record.model,
        "seed": request.seed,
        "cost_usd": record.cost_usd,
        "submitted_at": report.iso(record.submitted_at),
        "completed_at": report.iso(record.completed_at),
        "airflow": {**identity_of(context).place, "try_number": getattr(ti, "try_number", None)},
        "provider": f"airflow-provider-apimart {airflow_provider_apimart.__version__}",
    }


def _map_index(ti: Any) -> int:
    index = getattr(ti, "map_index", -1)
    return -1 if index is None else int(index)
