"""The lenient readers: numbers, times and texts of any kind, and what is never guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_apimart.client import models
from airflow_provider_apimart.client.models import (
    Balance,
    Generation,
    GenerationStatus,
    Submission,
    read_number,
    read_text,
    read_time,
)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (0.047920000000000004, 0.047920000000000004),
        ("0.1234", 0.1234),
        (" 42 ", 42.0),
        ("42%", 42.0),
        ("-1", -1.0),
        ("1e3", 1000.0),
        (True, None),
        (False, None),
        (None, None),
        ("", None),
        ("free", None),
        ("NaN", None),
        ("sNaN", None),
        ("Infinity", None),
        ("1e999", None),
        ("1e99999999999999999999", None),
        (float("nan"), None),
        (float("-inf"), None),
        (10**400, None),
        ([1], None),
        ({"amount": 1}, None),
        (b"1", None),
    ],
)
def test_numbers(value: Any, number: float | None) -> None:
    assert read_number(value) == number


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1765001046, datetime(2025, 12, 6, 6, 4, 6, tzinfo=UTC)),
        ("1765001046", datetime(2025, 12, 6, 6, 4, 6, tzinfo=UTC)),
        (1765001046000, datetime(2025, 12, 6, 6, 4, 6, tzinfo=UTC)),
        (1765001046.5, datetime(2025, 12, 6, 6, 4, 6, 500000, tzinfo=UTC)),
        (0, None),
        (-1, None),
        ("tomorrow", None),
        (None, None),
        (True, None),
        (253402300799000, None),
        (1765001046000000000, None),
        (1e308, None),
        ([1765001046], None),
    ],
)
def test_times(value: Any, time: datetime | None) -> None:
    assert read_time(value) == time


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        ("완료", "완료"),
        ("a\ud800b", "a?b"),
        (5, "5"),
        (True, "True"),
        (["a"], "['a']"),
        ("x" * 20_000, "x" * 10_000),
        (10**5000, None),
        (nested(100_000), None),
    ],
    ids=["null", "empty", "text", "surrogate", "int", "bool", "list", "long", "huge", "deep"],
)
def test_texts(value: Any, text: str | None) -> None:
    assert read_text(value) == text


@pytest.mark.parametrize(
    "value", [None, 5, True, [], {}, ["completed"], nested(100_000)], ids=lambda v: type(v).__name__
)
def test_a_status_that_is_no_text_is_no_end(value: Any) -> None:
    assert GenerationStatus.read(value) is GenerationStatus.PROCESSING


def test_a_finished_video_outlives_lies_in_all_other_fields() -> None:
    lies = dict.fromkeys(
        ("id", "progress", "cost", "credits_cost", "created", "completed", "estimated_time", "actual_time", "error"),
        nested(50),
    )
    found = Generation.read(
        {**lies, "status": "completed", "result": {"videos": [{"url": "https://a.org/b"}]}}, "task_1"
    )
    assert [video.url for video in found.videos] == ["https://a.org/b"]
    assert (found.cost_usd, found.progress, found.completed_at) == (None, None, None)


def test_videos_count_only_when_completed() -> None:
    for status in ("processing", "failed", "", None):
        assert Generation.read({"status": status, "result": {"url": "https://a.org/b"}}, "t").videos == ()


def test_scrubbed() -> None:
    found = Generation.read({"status": "failed", "error": {"message": "key sk-1", "code": "sk-1"}}, "t")
    clean = found.scrubbed("sk-1")
    assert (clean.error_message, clean.error_code, clean.generation_id) == ("key ***", "***", "t")
    assert found.scrubbed("") == found


def test_unlimited_is_said_by_the_flag() -> None:
    assert Balance.read({"remain_balance": 5, "unlimited_quota": True}).remaining_usd is None
    assert Balance.read({"remain_balance": -1, "remain_credits": -1, "unlimited_quota": False}).remaining_usd == -1


def test_results_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Submission(generation_id="a").generation_id = "b"  # type: ignore[misc]


def test_exports() -> None:
    assert all(hasattr(models, name) for name in models.__all__)


@pytest.mark.parametrize("status", [None, ""])
def test_a_synchronous_result_needs_no_status(status: str | None) -> None:
    task = {"object": "generation.result", "status": status, "result": {"video_url": "https://a.b/c.mp4"}}
    assert Generation.read(task, "key").status is GenerationStatus.COMPLETED
    assert Generation.read({**task, "result": {}}, "key").status is GenerationStatus.PROCESSING
    assert Generation.read({**task, "status": "processing"}, "key").status is GenerationStatus.PROCESSING


def test_videos_can_be_json_text() -> None:
    task = {"status": "completed", "result": {"videos": '[{"url": ["https://a.b/c.mp4"]}]'}}
    assert [video.url for video in Generation.read(task, "id").videos] == ["https://a.b/c.mp4"]
