"""When to ask next, what to tell the user meanwhile, and when to stop waiting. Pure: the callers wait.

Invariant 4: a poll is never a verdict. An error of any kind only delays the next question; what ends the wait is
APIMart's own final word, or the deadline, which is absolute and counts from the submission.

The pace follows the hazard of completion: for a given number of polls, the mean time between a video being ready and us
knowing is least when the next question comes where the expected delay since the last one has reached a fixed price.
Durations are taken as log-normal around what APIMart's progress, its estimate, or a prior says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Generation

#: Invariant 10: Airflow 3.3's scheduler can fail a task whose deferral ends sooner.
FIRST_EVENT_SECONDS = 12.0
FIRST_POLL_SECONDS = 10.0
MIN_INTERVAL_SECONDS = 3.0
MAX_INTERVAL_SECONDS = 60.0
#: Before a job's usual end few polls would do, but a person reads the progress, and the prior may be wrong. Measured by
#: simulation: one poll more for each job, and 8 s of delay instead of 12 where jobs take half as long as expected.
MAX_EARLY_INTERVAL_SECONDS = 20.0
MAX_RETRY_AFTER_SECONDS = 300.0
#: Spread of the durations, as the standard deviation of their logarithm.
SIGMA = 0.3
#: What one poll is worth, in expected seconds of delay: 6 s between polls around the median of a 75 s job.
POLL_PRICE_SECONDS = 0.65
#: Seconds that a job takes, by the little that was measured (contract 8.3).
EXPECTED_SECONDS = {"fast": 75.0, "lite": 75.0, "quality": 150.0}
SAY_EVERY_SECONDS = 30.0
SAY_AT_LEAST_SECONDS = 5.0
SAY_PROGRESS_STEP = 20


def expected_seconds(model: str, resolution: str | None = None) -> float:
    """Return how long a job of this kind takes, by what was measured."""
    base = next((seconds for word, seconds in EXPECTED_SECONDS.items() if word in model), 120.0)
    return base * (2.0 if (resolution or "").lower() == "4k" else 1.0)


def hazard(elapsed: float, median: float, sigma: float = SIGMA) -> float:
    """Return the rate (1/s) at which a job that has run for ``elapsed`` seconds completes now."""
    if elapsed < 1e-3:
        # Nothing completes in a millisecond, and smaller numbers than that divide badly.
        return 0.0
    z = math.log(elapsed / median) / sigma
    survival = math.erfc(z / math.sqrt(2)) / 2
    if survival < 1e-12:
        # Far in the tail the quotient of two vanishing numbers tends to this.
        return z / (elapsed * sigma)
    return math.exp(-z * z / 2) / (elapsed * sigma * math.sqrt(2 * math.pi)) / survival


def adaptive_interval(elapsed: float, median: float) -> float:
    """Return the seconds until the next poll of a job that has run for ``elapsed`` seconds."""
    step, waited, density, delay = 0.5, 0.0, 0.0, 0.0
    while waited < MAX_INTERVAL_SECONDS and delay < POLL_PRICE_SECONDS:
        # delay is the integral of hazard(elapsed + s) * (waited - s): what waiting this long is expected to cost.
        density += hazard(elapsed + waited + step / 2, median) * step
        delay += density * step
        waited += step
    if elapsed > 2 * median:
        # Taking longer than usual: the model has been wrong, and will be wrong for a while.
        waited = max(waited, 0.1 * elapsed)
    longest = MAX_EARLY_INTERVAL_SECONDS if elapsed < median else MAX_INTERVAL_SECONDS
    return min(longest, max(MIN_INTERVAL_SECONDS, waited))


def error_interval(failures: int, error: Exception) -> float:
    """Return the seconds until the next poll after the ``failures``-th error in a row."""
    asked = error.retry_after_seconds if isinstance(error, ApimartError) else None
    if asked is not None:
        return min(MAX_RETRY_AFTER_SECONDS, max(MIN_INTERVAL_SECONDS, asked))
    return min(MAX_INTERVAL_SECONDS, MIN_INTERVAL_SECONDS * 2.0 ** min(failures - 1, 10))


@dataclass(frozen=True)
class Step:
    """What to do after one poll.

    :param wait_seconds: until the next poll; ``None`` when the wait has ended.
    :param final: APIMart's final word. ``None`` with ``wait_seconds=None`` means that the deadline passed.
    :param say: a line for the log.
    :param warn: the line is about trouble.
    """

    wait_seconds: float | None
    final: Generation | None = None
    say: str | None = None
    warn: bool = False


@dataclass
class Watch:
    """The wait for one generation. Fed with what was seen, it says what to do next.

    :param submitted_at: unix seconds.
    :param deadline: unix seconds.
    :param median_seconds: how long such a job takes, by what is known before the first poll.
    :param poll_interval: fixes the seconds between polls; ``None`` adapts.
    :param jitter: 0 to 1, this watch's own: spreads the polls of many.
    """

    generation_id: str
    submitted_at: float
    deadline: float
    median_seconds: float
    poll_interval: float | None = None
    jitter: float = 0.5
    polls: int = 0
    failures: int = 0
    _said_at: float = field(default=-math.inf, repr=False)
    _said: tuple[str, int] = field(default=("", 0), repr=False)

    def first_wait(self, now: float) -> float:
        """Return the seconds before the first poll: none for a generation that has been running for a while."""
        longest = self.poll_interval or FIRST_POLL_SECONDS
        # A clock that is behind the worker's must not make it wait longer than for one submitted just now.
        return self._clip(min(longest, max(0.0, longest - (now - self.submitted_at))), now)

    def saw(self, view: Generation, now: float) -> Step:
        """Take APIMart's answer."""
        self.polls += 1
        self.failures = 0
        if view.is_final:
            return Step(None, view, self._line(view, now))
        if now >= self.deadline:
            return Step(None, None, self._line(view, now))
        elapsed = max(0.0, now - self.submitted_at)
        interval = self.poll_interval or self._jittered(adaptive_interval(elapsed, self._median(view, elapsed)))
        return Step(self._clip(interval, now), None, self._worth_saying(view, now))

    def failed(self, error: Exception, now: float) -> Step:
        """Take an error: nothing is concluded from it."""
        self.polls += 1
        self.failures += 1
        if now >= self.deadline:
            text = f"no usable answer about generation {self.generation_id} by its deadline: {error}"
            return Step(None, None, text, True)
        seconds = error_interval(self.failures, error)
        # Spread upwards only: a Retry-After is a floor.
        seconds = self._clip(seconds * (1 + 0.1 * self.jitter), now)
        # The 1st, 2nd, 4th, 8th… in a row: told, but not over and over.
        say = self.failures & (self.failures - 1) == 0
        text = (
            f"no usable answer about generation {self.generation_id} ({self.failures} in a row): {error}. "
            f"That ends nothing; asking again in {seconds:.0f} s"
        )
        return Step(seconds, None, text if say else None, True)

    def _median(self, view: Generation, elapsed: float) -> float:
        if view.progress and view.progress >= 10:
            return max(elapsed + 1, elapsed * 100 / view.progress)
        # APIMart's estimates have been seen four times too high, never too low.
        if view.estimated_seconds and view.estimated_seconds > 0:
            return max(1.0, min(self.median_seconds, view.estimated_seconds))
        return self.median_seconds

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.9 + 0.2 * self.jitter)

    def _clip(self, seconds: float, now: float) -> float:
        # The last poll comes at the deadline, not before it and not long after it.
        return max(0.0, min(seconds, self.deadline - now))

    def _worth_saying(self, view: Generation, now: float) -> str | None:
        status, progress = self._said
        since = now - self._said_at
        changed = view.status != status or (view.progress or 0) >= progress + SAY_PROGRESS_STEP
        if since >= SAY_EVERY_SECONDS or (changed and since >= SAY_AT_LEAST_SECONDS):
            self._said_at, self._said = now, (view.status, view.progress or 0)
            return self._line(view, now)
        return None

    def _line(self, view: Generation, now: float) -> str:
        elapsed = max(0.0, now - self.submitted_at)
        parts = [str(view.status)]
        if view.progress is not None:
            parts[0] += f" {view.progress} %"
        parts.append(f"{elapsed:.0f} s")
        if not view.is_final:
            left = self._median(view, elapsed) - elapsed
            parts.append(f"about {left:.0f} s left" if left > 1 else "taking longer than usual")
        return ", ".join(parts)
