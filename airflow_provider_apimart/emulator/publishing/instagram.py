"""An Instagram professional account: containers, publications, limits. Pure: the routes are in ``instagram_routes.py``.

Undocumented, so assumed: what a second publication of one container does (:data:`.faults.CONDITIONS`,
``publishes_twice``).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.emulator.publishing.faults import PublishFaults

USER, USERNAME = "17841400000000001", "emulated.account"
TOKENS = ("IGAA-emulated-instagram-token", "EAAB-emulated-facebook-token")
CONTAINER_SECONDS = 24 * 3600
DAILY_POSTS = 50
MAX_CAPTION, MAX_HASHTAGS, MAX_MENTIONS = 2200, 30, 20


class GraphProblem(Exception):
    """A refusal in the Graph API's terms."""

    def __init__(self, status: int, message: str, code: int, subcode: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.subcode = status, message, code, subcode


@dataclass
class Container:
    """One container. The bytes are hashed and counted, not kept."""

    id: str
    fields: dict[str, Any]
    made: float
    stored: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    complete_at: float | None = None
    #: Meta's number of what went wrong with it.
    error: int | None = None
    media: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Media:
    """One Reel that everybody can see."""

    id: str
    container: str
    caption: str
    is_ai_generated: bool
    published: float
    size: int
    sha256: str


class Account:
    """The account.

    :param now: unix seconds.
    :param processing_seconds: from the last byte to FINISHED.
    """

    def __init__(self, faults: PublishFaults, now: Callable[[], float], *, processing_seconds: float = 5.0) -> None:
        self.faults, self.now, self.processing_seconds = faults, now, processing_seconds
        self.containers: dict[str, Container] = {}
        self.media: dict[str, Media] = {}
        self._ids = itertools.count(1)

    def has(self, condition: str) -> bool:
        """Return whether a condition is in force."""
        return self.faults.condition("instagram", condition) is not None

    def check_token(self, token: str) -> None:
        """Refuse a request whose token is void."""
        if self.has("token_expired"):
            raise GraphProblem(400, "Error validating access token: Session has expired.", 190, 463)
        if token not in TOKENS:
            raise GraphProblem(400, "Invalid OAuth access token - Cannot parse access token", 190)

    def create(self, fields: dict[str, Any]) -> Container:
        """Make a container."""
        if self.has("personal_account"):
            raise GraphProblem(400, "The user is not an Instagram Business account.", 10, 2207050)
        caption = str(fields.get("caption") or "")
        if len(caption) > MAX_CAPTION or caption.count("#") > MAX_HASHTAGS or caption.count("@") > MAX_MENTIONS:
            raise GraphProblem(400, "The caption was too long.", 100, 2207010)
        if fields.get("media_type") != "REELS" or not (
            fields.get("video_url") or fields.get("upload_type") == "resumable"
        ):
            raise GraphProblem(400, "Only Reels from a video_url or a resumable upload are emulated.", 100)
        container = Container(f"1790{next(self._ids):013d}", fields, self.now())
        self.containers[container.id] = container
        return container

    def known(self, container_id: str) -> Container:
        """Return a container."""
        if self.has("reads_fail") or container_id not in self.containers:
            text = f"Unsupported get request. Object with ID '{container_id}' does not exist"
            raise GraphProblem(400, text, 100, 33)
        return self.containers[container_id]

    def store(self, container: Container, at: int, chunk: bytes) -> int:
        """Take the bytes that begin at ``at``, and return where the next ones begin. Any but the next are ignored."""
        if at == container.stored and container.complete_at is None:
            container.digest.update(chunk)
            container.stored += len(chunk)
        return at + len(chunk)

    def completed(self, container: Container) -> None:
        """Note that all bytes are there."""
        if container.complete_at is None:
            container.complete_at = self.now()

    def status(self, container: Container) -> tuple[str, str]:
        """Return ``status_code`` and ``status``."""
        if container.media:
            return "PUBLISHED", "Published: Media has been published"
        if self.has("container_expires") or self.now() > container.made + CONTAINER_SECONDS:
            return "EXPIRED", "Expired: The container was not published within 24 hours"
        fails = self.faults.condition("instagram", "container_fails")
        error = container.error or (fails and (fails.code if fails.code > 1000 else 2207026))
        if error:
            return "ERROR", f"Error: Media upload has failed with error code {error}"
        if container.complete_at is None or self.now() < container.complete_at + self.processing_seconds:
            return "IN_PROGRESS", "In Progress: Media is still being processed"
        return "FINISHED", "Finished: Media has been uploaded and it is ready to be published"

    def used(self) -> int:
        """Return the posts of the last 24 hours."""
        if self.has("limit_reached"):
            return DAILY_POSTS
        return sum(one.published > self.now() - CONTAINER_SECONDS for one in self.media.values())

    def publish(self, container_id: str) -> Media:
        """Publish a container."""
        container = self.known(container_id)
        if container.media and not self.has("publishes_twice"):
            raise GraphProblem(400, "The media with this container id has already been published.", 9007, 2207028)
        if self.used() >= DAILY_POSTS:
            raise GraphProblem(400, "The user has reached the maximum number of posts.", 9, 2207042)
        code, _ = self.status(container)
        if code == "EXPIRED":
            raise GraphProblem(400, "The media could not be fetched: it has expired.", 100, 2207020)
        if code not in ("FINISHED", "PUBLISHED"):
            raise GraphProblem(400, "Media ID is not available: the media is not ready to be published.", 9007, 2207027)
        media = Media(
            id=f"1800{next(self._ids):013d}",
            container=container.id,
            caption=str(container.fields.get("caption") or ""),
            is_ai_generated=_truth(container.fields.get("is_ai_generated")),
            published=self.now(),
            size=container.stored,
            sha256=container.digest.hexdigest(),
        )
        container.media.append(media.id)
        self.media[media.id] = media
        return media


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "1")
