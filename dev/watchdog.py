"""Decides which components of an Airflow must be restarted, as a supervisor does in production.

Airflow's scheduler ends if the database is locked for 5 s, which a busy disk can cause. It also ends with a
``StaleDataError`` if a backfill's queued runs are withdrawn while it handles them. It may also hang while it ends (it
waits for its workers). Then the process stays alive and schedules nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: How long a component may be reported as unhealthy, which Airflow does 30 s after the last heartbeat. On a busy
#: machine heartbeats are late.
PATIENCE_SECONDS = 30.0
#: A component that needs more restarts than this is broken. Another restart would only hide that.
MOST_STARTS = 5
STARTS_SECONDS = 300.0


class Watchdog:
    """Remembers since when each component has been unhealthy, and when it was restarted.

    :param names: the components that can be restarted, under their names on Airflow's command line.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self.most_starts = MOST_STARTS
        self._since: dict[str, float] = {}
        self._starts: dict[str, list[float]] = {}

    def due(self, dead: Iterable[str], health: Mapping[str, str | None], now: float) -> dict[str, str]:
        """Return the components to restart, each with the reason.

        :param dead: the components that have ended.
        :param health: what ``/api/v2/monitor/health`` says of each component.
        :param now: seconds of a monotonic clock.
        """
        ended = set(dead)
        found = {}
        for name in self._names:
            if name in ended:
                found[name] = "it has ended by itself"
            elif health.get(name.replace("-", "_")) != "unhealthy":
                self._since.pop(name, None)
            elif now - self._since.setdefault(name, now) >= PATIENCE_SECONDS:
                found[name] = f"it has been unhealthy for {now - self._since[name]:.0f} s"
        for name in found:
            self._since.pop(name, None)
            self._starts.setdefault(name, []).append(now)
        return found

    def hopeless(self, now: float) -> list[str]:
        """Return the components that do not stay up, however often they are restarted."""
        return [
            name
            for name, starts in self._starts.items()
            if sum(1 for each in starts if each > now - STARTS_SECONDS) > self.most_starts
        ]
