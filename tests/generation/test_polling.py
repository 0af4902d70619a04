"""When to ask next: bounds, the deadline, errors, the log, and a simulation against fixed intervals."""

from __future__ import annotations

import functools
import itertools
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation import polling
from airflow_provider_apimart.generation.polling import Step, Watch, adaptive_interval, error_interval, hazard
from tests.generation.records import view

START = 1_790_000_000.0


def watch(**values: Any) -> Watch:
    return Watch(
        **{"generation_id": "task_1", "submitted_at": START, "deadline": START + 1800, "median_seconds": 75.0, **values}
    )


def running(progress: int | None = None, **values: Any) -> Generation:
    return view("running", progress=progress, **values)


# --- the pace -----------------------------------------------------------------------------------------------------


@given(st.floats(0, 1e6), st.floats(1, 1e5))
def test_the_interval_stays_within_its_bounds(elapsed: float, median: float) -> None:
    interval = adaptive_interval(elapsed, median)
    assert polling.MIN_INTERVAL_SECONDS <= interval <= polling.MAX_INTERVAL_SECONDS
    if elapsed < median:
        assert interval <= polling.MAX_EARLY_INTERVAL_SECONDS


@given(st.floats(0, 1e9), st.floats(1, 1e9))
def test_the_hazard_is_a_rate(elapsed: float, median: float) -> None:
    assert hazard(elapsed, median) >= 0


def test_the_hazard_is_that_of_the_log_normal() -> None:
    # The density over the survival at the median: 1/(t sigma sqrt(2 pi)) over 1/2.
    assert hazard(75, 75) == pytest.approx(2 / (75 * 0.3 * (2 * 3.141592653589793) ** 0.5))
    assert hazard(0, 75) == 0
    # Continuous where the formula is replaced by its limit.
    z = 7.03
    edge = 75 * 2.718281828459045 ** (z * 0.3)
    assert hazard(edge * 0.9999, 75) == pytest.approx(hazard(edge * 1.0001, 75), rel=0.05)


def test_questions_are_rare_early_dense_around_the_median_and_rare_again_late() -> None:
    early, around, late = adaptive_interval(5, 75), adaptive_interval(75, 75), adaptive_interval(900, 75)
    assert early > 2 * around
    assert 4 <= around <= 8
    assert late >= 60


@dataclass(frozen=True)
class Pace:
    """What one way of asking costs: questions a job, and seconds between a video being ready and us knowing."""

    polls: float
    delay: float

    @property
    def price(self) -> float:
        """In seconds, with a question at its price (see POLL_PRICE_SECONDS)."""
        return self.delay + polling.POLL_PRICE_SECONDS * self.polls


@functools.cache
def simulate(
    interval: float | None, *, median: float = 75.0, told: float | None = None, progress: bool = False, jobs: int = 3000
) -> Pace:
    """Wait for many jobs of log-normal durations without a clock.

    :param interval: fixed; ``None`` adapts.
    :param told: what the watch believes the median to be.
    :param progress: APIMart tells it, 30 % off at times.
    """
    dice = random.Random(20260930)
    polls = delay = 0.0
    for _ in range(jobs):
        duration = dice.lognormvariate(0, 0.3) * median
        one = watch(poll_interval=interval, median_seconds=told or median, jitter=dice.random())
        now = START + one.first_wait(START)
        while now - START < duration:
            share = 100 * (now - START) / duration * dice.uniform(0.7, 1.3)
            step = one.saw(running(min(99, int(share)) if progress else None), now)
            assert step.wait_seconds is not None
            now += step.wait_seconds
        polls += one.polls + 1
        delay += now - START - duration
    return Pace(polls / jobs, delay / jobs)


@pytest.mark.parametrize("fixed", [5.0, 10.0, 30.0, 60.0])
def test_adapting_beats_every_fixed_interval(fixed: float) -> None:
    """By the price that it is made to minimise, by a clear margin; and with more questions a fixed one knows later."""
    adaptive, other = simulate(None), simulate(fixed)
    assert adaptive.price < 0.9 * other.price
    equal = simulate(10.0)
    assert equal.polls > adaptive.polls
    assert adaptive.delay < 0.85 * equal.delay


@pytest.mark.parametrize("median", [40.0, 150.0])
def test_a_wrong_guess_of_the_duration_costs_little(median: float) -> None:
    """Jobs of half and twice the expected length, against the best fixed interval, which nobody could have known."""
    best = min(simulate(fixed, median=median).price for fixed in (5.0, 10.0, 30.0, 60.0))
    assert simulate(None, median=median, told=75.0).price < 1.3 * best
    assert simulate(None, median=median, told=75.0, progress=True).price < 0.95 * best


# --- progress and estimates ---------------------------------------------------------------------------------------


def test_progress_moves_the_expected_end() -> None:
    told = watch().saw(running(progress=10), START + 60)
    alone = watch().saw(running(), START + 60)
    assert told.wait_seconds is not None and alone.wait_seconds is not None
    assert told.wait_seconds > 2 * alone.wait_seconds


@pytest.mark.parametrize("estimate", [-300.0, 0.0, 1e-320, 1e300, None])
@pytest.mark.parametrize("progress", [None, 0, 10, 99, 100])
def test_nothing_that_apimart_says_ends_the_wait(estimate: float | None, progress: int | None) -> None:
    for elapsed in (-100, 0, 1, 75, 1700):
        step = watch().saw(running(progress, estimated_seconds=estimate), START + elapsed)
        assert step.wait_seconds is not None and 0 < step.wait_seconds <= 66


# --- the first question -------------------------------------------------------------------------------------------


def test_the_first_question() -> None:
    assert watch().first_wait(START) == 10
    assert watch().first_wait(START + 4) == 6
    assert watch().first_wait(START + 500) == 0, "one that was submitted by an earlier try is asked about at once"
    assert watch(poll_interval=25.0).first_wait(START) == 25
    assert watch(deadline=START + 3).first_wait(START) == 3
    assert watch(deadline=START - 3).first_wait(START) == 0


def test_a_clock_that_is_behind_does_not_delay_it() -> None:
    assert watch().first_wait(START - 600) == 10


# --- the deadline -------------------------------------------------------------------------------------------------


def drive(one: Watch, answer: Any, limit: int = 10_000) -> tuple[float, list[tuple[float, Step]]]:
    """Wait without a clock until the watch says stop, and return when that was and every step."""
    now, steps = START + one.first_wait(START), []
    for _ in range(limit):
        said = answer(now - START)
        step = one.failed(said, now) if isinstance(said, Exception) else one.saw(said, now)
        steps.append((now, step))
        if step.wait_seconds is None:
            return now, steps
        assert step.wait_seconds > 0
        now += step.wait_seconds
    raise AssertionError("it does not end")


@pytest.mark.parametrize("jitter", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("answer", [lambda _: running(), lambda _: errors.ApimartTimeoutError("x")])
def test_the_last_question_comes_at_the_deadline_exactly(jitter: float, answer: Any) -> None:
    ended, steps = drive(watch(deadline=START + 333, jitter=jitter), answer)
    assert ended == pytest.approx(START + 333)
    assert steps[-1][1] == Step(None, None, steps[-1][1].say, steps[-1][1].warn)


def test_a_final_word_at_the_deadline_or_after_it_counts() -> None:
    for late in (0, 1000):
        step = watch().saw(view("completed"), START + 1800 + late)
        assert step.final is not None and step.final.status is GenerationStatus.COMPLETED


def test_an_interval_that_does_not_fit_is_cut_at_the_deadline() -> None:
    step = watch(poll_interval=600.0).saw(running(), START + 1700)
    assert step.wait_seconds == 100


# --- errors -------------------------------------------------------------------------------------------------------


def test_errors_back_off_and_an_answer_resets_them() -> None:
    one = watch(jitter=0.0)
    waits = [one.failed(errors.ServerError("x", status=500), START + n).wait_seconds for n in range(7)]
    assert waits == [3, 6, 12, 24, 48, 60, 60]
    one.saw(running(), START + 10)
    assert one.failed(errors.ServerError("x"), START + 11).wait_seconds == 3


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_retry_after_is_a_floor_up_to_a_cap(jitter: float) -> None:
    def wait(asked: float) -> float:
        error = errors.RateLimitError("slow down", status=429, retry_after_seconds=asked)
        seconds = watch(jitter=jitter).failed(error, START).wait_seconds
        assert seconds is not None
        return seconds

    assert 45 <= wait(45) < 50
    assert 300 <= wait(86_400) < 331
    assert wait(0) >= polling.MIN_INTERVAL_SECONDS


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("rotated", status=401),
        errors.InsufficientBalanceError("empty", status=402),
        errors.BadRequestError("invalid task id", status=400),
        errors.ResponseError("broken JSON"),
        RuntimeError("anything"),
    ],
)
def test_no_error_is_a_verdict(error: Exception) -> None:
    one = watch()
    for n in range(100):
        assert one.failed(error, START + n).wait_seconds is not None
    assert one.failures == 100


def test_the_backoff_does_not_overflow() -> None:
    assert error_interval(10**6, RuntimeError()) == polling.MAX_INTERVAL_SECONDS


# --- the log ------------------------------------------------------------------------------------------------------


def lines(answer: Any, **values: Any) -> list[tuple[float, str]]:
    _, steps = drive(watch(**values), answer)
    return [(at - START, step.say) for at, step in steps if step.say]


def job(seconds: float, *, progress: bool) -> Any:
    def answer(elapsed: float) -> Generation:
        if elapsed >= seconds:
            return view("completed")
        return running(int(100 * elapsed / seconds) if progress else None)

    return answer


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("interval", [None, 1.0])
def test_a_job_of_five_minutes_is_told_in_a_handful_of_lines(progress: bool, interval: float | None) -> None:
    said = lines(job(300, progress=progress), poll_interval=interval)
    assert 4 <= len(said) <= 15
    assert all(later - sooner >= 5 for (sooner, _), (later, _) in itertools.pairwise(said[:-1]))
    assert all(later - sooner <= 66 for (sooner, _), (later, _) in itertools.pairwise(said)), "nobody is left alone"
    assert said[-1][1].startswith("completed")


def test_a_line_says_how_far_and_how_long() -> None:
    step = watch().saw(running(40), START + 30)
    assert step.say == "processing 40 %, 30 s, about 45 s left"
    assert watch().saw(running(), START + 100).say == "processing, 100 s, taking longer than usual"


def test_trouble_is_told_but_not_over_and_over() -> None:
    one = watch()
    said = [one.failed(errors.ServerError("gateway", status=502), START + n).say for n in range(64)]
    told = [n + 1 for n, say in enumerate(said) if say]
    assert told == [1, 2, 4, 8, 16, 32, 64]
    assert "task_1" in str(said[0]) and "That ends nothing" in str(said[0])
