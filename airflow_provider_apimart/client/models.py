"""APIMart's answers, in one shape each, whatever shape they arrived in.

The readers here are lenient on purpose: sections 3 and 10 of the contract record several spellings of the same thing,
and a paid video must not be lost because a field changed its type. They are strict in one respect: nothing is guessed.
An unknown status means "not finished yet"; a number that cannot be parsed is ``None``.

The request, :class:`VeoRequest`, lives in ``request.py`` and is also exported here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_apimart.client.readers import read_number, read_text, read_time
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.verdicts import Verdict, task_lost_its_model, verdict

__all__ = [
    "Balance",
    "Generation",
    "GenerationStatus",
    "Model",
    "Price",
    "Submission",
    "Upload",
    "VeoRequest",
    "Video",
]

#: How long a video's URL lives if APIMart does not say: the shorter of the two documented times.
DEFAULT_URL_LIFE = timedelta(hours=24)
#: A result that is JSON text is read up to this length.
MAX_RESULT_TEXT = 1_000_000
#: Unknown names of a task's answer that are kept, and how long their texts may be.
MAX_EXTRA, MAX_EXTRA_TEXT = 20, 100
_KNOWN_NAMES = frozenset(
    "id task_id status progress created completed estimated_time actual_time cost credits_cost result error "
    "error_message fail_reason message object type model".split()
)
#: How many characters of an unknown status are shown.
STATUS_SHOWN = 60

_COMPLETED = {"completed", "success", "succeeded"}
#: Words that mean "completed" elsewhere and have not been seen here: beside a video they count as completed. What is
#: landed is checked; what is not landed expires, although it is paid for.
_COMPLETED_WITH_VIDEO = {"complete", "done", "finish", "finished", "succeed", "successful"}
_FAILED = {"failed", "cancelled", "canceled", "failure", "error"}
_QUEUED = {"submitted", "pending", "queued"}
_RUNNING = {"processing", "in_progress", "running"}


class Frozen(BaseModel):
    """Base class of models that cross a boundary."""

    model_config = ConfigDict(frozen=True)


class GenerationStatus(StrEnum):
    """The state of a generation. Any status of APIMart's that is not final counts as one of the first two."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @classmethod
    def read(cls, value: Any) -> GenerationStatus:
        """Read any spelling of a status; an unknown or missing one is not final."""
        word = _word(value)
        if word in _COMPLETED:
            return cls.COMPLETED
        if word in _FAILED:
            return cls.FAILED
        return cls.PENDING if word in _QUEUED else cls.PROCESSING

    @property
    def is_final(self) -> bool:
        """True for completed and failed."""
        return self in (GenerationStatus.COMPLETED, GenerationStatus.FAILED)


class Submission(Frozen):
    """An accepted submission.

    :param replayed: APIMart answered from its idempotency record: an earlier request paid for this generation.
    :param result: the finished generation, if APIMart answered with it and named no id. It cannot be polled, only
        replayed: ``generation_id`` is then the idempotency key.
    """

    generation_id: str
    status: GenerationStatus = GenerationStatus.PENDING
    replayed: bool = False
    request_id: str | None = None
    estimated_seconds: float | None = None
    result: Generation | None = None


class Video(Frozen):
    """One finished video: its URL, and how long that lives."""

    url: str
    expires_at: datetime | None = None


class Generation(Frozen):
    """APIMart's view of one generation.

    :param cost_usd: what was actually charged, after discounts; ``None`` until APIMart reports it.
    :param progress: 0 to 100.
    :param error_code: the code of a failure as text, if there is one.
    :param error_message: why it failed, or why a completed generation has no video.
    :param result_at_hand: a video is listed, whatever the status says.
    :param extra: what else the answer says, for APIMart's support: names that are not known here, with short texts.
    :param rejected: the failure is a plain refusal of the prompt or of an image (:mod:`.verdicts`).
    :param model_gone: the failure says that the model is no longer available (:mod:`.verdicts`).
    """

    generation_id: str
    status: GenerationStatus
    raw_status: str = ""
    progress: int | None = None
    cost_usd: float | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    estimated_seconds: float | None = None
    actual_seconds: float | None = None
    videos: tuple[Video, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    result_at_hand: bool = False
    rejected: bool = False
    extra: dict[str, str] = {}
    model_gone: bool = False

    @property
    def is_final(self) -> bool:
        """True if the state will not change any more."""
        return self.status.is_final

    @property
    def strange_status(self) -> str:
        """APIMart's own word for an unknown status, otherwise empty."""
        known = self.is_final or _word(self.raw_status) in _QUEUED | _RUNNING
        return "" if known else self.raw_status[:STATUS_SHOWN]

    @classmethod
    def read(cls, data: Mapping[str, Any], generation_id: str) -> Generation:
        """Read a task object (``data`` of the envelope, or the bare object of a webhook)."""
        status = GenerationStatus.read(data.get("status"))
        completed_at = read_time(data.get("completed"))
        offered = tuple(_videos(result, completed_at)) if (result := data.get("result")) else ()
        # A synchronous answer is called "generation.result"; nobody has recorded whether it has a status.
        at_once = data.get("object") == "generation.result" and not _word(data.get("status"))
        if offered and (at_once or _word(data.get("status")) in _COMPLETED_WITH_VIDEO):
            status = GenerationStatus.COMPLETED
        completed = status is GenerationStatus.COMPLETED
        videos = offered if completed else ()
        ended_badly = status is GenerationStatus.FAILED or (completed and not videos)
        code, message = _failure(data) if ended_badly else (None, None)
        progress = read_number(data.get("progress"))
        cost = read_number(data.get("cost"))
        credits_cost = read_number(data.get("credits_cost"))
        if cost is None and credits_cost is not None:
            cost = round(credits_cost / 10, 8)
        return cls(
            # The requested id, whatever the answer says: records are kept under it.
            generation_id=generation_id,
            status=status,
            raw_status=read_text(data.get("status")) or "",
            progress=None if progress is None else int(min(100, max(0, progress))),
            cost_usd=cost,
            created_at=read_time(data.get("created")),
            completed_at=completed_at,
            estimated_seconds=read_number(data.get("estimated_time")),
            actual_seconds=read_number(data.get("actual_time")),
            videos=videos,
            error_code=code,
            error_message=message,
            result_at_hand=bool(offered),
            # A completed generation may have been billed, and its video may still come, whatever a text beside it says.
            rejected=status is GenerationStatus.FAILED and _is_refusal(code, message, data.get("error")),
            extra=_extra(data) if status.is_final else {},
            model_gone=status is GenerationStatus.FAILED and _is_without_model(code, message, data.get("error")),
        )

    def scrubbed(self, secret: str) -> Generation:
        """Return the same with ``secret`` removed from texts that are shown (ids and URLs are not changed)."""
        names = ("raw_status", "error_code", "error_message")
        dirty = {name: value for name in names if secret and secret in (value := getattr(self, name) or "")}
        changes: dict[str, Any] = {name: value.replace(secret, "***") for name, value in dirty.items()}
        if secret and any(secret in text for item in self.extra.items() for text in item):
            changes["extra"] = {}
        return self.model_copy(update=changes) if changes else self


Submission.model_rebuild()


class Upload(Frozen):
    """An image that APIMart holds for 72 hours, and its public URL."""

    url: str
    filename: str | None = None
    content_type: str | None = None
    bytes: int | None = None
    created_at: datetime | None = None


class Balance(Frozen):
    """What a key or an account has left and has used, in USD. ``None`` means unlimited if ``unlimited`` is true."""

    remaining_usd: float | None
    used_usd: float | None
    unlimited: bool = False

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Balance:
        """Read a balance; dollars are computed from credits if only these are given."""
        flag = data.get("unlimited_quota")
        unlimited = flag is True or str(flag).lower() == "true"
        if flag is None:
            # Credits are dollars times ten, so -1 for both is not a debt but means "unlimited".
            unlimited = read_number(data.get("remain_balance")) == read_number(data.get("remain_credits")) == -1

        def usd(name: str) -> float | None:
            value = read_number(data.get(f"{name}_balance"))
            if value is None and (credits := read_number(data.get(f"{name}_credits"))) is not None:
                value = credits / 10
            return None if value is None or (unlimited and name == "remain") else value

        return cls(remaining_usd=usd("remain"), used_usd=usd("used"), unlimited=unlimited)


class Model(Frozen):
    """A model that the key may use.

    :param category: what it makes, as APIMart says it (``?expand=true``); empty if it does not say.
    """

    id: str
    category: str = ""


class Price(Frozen):
    """One price of a model: ``usd_per_second`` or ``usd_per_call``, by ``key`` (a resolution, often)."""

    model: str
    unit: str
    key: str
    usd: float


# --- readers ---------------------------------------------------------------------------------------------------------


def _word(status: Any) -> str:
    return status.strip().lower() if isinstance(status, str) else ""


def _urls(value: Any) -> Iterator[str]:
    """Yield http(s) URLs from a text or a list of texts."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, str) and item.strip().lower().startswith(("http://", "https://")):
            url = item.strip()
            if url.isprintable():
                yield url


def _videos(result: Any, completed_at: datetime | None) -> list[Video]:
    fallback = completed_at + DEFAULT_URL_LIFE if completed_at else None
    found: dict[str, Video] = {}
    for place in _places(_unpacked(result)):
        for holder, value in place:
            for url in _urls(value):
                found.setdefault(url, Video(url=url, expires_at=read_time(holder.get("expires_at")) or fallback))
        if found:
            # The other places at best repeat it: a preview, or the first of several.
            break
    return list(found.values())


def _unpacked(value: Any) -> Any:
    """Return what a JSON text holds; anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] not in ("[", "{") or len(text) > MAX_RESULT_TEXT:
        return value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value


def _places(result: Any) -> Iterator[list[tuple[Mapping[str, Any], Any]]]:
    """Yield the places in which videos have been seen, the documented one first, as pairs of holder and URLs."""
    if isinstance(result, Mapping):
        videos = _unpacked(result.get("videos"))
        yield [_place(video, result) for video in (videos if isinstance(videos, list) else [videos])]
        # Documented and recorded names first; the rest is what other clients of Veo 3.1 look for (11).
        for name in ("url", "video_url", "video", "output", "urls", "file_url", "download_url"):
            value = result.get(name)
            items = value if isinstance(value, list) else [value]
            yield [_place(_unpacked(item), result) for item in items]
    else:
        yield [_place(video, {}) for video in (result if isinstance(result, list) else [result])]


def _place(video: Any, holder: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    return (video, video.get("url") or video.get("video_url")) if isinstance(video, Mapping) else (holder, video)


def _extra(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the short values under names that are not known here. A URL can be signed, so none is kept."""
    found: dict[str, str] = {}
    for name, value in data.items():
        if name in _KNOWN_NAMES or not isinstance(value, (str, int, float)) or len(found) >= MAX_EXTRA:
            continue
        text, shown = read_text(value, MAX_EXTRA_TEXT + 1) or "", read_text(name, MAX_EXTRA_TEXT) or ""
        if text and len(text) <= MAX_EXTRA_TEXT and "://" not in text and text.isprintable() and shown.isprintable():
            found[shown] = text
    return found


def _failure(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the code and message of a failure, wherever APIMart put them."""
    error, result = data.get("error"), data.get("result")
    code = None
    messages: list[Any] = [error if isinstance(error, str) else None]
    if isinstance(error, Mapping):
        code, messages = error.get("code") or error.get("type"), [error.get("message")]
    nested = result.get("error") if isinstance(result, Mapping) else None
    nested = nested.get("message") if isinstance(nested, Mapping) else nested
    messages += [data.get("error_message"), nested, data.get("fail_reason"), data.get("message")]
    message = next((text for value in messages if value and (text := read_text(value))), None)
    return (read_text(code, 200) if code else None), message


def _is_refusal(code: str | None, message: str | None, error: Any) -> bool:
    kind = error.get("type") if isinstance(error, Mapping) else None
    return verdict(code, read_text(kind, 200), message) is Verdict.REFUSED


def _is_without_model(code: str | None, message: str | None, error: Any) -> bool:
    kind = error.get("type") if isinstance(error, Mapping) else None
    return task_lost_its_model(code, read_text(kind, 200), message)
