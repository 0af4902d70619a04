"""How fast an account may be asked: one gate for every request of a batch. Pure; the caller waits and tells the time.

A limit that the user knows is kept exactly, with no minute over it. A limit that nobody knows is learnt from APIMart's
429s: each pauses the whole account for as long as it says, and what was let through in the last minute is what is asked
from then on, a little less at first and slowly more again, so that the limit is met again after minutes and not after
seconds.
"""

from __future__ import annotations

import math
from collections import deque

#: Of the user's limit, for the differences of two clocks.
OF_LIMIT = 0.99
#: What an event loop may be late for and still catch up on.
CATCH_UP_SECONDS = 0.25
WINDOW_SECONDS = 60.0
MAX_PAUSE_SECONDS = 300.0
#: After a 429, and after one that follows so soon that the last cut was plainly too small.
CUT, DEEP_CUT, SOON_SECONDS = 0.95, 0.7, 15.0
#: But no deeper than to a little under what was let through.
LEAST_OF_MEASURED = 0.9
#: The rate is held for a while after a cut, then raised: 5 % more after a minute and a half, twice as much after six.
HOLD_SECONDS, GROWTH_SECONDS = 30.0, 300.0
LEAST_PER_SECOND = 0.1


class Gate:
    """Says when the next request may be sent.

    :param per_minute: the most requests in any minute; ``None`` where nobody knows.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.limit = math.inf if per_minute is None else per_minute / 60 * OF_LIMIT
        self._after_cut = self.limit
        self._cut_at = -math.inf
        self._next = -math.inf
        self._paused_until = -math.inf
        self._passed: deque[float] = deque()
        self._refusals = 0
        self.cuts = 0
        # When the last pause ended; before the first there is none to have come too soon after.
        self._resumed = -math.inf

    def rate(self, now: float) -> float:
        """Return how many requests a second are sent now, at most."""
        since = now - self._cut_at - HOLD_SECONDS
        if since <= 0 or math.isinf(self._after_cut):
            return self._after_cut
        return min(self.limit, self._after_cut * (1 + (since / GROWTH_SECONDS) ** 2))

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may be sent."""
        return max(0.0, self._next - now, self._paused_until - now)

    def paused(self, now: float) -> bool:
        """Say whether APIMart has asked for a pause that is not over."""
        return now < self._paused_until

    def take(self, now: float) -> None:
        """A request is sent."""
        rate = self.rate(now)
        if not math.isinf(rate):
            self._next = max(self._next, now - min(CATCH_UP_SECONDS, 1 / rate)) + 1 / rate

    def passed(self, now: float) -> None:
        """A request was answered with something else than a 429."""
        self._refusals = 0
        self._passed.append(now)
        while self._passed and self._passed[0] <= now - WINDOW_SECONDS:
            self._passed.popleft()

    def refused(self, now: float, sent_at: float, retry_after: float | None) -> bool:
        """A request was answered with a 429. Says whether that was news.

        :param sent_at: when it was sent; what was sent before the last cut teaches nothing new.
        """
        asked = retry_after if retry_after is not None else 2.0 ** min(self._refusals, 5)
        pause = min(MAX_PAUSE_SECONDS, max(0.0, asked))
        self._paused_until = max(self._paused_until, now + pause)
        news = sent_at >= self._cut_at
        if news:
            self._after_cut = max(LEAST_PER_SECOND, self._cut(now, soon=sent_at - self._resumed < SOON_SECONDS))
            self._cut_at = now
            self._refusals += 1
            self.cuts += 1
            self._resumed = self._paused_until
        return news

    def _cut(self, now: float, *, soon: bool) -> float:
        rate, let_through = self.rate(now), self._measured(now)
        if soon:
            return min(CUT * rate, max(DEEP_CUT * rate, LEAST_OF_MEASURED * let_through))
        return CUT * min(rate, let_through)

    def _measured(self, now: float) -> float:
        """Return how many requests a second were let through lately."""
        while self._passed and self._passed[0] <= now - WINDOW_SECONDS:
            self._passed.popleft()
        if not self._passed:
            return self.rate(now)
        return len(self._passed) / max(1.0, min(WINDOW_SECONDS, now - self._passed[0]))
