"""How an answer from APIMart changes a record. Pure; shared by the single generation and the batch, sync and async."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.models import Generation, Submission
from airflow_provider_apimart.generation.purchase.decide import Decision, judge
from airflow_provider_apimart.generation.purchase.record import MAX_ID_LENGTH, Record, RecordState, note_of

#: A conflict says that nothing was done *now*. It does not say what the first request with the key did.
CONFLICTS = (errors.IdempotencyInProgressError, errors.IdempotencyKeyReusedError)


def submitted(record: Record, answer: Submission, now: datetime) -> Record:
    """Return the record of a submission that APIMart answered with an id.

    :raises MissingTaskIdError: if it cannot be an id.
    """
    if len(answer.generation_id) > MAX_ID_LENGTH:
        raise errors.MissingTaskIdError(f"APIMart named a task id of {len(answer.generation_id)} characters")
    return record.but(
        state=RecordState.SUBMITTED,
        generation_id=answer.generation_id,
        # A replay stands for the first request, which was sent when the intent was saved or soon after.
        submitted_at=record.intent_at if answer.replayed else now,
    )


def nothing_was_done(error: ApimartError, *, doubtful: bool) -> bool:
    """Return whether a failed submission leaves no doubt about the money.

    :param doubtful: an earlier request under the same key may have been carried out.
    """
    return error.charge is Charge.NO and not doubtful and not isinstance(error, CONFLICTS)


def refused(record: Record, error: ApimartError, *, model_gone: bool | None = None) -> Record:
    """Return the record of a submission that had no effect.

    :param model_gone: whether the model counts as gone; by default if the error says so.
    """
    gone = isinstance(error, errors.ModelGoneError) if model_gone is None else model_gone
    return record.but(state=RecordState.MODEL_GONE if gone else RecordState.REFUSED, note=note_of(str(error)))


def settled(record: Record, view: Generation) -> tuple[Decision, Record]:
    """Return what APIMart's final answer means for the try that waited for it, and the updated record."""
    decision = judge(record, view)
    state = record.state
    if isinstance(decision.error, errors.ContentRejectedError):
        state = RecordState.REJECTED
    elif isinstance(decision.error, errors.GenerationModelGoneError):
        state = RecordState.MODEL_GONE
    elif isinstance(decision.error, errors.GenerationFailedError):
        state = RecordState.FAILED
    return decision, record.but(
        state=state,
        cost_usd=view.cost_usd,
        completed_at=view.completed_at,
        note=note_of(view.error_message),
        extra=view.extra,
    )
