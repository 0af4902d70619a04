"""APIMart's HTTP API without I/O: builds requests, reads answers into models or errors. Written once for sync and
async.

Every endpoint is a function that returns a :class:`Call`: what to send, how to read the answer, and whether it may be
sent again. The two clients only carry it over the wire. Section numbers are those of APIMart's contract.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import (
    Balance,
    Generation,
    GenerationStatus,
    Model,
    Price,
    Submission,
    Upload,
    read_number,
    read_time,
)

T = TypeVar("T")

#: The only known value of ``X-APIMart-Response-Version`` (1.4).
RESPONSE_VERSION = "2026-07-27"
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,191}")
#: The vendor's own client reads at most this much JSON (1.6).
MAX_RESPONSE_BYTES = 32 * 1024 * 1024


class Repeat(StrEnum):
    """What may be done when a call failed."""

    #: Reads: sent again after any passing error.
    FREELY = "freely"
    #: Paid: the identical body with the identical key, after any passing error.
    WITH_SAME_KEY = "with_same_key"
    #: Sent again only where it is sure that nothing was done: uploads (no idempotency), and paid calls of users who do
    #: not trust the replay.
    IF_NOT_DONE = "if_not_done"


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers (lower-case names) and the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to APIMart and how its answer is read. ``path`` is relative to the base URL."""

    method: str
    path: str
    read: Callable[[Reply], T]
    repeat: Repeat = Repeat.FREELY
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    file: tuple[str, bytes, str] | None = None
    #: Seconds without a byte before giving up. The defaults are the vendor client's (1.6).
    timeout_seconds: float = 15.0
    #: Public endpoints get no key.
    authenticated: bool = True
    what: str = "request"


# --- endpoints -------------------------------------------------------------------------------------------------------


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Return ``body`` as JSON that is the same to the byte every time."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()


def submit(
    body: Mapping[str, Any], idempotency_key: str, *, resend_unknown: bool = True, response_version: str | None = None
) -> Call[Submission]:
    """``POST /v1/videos/generations``: the paid call (2)."""
    if not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise ValueError("an idempotency key is 1 to 191 visible ASCII characters")
    headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
    if response_version:
        headers["X-APIMart-Response-Version"] = response_version
    return Call(
        "POST",
        "/v1/videos/generations",
        _read_submission,
        repeat=Repeat.WITH_SAME_KEY if resend_unknown else Repeat.IF_NOT_DONE,
        headers=headers,
        content=encode_body(body),
        timeout_seconds=45.0,
        what="submission",
    )


def generation(generation_id: str) -> Call[Generation]:
    """``GET /v1/tasks/{task_id}`` (3)."""
    return Call(
        "GET",
        f"/v1/tasks/{quote(generation_id, safe='')}",
        lambda reply: Generation.read(_read_task(reply), generation_id),
        # Messages in English, so that the same failure reads the same in every log.
        params={"language": "en"},
        what="status request",
    )


def upload(filename: str, content: bytes, content_type: str) -> Call[Upload]:
    """``POST /v1/uploads/images`` (5)."""
    return Call(
        "POST",
        "/v1/uploads/images",
        _read_upload,
        repeat=Repeat.IF_NOT_DONE,
        file=(filename, content, content_type),
        timeout_seconds=120.0,
        what="upload",
    )


def key_balance() -> Call[Balance]:
    """``GET /v1/balance``: what the key may still spend (6)."""
    return Call("GET", "/v1/balance", lambda reply: Balance.read(_read_object(reply)), what="balance request")


def account_balance() -> Call[Balance]:
    """``GET /v1/user/balance``: what the account holds (6)."""
    return Call("GET", "/v1/user/balance", lambda reply: Balance.read(_read_object(reply)), what="balance request")


def models() -> Call[tuple[Model, ...]]:
    """``GET /v1/models``: what the key may use (3.7)."""
    return Call("GET", "/v1/models", _read_models, what="model list request")


def prices(base_url: str = "") -> Call[tuple[Price, ...]]:
    """``GET /api/pricing/models/all``: the public price list (8.4). It is asked without a key."""
    path = f"{base_url}/api/pricing/models/all"
    return Call("GET", path, _read_prices, authenticated=False, what="price list request")


# --- answers ---------------------------------------------------------------------------------------------------------


def _read_submission(reply: Reply) -> Submission:
    envelope = _read_json(reply)
    data = envelope.get("data")
    item: Any = data[0] if isinstance(data, list) and data else data
    item = item if isinstance(item, Mapping) else {}
    for holder, name in ((item, "id"), (item, "task_id"), (envelope, "task_id"), (envelope, "id")):
        found = holder.get(name)
        if isinstance(found, (str, int)) and not isinstance(found, bool) and str(found).strip():
            info = item.get("task_info")
            return Submission(
                generation_id=str(found).strip(),
                status=GenerationStatus.read(item.get("status") or envelope.get("status") or "submitted"),
                replayed=reply.headers.get("idempotency-replayed", "").strip().lower() == "true",
                request_id=_request_id(reply, envelope),
                estimated_seconds=read_number(info.get("estimated_time")) if isinstance(info, Mapping) else None,
            )
    raise errors.MissingTaskIdError(
        "APIMart accepted the submission but named no task id",
        status=reply.status,
        request_id=_request_id(reply, envelope),
    )


def _read_task(reply: Reply) -> Mapping[str, Any]:
    envelope = _read_json(reply)
    data = envelope.get("data", envelope)
    if isinstance(data, list):
        data = data[0] if data else {}
    if not isinstance(data, Mapping) or not data:
        raise errors.ResponseError("APIMart's status answer holds no task", status=reply.status)
    return data


def _read_upload(reply: Reply) -> Upload:
    envelope = _read_json(reply)
    wrapped = envelope.get("data")
    data: Mapping[str, Any] = wrapped if isinstance(wrapped, Mapping) else envelope
    url = data.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "asset://")):
        raise errors.ResponseError("APIMart's upload answer holds no URL", status=reply.status)
    size = read_number(data.get("bytes"))
    return Upload(
        url=url,
        filename=data.get("filename") if isinstance(data.get("filename"), str) else None,
        content_type=data.get("content_type") if isinstance(data.get("content_type"), str) else None,
        bytes=None if size is None else int(size),
        created_at=read_time(data.get("created_at")),
    )


def _read_object(reply: Reply) -> Mapping[str, Any]:
    envelope = _read_json(reply)
    data = envelope.get("data", envelope)
    if not isinstance(data, Mapping):
        raise errors.ResponseError("APIMart's answer is not an object", status=reply.status)
    return data


def _read_models(reply: Reply) -> tuple[Model, ...]:
    data = _read_json(reply).get("data")
    items = data if isinstance(data, list) else []
    ids = [item.get("id") if isinstance(item, Mapping) else item for item in items]
    return tuple(Model(id=model) for model in ids if isinstance(model, str))


def _read_prices(reply: Reply) -> tuple[Price, ...]:
    data = _read_json(reply).get("data")
    kinds = data.get("models") if isinstance(data, Mapping) else None
    videos = kinds.get("video") if isinstance(kinds, Mapping) else None
    found = []
    for model in videos if isinstance(videos, list) else []:
        fixed = model.get("fixed_prices") if isinstance(model, Mapping) else None
        groups = [group for group in (fixed if isinstance(fixed, list) else [fixed]) if isinstance(group, Mapping)]
        for group in groups:
            items, unit = group.get("items"), str(group.get("unit") or "usd_per_call")
            for item in items if isinstance(items, list) else []:
                usd = read_number(item.get("after_discount")) if isinstance(item, Mapping) else None
                if usd is not None:
                    found.append(Price(model=str(model.get("id")), unit=unit, key=str(item.get("key") or ""), usd=usd))
    return tuple(found)


def _read_json(reply: Reply) -> Mapping[str, Any]:
    """Return the body as an object, or raise the error that the answer is."""
    if 300 <= reply.status < 400:
        where = reply.headers.get("location", "elsewhere")
        raise errors.RedirectError(
            f"the API redirected to {where[:200]!r}; redirects are not followed, because the key goes to the "
            "connection's "
            "host only. Set the connection's host to the API's real address",
            status=reply.status,
        )
    try:
        # Python's own parser takes NaN and Infinity, which are not JSON.
        parsed = json.loads(reply.content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        parsed = None
    if reply.status >= 400:
        raise read_error(reply, parsed)
    if not isinstance(parsed, Mapping):
        shown = reply.content[:80].decode(errors="replace")
        raise errors.ResponseError(f"APIMart's answer is not a JSON object: {shown!r}", status=reply.status)
    code = parsed.get("code")
    # A bare failed task carries an ``error`` of its own beside its ``status`` (3.2): that is an answer, not a refusal.
    bare_error = isinstance(parsed.get("error"), (Mapping, str)) and not {"data", "status"} & set(parsed)
    refused = bare_error or parsed.get("success") is False
    if refused or (isinstance(code, int) and not isinstance(code, bool) and code >= 400):
        raise read_error(reply, parsed)
    return parsed


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


# --- errors (7)
# --------------------------------------------------------------------------------------------------------

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
#: Identifiers that say more than the status; looked for in the code and, because it was seen there, in the message.
_BY_IDENTIFIER: dict[str, type[errors.ApiStatusError]] = {
    "idempotency_in_progress": errors.IdempotencyInProgressError,
    "idempotency_key_reused": errors.IdempotencyKeyReusedError,
    "idempotency_result_indeterminate": errors.IdempotencyIndeterminateError,
    "idempotency_unavailable": errors.IdempotencyUnavailableError,
    "get_channel_failed": errors.ChannelUnavailableError,
    "build_request_failed": errors.BadRequestError,
}
_REQUEST_ID = re.compile(r"\(request id: ([^)\s]+)\)")


def read_error(reply: Reply, parsed: Any) -> errors.ApiStatusError:
    """Return the error that an answer is, from any of the envelopes of 7.1."""
    envelope = parsed if isinstance(parsed, Mapping) else {}
    error = envelope.get("error")
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    message = fields.get("message") or (error if isinstance(error, str) else None) or envelope.get("message")
    if not message:
        shown = reply.content[:80].decode(errors="replace").strip()
        message = f"no message, but {shown!r}" if shown else "no message"
    message, code, kind = str(message)[:1000], fields.get("code"), fields.get("type")
    status = _status(reply.status, code, envelope.get("code"), message)
    cls = next((cls for name, cls in _BY_IDENTIFIER.items() if name in f"{code} {message}"), None)
    if cls is None:
        cls = _BY_STATUS.get(status, errors.ServerError if status >= 500 else errors.BadRequestError)
    return cls(
        message,
        status=status,
        code=str(code) if code not in (None, "") else None,
        error_type=str(kind) if kind else None,
        request_id=_request_id(reply, envelope, message),
        retry_after_seconds=retry_after(reply.headers),
    )


def _status(status: int, code: Any, envelope_code: Any, message: str) -> int:
    """Return the status that counts: HTTP's, or the envelope's where HTTP said 200."""
    if status >= 400:
        return status
    for value in (envelope_code, code):
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    # ``success: false`` comes with 200 and a text (6): only the text tells a wrong key from the server's own trouble.
    return 401 if "token" in message.lower() else 500


def _request_id(reply: Reply, envelope: Mapping[str, Any], message: str = "") -> str | None:
    found = reply.headers.get("x-oneapi-request-id") or envelope.get("request_id")
    if not found and (match := _REQUEST_ID.search(message)):
        found = match.group(1)
    return str(found)[:200] if found else None


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
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds)
