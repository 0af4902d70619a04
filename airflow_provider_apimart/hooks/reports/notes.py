"""What a task tells the pages about its generation: a small XCom beside the result.

A result is there on success only, so a task also leaves a note when it begins to wait and when it fails. Airflow keeps
XComs of a failed try until the next one, on every supported version. A note is plain JSON under 64 KB, and holds no
secret and no URL. It decides nothing, so an error here fails no task.

Its key names the hour (``apimart_note_2026112614``). Airflow's database has an index on XComs' keys and none on their
times: so the gallery finds what is new by asking for the hour, however many XComs there are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, clipped
from airflow_provider_apimart.generation.purchase.report import Explanation, iso
from airflow_provider_apimart.generation.tables.cells import label
from airflow_provider_apimart.generation.waiting.schedule import expected_seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

VERSION = 1
PREFIX = "apimart_note_"
MAX_TEXT_LENGTH = 24_000
MAX_ERROR_LENGTH = 4000
MAX_OTHERS_LENGTH = 8000
MAX_SHEETS = 100
#: Parameters that are not told with the others. What ``extra_body`` holds is not known.
_APART = frozenset({"prompt", "seed", "model", "extra_body"})
#: Paid for, or perhaps paid for, and not in storage: another try can go on with it.
_OWED = {RecordState.SUBMITTED: "unlanded", RecordState.INTENT: "unknown"}


def key_of_hour(moment: datetime) -> str:
    """Return the key of the notes of one hour."""
    return f"{PREFIX}{moment.astimezone(UTC):%Y%m%d%H}"


def leave(context: Mapping[str, Any] | Context, write: Callable[[], Mapping[str, Any]]) -> None:
    """Leave a note beside the task's result. It never raises: the generation may be paid for by now.

    :param write: returns the note, so that an error in writing it fails no task either.
    """
    try:
        context["ti"].xcom_push(key=key_of_hour(datetime.now(UTC)), value=dict(write()))
    except Exception as error:
        log.info("The pages are not told of this (%s): %s", type(error).__name__, error)


def of_generation(
    task: Any,
    record: Record | None,
    *,
    outcome: str,
    request: VeoRequest | None = None,
    detail: str | None = None,
    videos: Sequence[LandedVideo] = (),
    error: Explanation | None = None,
    deadline: float | None = None,
) -> dict[str, Any]:
    """Return the note about one generation.

    :param task: the operator, with its arguments rendered.
    :param outcome: ``running``, ``completed``, ``failed`` or ``parked``.
    :param request: what was asked for; ``None`` for what the arguments say now.
    :param detail: the finer word for it.
    :param deadline: when the wait ends, in unix seconds.
    """
    asked = {name: getattr(request if request is not None else task, name, None) for name in VeoRequest.FIELDS}
    prompt, seed = asked["prompt"], asked["seed"]
    model = str((record and record.model) or asked["model"] or "")
    others = {name: _shown(value) for name, value in asked.items() if name not in _APART and value not in (None, "")}
    resolution = asked["resolution"]
    labels = getattr(task, "labels", None)
    return {
        "version": VERSION,
        "kind": "generation",
        "outcome": outcome,
        "detail": detail,
        "generation_id": record and record.generation_id,
        "prompt": clipped(prompt if isinstance(prompt, str) else _json(prompt) if prompt else "", MAX_TEXT_LENGTH),
        "model": model,
        "parameters": _small(others),
        "seed": seed,
        "labels": _small(labels if isinstance(labels, Mapping) else {}),
        "cost_usd": record and record.cost_usd,
        "submitted_at": iso(record.submitted_at or record.intent_at) if record else None,
        "completed_at": iso(record.completed_at) if record else None,
        "deadline": iso(datetime.fromtimestamp(deadline, UTC)) if deadline else None,
        "expected_seconds": expected_seconds(model, resolution if isinstance(resolution, str) else None),
        "videos": [video.model_dump(mode="json") for video in videos],
        "fallback_from": record and record.fallback_from,
        "error": _error(error),
        "on_clear": getattr(task, "on_clear", None),
        "at": iso(datetime.now(UTC)),
    }


def of_failure(task: Any, record: Record | None, error: Explanation, *, parked: bool) -> dict[str, Any]:
    """Return the note about a try that failed.

    :param parked: whether the deadline passed while the generation went on.
    """
    if record is not None and record.state is RecordState.LANDED:
        return of_generation(task, record, outcome="completed", detail="landed", videos=record.landed, error=error)
    owed = "parked" if parked else _OWED.get(record.state) if record else None
    detail = owed or (str(record.state) if record else None)
    return of_generation(task, record, outcome="parked" if owed else "failed", detail=detail, error=error)


def of_batch(
    task: Any, *, outcome: str, manifest: str | None, summary: Mapping[str, Any], error: str | None = None
) -> dict[str, Any]:
    """Return the note about a batch.

    :param manifest: where it is; ``None`` while the batch runs.
    :param summary: the counts and the cost, as in the operator's XCom.
    """
    return {
        "version": VERSION,
        "kind": "batch",
        "outcome": outcome,
        "model": str(getattr(task, "model", "") or ""),
        "manifest": manifest,
        "summary": dict(summary),
        "error": _only_text(error),
        "at": iso(datetime.now(UTC)),
    }


def of_media_batch(told: Mapping[str, Any], error: str | None = None) -> dict[str, Any]:
    """Return the note about a batch of media work: it pays for nothing, so it is no generation and no spend.

    :param told: what the operator returns, also where it fails: ``manifest``, ``rows``, ``outcomes``,
        ``contact_sheets``.
    """
    names = ("rows", "good", "failed", "outcomes")
    return {
        "version": VERSION,
        "kind": "media_batch",
        "outcome": "completed" if error is None else "failed",
        "manifest": told["manifest"],
        "contact_sheets": list(told["contact_sheets"])[:MAX_SHEETS],
        "summary": {name: told[name] for name in names},
        "error": _only_text(error),
        "at": iso(datetime.now(UTC)),
    }


def _error(error: Explanation | None) -> dict[str, str] | None:
    if error is None:
        return None
    parts = {"text": error.text, "money": error.money, "next": error.next}
    return {name: clipped(part, MAX_ERROR_LENGTH) for name, part in parts.items()}


def _only_text(error: str | None) -> dict[str, str] | None:
    return None if error is None else {"text": clipped(error, MAX_ERROR_LENGTH), "money": "", "next": ""}


def _shown(value: Any) -> Any:
    """Return a parameter without what signs the address of a frame."""
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return value


def _json(value: Any) -> str:
    return json.dumps(label(value), ensure_ascii=False)


def _small(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as plain JSON, without those that make it long."""
    small: dict[str, Any] = {}
    for name, value in values.items():
        text = _json(value)
        if len(_json(small)) + len(text) + len(name) > MAX_OTHERS_LENGTH:
            continue
        small[str(name)] = json.loads(text)
    return small
