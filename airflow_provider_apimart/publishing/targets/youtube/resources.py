"""Video resources: what is sent for a post, and what a resource that was read means for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.target import Draft, DraftState
from airflow_provider_apimart.publishing.targets.youtube.limits import time_of

#: Fields of the parts that YouTube sets itself. All others are sent back as they were read: an update deletes what it
#: leaves out.
SNIPPET_READ_ONLY = frozenset(
    {"publishedAt", "channelId", "channelTitle", "thumbnails", "liveBroadcastContent", "localized"}
)
STATUS_READ_ONLY = frozenset({"uploadStatus", "failureReason", "rejectionReason", "madeForKids"})
#: How far this machine's clock and YouTube's may be apart, and how late YouTube may be with a scheduled video.
CLOCK_SKEW = timedelta(minutes=2)
LATE = timedelta(minutes=15)
#: How visible a video is to others.
RANK = {"private": 0, "unlisted": 1, "public": 2}


def insert_body(content: Mapping[str, Any], marker: str) -> dict[str, Any]:
    """Return the resource of a new video: private and without a date, so that nobody sees it before the commit."""
    return {
        "snippet": {**_texts(content), "tags": [*(content.get("tags") or ()), marker]},
        "status": {"privacyStatus": "private", **_declarations(content)},
    }


def update_body(video: Mapping[str, Any], content: Mapping[str, Any], marker: str, now: datetime) -> dict[str, Any]:
    """Return the resource that makes a video as visible as asked, or schedules it.

    :param video: the resource as it was just read, with ``snippet``, ``status`` and ``fileDetails``.
    """
    snippet = {name: value for name, value in part(video, "snippet").items() if name not in SNIPPET_READ_ONLY}
    status = {name: value for name, value in part(video, "status").items() if name not in STATUS_READ_ONLY}
    status.pop("publishAt", None)
    tags = list(content.get("tags") or ())
    if not has_marked_file(video, marker):
        # Without it a lost record could not be found again.
        tags.append(marker)
    status |= _declarations(content)
    when = time_of(content.get("publish_at"))
    if when is not None and when > now:
        status |= {"privacyStatus": "private", "publishAt": stamp(when)}
    else:
        status["privacyStatus"] = content["privacy_status"]
    return {"id": video["id"], "snippet": {**snippet, **_texts(content), "tags": tags}, "status": status}


def has_marker(video: Mapping[str, Any], marker: str) -> bool:
    """Return whether a video carries a post's marker, as its file's name or as a tag."""
    tags = part(video, "snippet").get("tags")
    return has_marked_file(video, marker) or (isinstance(tags, list) and marker in tags)


def has_marked_file(video: Mapping[str, Any], marker: str) -> bool:
    """Return whether YouTube has kept the name under which the file was uploaded."""
    name = part(video, "fileDetails").get("fileName")
    return isinstance(name, str) and name.partition(".")[0] == marker


def visibility(video: Mapping[str, Any]) -> tuple[int, bool]:
    """Return how visible a video is, to compare (0 private, 1 unlisted, 2 public), and whether it is scheduled."""
    status = part(video, "status")
    return RANK.get(str(status.get("privacyStatus")), 0), status.get("publishAt") is not None


def asked_rank(content: Mapping[str, Any], now: datetime) -> float:
    """Return how visible a video may be now at most. A scheduled one counts as a little more than private."""
    when = time_of(content.get("publish_at"))
    if when is None or now >= when - CLOCK_SKEW:
        return RANK[content["privacy_status"]]
    return 0.5


def draft_of(
    video: Mapping[str, Any], post_id: str | None, content: Mapping[str, Any] | None, now: datetime, url: str
) -> Draft:
    """Return what a resource says about a draft or a post.

    :param video: with ``status`` and ``processingDetails``, and ``snippet`` if ``content`` is given.
    :param post_id: its id if it is known to have been published.
    :param content: what was asked for.
    """
    status, processing = part(video, "status"), part(video, "processingDetails")
    failure = _failure(status, processing)
    if failure is not None:
        return failure
    if status.get("uploadStatus") != "processed" and post_id is None and not visibility(video)[0]:
        return Draft(DraftState.PROCESSING, progress=_progress(status, processing))
    if content is None:
        seen = post_id is not None or any(visibility(video))
        return Draft(DraftState.PUBLIC if seen else DraftState.READY, post_id=post_id, url=url)
    differs = differences(status, content, now)
    asked = asked_rank(content, now)
    as_asked = not differs and asked > 0 and _same_texts(part(video, "snippet"), content)
    if post_id is not None or visibility(video)[0] > asked or as_asked:
        return Draft(DraftState.PUBLIC, post_id=str(video.get("id") or post_id), url=url, differs=tuple(differs))
    # Also one that is visible, but not as asked: the update is harmless to repeat.
    return Draft(DraftState.READY)


def differences(status: Mapping[str, Any], content: Mapping[str, Any], now: datetime) -> list[FieldProblem]:
    """Return where a published video is not what was asked for."""
    wrong = []
    privacy, scheduled = status.get("privacyStatus"), time_of(status.get("publishAt"))
    when = time_of(content.get("publish_at"))
    if when is None or when <= now - LATE:
        if privacy != content["privacy_status"]:
            wrong.append(FieldProblem("privacy_status", privacy, f"{content['privacy_status']!r} was asked for"))
        if when is None and scheduled is not None:
            wrong.append(FieldProblem("publish_at", stamp(scheduled), "no date was asked for"))
    elif privacy == "private" and (scheduled is None or abs(scheduled - when) >= timedelta(minutes=1)):
        wrong.append(FieldProblem("publish_at", scheduled and stamp(scheduled), f"{stamp(when)} was asked for"))
    elif privacy != "private" and (privacy != content["privacy_status"] or now < when - CLOCK_SKEW):
        wrong.append(FieldProblem("privacy_status", privacy, f"'private' until {stamp(when)} was asked for"))
    for name, field in (
        ("contains_synthetic_media", "containsSyntheticMedia"),
        ("made_for_kids", "selfDeclaredMadeForKids"),
    ):
        if bool(status.get(field)) != content[name]:
            wrong.append(FieldProblem(name, bool(status.get(field)), f"{content[name]} was asked for"))
    return wrong


def part(video: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of a resource; empty if there is none."""
    found = video.get(name)
    return found if isinstance(found, Mapping) else {}


def stamp(when: datetime) -> str:
    """Return a point in time as YouTube writes it."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _texts(content: Mapping[str, Any]) -> dict[str, Any]:
    language = content.get("default_language")
    return {
        "title": content["title"],
        "description": content.get("description") or "",
        "categoryId": content["category_id"],
        **({"defaultLanguage": language} if language else {}),
    }


def _declarations(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "selfDeclaredMadeForKids": content["made_for_kids"],
        "containsSyntheticMedia": content["contains_synthetic_media"],
    }


def _same_texts(snippet: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    return all(_plain(snippet.get(name)) == _plain(value) for name, value in _texts(content).items())


def _plain(value: Any) -> str:
    return " ".join(str(value or "").split())


def _failure(status: Mapping[str, Any], processing: Mapping[str, Any]) -> Draft | None:
    match status.get("uploadStatus"):
        case "deleted":
            return Draft(DraftState.GONE)
        case "rejected":
            return Draft(DraftState.FAILED, reason=f"rejected: {status.get('rejectionReason') or 'no reason given'}")
        case "failed":
            return Draft(DraftState.FAILED, reason=f"failed: {status.get('failureReason') or 'no reason given'}")
    told = processing.get("processingStatus")
    if told in ("failed", "terminated"):
        why = processing.get("processingFailureReason") or "no reason given"
        return Draft(DraftState.FAILED, reason=f"processing {told}: {why}")
    return None


def _progress(status: Mapping[str, Any], processing: Mapping[str, Any]) -> str:
    parts = part(processing, "processingProgress")
    try:
        done, total = int(parts["partsProcessed"]), int(parts["partsTotal"])
    except (KeyError, TypeError, ValueError):
        return str(processing.get("processingStatus") or status.get("uploadStatus") or "unknown")
    return f"{done / total:.0%} processed" if 0 <= done <= total > 0 else "processing"
