"""The arithmetic behind the tables. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank quantile of values that need not be sorted; not a number where there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def mean(values: Iterable[float]) -> float:
    """Return the mean; not a number where there are no values."""
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

    A ticker that waits for its turn sleeps through the ticks that it misses; counting only its wakes would count a
    stall of ten seconds once. So every missed tick counts, with what was left of the stall when it was due. Ticks that
    were never noticed count until ``end``: then the figures are lower bounds.

    :param wakes: when the ticker woke, ascending; the first one starts the clock.
    :param step: seconds between ticks.
    """
    late: list[float] = []
    wakes = wakes or [begin]
    for last, wake in zip(wakes, [*wakes[1:], end], strict=True):
        # A sleep starts at the wake before it. Clocks differ a little, so a wake may come a moment before its tick.
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
    """What a way of polling costs and gives.

    :param polls: a job.
    :param mean_delay: seconds from a job's end to the answer that tells it.
    :param p95_delay: the same.
    """

    polls: float
    mean_delay: float
    p95_delay: float

    @property
    def product(self) -> float:
        """Polls times mean delay: what a fixed interval cannot lower by being longer or shorter."""
        return self.polls * self.mean_delay

    @classmethod
    def of(cls, polls: Sequence[float], delays: Sequence[float]) -> Pace:
        """Sum up jobs."""
        return cls(mean(polls), mean(delays), quantile(delays, 0.95))


def fixed_at_equal_polls(polls: float, simulate: Callable[[float], Pace]) -> tuple[float, Pace]:
    """Return the fixed interval that costs ``polls`` a job, and what it gives.

    :param simulate: what a fixed interval of so many seconds does.
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

    :param cycle: the interval and the time of an answer.
    """
    return polls / (triggers * window / cycle)


@dataclass(frozen=True)
class Turns:
    """How evenly many triggers were asked about. Shares are of all triggers; times are seconds.

    :param asked: had a question at all.
    :param first: from a trigger's start to its first question: the median and the longest.
    :param between: between two questions about one: the median, the 99th percentile and the longest.
    :param longest: nobody went without a question for longer: from start to end, the open spans at both included.
    :param last_minute: had a question in the last 60 s.
    """

    asked: float
    first: tuple[float, float]
    between: tuple[float, float, float]
    longest: float
    last_minute: float


def turns(starts: Sequence[float], asked: Iterable[tuple[float, int]], until: float) -> Turns:
    """Sum up who was asked about when.

    :param starts: when each trigger began; its place is its index.
    :param asked: when which one was asked about, ascending.
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
