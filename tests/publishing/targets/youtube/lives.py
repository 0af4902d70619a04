"""The lives of one post: each begins with nothing but the record and the connection, as a new process does."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec

from airflow_provider_apimart.publishing.decide import Action
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile
from airflow_provider_apimart.publishing.publish import Publication, Standing
from airflow_provider_apimart.publishing.record import PostRecord, read_post_record
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.targets.youtube import oauth
from airflow_provider_apimart.publishing.targets.youtube.oauth import OAuthClient, OAuthCredentials
from airflow_provider_apimart.publishing.targets.youtube.target import YouTubeTarget
from airflow_provider_apimart.storage.files import Target
from tests.publishing.targets.youtube.driving import content
from tests.publishing.targets.youtube.fake import FakeYouTube

DATA = bytes(range(256)) * 2500  # 640,000 bytes: two whole pieces, and a tail
PNG = b"\x89PNG\r\n\x1a\n...."


class Killed(BaseException):
    """The process dies here."""


class Store:
    """A record as JSON text, and a death before or after one of its saves."""

    description, durable = "the test", True

    def __init__(self, life: Life) -> None:
        self.life = life

    def load(self) -> PostRecord | None:
        return read_post_record(self.life.record, "the test") if self.life.record else None

    def save(self, record: PostRecord) -> None:
        self.life.saves += 1
        if (self.life.saves, "before") == self.life.kill_at:
            raise Killed
        self.life.record = record.model_dump_json()
        self.life.states.append(record.state.value)
        if (self.life.saves, "after") == self.life.kill_at:
            raise Killed


class Life:
    def __init__(self, fake: FakeYouTube | str, folder: Path, **changes: Any) -> None:
        #: Where YouTube is: the fake, or the emulator at its URL.
        self.url = fake if isinstance(fake, str) else fake.url
        self.client = OAuthClient("id1", "client-secret", "refresh-secret", f"{self.url}/token")
        self.path = folder / "clip.mp4"
        self.path.write_bytes(DATA)
        self.content = content(**changes)
        self.record = ""
        self.states: list[str] = []
        self.saves = 0
        self.kill_at: tuple[int, str] = (0, "")
        self.time = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
        self.slept: list[float] = []
        self.trusted = True
        self.on_clear: Any = "reuse"
        self.clear_epoch = 0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)

    def advance(self) -> Standing:
        """Be a new process: nothing is left but the record, the file and the connection."""
        oauth._tokens.clear()
        credentials = OAuthCredentials(self.client)
        video = VideoFile(str(self.path), len(DATA), hashlib.sha256(DATA).hexdigest(), duration_seconds=8.0)
        source = VideoSource(Target(fsspec.filesystem("file"), str(self.path), str(self.path)), video)
        target = YouTubeTarget(
            self.url, scrub=credentials.scrub, read_file=lambda path, limit: PNG, now=lambda: self.time
        )
        with Sender(credentials, source) as sender:
            return Publication(
                target=target,
                sender=sender,
                store=Store(self),
                identity=PostIdentity("a_dag", "a_run", "post", clear_epoch=self.clear_epoch),
                post=Post("youtube", video, self.content),
                source=source,
                seal=Seal("client-secret"),
                on_clear=self.on_clear,
                trusted=self.trusted,
                sleep=self.sleep,
                now=lambda: self.time,
            ).advance()

    def until_kept(self, lives: int = 20) -> Standing:
        """Live on until the post is kept."""
        for _ in range(lives):
            try:
                standing = self.advance()
            except Killed:
                continue
            if standing.decision.action is Action.KEEP:
                return standing
            self.time = max(self.time + timedelta(seconds=30), standing.until or self.time)
        raise AssertionError(f"not kept after {lives} lives: {self.states}")
