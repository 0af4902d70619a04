"""What the operators share: the task's identity, the sidecar's content, reading a trigger's event, handling errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from pydantic import ValidationError

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import (
    ApimartError,
    DeliveredMismatchError,
    GenerationParkedError,
    VideoExpiredError,
)
from airflow_provider_apimart.client.models import Generation, VeoRequest, Video
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.decide import REGENERATE_HINT
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch, mismatches
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, RecordStore
from airflow_provider_apimart.generation.waiting.polling import poll_error_text
from airflow_provider_apimart.hooks.reports import notes

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.client.client import ApimartClient

log = logging.getLogger(__name__)


class DeferringTask(Protocol):
    """What a try needs of its operator, whatever it makes."""

    task_id: str
    execution_timeout: timedelta | None

    @property
    def log(self) -> logging.Logger | Any:
        """The task's log."""
        ...

    def defer(self, *, trigger: Any, method_name: str, kwargs: dict[str, Any], timeout: timedelta) -> NoReturn:
        """End this process; Airflow goes on in another one when the trigger says so."""
        ...

    def _tell(self, context: Any, made: Any) -> None: ...


class Known:
    """What is known about the paid generation when something fails."""

    store: RecordStore | None = None

    def record(self) -> Record | None:
        """Return the current record, or ``None`` if it cannot be read."""
        try:
            return self.store.load() if self.store else None
        except Exception:
            # This runs while another error is being reported, which matters more than the store's.
            return None


def identity_of(context: Mapping[str, Any] | Context) -> Identity:
    """Return the identity of a task instance, which is the same in every try."""
    ti = context["ti"]
    # Airflow sets max_tries when it creates the task instance. A clear sets it to the tries so far + retries. Nothing
    # else changes it, not even an edit of ``retries``. So it tells clears apart.
    epoch = int(getattr(ti, "max_tries", 0) or 0)
    return Identity(ti.dag_id, ti.run_id, ti.task_id, map_index_of(context), max(0, epoch))


def waited_for_record(kept: Any, current: Record | None, event: Any, request: VeoRequest) -> Record:
    """Return the record of the generation that a trigger has waited for.

    :param kept: the record from the deferral. ``airflow dags test`` drops it, and passes only the trigger's event.
    :param current: the record that the store holds now.
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
    return record_without_request(told, request.model, since, submitted_at=since)


def record_without_request(generation_id: str, model: str, since: datetime, **known: Any) -> Record:
    """Return the record of a paid generation of which no record is left, or which another program has submitted.

    :param since: when it was asked for, as far as anybody knows.
    :param known: further fields of the record.
    """
    return Record(
        state=RecordState.SUBMITTED,
        fingerprint="",
        idempotency_key="",
        epoch=0,
        number=1,
        model=model,
        intent_at=since,
        generation_id=generation_id,
        **known,
    )


def provenance_of(
    record: Record,
    request: VeoRequest,
    context: Mapping[str, Any] | Context,
    labels: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return how a video was made, for its sidecar. The result holds no secret and no URL of the video."""
    # Loaded here: a process that lands nothing does without it.
    from airflow_provider_apimart.generation.landing import delivery

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
    """Return the XCom of a generation, and log where its videos differ from the request.

    :param log: the task's log.
    :raises DeliveredMismatchError: if they differ and ``on_mismatch`` is ``"fail"``.
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


def check_expiry(record: Record, videos: Sequence[Video]) -> None:
    """Check that the URLs of videos that are not landed can still be fetched.

    :raises VideoExpiredError: if one cannot.
    """
    expired = [video for video in videos if video.expires_at and video.expires_at <= datetime.now(UTC)]
    if expired:
        raise VideoExpiredError(
            f"the URL of generation {record.generation_id} expired at {report.iso(expired[0].expires_at)}"
        )


@contextmanager
def failures(task: Any, context: Mapping[str, Any] | Context | None = None) -> Iterator[Known]:
    """Fail the task for good on errors that a retry cannot fix, and add to every error what has been paid for.

    :param task: gets the URL of the help page as ``help_url``.
    :param context: of a generation's task, which leaves a note of its failure for the pages.
    """
    known = Known()
    try:
        yield known
    except ApimartError as error:
        task.help_url = report.help_page(error)
        record = known.record()
        explanation = report.explained(error, record, getattr(task, "apimart_conn_id", None))
        text = str(explanation)
        if context is not None:
            parked = isinstance(error, GenerationParkedError)
            notes.leave(context, lambda: notes.of_failure(task, record, explanation, parked=parked))
        if error.terminal:
            raise AirflowFailException(text) from error
        error.explained = text
        raise


def final_word(client: ApimartClient, record: Record, event: Any) -> Generation | None:
    """Return the generation's final state, from the trigger's event or, if that cannot be read, by polling APIMart.

    ``None`` if the generation has not ended.

    :raises GenerationParkedError: if that poll fails.
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
        # A failed poll decides nothing, even if it blames the key or the balance: the generation is paid for.
        why = poll_error_text(error).rstrip(".")
        raise GenerationParkedError(
            f"APIMart does not say now how generation {record.generation_id} is: {why}. It is "
            "parked: nothing is paid again, and the next try, or a clear, re-attaches to it",
            generation_id=record.generation_id or "",
        ) from error
    return view if view.is_final else None


def map_index_of(context: Mapping[str, Any] | Context) -> int:
    """Return the number of a mapped task; -1 if it is not mapped."""
    index = getattr(context["ti"], "map_index", -1)
    return -1 if index is None else int(index)
