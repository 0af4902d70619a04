"""What stands around every answer of APIMart: the JSON, the envelope and the error in it (section 7 of the contract).

Owns two rules. Every error shape lands in the one error tree. No text of an answer goes on before the API key is taken
out of it: the cut to a printable length comes after, so that half a key does not slip through either.
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
from airflow_provider_apimart.client.models import read_number, read_text
from airflow_provider_apimart.client.verdicts import Verdict, own_words, verdict


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
        """Return ``value`` as a text that may be shown."""
        text = read_text(value) or ""
        return (text.replace(self.secret, "***") if self.secret else text)[:limit]

    @property
    def beginning(self) -> str:
        """What the body begins with, to show it."""
        return self.clean(self.content[:4096].decode(errors="replace"), 80).strip()


def read_json(reply: Reply) -> Mapping[str, Any]:
    """Return the body as an object, or raise the error that the answer is."""
    if 300 <= reply.status < 400:
        raise _redirect(reply)
    parsed = _parse(reply.content)
    if reply.status >= 400:
        raise read_error(reply, parsed)
    if not isinstance(parsed, Mapping):
        raise errors.ResponseError(f"APIMart's answer is not a JSON object: {reply.beginning!r}", status=reply.status)
    # A bare failed task carries an ``error`` of its own beside its ``status`` (3.2): that is an answer, not a refusal.
    error, holds_answer = parsed.get("error"), parsed.get("data") or parsed.get("status")
    refused = isinstance(error, (Mapping, str)) and error and not holds_answer
    code = read_number(parsed.get("code"))
    if refused or str(parsed.get("success")).lower() == "false" or (code is not None and code >= 400):
        raise read_error(reply, parsed)
    return parsed


def _parse(content: bytes) -> Any:
    try:
        # NaN and Infinity are not JSON, but Python servers write them: a paid video is not lost to one.
        return json.loads(content, parse_constant=lambda name: None, parse_int=_read_int)
    except (ValueError, RecursionError):
        return None


def _read_int(digits: str) -> int | float:
    # Python refuses to read longer ones, and with them the whole answer.
    return int(digits) if len(digits) < 400 else math.inf


def _redirect(reply: Reply) -> errors.RedirectError:
    error = errors.RedirectError(
        f"the API redirected to {reply.clean(reply.headers.get('location', 'elsewhere'), 200)!r}; redirects are not "
        "followed, because the key goes to the connection's host only. Set the connection's host to the API's real "
        "address",
        status=reply.status,
    )
    if reply.status not in (301, 307, 308):
        # These three say "nothing was done, ask there"; the others may point to the result of what was done.
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
    # A 409 without a known identifier: nobody knows what it means for the money, so nothing is sent again.
    409: errors.IdempotencyIndeterminateError,
    413: errors.UploadTooLargeError,
    422: errors.UpstreamError,
    429: errors.RateLimitError,
}
#: Identifiers that say more than the status; looked for in code and type and, because it was seen there, the message.
_BY_IDENTIFIER: dict[str, type[errors.ApiStatusError]] = {
    "idempotency_in_progress": errors.IdempotencyInProgressError,
    "idempotency_key_reused": errors.IdempotencyKeyReusedError,
    "idempotency_result_indeterminate": errors.IdempotencyIndeterminateError,
    "idempotency_unavailable": errors.IdempotencyUnavailableError,
    "get_channel_failed": errors.ChannelUnavailableError,
    "build_request_failed": errors.BadRequestError,
}
#: An account or a key without money, as new-api and one-api and their kin write it: with a 401, 403 or 429, and not
#: always with the same code. (``insufficient_quota`` with a 429 is what they pass on of their own suppliers.)
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
    """Return the error that an answer is, from any of the envelopes of 7.1."""
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
        request_id=request_id(reply, envelope, message),
        retry_after_seconds=retry_after(reply.headers),
    )


def _is_empty(http_status: int, status: int, names: set[str], message: str) -> bool:
    """Say whether an error means that there is no money. A 5xx can be about somebody else's."""
    if http_status >= 500:
        return False
    if names & _EMPTY_CODES or (status != 429 and names & _EMPTY_CODES_UNLESS_429):
        return True
    # (With HTTP 200 only the text tells one trouble from another.)
    return (http_status < 300 or status in (401, 403)) and _EMPTY_TEXT.search(own_words(message)) is not None


def _by_content(cls: type[errors.ApiStatusError], said: Verdict) -> type[errors.ApiStatusError]:
    """Return the error of a refused request: for its content, for now, or as its status has it."""
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
    # ``success: false`` comes with 200 and a text (6): only the text tells a wrong key from the server's own trouble.
    return 401 if _KEY_REFUSED.search(message.lower()) else 500


def request_id(reply: Reply, envelope: Mapping[str, Any], message: str = "") -> str | None:
    """Return APIMart's id of the request, from the header, the envelope or the message (1.5)."""
    found = reply.headers.get("x-oneapi-request-id") or envelope.get("request_id")
    if not found and (match := _REQUEST_ID.search(message)):
        found = match.group(1)
    return reply.clean(found, 200) or None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return ``Retry-After`` in seconds from now, from either of its forms; ``None`` where it is absent or
    unreadable.
    """
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
