"""The rate limiter: the ceiling, 429s, dead hosts, and several processes on one account; simulated, from fixed
seeds.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.generation.waiting import rate_limiter as limiter_module
from airflow_provider_apimart.generation.waiting.rate_limiter import RateLimiter


@given(st.one_of(st.integers(1, 6000), st.floats(1, 6000)), st.integers(0, 10**6))
def test_no_minute_has_more_requests_than_allowed(per_minute: float, seed: int) -> None:
    dice, limiter, now, sent = random.Random(seed), RateLimiter(per_minute), 0.0, []
    while now < 200 and len(sent) < 3000:
        now += limiter.wait(now) + dice.choice([0, 0, 0.001, 0.1, 3.0])
        if limiter.wait(now) <= 0:
            limiter.take(now)
            sent.append(now)
    for first, when in enumerate(sent):
        assert sum(1 for each in sent[first : first + int(per_minute) + 2] if each < when + 60) <= math.ceil(per_minute)


@pytest.mark.parametrize("per_second", [0.2, 1.5, 6.0])
def test_an_uneven_pace_is_no_slower(per_second: float) -> None:
    limiter, now, sent = RateLimiter(None, random.Random(1)), 0.0, 0
    limiter._after_cut, limiter._cut_at = per_second, 1e9
    while now < 1000:
        limiter.take(now)
        sent += 1
        now += limiter.wait(now) + 1e-3
    assert sent == pytest.approx(1000 * per_second, rel=0.02, abs=2)


def test_a_429_pauses_and_what_was_under_way_teaches_nothing_new() -> None:
    limiter = RateLimiter(None)
    for number in range(60):
        limiter.take(number)
        limiter.passed(number)
    assert limiter.refused(60.0, 59.9, 30.0)
    assert limiter.wait(60.0) == pytest.approx(30.0)
    rate = limiter.rate(60.0)
    assert rate == pytest.approx(0.9, abs=0.05)
    assert not limiter.refused(60.1, 59.95, 30.0)
    assert limiter.rate(60.2) == rate
    assert limiter.rate(500.0) > 1.5 * rate


def test_pauses_grow_where_apimart_does_not_say_how_long() -> None:
    limiter, now, pauses = RateLimiter(None), 0.0, []
    for _ in range(4):
        limiter.refused(now, now, None)
        pauses.append(limiter.wait(now))
        now += pauses[-1] + 0.1
    assert pauses == sorted(pauses) and pauses[-1] >= 4 * pauses[0]


# --- several processes, one account -----------------------------------------------------------------------------------


@dataclass
class Shares:
    """What each process got of what the server gives, over some time."""

    used: float
    each: list[float]
    refused: float


def together(count: int, limit: int, ceiling: float | None, *, starts: list[float], seed: int, until: float) -> Shares:
    """Let rate limiters that know nothing of each other ask one server that lets ``limit`` a minute through, and look
    at the last third.

    Everybody always has something to ask.
    """
    dice = random.Random(seed)
    limiters = [RateLimiter(ceiling, random.Random(seed + index)) for index in range(count)]
    window: deque[float] = deque()
    passed, refused = [0] * count, 0
    events = [(starts[index] + dice.random(), index) for index in range(count)]
    heapq.heapify(events)
    while events[0][0] < until:
        now, index = heapq.heappop(events)
        limiter = limiters[index]
        if (wait := limiter.wait(now)) > 0:
            heapq.heappush(events, (now + wait + 1e-6, index))
            continue
        limiter.take(now)
        while window and window[0] <= now - 60:
            window.popleft()
        counts = now >= until * 2 / 3
        if len(window) >= limit:
            limiter.refused(now + 0.05, now, float(int(window[0] + 60 - now) + 1))
            refused += counts
        else:
            window.append(now)
            limiter.passed(now + 0.05)
            passed[index] += counts
        heapq.heappush(events, (now + 0.01, index))
    total = sum(passed)
    return Shares(total / (limit * until / 3 / 60), [one / total for one in passed], refused / total)


@pytest.mark.parametrize("ceiling", [600.0, None], ids=["each knows the limit", "nobody does"])
@pytest.mark.parametrize("late", [0.0, 600.0], ids=["at once", "one comes later"])
@pytest.mark.parametrize("seed", [1, 2])
def test_two_processes_share_a_limit_without_a_word(ceiling: float | None, late: float, seed: int) -> None:
    shares = together(2, 600, ceiling, starts=[0.0, late], seed=seed, until=2700.0)
    assert shares.used >= 0.93
    assert min(shares.each) >= 0.4
    assert shares.refused < 0.01


def test_three_processes_share_a_limit_that_nobody_knows() -> None:
    shares = together(3, 300, None, starts=[0.0, 30.0, 300.0], seed=3, until=2700.0)
    assert shares.used >= 0.9
    assert min(shares.each) >= 0.24
    assert shares.refused < 0.02


@pytest.mark.parametrize("ceiling", [600.0, 1200.0, None], ids=["each knows it", "each states 1200", "nobody does"])
@pytest.mark.parametrize("late", [30.0, 240.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_who_comes_late_to_a_full_account_has_a_share_within_minutes(
    ceiling: float | None, late: float, seed: int
) -> None:
    shares = together(2, 600, ceiling, starts=[0.0, late], seed=seed, until=600.0)
    assert shares.used >= 0.93
    assert min(shares.each) >= 0.25
    assert shares.refused < 0.01


def test_a_limit_that_is_lifted_is_noticed() -> None:
    limiter = RateLimiter(600.0)
    for number in range(60):
        limiter.passed(float(number))
    limiter.refused(60.0, 59.9, 1.0)
    assert limiter.rate(70.0) < 1.1
    assert limiter.rate(60.0 + 1800) == pytest.approx(600 / 60 * limiter_module.OF_LIMIT)


def test_what_filled_the_account_before_the_first_request_here_is_others_doing() -> None:
    limiter = RateLimiter(None)
    limiter.refused(0.0, 0.0, 30.0)
    assert limiter.rate(40.0) == pytest.approx(0.9 * 250 / 60, rel=0.05)
    few = RateLimiter(600.0)
    for number in range(3):
        few.passed(number / 10)
    few.refused(0.4, 0.35, 10.0)
    assert few.rate(11.0) == pytest.approx(0.9 * 250 / 60, rel=0.1)


@pytest.mark.parametrize("ceiling", [500.0, None])
def test_who_had_little_to_ask_has_measured_little(ceiling: float | None) -> None:
    limiter = RateLimiter(ceiling)
    for now in (0.0, 12.0, 24.0, 36.0, 48.0, 58.0):
        assert limiter.wait(now) == 0
        limiter.take(now)
        if now < 58:
            limiter.passed(now + 0.1)
    limiter.refused(58.1, 58.0, 2.0)
    assert limiter.rate(61.0) > 3, "others have filled the account, and a burst would wait for minutes at 0.1 a second"


@pytest.mark.parametrize("asked", [None, 0.0])
def test_a_429_without_a_word_on_how_long_pauses_ever_longer(asked: float | None) -> None:
    limiter, now, pauses = RateLimiter(None, random.Random(1)), 0.0, []
    for _ in range(4):
        limiter.refused(now, now, asked)
        pauses.append(limiter.wait(now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8]


# --- a dead host ------------------------------------------------------------------------------------------------------


def broken(limiter: RateLimiter, now: float) -> float:
    for number in range(limiter_module.DEAD_AFTER):
        assert not limiter.paused(now)
        limiter.failed(now, now + number * 0.001)
    return limiter.wait(now)


def test_some_failures_are_not_a_dead_host_where_others_are_answered() -> None:
    limiter = RateLimiter(None)
    for number in range(100):
        limiter.failed(float(number), float(number))
        if number % 3 == 2:
            limiter.passed(float(number))
    assert not limiter.broken and limiter.wait(100.0) == 0


def test_a_host_that_answers_others_a_moment_ago_is_not_dead() -> None:
    """Three of ten requests fail, at a hundred a second: five in a row are nothing there."""
    limiter, dice = RateLimiter(None), random.Random(1)
    for number in range(20_000):
        now = number / 100
        if dice.random() < 0.3:
            assert not limiter.failed(now, now - 0.05)
        else:
            limiter.passed(now)


def test_what_failed_before_says_nothing_of_the_host_while_others_are_answered() -> None:
    limiter = RateLimiter(None, random.Random(1))
    limiter.passed(0.0)
    for number in range(100):
        assert not limiter.failed(3.0 + number / 2, 3.0 + number / 2, failing_since=-5.0)
    # Nobody has been answered for a minute.
    for number in range(limiter_module.DEAD_AFTER):
        limiter.failed(70.0 + number, 70.0 + number, failing_since=-5.0)
    assert limiter.broken


def test_one_alone_that_fails_again_and_again_finds_a_dead_host() -> None:
    limiter = RateLimiter(None, random.Random(1))
    limiter.passed(0.0)
    for number, now in enumerate((5.0, 8.0, 14.0, 26.0)):
        assert not limiter.failed(now, now, failing_since=5.0 if number else None)
    assert limiter.failed(50.0, 50.0, failing_since=5.0)


def test_a_dead_host_is_tried_by_one_at_a_time_and_ever_less_often() -> None:
    limiter, now, gaps = RateLimiter(None, random.Random(1)), 0.0, []
    wait = broken(limiter, now)
    assert 3 < wait < 7
    for _ in range(12):
        now += limiter.wait(now)
        limiter.take(now)
        assert limiter.wait(now) > 0, "only one at a time"
        limiter.failed(now + 0.1, now)
        gaps.append(limiter.wait(now))
    assert gaps[3] > 4 * gaps[0] * 0.5
    assert 0.7 * limiter_module.LONGEST_BREAK_SECONDS < gaps[-1] < 1.3 * limiter_module.LONGEST_BREAK_SECONDS


def test_it_comes_back_slowly_and_not_as_a_herd() -> None:
    limiter, now = RateLimiter(6000.0, random.Random(1)), 0.0
    broken(limiter, now)
    now += limiter.wait(now)
    limiter.take(now)
    limiter.passed(now + 0.1)
    assert not limiter.broken
    sent, back = [], now + 0.1
    now = back
    while now < back + 30:
        now += limiter.wait(now) + 1e-6
        limiter.take(now)
        sent.append(now - back)
    assert sum(1 for each in sent if each < 2) <= 8
    assert sum(1 for each in sent if 20 < each < 21) == pytest.approx(99, abs=3)


def test_many_processes_do_not_try_a_dead_host_in_step() -> None:
    limiters = [RateLimiter(None, random.Random(seed)) for seed in range(50)]
    waits = [broken(limiter, 0.0) for limiter in limiters]
    assert max(waits) > 1.4 * min(waits)


def test_a_straggler_of_before_the_break_teaches_nothing() -> None:
    limiter = RateLimiter(None, random.Random(1))
    broken(limiter, 10.0)
    wait = limiter.wait(11.0)
    assert not limiter.failed(11.0, 9.0)
    assert limiter.wait(11.0) == wait


def test_a_429_says_that_the_host_lives() -> None:
    limiter = RateLimiter(None, random.Random(1))
    broken(limiter, 0.0)
    limiter.refused(2.0, 1.5, 1.0)
    assert not limiter.broken
    assert limiter.wait(2.0) == pytest.approx(1.0)
