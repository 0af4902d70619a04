"""What comes before the commit: the session, the upload, the draft. Nobody else sees any of it.

Doing it twice leaves an orphan, never a second post. The commit is in :mod:`.publish`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.publishing.decide import Decision
from airflow_provider_apimart.publishing.errors import TargetUnavailableError, VideoChangedError
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.kept import Kept
from airflow_provider_apimart.publishing.post import Post, PostIdentity, marker_of
from airflow_provider_apimart.publishing.record import MAX_SECRET_LENGTH, PostRecord, PostState
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import Drafted, Evidence, PublishTarget, Session, SessionGone, Stored
from airflow_provider_apimart.publishing.upload import Upload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drafting:
    """Makes the draft of one post."""

    target: PublishTarget
    sender: Sender
    kept: Kept
    identity: PostIdentity
    post: Post
    source: VideoSource
    seal: Seal
    conn_id: str | None
    now: Callable[[], datetime]

    def check(self) -> None:
        """Refuse what the target would refuse, before anything is sent.

        :raises InvalidParameterError: with all problems at once.
        """
        problems = self.target.problems(self.post)
        if problems:
            raise InvalidParameterError(tuple(problems))

    def new_record(self, old: PostRecord | None, epoch: int, account: str) -> PostRecord:
        """Return the record of a post that is intended now. ``old`` stays in it as history."""
        clears = self.identity.clear_epoch
        if old is not None and old.asked_by == self.identity.place:
            # A try that an earlier clear has left behind does not take back what a later one has answered.
            clears = max(clears, old.clear_epoch)
        return PostRecord(
            state=PostState.INTENT,
            target=self.target.name,
            account=account,
            marker=marker_of(self.identity, self.post, account, epoch),
            epoch=epoch,
            clear_epoch=clears,
            video_uri=self.post.video.uri,
            video_sha256=self.post.video.sha256,
            video_bytes=self.post.video.bytes,
            content_digest=self.post.content_digest,
            conn_id=self.conn_id,
            intent_at=self.now(),
            asked_by=self.identity.place,
            previous=old.as_previous() if old else (),
        )

    def start(self, old: PostRecord | None, decision: Decision, account: str) -> Evidence | None:
        """Begin an upload or a draft. What was left behind before stays as it is."""
        if old is None or old.epoch != decision.epoch or old.content_digest != self.post.content_digest:
            # What was right when the post was begun stays right: a date may pass while the post waits for a quota.
            self.check()
        self.source.check_size()
        if not self.target.traits.tail_bytes:
            # The target fetches the file itself, so it cannot be checked on the way.
            self.source.check_whole()
        record = self.new_record(old, decision.epoch, account)
        if old is not None and old.draft_id:
            log.warning("%s. The draft %s is left as it is, and stays in the record.", decision.reason, old.draft_id)
        if not self.kept.save_unless_changed(record):
            return None
        begun = self.sender.run(self.target.start(self.post, record.marker))
        if isinstance(begun, Session):
            if len(begun.url) > MAX_SECRET_LENGTH:
                raise TargetUnavailableError(f"{self.target.name} named a session of {len(begun.url)} characters")
            opened = record.but(state=PostState.SESSION, sealed=self.seal.close(begun.url))
            return Stored(0) if self.kept.save_unless_changed(opened) else None
        return self.drafted(record, begun)

    def upload(self, record: PostRecord, offset: int) -> Evidence | None:
        """Send the file from ``offset`` on. The tail goes last, after the record says so and the checksum agrees."""
        url = self.seal.open(record.sealed)
        if url is None:
            return SessionGone()
        upload = Upload(self.target, self.sender, self.source, url, offset)
        try:
            told = upload.send_all_but_the_tail()
        except VideoChangedError:
            # The session may hold bytes of the changed file. Nothing may follow them, even if the file is put back.
            self.kept.save_unless_changed(record.but(state=PostState.INTENT, sealed=None))
            raise
        if told is not None:
            return told
        if not self.kept.save_unless_changed(record.but(state=PostState.ARMED, armed_at=self.now())):
            return None
        return upload.send_the_tail()

    def drafted(self, record: PostRecord, draft: Drafted) -> Evidence | None:
        """Record the draft, so that no other is ever committed."""
        message = {"sealed": self.seal.close(draft.message) if draft.message is not None else None}
        drafted = record.but(state=PostState.DRAFTED, draft_id=draft.draft_id, drafted_at=self.now(), **message)
        if self.kept.save_unless_changed(drafted):
            log.info("%s: the draft %s exists; nobody else can see it.", self.target.name, draft.draft_id)
        else:
            log.warning("%s: the draft %s is left over; nobody else can see it.", self.target.name, draft.draft_id)
        return None
