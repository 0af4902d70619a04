"""What operators share: who is asking, what a sidecar says of it, what an event says, and what becomes of an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Generation, VeoRequest
from airflow_provider_apimart.generation import delivery, report
from airflow_provider_apimart.generation.identity import Identity
from airflow_provider_apimart.generation.record import Record, RecordStore

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


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


def provenance_of(
    record: Record,
    request: VeoRequest,
    context: Mapping[str, Any] | Context,
    labels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return how a video was made, for its sidecar. Holds no secret and no URL of the video."""
    airflow = {**identity_of(context).place, "try_number": getattr(context["ti"], "try_number", None)}
    return delivery.provenance_of(record, request, airflow, labels)


@contextmanager
def failures(task: Any) -> Iterator[Known]:
    """Let errors that a retry cannot mend fail for good, and tell of every error where the money is.

    :param task: gets the page that helps, as ``help_url``.
    """
    known = Known()
    try:
        yield known
    except ApimartError as error:
        task.help_url = report.help_page(error)
        text = report.explain(error, known.record())
        if error.terminal:
            raise AirflowFailException(text) from error
        error.message = text
        raise


def final_word(client: ApimartClient, record: Record, event: Any) -> Generation | None:
    """Return APIMart's final word from the trigger's event, or by asking where the event cannot be read."""
    told = event.get("generation") if isinstance(event, Mapping) else None
    if isinstance(event, Mapping) and event.get("reason") == "deadline" and told is None:
        return None
    try:
        view = Generation.model_validate(told)
        if view.is_final and event.get("generation_id") == record.generation_id:
            return view
    except ValidationError:
        pass
    log.warning("The trigger's event cannot be read (another version?); asking APIMart instead.")
    view = client.generation(record.generation_id or "")
    return view if view.is_final else None


def _map_index(ti: Any) -> int:
    index = getattr(ti, "map_index", -1)
    return -1 if index is None else int(index)
