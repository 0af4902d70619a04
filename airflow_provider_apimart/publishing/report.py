"""Builds the XCom of a post and its error texts: what happened, what others can see, where to look, what to do next.

Pure. No text here holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.publishing.errors import (
    PostDiffersError,
    PostParkedError,
    PostRefusedError,
    TargetLimitError,
    VideoChangedError,
)
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.record import PostRecord, PostState, UnreadablePostError

#: Errors whose text already says what is public and what to do.
COMPLETE = (PostDiffersError, PostParkedError, PostRefusedError, UnreadablePostError)


def iso(moment: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the second."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def result(
    record: PostRecord, video: VideoFile, told: Mapping[str, Any], now: datetime, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the operator's XCom. Every target returns exactly the same keys.

    :param told: what only the target's operator knows: any of ``state``, ``studio_url``, ``publish_at``,
        ``privacy_status``, ``contains_synthetic_media``, ``uploaded_at``, ``public_since``; and ``warnings``, which are
        added to the others.
    """
    scheduled = record.public_since is not None and record.public_since > now
    found: dict[str, Any] = {
        "target": record.target,
        "account": record.account,
        "post_id": record.post_id,
        "url": record.url,
        "studio_url": None,
        "state": "scheduled" if scheduled else "public",
        "publish_at": iso(record.public_since) if scheduled else None,
        "privacy_status": None,
        "contains_synthetic_media": None,
        "uploaded_at": iso(record.drafted_at),
        "public_since": None if scheduled else iso(record.public_since),
        "video": {
            "path": video.uri,
            "bytes": video.bytes,
            "sha256": video.sha256,
            "generation_id": video.generation_id,
        },
        "warnings": [],
    }
    return {**found, **told, "warnings": [*warnings, *told.get("warnings", ())]}


def explain(error: ApimartError, record: PostRecord | None, target: str) -> str:
    """Return the error in full.

    :param record: the post's, as far as this try knows it.
    """
    if isinstance(error, COMPLETE):
        return _with_mark(str(error), record)
    # (This error says by itself that nothing is public.)
    visible = "" if record is None and isinstance(error, VideoChangedError) else _visible(record)
    parts = (str(error), visible, _advice(error), _mark(record, target))
    return ". ".join(part.rstrip(". ") for part in parts if part) + "."


def _visible(record: PostRecord | None) -> str:
    if record is None:
        return "This try has posted nothing"
    if record.state is PostState.INTENT:
        return "Nothing is public"
    match record.state:
        case PostState.SESSION:
            return "Nothing is public: only an upload was begun"
        case PostState.ARMED | PostState.DRAFTED:
            what = f"the draft {record.draft_id}" if record.draft_id else "a draft"
            return f"Nothing is public; {what} may lie there, which nobody else can see"
        case PostState.COMMITTING:
            return (
                f"Whether it is public is not known: the call that makes {record.draft_id} public was made, or was "
                "about to be"
            )
        case PostState.PUBLIC:
            return f"It is public: {record.url or record.post_id}"
        case PostState.FAILED:
            return "It is not public"


def _advice(error: ApimartError) -> str:
    if isinstance(error, TargetLimitError):
        return f"It can go on at {iso(error.until)}: the next try, or a clear, goes on from here"
    if error.terminal:
        return "A retry would fail in the same way: correct it, then clear the task, which goes on from here"
    return "The next try, or a clear, goes on from here; nothing is posted twice"


def _mark(record: PostRecord | None, target: str) -> str:
    if record is None:
        return ""
    return f"Post {record.marker} on {target}, account {record.account}"


def _with_mark(text: str, record: PostRecord | None) -> str:
    if record is None or record.marker in text:
        return text
    return f"{text.rstrip('. ')}. {_mark(record, record.target)}."


def parked_text(
    record: PostRecord | None, target: str, reason: str, until: datetime | None, which: str = "timeout"
) -> str:
    """Return what to say when the wait ends without a verdict.

    :param reason: what is waited for.
    :param until: when it can go on at the earliest, if that is known.
    :param which: the argument that set the deadline.
    """
    when = f"It can go on at {iso(until)} at the earliest" if until else f"A longer {which}= waits longer"
    parts = (
        f"The post is not finished by its deadline: {reason}",
        "It is parked, and nothing is lost: the next try, or a clear, goes on from here, and nothing is posted twice",
        when,
        _mark(record, target),
    )
    return ". ".join(part.rstrip(". ") for part in parts if part) + "."


def abandoned_text(record: PostRecord | None, target: str) -> str:
    """Return what to say when Airflow stops a task: what may be public."""
    if record is None:
        return f"Airflow stopped this task. Nothing was posted on {target} as far as its record says."
    seen = {
        PostState.COMMITTING: "It may be public",
        PostState.PUBLIC: f"It is public ({record.url or record.post_id})",
    }.get(record.state, "It is not public")
    return (
        f"Airflow stopped this task. {seen}: post {record.marker} on {target}, account {record.account}. The next try, "
        "or a clear, goes on from here; nothing is posted twice."
    )
