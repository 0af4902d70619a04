"""A "completed" without a video: asked about again for two minutes, by whoever waits, and not after the deadline."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.purchase.settling import LEAST_QUESTIONS, Settling, is_empty
from airflow_provider_apimart.generation.waiting.polling import PollingWait
from tests.generation.records import view

NOW = 1_790_000_000.0


def waits(settling: Settling, seen: Generation, now: float = NOW) -> list[float]:
    """Ask until it counts; returns what was waited between the questions."""
    found: list[float] = []
    while (wait := settling.wait(seen, now)) is not None:
        found.append(wait)
        now += wait
        assert len(found) < 50
    return found


def completed(seconds_ago: float) -> datetime:
    return datetime.fromtimestamp(NOW - seconds_ago, tz=UTC)


@pytest.mark.parametrize("completed_at", [None, completed(0), completed(-3600)])
def test_it_counts_after_two_minutes_and_several_questions(completed_at: datetime | None) -> None:
    asked = waits(Settling(), view("empty", completed_at=completed_at))
    assert sum(asked) == 120
    assert len(asked) == 7 and asked[:4] == [3, 6, 12, 24] and max(asked) == 30


def test_one_that_was_completed_long_ago_needs_few_questions_but_more_than_one() -> None:
    assert waits(Settling(), view("empty", completed_at=completed(3600))) == [3, 6, 12]
    assert LEAST_QUESTIONS == 4


def test_a_clock_that_stands_still_does_not_make_it_endless() -> None:
    settling, seen = Settling(), view("empty")
    assert [settling.wait(seen, NOW) for _ in range(9)][-1] is None


def test_what_is_unfinished_again_begins_anew() -> None:
    settling = Settling()
    settling.wait(view("empty"), NOW)
    assert settling.wait(view("running"), NOW) is None
    assert settling.wait(view("empty"), NOW) == 3


@pytest.mark.parametrize(
    "result", [None, {}, {"videos": []}, {"videos": [{"url": []}]}, {"videos": [{"url": ["not a url"]}]}, {"url": ""}]
)
def test_a_result_without_a_usable_url_is_none(result: Any) -> None:
    assert is_empty(Generation.read({"status": "completed", "result": result}, "t"))
    assert not is_empty(Generation.read({"status": "failed", "result": result}, "t"))
    assert not is_empty(view("completed"))


# --- the wait for one ---------------------------------------------------------------------------------------------


def polling(deadline: float = 1800.0, **values: Any) -> PollingWait:
    return PollingWait("task_1", NOW, NOW + deadline, 75.0, **values)


def follow(one: PollingWait, seen: Any) -> tuple[float, int, Generation | None]:
    """Returns how long it took, how many questions, and the final word."""
    now = NOW
    while True:
        step = one.saw(seen(now - NOW), now)
        if step.wait_seconds is None:
            return now - NOW, one.polls, step.final
        assert step.wait_seconds > 0 and one.least <= step.wait_seconds
        now += step.wait_seconds


@pytest.mark.parametrize("interval", [None, 1.0, 600.0])
def test_a_wait_asks_again_whatever_its_interval(interval: float | None) -> None:
    took, polls, final = follow(polling(poll_interval=interval), lambda elapsed: view("empty"))
    assert (took, polls) == (120, 8)
    assert final is not None and is_empty(final)


def test_a_video_that_comes_meanwhile_ends_it() -> None:
    took, _, final = follow(polling(), lambda elapsed: view("completed" if elapsed >= 2 else "empty"))
    assert took == 3 and final is not None and final.videos


@pytest.mark.parametrize("completed_at", [None, completed(0)])
def test_what_may_still_fill_is_parked_at_the_deadline(completed_at: datetime | None) -> None:
    one = polling(20)
    took, _, final = follow(one, lambda elapsed: view("empty", completed_at=completed_at))
    assert took == 20 and final is None
    assert "names no video yet" in one.last_word


def test_a_try_that_begins_long_after_the_deadline_believes_what_it_sees() -> None:
    one = polling(-3600)
    assert one.saw(view("empty"), NOW).final is not None
    assert one.saw(view("empty", completed_at=completed(0)), NOW).final is None


def test_what_was_completed_long_before_the_deadline_counts_there() -> None:
    took, _, final = follow(polling(5), lambda elapsed: view("empty", completed_at=completed(3600)))
    assert took == 5 and final is not None and is_empty(final)


def test_it_is_said_once() -> None:
    one = polling()
    said = [one.saw(view("empty"), NOW + n) for n in range(3)]
    assert said[0].say is not None and "without a video" in said[0].say and said[0].warn
    assert [step.say for step in said[1:]] == [None, None]
