"""Takes a post from a file to public, once. This is the only file that makes anything public.

Why nothing is public twice:

1. :func:`.decide.decide` alone decides what to do, from the record and the target's own answers.
2. Everything before the commit is invisible to others: an upload session, a private video, a container, a message on
   this side. Doing it twice leaves an orphan, never a second post.
3. The record is saved as *armed* before the bytes that make a draft of an upload, and as *committing* before the call
   that makes the draft public. A process that dies on the next line leaves that behind.
4. A try that finds *committing* asks the target, or repeats a call that is harmless to repeat: a PUT on the draft's own
   id, a message under its own id. It never makes another draft public.
5. The id of what is public is saved right after the commit, before anything else is read.
6. The draft that is committed is the one in the record. Two simultaneous tries read the record again before they
   commit, and the later one goes on with what the earlier one has saved, as far as a store without a compare-and-swap
   allows.

The crash matrix in the tests kills a process at each of these lines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError, InvalidParameterError
from airflow_provider_apimart.publishing.decide import Action, Decision, OnClear, Wanted, decide
from airflow_provider_apimart.publishing.errors import (
    PostParkedError,
    PostUnsettledError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
    VideoChangedError,
)
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.post import Post, PostIdentity, marker_of
from airflow_provider_apimart.publishing.record import MAX_NOTE_LENGTH, PostRecord, PostState, PostStore
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    Evidence,
    PublishTarget,
    Session,
    SessionGone,
    Stored,
)
from airflow_provider_apimart.publishing.upload import Upload

log = logging.getLogger(__name__)

#: Temporary failures that one run of :meth:`Publication.advance` sits out, and how long it sits still at most for each.
MAX_FAILURES = 6
MAX_BACKOFF_SECONDS = 60.0
#: The longest pause that a target can ask for. After that it is asked again.
MAX_PAUSE_SECONDS = 24 * 3600.0
#: Of these, how many are sat out to learn the page of what is public already.
MAX_PAGE_FAILURES = 2
FIRST_BACKOFF_SECONDS = 1.0
#: Uploads and drafts that one run begins. Each may count against a quota.
MAX_STARTS = 3
#: Steps of one run: far more than any path through the table needs. More would be a circle.
MAX_STEPS = 200


@dataclass(frozen=True)
class Standing:
    """Where a post stands after :meth:`Publication.advance`.

    :param decision: ``WAIT`` or ``KEEP``.
    :param seen: what the target said about it last.
    :param until: when to ask again; ``None`` for the usual pace.
    """

    decision: Decision
    record: PostRecord
    seen: Draft | None
    until: datetime | None = None
    warnings: tuple[str, ...] = ()


class Publication:
    """The one publication of a post.

    :param trusted: whether a missing record proves that nothing was begun (see :class:`.decide.Wanted`).
    :param lost: whether a missing record was lost.
    :param since: when the task's try began, as far as it is known (see :class:`.decide.Wanted`).
    :param sleep: waits out temporary failures.
    """

    def __init__(
        self,
        *,
        target: PublishTarget,
        sender: Sender,
        store: PostStore,
        identity: PostIdentity,
        post: Post,
        source: VideoSource,
        seal: Seal,
        on_clear: OnClear = "reuse",
        trusted: bool = True,
        lost: bool = False,
        since: datetime | None = None,
        conn_id: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.target = target
        self.sender = sender
        self.store = store
        self.identity = identity
        self.post = post
        self.source = source
        self.seal = seal
        self.on_clear = on_clear
        self.trusted = trusted
        self.lost = lost
        self.since = since or now()
        self.conn_id = conn_id
        self.sleep = sleep
        self.now = now
        self.account = ""
        # What the store holds as far as this try knows. Any other content was written by another try.
        self._stored: PostRecord | None = None

    @property
    def record(self) -> PostRecord | None:
        """The record as far as this try knows it, without asking the store."""
        return self._stored

    # --- the loop ----------------------------------------------------------------------------------------------------

    def advance(self) -> Standing:
        """Go on as far as possible without waiting for the target's own work.

        :raises PublishError: if the post has failed or has to be refused, or if the target stays unavailable. The
            record says what is known.
        """
        failures = starts = 0
        evidence: Evidence | None = None
        seen: Draft | None = None
        self._stored = self.store.load()
        if self._stored is None:
            self._check()
        for _ in range(MAX_STEPS):
            try:
                if not self.account:
                    self.account = self.sender.run(self.target.account())
                record = self._stored
                decision = decide(record, self._wanted(record), self.target.traits, evidence, self.now())
                if isinstance(evidence, Draft):
                    seen = evidence
                if decision.error is not None:
                    self._failed(decision)
                    raise decision.error
                if decision.action is Action.WAIT and record is None and decision.until is not None:
                    raise PostUnsettledError(decision.reason, until=decision.until)
                if decision.action in (Action.WAIT, Action.KEEP) and record is not None:
                    return self._standing(decision, record, seen)
                log.debug("%s: %s.", decision.action, decision.reason)
                starts += decision.action is Action.START
                if starts > MAX_STARTS:
                    raise PostParkedError(
                        f"{self.target.name} has lost {MAX_STARTS} uploads or drafts in a row ({decision.reason}). "
                        "Nothing is public; the next try begins anew"
                    )
                evidence = self._step(decision, record, evidence)
            except TargetLimitError as error:
                return self._later(error, error.until, seen)
            except TargetUnavailableError as error:
                failures += 1
                pause = error.retry_after_seconds or FIRST_BACKOFF_SECONDS * 2 ** (failures - 1)
                pause = min(pause, MAX_PAUSE_SECONDS)
                enough = failures > MAX_PAGE_FAILURES or pause > MAX_BACKOFF_SECONDS
                known = self._stored
                if known is not None and known.state is PostState.PUBLIC and (known.url or enough):
                    # It is public. That the target does not confirm it now takes nothing away.
                    reason = f"it was published, and {self.target.name} does not answer now"
                    log.warning("%s (%s).", reason, error)
                    return self._standing(Decision(Action.KEEP, reason), known, seen, (str(error),))
                if failures > MAX_FAILURES:
                    raise
                if pause > MAX_BACKOFF_SECONDS:
                    return self._later(error, self.now() + timedelta(seconds=pause), seen)
                log.warning("%s: trying again in %.3g s (%d of %d).", error, pause, failures, MAX_FAILURES)
                self.sleep(pause)
                evidence = None
        raise AssertionError("the decisions go in a circle")

    def _wanted(self, record: PostRecord | None) -> Wanted:
        on_clear, epoch = self.on_clear, self.identity.clear_epoch
        if self.identity.post_key and (record is None or record.asked_by != self.identity.place):
            # A post key spans DAG runs. The counter of one run says nothing about another's, so only a clear of the run
            # that has posted counts as one.
            on_clear, epoch = "reuse", 0
        return Wanted(
            account=self.account,
            video_sha256=self.post.video.sha256,
            content_digest=self.post.content_digest,
            clear_epoch=epoch,
            on_clear=on_clear,
            trusted=self.trusted,
            lost=self.lost,
            since=self.since,
        )

    def _check(self) -> None:
        problems = self.target.problems(self.post)
        if problems:
            raise InvalidParameterError(tuple(problems))

    def _step(self, decision: Decision, record: PostRecord | None, evidence: Evidence | None) -> Evidence | None:
        """Carry out ``decision``, which was made from ``evidence``; return what the target has told."""
        if decision.action is Action.LOOK_UP:
            marker = record.marker if record else marker_of(self.identity, self.post, self.account, decision.epoch)
            return self.sender.run(self.target.look_up(marker))
        if decision.action is Action.START:
            return self._start(record, decision)
        if decision.action is Action.ADOPT and isinstance(evidence, Drafted):
            return self._drafted(record or self._new_record(None, decision.epoch), evidence)
        if record is None:
            raise AssertionError(f"a decision to {decision.action} needs a record")
        match decision.action:
            case Action.ASK_SESSION:
                url = self.seal.open(record.sealed)
                if url is None:
                    log.warning("The upload session cannot be read: the connection's secret has changed since.")
                    return SessionGone()
                return self.sender.run(self.target.ask_session(url, self.post.video.bytes))
            case Action.UPLOAD:
                return self._upload(record, decision.offset)
            case Action.ASK_DRAFT:
                return self.sender.run(self.target.ask(record.draft_id or "", record.post_id, self.post))
            case Action.COMMIT:
                return self._commit(record)
            case Action.ADOPT_PUBLIC if isinstance(evidence, Draft):
                return self._found_public(record, evidence)
        raise AssertionError(f"{decision.action} is no step")

    # --- before the commit: nothing of it is visible -----------------------------------------------------------------

    def _new_record(self, old: PostRecord | None, epoch: int) -> PostRecord:
        clears = self.identity.clear_epoch
        if old is not None and old.asked_by == self.identity.place:
            # A try that an earlier clear has left behind does not take back what a later one has answered.
            clears = max(clears, old.clear_epoch)
        return PostRecord(
            state=PostState.INTENT,
            target=self.target.name,
            account=self.account,
            marker=marker_of(self.identity, self.post, self.account, epoch),
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

    def _start(self, old: PostRecord | None, decision: Decision) -> Evidence | None:
        if old is None or old.epoch != decision.epoch or old.content_digest != self.post.content_digest:
            # What was right when the post was begun stays right: a date may pass while the post waits for a quota.
            self._check()
        self.source.check_size()
        if not self.target.traits.tail_bytes:
            # The target fetches the file itself, so it cannot be checked on the way.
            self.source.check_whole()
        record = self._new_record(old, decision.epoch)
        if old is not None and old.draft_id:
            log.warning("%s. The draft %s is left as it is, and stays in the record.", decision.reason, old.draft_id)
        if not self._save_unless_changed(record):
            return None
        begun = self.sender.run(self.target.start(self.post, record.marker))
        if isinstance(begun, Session):
            opened = record.but(state=PostState.SESSION, sealed=self.seal.close(begun.url))
            return Stored(0) if self._save_unless_changed(opened) else None
        return self._drafted(record, begun)

    def _upload(self, record: PostRecord, offset: int) -> Evidence | None:
        """Send the file from ``offset`` on. The tail goes last, after the record says so and the checksum agrees."""
        url = self.seal.open(record.sealed)
        if url is None:
            return SessionGone()
        upload = Upload(self.target, self.sender, self.source, url, offset)
        try:
            told = upload.send_all_but_the_tail()
        except VideoChangedError:
            # The session may hold bytes of the changed file. Nothing may follow them, even if the file is put back.
            self._save_unless_changed(record.but(state=PostState.INTENT, sealed=None))
            raise
        if told is not None:
            return told
        if not self._save_unless_changed(record.but(state=PostState.ARMED, armed_at=self.now())):
            return None
        return upload.send_the_tail()

    def _drafted(self, record: PostRecord, draft: Drafted) -> Evidence | None:
        message = {"sealed": self.seal.close(draft.message) if draft.message is not None else None}
        drafted = record.but(state=PostState.DRAFTED, draft_id=draft.draft_id, drafted_at=self.now(), **message)
        if self._save_unless_changed(drafted):
            log.info("%s: the draft %s exists; nobody else can see it.", self.target.name, draft.draft_id)
        else:
            log.warning("%s: the draft %s is left over; nobody else can see it.", self.target.name, draft.draft_id)
        return None

    # --- the commit --------------------------------------------------------------------------------------------------

    def _commit(self, record: PostRecord) -> Evidence | None:
        """Make the draft public. The record says so before and after."""
        fresh = record.state is PostState.DRAFTED
        if record.content_digest != self.post.content_digest:
            self._check()
        committing = record.but(
            state=PostState.COMMITTING,
            committing_at=self.now(),
            content_digest=self.post.content_digest,
        )
        if not self._save_unless_changed(committing):
            return None
        message = self.seal.open(record.sealed)
        try:
            published = self.sender.run(self.target.commit(committing, self.post, message))
        except PublishError as error:
            nothing_done = error.terminal or isinstance(error, TargetLimitError)
            if fresh and (nothing_done or (isinstance(error, TargetUnavailableError) and error.nothing_done)):
                # The target has said no to the only call that was made. So nothing is public.
                self._save_unless_changed(record.but(note=str(error)[:MAX_NOTE_LENGTH]))
            elif self.target.traits.commit_settle:
                # The call may be under way until now, and the target needs its time from here.
                self._save_unless_changed(committing.but(committing_at=self.now()))
            raise
        self._save_public(
            committing.but(
                state=PostState.PUBLIC,
                committing_at=self.now(),
                post_id=published.post_id,
                url=published.url,
                public_since=published.public_at or self.now(),
            )
        )
        log.info("%s: %s is public: %s.", self.target.name, published.post_id, published.url or "no page")
        return None

    def _found_public(self, record: PostRecord, seen: Draft) -> Evidence | None:
        """Record a post that turned out to be public."""
        self._save_public(
            record.but(
                state=PostState.PUBLIC,
                post_id=seen.post_id or record.post_id or record.draft_id,
                url=seen.url or record.url,
                public_since=record.public_since or record.committing_at or self.now(),
            )
        )
        return seen

    # --- how it ends -------------------------------------------------------------------------------------------------

    def _standing(
        self, decision: Decision, record: PostRecord, seen: Draft | None, warnings: tuple[str, ...] = ()
    ) -> Standing:
        if record.clear_epoch < self.identity.clear_epoch and record.asked_by == self.identity.place:
            # A later change to "repost" must not count a clear that this try has already answered.
            record = self._add(record, clear_epoch=self.identity.clear_epoch)
        if decision.action is Action.KEEP:
            if seen is not None and seen.url and record.url is None:
                # Some targets tell the page only after the post's id.
                record = self._add(record, url=seen.url)
            record, more = self._extras(record)
            warnings = (*warnings, *more)
            if record.content_digest != self.post.content_digest:
                warnings = (*warnings, decision.reason)
        return Standing(decision, record, seen, decision.until, warnings)

    def _extras(self, record: PostRecord) -> tuple[PostRecord, tuple[str, ...]]:
        """Add the thumbnail and the like. None of it can fail the post."""
        warnings = []
        for name, extra in self.target.extras(self.post).items():
            if name in record.done:
                continue
            try:
                self.sender.run(extra(record.post_id or ""))
            except ApimartError as error:
                log.warning("%s: the %s was not set: %s", self.target.name, name, error)
                warnings.append(f"{name}: {error}")
                continue
            record = self._add(record, done=(*record.done, name))
        return record, tuple(warnings)

    def _later(self, error: PublishError, until: datetime, seen: Draft | None) -> Standing:
        if self._stored is None:
            raise error
        log.warning("%s", error)
        return Standing(Decision(Action.WAIT, error.message, until=until), self._stored, seen, until)

    def _failed(self, decision: Decision) -> None:
        record = self._stored
        if decision.action is Action.FAIL and record is not None and record.state is PostState.DRAFTED:
            self._add(record, state=PostState.FAILED, note=str(decision.error)[:MAX_NOTE_LENGTH])

    # --- the record --------------------------------------------------------------------------------------------------

    def _save_unless_changed(self, record: PostRecord) -> bool:
        """Save ``record``, unless another try has written meanwhile: then take over what it has written."""
        current = self.store.load()
        if current != self._stored and current is not None:
            log.warning("Another try of this task has written its record meanwhile: deciding anew.")
            self._stored = current
            return False
        self._save(record)
        return True

    def _save_public(self, record: PostRecord) -> None:
        """Save that something is public, and keep what another try has written meanwhile."""
        current = self.store.load()
        if current is not None and current != self._stored:
            record = record.beside(current)
        self._save(record)

    def _add(self, record: PostRecord, **changes: Any) -> PostRecord:
        """Save ``record`` with ``changes``, unless another try has got further or has begun another post meanwhile."""
        changed = record.but(**changes)
        if self.store.load() in (record, None):
            self._save(changed)
        return changed

    def _save(self, record: PostRecord) -> None:
        self.store.save(record)
        self._stored = record


def deadline_of(record: PostRecord, timeout: timedelta) -> datetime:
    """Return when the wait for a post ends: absolute, counted from its start."""
    return record.intent_at + timeout
