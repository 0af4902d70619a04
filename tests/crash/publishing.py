"""Lives of one post against the emulated services: each begins with nothing but the record and the connection.

A life dies at a boundary: before or after a save of the record, or before or after a request. What is public is counted
by the emulator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.publishing import youtube as emulated_youtube
from airflow_provider_apimart.emulator.publishing.instagram import TOKENS, USER
from airflow_provider_apimart.emulator.publishing.webhook import SECRET
from airflow_provider_apimart.publishing.decide import Action
from airflow_provider_apimart.publishing.errors import PublishError, TargetLimitError
from airflow_provider_apimart.publishing.exchange import Credentials, Reply, Request, Sender
from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile
from airflow_provider_apimart.publishing.publish import Publication
from airflow_provider_apimart.publishing.record import PostRecord, read_post_record
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import PublishTarget
from airflow_provider_apimart.publishing.targets.instagram.settings import InstagramCredentials, InstagramSettings
from airflow_provider_apimart.publishing.targets.instagram.target import InstagramTarget
from airflow_provider_apimart.publishing.targets.webhook.settings import WebhookSettings
from airflow_provider_apimart.publishing.targets.webhook.target import WebhookCredentials, WebhookTarget
from airflow_provider_apimart.publishing.targets.youtube.oauth import OAuthClient, OAuthCredentials
from airflow_provider_apimart.publishing.targets.youtube.target import YouTubeTarget
from airflow_provider_apimart.storage.files import Target

DATA = bytes(range(256)) * 1200  # 307,200 bytes: one whole piece, and a tail
MAX_LIVES = 12


class Killed(BaseException):
    """The process dies here. Nothing catches it."""


@dataclass
class Ending:
    """How a post ended.

    :param boundaries: what was passed in the first life, in order.
    """

    kept: bool
    refusal: str
    boundaries: list[str]
    lives: int


@dataclass
class Post1:
    """One post, and what its lives have in common."""

    emulator: Emulator
    path: Path
    kind: str
    run_id: str
    durable: bool = True
    on_clear: Any = "reuse"
    clear_epoch: int = 0
    record: str = ""
    passed: list[str] = field(default_factory=list)
    kill_at: frozenset[int] = frozenset()
    on_death: Callable[[Post1], None] = lambda post: None
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: When the try that came after a lost record began.
    lost_at: datetime | None = None

    # --- the boundaries ----------------------------------------------------------------------------------------------

    def pass_by(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) - 1 in self.kill_at:
            raise Killed

    def load(self) -> PostRecord | None:
        return read_post_record(self.record, "the test") if self.record else None

    def save(self, record: PostRecord) -> None:
        self.pass_by(f"before save {record.state}")
        self.record = record.model_dump_json()
        self.pass_by(f"after save {record.state}")

    @property
    def description(self) -> str:
        return "the test"

    # --- a life ------------------------------------------------------------------------------------------------------

    def target(self) -> tuple[PublishTarget, Credentials, dict[str, Any]]:
        base = self.emulator.base_url
        if self.kind == "youtube":
            client = OAuthClient(
                emulated_youtube.CLIENT_ID,
                emulated_youtube.CLIENT_SECRET,
                emulated_youtube.REFRESH_TOKEN,
                f"{base}/token",
            )
            credentials = OAuthCredentials(client)
            content: dict[str, Any] = {
                "title": "A dog",
                "description": "",
                "tags": [],
                "category_id": "22",
                "privacy_status": "public",
                "publish_at": None,
                "made_for_kids": False,
                "contains_synthetic_media": True,
                "notify_subscribers": False,
                "default_language": None,
                "thumbnail": None,
                "playlist_id": "PL-crash",
            }
            return YouTubeTarget(base, scrub=credentials.scrub, now=lambda: self.time), credentials, content
        if self.kind == "instagram":
            settings = InstagramSettings(TOKENS[1], USER, base_url=base)
            content = {
                "caption": "A dog",
                "share_to_feed": True,
                "is_ai_generated": True,
                "thumb_offset_ms": None,
                "cover_url": None,
                "collaborators": None,
                "audio_name": None,
            }
            target = InstagramTarget(settings, way="bytes", now=lambda: self.time)
            return target, InstagramCredentials(settings), content
        receiver = WebhookSettings(f"{base}/webhook-receiver/{self.run_id}", (SECRET,), False)
        payload = {"title": "A dog", "sha256": "{video[sha256]}"}
        content = {"payload": payload, "include_url": False, "url_expires_seconds": 0}
        return WebhookTarget(receiver, now=lambda: self.time), WebhookCredentials(receiver), content

    def life(self) -> tuple[bool, str]:
        """Live once; return whether the post is kept, and the refusal if it was refused."""
        target, credentials, content = self.target()
        video = VideoFile(str(self.path), len(DATA), hashlib.sha256(DATA).hexdigest(), duration_seconds=8.0)
        source = VideoSource(Target(fsspec.filesystem("file"), str(self.path), str(self.path)), video)
        outer = self

        class Watched(Sender):
            def _send(self, request: Request) -> Reply:
                outer.pass_by(f"before {request.what}")
                reply = super()._send(request)
                outer.pass_by(f"after {request.what}")
                return reply

        with Watched(credentials, source) as sender:
            publication = Publication(
                target=target,
                sender=sender,
                store=self,
                identity=PostIdentity("a_dag", self.run_id, "post", clear_epoch=self.clear_epoch),
                post=Post(self.kind, video, content),
                source=source,
                seal=Seal("a secret of the connection"),
                on_clear=self.on_clear,
                trusted=self.durable,
                lost=self.lost_at is not None,
                since=self.lost_at,
                sleep=self.sleep,
                now=lambda: self.time,
            )
            try:
                standing = publication.advance()
            except TargetLimitError as error:
                self.time = max(self.time, error.until)
                return False, ""
            except PublishError as error:
                return False, str(error) if error.terminal else ""
        if standing.decision.action is not Action.KEEP:
            self.time = max(self.time + timedelta(seconds=30), standing.until or self.time)
        return standing.decision.action is Action.KEEP, ""

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def whole(self) -> Ending:
        """Live until the post is kept or refused."""
        first: list[str] = []
        for lives in range(1, MAX_LIVES + 1):
            try:
                kept, refusal = self.life()
            except Killed:
                self.on_death(self)
                if not self.durable:
                    self.record, self.lost_at = "", self.time
                kept, refusal = False, ""
            first = first or list(self.passed)
            if kept or refusal:
                return Ending(kept, refusal, first, lives)
        return Ending(False, f"neither kept nor refused after {MAX_LIVES} lives: {self.record}", first, MAX_LIVES)
