"""Publishes on YouTube: the file goes up as a private video, and one ``videos.update`` makes it visible.

Why it can be repeated: the update is a PUT on the video's own id, with everything in its body. So a lost answer is
followed by a question, or by the same PUT. A date (``publish_at``) is set in that PUT, and YouTube keeps it.

How a video is found again if the record was lost: by its marker, which the upload gives as the file's name (``Slug``;
only the owner sees it) and as a tag. The update leaves the tag out if YouTube shows the file's name; else it stays, and
whoever reads the video's tags can see it. The look-up goes through the channel's list of uploads, newest first, never
through the search, whose index lags by hours.

Costs of the project's daily quota of 10,000 units: 1 for each question; 50 for each update, thumbnail and playlist
entry. Starting an upload counts against 100 a day of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.errors import CredentialsError, PublishError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange, VideoBytes
from airflow_provider_apimart.publishing.post import Post
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    DraftState,
    Extra,
    NotFound,
    Published,
    Session,
    SessionGone,
    Stored,
    Traits,
)
from airflow_provider_apimart.publishing.targets.youtube import resources
from airflow_provider_apimart.publishing.targets.youtube.api import PAGE, Api
from airflow_provider_apimart.publishing.targets.youtube.extras import PlaylistEntry, ReadFile, Thumbnail, image_type
from airflow_provider_apimart.publishing.targets.youtube.limits import (
    MAX_THUMBNAIL_BYTES,
    UNVERIFIED_SECONDS,
    file_problems,
    problems_of,
    time_of,
)
from airflow_provider_apimart.publishing.targets.youtube.resumable import PIECE_BYTES, Resumable

log = logging.getLogger(__name__)

DEFAULT_API_URL = "https://www.googleapis.com"
#: How many pages of the channel's newest uploads a look-up reads, of 50 videos and 2 units each.
LOOK_UP_PAGES = 5


def watch_url(video_id: str) -> str:
    """Return a video's own page."""
    return f"https://www.youtube.com/watch?v={video_id}"


def studio_url(video_id: str) -> str:
    """Return the page where the channel's owner edits a video."""
    return f"https://studio.youtube.com/video/{video_id}/edit"


@dataclass(frozen=True)
class Channel:
    """A YouTube channel."""

    id: str
    title: str

    def __str__(self) -> str:
        return f"{self.title!r} ({self.id})" if self.title else self.id


class YouTubeTarget:
    """YouTube, as :class:`.PublishTarget`.

    :param base_url: the API's address.
    :param scrub: takes the connection's secrets out of YouTube's text.
    :param read_file: reads the thumbnail; ``None`` if there is none.
    :param on_secret: is told each upload session's URL, so that it can be masked in logs.
    """

    name = "youtube"
    traits = Traits(tail_bytes=PIECE_BYTES, can_look_up=True, text_at_commit=True)

    def __init__(
        self,
        base_url: str = DEFAULT_API_URL,
        *,
        scrub: Callable[[str], str] = lambda text: text,
        read_file: ReadFile | None = None,
        on_secret: Callable[[str], None] = lambda secret: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = Api(base_url, scrub, now)
        self._resumable = Resumable(base_url, scrub, now)
        self._read_file = read_file
        self._on_secret = on_secret
        self._now = now
        self._long_uploads: Any = None

    # --- before anything is sent -------------------------------------------------------------------------------------

    def problems(self, post: Post) -> list[FieldProblem]:
        """Return everything that YouTube would refuse. The thumbnail is read for it."""
        problems = [*file_problems(post.video), *problems_of(post.content, self._now())]
        if not any(problem.field == "thumbnail" for problem in problems):
            problems += self._thumbnail_problems(post.content.get("thumbnail"))
        return problems

    def _thumbnail_problems(self, path: str | None) -> list[FieldProblem]:
        if path is None:
            return []
        content = self._read_file(path, MAX_THUMBNAIL_BYTES) if self._read_file else None
        if content is None:
            return [FieldProblem("thumbnail", path, "does not exist, or is larger than 50 MB")]
        if image_type(content) is None:
            return [FieldProblem("thumbnail", path, "is neither a JPEG nor a PNG file")]
        return []

    def account(self) -> Exchange[str]:
        """Return the channel's id."""
        channel = yield from self.channel()
        return channel.id

    def channel(self) -> Exchange[Channel]:
        """Return the channel that the connection leads to."""
        found = yield from self._channel("snippet,status")
        channel_id = found.get("id")
        if not isinstance(channel_id, str) or not channel_id:
            raise TargetUnavailableError("YouTube's answer to the question about the channel names none")
        self._long_uploads = resources.part(found, "status").get("longUploadsStatus")
        title = resources.part(found, "snippet").get("title")
        return Channel(channel_id, title if isinstance(title, str) else "")

    def _channel(self, parts: str) -> Exchange[dict[str, Any]]:
        params = {"part": parts, "mine": "true"}
        channels = yield from self._api.items("question about the channel", "channels", params)
        if not channels:
            raise CredentialsError(
                "the Google account of this connection has no YouTube channel. Nothing was posted: create the channel, "
                "or connect again and choose the channel (a brand account is chosen on the consent page)",
                reason="youtubeSignupRequired",
            )
        return channels[0]

    # --- the upload: nobody else sees it -----------------------------------------------------------------------------

    def start(self, post: Post, marker: str) -> Exchange[Session | Drafted]:
        """Open an upload session for a private video."""
        seconds = post.video.duration_seconds or 0
        if seconds > UNVERIFIED_SECONDS and self._long_uploads in ("eligible", "disallowed"):
            log.warning(
                "The video has %.0f min, and the channel may not upload more than 15 min yet (longUploadsStatus: %s): "
                "YouTube may reject it. Verify the channel's phone number at youtube.com/verify.",
                seconds / 60,
                self._long_uploads,
            )
        params = {
            "part": "snippet,status",
            "notifySubscribers": "true" if post.content["notify_subscribers"] else "false",
        }
        body = resources.insert_body(post.content, marker)
        session = yield from self._resumable.start(body, f"{marker}.mp4", post.video.bytes, params)
        self._hide(session.url)
        return session

    def ask_session(self, url: str, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Ask how far an upload is."""
        self._hide(url)
        return self._resumable.ask(url, size)

    def upload(self, url: str, body: VideoBytes, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Send a part of the file."""
        self._hide(url)
        return self._resumable.send(url, body, size)

    def _hide(self, url: str) -> None:
        """Tell of a session's secrets: its URL, and the id in it, in case a log writes the URL in another way."""
        self._on_secret(url)
        for upload_id in parse_qs(urlsplit(url).query).get("upload_id", ()):
            self._on_secret(upload_id)

    def look_up(self, marker: str) -> Exchange[Drafted | NotFound]:
        """Look for a post's marker among the channel's newest uploads.

        If several videos carry it (an orphan beside the post), the most visible one is the post.
        """
        channel = yield from self._channel("contentDetails")
        related = resources.part(resources.part(channel, "contentDetails"), "relatedPlaylists")
        best: dict[str, Any] | None = None
        token = ""
        for _ in range(LOOK_UP_PAGES):
            videos, token = yield from self._uploads(str(related.get("uploads") or ""), token)
            for video in videos:
                if (
                    resources.has_marker(video, marker)
                    and resources.part(video, "status").get("uploadStatus") != "deleted"
                ):
                    best = max(best or video, video, key=resources.visibility)
            if not token or (best is not None and any(resources.visibility(best))):
                break
        return NotFound() if best is None else Drafted(str(best["id"]))

    def _uploads(self, playlist_id: str, token: str) -> Exchange[tuple[list[dict[str, Any]], str]]:
        """Return one page of the channel's uploads as video resources, and the next page's token."""
        params = {"part": "contentDetails", "playlistId": playlist_id, "maxResults": str(PAGE)}
        try:
            entries, following = yield from self._api.page(
                "list of uploads", "playlistItems", {**params, **({"pageToken": token} if token else {})}
            )
        except PublishError as error:
            if error.reason == "playlistNotFound":
                # A channel that has never uploaded anything.
                return [], ""
            raise
        ids = [resources.part(entry, "contentDetails").get("videoId") for entry in entries]
        named = ",".join(each for each in ids if isinstance(each, str))
        if not named:
            return [], following
        videos = yield from self._videos("look-up", named, "snippet,status,fileDetails")
        return videos, following

    def _videos(self, what: str, ids: str, parts: str) -> Exchange[list[dict[str, Any]]]:
        found = yield from self._api.items(what, "videos", {"part": parts, "id": ids, "maxResults": str(PAGE)})
        return [video for video in found if isinstance(video.get("id"), str)]

    # --- the commit --------------------------------------------------------------------------------------------------

    def ask(self, draft_id: str, post_id: str | None, post: Post | None) -> Exchange[Draft]:
        """Ask how a video is, and compare it with what was asked for."""
        video_id = post_id or draft_id
        videos = yield from self._videos("question about the video", video_id, "snippet,status,processingDetails")
        if not videos:
            return Draft(DraftState.GONE)
        content = post.content if post else None
        return resources.draft_of(videos[0], post_id, content, self._now(), watch_url(video_id))

    def commit(self, record: PostRecord, post: Post, message: str | None) -> Exchange[Published]:
        """Make the private video as visible as asked, or schedule it: read it, then send all of it back."""
        video_id, now = record.draft_id or "", self._now()
        try:
            videos = yield from self._videos("question about the video", video_id, "snippet,status,fileDetails")
        except TargetUnavailableError as error:
            error.nothing_done = True
            raise
        if not videos:
            raise TargetUnavailableError(f"YouTube does not show the video {video_id} now", nothing_done=True)
        when = time_of(post.content.get("publish_at"))
        scheduled = when if when is not None and when > now else None
        if resources.visibility(videos[0])[0] > resources.asked_rank(post.content, now):
            # Somebody has published it meanwhile. It is not hidden again: what is read back says how it differs.
            return Published(video_id, watch_url(video_id), scheduled)
        if when is not None and scheduled is None:
            log.warning("publish_at=%s has passed meanwhile: the video is published now.", resources.stamp(when))
        body = resources.update_body(videos[0], post.content, record.marker, now)
        yield from self._api.call(
            "publication",
            "PUT",
            "/youtube/v3/videos",
            {"part": "snippet,status"},
            content=json.dumps(body, ensure_ascii=False).encode(),
        )
        return Published(video_id, watch_url(video_id), scheduled)

    def extras(self, post: Post) -> Mapping[str, Extra]:
        """Return the thumbnail and the playlist."""
        found: dict[str, Extra] = {}
        if post.content.get("thumbnail") and self._read_file:
            found["thumbnail"] = Thumbnail(self._api, post.content["thumbnail"], self._read_file)
        if post.content.get("playlist_id"):
            found["playlist"] = PlaylistEntry(self._api, post.content["playlist_id"])
        return found
