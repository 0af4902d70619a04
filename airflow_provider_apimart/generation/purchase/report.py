"""Builds the error texts (what happened, what happened to the money, what to do next) and the XCom of a video.

Pure. No text here holds the key or a signed URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.models import Generation, Video
from airflow_provider_apimart.generation.pricing.budget import BudgetExhaustedError
from airflow_provider_apimart.generation.purchase.mismatch import text_of
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, UnreadableRecordError

GO_ON = "A later try goes on from here"
BILLED = "It goes on at APIMart and is billed when it completes (there is no cancel). Nothing is paid again"
REATTACHES = "The next try, or a clear, re-attaches to it"
MAYBE_MADE = (
    "Look for that key in APIMart's console. If nothing was made, choose another model, or clear the task with "
    'on_clear="regenerate"'
)
KEYS_PAGE = "https://apimart.ai/keys"
VEO_PAGE = "https://docs.apimart.ai/en/api-reference/videos/veo3/generation-official"
STATUS_PAGE = "https://docs.apimart.ai/en/api-reference/tasks/status"
UPLOAD_PAGE = "https://docs.apimart.ai/en/api-reference/uploads/images"
BALANCE_PAGE = "https://docs.apimart.ai/en/api-reference/account/user-balance"

#: Stands for the connection's id, which the error does not know.
_CONNECTION = " <connection>"
_NEXT: tuple[tuple[type[ApimartError] | tuple[type[ApimartError], ...], str, str], ...] = (
    (errors.InvalidParameterError, "Correct the value and run the task again", VEO_PAGE),
    # Its text says how to go on, and a retry is not a way.
    (BudgetExhaustedError, "", VEO_PAGE),
    (errors.ConfigurationError, "Correct the connection, argument or environment, then clear the task", VEO_PAGE),
    (
        errors.AuthenticationError,
        "Put a valid API key into the field API Key (password) of the connection <connection>, then clear the task",
        KEYS_PAGE,
    ),
    (errors.InsufficientBalanceError, "Top up the account or raise the key's quota, then clear the task", BALANCE_PAGE),
    (errors.PermissionDeniedError, "Check what the key may do (models, addresses) in APIMart's console", KEYS_PAGE),
    (errors.UploadTooLargeError, "Use a smaller image, then clear the task", UPLOAD_PAGE),
    (errors.ContentRefusedError, "Change the prompt or the images, then clear the task", VEO_PAGE),
    (errors.BadRequestError, "Correct the request, then clear the task", VEO_PAGE),
    (errors.ModelGoneError, "Choose another model, then clear the task", VEO_PAGE),
    (
        errors.NoChannelError,
        "This can pass, and it is also what a retired model looks like. A later try asks again, at no cost",
        VEO_PAGE,
    ),
    (errors.NotFoundError, "Check the connection's host, then clear the task", VEO_PAGE),
    (errors.RedirectError, "Then clear the task", VEO_PAGE),
    ((errors.RateLimitError, errors.TemporaryRefusalError), "A later try sends it again", VEO_PAGE),
    (
        errors.IdempotencyIndeterminateError,
        "APIMart itself does not know whether it made this generation: look in its console, and give its support the "
        "request id. Nothing is sent again by itself; a clear sends the identical request under the same key",
        VEO_PAGE,
    ),
    (
        errors.IdempotencyKeyReusedError,
        "APIMart has seen another body under this key, so an earlier submission of this task exists: look in its "
        "console. Nothing is sent again by itself; a clear sends the identical request under the same key",
        VEO_PAGE,
    ),
    (errors.VideoExpiredError, 'To pay for a new one, clear the task with on_clear="regenerate"', STATUS_PAGE),
    (
        errors.VideoTooLargeError,
        "Raise the connection's max_video_megabytes, then clear the task: it lands without paying again",
        STATUS_PAGE,
    ),
    (
        errors.ForbiddenAddressError,
        "The video's address is on a network that workers do not fetch from. Nothing is lost: a later try, or a "
        "clear, asks for the address again",
        STATUS_PAGE,
    ),
    (errors.LandingError, "The next try, or a clear, lands it without paying again", STATUS_PAGE),
    (errors.GenerationError, "", STATUS_PAGE),
)


def help_page(error: ApimartError | None) -> str:
    """Return the page of APIMart's documentation that explains ``error``."""
    return next((page for kind, _, page in _NEXT if isinstance(error, kind)), VEO_PAGE)


@dataclass(frozen=True)
class Explanation:
    """An error in parts.

    :param text: what happened.
    :param money: what happened to the money.
    :param next: what to do next.
    :param whole: whether ``text`` already says all of that.
    """

    text: str
    money: str
    next: str
    whole: bool = False

    def __str__(self) -> str:
        if self.whole:
            return self.text
        return ". ".join(part.rstrip(". ") for part in (self.text, self.money, self.next) if part) + "."


def explain(error: ApimartError, record: Record | None) -> str:
    """Return the error in full: what happened, what happened to the money, what to do next.

    :param record: the generation's, if it is known.
    """
    return str(explained(error, record))


def explained(error: ApimartError, record: Record | None, conn_id: str | None = None) -> Explanation:
    """Return the error in parts, for a page; as text it is what the log says.

    :param record: the generation's, if it is known.
    :param conn_id: the connection that was used.
    """
    money = _money(error, record)
    if isinstance(error, errors.GenerationParkedError):
        return Explanation(str(error), BILLED, REATTACHES, whole=True)
    if isinstance(error, errors.ContentRejectedError):
        return Explanation(str(error), money, "Change the prompt or the images, then clear the task", whole=True)
    if isinstance(error, (errors.GenerationError, UnreadableRecordError)):
        return Explanation(str(error), money, "", whole=True)
    advice = next((text for kind, text, _ in _NEXT if isinstance(error, kind)), GO_ON)
    # (In our own text only: APIMart's may follow.)
    advice = advice.replace(_CONNECTION, "" if conn_id is None else f" {conn_id!r}")
    if isinstance(error, (errors.ModelGoneError, errors.NoChannelError)):
        if isinstance(error, errors.ModelGoneError) and error.charge is not Charge.NO:
            advice = MAYBE_MADE
        advice = f"{advice}. {error.advice}"
    if isinstance(error, errors.LandingError) and not error.terminal and not _is_paid(record):
        # The storage is also checked before anything is paid. Then nothing can be landed yet.
        advice = GO_ON
    return Explanation(str(error), money, advice)


def _is_paid(record: Record | None) -> bool:
    return record is not None and record.state in (RecordState.SUBMITTED, RecordState.LANDED)


def _money(error: ApimartError, record: Record | None) -> str:
    ended = (RecordState.FAILED, RecordState.REJECTED, RecordState.MODEL_GONE)
    if record is not None and record.state in ended and record.generation_id:
        return f"Generation {record.generation_id} was not made and not charged, and no other was paid for since"
    if record is not None and _is_paid(record):
        cost = "" if record.cost_usd is None else f" ({record.cost_usd:g} USD)"
        return f"Generation {record.generation_id} is paid for{cost} and stays known"
    if record is not None and record.state is RecordState.INTENT:
        unknown = f"Whether a generation was made and charged is not known (idempotency key {record.idempotency_key})"
        if isinstance(error, (errors.IdempotencyIndeterminateError, errors.IdempotencyKeyReusedError)):
            return unknown
        who = "a clear" if error.terminal else "the next try"
        return (
            f"{unknown}; {who} sends the identical request under the same key, which APIMart answers with the "
            'first one\'s id for 24 hours (with on_unknown_submit="fail" it sends nothing until somebody has looked)'
        )
    if record is None and isinstance(error, errors.LandingError):
        return "Nothing was submitted by this try"
    return "Nothing was charged" if error.charge is Charge.NO else "Whether anything was charged is not known"


def parked_text(record: Record, polls_failed: bool, last_word: str = "") -> str:
    """Return what to say when the deadline passes without a verdict.

    :param last_word: what was strange about APIMart's last answer (:func:`.polling.last_word`).
    """
    return (
        f"Generation {record.generation_id} was not finished by its "
        f"deadline{' and APIMart does not answer' if polls_failed else ''}. "
        f"{f'What was seen last: {last_word}. ' if last_word else ''}"
        "It is parked: it goes on at APIMart and is billed when it completes (there is no cancel). Nothing is paid "
        "again: the next try, or a clear, re-attaches to it. A longer timeout= waits longer"
    )


def last_word_of(event: Any) -> str:
    """Return what was strange about APIMart's last answer, from a trigger's event. Older triggers do not say."""
    told = event.get("last_word") if isinstance(event, Mapping) else None
    return told if isinstance(told, str) else ""


def abandoned_text(generation_id: str) -> str:
    """Return what to say when Airflow stops a waiting task."""
    return (
        f"Airflow stopped waiting for generation {generation_id}. APIMart has no cancel: the generation goes on and "
        "is billed when it completes. The next try, or a clear, re-attaches to it without paying again."
    )


def iso(moment: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def result(
    record: Record,
    videos: Sequence[Video],
    landed: Sequence[LandedVideo],
    mismatches: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the operator's XCom. Every path returns exactly the same keys.

    :param videos: as APIMart lists them; may be empty if APIMart did not say (a landed video is returned anyway).
    :param landed: what is in storage, in the same order; empty if nothing was to be landed.
    :param mismatches: where the videos differ from the request; see :func:`.mismatch.mismatches`.
    """
    count = max(len(videos), len(landed))
    return {
        "generation_id": record.generation_id,
        "status": "completed",
        "model": record.model,
        "cost_usd": record.cost_usd,
        "submitted_at": iso(record.submitted_at),
        "completed_at": iso(record.completed_at),
        "videos": [
            _video(videos[i] if i < len(videos) else None, landed[i] if i < len(landed) else None) for i in range(count)
        ],
        "mismatches": [dict(one) for one in mismatches],
        "fallback_from": record.fallback_from,
    }


def _video(video: Video | None, landed: LandedVideo | None) -> dict[str, Any]:
    stored: Mapping[str, Any] = landed.model_dump() if landed else dict.fromkeys(LandedVideo.model_fields)
    return {
        "url": video.url if video else None,
        "expires_at": iso(video.expires_at) if video else None,
        **{name: stored[name] for name in LandedVideo.model_fields},
    }


def mismatch_text(record: Record, found: Sequence[Mapping[str, Any]], landed: Sequence[LandedVideo]) -> str:
    """Return what to say about a generation that was delivered, but not as requested."""
    cost = "an amount that APIMart did not tell" if record.cost_usd is None else f"{record.cost_usd:g} USD"
    where = ", ".join(video.path for video in landed) or "at APIMart only, since the task has no output_path"
    return (
        f"Generation {record.generation_id} was delivered, but not as it was asked for: {text_of(found)}. It was "
        f"charged with {cost}. It is here: {where}"
    )


def summary(view: Generation, record: Record) -> str:
    """Return one line about a finished generation for the log."""
    cost = "cost not told" if record.cost_usd is None else f"{record.cost_usd:g} USD"
    count = len(view.videos)
    return f"Generation {record.generation_id} is completed: {count} video{'s' if count != 1 else ''}, {cost}."
