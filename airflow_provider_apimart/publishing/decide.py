"""Decides what to do next with a post, from what is known. Pure; this is the table that keeps "posted once".

===========  ==================================================  ======================================================
record       and                                                 then
===========  ==================================================  ======================================================
none         it may have been lost; the target can look it up    look up: found → adopt, else start
none         it was lost; not found, settling / settled          wait / start
none         it was lost; committing twice is not harmless       refuse, or start if cleared with ``"repost"``
none         else                                                start
any          cleared, and ``on_clear="repost"``                  start under the next epoch's marker
committing   the connection leads to another account now         refuse, as if it were public
public       the connection leads to another account now         refuse
other        the connection leads to another account now         start anew there: what is left here is not public
public       another video                                       refuse: the old one is public
public       other texts                                         keep, and say so
committing   another video or message; target cannot be asked    refuse: it may be public
committing   another video or message; target can be asked       ask: public → refuse; surely not → start anew;
                                                                 may be under way → wait; else refuse
other        another video, or texts that the draft holds        start anew; the old draft is remembered
intent                                                           start: an unused session or draft is nothing
session      session: holds k bytes / is a draft / is gone       upload from k / adopt / start anew: no video exists
armed        session: holds k bytes / is a draft / is gone       upload from k / adopt / look up
armed        look-up: found                                      adopt
armed        look-up: not found, settling / settled              wait / start anew: what may exist is private
drafted      processing / ready / public                         wait / commit / adopt as public
drafted      failed                                              fail for good
drafted      expired, once / often in a row                      start anew, at growing intervals / fail for good
drafted      gone, settling / settled                            wait / refuse: a person has deleted it
committing   ready, settling / settled                           wait / commit: not public as the target says
committing   processing / public                                 wait / adopt as public
committing   failed / expired / gone                             refuse: look at the account
public       public as asked                                     keep
public       else: just published / differs / gone               wait / fail loudly / refuse: never posted again
failed                                                           refuse: the same file would fail again
===========  ==================================================  ======================================================

A target that cannot be asked (``Traits.can_ask``) is one where committing twice is harmless: its draft is always ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from airflow_provider_apimart.publishing.errors import (
    PostDiffersError,
    PostRefusedError,
    PostRejectedError,
    PublishError,
)
from airflow_provider_apimart.publishing.record import MAY_BE_PUBLIC, PostRecord, PostState
from airflow_provider_apimart.publishing.target import (
    Draft,
    Drafted,
    DraftState,
    Evidence,
    NotFound,
    SessionGone,
    Stored,
    Traits,
)

OnClear = Literal["reuse", "repost"]

#: Drafts of one post that may be void in a row, and the unit of the growing intervals between them.
MAX_VOID_DRAFTS = 5
VOID_PAUSE = timedelta(minutes=1)

#: How long the publishing call of another try may be under way: a request is given up after that.
UNDER_WAY = timedelta(minutes=2)

REPOST_HINT = 'to post it anew, clear the task with on_clear="repost"'


class Action(StrEnum):
    """What to do next."""

    LOOK_UP = "look_up"
    START = "start"
    ASK_SESSION = "ask_session"
    UPLOAD = "upload"
    ADOPT = "adopt"
    ASK_DRAFT = "ask_draft"
    WAIT = "wait"
    COMMIT = "commit"
    ADOPT_PUBLIC = "adopt_public"
    KEEP = "keep"
    FAIL = "fail"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """What to do next, and why.

    :param reason: one sentence for the log.
    :param epoch: of the post to start.
    :param offset: of the upload.
    :param until: when to ask again, for ``WAIT``; ``None`` for the usual pace.
    :param error: what to raise, for ``FAIL`` and ``REFUSE``.
    """

    action: Action
    reason: str
    epoch: int = 0
    offset: int = 0
    until: datetime | None = None
    error: PublishError | None = None


@dataclass(frozen=True)
class Wanted:
    """What this try wants to have posted.

    :param trusted: whether "no record" proves that nothing was started: the store is durable, and this is the task's
        first try.
    :param lost: whether an earlier part of the task has had a record, or one could not be kept, so that it may have
        been published.
    :param since: when this try began: what an earlier one has published is older. ``None`` if nothing is waited for.
    """

    account: str
    video_sha256: str
    content_digest: str
    clear_epoch: int = 0
    on_clear: OnClear = "reuse"
    trusted: bool = True
    lost: bool = False
    since: datetime | None = None


def decide(
    record: PostRecord | None, wanted: Wanted, traits: Traits, evidence: Evidence | None, now: datetime
) -> Decision:
    """Return what to do next.

    :param record: what an earlier step or try has saved.
    :param evidence: what the target has told since; ``None`` if nothing was asked.
    """
    epoch = wanted.clear_epoch if wanted.on_clear == "repost" else 0
    if record is None:
        return _unrecorded(wanted, traits, evidence, epoch, now)
    if wanted.on_clear == "repost" and record.clear_epoch < epoch:
        # With a post key another run may have used this number already.
        return Decision(Action.START, 'the task was cleared with on_clear="repost"', max(epoch, record.epoch + 1))
    # What an earlier epoch's marker names may be public.
    epoch = max(epoch, record.epoch)
    if record.account != wanted.account:
        why = f"the connection leads to the account {wanted.account} now, but this was begun on {record.account}"
        return _refuse(record, why) if record.state in MAY_BE_PUBLIC else Decision(Action.START, why, epoch)
    if record.video_sha256 != wanted.video_sha256:
        return _other_input(record, traits, evidence, epoch, "another video", now)
    text_counts = record.state is PostState.PUBLIC or not traits.text_at_commit
    if record.content_digest != wanted.content_digest and text_counts:
        return _other_input(record, traits, evidence, epoch, "other texts", now)
    match record.state:
        case PostState.INTENT:
            return Decision(Action.START, "an earlier start is not known to have succeeded", record.epoch)
        case PostState.SESSION | PostState.ARMED:
            return _uploading(record, traits, evidence, now)
        case PostState.DRAFTED | PostState.COMMITTING:
            return _drafted(record, traits, evidence, now)
        case PostState.PUBLIC:
            return _public(record, traits, evidence, now)
        case PostState.FAILED:
            return Decision(Action.REFUSE, "the target refused this video", error=_failed(record, record.note))


def _unrecorded(wanted: Wanted, traits: Traits, evidence: Evidence | None, epoch: int, now: datetime) -> Decision:
    if isinstance(evidence, Drafted):
        return Decision(Action.ADOPT, "the target has a video with this post's marker", epoch)
    if wanted.lost and wanted.since and isinstance(evidence, NotFound):
        settled = wanted.since + traits.settle
        if now < settled:
            why = "an earlier try may have published it, its record is lost, and the target may not list it yet"
            return Decision(Action.WAIT, why, until=settled)
    if wanted.lost and traits.can_ask and not traits.can_look_up and not epoch:
        return _lost(wanted)
    if wanted.trusted or not traits.can_look_up or isinstance(evidence, NotFound):
        return Decision(Action.START, "nothing was posted before", epoch)
    return Decision(Action.LOOK_UP, "there is no record, but an earlier try may have begun", epoch)


def _lost(wanted: Wanted) -> Decision:
    why = "an earlier try may have published the video, and what was known of it is lost"
    error = PostRefusedError(
        f"Nothing was posted: {why}. The target cannot look a post up by its mark, so posting again could make the "
        f"video public twice. What to do: look at the account {wanted.account}; if the video is not there, clear the "
        'task with on_clear="repost"; and give it a place where records last (Airflow 3.3, or a folder beside the '
        "video that can be written)"
    )
    return Decision(Action.REFUSE, why, error=error)


def _other_input(
    record: PostRecord, traits: Traits, evidence: Evidence | None, epoch: int, what: str, now: datetime
) -> Decision:
    start = Decision(Action.START, f"the task has {what} than the last try", epoch)
    if record.state is PostState.PUBLIC:
        if what == "other texts":
            return Decision(
                Action.KEEP, f"it is public already ({record.url or record.post_id}), with the texts of then"
            )
        return _refuse(record, f"the task has {what} than the one that it has made public")
    if record.state is not PostState.COMMITTING:
        return start
    if not traits.can_ask:
        return _refuse(record, f"the task has {what} than the one that may have been delivered")
    if not isinstance(evidence, Draft):
        return Decision(Action.ASK_DRAFT, f"the task has {what}, and the last one may be public")
    if evidence.state is DraftState.PUBLIC:
        return Decision(Action.ADOPT_PUBLIC, "the last video was made public")
    if evidence.state is DraftState.PROCESSING:
        return Decision(Action.WAIT, "the last video is being published")
    if evidence.state is not DraftState.READY:
        return _refuse(record, f"the task has {what}, and what became of the last one cannot be known")
    # Repeating the call for the same draft may be harmless. Publishing another one beside it is not.
    ready = _ready(record, max(traits.commit_settle, UNDER_WAY), now)
    return ready if ready.action is Action.WAIT else start


def _uploading(record: PostRecord, traits: Traits, evidence: Evidence | None, now: datetime) -> Decision:
    if isinstance(evidence, Drafted):
        return Decision(Action.ADOPT, "the upload is complete", record.epoch)
    if isinstance(evidence, Stored):
        return Decision(Action.UPLOAD, f"{evidence.offset} bytes are there", record.epoch, evidence.offset)
    if record.state is PostState.SESSION:
        if isinstance(evidence, SessionGone):
            return Decision(Action.START, "the upload session is gone, and no video was made of it", record.epoch)
        return Decision(Action.ASK_SESSION, "an upload was begun")
    if isinstance(evidence, NotFound):
        settled = (record.armed_at or record.intent_at) + traits.settle
        if now < settled:
            return Decision(
                Action.WAIT, "the upload may be complete, and the target may not list it yet", until=settled
            )
        return Decision(Action.START, "the target has no video with this post's marker", record.epoch)
    if isinstance(evidence, SessionGone):
        if traits.can_look_up:
            return Decision(Action.LOOK_UP, "the upload session is gone, and a video may have been made of it")
        return Decision(Action.START, "the upload session is gone; what may be left of it is not public", record.epoch)
    return Decision(Action.ASK_SESSION, "the last bytes of an upload were sent, or were about to be")


def _drafted(record: PostRecord, traits: Traits, evidence: Evidence | None, now: datetime) -> Decision:
    if not isinstance(evidence, Draft):
        return Decision(Action.ASK_DRAFT, f"the draft {record.draft_id} exists")
    committing = record.state is PostState.COMMITTING
    match evidence.state:
        case DraftState.READY:
            return (
                _ready(record, traits.commit_settle, now)
                if committing
                else Decision(Action.COMMIT, "the draft is ready")
            )
        case DraftState.PUBLIC:
            return Decision(Action.ADOPT_PUBLIC, "it is public")
        case DraftState.PROCESSING:
            return Decision(Action.WAIT, f"the target works on {record.draft_id}")
        case DraftState.GONE if now < (record.drafted_at or record.intent_at) + traits.settle:
            return Decision(Action.WAIT, f"the target does not know {record.draft_id} yet")
        case _ if committing:
            return _refuse(record, f"the call that publishes it may have been carried out, and the target says "
                                   f"{evidence.state}{_because(evidence.reason)} now")  # fmt: skip
        case DraftState.FAILED:
            return Decision(Action.FAIL, "the target refused it", error=_failed(record, evidence.reason))
        case DraftState.EXPIRED:
            return _void(record, evidence.reason, now)
        case DraftState.GONE:
            return _refuse(record, "somebody has deleted the draft")


def _ready(record: PostRecord, settle: timedelta, now: datetime) -> Decision:
    """Decide about a draft that is not public as the target says, though it was to be made public before."""
    settled = (record.committing_at or record.intent_at) + settle
    if now < settled:
        why = "the call that publishes it got no answer, and the target may still be carrying it out"
        return Decision(Action.WAIT, why, until=settled)
    return Decision(Action.COMMIT, "the call that publishes it may be repeated")


def _void(record: PostRecord, reason: str | None, now: datetime) -> Decision:
    """Decide about a draft that a new one may mend: at growing intervals, and not for ever."""
    why = f"the draft {record.draft_id} is void{_because(reason)}"
    before = sum(each.marker == record.marker for each in record.previous)
    if before + 1 >= MAX_VOID_DRAFTS:
        again = f"{before + 1} drafts in a row were void; the last one{_because(reason)}"
        return Decision(Action.FAIL, again, error=_failed(record, again))
    again_at = (record.drafted_at or record.intent_at) + (2**before - 1) * VOID_PAUSE
    if now < again_at:
        return Decision(Action.WAIT, why, until=again_at)
    return Decision(Action.START, why, record.epoch)


def _public(record: PostRecord, traits: Traits, evidence: Evidence | None, now: datetime) -> Decision:
    if not isinstance(evidence, Draft):
        return Decision(Action.ASK_DRAFT, "it was published")
    if evidence.state is DraftState.PUBLIC and not evidence.differs:
        return Decision(Action.KEEP, f"it is public: {evidence.url or record.url or record.post_id}")
    shown = record.committing_at and record.committing_at + traits.read_back
    if shown and now < shown:
        return Decision(Action.WAIT, "it was published, and the target may not show it yet", until=shown)
    if evidence.state in (DraftState.GONE, DraftState.FAILED, DraftState.EXPIRED):
        return _refuse(record, f"it was published, and the target says {evidence.state}{_because(evidence.reason)} now")
    wrong = "; ".join(str(problem) for problem in evidence.differs) or f"it is {evidence.state}, not public"
    return Decision(
        Action.FAIL,
        "it is not as asked",
        error=PostDiffersError(
            f"The post {record.post_id} ({record.url or 'no page'}) is there, but not as asked: {wrong}. Somebody or "
            f"the target has changed it. Nothing is posted again: correct it there, or {REPOST_HINT}",
            post=record.marker,
        ),
    )


def _failed(record: PostRecord, reason: str | None) -> PostRejectedError:
    return PostRejectedError(
        f"{record.target} refused the video {record.draft_id}{_because(reason)}. It is not public. A retry would "
        f"upload the same file: change the video, or {REPOST_HINT}",
        post=record.marker,
    )


def _refuse(record: PostRecord, why: str) -> Decision:
    seen = f"post {record.post_id}" if record.post_id else f"draft {record.draft_id}" if record.draft_id else "upload"
    where = record.url or f"the account {record.account} at {record.target}, marker {record.marker}"
    error = PostRefusedError(
        f"Nothing was posted: {why}. Posting again could make the video public twice. What to do: look at the {seen} "
        f"({where}); {REPOST_HINT}",
        post=record.marker,
    )
    return Decision(Action.REFUSE, why, error=error)


def _because(reason: str | None) -> str:
    return f" ({reason.strip().rstrip('.')})" if reason and reason.strip() else ""
