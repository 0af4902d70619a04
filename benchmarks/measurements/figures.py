"""The arithmetic behind the tables. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile of values that need not be sorted; NaN if there are no values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def mean(values: Iterable[float]) -> float:
    """Return the mean; NaN if there are no values."""
    kept = list(values)
    return sum(kept) / len(kept) if kept else math.nan


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return quantile(values, 0.5)


@dataclass(frozen=True)
class Lag:
    """How late a ticker was, in milliseconds."""

    p50: float
    p99: float
    max: float


def lag(wakes: Sequence[float], step: float, begin: float, end: float) -> Lag:
    """Return how late each tick that was due in ``[begin, end)`` was noticed.

    A ticker that waits for its turn sleeps through the ticks that it misses. Counting only its wakes would count a
    stall of ten seconds once. So every missed tick counts, with the rest of the stall from when it was due. Ticks that
    were never noticed count until ``end``, and then the figures are lower bounds.

    :param wakes: when the ticker woke, ascending; the first one starts the clock.
    :param step: seconds between ticks.
    """
    late: list[float] = []
    wakes = wakes or [begin]
    for last, wake in zip(wakes, [*wakes[1:], end], strict=True):
        # Each sleep starts at the previous wake. Clocks differ slightly, so a wake may come just before its tick.
        for missed in range(max(1, math.floor((wake - last) / step + 1e-6))):
            due = last + (missed + 1) * step
            if begin <= due < end:
                late.append(max(0.0, min(wake, end) - due) * 1000)
    return Lag(quantile(late, 0.5), quantile(late, 0.99), max(late, default=math.nan))


def durations(count: int, median_seconds: float, sigma: float, seed: int = 5) -> list[float]:
    """Return how long each job takes: log-normal, the same for every contestant."""
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    return [round(median_seconds * math.exp(dice.gauss(0, sigma)), 3) for _ in range(count)]


@dataclass(frozen=True)
class Pace:
    """The costs and delays of a way of polling.

    :param polls: polls per job.
    :param mean_delay: mean seconds from a job's end to the answer that reports it.
    :param p95_delay: the 95th percentile of the same.
    """

    polls: float
    mean_delay: float
    p95_delay: float

    @property
    def product(self) -> float:
        """Polls times mean delay, which a fixed interval cannot lower by being longer or shorter."""
        return self.polls * self.mean_delay

    @classmethod
    def of(cls, polls: Sequence[float], delays: Sequence[float]) -> Pace:
        """Summarize the polls and delays of jobs."""
        return cls(mean(polls), mean(delays), quantile(delays, 0.95))


def fixed_at_equal_polls(polls: float, simulate: Callable[[float], Pace]) -> tuple[float, Pace]:
    """Return the fixed interval that costs ``polls`` polls per job, and its figures.

    :param simulate: returns the figures of a fixed interval of this many seconds.
    """
    low, high = 0.5, 600.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        if simulate(middle).polls > polls:
            low = middle
        else:
            high = middle
    return high, simulate(high)


def served(polls: int, triggers: int, window: float, cycle: float) -> float:
    """Return the share of due polls that were made.

    :param cycle: the interval plus the time of an answer.
    """
    return polls / (triggers * window / cycle)


@dataclass(frozen=True)
class Turns:
    """How evenly the polls were spread over many triggers. Shares are of all triggers; times are seconds.

    :param asked: the share of triggers with at least one poll.
    :param first: from a trigger's start to its first poll: the median and the longest.
    :param between: between two polls of one trigger: the median, the 99th percentile and the longest.
    :param longest: the longest time that any trigger went without a poll, including the spans before its first and
        after its last poll.
    :param last_minute: the share of triggers with a poll in the last 60 s.
    """

    asked: float
    first: tuple[float, float]
    between: tuple[float, float, float]
    longest: float
    last_minute: float


def turns(starts: Sequence[float], asked: Iterable[tuple[float, int]], until: float) -> Turns:
    """Summarize when each trigger polled.

    :param starts: when each trigger started, by index.
    :param asked: the time of each poll and the trigger's index, ascending.
    :param until: the end of the measurement.
    """
    last: dict[int, float] = {}
    first: list[float] = []
    between: list[float] = []
    for when, index in asked:
        if index in last:
            between.append(when - last[index])
        else:
            first.append(when - starts[index])
        last[index] = when
    still = [until - last.get(index, start) for index, start in enumerate(starts)]
    return Turns(
        len(first) / len(starts),
        (quantile(first, 0.5), max(first, default=math.nan)),
        (quantile(between, 0.5), quantile(between, 0.99), max(between, default=math.nan)),
        max([*first, *between, *still]),
        sum(1 for when in last.values() if when >= until - 60) / len(starts),
    )
