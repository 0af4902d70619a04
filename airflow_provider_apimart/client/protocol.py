"""APIMart's HTTP API without I/O: builds requests and parses answers into models or errors, once for sync and async.

Every endpoint is a function that returns a :class:`Call`: what to send, how to read the answer, and whether it may be
repeated. The two clients only send it. Section numbers are those of APIMart's contract; ``envelope.py`` reads what
surrounds every answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.envelope import (
    Reply,
    read_error,
    read_json,
    read_submission_json,
    request_id,
    retry_after,
)
from airflow_provider_apimart.client.models import (
    Balance,
    Generation,
    GenerationStatus,
    Model,
    Price,
    Submission,
    Upload,
)
from airflow_provider_apimart.client.readers import read_number, read_text, read_time

__all__ = [
    "IDEMPOTENCY_KEY",
    "MAX_RESPONSE_BYTES",
    "RESPONSE_VERSION",
    "Call",
    "Repeat",
    "Reply",
    "account_balance",
    "encode_body",
    "generation",
    "key_balance",
    "model_schema",
    "models",
    "prices",
    "read_error",
    "retry_after",
    "submit",
    "upload",
]

T = TypeVar("T")

#: The only known value of ``X-APIMart-Response-Version`` (1.4).
RESPONSE_VERSION = "2026-07-27"
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,191}")
#: The vendor's own client reads at most this much JSON (1.6).
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
#: A schema that was seen had 10 KB.
MAX_SCHEMA_BYTES = 1024 * 1024
#: Task ids had 31 characters so far. Anything much longer is not an id and would not fit into a URL.
ID_MAX = 255


class Repeat(StrEnum):
    """What may be done after a call failed."""

    #: Reads: repeated after any temporary error.
    FREELY = "freely"
    #: Paid: the identical body with the identical key, after any temporary error.
    WITH_SAME_KEY = "with_same_key"
    #: Repeated only if it is certain that nothing was done: uploads (no idempotency), and paid calls of users who do
    #: not trust the replay.
    IF_NOT_DONE = "if_not_done"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to APIMart and how its answer is read. ``path`` is relative to the base URL."""

    method: str
    path: str
    read: Callable[[Reply], T]
    repeat: Repeat = Repeat.FREELY
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    file: tuple[str, bytes, str] | None = field(default=None, repr=False)
    #: Seconds without a byte before the call fails. The defaults are those of the vendor's client (1.6).
    timeout_seconds: float = 15.0
    #: Public endpoints get no key.
    authenticated: bool = True
    what: str = "request"
    #: A POST that costs nothing: its errors leave no doubt about the money.
    free: bool = False

    @property
    def may_cost(self) -> bool:
        """True if carrying it out may cost money."""
        return self.method != "GET" and not self.free


# --- endpoints -------------------------------------------------------------------------------------------------------


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Return ``body`` as JSON that is byte-identical every time.

    :raises InvalidParameterError: if it cannot be written as JSON.
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused("body", type(body).__name__, f"a dict with text keys and JSON values ({error})") from None


def _refused(name: str, value: Any, allowed: str) -> errors.InvalidParameterError:
    return errors.InvalidParameterError((errors.FieldProblem(name, value, f"allowed: {allowed}"),))


def submit(
    body: Mapping[str, Any],
    idempotency_key: str,
    *,
    resend_unknown: bool = True,
    response_version: str | None = None,
    remix_of: str | None = None,
) -> Call[Submission]:
    """``POST /v1/videos/generations``: the paid call (2).

    :param remix_of: extend the video of this generation instead: ``POST /v1/videos/{task_id}/remix`` (4).
    """
    if not isinstance(idempotency_key, str) or not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise _refused("idempotency_key", idempotency_key, "1 to 191 visible ASCII characters")
    headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
    if response_version:
        headers["X-APIMart-Response-Version"] = response_version
    return Call(
        "POST",
        "/v1/videos/generations" if remix_of is None else f"/v1/videos/{_id_part(remix_of)}/remix",
        lambda reply: _read_submission(reply, idempotency_key),
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
        f"/v1/tasks/{_id_part(generation_id)}",
        lambda reply: Generation.read(_read_task(reply), generation_id).scrubbed(reply.secret),
        # Messages in English, so that the same failure reads the same in every log.
        params={"language": "en"},
        what="status request",
    )


def _id_part(generation_id: str) -> str:
    """Return a generation's id as a part of a path."""
    wanted = read_text(generation_id)
    if not isinstance(generation_id, str) or wanted != generation_id or not 0 < len(wanted) <= ID_MAX:
        raise _refused("generation_id", generation_id, f"the id of a generation, 1 to {ID_MAX} characters")
    # "." and ".." would change the path.
    return quote(wanted, safe="") if wanted.strip(".") else wanted.replace(".", "%2E")


def upload(filename: str, content: bytes, content_type: str) -> Call[Upload]:
    """``POST /v1/uploads/images`` (5)."""
    return Call(
        "POST",
        "/v1/uploads/images",
        _read_upload,
        repeat=Repeat.IF_NOT_DONE,
        # File names may hold bytes that are not text.
        file=(read_text(filename) or "image", content, content_type),
        free=True,
        timeout_seconds=120.0,
        what="upload",
    )


def key_balance() -> Call[Balance]:
    """``GET /v1/balance``: what the key may still spend (6)."""
    return Call("GET", "/v1/balance", _read_balance, what="balance request")


def account_balance() -> Call[Balance]:
    """``GET /v1/user/balance``: what the account holds (6)."""
    return Call("GET", "/v1/user/balance", _read_balance, what="balance request")


def models(*, expand: bool = False) -> Call[tuple[Model, ...]]:
    """``GET /v1/models``: what the key may use (3.7).

    :param expand: also request what each model makes.
    """
    params = {"expand": "true"} if expand else {}
    return Call("GET", "/v1/models", _read_models, params=params, what="model list request")


def model_schema(model: str) -> Call[Mapping[str, Any]]:
    """``GET /v1/models/{id}/schema``: the JSON schema of a model's request (10.19)."""
    part = quote(model, safe="") if model.strip(".") else model.replace(".", "%2E")
    return Call("GET", f"/v1/models/{part}/schema", _read_schema, what="model schema request")


def prices(base_url: str = "") -> Call[tuple[Price, ...]]:
    """``GET /api/pricing/models/all``: the public price list (8.4), without a key."""
    path = f"{base_url}/api/pricing/models/all"
    return Call("GET", path, _read_prices, authenticated=False, what="price list request")


# --- answers ---------------------------------------------------------------------------------------------------------


def _read_submission(reply: Reply, idempotency_key: str) -> Submission:
    envelope = read_submission_json(reply)
    replayed = reply.headers.get("idempotency-replayed", "").strip().lower() == "true"
    data = envelope.get("data")
    item: Any = data[0] if isinstance(data, list) and data else data
    item = item if isinstance(item, Mapping) else {}
    for holder, name in ((item, "id"), (item, "task_id"), (envelope, "task_id"), (envelope, "id")):
        found = holder.get(name)
        known = (read_text(found) or "").strip() if isinstance(found, (str, int)) and found is not True else ""
        if 0 < len(known) <= ID_MAX:
            info = item.get("task_info")
            return Submission(
                generation_id=known,
                status=GenerationStatus.read(item.get("status") or envelope.get("status") or "submitted"),
                replayed=replayed,
                request_id=request_id(reply, envelope),
                estimated_seconds=read_number(info.get("estimated_time")) if isinstance(info, Mapping) else None,
            )
    # A synchronous result (2, "generation.result") is paid for, and the key alone finds it again.
    result = Generation.read(item or envelope, idempotency_key).scrubbed(reply.secret)
    if result.status is GenerationStatus.COMPLETED and result.videos:
        return Submission(generation_id=idempotency_key, status=result.status, replayed=replayed, result=result)
    raise errors.MissingTaskIdError(
        "APIMart accepted the submission but named no task id",
        status=reply.status,
        request_id=request_id(reply, envelope),
    )


def _read_task(reply: Reply) -> Mapping[str, Any]:
    envelope = read_json(reply)
    data = envelope.get("data")
    if isinstance(data, list):
        data = data[0] if data else None
    elif data is None and {"id", "task_id", "progress", "result"} & set(envelope):
        # Unwrapped. A ``status`` alone does not make a task: gateways report their own state as {"status": "error"}.
        data = envelope
    if not isinstance(data, Mapping) or not data:
        raise errors.ResponseError("APIMart's status answer holds no task", status=reply.status)
    return data


def _read_upload(reply: Reply) -> Upload:
    envelope = read_json(reply)
    wrapped = envelope.get("data")
    data: Mapping[str, Any] = wrapped if isinstance(wrapped, Mapping) else envelope
    url = data.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "asset://")) or read_text(url) != url:
        raise errors.ResponseError("APIMart's upload answer holds no URL", status=reply.status)
    size = read_number(data.get("bytes"))
    filename, content_type = data.get("filename"), data.get("content_type")
    return Upload(
        url=url,
        filename=read_text(filename) if isinstance(filename, str) else None,
        content_type=read_text(content_type) if isinstance(content_type, str) else None,
        bytes=None if size is None else int(size),
        created_at=read_time(data.get("created_at")),
    )


def _read_balance(reply: Reply) -> Balance:
    envelope = read_json(reply)
    wrapped = envelope.get("data")
    balance = Balance.read(wrapped if isinstance(wrapped, Mapping) else envelope)
    if balance.remaining_usd is None and not balance.unlimited:
        raise errors.ResponseError(f"APIMart's answer holds no balance: {reply.beginning!r}", status=reply.status)
    return balance


def _read_models(reply: Reply) -> tuple[Model, ...]:
    data = read_json(reply).get("data")
    if not isinstance(data, list):
        raise errors.ResponseError(f"APIMart's answer holds no models: {reply.beginning!r}", status=reply.status)
    found = []
    for item in data:
        fields: Mapping[str, Any] = item if isinstance(item, Mapping) else {"id": item}
        if name := _name(fields.get("id")):
            # Shown in errors, so without the key.
            found.append(Model(id=reply.clean(name, ID_MAX), category=_category(fields.get("category"))))
    return tuple(found)


def _category(value: Any) -> str:
    words = value if isinstance(value, list) else [value]
    return " ".join(word.strip().lower() for word in map(_name, words) if word)


def _read_schema(reply: Reply) -> Mapping[str, Any]:
    envelope = read_json(reply)
    wrapped = envelope.get("data")
    schema = (wrapped if isinstance(wrapped, Mapping) else envelope).get("input_schema")
    # What it allows is shown in errors, so a schema that holds the key is not used.
    leaks = bool(reply.secret) and reply.secret.encode() in reply.content
    if not isinstance(schema, Mapping) or len(reply.content) > MAX_SCHEMA_BYTES or leaks:
        raise errors.ResponseError("APIMart's answer holds no schema that can be read", status=reply.status)
    return schema


def _read_prices(reply: Reply) -> tuple[Price, ...]:
    data = read_json(reply).get("data")
    kinds = data.get("models") if isinstance(data, Mapping) else None
    videos = kinds.get("video") if isinstance(kinds, Mapping) else None
    if not isinstance(videos, list):
        raise errors.ResponseError(f"APIMart's answer holds no prices: {reply.beginning!r}", status=reply.status)
    return tuple(price for model in videos if isinstance(model, Mapping) for price in _model_prices(model))


def _model_prices(model: Mapping[str, Any]) -> list[Price]:
    name, fixed = _name(model.get("id")), model.get("fixed_prices")
    groups = [group for group in (fixed if isinstance(fixed, list) else [fixed]) if isinstance(group, Mapping)]
    found = []
    for group in groups:
        unit, items = read_text(group.get("unit")) or "usd_per_call", group.get("items")
        for item in items if isinstance(items, list) else []:
            usd = read_number(item.get("after_discount")) if isinstance(item, Mapping) else None
            if name and usd is not None:
                found.append(Price(model=name, unit=unit, key=read_text(item.get("key")) or "", usd=usd))
    return found


def _name(value: Any) -> str | None:
    return read_text(value) if isinstance(value, str) else None
