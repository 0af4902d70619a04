"""Every error text says what happened, what happened to the money, and what to do next; and the XCom has one shape."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import ApimartError, Charge, FieldProblem
from airflow_provider_apimart.client.models import Video
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.record import Record, RecordState, UnreadableRecordError
from tests.generation.records import LANDED, NOW, record, view


def test_a_parked_generation_says_what_was_strange_about_it() -> None:
    told = report.parked_text(record(), polls_failed=False, last_word="APIMart calls its status 'expired'")
    assert "APIMart calls its status 'expired'" in told and "re-attaches" in told
    assert "What was seen last" not in report.parked_text(record(), polls_failed=False)


def every_kind() -> list[type[ApimartError]]:
    """Return all errors of the tree, so that one that is added is tried, too."""
    found, todo = [], [ApimartError]
    while todo:
        kind = todo.pop()
        found.append(kind)
        todo += kind.__subclasses__()
    return sorted({one for one in found if one.__module__ == errors.__name__}, key=lambda kind: kind.__name__)


def made(kind: type[ApimartError]) -> ApimartError:
    if issubclass(kind, errors.InvalidParameterError):
        return kind((FieldProblem("seed", -1, "allowed: 0 or more"),))
    if issubclass(kind, errors.GenerationError):
        return kind("WHAT HAPPENED", generation_id="task_1")
    return kind("WHAT HAPPENED")


@pytest.mark.parametrize("known", [None, *RecordState])
@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__name__)
def test_every_error_tells_the_money_and_the_way_out(kind: type[ApimartError], known: RecordState | None) -> None:
    error, kept = made(kind), known and record(known)
    text = report.explain(error, kept)
    assert text.startswith(str(error)[:20])
    if issubclass(kind, errors.GenerationError):
        assert text == str(error)
        return
    assert any(word in text for word in ("charged", "paid for", "submitted")), text
    assert text.count(". ") >= 2 and text.endswith("."), "what happened, the money, what to do"
    assert ".." not in text and "None" not in text
    assert report.help_page(error).startswith("https://")
    if kept and kept.state in (RecordState.FAILED, RecordState.REJECTED, RecordState.REFUSED):
        assert "is paid for" not in text
    if kept and kept.state in (RecordState.SUBMITTED, RecordState.LANDED):
        assert "task_1 is paid for" in text and "Nothing was charged" not in text
    if kept and kept.state is RecordState.INTENT:
        assert kept.idempotency_key in text and "not known" in text


@pytest.mark.parametrize("kind", [errors.IdempotencyIndeterminateError, errors.IdempotencyKeyReusedError])
def test_no_replay_is_promised_where_there_will_be_none(kind: type[ApimartError]) -> None:
    text = report.explain(kind("conflict"), record("intent"))
    assert "the next try" not in text and "look in its console" in text


def test_a_storage_out_of_reach_before_anything_was_paid() -> None:
    text = report.explain(errors.LandingError("s3://b/c.mp4 could not be read"), None)
    assert text == "s3://b/c.mp4 could not be read. Nothing was submitted by this try. A later try goes on from here."


def test_a_storage_out_of_reach_afterwards() -> None:
    text = report.explain(errors.LandingError("s3://b/c.mp4 could not be written"), record(cost_usd=0.64))
    assert "Generation task_1 is paid for (0.64 USD)" in text and "lands it without paying again" in text


def test_a_failed_generation_is_not_called_paid() -> None:
    error = errors.ApimartTimeoutError("the upload got no answer")
    error.charge = Charge.NO
    text = report.explain(error, record("failed"))
    assert "not charged" in text and "is paid for" not in text


def test_an_unreadable_record_says_all_of_it_itself() -> None:
    assert report.explain(UnreadableRecordError("the record cannot be read"), None) == "the record cannot be read"


def test_parked_and_abandoned_say_that_it_is_billed_and_found_again() -> None:
    for text in (
        report.parked_text(record(), polls_failed=False),
        report.parked_text(record(), polls_failed=True),
        report.abandoned_text("task_1"),
    ):
        assert "task_1" in text and "billed" in text and "no cancel" in text and "re-attaches" in text
    assert "does not answer" in report.parked_text(record(), polls_failed=True)


# --- the XCom -----------------------------------------------------------------------------------------------------

KEYS = ["url", "expires_at", "path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio"]
VIDEO = Video(url="https://media.example/v.mp4", expires_at=NOW)


@pytest.mark.parametrize(
    ("videos", "landed"),
    [((VIDEO,), ()), ((VIDEO,), (LANDED,)), ((), (LANDED,)), ((VIDEO, VIDEO), (LANDED,)), ((VIDEO,), (LANDED, LANDED))],
)
def test_the_xcom_has_one_shape(videos: tuple[Video, ...], landed: tuple[object, ...]) -> None:
    told = report.result(record("landed", cost_usd=0.64, completed_at=NOW), videos, landed)  # type: ignore[arg-type]
    assert list(told) == [
        "generation_id",
        "status",
        "model",
        "cost_usd",
        "submitted_at",
        "completed_at",
        "videos",
        "mismatches",
        "fallback_from",
    ]
    assert told["mismatches"] == []
    assert len(told["videos"]) == max(len(videos), len(landed))
    for number, video in enumerate(told["videos"]):
        assert list(video) == KEYS
        assert (video["url"] is not None) == (number < len(videos))
        assert (video["path"] is not None) == (number < len(landed))
    assert told["completed_at"] == "2026-09-30T12:00:00Z"


def test_times_are_utc() -> None:
    tokyo = datetime(2026, 9, 30, 21, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=9)))
    assert report.iso(tokyo) == "2026-09-30T12:00:00Z"
    assert report.iso(datetime(2026, 9, 30, 12, tzinfo=UTC)) == "2026-09-30T12:00:00Z"
    assert report.iso(None) is None


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (0.64, "Generation task_1 is completed: 1 video, 0.64 USD."),
        (None, "Generation task_1 is completed: 1 video, cost not told."),
    ],
)
def test_the_summary(cost: float | None, text: str) -> None:
    kept: Record = record(cost_usd=cost)
    assert report.summary(view("completed"), kept) == text
    assert "2 videos" in report.summary(view("completed", videos=(VIDEO, VIDEO)), kept)
