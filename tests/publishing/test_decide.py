"""The table of decisions: its lines one by one, and what must hold for every combination of what is known."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.publishing.decide import Action, Decision, Wanted, decide
from airflow_provider_apimart.publishing.record import PostRecord, PostState
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

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)
YOUTUBE = Traits(tail_bytes=1024, can_look_up=True, text_at_commit=True)
INSTAGRAM = Traits(commit_settle=timedelta(seconds=60))
WEBHOOK = Traits(can_ask=False)
TRAITS = {"youtube": YOUTUBE, "instagram": INSTAGRAM, "webhook": WEBHOOK}
EVIDENCE: list[Evidence | None] = [
    None,
    Stored(0),
    Stored(512),
    SessionGone(),
    Drafted("v1"),
    NotFound(),
    *(Draft(state) for state in DraftState),
    Draft(DraftState.PUBLIC, differs=(FieldProblem("privacy_status", "private", "public"),)),
]


def record(state: PostState, **values: Any) -> PostRecord:
    base: dict[str, Any] = {
        "target": "youtube",
        "account": "UC1",
        "marker": "apm-0123456789abcdef",
        "video_uri": "s3://b/clip.mp4",
        "video_sha256": "video",
        "video_bytes": 1000,
        "content_digest": "texts",
        "intent_at": LONG_AGO,
        "armed_at": LONG_AGO,
        "drafted_at": LONG_AGO,
        "committing_at": LONG_AGO,
        "draft_id": "v1",
    }
    return PostRecord(state=state, **{**base, **values})


def wanted(**values: Any) -> Wanted:
    return Wanted(**{"account": "UC1", "video_sha256": "video", "content_digest": "texts", **values})


def to(found: PostRecord | None, evidence: Evidence | None = None, traits: Traits = YOUTUBE, **values: Any) -> Decision:
    return decide(found, wanted(**values), traits, evidence, NOW)


# --- the lines of the table ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "evidence", "action"),
    [
        (PostState.INTENT, None, Action.START),
        (PostState.SESSION, None, Action.ASK_SESSION),
        (PostState.SESSION, Stored(7), Action.UPLOAD),
        (PostState.SESSION, Drafted("v1"), Action.ADOPT),
        (PostState.SESSION, SessionGone(), Action.START),
        (PostState.ARMED, None, Action.ASK_SESSION),
        (PostState.ARMED, Stored(7), Action.UPLOAD),
        (PostState.ARMED, Drafted("v1"), Action.ADOPT),
        (PostState.ARMED, SessionGone(), Action.LOOK_UP),
        (PostState.ARMED, NotFound(), Action.START),
        (PostState.DRAFTED, None, Action.ASK_DRAFT),
        (PostState.DRAFTED, Draft(DraftState.PROCESSING), Action.WAIT),
        (PostState.DRAFTED, Draft(DraftState.READY), Action.COMMIT),
        (PostState.DRAFTED, Draft(DraftState.PUBLIC), Action.ADOPT_PUBLIC),
        (PostState.DRAFTED, Draft(DraftState.FAILED), Action.FAIL),
        (PostState.DRAFTED, Draft(DraftState.EXPIRED), Action.START),
        (PostState.DRAFTED, Draft(DraftState.GONE), Action.REFUSE),
        (PostState.COMMITTING, None, Action.ASK_DRAFT),
        (PostState.COMMITTING, Draft(DraftState.READY), Action.COMMIT),
        (PostState.COMMITTING, Draft(DraftState.PROCESSING), Action.WAIT),
        (PostState.COMMITTING, Draft(DraftState.PUBLIC), Action.ADOPT_PUBLIC),
        (PostState.COMMITTING, Draft(DraftState.FAILED), Action.REFUSE),
        (PostState.COMMITTING, Draft(DraftState.EXPIRED), Action.REFUSE),
        (PostState.COMMITTING, Draft(DraftState.GONE), Action.REFUSE),
        (PostState.PUBLIC, None, Action.ASK_DRAFT),
        (PostState.PUBLIC, Draft(DraftState.PUBLIC), Action.KEEP),
        (PostState.PUBLIC, EVIDENCE[-1], Action.FAIL),
        (PostState.PUBLIC, Draft(DraftState.READY), Action.FAIL),
        (PostState.PUBLIC, Draft(DraftState.GONE), Action.REFUSE),
        (PostState.FAILED, None, Action.REFUSE),
    ],
)
def test_the_same_post(state: PostState, evidence: Evidence | None, action: Action) -> None:
    assert to(record(state), evidence).action is action


def test_without_a_record() -> None:
    assert to(None).action is Action.START
    assert to(None, trusted=False).action is Action.LOOK_UP
    assert to(None, NotFound(), trusted=False).action is Action.START
    assert to(None, Drafted("v1"), trusted=False).action is Action.ADOPT
    assert to(None, traits=INSTAGRAM, trusted=False).action is Action.START


@pytest.mark.parametrize(
    ("state", "evidence", "time", "action"),
    [
        (PostState.ARMED, NotFound(), "armed_at", Action.WAIT),
        (PostState.DRAFTED, Draft(DraftState.GONE), "drafted_at", Action.WAIT),
        (PostState.PUBLIC, Draft(DraftState.READY), "committing_at", Action.WAIT),
    ],
)
def test_what_may_not_have_settled_yet(state: PostState, evidence: Evidence, time: str, action: Action) -> None:
    decision = to(record(state, **{time: NOW - timedelta(seconds=5)}), evidence)
    assert decision.action is action


def test_another_account() -> None:
    for state in PostState:
        decision = to(record(state), account="UC2")
        if state in (PostState.COMMITTING, PostState.PUBLIC):
            assert decision.action is Action.REFUSE and "UC2" in str(decision.error) and "UC1" in str(decision.error)
        else:
            assert decision.action is Action.START


def test_another_video() -> None:
    for state in PostState:
        decision = to(record(state), video_sha256="another")
        expected = {PostState.PUBLIC: Action.REFUSE, PostState.COMMITTING: Action.ASK_DRAFT}
        assert decision.action is expected.get(state, Action.START), state
    committing = record(PostState.COMMITTING)
    assert to(committing, Draft(DraftState.PUBLIC), video_sha256="another").action is Action.ADOPT_PUBLIC
    assert to(committing, Draft(DraftState.PROCESSING), video_sha256="another").action is Action.WAIT
    assert to(committing, Draft(DraftState.READY), video_sha256="another").action is Action.START
    assert to(committing, Draft(DraftState.GONE), video_sha256="another").action is Action.REFUSE
    just_now = committing.but(committing_at=NOW)
    assert to(just_now, Draft(DraftState.READY), INSTAGRAM, video_sha256="another").action is Action.WAIT
    assert to(committing, traits=WEBHOOK, video_sha256="another").action is Action.REFUSE


def test_other_texts() -> None:
    # YouTube takes them with the commit; a container and a message hold them already.
    assert to(record(PostState.DRAFTED), Draft(DraftState.READY), content_digest="new").action is Action.COMMIT
    assert to(record(PostState.DRAFTED), traits=INSTAGRAM, content_digest="new").action is Action.START
    for traits in TRAITS.values():
        assert to(record(PostState.PUBLIC), traits=traits, content_digest="new").action is Action.KEEP
    assert to(record(PostState.COMMITTING), traits=WEBHOOK, content_digest="new").action is Action.REFUSE


# --- what always holds -----------------------------------------------------------------------------------------------

ALL = list(
    itertools.product(
        TRAITS,
        PostState,
        EVIDENCE,
        ("video", "another"),
        ("texts", "other"),
        ("UC1", "UC2"),
        ("reuse", "repost"),
        (0, 3),
        (LONG_AGO, NOW),
    )
)


def decisions() -> Any:
    for name, state, evidence, video, texts, account, on_clear, epoch, when in ALL:
        times = {"armed_at": when, "drafted_at": when, "committing_at": when}
        found = record(state, clear_epoch=1, epoch=1 if on_clear == "repost" else 0, **times)
        asked: dict[str, Any] = {
            "video_sha256": video,
            "content_digest": texts,
            "account": account,
            "on_clear": on_clear,
            "clear_epoch": epoch,
        }
        yield found, asked, TRAITS[name], evidence, to(found, evidence, TRAITS[name], **asked)


def test_every_combination_has_a_decision_that_can_be_carried_out() -> None:
    for found, asked, _, evidence, decision in decisions():
        where = f"{found.state} {evidence} {asked}"
        assert decision.reason, where
        assert (decision.error is not None) is (decision.action in (Action.FAIL, Action.REFUSE)), where
        if decision.error is not None:
            assert decision.error.terminal
            assert decision.error.post == found.marker, where
        if decision.action is Action.UPLOAD:
            assert isinstance(evidence, Stored), where
        if decision.action is Action.ADOPT:
            assert isinstance(evidence, Drafted), where


def test_nothing_that_may_be_public_is_left_behind_for_a_new_start() -> None:
    """Invariant 11. Only a clear with "repost", or the target's word, lets a post begin again."""
    for found, asked, traits, evidence, decision in decisions():
        if decision.action is not Action.START or (asked["on_clear"] == "repost" and asked["clear_epoch"] > 1):
            continue
        where = f"{found.state} {evidence} {asked}"
        assert found.state is not PostState.PUBLIC, where
        if found.state is PostState.COMMITTING:
            assert traits.can_ask and isinstance(evidence, Draft), where
            assert evidence.state is DraftState.READY, where
            assert found.committing_at is not None
            assert found.committing_at + traits.commit_settle <= NOW, where


def test_only_a_draft_that_is_ready_is_committed() -> None:
    for found, asked, _, evidence, decision in decisions():
        if decision.action is Action.COMMIT:
            where = f"{found.state} {evidence} {asked}"
            assert found.state in (PostState.DRAFTED, PostState.COMMITTING), where
            assert isinstance(evidence, Draft) and evidence.state is DraftState.READY, where
            assert found.account == asked["account"] and found.video_sha256 == asked["video_sha256"], where


def test_what_is_public_stays_what_it_is() -> None:
    for found, asked, _, evidence, decision in decisions():
        if found.state is PostState.PUBLIC and not (asked["on_clear"] == "repost" and asked["clear_epoch"] > 1):
            allowed = (Action.KEEP, Action.ASK_DRAFT, Action.WAIT, Action.FAIL, Action.REFUSE)
            assert decision.action in allowed, f"{evidence} {asked}"
