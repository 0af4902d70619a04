"""The progress lines of a batch: counts, money and the time left, at intervals that suit a reader of the log."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from airflow_provider_apimart.generation.batch.states import Outcome

SAY_FIRST_SECONDS = 10.0
SAY_EVERY_SECONDS = (30.0, 300.0)
RECENT = 200
#: The gaps between two lines about the same trouble.
TROUBLE_FIRST_SECONDS, TROUBLE_LONGEST_SECONDS = 60.0, 1800.0


@dataclass(slots=True)
class Pace:
    """When to log a line again that each of many polls would log: at once, then at gaps that double."""

    _gap: float = 0.0
    _said_at: float | None = None

    def due(self, now: float) -> bool:
        """Say whether the line is due, and if so, count it as logged."""
        if self._said_at is not None and now - self._said_at < self._gap:
            return False
        self._gap = min(TROUBLE_LONGEST_SECONDS, max(TROUBLE_FIRST_SECONDS, 2 * self._gap))
        self._said_at = now
        return True

    def over(self) -> bool:
        """Begin anew, and say whether anything was logged."""
        logged, self._gap, self._said_at = self._said_at is not None, 0.0, None
        return logged


@dataclass
class Progress:
    """The counts of a batch.

    :param total: all its rows.
    :param started: when this run of the engine began, in unix seconds.
    """

    total: int
    started: float
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    running: int = 0
    landing: int = 0
    spent_usd: float = 0.0
    _ended: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT), repr=False)
    _said_at: float | None = field(default=None, repr=False)

    @property
    def done(self) -> int:
        """Rows with a final outcome."""
        return self.outcomes.total()

    @property
    def good(self) -> int:
        """Rows whose videos are in storage."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.good)

    @property
    def failed(self) -> int:
        """Rows that ended without their videos."""
        return self.done - self.good

    def ended(self, outcome: Outcome, now: float | None = None) -> None:
        """Count a row, and note the time if this run ended it."""
        self.outcomes[outcome] += 1
        if now is not None:
            self._ended.append(now)

    def due(self, now: float) -> float:
        """Return the seconds until the next log line."""
        if self._said_at is None:
            return max(0.0, self.started + SAY_FIRST_SECONDS - now)
        least, most = SAY_EVERY_SECONDS
        return max(0.0, self._said_at + min(most, max(least, (now - self.started) / 20)) - now)

    def line(self, now: float) -> str:
        """Return the line for the log."""
        self._said_at = now
        parts = [f"{self.good:,}/{self.total:,} done", f"{self.failed:,} failed", f"{self.running:,} running"]
        if self.landing:
            parts.append(f"{self.landing:,} landing")
        parts.append(f"${self.spent_usd:,.2f} so far")
        left = self.seconds_left(now)
        if left is not None:
            parts.append(f"about {spoken(left)} left")
        return ", ".join(parts)

    def seconds_left(self, now: float) -> float | None:
        """Return how long the rest will take at the rate of the most recent rows; ``None`` if not known yet."""
        rest = self.total - self.done
        if len(self._ended) < 2 or rest <= 0:
            return None
        began = self.started if len(self._ended) < RECENT else self._ended[0]
        return rest * max(0.0, now - began) / len(self._ended)


def spoken(seconds: float) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3 h 10 min``."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes / 5) * 5, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
