"""Turns what a task has told into a row of the index, and a row back into what the gallery shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.ui.sources.entries import Entry
from airflow_provider_apimart.ui.sources.plain import short
from airflow_provider_apimart.ui.sources.views import MAX_PROMPT_IN_LISTS, Place

DAY = 86_400_000
MAX_WORDS = 3000
MAX_ERROR = 1000
MAX_ROW_NAME = 250
#: Of a label or a parameter.
MAX_VALUE = 1000
#: What has a column of its own, or is for the task's own page.
_APART = ("outcome", "row", "deadline", "check")


def digest(*parts: object) -> str:
    """Return a short key of some ids."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def task_key(place: Place) -> str:
    """Return the key of a task instance."""
    return digest(place.dag_id, place.run_id, place.task_id, place.map_index)


def row_key(place: Place, row: str | None, generation_id: str | None) -> str:
    """Return the key of a generation: of a task instance, or of a row of its batch."""
    name = None if row is None else row[:MAX_ROW_NAME]
    return digest(place.dag_id, place.run_id, place.task_id, place.map_index, name, generation_id)


def millis(moment: datetime) -> int:
    """Return a time as the index keeps it."""
    return int(moment.timestamp() * 1000)


def row_of(place: Place, entry: Entry, told_at: datetime) -> dict[str, Any]:
    """Return a row of ``apimart_generation``.

    :param told_at: when the entry's source was written.
    """
    since = datetime.fromisoformat(entry.submitted_at) if entry.submitted_at else told_at
    name = None if entry.row is None else entry.row[:MAX_ROW_NAME]
    return {
        "id": row_key(place, entry.row, entry.generation_id),
        "dag_id": place.dag_id,
        "run_id": place.run_id,
        "task_id": place.task_id,
        "map_index": place.map_index,
        "row_name": name,
        "outcome": entry.outcome,
        "at": millis(since),
        "cost": round((entry.cost_usd or 0.0) * 1_000_000),
        "videos": sum(1 for video in entry.videos if video.get("path")),
        "told_at": millis(told_at),
        "words": _words(place, entry),
        "body": _body(entry),
    }


def entry_of(row: Mapping[str, Any]) -> tuple[Place, Entry]:
    """Return what a row of the index tells."""
    place = Place(row["dag_id"], row["run_id"], row["task_id"], row["map_index"])
    body = json.loads(row["body"])
    return place, Entry(outcome=row["outcome"], row=row["row_name"], **body)


def day_of(at: int) -> int:
    """Return the day of a time, counted from 1970."""
    return at // DAY


def day_text(day: int) -> str:
    """Return a day as text."""
    return datetime.fromtimestamp(day * DAY // 1000, UTC).strftime("%Y-%m-%d")


def _words(place: Place, entry: Entry) -> str:
    labels = " ".join(f"{name}={value}" for name, value in short(entry.labels, MAX_VALUE).items())
    ids = f"{place.dag_id} {place.task_id} {entry.generation_id or ''} {entry.model}"
    return f"{labels[:500]}\n{ids}\n{entry.prompt}"[:MAX_WORDS].casefold()


def _body(entry: Entry) -> str:
    error = entry.error and {name: text[:MAX_ERROR] for name, text in entry.error.items()}
    # One more than a list shows, so that a list can tell that there is more.
    small = replace(
        entry,
        prompt=entry.prompt[: MAX_PROMPT_IN_LISTS + 1],
        error=error,
        labels=short(entry.labels, MAX_VALUE),
        parameters=short(entry.parameters, MAX_VALUE),
    )
    told = {name: value for name, value in asdict(small).items() if name not in _APART}
    return json.dumps({name: value for name, value in told.items() if value not in (None, "", (), [], {})})
