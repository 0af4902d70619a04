"""How fast an account may be called: one rate limiter for all its requests in this process. Pure: the caller passes the
time.

A ceiling that the user sets is kept exactly: no minute exceeds it. Below it, and where there is none, the rate follows
APIMart's 429s. Each 429 pauses the whole account for as long as it says; the rate then continues at what was let
through before, less a tenth. From there it grows by the same amount per minute in every process, so that several
processes on one account reach similar shares without communicating (additive increase, multiplicative decrease).

A host that fails several times in a row is left alone for a growing time (a circuit breaker). Then one request tests
it, and the rate starts low and doubles until it is what it was.
"""

from __future__ import annotations

import math
import random
from collections import deque

#: The share of the user's ceiling that is used, since two clocks may differ.
OF_LIMIT = 0.99
#: How late an event loop may be and still catch up.
CATCH_UP_SECONDS = 0.25
WINDOW_SECONDS = 60.0
MAX_PAUSE_SECONDS = 300.0
#: A longer time without sending, though sending was allowed, does not count as a measurement of what is let through.
IDLE_SECONDS = 1.0
#: Factors after a 429, and after one that follows so soon that the last cut was too small.
CUT, DEEP_CUT, SOON_SECONDS = 0.9, 0.7, 15.0
#: The cut stops a little below what was let through.
LEAST_OF_MEASURED = 0.9
LEAST_PER_SECOND = 0.1
#: What is assumed for time in which nothing was measured, as a share of the ceiling. A process that joins a full
#: account late starts with that, not with the little that the others leave.
UNMEASURED_SHARE = 0.5
#: After a cut the rate is held for a while. Then it grows by this share of the ceiling per second, the same in every
#: process; without a ceiling, as if the ceiling were this many requests a minute.
HOLD_SECONDS, GROWTH_SHARE, UNKNOWN_PER_MINUTE = 20.0, 0.0006, 500.0
#: Growth accelerates, so that a lifted limit is noticed: by half after five minutes.
GROWTH_SECONDS = 420.0
#: The host counts as dead after this many failures in a row if it has answered nothing for so long, or after the larger
#: number at once: more than are in flight, which break all together when a gateway restarts. Breaks start at the first
#: length and grow to the last.
DEAD_AFTER, SILENT_SECONDS, DEAD_AT_ONCE = 5, 10.0, 90
FIRST_BREAK_SECONDS, LONGEST_BREAK_SECONDS = 5.0, 120.0
#: After a break the rate starts here (requests a second) and doubles in this time.
RAMP_PER_SECOND, RAMP_DOUBLES_SECONDS = 2.0, 2.0


class RateLimiter:
    """Decides when the next request may be sent. All times are seconds of one monotonic clock.

    :param per_minute: the most requests in any minute; ``None`` if unknown.
    :param dice: randomness that spreads what many processes do after the same event.
    """

    def __init__(self, per_minute: float | None, dice: random.Random | None = None) -> None:
        self.limit = math.inf
        self._after_cut = math.inf
        self._cut_at = -math.inf
        # When the next request may be sent: evenly spaced, each delayed by a random part of the distance. Without the
        # delay one process would take every free place at once, and another would never find one.
        self._next, self._late = -math.inf, 0.0
        self._paused_until = -math.inf
        self._passed: deque[float] = deque()
        #: Idle times, in which something might have been sent: end and length.
        self._idle: deque[tuple[float, float]] = deque()
        self._taken = -math.inf
        self._refusals = 0
        self.cuts = 0
        # When the last pause ended; minus infinity before the first.
        self._resumed = -math.inf
        self._dice = dice or random.Random()  # noqa: S311 - it spreads load, and hides nothing
        self._failures = 0
        self._answered_at = -math.inf
        self._breaks = 0
        self._broken_at = -math.inf
        self._ramp_from: float | None = None
        self.set_limit(per_minute)

    def set_limit(self, per_minute: float | None, now: float = -math.inf) -> None:
        """Use another ceiling from now on."""
        before, self.limit = self.limit, math.inf if per_minute is None else per_minute / 60 * OF_LIMIT
        if self.limit < before:
            # Requests sent a moment ago count already.
            self._next = max(self._next, now + 1 / self.limit)

    @property
    def free_at(self) -> float:
        """When the next request may be sent."""
        return max(self._next + self._late, self._paused_until)

    @property
    def broken(self) -> bool:
        """Return whether the host is taken for dead."""
        return self._breaks > 0

    def rate(self, now: float) -> float:
        """Return the highest number of requests a second at present."""
        rate = min(self.limit, self._grown(now))
        if self._ramp_from is not None:
            ramp: float = RAMP_PER_SECOND * 2.0 ** min(60.0, (now - self._ramp_from) / RAMP_DOUBLES_SECONDS)
            if ramp < rate:
                return ramp
            self._ramp_from = None if ramp > 1e6 else self._ramp_from
        return rate

    def _grown(self, now: float) -> float:
        since = now - self._cut_at - HOLD_SECONDS
        if since <= 0 or math.isinf(self._after_cut):
            return self._after_cut
        return self._after_cut + since * GROWTH_SHARE * self._ceiling + self._after_cut * (since / GROWTH_SECONDS) ** 2

    @property
    def _ceiling(self) -> float:
        return UNKNOWN_PER_MINUTE / 60 if math.isinf(self.limit) else self.limit

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may be sent."""
        return max(0.0, self.free_at - now)

    def paused(self, now: float) -> bool:
        """Return whether a pause is in effect."""
        return now < self._paused_until

    def take(self, now: float) -> None:
        """Count a request that is being sent."""
        idle = now - max(self._taken, self.free_at)
        if IDLE_SECONDS < idle < math.inf:
            self._idle.append((now, idle))
        self._taken = now
        if self._breaks:
            # Requests test the host one at a time; the next follows when this one has had its time.
            self._paused_until = now + self._break()
        rate = self.rate(now)
        if not math.isinf(rate):
            # A deliberate delay is not a missed chance.
            self._next = max(self._next, now - self._late - min(CATCH_UP_SECONDS, 1 / rate)) + 1 / rate
            self._late = self._dice.random() * self._room(rate) / rate

    def _room(self, rate: float) -> float:
        """Return how uneven the spacing may be, in requests (at most one), with no minute over the ceiling."""
        return min(1.0, max(0.0, (self.limit / OF_LIMIT - rate) * WINDOW_SECONDS - 1))

    def passed(self, now: float) -> None:
        """Note an answer other than a 429."""
        self._refusals = self._failures = 0
        self._answered_at = now
        if self._breaks:
            self._breaks, self._ramp_from, self._paused_until = 0, now, now
            self._next = max(self._next, now)
        self._passed.append(now)
        self._forget(now)

    def failed(self, now: float, sent_at: float, failing_since: float | None = None) -> bool:
        """Note a request without a usable answer. Return whether the host is now taken for dead.

        :param sent_at: when it was sent; requests sent before the last break teach nothing new.
        :param failing_since: when the same question first had no usable answer, if it had none before either. As long
            as others are answered, that says nothing about the host.
        """
        self._passed.append(now)
        self._forget(now)
        if sent_at < self._broken_at:
            return False
        silent = now - self._answered_at
        others = failing_since is not None and failing_since < self._answered_at
        if others and not self._breaks and silent < WINDOW_SECONDS:
            return False
        self._failures += 1
        enough = self._failures >= (DEAD_AFTER if silent >= SILENT_SECONDS else DEAD_AT_ONCE)
        if not enough and not self._breaks:
            return False
        self._breaks += 1
        self._broken_at = now
        self._paused_until = max(self._paused_until if self._breaks == 1 else now, now + self._break())
        return True

    def _break(self) -> float:
        length = min(LONGEST_BREAK_SECONDS, FIRST_BREAK_SECONDS * 2.0 ** min(self._breaks - 1, 10))
        return length * self._dice.uniform(0.75, 1.25)

    def refused(self, now: float, sent_at: float, retry_after: float | None) -> bool:
        """Note a 429. Return whether it was news.

        :param sent_at: when it was sent; requests sent before the last cut teach nothing new.
        """
        # 0, or a date from a clock behind ours, does not say how long to wait.
        asked = retry_after if retry_after and retry_after > 0 else 2.0 ** min(self._refusals, 5)
        pause = min(MAX_PAUSE_SECONDS, asked)
        self._failures, self._answered_at = 0, now
        if self._breaks:
            # The host answers, so the break is over, whatever the answer is.
            self._breaks, self._ramp_from, self._paused_until = 0, now, now
        self._paused_until = max(self._paused_until, now + pause)
        news = sent_at >= self._cut_at
        if news:
            cut = self._cut(now, pause, soon=sent_at - self._resumed < SOON_SECONDS)
            self._after_cut = max(LEAST_PER_SECOND, cut)
            self._cut_at = now
            self._refusals += 1
            self.cuts += 1
            self._resumed = self._paused_until
        return news

    def _cut(self, now: float, pause: float, *, soon: bool) -> float:
        rate, let_through = self.rate(now), self._measured(now, pause)
        if soon:
            return min(CUT * rate, max(DEEP_CUT * rate, LEAST_OF_MEASURED * let_through))
        return CUT * min(rate, let_through)

    def _measured(self, now: float, pause: float) -> float:
        """Return how many requests a second were let through recently.

        The pause counts: this many were let through until the next may follow. The rest of the minute, and idle time,
        count as unknown, since others may have filled the account.
        """
        self._forget(now)
        count, supposed = len(self._passed), UNMEASURED_SHARE * self._ceiling
        if not count:
            return min(self.rate(now), supposed)
        idle = sum(min(length, max(0.0, end - self._passed[0])) for end, length in self._idle)
        measured = max(1.0, min(WINDOW_SECONDS, now - self._passed[0] + pause) - idle)
        with_rest = (count + supposed * (WINDOW_SECONDS - measured)) / WINDOW_SECONDS
        return min(self.rate(now), max(count / measured, with_rest))

    def _forget(self, now: float) -> None:
        while self._passed and self._passed[0] <= now - WINDOW_SECONDS:
            self._passed.popleft()
        while self._idle and self._idle[0][0] <= now - WINDOW_SECONDS:
            self._idle.popleft()
