"""When the next poll of a generation is worth its cost, learnt from earlier durations. Pure: the caller waits.

For a given number of polls, the mean time between a video being ready and us knowing is shortest when the density of
polls follows the square root of the completion hazard: the next poll comes where the integral of ``sqrt(h / 2c)`` since
the last one reaches 1, with ``c`` the price of a poll in seconds of delay. Durations of one kind (model, resolution,
audio) are taken as log-normal; the estimate starts from a prior and learns from each generation that finishes.

A log-normal hazard keeps its shape when time is measured in medians, so the integral is tabulated once per spread and
shared by all waits: a poll costs one bisection.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass

FIRST_POLL_SECONDS = 10.0
MIN_INTERVAL_SECONDS = 3.0
MAX_INTERVAL_SECONDS = 60.0
#: The prior of a new kind may be far off, so until its usual end no wait is longer than this, nor longer than this
#: share of the time that has passed.
MAX_EARLY_INTERVAL_SECONDS, EARLY_SHARE = 20.0, 0.5
#: Short jobs (an emulator's) may be polled sooner: this share of their median.
LEAST_SHARE, LEAST_SECONDS = 0.04, 0.1
#: Spread of the durations (standard deviation of their logarithm) before any was seen, and the least that is assumed.
SIGMA, LEAST_SIGMA, LARGEST_SIGMA = 0.3, 0.02, 1.2
#: The price of a poll in expected seconds of delay: 6 s between polls around the median of a 75 s job. For short jobs
#: it is this share of their median.
POLL_PRICE_SECONDS, PRICE_SHARE = 0.65, 0.02
#: How many must finish before the kind counts as known, and how many are remembered.
ENOUGH, REMEMBERED = 3, 64
#: How many observations the prior is worth, for the median and for the spread. Both fade as more are seen.
PRIOR_MEDIAN, PRIOR_SPREAD = 1.0, 3.0
#: Beyond this (in standard deviations) a job takes unusually long; the next poll is delayed by this share of the time
#: that has passed.
USUAL, BEYOND = 2.5, 0.08
#: A generation that was found long after its end, without a reported duration, teaches nothing.
TOO_LATE = 3.0
#: Nor does one whose reported duration exceeds the available time by so much: the clocks do not agree.
CLOCKS_APART_SECONDS = 5.0
#: The assumed error of APIMart's progress before it is known (standard deviation of the logarithm of the end it
#: predicts), and the least progress that predicts anything.
PROGRESS_SIGMA, LEAST_PROGRESS = 0.3, 10
#: Seconds that a job takes, from the few that were measured (contract 8.3).
EXPECTED_SECONDS = {"fast": 75.0, "lite": 75.0, "quality": 150.0}
MAX_KINDS = 64

_LOWEST, _HIGHEST, _STEP = -7.0, 8.0, 0.05


def expected_seconds(model: str, resolution: str | None = None) -> float:
    """Return how long a job of this kind takes, from measurements."""
    base = next((seconds for word, seconds in EXPECTED_SECONDS.items() if word in model), 120.0)
    return base * (2.0 if (resolution or "").lower() == "4k" else 1.0)


def kind_of(model: str, resolution: object = None, audio: object = None) -> str:
    """Return the key under which durations of such jobs are collected."""
    sound = "audio" if str(audio).strip().lower() in ("true", "1", "yes") else "silent"
    # Names come from users' DAGs and are kept in memory.
    return f"{model[:80]}/{str(resolution or '720p').lower()[:20]}/{sound}"


def hazard_of_normal(z: float) -> float:
    """Return density divided by survival of the standard normal distribution."""
    survival = math.erfc(z / math.sqrt(2)) / 2
    if survival < 1e-300:
        # The limit of the quotient, where both terms vanish.
        return z
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / survival


class Curve:
    """The integral of ``sqrt(h)`` from 0 for a log-normal of median 1, over ``z = ln(t) / sigma``."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        self.values = [0.0]
        for index in range(round((_HIGHEST - _LOWEST) / _STEP)):
            z = _LOWEST + (index + 0.5) * _STEP
            # sqrt(h(t)) dt with t = exp(sigma z) and h(t) = hazard_of_normal(z) / (sigma t).
            height = math.sqrt(hazard_of_normal(z) * sigma * math.exp(sigma * z))
            self.values.append(self.values[-1] + height * _STEP)

    def at(self, z: float) -> float:
        """Return the integral up to ``z``."""
        place = (z - _LOWEST) / _STEP
        if place <= 0:
            return 0.0
        index = min(int(place), len(self.values) - 2)
        low, high = self.values[index], self.values[index + 1]
        # Beyond the table, continue with the last slope.
        return low + (high - low) * (place - index)

    def reaches(self, value: float) -> float:
        """Return the ``z`` at which the integral reaches ``value``."""
        index = min(max(1, bisect_left(self.values, value)), len(self.values) - 1)
        low, high = self.values[index - 1], self.values[index]
        return _LOWEST + _STEP * (index - 1 + (value - low) / (high - low))


@functools.lru_cache(maxsize=128)
def _curve(step: int) -> Curve:
    return Curve(LEAST_SIGMA * 1.05**step)


def curve_of(sigma: float) -> Curve:
    """Return the table for a spread, accurate to a few per cent."""
    clipped = min(LARGEST_SIGMA, max(LEAST_SIGMA, sigma))
    return _curve(round(math.log(clipped / LEAST_SIGMA) / math.log(1.05)))


@dataclass(frozen=True, slots=True)
class Belief:
    """The estimate of a duration: log-normal.

    :param known: it was learnt, not taken from the prior alone.
    """

    median: float
    sigma: float = SIGMA
    known: bool = False

    @property
    def price(self) -> float:
        """The price of a poll, in seconds of delay."""
        return min(POLL_PRICE_SECONDS, PRICE_SHARE * self.median)

    def deviations(self, elapsed: float) -> float:
        """Return how many standard deviations ``elapsed`` is beyond the median."""
        return math.log(max(elapsed, 1e-9) / self.median) / self.sigma

    def with_progress(self, elapsed: float, progress: int, error: float) -> Belief:
        """Return the estimate after APIMart has reported its progress.

        :param error: the error of its progress so far, as a standard deviation of the logarithm.
        """
        foretold = max(elapsed + 1, elapsed * 100 / progress)
        if not self.known:
            # The prior is about all jobs; the progress is about this one.
            return Belief(foretold, max(LEAST_SIGMA, error), False)
        mine, its = 1 / self.sigma**2, 1 / error**2
        median = math.exp((mine * math.log(self.median) + its * math.log(foretold)) / (mine + its))
        return Belief(median, 1 / math.sqrt(mine + its), True)


def next_wait(
    belief: Belief, elapsed: float, *, asked: bool = True, price: float | None = None, spread: float = 0.5,
    stretch: float = 1.0,
) -> float:  # fmt: skip
    """Return the seconds until the next poll of a job that has run for ``elapsed`` seconds.

    :param asked: a poll found it running then; otherwise it has not been polled yet.
    :param price: the price of a poll in seconds of delay, if not the usual one.
    :param spread: 0 to 1, specific to this generation, so that many are not polled in step.
    :param stretch: the factor by which all waits grow so that all polls fit the account.
    """
    least = min(MIN_INTERVAL_SECONDS, max(LEAST_SECONDS, LEAST_SHARE * belief.median))
    if belief.median <= 0 or belief.sigma <= 0:
        raise ValueError(f"no belief about durations: {belief}")
    curve, z = curve_of(belief.sigma), belief.deviations(elapsed)
    worth = belief.price if price is None else price
    goal = math.sqrt(2 * worth / belief.median) * (0.9 + 0.2 * spread) * stretch
    if z < _HIGHEST:
        then = curve.sigma * min(curve.reaches(curve.at(z * belief.sigma / curve.sigma) + goal), 2 * _HIGHEST)
        wait = belief.median * math.exp(min(then, 50.0)) - elapsed
    else:
        wait = BEYOND * elapsed
    if z > USUAL:
        # It takes longer than usual: the estimate was wrong, and will be for a while.
        wait = max(wait, BEYOND * elapsed)
    if not belief.known and not asked:
        # If not all polls fit, those of the first jobs show how long the kind takes, and the others need not be polled
        # as early.
        first, stretched = FIRST_POLL_SECONDS - elapsed, FIRST_POLL_SECONDS * stretch - elapsed
        return max(0.0, first, min(wait, stretched))
    if not belief.known and elapsed < belief.median:
        wait = min(wait, MAX_EARLY_INTERVAL_SECONDS * stretch, max(least, EARLY_SHARE * elapsed) * stretch)
    return min(MAX_INTERVAL_SECONDS * stretch, max(least * stretch if asked else 0.0, wait))


class Durations:
    """The observed durations of generations of one kind.

    :param median_seconds: how long such a job takes, as assumed before the first one.
    """

    __slots__ = ("_belief", "_count", "_mean", "_progress_count", "_progress_error", "_squares", "prior")

    def __init__(self, median_seconds: float) -> None:
        self.prior = max(LEAST_SECONDS, median_seconds)
        self._count = 0
        #: Mean of the logarithms, and sum of squared distances from it; older ones fade.
        self._mean = self._squares = 0.0
        self._progress_count, self._progress_error = 0, PROGRESS_SIGMA**2
        self._belief = self._fit()

    @property
    def belief(self) -> Belief:
        """The estimate for the next one."""
        return self._belief

    @property
    def usual_seconds(self) -> float:
        """How long such a job takes, as far as known."""
        return self._belief.median if self._belief.known else self.prior

    @property
    def progress_error(self) -> float:
        """The error of the end that APIMart's progress predicts: a standard deviation of the logarithm."""
        return math.sqrt(self._progress_error)

    def finished(self, unfinished_at: float, finished_at: float, told: float | None) -> None:
        """Learn from one that has finished. All arguments are seconds since its submission.

        :param unfinished_at: when it was last seen running; 0 for never.
        :param finished_at: when it was first seen finished.
        :param told: the duration that APIMart reported.
        """
        if told is None and unfinished_at <= 0 and finished_at > TOO_LATE * self.usual_seconds:
            return
        if finished_at <= 0 or (told is not None and told - finished_at > max(CLOCKS_APART_SECONDS, finished_at)):
            return
        # Without a reported duration, one that was finished at the first poll may have been so for long. Each such case
        # lowers the estimate by a fifth, until a poll comes too early and shows where the end is.
        guess = max((unfinished_at + finished_at) / 2, 0.8 * finished_at) if told is None else told
        seconds = max(LEAST_SECONDS, min(finished_at, max(unfinished_at, guess)))
        self._count += 1
        seen = min(self._count, REMEMBERED)
        off = math.log(seconds) - self._mean
        self._mean += off / seen
        self._squares = self._squares * (1 - 1 / REMEMBERED if self._count > REMEMBERED else 1.0) + off * (
            math.log(seconds) - self._mean
        )
        self._belief = self._fit()

    def foretold(self, belief: Belief, elapsed: float, progress: int) -> Belief:
        """Return the estimate for a generation after APIMart has reported its progress.

        For a known kind, progress counts as far as it has been right about others.
        """
        if belief.known and self._progress_count < ENOUGH:
            return belief
        return belief.with_progress(elapsed, progress, self.progress_error)

    def progress_was(self, elapsed: float, progress: int | None, seconds: float) -> None:
        """Learn how reliable APIMart's progress is.

        :param elapsed: when it was reported.
        :param seconds: how long the job took in the end.
        """
        if progress is None or not LEAST_PROGRESS <= progress < 100 or elapsed <= 0 or seconds <= 0:
            return
        self._progress_count += 1
        off = math.log(seconds * progress / (100 * elapsed))
        self._progress_error += (off * off - self._progress_error) / min(self._progress_count + 2, REMEMBERED)

    def _fit(self) -> Belief:
        seen = min(self._count, REMEMBERED)
        median_weight = PRIOR_MEDIAN**2 / (PRIOR_MEDIAN + seen)
        spread_weight = PRIOR_SPREAD**2 / (PRIOR_SPREAD + seen)
        prior = math.log(self.prior)
        all_weight = median_weight + seen
        middle = (median_weight * prior + seen * self._mean) / all_weight
        # The distance between observations and prior counts as spread while there are few observations.
        astray = median_weight * seen / all_weight * (self._mean - prior) ** 2 * median_weight / PRIOR_MEDIAN
        variance = (spread_weight * SIGMA**2 + self._squares + astray) / (spread_weight + seen)
        sigma = math.sqrt(variance * (1 + 1 / all_weight))
        known = self._count >= ENOUGH
        return Belief(math.exp(middle), min(LARGEST_SIGMA, max(LEAST_SIGMA, sigma)), known)


class Kinds:
    """The durations of a connection's kinds; the most recently used are kept."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[str, Durations] = OrderedDict()

    def of(self, kind: str, median_seconds: float) -> Durations:
        """Return the durations of a kind."""
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = Durations(median_seconds)
            if len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(kind)
        return found
