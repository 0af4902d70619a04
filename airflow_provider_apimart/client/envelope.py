"""Reads what surrounds every answer of APIMart: the JSON, the envelope and its error (section 7 of the contract).

Owns two rules. Every shape of error becomes an error of the one tree. The API key is removed from an answer's text
before anything else uses the text. Only then is the text shortened, so that not even half a key remains.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.readers import read_number, read_text
from airflow_provider_apimart.client.verdicts import Availability, Verdict, model_verdict, own_words, verdict


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers (lower-case names) and the whole body.

    :param secret: the API key, which must not come back in any text.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    secret: str = field(default="", repr=False)

    def clean(self, value: Any, limit: int) -> str:
        """Return ``value`` as text that may be shown."""
        text = read_text(value) or ""
        return (text.replace(self.secret, "***") if self.secret else text)[:limit]

    @property
    def beginning(self) -> str:
        """The beginning of the body, for messages."""
        return self.clean(self.content[:4096].decode(errors="replace"), 80).strip()


def read_json(reply: Reply) -> Mapping[str, Any]:
    """Return the body as an object, or raise the error that the answer stands for."""
    if 300 <= reply.status < 400:
        raise _redirect(reply)
    parsed = _parse(reply.content)
    if reply.status >= 400:
        raise read_error(reply, parsed)
    if not isinstance(parsed, Mapping):
        raise errors.ResponseError(f"APIMart's answer is not a JSON object: {reply.beginning!r}", status=reply.status)
    # A bare failed task has an ``error`` of its own beside its ``status`` (3.2): that is an answer, not a refusal.
    error, holds_answer = parsed.get("error"), parsed.get("data") or parsed.get("status")
    refused = isinstance(error, (Mapping, str)) and error and not holds_answer
    code = read_number(parsed.get("code"))
    if refused or str(parsed.get("success")).lower() == "false" or (code is not None and code >= 400):
        raise read_error(reply, parsed)
    return parsed


def read_submission_json(reply: Reply) -> Mapping[str, Any]:
    """Return the same as :func:`read_json` for a submission, whose errors can also be about the model."""
    try:
        return read_json(reply)
    except errors.ApiStatusError as error:
        about = _about_the_model(error, reply)
        if about is None:
            raise
        raise about from None


#: Errors that may be about the model. Others, such as a 409 or a refused prompt, never are.
_MAYBE_THE_MODEL = (errors.NotFoundError, errors.BadRequestError, errors.PermissionDeniedError, errors.ServerError)


def _about_the_model(error: errors.ApiStatusError, reply: Reply) -> errors.ApiStatusError | None:
    # The page of a proxy is no verdict, whatever its words: only JSON is APIMart's own.
    if not isinstance(error, _MAYBE_THE_MODEL) or isinstance(error, errors.ContentRefusedError):
        return None
    if not isinstance(_parse(reply.content), Mapping):
        return None
    said = model_verdict(error.status or 0, error.code, error.error_type, error.message)
    if said is None:
        return None
    kind = errors.ModelGoneError if said is Availability.GONE else errors.NoChannelError
    return kind(
        error.message,
        status=error.status,
        code=error.code,
        error_type=error.error_type,
        request_id=error.request_id,
        retry_after_seconds=error.retry_after_seconds,
    )


def _read_int(digits: str) -> int | float:
    # Python refuses to parse longer numbers, and would reject the whole answer.
    return int(digits) if len(digits) < 400 else math.inf


#: NaN and Infinity are not JSON, but Python servers write them. A paid video must not be lost because of one.
_DECODER = json.JSONDecoder(parse_constant=lambda name: None, parse_int=_read_int)


def _parse(content: bytes) -> Any:
    try:
        # (As ``json.loads`` does it, which makes a decoder for each answer.)
        return _DECODER.decode(content.decode(json.detect_encoding(content), "surrogatepass"))
    except (ValueError, RecursionError):
        return None


def _redirect(reply: Reply) -> errors.RedirectError:
    error = errors.RedirectError(
        f"the API redirected to {reply.clean(reply.headers.get('location', 'elsewhere'), 200)!r}; redirects are not "
        "followed, because the key goes to the connection's host only. Set the connection's host to the API's real "
        "address",
        status=reply.status,
    )
    if reply.status not in (301, 307, 308):
        # 301, 307 and 308 mean "nothing was done, send it there". The others may point to the result of a request that
        # was carried out.
        error.charge = errors.Charge.UNKNOWN
    return error


# --- errors (7) ------------------------------------------------------------------------------------------------------

_BY_STATUS: dict[int, type[errors.ApiStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.InsufficientBalanceError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    408: errors.ServerError,
    # A 409 without a known identifier: its meaning for the money is unknown, so nothing is sent again.
    409: errors.IdempotencyIndeterminateError,
    413: errors.UploadTooLargeError,
    422: errors.UpstreamError,
    429: errors.RateLimitError,
}
#: Identifiers that say more than the status. They are searched for in code and type and, because they have been seen
#: there, in the message.
_BY_IDENTIFIER: dict[str, type[errors.ApiStatusError]] = {
    "idempotency_in_progress": errors.IdempotencyInProgressError,
    "idempotency_key_reused": errors.IdempotencyKeyReusedError,
    "idempotency_result_indeterminate": errors.IdempotencyIndeterminateError,
    "idempotency_unavailable": errors.IdempotencyUnavailableError,
    "get_channel_failed": errors.ChannelUnavailableError,
    "build_request_failed": errors.BadRequestError,
}
#: The codes of new-api, one-api and related gateways for an account or key without money. They come with a 401, 403 or
#: 429, and vary. (``insufficient_quota`` with a 429 does not count: the gateways pass it on from their own suppliers.)
_EMPTY_CODES = frozenset({"insufficient_user_quota", "pre_consume_token_quota_failed", "token_quota_exhausted"})
_EMPTY_CODES_UNLESS_429 = frozenset(
    {"insufficient_quota", "insufficient_balance", "insufficient_credits", "quota_exhausted", "quota_not_enough"}
)
_EMPTY_TEXT = re.compile(
    r"\b(?:user|token|account|group|key|credit)(?:'s)?(?: remaining)? (?:quota|balance|credits?(?: limit)?) "
    r"(?:is |are |has been |have been )?(?:not enough|insufficient|exhausted|used up|too low)"
    r"|\binsufficient[ _](?:account |user |token )?(?:balance|quota|credits?)\b"
    r"|\bnot enough (?:balance|quota|credits?)\b"
    r"|\bpre-?consumed? (?:token )?quota failed|(?:额度|余额)(?:不足|已用尽|已耗尽)|预扣费额度失败"
)
_REQUEST_ID = re.compile(r"\(request id: ([^)\s]+)\)")
_KEY_REFUSED = re.compile(r"token not found|(invalid|expired|unknown) (token|api key)|token (is )?(invalid|expired)")


def read_error(reply: Reply, parsed: Any) -> errors.ApiStatusError:
    """Return the error that an answer stands for, from any of the envelopes of 7.1."""
    envelope = parsed if isinstance(parsed, Mapping) else {}
    error = envelope.get("error")
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    message = reply.clean(
        fields.get("message") or (error if isinstance(error, str) else None) or envelope.get("message"), 1000
    )
    if not message:
        message = f"no message, but {reply.beginning!r}" if reply.beginning else "no message"
    # The recorded 401 has an empty code; the envelope's own is then a number or, in one variant, the identifier.
    code, kind = reply.clean(fields.get("code") or envelope.get("code"), 200), reply.clean(fields.get("type"), 200)
    status = _status(reply.status, fields.get("code"), envelope.get("code"), message)
    cls = next((cls for name, cls in _BY_IDENTIFIER.items() if name in f"{code} {kind} {message}"), None)
    if cls is None and _is_empty(reply.status, status, {code.lower(), kind.lower()}, message.lower()):
        cls = errors.InsufficientBalanceError
    if cls is None:
        cls = _BY_STATUS.get(status, errors.ServerError if status >= 500 else errors.BadRequestError)
    if status in (400, 403) and cls in (errors.BadRequestError, errors.PermissionDeniedError):
        cls = _by_content(cls, verdict(code, kind, message))
    return cls(
        message,
        status=status,
        code=code or None,
        error_type=kind or None,
        param=_line(reply.clean(fields.get("param"), 100)) or None,
        request_id=request_id(reply, envelope, message),
        retry_after_seconds=retry_after(reply.headers),
    )


def _line(text: str) -> str:
    """Return ``text`` as one line of printable characters."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _is_empty(http_status: int, status: int, names: set[str], message: str) -> bool:
    """Return whether an error means that the account has no money. A 5xx may refer to another party's account."""
    if http_status >= 500:
        return False
    if names & _EMPTY_CODES or (status != 429 and names & _EMPTY_CODES_UNLESS_429):
        return True
    # With HTTP 200, only the text distinguishes the causes.
    return (http_status < 300 or status in (401, 403)) and _EMPTY_TEXT.search(own_words(message)) is not None


def _by_content(cls: type[errors.ApiStatusError], said: Verdict) -> type[errors.ApiStatusError]:
    """Return the error class of a refused request: refused for its content, temporarily refused, or ``cls``."""
    if said is Verdict.REFUSED:
        return errors.ContentRefusedError
    if said is Verdict.PASSING and cls is errors.BadRequestError:
        return errors.TemporaryRefusalError
    return cls


def _status(status: int, code: Any, envelope_code: Any, message: str) -> int:
    """Return the status that counts: HTTP's, or the envelope's where HTTP said 200."""
    if status >= 400:
        return status
    for value in (read_number(envelope_code), read_number(code)):
        if value is not None and 400 <= value < 600:
            return int(value)
    # ``success: false`` comes with 200 and a text (6): only the text distinguishes a wrong key from a server error.
    return 401 if _KEY_REFUSED.search(message.lower()) else 500


def request_id(reply: Reply, envelope: Mapping[str, Any], message: str = "") -> str | None:
    """Return APIMart's id of the request, from the header, the envelope or the message (1.5)."""
    found = reply.headers.get("x-oneapi-request-id") or envelope.get("request_id")
    if not found and (match := _REQUEST_ID.search(message)):
        found = match.group(1)
    return reply.clean(found, 200) or None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return ``Retry-After`` in seconds from now, from either of its forms; ``None`` if it is absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    seconds = read_number(value)
    if seconds is None:
        try:
            when = parsedate_to_datetime(value)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            seconds = (when - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return max(0.0, seconds)
