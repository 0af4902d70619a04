"""One tree of errors for everything that can go wrong with APIMart.

Every error answers three questions by its type, never by its text:

* ``terminal``: would the same call, sent again unchanged, fail again? A terminal error is not repeated.
* ``charge``: was money spent? ``Charge.UNKNOWN`` means that this side cannot know. The only safe thing to send is then
  the identical body with the identical idempotency key.
* ``request_id``: what APIMart's support asks for first.

Messages tell the user what happened, what happened to the money, and what to do next. They never hold the API key: the
client scrubs it from the server's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Charge(StrEnum):
    """What an error says about the charge."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class ApimartError(Exception):
    """Root of the tree.

    :param message: what happened, as APIMart or this library says it.
    :param status: the HTTP status, where there was an answer.
    :param code: APIMart's machine-readable code (``error.code``), as text.
    :param error_type: APIMart's ``error.type``.
    :param param: the field that is to blame, as APIMart names it (``error.param``).
    :param request_id: APIMart's id of the request, from the header, the envelope or the message.
    :param retry_after_seconds: the wait that ``Retry-After`` requested, in seconds from now.
    """

    terminal: ClassVar[bool] = False
    charge: Charge = Charge.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        error_type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.error_type = error_type
        self.param = param
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        #: The full explanation for the user, if a caller that knows all the facts has set it.
        self.explained: str | None = None

    def __str__(self) -> str:
        if self.explained is not None:
            return self.explained
        notes = [f"HTTP {self.status}"] if self.status is not None else []
        told = (("code", self.code), ("field", self.param), ("request", self.request_id))
        notes += [f"{name} {value}" for name, value in told if value]
        return f"{self.message} ({', '.join(notes)})" if notes else self.message

    def scrub(self, secret: str) -> None:
        """Remove ``secret`` from everything that this error would print, in place."""
        if not secret:
            return
        for name in ("message", "code", "error_type", "param", "request_id"):
            value = getattr(self, name)
            if isinstance(value, str):
                setattr(self, name, value.replace(secret, "***"))
        self.args = tuple(a.replace(secret, "***") if isinstance(a, str) else a for a in self.args)


# --- before anything is sent -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldProblem:
    """One wrong value.

    :param field: its name.
    :param value: as it was given.
    :param allowed: what would be right.
    """

    field: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        try:
            shown = repr(self.value)
        except (ValueError, RecursionError):
            # Python refuses to print an int of thousands of digits or a list of thousands of levels.
            shown = f"a {type(self.value).__name__} too large to show"
        return f"{self.field}={shown if len(shown) <= 120 else shown[:117] + '...'}: {self.allowed}"


class InvalidParameterError(ApimartError, ValueError):
    """A request that APIMart would refuse, refused here before anything is sent.

    :param problems: all of them, not only the first.
    """

    terminal = True
    charge = Charge.NO

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.problems,), self.__dict__)


class ConfigurationError(ApimartError, ValueError):
    """The connection cannot be used: no key, no such host, ``http://`` to somewhere else, and the like."""

    terminal = True
    charge = Charge.NO


# --- no answer, or none that can be read -------------------------------------------------------------------------


class ApimartConnectionError(ApimartError):
    """No connection could be opened, so nothing was sent: wrong host, refused, DNS, TLS."""

    charge = Charge.NO


class OutcomeUnknownError(ApimartError):
    """The request may have been carried out: it was sent, but no answer says what became of it."""


class ApimartTimeoutError(OutcomeUnknownError):
    """The answer did not come in time."""


class ResponseError(OutcomeUnknownError):
    """An answer came, but it violates the contract: broken JSON, HTML, too large, or of an unknown shape."""


class MissingTaskIdError(ResponseError):
    """A submission was accepted (2xx), but the answer holds no generation id."""


class RedirectError(ApimartError):
    """The API answered with a redirect. It is not followed: the key goes to the API's host and nowhere else."""

    terminal = True
    charge = Charge.NO


# --- what APIMart says: section 7 of the contract ----------------------------------------------------------------


class ApiStatusError(ApimartError):
    """APIMart answered with an error. The subclasses say which."""


class BadRequestError(ApiStatusError):
    """400, or a 500 that hides one (``build_request_failed``): the parameters are wrong."""

    terminal = True
    charge = Charge.NO


class ContentRefusedError(BadRequestError):
    """400 or 403: the prompt or an image was refused for its content. No generation was made."""


class TemporaryRefusalError(ApiStatusError):
    """400 whose text describes a temporary problem, such as a timeout of the moderation service. Nothing was done."""

    charge = Charge.NO


class AuthenticationError(ApiStatusError):
    """401: the API key is wrong, revoked or missing."""

    terminal = True
    charge = Charge.NO


class InsufficientBalanceError(ApiStatusError):
    """402, or another 4xx with the same meaning: the account or the key's quota does not cover the request."""

    terminal = True
    charge = Charge.NO

    @property
    def current_usd(self) -> float | None:
        """The remaining balance, if APIMart's text gives it."""
        return _dollars(_CURRENT, self.message)

    @property
    def required_usd(self) -> float | None:
        """The required balance, if APIMart's text gives it."""
        return _dollars(_REQUIRED, self.message)


# "insufficient balance (current: 0.013570 USD, required: 0.050000 USD)", and the wording of related gateways.
_CURRENT = re.compile(r"(?:current|remain quota|user quota|剩余额度)[:\uff1a] *[$\uff04]?(\d+(?:\.\d+)?)")
_REQUIRED = re.compile(r"(?:required|need quota|需要预扣费额度)[:\uff1a] *[$\uff04]?(\d+(?:\.\d+)?)")


def _dollars(pattern: re.Pattern[str], message: str) -> float | None:
    found = pattern.search(message)
    return float(found[1]) if found else None


class PermissionDeniedError(ApiStatusError):
    """403: the key may not use this model, from this address, or at all."""

    terminal = True
    charge = Charge.NO


class NotFoundError(ApiStatusError):
    """404: APIMart knows no such route or task."""

    terminal = True
    charge = Charge.NO


class ModelGoneError(ApiStatusError):
    """APIMart has the model no longer, or never had it. Nothing was made and nothing was charged."""

    terminal = True
    charge = Charge.NO
    #: Which models the account has, and how to switch, if a caller has asked.
    advice: str = ""


class NoChannelError(ApiStatusError):
    """503 ``model_not_found``, "No available channel": APIMart has nowhere to send requests for this model now.

    This can pass, and it is also what a retired model looks like. Nothing was done.
    """

    charge = Charge.NO
    advice: str = ""


class UploadTooLargeError(ApiStatusError):
    """413: the image is larger than APIMart accepts."""

    terminal = True
    charge = Charge.NO


class RateLimitError(ApiStatusError):
    """429: too many requests."""

    charge = Charge.NO


class ChannelUnavailableError(ApiStatusError):
    """``get_channel_failed``: no upstream channel right now. It looks like a 400, but is temporary."""

    charge = Charge.NO


class UpstreamError(ApiStatusError):
    """422 with ``bad_response_status_code``: something behind APIMart failed."""


class ServerError(ApiStatusError):
    """408 and 5xx: the request may have been carried out."""


class IdempotencyUnavailableError(ApiStatusError):
    """503 ``idempotency_unavailable``: APIMart could not look the key up and did nothing."""

    charge = Charge.NO


class IdempotencyInProgressError(ApiStatusError):
    """409 ``idempotency_in_progress``: the first request with this key is still being processed."""

    charge = Charge.NO


class IdempotencyKeyReusedError(ApiStatusError):
    """409 ``idempotency_key_reused``: this key was already used with another body."""

    terminal = True
    charge = Charge.NO


class IdempotencyIndeterminateError(ApiStatusError):
    """409 ``idempotency_result_indeterminate``: APIMart itself does not know the outcome. Nothing may be sent again."""

    terminal = True


# --- what became of a generation ---------------------------------------------------------------------------------


class GenerationError(ApimartError):
    """A generation that was submitted did not become a video.

    :param generation_id: APIMart's id of it, or ``unknown``.
    """

    def __init__(self, message: str, *, generation_id: str, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.generation_id = generation_id

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_generation_error, (type(self), self.message, self.generation_id), self.__dict__)


def _rebuild_generation_error(kind: type[GenerationError], message: str, generation_id: str) -> GenerationError:
    return kind(message, generation_id=generation_id)


class GenerationFailedError(GenerationError):
    """APIMart reports the generation as failed. Failed generations are not charged; a new one may be made."""

    charge = Charge.NO


class ContentRejectedError(GenerationError):
    """The prompt or an image of a generation was refused for its content. Retries do not submit it again."""

    terminal = True
    charge = Charge.NO


class GenerationModelGoneError(ModelGoneError, GenerationError):
    """A generation failed because its model is gone. Not charged; retries do not submit it again."""


class EmptyResultError(GenerationError):
    """``completed`` without a video. Only the account's bill shows whether it was charged."""

    terminal = True


class GenerationParkedError(GenerationError):
    """The deadline passed without a verdict. The generation continues, and the next try re-attaches to it."""

    charge = Charge.YES


class GenerationRefusedError(GenerationError):
    """Continuing would pay again, or pay with an unknown outcome: refused until the user decides."""

    terminal = True


class DeliveredMismatchError(GenerationError):
    """The video is landed but differs from the request, and the user chose to treat that as a failure."""

    terminal = True
    charge = Charge.YES


# --- landing -----------------------------------------------------------------------------------------------------


class LandingError(ApimartError):
    """The video exists and is paid for, but could not be copied into storage."""

    charge = Charge.YES


class VideoExpiredError(LandingError):
    """The video's URL has expired, and requesting a new one returned no other."""

    terminal = True


class InvalidVideoError(LandingError):
    """What the URL served is not a whole MP4."""


class VideoTooLargeError(LandingError):
    """The video is larger than the connection's cap."""

    terminal = True


class ForbiddenAddressError(LandingError):
    """The video's URL points to an address that the worker must not fetch from."""

    terminal = True


def details(error: ApimartError) -> Mapping[str, str]:
    """Return an error's fields other than its message, for structured logs, without secrets.

    :param error: any of the tree.
    """
    known = {
        "type": type(error).__name__,
        "status": error.status,
        "code": error.code,
        "request_id": error.request_id,
        "charged": error.charge,
    }
    return {name: str(value) for name, value in known.items() if value is not None}
