"""When to ask about a generation, learnt from how long the others of the batch took. Pure; the caller waits.

A batch makes many generations of the same kind, so after a few of them it knows better than any prior when the next one
ends. For a generation that was not finished at one time, the next question comes where the delay that is to be expected
since its end has reached a fixed price: with durations that hardly differ that is one question, right after the end.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque

from airflow_provider_apimart.generation.polling import FIRST_POLL_SECONDS, adaptive_interval

#: What one question is worth, as a share of a job's duration.
PRICE = 0.02
#: How many durations are remembered, and how many it takes to believe them.
REMEMBERED, ENOUGH = 64, 3
LEAST_SECONDS, LONGEST_SECONDS = 0.1, 60.0
#: Beyond all that was seen: by how much of what has passed the next question is put off.
BEYOND = 0.07


class Pace:
    """What is known of the durations of a batch's generations.

    :param median_seconds: how long such a job takes, by what is known before the first.
    :param fixed_seconds: fixes the seconds between questions; ``None`` learns.
    """

    def __init__(self, median_seconds: float, fixed_seconds: float | None = None) -> None:
        self.prior = median_seconds
        self.fixed = fixed_seconds
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def finished(self, unfinished_at: float, finished_at: float, told: float | None) -> None:
        """Learn from one that has finished. All in seconds since its submission.

        :param unfinished_at: when it was last seen at work; 0 for never.
        :param finished_at: when it was first seen finished.
        :param told: the duration by APIMart's word.
        """
        # Without its word, one that was found finished at the first question may have been for long: each such takes
        # the guess down by a fifth, until a question comes too early and tells where the end is.
        guess = max((unfinished_at + finished_at) / 2, 0.8 * finished_at) if told is None else told
        seconds = min(finished_at, max(unfinished_at, guess))
        self._recent.append(seconds)
        insort(self._sorted, seconds)
        if len(self._recent) > REMEMBERED:
            del self._sorted[bisect_right(self._sorted, self._recent.popleft()) - 1]

    def next_wait(self, elapsed: float, asked: bool) -> float:
        """Return the seconds until the next question about one that has run for ``elapsed`` seconds.

        :param asked: it was at work then; else nobody has asked yet.
        """
        if self.fixed is not None:
            return self.fixed if asked else max(0.0, self.fixed - elapsed)
        if len(self._recent) < ENOUGH:
            if not asked:
                return max(0.0, FIRST_POLL_SECONDS - elapsed)
            return min(adaptive_interval(elapsed, self.prior), max(LEAST_SECONDS, elapsed / 4))
        return min(LONGEST_SECONDS, max(LEAST_SECONDS if asked else 0.0, self._learnt(elapsed) - elapsed))

    def _learnt(self, elapsed: float) -> float:
        later = self._sorted[bisect_right(self._sorted, elapsed) :]
        if not later:
            return elapsed * (1 + BEYOND) + LEAST_SECONDS
        median = self._sorted[len(self._sorted) // 2]
        price = max(PRICE * median, LEAST_SECONDS / 2)
        # The mean of (t - duration) over those that end before t, per all that are left, grows with t: find where it
        # reaches the price.
        total = 0.0
        for count, seconds in enumerate(later, start=1):
            total += seconds
            reached = (price * len(later) + total) / count
            if count == len(later) or reached <= later[count]:
                return reached
        return elapsed + LONGEST_SECONDS

    @property
    def usual_seconds(self) -> float:
        """How long such a job takes, as far as is known now."""
        return self._sorted[len(self._sorted) // 2] if len(self._recent) >= ENOUGH else self.prior
