"""What is added to a published video: a thumbnail, a place in a playlist. None of it can fail the post."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_apimart.publishing.errors import PostRejectedError
from airflow_provider_apimart.publishing.exchange import Exchange
from airflow_provider_apimart.publishing.targets.youtube.api import Api
from airflow_provider_apimart.publishing.targets.youtube.limits import MAX_THUMBNAIL_BYTES

UPLOAD_TIMEOUT_SECONDS = 120.0
KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}

#: Reads a small file from any storage; ``None`` if it does not exist or is larger than the limit.
ReadFile = Callable[[str, int], bytes | None]


def image_type(content: bytes) -> str | None:
    """Return the media type of a JPEG or a PNG; ``None`` for anything else."""
    return next((kind for start, kind in KINDS.items() if content.startswith(start)), None)


@dataclass(frozen=True)
class Thumbnail:
    """Sets the picture that stands for the video.

    Setting it again is harmless. YouTube takes one for a Short once the video is processed, which it is by then.
    """

    api: Api
    path: str
    read: ReadFile

    def __call__(self, post_id: str) -> Exchange[None]:
        """Send the file."""
        content = self.read(self.path, MAX_THUMBNAIL_BYTES)
        kind = image_type(content) if content else None
        if not content or kind is None:
            raise PostRejectedError(f"{self.path} is no JPEG or PNG file of up to 50 MB any more")
        yield from self.api.call(
            "thumbnail",
            "POST",
            "/upload/youtube/v3/thumbnails/set",
            {"videoId": post_id, "uploadType": "media"},
            content=content,
            content_type=kind,
            timeout_seconds=UPLOAD_TIMEOUT_SECONDS,
        )


@dataclass(frozen=True)
class PlaylistEntry:
    """Adds the video to a playlist, unless it is in it: YouTube itself would list it twice."""

    api: Api
    playlist_id: str

    def __call__(self, post_id: str) -> Exchange[None]:
        """Ask, then add."""
        asked = {"part": "id", "playlistId": self.playlist_id, "videoId": post_id, "maxResults": "1"}
        if (yield from self.api.items("question about the playlist", "playlistItems", asked)):
            return
        entry: Mapping[str, Any] = {
            "snippet": {
                "playlistId": self.playlist_id,
                "resourceId": {"kind": "youtube#video", "videoId": post_id},
            }
        }
        yield from self.api.call(
            "playlist entry",
            "POST",
            "/youtube/v3/playlistItems",
            {"part": "snippet"},
            content=json.dumps(entry).encode(),
        )
