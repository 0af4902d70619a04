"""What YouTube takes in a video's fields, and how it says no. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

PRIVACIES = ("private", "public", "unlisted")
CATEGORIES = {"1": "Film & Animation", "22": "People & Blogs", "24": "Entertainment", "28": "Science & Technology"}
MAX_TITLE, MAX_DESCRIPTION_BYTES, MAX_TAGS = 100, 5000, 500


class Problem(Exception):
    """A refusal in YouTube's terms."""

    def __init__(self, status: int, reason: str, message: str = "", location: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.message, self.location = status, reason, message or reason, location


def check_snippet(snippet: Any, *, needs_category: bool = False) -> None:
    """Refuse a snippet that YouTube does not take.

    :raises Problem: names the field.
    """
    found = snippet if isinstance(snippet, dict) else {}
    title, text = found.get("title"), found.get("description") or ""
    if not isinstance(title, str) or not title.strip() or len(title) > MAX_TITLE or set("<>") & set(title):
        raise Problem(400, "invalidTitle", "The snippet.title is invalid.", "body.snippet.title")
    if not isinstance(text, str) or len(text.encode()) > MAX_DESCRIPTION_BYTES or set("<>") & set(text):
        raise Problem(400, "invalidDescription", "The snippet.description is invalid.", "body.snippet.description")
    tags = found.get("tags") or []
    # Commas count, and a tag with a space counts two more, for its quotation marks.
    if not isinstance(tags, list) or sum(len(str(tag)) + 2 * (" " in str(tag)) + 1 for tag in tags) > MAX_TAGS + 1:
        raise Problem(400, "invalidTags", "The snippet.tags are invalid.", "body.snippet.tags")
    category = found.get("categoryId")
    if (category is None and needs_category) or (category is not None and category not in CATEGORIES):
        raise Problem(400, "invalidCategoryId", "The snippet.categoryId is invalid.", "body.snippet.categoryId")


def check_status(status: Any, *, published: bool) -> None:
    """Refuse a status that YouTube does not take.

    :param published: whether others could ever see the video.
    :raises Problem: names the field.
    """
    found = status if isinstance(status, dict) else {}
    privacy = found.get("privacyStatus", "public")
    if privacy not in PRIVACIES:
        raise Problem(400, "invalidVideoMetadata", "The privacy is invalid.", "body.status.privacyStatus")
    date = found.get("publishAt")
    if date is not None and (privacy != "private" or published or moment_of(date) is None):
        raise Problem(400, "invalidPublishAt", "The scheduled publishing time is invalid.", "body.status.publishAt")


def moment_of(text: Any) -> float | None:
    """Return an ISO 8601 time with an offset as unix seconds; ``None`` for anything else."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.tzinfo is not None else None


def iso(seconds: float) -> str:
    """Return unix seconds as YouTube writes times."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
