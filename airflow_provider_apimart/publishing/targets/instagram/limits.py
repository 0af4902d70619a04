"""What Instagram takes: checked before anything is sent, each wrong value with its field and what is allowed.

https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/ig-user/media
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.post import VideoFile

MAX_CAPTION_CHARACTERS = 2200
MAX_HASHTAGS = 30
MAX_MENTIONS = 20
MAX_COLLABORATORS = 3
MAX_VIDEO_BYTES = 300_000_000
SHORTEST_SECONDS, LONGEST_SECONDS = 3.0, 15 * 60.0
MAX_WIDTH = 1920
#: Width by height.
NARROWEST, WIDEST = 0.01, 10.0
SUFFIXES = (".mp4", ".mov")
ONE_COVER = "cannot be combined with cover_url, which Instagram takes instead: leave one of them out"
#: How the file gets to Instagram: fetched by Meta, sent by us, or whichever of the two is possible.
WAYS = ("auto", "url", "bytes")

_HASHTAG = re.compile(r"(?<![\w&/])#\w+")
_MENTION = re.compile(r"(?<![\w.])@[A-Za-z0-9_][A-Za-z0-9_.]*")
_USERNAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.]{0,28}[A-Za-z0-9_])?")


def problems_of(content: Mapping[str, Any], unknown: Collection[str] = ()) -> list[FieldProblem]:
    """Return all that is wrong with what Instagram is told.

    :param unknown: fields whose values are not known yet, such as templates; they are left out.
    """
    problems = [
        FieldProblem(name, content[name], "Instagram has no such field") for name in content if name not in _CHECKS
    ]
    for name, check in _CHECKS.items():
        if name not in unknown and name in content:
            problems += check(name, content[name])
    if content.get("cover_url") is not None and content.get("thumb_offset_ms") is not None:
        problems.append(FieldProblem("thumb_offset_ms", content["thumb_offset_ms"], ONE_COVER))
    return problems


def file_problems(video: VideoFile, content: Mapping[str, Any]) -> list[FieldProblem]:
    """Return what is wrong with the file, as far as its facts are known."""
    problems = []
    name = re.split(r"[/\\]", video.uri)[-1]
    if not name.lower().endswith(SUFFIXES):
        problems.append(FieldProblem("video", name, "allowed: an MP4 or MOV file (.mp4, .mov)"))
    if not 0 < video.bytes <= MAX_VIDEO_BYTES:
        problems.append(FieldProblem("video", f"{video.bytes} bytes", "allowed: up to 300 MB (300,000,000 bytes)"))
    seconds, width, height = video.duration_seconds, video.width, video.height
    if seconds is not None and not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        problems.append(FieldProblem("video", f"{seconds:g} s", "allowed: 3 s to 15 min"))
    if width is not None and width > MAX_WIDTH:
        problems.append(FieldProblem("video", f"{width} px wide", f"allowed: up to {MAX_WIDTH} px"))
    if width and height and not NARROWEST <= width / height <= WIDEST:
        problems.append(FieldProblem("video", f"{width}x{height}", "allowed: an aspect ratio from 0.01:1 to 10:1"))
    offset = content.get("thumb_offset_ms")
    if seconds is not None and isinstance(offset, int) and offset >= seconds * 1000:
        allowed = f"allowed: less than the video's {seconds * 1000:g} ms"
        problems.append(FieldProblem("thumb_offset_ms", offset, allowed))
    return problems


def _caption(name: str, value: Any) -> list[FieldProblem]:
    if value is None:
        return []
    if not isinstance(value, str) or not _is_unicode(value):
        return [FieldProblem(name, value, "allowed: valid Unicode text, or None")]
    problems = []
    if len(value) > MAX_CAPTION_CHARACTERS:
        allowed = f"has {len(value):,} characters; allowed: up to {MAX_CAPTION_CHARACTERS:,}"
        problems.append(FieldProblem(name, value, allowed))
    hashtags, mentions = len(_HASHTAG.findall(value)), len(_MENTION.findall(value))
    if hashtags > MAX_HASHTAGS:
        problems.append(FieldProblem(name, value, f"has {hashtags} hashtags; allowed: up to {MAX_HASHTAGS}"))
    if mentions > MAX_MENTIONS:
        problems.append(FieldProblem(name, value, f"mentions {mentions} accounts; allowed: up to {MAX_MENTIONS}"))
    return problems


def _truth(name: str, value: Any) -> list[FieldProblem]:
    return [] if isinstance(value, bool) else [FieldProblem(name, value, "allowed: True or False")]


def _offset(name: str, value: Any) -> list[FieldProblem]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is None or (whole and value >= 0):
        return []
    return [FieldProblem(name, value, "allowed: a whole number of milliseconds, 0 or more, or None")]


def _cover(name: str, value: Any) -> list[FieldProblem]:
    if value is None:
        return []
    allowed = (
        "allowed: the public https:// URL of a JPEG image (8 MB at most), or None; without user, password and query: "
        "a signed link is a secret, and this argument is stored in the clear"
    )
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        return [FieldProblem(name, parts.hostname if parts else value, allowed)]
    if parts.query or parts.fragment or not value.isprintable() or " " in value:
        return [FieldProblem(name, f"https://{parts.hostname}{parts.path}", allowed)]
    return []


def _collaborators(name: str, value: Any) -> list[FieldProblem]:
    if value is None:
        return []
    named = isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
    if not named or not all(_USERNAME.fullmatch(each) for each in value):
        return [FieldProblem(name, value, "allowed: a list of Instagram user names, without @, or None")]
    if len(value) > MAX_COLLABORATORS or len({each.lower() for each in value}) < len(value):
        return [FieldProblem(name, value, f"allowed: up to {MAX_COLLABORATORS} different user names")]
    return []


def _audio_name(name: str, value: Any) -> list[FieldProblem]:
    fits = isinstance(value, str) and value.strip() and _is_unicode(value)
    if value is None or fits:
        return []
    return [FieldProblem(name, value, "allowed: text, or None")]


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


_CHECKS: dict[str, Callable[[str, Any], list[FieldProblem]]] = {
    "caption": _caption,
    "share_to_feed": _truth,
    "is_ai_generated": _truth,
    "thumb_offset_ms": _offset,
    "cover_url": _cover,
    "collaborators": _collaborators,
    "audio_name": _audio_name,
}
