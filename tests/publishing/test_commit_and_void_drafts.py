"""The rows of the table that a target needs whose commit is a POST, and whose drafts can be void."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apimart.publishing.decide import MAX_VOID_DRAFTS, Action, OnClear, Wanted, decide
from airflow_provider_apimart.publishing.errors import PostRefusedError, PostRejectedError
from airflow_provider_apimart.publishing.record import PostRecord, PostState, PreviousPost
from airflow_provider_apimart.publishing.target import Draft, DraftState, Traits

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TRAITS = Traits(commit_settle=timedelta(seconds=60))
WANTED = Wanted(account="1", video_sha256="a", content_digest="c")


def record(**changes: Any) -> PostRecord:
    found = PostRecord(
        state=PostState.DRAFTED,
        target="instagram",
        account="1",
        marker="apm-1",
        video_uri="s3://b/v.mp4",
        video_sha256="a",
        video_bytes=1,
        content_digest="c",
        intent_at=NOW,
        draft_id="9",
        drafted_at=NOW,
    )
    return found.but(**changes)


@pytest.mark.parametrize(
    ("age", "action"), [(0, Action.WAIT), (59, Action.WAIT), (60, Action.COMMIT), (3600, Action.COMMIT)]
)
def test_a_lost_commit_is_not_repeated_before_the_target_can_know_it(age: int, action: Action) -> None:
    lost = record(state=PostState.COMMITTING, committing_at=NOW)
    now = NOW + timedelta(seconds=age)
    decision = decide(lost, WANTED, TRAITS, Draft(DraftState.READY), now)
    assert decision.action is action
    if action is Action.WAIT:
        assert decision.until == NOW + timedelta(seconds=60)
    # Where committing twice is harmless, nothing is waited for.
    assert decide(lost, WANTED, Traits(), Draft(DraftState.READY), now).action is Action.COMMIT


def voids(count: int, marker: str = "apm-1") -> tuple[PreviousPost, ...]:
    return tuple(PreviousPost(state=PostState.DRAFTED, marker=marker, draft_id=str(n)) for n in range(count))


@pytest.mark.parametrize(("before", "minutes"), [(0, 0), (1, 1), (2, 3), (3, 7)])
def test_void_drafts_are_replaced_at_growing_intervals(before: int, minutes: int) -> None:
    void, seen = record(previous=voids(before)), Draft(DraftState.EXPIRED, "2207053")
    due = NOW + timedelta(minutes=minutes)
    assert decide(void, WANTED, TRAITS, seen, due).action is Action.START
    if minutes:
        early = decide(void, WANTED, TRAITS, seen, due - timedelta(seconds=1))
        assert early.action is Action.WAIT and early.until == due


def test_void_drafts_do_not_go_on_for_ever() -> None:
    void = record(previous=voids(MAX_VOID_DRAFTS - 1))
    decision = decide(void, WANTED, TRAITS, Draft(DraftState.EXPIRED, "2207052"), NOW + timedelta(days=1))
    assert decision.action is Action.FAIL
    assert isinstance(decision.error, PostRejectedError)
    assert "5 drafts in a row" in str(decision.error) and "2207052" in str(decision.error)
    # Drafts of an earlier, cleared post do not count.
    others = record(previous=voids(MAX_VOID_DRAFTS, "apm-0"))
    assert decide(others, WANTED, TRAITS, Draft(DraftState.EXPIRED), NOW).action is Action.START


@pytest.mark.parametrize(
    ("traits", "action"),
    [
        (TRAITS, Action.REFUSE),
        (Traits(can_look_up=True), Action.LOOK_UP),
        (Traits(can_ask=False), Action.START),
    ],
    ids=["a POST", "can be looked up", "harmless to repeat"],
)
def test_a_lost_record_is_a_stop_only_where_nothing_can_be_found_out(traits: Traits, action: Action) -> None:
    lost = Wanted("1", "a", "c", trusted=False, lost=True)
    decision = decide(None, lost, traits, None, NOW)
    assert decision.action is action
    if action is Action.REFUSE:
        assert isinstance(decision.error, PostRefusedError)
        assert "look at the account 1" in str(decision.error) and "Nothing was posted" in str(decision.error)


@pytest.mark.parametrize(
    ("on_clear", "epoch", "action"),
    [("repost", 1, Action.START), ("repost", 0, Action.REFUSE), ("reuse", 1, Action.REFUSE)],
)
def test_a_person_who_has_looked_goes_on_with_repost(on_clear: OnClear, epoch: int, action: Action) -> None:
    lost = Wanted("1", "a", "c", clear_epoch=epoch, on_clear=on_clear, trusted=False, lost=True)
    assert decide(None, lost, TRAITS, None, NOW).action is action


def test_a_missing_record_that_was_not_lost_is_a_start() -> None:
    assert decide(None, Wanted("1", "a", "c", trusted=False), TRAITS, None, NOW).action is Action.START
