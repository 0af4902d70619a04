"""What a person's decision means for a publication. No file, no Airflow."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apimart.publishing.decision import (
    MAX_DECISIONS,
    Decision,
    Decisions,
    NotApprovedError,
    Person,
    Verdict,
    check_approved,
    read_decisions,
    written,
)

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SHA, OTHER = "a" * 64, "b" * 64


def decided(verdict: str, minute: int = 0, **more: Any) -> Decision:
    values = {
        "by": Person(id="7", name="Ada"),
        "video_sha256": SHA,
        "dag_id": "ads",
        "run_id": "monday",
        "task_id": "approve",
        **more,
    }
    return Decision(decision=Verdict(verdict), at=NOON + timedelta(minutes=minute), **values)


def check(*decisions: Decision, required: bool = False) -> None:
    check_approved(decisions, SHA, "/data/clip.mp4", required=required)


def test_a_video_without_a_decision_is_published_unless_one_is_required() -> None:
    check()
    with pytest.raises(NotApprovedError, match=r"nobody has decided about /data/clip\.mp4.*VideoApprovalOperator"):
        check(required=True)


@pytest.mark.parametrize("required", [False, True])
def test_an_approval_lets_it_pass(required: bool) -> None:
    check(decided("approved"), required=required)


@pytest.mark.parametrize("verdict", ["rejected", "another_take", "timeout"])
def test_whatever_is_not_an_approval_refuses_it(verdict: str) -> None:
    with pytest.raises(NotApprovedError, match=r"/data/clip\.mp4 is not approved"):
        check(decided(verdict))


def test_the_refusal_names_who_and_when_and_where() -> None:
    with pytest.raises(NotApprovedError) as refusal:
        check(decided("rejected", reason="logo is wrong"))
    text = str(refusal.value)
    assert "rejected by Ada (id 7) at 2026-11-26 12:00:00 UTC in ads.approve, run monday ('logo is wrong')" in text


def test_the_last_word_of_a_task_counts_also_from_another_run() -> None:
    check(decided("rejected"), decided("approved", 1, run_id="tuesday"))
    with pytest.raises(NotApprovedError):
        check(decided("approved"), decided("rejected", 1))


def test_every_approval_task_has_its_own_say() -> None:
    with pytest.raises(NotApprovedError, match=r"in ads\.legal"):
        check(decided("rejected", task_id="legal"), decided("approved", 1, task_id="brand"))


def test_an_approval_that_is_written_late_does_not_replace_a_later_rejection() -> None:
    # The task died between its decision and the file; meanwhile another run has decided.
    with pytest.raises(NotApprovedError, match="run tuesday"):
        check(decided("rejected", 5, run_id="tuesday"), decided("approved", 1))
    check(decided("approved", 5, run_id="tuesday"), decided("rejected", 1))


def test_an_answer_that_says_both_is_a_rejection() -> None:
    with pytest.raises(NotApprovedError):
        check(decided("rejected"), decided("approved"))


def test_every_map_index_of_a_mapped_task_has_its_own_say() -> None:
    with pytest.raises(NotApprovedError, match="map index 0"):
        check(decided("rejected", map_index=0), decided("approved", 1, map_index=1))
    # Another run asks them all anew, and may count them otherwise.
    check(decided("rejected", map_index=0), decided("approved", 1, run_id="tuesday", map_index=1))


def test_a_decision_about_another_content_says_nothing() -> None:
    check(decided("rejected", video_sha256=OTHER))
    with pytest.raises(NotApprovedError, match=r"nobody has decided"):
        check(decided("approved", video_sha256=OTHER), required=True)


def test_a_file_is_read_as_it_was_written_and_a_decision_stands_in_it_once() -> None:
    found = Decisions(video_sha256=SHA).with_one(decided("rejected")).with_one(decided("approved", 1))
    assert read_decisions(written(found)) == found
    assert found.with_one(decided("approved", 1)) is found


def test_the_checksum_may_stand_once_for_all() -> None:
    line = json.loads(decided("rejected").model_dump_json())
    del line["video_sha256"]
    found = read_decisions(json.dumps({"version": 1, "video_sha256": SHA, "decisions": [line]}).encode())
    with pytest.raises(NotApprovedError):
        check(*found.decisions)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"version": 2}', b'{"version": 1, "video_sha256": "x", "decisions": [1]}']
)
def test_anything_else_is_no_file_of_decisions(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_decisions(data)


def test_a_file_does_not_grow_without_bound() -> None:
    found = Decisions(video_sha256=SHA)
    for minute in range(MAX_DECISIONS + 5):
        found = found.with_one(decided("rejected", minute))
    assert len(found.decisions) == MAX_DECISIONS
    assert found.decisions[-1].at == NOON + timedelta(minutes=MAX_DECISIONS + 4)


@pytest.mark.parametrize(
    "other", [{"task_id": "legal"}, {"map_index": 3}, {"video_sha256": OTHER}], ids=["task", "map index", "content"]
)
def test_a_refusal_that_counts_is_never_dropped(other: dict[str, Any]) -> None:
    found = Decisions(video_sha256=SHA).with_one(decided("rejected", **other))
    for minute in range(1, MAX_DECISIONS + 5):
        found = found.with_one(decided("approved", minute))
    assert len(found.decisions) == MAX_DECISIONS
    with pytest.raises(NotApprovedError):
        check_approved(found.decisions, other.get("video_sha256", SHA), "/data/clip.mp4", required=False)
