"""What operators share: who is asking, what a sidecar says of it, what an event says, and what becomes of an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, DeliveredMismatchError, GenerationParkedError
from airflow_provider_apimart.client.models import Generation, VeoRequest, Video
from airflow_provider_apimart.generation.landing import delivery
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.decide import REGENERATE_HINT
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch, mismatches
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, RecordStore

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

#: How long one generation may take from its submission.
DEFAULT_TIMEOUT = timedelta(minutes=30)
#: The triggerer's own word on the deadline comes first; this is for a triggerer that says nothing at all.
TRIGGERER_GRACE = timedelta(minutes=15)


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
    ti = context["ti"]
    # Airflow sets max_tries when the task instance is made, and to the tries so far + retries on a clear: it moves with
    # a clear and with nothing else, an edit of ``retries`` included.
    epoch = int(getattr(ti, "max_tries", 0) or 0)
    return Identity(ti.dag_id, ti.run_id, ti.task_id, _map_index(ti), max(0, epoch))


def waited_for_record(kept: Any, current: Record | None, event: Any, request: VeoRequest) -> Record:
    """Return the record of the generation that a trigger has waited for.

    :param kept: what was kept in the deferral. ``airflow dags test`` drops it and leaves the trigger's event alone.
    :param current: what the store holds now.
    """
    if kept is not None:
        return Record.model_validate(kept)
    told = event.get("generation_id") if isinstance(event, Mapping) else None
    if current is not None and told in (None, current.generation_id):
        return current
    if not isinstance(told, str) or not told:
        raise GenerationParkedError(
            "Airflow forgot which generation this task waited for, and no record names it. It may have been paid for: "
            "look in APIMart's console. Nothing was paid again",
            generation_id="unknown",
        )
    try:
        since = Generation.model_validate(event.get("generation")).created_at or datetime.now(UTC)
    except ValidationError:
        since = datetime.now(UTC)
    return Record(
        state=RecordState.SUBMITTED,
        fingerprint="",
        idempotency_key="",
        epoch=0,
        number=1,
        model=request.model,
        intent_at=since,
        generation_id=told,
        submitted_at=since,
    )


def provenance_of(
    record: Record,
    request: VeoRequest,
    context: Mapping[str, Any] | Context,
    labels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return how a video was made, for its sidecar. Holds no secret and no URL of the video."""
    airflow = {**identity_of(context).place, "try_number": getattr(context["ti"], "try_number", None)}
    return delivery.provenance_of(record, request, airflow, labels)


def result_of(
    record: Record,
    videos: Sequence[Video],
    landed: Sequence[LandedVideo],
    request: VeoRequest,
    on_mismatch: OnMismatch,
    log: Any,
) -> dict[str, Any]:
    """Return the XCom of a generation, and say where it is not what was asked for.

    :param log: the task's.
    :raises DeliveredMismatchError: instead, with ``on_mismatch="fail"``.
    """
    count = max(len(videos), len(landed))
    found = mismatches(request, landed, count=count, cost_usd=record.cost_usd)
    if found:
        text = report.mismatch_text(record, found, landed)
        if on_mismatch == "fail":
            raise DeliveredMismatchError(
                f'{text}. on_mismatch="fail" makes that a failure, in this try and in every other, and none of them '
                f'pays again. To go on with what was delivered, set on_mismatch="warn" and clear the task; '
                f"{REGENERATE_HINT}",
                generation_id=record.generation_id or "",
            )
        log.warning("%s.", text)
    return report.result(record, videos, landed, found)


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
        error.explained = text
        raise


def final_word(client: ApimartClient, record: Record, event: Any) -> Generation | None:
    """Return APIMart's final word from the trigger's event, or by asking where the event cannot be read.

    :raises GenerationParkedError: where APIMart gives no answer then.
    """
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
    try:
        view = client.generation(record.generation_id or "")
    except ApimartError as error:
        # A poll is no verdict, whatever it says of the key or the balance: the generation is paid for.
        raise GenerationParkedError(
            f"APIMart does not say now how generation {record.generation_id} is: {str(error).rstrip('.')}. It is "
            "parked: nothing is paid again, and the next try, or a clear, re-attaches to it",
            generation_id=record.generation_id or "",
        ) from error
    return view if view.is_final else None


def _map_index(ti: Any) -> int:
    index = getattr(ti, "map_index", -1)
    return -1 if index is None else int(index)
