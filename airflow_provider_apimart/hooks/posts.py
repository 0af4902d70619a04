"""Where a video was posted: a sidecar beside it (``<video>.posts.json``), for the DAGs that come later.

It is a note, not the record that keeps a post from being made twice. So an error here never fails a post.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.hooks.rows.verbatim import verbatim
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.storage.files import Target, read_small
from airflow_provider_apimart.storage.rewriting import rewrite

__all__ = ["posts_of"]

log = logging.getLogger(__name__)

SCHEMA = 1
MAX_BYTES = 8 * 1024 * 1024
NAMES = (
    "target",
    "account",
    "post_id",
    "url",
    "studio_url",
    "state",
    "publish_at",
    "privacy_status",
    "contains_synthetic_media",
    "uploaded_at",
    "public_since",
)


def posts_of(video: Any) -> list[dict[str, Any]]:
    """Return the posts of a video, in the order of their posting: the XCom's fields, ``post`` (the marker) and
    ``airflow`` (the task that posted it).

    :param video: the video's path.
    :raises LandingError: if the storage does not answer, or if the sidecar is not one.
    """
    found = _read(_sidecar(file_of(video, "video")))
    posts: list[dict[str, Any]] = verbatim(found["posts"])
    return posts


def remember(video: Target, result: Mapping[str, Any], record: PostRecord) -> None:
    """Add a post to the sidecar of its video, or correct its line. An error is logged.

    :param result: the operator's XCom.
    """
    line = {"post": record.marker, **{name: result[name] for name in NAMES}, "airflow": dict(record.asked_by)}
    try:
        _keep(_sidecar(video), line)
    except Exception as error:
        # Each storage raises its own errors, and none of them takes the post back.
        log.warning("The post is not noted beside the video (%s): %s", type(error).__name__, error)


def _keep(sidecar: Target, line: Mapping[str, Any]) -> None:
    def with_line(found: dict[str, Any]) -> dict[str, Any] | None:
        if line in found["posts"]:
            return None
        others = [post for post in found["posts"] if post.get("post") != line["post"]]
        return {**found, "posts": [*others, line]}

    rewrite(sidecar, MAX_BYTES, partial(_parsed, sidecar), with_line)


def _read(sidecar: Target) -> dict[str, Any]:
    return _parsed(sidecar, read_small(sidecar, MAX_BYTES))


def _parsed(sidecar: Target, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {"schema": SCHEMA, "posts": []}
    try:
        found = json.loads(data)
        posts = found["posts"]
        if found["schema"] == SCHEMA and isinstance(posts, list) and all(isinstance(post, dict) for post in posts):
            return dict(found)
    except (ValueError, RecursionError, KeyError, TypeError):
        pass
    raise LandingError(f"{sidecar.uri} is not a sidecar of posts of this version; it is left as it is")


def _sidecar(video: Target) -> Target:
    return video.sibling(f"{video.name}.posts.json")
