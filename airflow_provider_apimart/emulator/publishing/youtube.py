"""A YouTube channel: upload sessions, videos, the quota, and time. Pure: the routes are in ``youtube_routes.py``.

What follows Google's pages: bytes are kept only from where the session stands, and the last one makes the video; an
update deletes what it leaves out of a named part, and a missing privacy becomes public; ``publishAt`` in the past
publishes at once; quotas are counted per Pacific day. What is assumed is listed in docs/emulator.md.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_apimart.emulator.publishing.faults import PublishFaults

CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN = "emulated-client", "emulated-secret", "emulated-refresh-token"
CHANNEL, UPLOADS = "UC-emulated-channel", "UU-emulated-uploads"
PIECE = 256 * 1024
PACIFIC = ZoneInfo("America/Los_Angeles")
MAX_INSERTS, MAX_UNITS = 100, 10_000
PRIVACIES = ("private", "public", "unlisted")
CATEGORIES = {"1": "Film & Animation", "22": "People & Blogs", "24": "Entertainment", "28": "Science & Technology"}
SCOPE = "https://www.googleapis.com/auth/youtube"


class Problem(Exception):
    """A refusal in YouTube's terms."""

    def __init__(self, status: int, reason: str, message: str = "", location: str = "") -> None:
        super().__init__(reason)
        self.status, self.reason, self.message, self.location = status, reason, message or reason, location


@dataclass
class Upload:
    """One upload session. The bytes are hashed and counted, not kept."""

    resource: dict[str, Any]
    size: int
    name: str
    stored: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    video_id: str = ""


@dataclass
class Video:
    """One video, as its owner sees it."""

    id: str
    snippet: dict[str, Any]
    status: dict[str, Any]
    name: str
    size: int
    sha256: str
    made: float
    #: Each time that it became visible to others, in unix seconds.
    published: list[float] = field(default_factory=list)
    thumbnail_bytes: int = 0


class Channel:
    """The channel and its project's quota.

    :param now: unix seconds.
    :param processing_seconds: from the last byte to ``processed``.
    :param listing_seconds: from the last byte to the list of uploads.
    """

    def __init__(
        self,
        faults: PublishFaults,
        now: Callable[[], float],
        *,
        processing_seconds: float = 5.0,
        listing_seconds: float = 0.0,
        token_seconds: float = 3600.0,
    ) -> None:
        self.faults, self.now = faults, now
        self.processing_seconds, self.listing_seconds, self.token_seconds = (
            processing_seconds,
            listing_seconds,
            token_seconds,
        )
        self.uploads: dict[str, Upload] = {}
        self.videos: dict[str, Video] = {}
        self.playlists: dict[str, list[str]] = {}
        self._tokens: dict[str, float] = {}
        self._used: dict[tuple[str, str], int] = {}

    def reset(self) -> None:
        """Forget every video, and what the day has cost. Tokens stay."""
        for kept in (self.uploads, self.videos, self.playlists, self._used):
            kept.clear()

    def _has(self, condition: str) -> bool:
        return self.faults.condition("youtube", condition) is not None

    # --- tokens and quota --------------------------------------------------------------------------------------------

    def grant(self, client_id: str, client_secret: str, refresh_token: str) -> tuple[str, float]:
        """Return a new access token, and how long it lives.

        :raises Problem: as Google's token endpoint names it.
        """
        if (client_id, client_secret) != (CLIENT_ID, CLIENT_SECRET):
            raise Problem(401, "invalid_client", "The OAuth client was not found.")
        if refresh_token != REFRESH_TOKEN or self._has("invalid_grant"):
            raise Problem(400, "invalid_grant", "Token has been expired or revoked.")
        token = f"emulated-access-{secrets.token_hex(8)}"
        self._tokens[token] = self.now() + self.token_seconds
        return token, self.token_seconds

    def expire_tokens(self) -> None:
        """Let every access token expire now."""
        self._tokens.clear()

    def expire_uploads(self) -> None:
        """Let every upload session expire now."""
        self.uploads.clear()

    def check_token(self, token: str, *, uploads: bool = False) -> None:
        """Refuse a request whose token is void or may not do this."""
        if self._tokens.get(token, 0.0) <= self.now():
            raise Problem(401, "authError", "Invalid Credentials", "Authorization")
        if not uploads and self._has("upload_scope_only"):
            raise Problem(403, "insufficientPermissions", "Request had insufficient authentication scopes.")

    def spend(self, bucket: str, units: int = 1) -> None:
        """Count a request against the day's quota."""
        most = MAX_INSERTS if bucket == "inserts" else MAX_UNITS
        key = (datetime.fromtimestamp(self.now(), PACIFIC).date().isoformat(), bucket)
        if self._has("quota") or self._used.get(key, 0) + units > most:
            raise Problem(403, "quotaExceeded", "The request cannot be completed because you have exceeded your quota.")
        self._used[key] = self._used.get(key, 0) + units

    # --- uploads -----------------------------------------------------------------------------------------------------

    def start(self, resource: Any, size: int, name: str) -> str:
        """Open a session and return its id. Wrong metadata is refused here, before any byte."""
        if self._has("upload_limit"):
            raise Problem(
                400, "uploadLimitExceeded", "The user has exceeded the number of videos they may upload.", "body"
            )
        if not isinstance(resource, dict) or size <= 0:
            raise Problem(400, "mediaBodyRequired", "The request does not include the video content.")
        self._check_snippet(resource.get("snippet"))
        self._check_status(resource.get("status"), published=False)
        upload_id = secrets.token_urlsafe(24)
        self.uploads[upload_id] = Upload(resource, size, name)
        return upload_id

    def session(self, upload_id: str, size: int) -> Upload:
        """Return an open session.

        :raises Problem: 404 for one that is not known.
        """
        upload = self.uploads.get(upload_id)
        if upload is None or self._has("sessions_expire"):
            raise Problem(404, "notFound", "The upload session has expired.")
        if size != upload.size:
            raise Problem(400, "badRequest", "The total does not agree with X-Upload-Content-Length.")
        return upload

    def store(self, upload: Upload, chunk: bytes) -> None:
        """Take the next bytes; the last one makes the video."""
        if upload.video_id:
            return
        chunk = chunk[: upload.size - upload.stored]
        upload.digest.update(chunk)
        upload.stored += len(chunk)
        if upload.stored == upload.size:
            self._make(upload)

    def shown_offset(self, upload: Upload) -> int:
        """Return how many bytes a session says that it has."""
        if self._has("no_range"):
            return 0
        return upload.stored

    def _make(self, upload: Upload) -> None:
        upload.video_id = secrets.token_urlsafe(8)
        video = Video(
            id=upload.video_id,
            snippet=dict(upload.resource.get("snippet") or {}),
            status=self._filled(upload.resource.get("status") or {}),
            name=upload.name,
            size=upload.size,
            sha256=upload.digest.hexdigest(),
            made=self.now(),
        )
        self.videos[video.id] = video
        self._note(video, was="private")

    # --- videos ------------------------------------------------------------------------------------------------------

    def known(self, video_id: str) -> Video:
        """Return a video.

        :raises Problem: 404.
        """
        video = self.videos.get(video_id)
        young = self.faults.condition("youtube", "unknown_at_first")
        if video is None or (young and self.now() < video.made + young.seconds):
            raise Problem(404, "videoNotFound", "The video cannot be found.", "id")
        self._tick(video)
        return video

    def all(self) -> list[Video]:
        """Return all videos, newest first, with time's effects."""
        found = sorted(self.videos.values(), key=lambda video: video.made, reverse=True)
        for video in found:
            self._tick(video)
        return found

    def listed(self) -> list[Video]:
        """Return what the list of uploads shows."""
        if self._has("never_listed"):
            return []
        return [video for video in self.all() if self.now() >= video.made + self.listing_seconds]

    def update(self, body: Any) -> Video:
        """Replace the named parts of a video by what the body holds."""
        video = self.known(str(body.get("id")) if isinstance(body, dict) else "")
        self._check_snippet(body.get("snippet"), needs_category=True)
        status = body.get("status")
        self._check_status(status, published=bool(video.published))
        was = video.status["privacyStatus"]
        kept = {name: video.status[name] for name in ("uploadStatus",) if name in video.status}
        wanted = self._filled(status or {})
        if self._has("label_dropped"):
            wanted.pop("containsSyntheticMedia", None)
        if self._has("publish_at_dropped"):
            wanted.pop("publishAt", None)
        if self._has("locked_private"):
            wanted["privacyStatus"] = "private"
            wanted.pop("publishAt", None)
        video.snippet, video.status = dict(body["snippet"]), {**wanted, **kept}
        self._note(video, was)
        self._tick(video)
        return video

    def resource(self, video: Video, parts: set[str]) -> dict[str, Any]:
        """Return a video as ``videos.list`` does."""
        state, reason = self._processing(video)
        whole = {
            "snippet": {
                **video.snippet,
                "channelId": CHANNEL,
                "channelTitle": "Emulated channel",
                "publishedAt": _iso(video.made),
            },
            "status": {**video.status, "uploadStatus": state, **reason},
            "processingDetails": {
                "processingStatus": {"uploaded": "processing", "processed": "succeeded"}.get(state, "failed")
            },
            "fileDetails": {"fileSize": str(video.size)}
            | ({} if self._has("no_file_name") else {"fileName": video.name}),
            "contentDetails": {"duration": "PT8S"},
        }
        return {"kind": "youtube#video", "etag": "etag", "id": video.id} | {
            name: value for name, value in whole.items() if name in parts
        }

    def _processing(self, video: Video) -> tuple[str, dict[str, Any]]:
        if self.now() < video.made + self.processing_seconds:
            return "uploaded", {}
        if self._has("processing_fails"):
            return "failed", {"failureReason": "conversion"}
        if self._has("duplicate"):
            return "rejected", {"rejectionReason": "duplicate"}
        return "processed", {}

    def _tick(self, video: Video) -> None:
        """Let the clock publish what is scheduled."""
        when = _moment(video.status.get("publishAt"))
        if when is not None and self.now() >= when and video.status["privacyStatus"] == "private":
            video.status = {**video.status, "privacyStatus": "public"}
            video.status.pop("publishAt", None)
            self._note(video, was="private")

    def _note(self, video: Video, was: str) -> None:
        if video.status["privacyStatus"] != "private" and (was == "private" or not video.published):
            video.published.append(self.now())

    def _filled(self, status: dict[str, Any]) -> dict[str, Any]:
        # As Google says: without a privacy, the default is public.
        return {"privacyStatus": "public", "embeddable": True, "license": "youtube", **status}

    # --- checks ------------------------------------------------------------------------------------------------------

    def _check_snippet(self, snippet: Any, *, needs_category: bool = False) -> None:
        found = snippet if isinstance(snippet, dict) else {}
        title, text = found.get("title"), found.get("description") or ""
        if not isinstance(title, str) or not title.strip() or len(title) > 100 or set("<>") & set(title):
            raise Problem(400, "invalidTitle", "The snippet.title is invalid.", "body.snippet.title")
        if not isinstance(text, str) or len(text.encode()) > 5000 or set("<>") & set(text):
            raise Problem(400, "invalidDescription", "The snippet.description is invalid.", "body.snippet.description")
        tags = found.get("tags") or []
        if not isinstance(tags, list) or sum(len(str(tag)) + (2 if " " in str(tag) else 0) + 1 for tag in tags) > 501:
            raise Problem(400, "invalidTags", "The snippet.tags are invalid.", "body.snippet.tags")
        category = found.get("categoryId")
        if (category is None and needs_category) or (category is not None and category not in CATEGORIES):
            raise Problem(400, "invalidCategoryId", "The snippet.categoryId is invalid.", "body.snippet.categoryId")

    def _check_status(self, status: Any, *, published: bool) -> None:
        found = status if isinstance(status, dict) else {}
        privacy = found.get("privacyStatus", "public")
        if privacy not in PRIVACIES:
            raise Problem(400, "invalidVideoMetadata", "The privacy is invalid.", "body.status.privacyStatus")
        if found.get("publishAt") is not None and (
            privacy != "private" or published or _moment(found["publishAt"]) is None
        ):
            raise Problem(400, "invalidPublishAt", "The scheduled publishing time is invalid.", "body.status.publishAt")


def _moment(text: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment is not None and moment.tzinfo is not None else None


def _iso(seconds: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
