"""What an error means for a row of a batch, and for the batch. Pure: the engine carries it out.

An error of a paid call is one of four kinds. A temporary error: the identical request is sent again under the same key.
An error of the row: the row ends, the others continue. An error of the batch: submissions stop, and running generations
are waited for and landed. A pause of the account: a 429. An unknown outcome is never called a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.purchase.transitions import nothing_was_done

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
#: How often APIMart may answer "not now" before the row is left to the next try.
TEMPORARY_REFUSALS = 6
#: The waits after "no channel for this model", after which its rows are left to the next try.
CHANNEL_WAITS = (2.0, 5.0, 15.0, 30.0)
LANDING_TRIES = 4
LANDING_WAITS = (2.0, 10.0, 30.0)
#: After this many consecutive videos that could not be landed, the storage counts as unusable and nothing more is paid
#: for.
LANDINGS_LOST = 8


class StopKind(StrEnum):
    """Why a batch stops submitting before its last row."""

    BALANCE = "balance"
    CREDENTIALS = "credentials"
    CONNECTION = "connection"
    ROW_FAILURE = "row_failure"
    BUDGET = "budget"
    SHARED_BUDGET = "shared_budget"
    STORAGE = "storage"
    NO_ANSWER = "no_answer"
    DEADLINE = "deadline"


@dataclass(frozen=True)
class Stop:
    """The end of submissions.

    :param final: a retry would end the same way unless a person intervenes.
    :param until: or unless it comes later than this, in unix seconds.
    """

    kind: StopKind
    text: str
    final: bool
    until: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What to do with a row whose submission failed.

    :param again_after: the seconds after which it is sent again; ``None`` ends the row.
    :param pause: the account pauses (for ``Retry-After``, or as long as the rate limiter says).
    :param outcome: how it ended.
    :param undone: nothing was done, so it can be submitted anew later.
    :param stop: nothing more is submitted.
    :param model_ends: nothing more is submitted for this row's model.
    """

    again_after: float | None = None
    pause: bool = False
    outcome: Outcome = Outcome.LEFT
    final: bool = False
    undone: bool = False
    stop: Stop | None = None
    model_ends: bool = False


def is_doubt(error: ApimartError) -> bool:
    """Return whether the request of a failed submission may have been carried out."""
    # "In progress" refuses this attempt only: another request under the key is being carried out.
    return error.charge is Charge.UNKNOWN or isinstance(error, errors.IdempotencyInProgressError)


def after_submission(
    error: ApimartError, *, doubtful: bool, failures: int, given_up: bool, resend_unknown: bool, ended: bool = False
) -> Verdict:
    """Return what a submission's error means.

    :param doubtful: this attempt, or one before it under the same key, may have been carried out.
    :param failures: attempts that have failed in a row, this one included.
    :param ended: the row's model is known to have ended.
    :param given_up: it has been tried for as long as the batch allows.
    """
    undone = nothing_was_done(error, doubtful=doubtful)
    unknown = Outcome.LEFT if undone else Outcome.UNKNOWN
    if doubtful and not resend_unknown:
        return Verdict(outcome=Outcome.UNKNOWN, final=True)
    if isinstance(error, errors.RateLimitError):
        return Verdict(again_after=0.0, pause=True)
    if isinstance(error, (errors.IdempotencyIndeterminateError, errors.IdempotencyKeyReusedError)):
        return Verdict(outcome=Outcome.UNKNOWN, final=True)
    if stop := stop_of(error):
        return Verdict(outcome=unknown, undone=undone, stop=stop)
    if undone and isinstance(error, errors.ModelGoneError):
        return Verdict(outcome=Outcome.MODEL_GONE, undone=True, final=True, model_ends=True)
    if undone and isinstance(error, errors.NoChannelError):
        if ended or failures > len(CHANNEL_WAITS):
            return Verdict(undone=True, model_ends=True)
        return Verdict(again_after=max(CHANNEL_WAITS[failures - 1], error.retry_after_seconds or 0.0))
    if error.terminal:
        return Verdict(outcome=Outcome.REFUSED if undone else Outcome.UNKNOWN, undone=undone, final=True)
    if isinstance(error, errors.TemporaryRefusalError) and failures >= TEMPORARY_REFUSALS:
        # The error concerns this row only, and must not delay or end the others.
        return Verdict(outcome=unknown if doubtful else Outcome.REFUSED, undone=undone)
    if given_up:
        stop = Stop(StopKind.NO_ANSWER, f"APIMart has not taken a submission for too long: {error}", False)
        return Verdict(outcome=unknown, undone=undone, stop=stop)
    return Verdict(again_after=wait_after(error, failures))


def stop_of(error: ApimartError) -> Stop | None:
    """Return why submissions must stop, if the error would affect every row."""
    if isinstance(error, errors.InsufficientBalanceError):
        return Stop(StopKind.BALANCE, str(error), True)
    if isinstance(error, (errors.AuthenticationError, errors.PermissionDeniedError)):
        return Stop(StopKind.CREDENTIALS, str(error), True)
    if isinstance(error, (errors.ConfigurationError, errors.NotFoundError, errors.RedirectError)):
        return Stop(StopKind.CONNECTION, str(error), True)
    return None


def wait_after(error: ApimartError, failures: int) -> float:
    """Return the seconds until a call is repeated after the ``failures``-th error in a row."""
    # (0, or a date from a clock behind ours, does not say how long to wait.)
    if asked := error.retry_after_seconds:
        return min(5 * LONGEST_WAIT_SECONDS, max(FIRST_WAIT_SECONDS, asked))
    return min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 10))
