"""All publishing services of one emulator, and what the world sees of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.emulator.publishing.faults import PublishFaults
from airflow_provider_apimart.emulator.publishing.instagram import Account
from airflow_provider_apimart.emulator.publishing.webhook import Receiver, shown
from airflow_provider_apimart.emulator.publishing.youtube import Channel, Video

if TYPE_CHECKING:
    from fastapi import Request


class World:
    """The services.

    :param processing_seconds: how long YouTube and Instagram work on a video.
    :param listing_seconds: when a new video appears in the channel's list of uploads.
    :param token_seconds: how long YouTube's access tokens live.
    :param public_url: the base of URLs in answers; ``None`` uses the request's ``Host``.
    :param now: unix seconds.
    """

    def __init__(
        self,
        *,
        processing_seconds: float = 5.0,
        listing_seconds: float = 0.0,
        token_seconds: float = 3600.0,
        public_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._ahead, self._public_url = now, 0.0, public_url
        self.faults = PublishFaults()
        self.youtube = Channel(
            self.faults,
            self.now,
            processing_seconds=processing_seconds,
            listing_seconds=listing_seconds,
            token_seconds=token_seconds,
        )
        self.instagram = Account(self.faults, self.now, processing_seconds=processing_seconds)
        # A receiver compares its clock with the sender's, so time is not moved for it.
        self.webhook = Receiver(self.faults, now)

    def now(self) -> float:
        """Return the time at YouTube and Instagram."""
        return self._clock() + self._ahead

    def base_url(self, request: Request) -> str:
        """Return the base of URLs in the answer to a request."""
        return (self._public_url or str(request.base_url)).rstrip("/")

    def advance(self, seconds: float) -> None:
        """Let time pass at YouTube and Instagram: processing ends, dates come, tokens and containers expire."""
        self._ahead += seconds

    def reset(self) -> None:
        """Forget everything, faults included."""
        self._ahead = 0.0
        self.faults.reset()
        self.youtube.reset()
        for kept in (self.instagram.containers, self.instagram.media, self.webhook.messages):
            kept.clear()
        self.webhook.refused = 0

    def state(self) -> dict[str, Any]:
        """Return all that the services hold, as plain JSON."""
        return {
            "now": self.now(),
            "posts": self.posts(),
            "requests": self.faults.requests(),
            "quota": self.youtube.project.used(),
            "youtube": [self._video(video) for video in self.youtube.all()],
            "uploads": [
                {"size": one.size, "stored": one.stored, "name": one.name, "video_id": one.video and one.video.id}
                for one in self.youtube.uploads.values()
            ],
            "playlists": self.youtube.playlists,
            "instagram": [
                {"id": one.id, "status": self.instagram.status(one)[0], "media": one.media}
                for one in self.instagram.containers.values()
            ],
            "webhook": [shown(message) for message in self.webhook.messages.values()],
            "webhook_refused": self.webhook.refused,
            "faults": self.faults.describe(),
        }

    def posts(self) -> list[dict[str, Any]]:
        """Return what others have seen or can see, oldest first: one entry each time that something became visible."""
        found = [
            {
                "service": "youtube",
                "id": video.id,
                "title": video.snippet.get("title"),
                "sha256": video.sha256,
                "bytes": video.size,
                "at": at,
            }
            for video in [*self.youtube.all(), *self.youtube.deleted]
            for at in video.published
        ]
        found += [
            {
                "service": "instagram",
                "id": one.id,
                "title": one.caption,
                "sha256": one.sha256,
                "bytes": one.size,
                "at": one.published,
            }
            for one in self.instagram.media.values()
        ]
        found += [
            {
                "service": "webhook",
                "id": one.id,
                "title": one.receiver,
                "sha256": None,
                "bytes": len(one.body),
                "at": one.received,
            }
            for one in self.webhook.messages.values()
        ]
        return sorted(found, key=lambda post: post["at"])

    def _video(self, video: Video) -> dict[str, Any]:
        resource = self.youtube.resource(video, frozenset({"snippet", "status", "fileDetails"}))
        seen = {
            "sha256": video.sha256,
            "bytes": video.size,
            "published": video.published,
            "notify_subscribers": video.notifies,
            "thumbnail_bytes": video.thumbnail_bytes,
        }
        return {**resource, **seen}
