"""What the pages tell of one generation, whatever told it: a note, a result, a record or a line of a manifest.

All of these were written by tasks, so nothing in them is taken as it is: a value is brought to its type, or left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.ui.sources.plain import plain, plain_text

#: The pages' words for how it ended, for each of the provider's own.
OUTCOMES = {
    "landed": "completed",
    "reused": "completed",
    "completed": "completed",
    "running": "running",
    "submitted": "running",
    "parked": "parked",
    "unlanded": "parked",
    "unknown": "parked",
    "intent": "parked",
    "failed": "failed",
    "rejected": "failed",
    "refused": "failed",
    "model_gone": "failed",
    "empty": "failed",
    "left": "left",
    # The video is there, and is not to be used.
    "check_failed": "failed",
    "check_skipped": "failed",
    "media_failed": "failed",
}
#: An approval may ask about five takes of four videos each.
MAX_VIDEOS = 64
MAX_TEXT = 24_000
MAX_PATH = 4000
#: Of a rendition, or of a row of a sheet.
MAX_NAME = 120
#: Nothing costs more, or less than nothing; sums of these fit the index's columns.
MAX_COST_USD = 1_000_000
_VIDEO_FIELDS = ("bytes", "duration_seconds", "width", "height")


@dataclass(frozen=True)
class Entry:
    """One generation. Times are ISO 8601 in UTC.

    :param outcome: one of :data:`OUTCOMES`' values.
    :param detail: the provider's finer word.
    :param videos: ``path``, ``bytes``, ``sha256``, ``duration_seconds``, ``width``, ``height``, ``has_audio``; and
        ``name`` (of a rendition, or of a row) and ``poster`` (its path) where they are told.
    :param error: ``text``, ``money``, ``next``.
    :param row: the row of a batch.
    :param check: of a row: ``verdict`` and ``text``.
    """

    outcome: str
    detail: str | None = None
    generation_id: str | None = None
    prompt: str = ""
    labels: Mapping[str, Any] | None = None
    model: str = ""
    parameters: Mapping[str, Any] | None = None
    seed: int | None = None
    cost_usd: float | None = None
    submitted_at: str | None = None
    completed_at: str | None = None
    videos: Sequence[Mapping[str, Any]] = ()
    error: Mapping[str, str] | None = None
    fallback_from: str | None = None
    row: str | None = None
    deadline: str | None = None
    expected_seconds: float | None = None
    check: Mapping[str, str | None] | None = None

    def video_path(self, n: int) -> str | None:
        """Return where the ``n``-th video lies, counted from 1, or ``None`` if it is not in storage."""
        path = self.videos[n - 1].get("path") if 1 <= n <= len(self.videos) else None
        return path if isinstance(path, str) else None


def of_note(note: Mapping[str, Any], fallback: Mapping[str, Any] | None = None) -> Entry:
    """Return the entry of a note, or of a result of :class:`.VeoGenerateOperator`, which has the same names.

    :param fallback: the task's rendered arguments, for what a result does not tell.
    """
    asked = fallback or {}
    word = _text(note.get("outcome") or note.get("status")) or "completed"
    detail = _text(note.get("detail"))
    parameters = note.get("parameters")
    if parameters is None:
        names = ("duration", "aspect_ratio", "resolution", "sample_count", "generate_audio", "negative_prompt")
        parameters = {name: asked[name] for name in names if asked.get(name) not in (None, "", "None")}
    return Entry(
        outcome=OUTCOMES.get(word, "failed"),
        detail=detail if detail in OUTCOMES else None,
        generation_id=_text(note.get("generation_id")),
        prompt=_text(note.get("prompt", asked.get("prompt"))) or "",
        labels=_object(note.get("labels", asked.get("labels"))),
        model=_text(note.get("model") or asked.get("model")) or "",
        parameters=_object(parameters),
        seed=_whole(note.get("seed", asked.get("seed"))),
        cost_usd=_cost(note.get("cost_usd")),
        submitted_at=_time(note.get("submitted_at")),
        completed_at=_time(note.get("completed_at")),
        videos=_videos(note.get("videos")),
        error=_error(note.get("error")),
        fallback_from=_text(note.get("fallback_from")),
        deadline=_time(note.get("deadline")),
        expected_seconds=_number(note.get("expected_seconds")),
    )


def of_record(record: Mapping[str, Any], rendered: Mapping[str, Any]) -> Entry:
    """Return the entry of a generation's record, for a task that left neither a note nor a result."""
    word = _text(record.get("state")) or "unknown"
    note = _text(record.get("note"))
    outcome = OUTCOMES.get(word, "failed")
    told = {
        **{name: record.get(name) for name in ("generation_id", "model", "cost_usd", "submitted_at", "completed_at")},
        "fallback_from": record.get("fallback_from"),
        "outcome": word,
        "detail": word,
        "videos": record.get("landed"),
        "error": {"text": note} if note and outcome != "completed" else None,
    }
    return of_note(told, rendered)


def of_line(line: Mapping[str, Any]) -> Entry:
    """Return the entry of a line of a batch's manifest."""
    request = _object(line.get("request")) or {}
    word = _text(line.get("outcome")) or "left"
    error = _text(line.get("error"))
    apart = ("prompt", "model", "seed", "extra_body")
    return Entry(
        outcome=outcome_of(line),
        detail=word if word in OUTCOMES else None,
        generation_id=_text(line.get("generation_id")),
        prompt=_text(request.get("prompt")) or "",
        labels=_object(line.get("labels")),
        model=_text(request.get("model")) or "",
        parameters={name: value for name, value in request.items() if name not in apart},
        seed=_whole(request.get("seed")),
        cost_usd=_cost(line.get("cost_usd")),
        submitted_at=_time(line.get("submitted_at")),
        completed_at=_time(line.get("completed_at")),
        videos=_videos(_with_renditions(line.get("videos"))),
        check=_check(line.get("check"), error),
        error={"text": error, "money": "", "next": ""} if error else None,
        fallback_from=_text(line.get("fallback_from")),
        row=row_of(line),
    )


def outcome_of(line: Mapping[str, Any]) -> str:
    """Return the outcome of a line of a batch's manifest, in the pages' words."""
    return OUTCOMES.get(_text(line.get("outcome")) or "left", "failed")


def row_of(line: Mapping[str, Any]) -> str | None:
    """Return the name of the row of a line."""
    return _text(line.get("row"))


def _videos(value: Any) -> list[dict[str, Any]]:
    found = []
    for video in value[:MAX_VIDEOS] if isinstance(value, (list, tuple)) else ():
        if not isinstance(video, Mapping):
            continue
        path = _text(video.get("path"), MAX_PATH + 1)
        audio = video.get("has_audio")
        found.append(
            {
                "path": path if path and len(path) <= MAX_PATH else None,
                "sha256": _text(video.get("sha256"), 64),
                "has_audio": audio if isinstance(audio, bool) else None,
                **{name: _number(video.get(name)) for name in _VIDEO_FIELDS},
                **_named(video),
            }
        )
    return found


def _named(video: Mapping[str, Any]) -> dict[str, str]:
    """Return the name and the poster of a video, where they are told."""
    pictures = video.get("pictures")
    poster = pictures.get("poster") if isinstance(pictures, Mapping) else None
    path = _text(poster.get("path"), MAX_PATH + 1) if isinstance(poster, Mapping) else None
    name = _text(video.get("name"), MAX_NAME)
    found = {"name": name, "poster": path if path and len(path) <= MAX_PATH else None}
    return {key: value for key, value in found.items() if value}


def _with_renditions(videos: Any) -> list[Any]:
    """Return the videos of a line, and after all of them what was made of them, by name."""
    given = list(videos[:MAX_VIDEOS]) if isinstance(videos, (list, tuple)) else []
    made = [video.get("renditions") for video in given if isinstance(video, Mapping)]
    return given + [
        {**rendition, "name": name}
        for renditions in made
        if isinstance(renditions, Mapping)
        for name, rendition in renditions.items()
        if isinstance(rendition, Mapping)
    ]


def _check(value: Any, error: str | None) -> Mapping[str, str | None] | None:
    if not isinstance(value, Mapping) or value.get("verdict") is None:
        return None
    text = _text(value.get("text"))
    # Where the check is what went wrong, its text is said once.
    return {"verdict": _text(value.get("verdict")), "text": None if text == error else text}


def _error(value: Any) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    return {name: _text(value.get(name)) or "" for name in ("text", "money", "next")}


def _object(value: Any) -> Mapping[str, Any] | None:
    return plain(value) if isinstance(value, Mapping) and value else None


def _text(value: Any, limit: int = MAX_TEXT) -> str | None:
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return None
    return plain_text(str(value)[:limit])


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value if abs(value) < 2**53 else None


def _cost(value: Any) -> float | int | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= MAX_COST_USD else None


def _whole(value: Any) -> int | None:
    try:
        number = int(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 2**53 else None


def _time(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        if moment.tzinfo is not None and 1970 < moment.year < 9000:
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return None
