"""When to ask: the shape, the bounds, and simulations against fixed intervals, without a clock and from fixed seeds."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.generation.waiting import schedule
from airflow_provider_apimart.generation.waiting.schedule import Belief, Durations, Kinds, curve_of, kind_of, next_wait


@dataclass(frozen=True)
class Cost:
    """What one way of asking costs a job: questions, and seconds between its end and us knowing."""

    polls: float
    delay: float

    @property
    def product(self) -> float:
        return self.polls * self.delay


def wait_for_jobs(
    durations: Durations,
    jobs: int,
    *,
    median: float = 75.0,
    sigma: float = 0.3,
    seed: int = 1,
    told: bool = True,
    progress: float | None = None,
    stretch: float = 1.0,
) -> list[Cost]:
    """Wait for jobs one after the other, learning from each.

    :param told: APIMart tells how long each took, in whole seconds.
    :param progress: APIMart tells how far a job is, off by up to this share.
    """
    dice, costs = random.Random(seed), []
    for _ in range(jobs):
        took = median * math.exp(sigma * dice.gauss(0, 1))
        spread, at_work, said, polls = dice.random(), 0.0, None, 1
        now = next_wait(durations.belief, 0.0, asked=False, spread=spread, stretch=stretch)
        while now < took:
            belief = durations.belief
            if progress is not None:
                said = min(99, int(100 * now / took * dice.uniform(1 - progress, 1 + progress)))
                if said >= schedule.LEAST_PROGRESS:
                    belief = durations.foretold(belief, now, said)
            at_work = now
            now += next_wait(belief, now, spread=spread, stretch=stretch)
            polls += 1
        costs.append(Cost(polls, now - took))
        durations.finished(at_work, now, round(took) if told else None)
        if at_work:
            durations.progress_was(at_work, said, took)
    return costs


def mean(costs: list[Cost]) -> Cost:
    return Cost(sum(one.polls for one in costs) / len(costs), sum(one.delay for one in costs) / len(costs))


@functools.cache
def fixed(interval: float, median: float = 75.0, sigma: float = 0.3) -> Cost:
    dice, costs = random.Random(2), []
    for _ in range(4000):
        took = median * math.exp(sigma * dice.gauss(0, 1))
        polls = math.ceil(took / interval)
        costs.append(Cost(polls, polls * interval - took))
    return mean(costs)


def fixed_with(polls: float) -> Cost:
    """The fixed interval that asks as often."""
    low, high = 1.0, 300.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fixed(round(middle, 3)).polls > polls else (low, middle)
    return fixed(round(high, 3))


# --- the point of it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["APIMart tells durations", "only what was seen"])
@pytest.mark.parametrize("stretch", [0.7, 1.0, 1.7])
def test_once_learnt_it_costs_half_of_any_fixed_interval(told: bool, stretch: float) -> None:
    durations = Durations(75.0)
    wait_for_jobs(durations, 100, told=told)
    learnt = mean(wait_for_jobs(durations, 3000, seed=5, told=told, stretch=stretch))
    equal = fixed_with(learnt.polls)
    assert equal.polls == pytest.approx(learnt.polls, rel=0.02)
    assert learnt.product <= 0.55 * equal.product


@pytest.mark.parametrize("median", [37.5, 150.0], ids=["half as long", "twice as long"])
@pytest.mark.parametrize("told", [True, False])
def test_a_wrong_prior_is_learnt_and_costs_little_until_then(median: float, told: bool) -> None:
    firsts, laters = [], []
    for seed in range(40):
        durations = Durations(75.0)
        costs = wait_for_jobs(durations, 60, median=median, seed=seed, told=told)
        firsts += costs[:10]
        laters += costs[30:]
        assert durations.belief.median == pytest.approx(median, rel=0.25)
    ten = fixed(10.0, median)
    assert mean(firsts).product < 1.1 * ten.product
    assert mean(firsts).polls < 1.25 * ten.polls and mean(firsts).delay < 1.1 * ten.delay
    assert mean(laters).product < 0.65 * ten.product


def test_the_right_prior_is_no_worse_than_ten_seconds_from_the_first_job_on() -> None:
    firsts = [wait_for_jobs(Durations(75.0), 1, seed=seed)[0] for seed in range(400)]
    assert mean(firsts).product < 1.1 * fixed(10.0).product


def test_progress_that_tells_the_truth_sharpens_it_and_a_stuck_one_is_seen_through() -> None:
    plain, honest = Durations(75.0), Durations(75.0)
    wait_for_jobs(plain, 100)
    wait_for_jobs(honest, 100, progress=0.1)
    assert mean(wait_for_jobs(honest, 1000, seed=5, progress=0.1)).product < 0.6 * (
        mean(wait_for_jobs(plain, 1000, seed=5)).product
    )
    stuck = Durations(75.0)
    for number in range(50):
        stuck.finished(60.0, 80.0, 70.0 + number % 10)
        stuck.progress_was(60.0, 10, 75.0)
    told = stuck.foretold(stuck.belief, 60.0, 10)
    assert told.median == pytest.approx(stuck.belief.median, rel=0.05)


def test_jobs_that_all_take_the_same_are_asked_about_right_around_their_end() -> None:
    durations = Durations(75.0)
    costs = wait_for_jobs(durations, 100, median=60.0, sigma=0.0)
    assert mean(costs[50:]).polls <= 2
    assert mean(costs[50:]).delay < 2.5


def test_what_changes_is_learnt_anew() -> None:
    durations = Durations(75.0)
    wait_for_jobs(durations, 500, median=75.0)
    wait_for_jobs(durations, 150, median=200.0, seed=3)
    assert durations.belief.median == pytest.approx(200.0, rel=0.2)


# --- shape and bounds -----------------------------------------------------------------------------------------------


@given(
    elapsed=st.floats(0, 1e7),
    median=st.floats(0.1, 1e5),
    sigma=st.floats(0.001, 5),
    known=st.booleans(),
    asked=st.booleans(),
    spread=st.floats(0, 1),
    stretch=st.floats(1, 50),
)
def test_the_wait_stays_within_its_bounds(
    elapsed: float, median: float, sigma: float, known: bool, asked: bool, spread: float, stretch: float
) -> None:
    wait = next_wait(Belief(median, sigma, known), elapsed, asked=asked, spread=spread, stretch=stretch)
    assert 0 <= wait <= schedule.MAX_INTERVAL_SECONDS * stretch
    if asked:
        assert wait >= min(schedule.MIN_INTERVAL_SECONDS, max(0.1, 0.04 * median)) * (1 - 1e-9)
    if not known and asked and elapsed < median:
        assert wait <= schedule.MAX_EARLY_INTERVAL_SECONDS * stretch


def test_questions_are_rare_early_dense_around_the_median_and_rare_again_late() -> None:
    known = Belief(75.0, 0.3, True)
    early, around, late = (next_wait(known, elapsed) for elapsed in (5.0, 75.0, 900.0))
    assert early > 2 * around
    assert 4 <= around <= 8
    assert late == 60
    assert next_wait(known, 400.0) > 30, "it is taking longer than usual: back off"


def test_the_wait_holds_one_unit_of_the_integral() -> None:
    belief, start = Belief(75.0, curve_of(0.3).sigma, True), 60.0
    end = start + next_wait(belief, start)
    steps, total = 2000, 0.0
    for index in range(steps):
        at = start + (end - start) * (index + 0.5) / steps
        rate = schedule.hazard_of_normal(belief.deviations(at)) / (belief.sigma * at)
        total += math.sqrt(rate / (2 * belief.price)) * (end - start) / steps
    assert total == pytest.approx(1, rel=0.01)


def test_everybody_has_a_moment_of_their_own_and_always_the_same_one() -> None:
    known = Belief(75.0, 0.3, True)
    waits = {next_wait(known, 40.0, spread=each / 10) for each in range(11)}
    assert len(waits) == 11
    assert next_wait(known, 40.0, spread=0.3) == next_wait(known, 40.0, spread=0.3)


def test_a_new_kind_is_asked_about_after_ten_seconds() -> None:
    unknown = Durations(75.0).belief
    assert (next_wait(unknown, 0.0, asked=False), next_wait(unknown, 4.0, asked=False)) == (10.0, 6.0)
    assert next_wait(unknown, 500.0, asked=False) == 0.0


# --- learning -------------------------------------------------------------------------------------------------------


def test_where_not_all_questions_fit_a_new_kind_is_not_asked_about_early_by_everybody() -> None:
    belief = Durations(75.0).belief
    waits = [next_wait(belief, 5.0, asked=False, stretch=stretch) for stretch in (1, 2, 4, 30)]
    assert waits[:3] == [5.0, 15.0, 35.0]
    # By the prior most of them have ended then; so late it would be if the kind were known.
    known = Belief(belief.median, belief.sigma, known=True)
    assert waits[3] == pytest.approx(next_wait(known, 5.0, asked=False, stretch=30)) and waits[3] < 295
    # And never sooner than usual.
    short = Durations(3.0).belief
    assert next_wait(short, 0.0, asked=False, stretch=2) == next_wait(short, 0.0, asked=False) == 10.0


def test_nothing_is_learnt_from_one_that_was_found_long_after_its_end() -> None:
    durations = Durations(75.0)
    before = durations.belief
    durations.finished(0.0, 5000.0, None)
    assert durations.belief == before
    durations.finished(0.0, 5000.0, 80.0)
    assert durations.belief != before


@pytest.mark.parametrize(("finished_at", "told"), [(0.0, None), (0.0, 40.0), (0.5, 40.0), (10.0, 40.0)])
def test_nothing_is_learnt_where_the_clocks_do_not_agree(finished_at: float, told: float | None) -> None:
    """Submitted by a worker whose clock is ahead: a job of 40 s seems to have taken no time, or little."""
    durations = Durations(75.0)
    before = durations.belief
    for _ in range(5):
        durations.finished(0.0, finished_at, told)
    assert durations.belief == before


@given(st.lists(st.tuples(st.floats(-10, 1e9), st.floats(-10, 1e9), st.none() | st.floats(-1e9, 1e9)), max_size=30))
def test_whatever_apimart_tells_leaves_something_to_believe(jobs: list[tuple[float, float, float | None]]) -> None:
    durations = Durations(75.0)
    for unfinished_at, finished_at, told in jobs:
        durations.finished(unfinished_at, finished_at, told)
        belief = durations.belief
        assert belief.median > 0 and math.isfinite(belief.median)
        assert schedule.LEAST_SIGMA <= belief.sigma <= schedule.LARGEST_SIGMA
        assert math.isfinite(next_wait(belief, 10.0))


def test_kinds_are_apart_and_not_too_many() -> None:
    kinds = Kinds()
    first = kinds.of(kind_of("veo3.1-fast", "720p", True), 75.0)
    assert kinds.of(kind_of("veo3.1-fast", "720P", "true"), 75.0) is first
    assert kinds.of(kind_of("veo3.1-fast", None, None), 75.0) is not first
    for number in range(500):
        kinds.of(f"kind {number}", 75.0)
    assert len(kinds._kinds) == schedule.MAX_KINDS
