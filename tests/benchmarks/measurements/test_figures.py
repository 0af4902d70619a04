from __future__ import annotations

import math

import pytest

from airflow_provider_apimart.generation.waiting.schedule import Durations
from benchmarks.measurements.figures import Pace, durations, fixed_at_equal_polls, lag, quantile, served, turns
from benchmarks.measurements.pacing import Adaptive, fixed, polls_between, polls_of, simulate
from benchmarks.servers.status import Job


def test_quantile_is_a_value_of_the_sample() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([5.0], 0.0) == 5.0
    assert math.isnan(quantile([], 0.5))


def test_lag_of_a_punctual_ticker_is_nothing() -> None:
    found = lag([number / 100 for number in range(101)], 0.01, 0.0, 1.0)
    assert found.max == pytest.approx(0, abs=1e-6)


def test_lag_counts_every_tick_of_a_stall() -> None:
    # Punctual for half a second, then half a second of nothing: half of all ticks were late, by up to 490 ms.
    wakes = [number / 100 for number in range(51)] + [1.0]
    found = lag(wakes, 0.01, 0.0, 1.0)
    assert found.max == pytest.approx(490, abs=1)
    assert found.p99 == pytest.approx(480, abs=15)
    assert found.p50 == pytest.approx(0, abs=15)


def test_lag_of_a_stall_that_does_not_end_counts_until_the_end() -> None:
    found = lag([0.0, 0.01], 0.01, 1.0, 3.0)
    assert found.max == pytest.approx(1995, abs=10)
    assert found.p50 == pytest.approx(1000, abs=15)


def test_lag_leaves_out_what_was_before_the_window() -> None:
    wakes = [0.0, 0.9, *[0.9 + number / 100 for number in range(1, 111)]]
    assert lag(wakes, 0.01, 1.0, 2.0).max == pytest.approx(0, abs=1e-6)


def test_job_is_read_from_its_number() -> None:
    job = Job(1_800_000_000.123, 75.456, 9_999)
    assert Job.of(job.number) == job and job.ends == pytest.approx(1_800_000_075.579)


def test_durations_are_the_same_for_all() -> None:
    assert durations(5, 75.0, 0.3) == durations(5, 75.0, 0.3)
    assert quantile(durations(2001, 75.0, 0.3), 0.5) == pytest.approx(75.0, rel=0.05)


def test_fixed_interval_polls_until_it_is_told() -> None:
    assert polls_of(25.0, fixed(10.0), 0.0) == [10.0, 20.0, 30.0]
    assert polls_of(25.0, fixed(10.0), 1.0) == [11.0, 22.0, 33.0]


def test_fixed_interval_of_equal_polls() -> None:
    jobs = durations(300, 75.0, 0.3)
    interval, pace = fixed_at_equal_polls(8.0, lambda each: simulate(jobs, lambda _: fixed(each), 0.2))
    assert pace.polls == pytest.approx(8.0, abs=0.1)
    assert 9.0 < interval < 12.0


def test_pace_sums_up() -> None:
    pace = Pace.of([2, 4], [1.0, 3.0])
    assert (pace.polls, pace.mean_delay, pace.p95_delay, pace.product) == (3.0, 2.0, 3.0, 6.0)


def test_adaptive_is_the_providers_own_pace() -> None:
    answered = polls_of(75.0, Adaptive(Durations(75.0)), 0.2)
    assert answered[-2] < 75.0 <= answered[-1] < 85.0


def test_due_polls_of_ours() -> None:
    whole = polls_between(0.0, 1e6, 0.0, 60.0, 0.2)
    assert whole == polls_between(0.0, 1e6, 0.0, 30.0, 0.2) + polls_between(0.0, 1e6, 30.0, 60.0, 0.2) > 2


def test_served_is_a_share_of_what_is_due() -> None:
    assert served(50, 10, 51.0, 10.2) == pytest.approx(1.0)


def test_turns_count_the_spans_before_the_first_and_after_the_last_poll() -> None:
    found = turns([0.0, 1.0, 2.0, 3.0], [(4.0, 0), (5.0, 1), (9.0, 0), (11.0, 0), (95.0, 1)], 100.0)
    assert (found.asked, found.first, found.last_minute) == (0.5, (4.0, 4.0), 0.25)
    assert found.between == (5.0, 90.0, 90.0)
    # The third one was never asked about.
    assert found.longest == 98.0
