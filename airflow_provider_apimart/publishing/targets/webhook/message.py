"""The body of a webhook's message: the author's JSON, with the video's facts in the places that it names.

A place is an object such as ``{"$video": "sha256"}`` or ``{"$post": "id"}``; the fact stands there with its own type.
Nothing is looked for inside texts, so no text from outside is ever a template.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.post import VideoFile

#: Standard Webhooks: a payload has fewer than 20 kB. The video itself is behind its link.
MAX_BODY_BYTES = 20_000
VIDEO_FACTS = (
    "url",
    "url_expires_at",
    "name",
    "path",
    "bytes",
    "sha256",
    "duration_seconds",
    "width",
    "height",
    "has_audio",
    "generation_id",
    "all",
)
LINK_FACTS = frozenset({"url", "url_expires_at"})
POST_FACTS = ("id", "created_at")
PLACES = {"$video": VIDEO_FACTS, "$post": POST_FACTS}

#: What is sent if the author gives no payload of their own.
DEFAULT_PAYLOAD: Mapping[str, Any] = {
    "type": "video.ready",
    "timestamp": {"$post": "created_at"},
    "data": {"post_id": {"$post": "id"}, "video": {"$video": "all"}},
}


def facts_of(video: VideoFile, url: str | None, url_expires_at: str | None) -> dict[str, Any]:
    """Return a video's facts by name, without ``all``."""
    return {
        "url": url,
        "url_expires_at": url_expires_at,
        "name": posixpath.basename(urlsplit(video.uri).path or video.uri),
        "path": video.uri,
        "bytes": video.bytes,
        "sha256": video.sha256,
        "duration_seconds": video.duration_seconds,
        "width": video.width,
        "height": video.height,
        "has_audio": video.has_audio,
        "generation_id": video.generation_id,
    }


def body_of(payload: Mapping[str, Any], video: Mapping[str, Any], post: Mapping[str, Any]) -> str:
    """Return the message's JSON.

    :param video: from :func:`facts_of`.
    :param post: the facts of :data:`POST_FACTS`.
    :raises ValueError: if the payload is no JSON (NaN, a lone surrogate, an object of another kind).
    """
    facts = {"$video": {**video, "all": video}, "$post": post}
    text = json.dumps(_filled(payload, facts), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text.encode()
    return text


def has_link(payload: Mapping[str, Any]) -> bool:
    """Return whether the video's link is in the message."""
    return needs_link(payload) or any(fact == "all" for _, _, fact in _places(payload, "payload"))


def needs_link(payload: Mapping[str, Any]) -> bool:
    """Return whether the payload names the video's link itself."""
    return any(kind == "$video" and fact in LINK_FACTS for _, kind, fact in _places(payload, "payload"))


def payload_problems(payload: Any) -> list[FieldProblem]:
    """Return what is wrong with an author's payload."""
    if not isinstance(payload, Mapping):
        return [FieldProblem("payload", payload, "allowed: a dict, or None for the default message")]
    try:
        wrong = [
            FieldProblem(where, {kind: fact}, f"allowed behind {kind!r}: {', '.join(PLACES[kind])}")
            for where, kind, fact in _places(payload, "payload")
            if fact not in PLACES[kind]
        ]
        if not wrong:
            nothing: Mapping[str, Any] = dict.fromkeys((*VIDEO_FACTS, *POST_FACTS))
            size = len(body_of(payload, nothing, nothing).encode())
            if size >= MAX_BODY_BYTES:
                wrong.append(FieldProblem("payload", f"{size:,} bytes", f"allowed: fewer than {MAX_BODY_BYTES:,}"))
    except (ValueError, TypeError, RecursionError) as error:
        return [FieldProblem("payload", "...", f"allowed: plain JSON; this is none: {error}")]
    return wrong


def _place(value: Mapping[Any, Any]) -> tuple[str, Any] | None:
    if len(value) == 1:
        ((kind, fact),) = value.items()
        if kind in PLACES:
            return kind, fact
    return None


def _filled(value: Any, facts: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(value, Mapping):
        if place := _place(value):
            kind, fact = place
            return facts[kind].get(fact)
        return {key: _filled(item, facts) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(item, facts) for item in value]
    return value


def _places(value: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, Mapping):
        if place := _place(value):
            yield where, *place
            return
        for key, item in value.items():
            yield from _places(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _places(item, f"{where}[{number}]")
