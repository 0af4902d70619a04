"""How fast an account may be asked: one gate for all its requests in this process. Pure; it is told the time.

A ceiling that the user states is kept exactly, with no minute over it. Below it, and where nobody knows one, the pace
follows APIMart's 429s: each pauses the whole account for as long as it says, and what was let through meanwhile, less
a tenth, is what is asked from then on. The pace then grows by the same amount a minute in every process, so that
several of them on one account end up with like shares without a word to each other (additive increase, multiplicative
decrease).

A host that does not answer several times in a row is left alone for a growing while; then one request tries it, and the
pace begins low and doubles until it is what it was.
"""

from __future__ import annotations

import math
import random
from collections import deque

#: Of the user's ceiling, for the differences of two clocks.
OF_LIMIT = 0.99
#: What an event loop may be late for and still catch up on.
CATCH_UP_SECONDS = 0.25
WINDOW_SECONDS = 60.0
MAX_PAUSE_SECONDS = 300.0
#: Who sends nothing for longer than this, though it may, does not measure what would have been let through.
IDLE_SECONDS = 1.0
#: After a 429, and after one that follows so soon that the last cut was plainly too small.
CUT, DEEP_CUT, SOON_SECONDS = 0.9, 0.7, 15.0
#: But no deeper than to a little under what was let through.
LEAST_OF_MEASURED = 0.9
LEAST_PER_SECOND = 0.1
#: What is supposed to be let through in the time that nothing was measured in, as a share of the ceiling: who comes
#: late to a full account begins with that, and not with the crumbs that those before it leave.
UNMEASURED_SHARE = 0.5
#: The pace is held for a while after a cut, then it grows: by this share of the ceiling a second, the same in every
#: process; where no ceiling is known, as if it were this many requests a minute.
HOLD_SECONDS, GROWTH_SHARE, UNKNOWN_PER_MINUTE = 20.0, 0.0006, 500.0
#: And ever faster, so that a limit that was lifted is noticed: by half after five minutes.
GROWTH_SECONDS = 420.0
#: So many failures in a row say that the host is dead, if it has answered nothing for so long; or so many at once. It
#: is left alone for the first of these breaks, at most the last.
DEAD_AFTER, SILENT_SECONDS, DEAD_AT_ONCE = 5, 10.0, 30
FIRST_BREAK_SECONDS, LONGEST_BREAK_SECONDS = 5.0, 120.0
#: After a break the pace begins here (requests a second) and doubles in this time.
RAMP_PER_SECOND, RAMP_DOUBLES_SECONDS = 2.0, 2.0


class Gate:
    """Says when the next request may be sent. Times are seconds of one clock that does not jump.

    :param per_minute: the most requests in any minute; ``None`` where nobody knows.
    :param dice: spreads what many processes do after the same event.
    """

    def __init__(self, per_minute: float | None, dice: random.Random | None = None) -> None:
        self.limit = math.inf
        self._after_cut = math.inf
        self._cut_at = -math.inf
        # When the next may be sent: evenly spaced, and each late by a part of the distance. Without that one process
        # takes every place the moment that it is free again, and another finds none for ever.
        self._next, self._late = -math.inf, 0.0
        self._paused_until = -math.inf
        self._passed: deque[float] = deque()
        #: When nothing was sent that might have been: the end and the length.
        self._idle: deque[tuple[float, float]] = deque()
        self._taken = -math.inf
        self._refusals = 0
        self.cuts = 0
        # When the last pause ended; before the first there is none to have come too soon after.
        self._resumed = -math.inf
        self._dice = dice or random.Random()  # noqa: S311 - it spreads load, and hides nothing
        self._failures = 0
        self._answered_at = -math.inf
        self._breaks = 0
        self._broken_at = -math.inf
        self._ramp_from: float | None = None
        self.set_limit(per_minute)

    def set_limit(self, per_minute: float | None, now: float = -math.inf) -> None:
        """Keep another ceiling from now on."""
        before, self.limit = self.limit, math.inf if per_minute is None else per_minute / 60 * OF_LIMIT
        if self.limit < before:
            # What was sent a moment ago counts already.
            self._next = max(self._next, now + 1 / self.limit)

    @property
    def free_at(self) -> float:
        """When the next request may be sent."""
        return max(self._next + self._late, self._paused_until)

    @property
    def broken(self) -> bool:
        """Say whether the host is taken for dead."""
        return self._breaks > 0

    def rate(self, now: float) -> float:
        """Return how many requests a second are sent now, at most."""
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
        """Say whether there is a pause that is not over."""
        return now < self._paused_until

    def take(self, now: float) -> None:
        """A request is sent."""
        idle = now - max(self._taken, self.free_at)
        if IDLE_SECONDS < idle < math.inf:
            self._idle.append((now, idle))
        self._taken = now
        if self._breaks:
            # One at a time tries whether the host is back; the next follows when this one has had its time.
            self._paused_until = now + self._break()
        rate = self.rate(now)
        if not math.isinf(rate):
            # Who was late on purpose has missed nothing.
            self._next = max(self._next, now - self._late - min(CATCH_UP_SECONDS, 1 / rate)) + 1 / rate
            self._late = self._dice.random() * self._room(rate) / rate

    def _room(self, rate: float) -> float:
        """Return by how many requests this pace may be uneven, at most one, with no minute over the ceiling."""
        return min(1.0, max(0.0, (self.limit / OF_LIMIT - rate) * WINDOW_SECONDS - 1))

    def passed(self, now: float) -> None:
        """A request was answered, and not with a 429."""
        self._refusals = self._failures = 0
        self._answered_at = now
        if self._breaks:
            self._breaks, self._ramp_from, self._paused_until = 0, now, now
            self._next = max(self._next, now)
        self._passed.append(now)
        self._forget(now)

    def failed(self, now: float, sent_at: float, failing_since: float | None = None) -> bool:
        """A request had no usable answer. Says whether the host is taken for dead because of it.

        :param sent_at: when it was sent; what was sent before the last break teaches nothing new.
        :param failing_since: when the same had no usable answer for the first time, if it had none before either. As
            long as others are answered, that says nothing of the host.
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
        """A request was answered with a 429. Says whether that was news.

        :param sent_at: when it was sent; what was sent before the last cut teaches nothing new.
        """
        # 0, or a date by a clock that is behind ours, is no word on how long to wait.
        asked = retry_after if retry_after and retry_after > 0 else 2.0 ** min(self._refusals, 5)
        pause = min(MAX_PAUSE_SECONDS, asked)
        self._failures, self._answered_at = 0, now
        if self._breaks:
            # It answers: no break any more, whatever the answer is.
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
        """Return how many requests a second were let through lately.

        The pause counts: so many were let through until the next may follow. Of the rest of the minute, and of the time
        in which there was nothing to send, nothing is known: others may have filled the account.
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
