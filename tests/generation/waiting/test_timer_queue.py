"""Who is asked about next: order, like shares of what fits, and no herd after a stand-still."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.generation.waiting.timer_queue import AHEAD_SECONDS, TimerQueue


def due(timers: TimerQueue[str], now: float) -> list[str]:
    """Take off what is due."""
    found = []
    while timers.wait(now) == 0:
        found.append(timers.pop())
    return found


def test_what_is_due_comes_in_the_order_of_its_time() -> None:
    timers: TimerQueue[str] = TimerQueue(100.0)
    for name, wait in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        timers.put(name, wait, 100.0)
    assert timers.wait(100.0) == pytest.approx(1.0)
    assert due(timers, 102.0) == ["a", "b"]
    assert timers.wait(102.0) == pytest.approx(1.0)
    assert due(timers, 103.0) == ["c"]
    assert timers.wait(103.0) is None


def test_those_due_at_once_come_in_the_order_they_were_put_in() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    for name in "abcdef":
        timers.put(name, 1.0, 0.0)
    assert "".join(due(timers, 1.0)) == "abcdef"


def test_nothing_comes_sooner_than_it_may() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    timers.put("fixed", 2.0, 0.0, least=20.0)
    timers.put("other", 3.0, 0.0)
    assert timers.wait(2.5) == pytest.approx(0.5)
    assert due(timers, 3.0) == ["other"]
    assert timers.wait(3.0) == pytest.approx(17.0)
    assert due(timers, 19.9) == []
    assert due(timers, 20.0) == ["fixed"]


def test_after_a_stand_still_all_go_on_at_their_distances() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    for number in range(100):
        timers.put(str(number), 1.0 + number, 0.0)
    # The first is due after a second, and cannot be sent for a minute.
    assert timers.wait(1.0) == 0
    assert timers.wait(61.0) == 0
    assert len(due(timers, 61.0)) == 1 + AHEAD_SECONDS
    for second in range(50):
        assert len(due(timers, 62.0 + second)) == 1


def test_a_clock_that_nobody_looked_at_brings_no_herd() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    for number in range(1000):
        timers.put(str(number), 10.0 + number / 100, 0.0)
    assert len(due(timers, 300.0)) <= 100 * AHEAD_SECONDS + 1


def test_where_more_is_wanted_than_fits_nothing_is_idle() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    timers.put("may come", 30.0, 0.0, least=5.0)
    timers.put("may not", 40.0, 0.0, least=20.0)
    assert timers.wait(10.0) == pytest.approx(20.0)
    assert timers.wait(10.0, full=True) == 0
    assert timers.pop() == "may come"
    # The clock has leapt to 30, and the others' distances are what they were.
    assert timers.wait(10.0) == pytest.approx(10.0)
    assert timers.wait(10.0, full=True) == pytest.approx(10.0)
    assert due(timers, 20.0) == ["may not"]


def test_what_is_cancelled_does_not_come_up_and_takes_no_room() -> None:
    timers: TimerQueue[int] = TimerQueue(0.0)
    entries = [timers.put(number, 1.0 + number, 0.0) for number in range(1000)]
    for queued in entries[:990]:
        timers.cancel(queued)
    assert len(timers) == 10
    assert len(timers._heap) <= 10 + 64
    # What was cancelled holds nobody back either.
    assert timers.wait(991.0) == 0
    assert timers.pop() == 990
    assert sorted(timers.drain()) == list(range(991, 1000))
    assert len(timers) == 0 and timers.wait(992.0) is None


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), per_second=st.floats(0.5, 50), count=st.integers(1, 300))
def test_everybody_has_a_like_share_of_what_can_be_sent(seed: int, per_second: float, count: int) -> None:
    # One is sent whenever there is room; how much room there is, the timer queue is not told.
    dice = random.Random(seed)
    timers: TimerQueue[int] = TimerQueue(0.0)
    own = [dice.choice((5.0, 10.0, 20.0)) for _ in range(count)]
    for number in range(count):
        timers.put(number, dice.uniform(0, own[number]), 0.0)
    sent = [0] * count
    now, end = 0.0, 3000.0
    while now < end:
        wait = timers.wait(now)
        assert wait is not None
        if wait > 0:
            now += wait
            continue
        number = timers.pop()
        sent[number] += 1
        timers.put(number, own[number], now)
        now += 1 / per_second
    wanted = sum(1 / each for each in own)
    stretch = max(1.0, wanted / per_second)
    for number in range(count):
        fair = end / (own[number] * stretch)
        assert 0.75 * fair - 3 <= sent[number] <= 1.3 * fair + 3
    # And no room is left unused.
    assert sum(sent) >= 0.85 * min(wanted, per_second) * end - count


def test_the_least_is_taken_from_anywhere_and_only_once() -> None:
    timers: TimerQueue[int] = TimerQueue(0.0)
    for item in (5, 3, 8, 1, 9):
        timers.put(item, float(item), 0.0)
    cancelled = timers.put(0, 20.0, 0.0)
    timers.cancel(cancelled)
    assert timers.pop_least(lambda item: (float(item == 8), -float(item))) == 9
    assert timers.wait(10.0) == 0 and timers.pop() == 1
    assert len(timers) == 3 and sorted(timers.drain()) == [3, 5, 8]


# --- the latest time --------------------------------------------------------------------------------------------------


def test_whose_latest_time_has_come_goes_first() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    timers.put("patient", 100.0, 0.0, latest=60.0)
    for number in range(1000):
        timers.put(f"eager {number}", 0.0, 0.0)
    for second in range(60):
        assert timers.wait(float(second)) == 0
        assert timers.pop() == f"eager {second}"
    assert timers.wait(60.0) == 0
    assert timers.pop() == "patient"
    assert len(timers) == 940
    assert timers.pop() == "eager 60"


def test_a_latest_time_wakes_who_waits() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    timers.put("a", 100.0, 0.0, latest=60.0)
    assert timers.wait(0.0) == pytest.approx(60.0)
    assert timers.wait(59.0, full=True) == 0, "there is room"
    assert timers.wait(60.0) == 0
    assert timers.pop() == "a"
    assert timers.wait(60.0) is None


def test_nobody_is_taken_twice_and_what_was_cancelled_is_not_taken() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    timers.put("soon", 1.0, 0.0, latest=60.0)
    cancelled = timers.put("cancelled", 500.0, 0.0, latest=50.0)
    timers.put("late", 500.0, 0.0, latest=60.0)
    assert due(timers, 1.0) == ["soon"]
    timers.cancel(cancelled)
    assert timers.wait(2.0) == pytest.approx(58.0)
    assert due(timers, 100.0) == ["late"]
    assert len(timers) == 0
    assert due(timers, 1000.0) == []


def test_latest_times_that_never_come_are_forgotten() -> None:
    timers: TimerQueue[str] = TimerQueue(0.0)
    for number in range(10_000):
        timers.put("again", 0.0, float(number), latest=60_000.0)
        assert due(timers, float(number)) == ["again"]
    assert len(timers._latest) < 200 and len(timers) == 0
