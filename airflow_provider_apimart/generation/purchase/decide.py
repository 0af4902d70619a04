"""Decides what to do next from what is known: submit, resend, wait, land, keep, fail or refuse.

Pure. Every path calls it. This is the table that keeps "paid for once" (invariants 1-3, 6):

==============================================  ==========================================  =========================
the record says                                 and                                         then
==============================================  ==========================================  =========================
nothing is recorded                                                                         submit number 1
another request (inputs changed)                                                            submit number 1 of the new
any                                             cleared, and ``on_clear="regenerate"``      submit number 1 of the epoch
intent (the outcome of the POST is unknown)     ``on_unknown_submit="fail"``                refuse
intent                                          older than the key's life                   refuse
intent                                          under another API key or host               refuse
intent                                          else                                        resend: same key, same body
refused (nothing was done)                                                                  submit, same key
submitted                                       APIMart does not answer, or not finished    wait (re-attach)
submitted                                       completed with a video                      land
submitted                                       completed without one                       wait (poll again)
submitted                                       the input was refused                       fail for good
submitted                                       failed because the model is gone            fail for good
submitted                                       failed                                      submit number + 1
failed                                                                                      submit number + 1
rejected                                                                                    refuse
model gone                                      the submission was refused for it           submit, same key
model gone                                      the generation failed for it                refuse
landed                                          the files are whole                         keep
landed                                          a file is gone or damaged, URL still alive  land
landed                                          a file is gone or damaged, URL expired      refuse
==============================================  ==========================================  =========================

Where a fallback model is given, "model gone" does not end the task: :class:`.purchase.Purchase` then asks this table
about the fallback's request instead, which is another request (:mod:`.fallback`).

A try that has waited calls :func:`judge` instead: there a failure ends the try, and a completed generation without a
video fails for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from airflow_provider_apimart.client.errors import (
    ContentRejectedError,
    EmptyResultError,
    GenerationError,
    GenerationFailedError,
    GenerationModelGoneError,
    GenerationRefusedError,
)
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.client.verdicts import category
from airflow_provider_apimart.generation.purchase.record import Record, RecordState
from airflow_provider_apimart.generation.purchase.settling import is_empty

OnClear = Literal["reuse", "regenerate"]
OnUnknownSubmit = Literal["resend", "fail"]

#: APIMart forgets a key 24 hours after it first received it. The margin keeps a resend from arriving just too late to
#: be a replay.
KEY_LIFE = timedelta(hours=23, minutes=30)

REGENERATE_HINT = 'to pay for a new generation, clear the task with on_clear="regenerate" or change its inputs'


class Action(StrEnum):
    """What to do next."""

    SUBMIT = "submit"
    RESEND = "resend"
    WAIT = "wait"
    LAND = "land"
    KEEP = "keep"
    FAIL = "fail"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Policy:
    """What the user chose."""

    on_clear: OnClear = "reuse"
    on_unknown_submit: OnUnknownSubmit = "resend"


@dataclass(frozen=True)
class Decision:
    """What to do next, and why.

    :param reason: one sentence for the log.
    :param epoch: of the generation to submit.
    :param number: of the generation to submit.
    :param error: what to raise, for ``FAIL`` and ``REFUSE``.
    """

    action: Action
    reason: str
    epoch: int = 0
    number: int = 1
    error: GenerationError | None = None


def decide(
    record: Record | None,
    *,
    fingerprint: str,
    clear_epoch: int,
    policy: Policy,
    view: Generation | None,
    now: datetime,
    files_whole: bool = False,
    account: str | None = None,
) -> Decision:
    """Return what to do next.

    :param record: what an earlier step or try has saved.
    :param fingerprint: the current request's.
    :param clear_epoch: Airflow's current one (see :class:`.Identity`).
    :param view: APIMart's answer about ``record.generation_id``; ``None`` if it was not polled or did not answer.
    :param files_whole: the landed files were checked: they are whole, and where they belong.
    :param account: the API key and host that a resend would go to (:func:`.identity.account_mark`).
    """
    # With "reuse" a clear changes nothing, so its counter stays out of the key: not even a lost record leads to a
    # second payment.
    epoch = clear_epoch if policy.on_clear == "regenerate" else 0
    if record is None:
        return Decision(Action.SUBMIT, "nothing was submitted before", epoch)
    if record.fingerprint != fingerprint:
        return Decision(Action.SUBMIT, "the inputs have changed since the last submission", epoch)
    if is_cleared_anew(record, clear_epoch, policy):
        return Decision(Action.SUBMIT, 'the task was cleared with on_clear="regenerate"', epoch)
    match record.state:
        case RecordState.INTENT:
            return _after_unknown_outcome(record, policy, now, account)
        case RecordState.REFUSED:
            return Decision(
                Action.SUBMIT, "the last submission was refused and not charged", record.epoch, record.number
            )
        case RecordState.FAILED:
            return _next_number(record)
        case RecordState.REJECTED:
            return Decision(Action.REFUSE, "the content was refused", error=_rejected(record, record.note))
        case RecordState.MODEL_GONE if record.generation_id is None:
            reason = "the model was gone when it was last asked for, and asking again costs nothing if it still is"
            return Decision(Action.SUBMIT, reason, record.epoch, record.number)
        case RecordState.MODEL_GONE:
            return Decision(Action.REFUSE, "the model is gone", error=_model_gone(record, record.note))
        case RecordState.LANDED:
            if files_whole:
                return Decision(Action.KEEP, "the videos are landed and whole")
            return _landed_but_gone(record, view, now)
        case RecordState.SUBMITTED:
            if view is not None and is_empty(view):
                # One poll is no verdict: APIMart writes status and result separately.
                return Decision(Action.WAIT, f"generation {record.generation_id} is completed, but has no video yet")
            return _submitted(record, view)


def is_cleared_anew(record: Record, clear_epoch: int, policy: Policy) -> bool:
    """Return whether the task was cleared since ``record``, in order to pay for a new generation."""
    # Only a later epoch means a clear. An earlier one belongs to a try that was still running after its clear.
    seen = record.epoch if record.clear_epoch is None else record.clear_epoch
    return policy.on_clear == "regenerate" and seen < clear_epoch


def judge(record: Record, view: Generation) -> Decision:
    """Return what a final ``view`` means for the try that waited for it: land it, or raise an error.

    It differs from :func:`decide` in two ways. A failure ends the try that saw it, so that Airflow's retries set the
    pace. A completed generation without a video has been polled for long enough (:mod:`.settling`).
    """
    if record.state is RecordState.LANDED and not view.videos:
        # It was completed and paid for. Whatever APIMart reports later, that does not justify paying for another.
        return _landed_but_gone(record, view, datetime.now(UTC))
    decision = _submitted(record, view)
    if decision.action is not Action.SUBMIT:
        return decision
    error = GenerationFailedError(
        f"APIMart reports generation {record.generation_id} as failed: {_reason(view.error_message)}. "
        "Failed generations are not charged. The next try submits a new one",
        generation_id=record.generation_id or "",
        code=view.error_code,
    )
    return Decision(Action.FAIL, "the generation failed", error=error)


def _after_unknown_outcome(record: Record, policy: Policy, now: datetime, account: str | None) -> Decision:
    who = f"idempotency key {record.idempotency_key}, submitted about {record.intent_at:%Y-%m-%d %H:%M:%S} UTC"
    check = f"look in APIMart's console whether it was made ({who})"
    if policy.on_unknown_submit == "fail":
        text = 'the outcome of an earlier submission is not known and on_unknown_submit="fail"'
    elif now - record.intent_at >= KEY_LIFE:
        text = "the outcome of an earlier submission is not known, and APIMart has forgotten its key by now (24 hours)"
    elif None not in (record.account, account) and record.account != account:
        text = (
            "the outcome of an earlier submission is not known, and it was sent with another API key or to another "
            "host, where alone its idempotency key means something"
        )
    else:
        return Decision(Action.RESEND, "the outcome of the last submission is not known", record.epoch, record.number)
    message = (
        f"Nothing was sent: {text}, so sending it again could pay twice. What to do: {check}; then {REGENERATE_HINT}"
    )
    return Decision(Action.REFUSE, text, error=GenerationRefusedError(message, generation_id="unknown"))


def _submitted(record: Record, view: Generation | None) -> Decision:
    if view is None or not view.is_final:
        return Decision(Action.WAIT, f"generation {record.generation_id} was submitted before")
    if view.status is GenerationStatus.COMPLETED and view.videos:
        return Decision(Action.LAND, f"generation {record.generation_id} is completed")
    if view.rejected and view.status is GenerationStatus.FAILED:
        return Decision(
            Action.FAIL, "the content was refused", error=_rejected(record.but(cost_usd=None), view.error_message)
        )
    if view.model_gone and view.status is GenerationStatus.FAILED:
        return Decision(Action.FAIL, "the model is gone", error=_model_gone(record, view.error_message))
    if view.status is GenerationStatus.COMPLETED:
        cost = "an unknown amount" if view.cost_usd is None else f"{view.cost_usd:g} USD"
        error = EmptyResultError(
            f"APIMart reports generation {record.generation_id} as completed, but without a video that can be fetched"
            f"{f' ({view.error_message})' if view.error_message else ''}, and did so each time it was asked. A clear "
            f"asks again without paying, and lands the video if it is there by then. It was billed with {cost}: if no "
            f"video appears, that is for APIMart's support to settle. Retries do not pay again; {REGENERATE_HINT}",
            generation_id=record.generation_id or "",
        )
        return Decision(Action.FAIL, "completed without a video", error=error)
    return _next_number(record)


def _next_number(record: Record) -> Decision:
    reason = f"generation {record.generation_id} failed at APIMart and was not charged"
    return Decision(Action.SUBMIT, reason, record.epoch, record.number + 1)


def _rejected(record: Record, message: str | None) -> ContentRejectedError:
    money = "Rejected generations are not charged"
    if record.cost_usd:
        # Written by an earlier version, which mistook a text beside a "completed" for a refusal.
        money = f"It was billed with {record.cost_usd:g} USD all the same, which is for APIMart's support to settle"
    meaning = category(message)
    told = f" (Google's support code stands for: {meaning})" if meaning else ""
    return ContentRejectedError(
        f"APIMart refused the content of generation {record.generation_id}: {_reason(message)}{told}. {money}. Retries "
        "do not submit it again: change the prompt or the images, or, to try the same once more, clear the task with "
        'on_clear="regenerate"',
        generation_id=record.generation_id or "",
    )


def _model_gone(record: Record, message: str | None) -> GenerationModelGoneError:
    return GenerationModelGoneError(
        f"APIMart reports generation {record.generation_id} as failed because its model {record.model!r} is gone: "
        f"{_reason(message)}. It was not charged. Retries do not submit it again: change model=, or set "
        "fallback_model=, and clear the task; or, to try the same model once more, clear it with "
        'on_clear="regenerate"',
        generation_id=record.generation_id or "",
    )


def _reason(message: str | None) -> str:
    return (message or "").strip().rstrip(".") or "no reason given"


def _landed_but_gone(record: Record, view: Generation | None, now: datetime) -> Decision:
    if view is None:
        return Decision(Action.WAIT, f"a landed file of {record.generation_id} is missing and APIMart does not answer")
    alive = [video for video in view.videos if video.expires_at is None or video.expires_at > now]
    if alive:
        return Decision(Action.LAND, "a landed file is missing, damaged or belongs elsewhere now; it is fetched again")
    where = ", ".join(video.path for video in record.landed) or "nowhere"
    error = GenerationRefusedError(
        f"Generation {record.generation_id} was landed ({where}), but a file is missing, damaged or belongs "
        f"elsewhere now, and APIMart has no URL of the video that still works. Nothing was paid again; "
        f"{REGENERATE_HINT}",
        generation_id=record.generation_id or "",
    )
    return Decision(Action.REFUSE, "the landed file is gone and the URL has expired", error=error)
