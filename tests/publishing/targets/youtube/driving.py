"""Runs a target's exchange against replies that are written down beforehand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.publishing.errors import PublishError
from airflow_provider_apimart.publishing.exchange import Exchange, Reply, Request
from airflow_provider_apimart.publishing.post import Post, VideoFile

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
MARKER = "apm-0123456789abcdef"
CONTENT: dict[str, Any] = {
    "title": "Ein Tag am See",
    "description": "Ruhe.",
    "tags": ["see", "ein tag"],
    "category_id": "22",
    "default_language": None,
    "privacy_status": "public",
    "publish_at": None,
    "made_for_kids": False,
    "contains_synthetic_media": True,
    "notify_subscribers": True,
    "thumbnail": None,
    "playlist_id": None,
}
VIDEO = VideoFile("s3://bucket/clip.mp4", 700_000, "0" * 64, duration_seconds=8.0)


def content(**changes: Any) -> dict[str, Any]:
    return {**CONTENT, **changes}


def a_post(video: VideoFile = VIDEO, **changes: Any) -> Post:
    return Post("youtube", video, content(**changes))


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, text)


def items(*resources: Any, token: str = "") -> Reply:
    return reply(200, {"items": list(resources), **({"nextPageToken": token} if token else {})})


def refused(status: int, reason: str, message: str = "No.", location: str = "", **headers: str) -> Reply:
    error = {"domain": "youtube.video", "reason": reason, "message": message, "location": location}
    return reply(status, {"error": {"code": status, "message": message, "errors": [error]}}, **headers)


def drive(exchange: Exchange[Any], *replies: Reply | PublishError) -> tuple[Any, list[Request]]:
    """Return what ``exchange`` returns, and the requests that it has made. Every reply has to be asked for."""
    sent: list[Request] = []
    left = list(replies)
    try:
        request = next(exchange)
        while True:
            sent.append(request)
            assert left, f"one request more than there are replies: {request.what}"
            answer = left.pop(0)
            request = exchange.throw(answer) if isinstance(answer, PublishError) else exchange.send(answer)
    except StopIteration as stop:
        assert not left, f"replies that nobody asked for: {left}"
        return stop.value, sent


def body_of(request: Request) -> Any:
    assert isinstance(request.content, bytes)
    return json.loads(request.content)
