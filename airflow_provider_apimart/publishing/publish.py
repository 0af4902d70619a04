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
6. The draft that is committed is the one in the record. Two simultaneous tries read the record again before each step,
   and the later one goes on with what the earlier one has saved (:mod:`.kept`), as far as a store without a
   compare-and-swap allows.

The crash matrix in the tests kills a process at each of these lines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.publishing.decide import Action, Decision, OnClear, Wanted, decide
from airflow_provider_apimart.publishing.drafting import Drafting
from airflow_provider_apimart.publishing.errors import (
    PostParkedError,
    PostUnsettledError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.kept import Kept
from airflow_provider_apimart.publishing.post import Post, PostIdentity, marker_of
from airflow_provider_apimart.publishing.record import (
    MAX_NOTE_LENGTH,
    PostRecord,
    PostState,
    PostStore,
)
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    Evidence,
    PublishTarget,
    SessionGone,
)

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
    :param permit: called before anything is begun, and again before it is made public. It raises to refuse.
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
        permit: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.target = target
        self.sender = sender
        self.store = store
        self.identity = identity
        self.post = post
        self.seal = seal
        self.on_clear = on_clear
        self.trusted = trusted
        self.lost = lost
        self.since = since or now()
        self.permit = permit
        self.sleep = sleep
        self.now = now
        self.account = ""
        self._kept = Kept(store)
        self.drafting = Drafting(target, sender, self._kept, identity, post, source, seal, conn_id, now)

    @property
    def record(self) -> PostRecord | None:
        """The record as far as this try knows it, without asking the store."""
        return self._kept.record

    # --- the loop ----------------------------------------------------------------------------------------------------

    def advance(self) -> Standing:
        """Go on as far as possible without waiting for the target's own work.

        :raises PublishError: if the post has failed or has to be refused, or if the target stays unavailable. The
            record says what is known.
        """
        failures = starts = 0
        trouble = ""
        evidence: Evidence | None = None
        seen: Draft | None = None
        self._kept.load()
        if self._kept.record is None:
            self.drafting.check()
        for _ in range(MAX_STEPS):
            try:
                if not self.account:
                    self.account = self.sender.run(self.target.account())
                record = self._kept.record
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
                        f"{MAX_STARTS} uploads or drafts in a row came to nothing at {self.target.name} "
                        f"({trouble or decision.reason}). Nothing is public; the next try begins anew"
                    )
                evidence = self._step(decision, record, evidence)
            except TargetLimitError as error:
                return self._public_anyway(error, seen) or self._later(error, error.until, seen)
            except TargetUnavailableError as error:
                failures += 1
                trouble = str(error)
                pause = error.retry_after_seconds or FIRST_BACKOFF_SECONDS * 2 ** (failures - 1)
                pause = min(pause, MAX_PAUSE_SECONDS)
                enough = failures > MAX_PAGE_FAILURES or pause > MAX_BACKOFF_SECONDS
                known = self._kept.record
                if enough or (known is not None and known.url):
                    standing = self._public_anyway(error, seen)
                    if standing is not None:
                        return standing
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

    def _step(self, decision: Decision, record: PostRecord | None, evidence: Evidence | None) -> Evidence | None:
        """Carry out ``decision``, which was made from ``evidence``; return what the target has told."""
        if decision.action is Action.LOOK_UP:
            marker = record.marker if record else marker_of(self.identity, self.post, self.account, decision.epoch)
            return self.sender.run(self.target.look_up(marker))
        if decision.action in (Action.START, Action.COMMIT):
            self.permit()
        if decision.action is Action.START:
            return self.drafting.start(record, decision, self.account)
        if decision.action is Action.ADOPT and isinstance(evidence, Drafted):
            intended = record or self.drafting.new_record(None, decision.epoch, self.account)
            return self.drafting.drafted(intended, evidence)
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
                return self.drafting.upload(record, decision.offset)
            case Action.ASK_DRAFT:
                return self.sender.run(self.target.ask(record.draft_id or "", record.post_id, self.post))
            case Action.COMMIT:
                return self._commit(record)
            case Action.ADOPT_PUBLIC if isinstance(evidence, Draft):
                return self._found_public(record, evidence)
        raise AssertionError(f"{decision.action} is no step")

    # --- the commit --------------------------------------------------------------------------------------------------

    def _commit(self, record: PostRecord) -> Evidence | None:
        """Make the draft public. The record says so before and after."""
        fresh = record.state is PostState.DRAFTED
        if record.content_digest != self.post.content_digest:
            self.drafting.check()
        began = self.now()
        committing = record.but(
            state=PostState.COMMITTING,
            committing_at=began,
            content_digest=self.post.content_digest,
        )
        if not self._kept.save_unless_changed(committing):
            return None
        settle = self.target.traits.commit_settle
        if settle and self.now() - began > settle / 4:
            # Another try may soon take this one for lost, and publish. So it begins again: it asks, and waits.
            log.warning("Saving the record took long. What has become of %s is asked again.", record.draft_id)
            return None
        message = self.seal.open(record.sealed)
        try:
            published = self.sender.run(self.target.commit(committing, self.post, message))
        except PublishError as error:
            nothing_done = error.terminal or isinstance(error, TargetLimitError)
            if fresh and (nothing_done or (isinstance(error, TargetUnavailableError) and error.nothing_done)):
                # The target has said no to the only call that was made. So nothing is public.
                self._kept.save_unless_changed(record.but(note=str(error)[:MAX_NOTE_LENGTH]))
            elif settle:
                # The call may be under way until now, and the target needs its time from here.
                self._kept.save_unless_changed(committing.but(committing_at=self.now()))
            raise
        self._kept.save_public(
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
        self._kept.save_public(
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
            record = self._kept.add(record, clear_epoch=self.identity.clear_epoch)
        if decision.action is Action.KEEP:
            if seen is not None and seen.url and record.url is None:
                # Some targets tell the page only after the post's id.
                record = self._kept.add(record, url=seen.url)
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
            record = self._kept.add(record, done=(*record.done, name))
        return record, tuple(warnings)

    def _public_anyway(self, error: PublishError, seen: Draft | None) -> Standing | None:
        """Return the standing of what is public: that the target does not confirm it now takes nothing away.

        ``None`` if nothing is public, or if it is not what this try wants: another video, or a repost.
        """
        record = self._kept.record
        if record is None or record.state is not PostState.PUBLIC:
            return None
        wanted = self._wanted(record)
        if not self.account:
            # The question that failed may have been the one about the account.
            wanted = replace(wanted, account=record.account)
        if decide(record, wanted, self.target.traits, None, self.now()).action not in (Action.ASK_DRAFT, Action.KEEP):
            return None
        reason = f"it was published, and {self.target.name} does not answer now"
        log.warning("%s (%s).", reason, error)
        return self._standing(Decision(Action.KEEP, reason), record, seen, (str(error),))

    def _later(self, error: PublishError, until: datetime, seen: Draft | None) -> Standing:
        if self._kept.record is None:
            raise error
        log.warning("%s", error)
        return Standing(Decision(Action.WAIT, error.message, until=until), self._kept.record, seen, until)

    def _failed(self, decision: Decision) -> None:
        record = self._kept.record
        if decision.action is Action.FAIL and record is not None and record.state is PostState.DRAFTED:
            self._kept.add(record, state=PostState.FAILED, note=str(decision.error)[:MAX_NOTE_LENGTH])


def deadline_of(record: PostRecord, timeout: timedelta) -> datetime:
    """Return when the wait for a post ends: absolute, counted from its start."""
    return record.intent_at + timeout
