"""A YouTube channel: upload sessions, videos, and time. Pure: the routes are in ``youtube_routes.py``.

What follows Google's pages: bytes are kept only from where the session stands, and the last one makes the video; an
update deletes what it leaves out of a named part, and a missing privacy becomes public; ``publishAt`` in the past
publishes at once. What is assumed is listed in docs/emulator.md.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.emulator.publishing.faults import PublishFaults
from airflow_provider_apimart.emulator.publishing.youtube_project import CLIENT_ID as CLIENT_ID
from airflow_provider_apimart.emulator.publishing.youtube_project import CLIENT_SECRET as CLIENT_SECRET
from airflow_provider_apimart.emulator.publishing.youtube_project import REFRESH_TOKEN as REFRESH_TOKEN
from airflow_provider_apimart.emulator.publishing.youtube_project import Project
from airflow_provider_apimart.emulator.publishing.youtube_rules import (
    Problem,
    check_snippet,
    check_status,
    iso,
    moment_of,
)

CHANNEL, UPLOADS = "UC-emulated-channel", "UU-emulated-uploads"
TITLE = "Emulated channel"
PIECE = 256 * 1024


@dataclass
class Upload:
    """One upload session. The bytes are hashed and counted, not kept.

    :param size: ``None`` until the client says it.
    :param parts: those that the insert named, which its answer has.
    """

    resource: dict[str, Any]
    size: int | None
    name: str
    parts: frozenset[str]
    notifies: bool = True
    stored: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    video: Video | None = None


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
    #: When its owner last changed it.
    changed: float
    notifies: bool
    #: Each time that it became visible to others, in unix seconds.
    published: list[float] = field(default_factory=list)
    thumbnail_bytes: int = 0


class Channel:
    """The channel of the project's one user.

    :param now: unix seconds.
    :param processing_seconds: from the last byte to ``processed``.
    :param listing_seconds: from the last byte to the list of uploads.
    :param token_seconds: how long access tokens live.
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
        self.processing_seconds, self.listing_seconds = processing_seconds, listing_seconds
        self.project = Project(faults, now, token_seconds)
        self.uploads: dict[str, Upload] = {}
        self.videos: dict[str, Video] = {}
        self.deleted: list[Video] = []
        self.playlists: dict[str, list[str]] = {}

    def reset(self) -> None:
        """Forget every video, and what the day has cost. Tokens stay."""
        for kept in (self.uploads, self.videos, self.playlists):
            kept.clear()
        self.deleted.clear()
        self.project.reset()

    def _has(self, condition: str) -> bool:
        return self.faults.condition("youtube", condition) is not None

    # --- uploads -----------------------------------------------------------------------------------------------------

    def start(self, resource: Any, parts: frozenset[str], size: int | None, name: str, *, notifies: bool = True) -> str:
        """Open a session and return its id. Wrong metadata is refused here, before any byte.

        :param parts: what of the resource counts.
        """
        if self._has("upload_limit"):
            raise Problem(
                400, "uploadLimitExceeded", "The user has exceeded the number of videos they may upload.", "body"
            )
        if not isinstance(resource, dict) or size == 0:
            raise Problem(400, "mediaBodyRequired", "The request does not include the video content.")
        named = {part: value for part, value in resource.items() if part in parts}
        check_snippet(named.get("snippet"))
        check_status(named.get("status"), published=False)
        upload_id = secrets.token_urlsafe(24)
        self.uploads[upload_id] = Upload(named, size, name, parts, notifies)
        return upload_id

    def session(self, upload_id: str, size: int | None) -> Upload:
        """Return an open session.

        :param size: the whole file's, if this request says it.
        :raises Problem: 404 for one that is not known.
        """
        upload = self.uploads.get(upload_id)
        if upload is None or self._has("sessions_expire"):
            raise Problem(404, "notFound", "The upload session has expired.")
        if size is not None and upload.size is None and size >= upload.stored:
            upload.size = size
            if upload.stored == size:
                self._make(upload)
        if size not in (None, upload.size):
            raise Problem(400, "badRequest", "The total does not agree with what was announced before.")
        return upload

    def expire_uploads(self) -> None:
        """Let every upload session expire now."""
        self.uploads.clear()

    def store(self, upload: Upload, at: int, chunk: bytes) -> None:
        """Take the bytes that begin at ``at``. Any but the next ones are ignored; the last one makes the video."""
        if at != upload.stored or upload.video is not None:
            return
        chunk = chunk if upload.size is None else chunk[: upload.size - upload.stored]
        upload.digest.update(chunk)
        upload.stored += len(chunk)
        if upload.stored == upload.size:
            self._make(upload)

    def end(self, upload: Upload) -> None:
        """Take what has come for the whole, where no size was ever announced."""
        if upload.size is None and upload.stored:
            upload.size = upload.stored
            self._make(upload)

    def lose(self, upload: Upload) -> None:
        """Forget the bytes of a session that is not completed."""
        if upload.video is None:
            upload.stored, upload.digest = 0, hashlib.sha256()

    def shown_offset(self, upload: Upload) -> int:
        """Return how many bytes a session says that it has."""
        return 0 if self._has("no_range") else upload.stored

    def _make(self, upload: Upload) -> None:
        video = Video(
            id=secrets.token_urlsafe(8),
            snippet=dict(upload.resource.get("snippet") or {}),
            status=self._accepted(upload.resource.get("status")),
            name=upload.name,
            size=upload.stored,
            sha256=upload.digest.hexdigest(),
            made=self.now(),
            changed=self.now(),
            notifies=upload.notifies,
        )
        self.videos[video.id] = upload.video = video
        self._note(video, "private", self.now())
        self._tick(video)

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
        found = list(reversed(self.videos.values()))
        for video in found:
            self._tick(video)
        return found

    def listed(self) -> list[Video]:
        """Return what the list of uploads shows."""
        if self._has("never_listed"):
            return []
        return [video for video in self.all() if self.now() >= video.made + self.listing_seconds]

    def update(self, body: Any, parts: frozenset[str]) -> Video:
        """Replace the named parts of a video by what the body holds."""
        given = body if isinstance(body, dict) else {}
        video = self.known(str(given.get("id")))
        if "snippet" in parts:
            check_snippet(given.get("snippet"), needs_category=True)
        if "status" in parts:
            check_status(given.get("status"), published=bool(video.published))
        was = video.status["privacyStatus"]
        if "snippet" in parts:
            video.snippet = dict(given["snippet"])
        if "status" in parts:
            video.status = self._accepted(given.get("status"))
        video.changed = self.now()
        self._note(video, was, self.now())
        self._tick(video)
        return video

    def delete(self, video_id: str) -> None:
        """Delete a video. That others have seen it stays counted."""
        self.deleted.append(self.videos.pop(self.known(video_id).id))
        for ids in self.playlists.values():
            ids[:] = [each for each in ids if each != video_id]

    def playlist(self, playlist_id: str) -> list[str]:
        """Return a playlist of the channel. Every id that begins with ``PL`` is one.

        :raises Problem: 404.
        """
        if playlist_id == UPLOADS:
            return [video.id for video in self.listed()]
        if not playlist_id.startswith("PL"):
            raise Problem(404, "playlistNotFound", "The playlist cannot be found.", "playlistId")
        return self.playlists.setdefault(playlist_id, [])

    def add(self, playlist_id: str, video_id: str) -> int:
        """Put a video at the end of a playlist, even if it is in it; return its place."""
        if playlist_id == UPLOADS:
            raise Problem(403, "playlistItemsNotAccessible", "The list of uploads cannot be changed.", "playlistId")
        ids = self.playlist(playlist_id)
        ids.append(self.known(video_id).id)
        return len(ids) - 1

    def resource(self, video: Video, parts: frozenset[str]) -> dict[str, Any]:
        """Return a video as ``videos.list`` does."""
        state, reason = self._processing(video)
        name = {} if self._has("no_file_name") else {"fileName": video.name}
        whole = {
            "snippet": {
                **video.snippet,
                "channelId": CHANNEL,
                "channelTitle": TITLE,
                "publishedAt": iso(video.made),
            },
            "status": {**video.status, "uploadStatus": state, **reason},
            "processingDetails": {
                "processingStatus": {"uploaded": "processing", "processed": "succeeded"}.get(state, "failed")
            },
            "fileDetails": {"fileSize": str(video.size), **name},
            "contentDetails": {"duration": "PT8S", "hasCustomThumbnail": bool(video.thumbnail_bytes)},
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
        when = moment_of(video.status.get("publishAt"))
        if when is not None and self.now() >= when and video.status["privacyStatus"] == "private":
            video.status = {**video.status, "privacyStatus": "public"}
            video.status.pop("publishAt", None)
            # It happened at its time, also if nobody looked then.
            self._note(video, "private", max(when, video.changed))

    def _note(self, video: Video, was: str, at: float) -> None:
        if video.status["privacyStatus"] != "private" and (was == "private" or not video.published):
            video.published.append(at)

    def _accepted(self, status: Any) -> dict[str, Any]:
        """Return what is kept of a status. As Google says, a privacy that is left out is public."""
        kept = {"privacyStatus": "public", "embeddable": True, "license": "youtube", **(status or {})}
        for read_only in ("uploadStatus", "failureReason", "rejectionReason", "madeForKids"):
            kept.pop(read_only, None)
        if self._has("label_dropped"):
            kept.pop("containsSyntheticMedia", None)
        if self._has("publish_at_dropped"):
            kept.pop("publishAt", None)
        if self._has("locked_private"):
            kept["privacyStatus"] = "private"
            kept.pop("publishAt", None)
        return kept
