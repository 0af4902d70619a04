"""What YouTube would refuse, found before any request: texts, tags, dates and pairs of fields.

Rules: the ``videos`` resource of the Data API v3 (developers.google.com/youtube/v3/docs/videos).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.storage.naming import is_absolute

MAX_TITLE_CHARACTERS = 100
MAX_DESCRIPTION_BYTES = 5000
MAX_TAGS_CHARACTERS = 500
MAX_VIDEO_BYTES = 256 * 1024**3
MAX_THUMBNAIL_BYTES = 50 * 1024 * 1024
#: What every channel may upload; longer videos need a verified phone number.
UNVERIFIED_SECONDS = 15 * 60
PRIVACIES = ("public", "unlisted", "private")
#: The length of a marker, and the comma before it.
MARKER_CHARACTERS = 20 + 1
FIELDS = (
    *("title", "description", "tags", "category_id", "default_language", "privacy_status", "publish_at"),
    *("made_for_kids", "contains_synthetic_media", "notify_subscribers", "thumbnail", "playlist_id"),
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def problems_of(content: Mapping[str, Any], now: datetime, unknown: frozenset[str] = frozenset()) -> list[FieldProblem]:
    """Return all that is wrong with what YouTube is told.

    :param now: a date before this is refused.
    :param unknown: fields whose values are not known yet, such as templates; they are left out.
    """
    checks = {
        "title": _title,
        "description": _description,
        "tags": _tags,
        "category_id": _category,
        "default_language": _language,
        "privacy_status": _privacy,
        "made_for_kids": _truth,
        "contains_synthetic_media": _truth,
        "notify_subscribers": _truth,
        "thumbnail": _thumbnail,
        "playlist_id": _playlist,
    }
    problems = [
        FieldProblem(name, content[name], "YouTube has no such field") for name in content if name not in FIELDS
    ]
    for name, check in checks.items():
        if name not in unknown:
            problems += check(name, content.get(name))
    if "publish_at" not in unknown:
        privacy = None if "privacy_status" in unknown else content.get("privacy_status")
        problems += _publish_at(content.get("publish_at"), privacy, now)
    return problems


def file_problems(video: VideoFile) -> list[FieldProblem]:
    """Return what is wrong with the file."""
    if 0 < video.bytes <= MAX_VIDEO_BYTES:
        return []
    return [FieldProblem("video", f"{video.uri}, {video.bytes} bytes", "allowed: 1 byte to 256 GB")]


def time_of(value: Any) -> datetime | None:
    """Return a point in time in UTC, from a datetime or its ISO 8601 text; ``None`` for all else, or without offset."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        return None
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return None


def tags_length(tags: list[str]) -> int:
    """Return how much of the 500 the tags take. Commas between tags count, and quotes around a tag with a space."""
    return sum(len(tag) + 2 * (" " in tag) for tag in tags) + max(len(tags) - 1, 0)


# --- one field each --------------------------------------------------------------------------------------------------


def _text(name: str, value: str) -> list[FieldProblem]:
    if "<" in value or ">" in value:
        return [FieldProblem(name, value, "allowed: text without < and >, which YouTube refuses")]
    if not _is_unicode(value):
        return [FieldProblem(name, value, "allowed: valid Unicode, without lone surrogates and NUL")]
    return []


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _title(name: str, value: Any) -> list[FieldProblem]:
    if not isinstance(value, str) or not value.strip():
        return [FieldProblem(name, value, f"required; allowed: text of 1 to {MAX_TITLE_CHARACTERS} characters")]
    if len(value) > MAX_TITLE_CHARACTERS:
        allowed = f"has {len(value)} characters; allowed: up to {MAX_TITLE_CHARACTERS}"
        return [FieldProblem(name, value, allowed)]
    return _text(name, value)


def _description(name: str, value: Any) -> list[FieldProblem]:
    if value is None:
        return []
    if not isinstance(value, str):
        return [FieldProblem(name, value, "allowed: text")]
    problems = _text(name, value)
    size = len(value.encode(errors="replace"))
    if size > MAX_DESCRIPTION_BYTES:
        allowed = f"has {size} bytes in UTF-8; allowed: up to {MAX_DESCRIPTION_BYTES} bytes (not characters)"
        problems.append(FieldProblem(name, value, allowed))
    return problems


def _tags(name: str, value: Any) -> list[FieldProblem]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(isinstance(tag, str) and tag.strip() for tag in value):
        return [FieldProblem(name, value, "allowed: a list of texts, none of them blank")]
    problems = [FieldProblem(name, tag, problem.allowed) for tag in value for problem in _text(name, tag)]
    length, most = tags_length(list(value)), MAX_TAGS_CHARACTERS - MARKER_CHARACTERS
    if length > most:
        allowed = (
            f"take {length} characters, with the commas between them and two more for each tag with a space; allowed: "
            f"up to {most} (YouTube's {MAX_TAGS_CHARACTERS} less {MARKER_CHARACTERS} for the post's marker)"
        )
        problems.append(FieldProblem(name, list(value), allowed))
    return problems


def _category(name: str, value: Any) -> list[FieldProblem]:
    if isinstance(value, str) and value.isascii() and value.isdigit() and int(value):
        return []
    return [
        FieldProblem(name, value, 'allowed: the number of a YouTube category as text, such as "22" (People & Blogs)')
    ]


def _language(name: str, value: Any) -> list[FieldProblem]:
    if value is None or (isinstance(value, str) and _LANGUAGE.fullmatch(value)):
        return []
    return [FieldProblem(name, value, 'allowed: a language code such as "en" or "pt-BR", or None')]


def _privacy(name: str, value: Any) -> list[FieldProblem]:
    if value in PRIVACIES:
        return []
    return [FieldProblem(name, value, "required, there is no default; allowed: 'public', 'unlisted' or 'private'")]


def _truth(name: str, value: Any) -> list[FieldProblem]:
    return [] if isinstance(value, bool) else [FieldProblem(name, value, "allowed: True or False")]


def _thumbnail(name: str, value: Any) -> list[FieldProblem]:
    picture = isinstance(value, str) and value.lower().endswith((".jpg", ".jpeg", ".png"))
    if value is None or (picture and is_absolute(value)):
        return []
    return [FieldProblem(name, value, "allowed: the absolute path of a JPEG or PNG file (.jpg, .jpeg, .png), or None")]


def _playlist(name: str, value: Any) -> list[FieldProblem]:
    if value is None or (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{2,100}", value)):
        return []
    allowed = "allowed: a playlist's id, which stands in its URL behind list= (not the URL itself), or None"
    return [FieldProblem(name, value, allowed)]


def _publish_at(value: Any, privacy: Any, now: datetime) -> list[FieldProblem]:
    if value is None:
        return []
    name = "publish_at"
    when = time_of(value)
    if when is None:
        allowed = (
            "allowed: a date and time with an offset, such as 2026-12-24T18:00:00+01:00, or an aware datetime; without "
            "an offset it could be any time of that day"
        )
        return [FieldProblem(name, value, allowed)]
    problems = []
    if when <= now:
        allowed = f"is in the past (now: {now:%Y-%m-%dT%H:%M:%SZ}); YouTube would publish at once"
        problems.append(FieldProblem(name, value, allowed))
    if privacy in ("unlisted", "private"):
        allowed = (
            f"goes only with privacy_status='public', and privacy_status={privacy!r} is given: leave one of them out"
        )
        problems.append(FieldProblem(name, value, allowed))
    return problems
