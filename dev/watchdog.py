"""Which components of an Airflow must be restarted: what a supervisor decides in production.

Airflow's scheduler ends on a database that is locked for 5 s, which a busy disk is enough for, and on a
``StaleDataError`` when a backfill's queued runs are taken back under it. It may also hang while it ends (it waits for
its workers), and then it lives on and schedules nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: How long Airflow may call a component unhealthy, which it does 30 s after its last heartbeat. A busy machine is late.
PATIENCE_SECONDS = 30.0
#: What has to be started again more often than this does not work; to start it once more would only hide it.
MOST_STARTS = 5
STARTS_SECONDS = 300.0


class Watchdog:
    """Remembers since when each component is unhealthy, and when it was started again.

    :param names: the components that can be started again, as Airflow's command line calls them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._since: dict[str, float] = {}
        self._starts: dict[str, list[float]] = {}

    def due(self, dead: Iterable[str], health: Mapping[str, str | None], now: float) -> dict[str, str]:
        """Return what is to be started again, each with the reason.

        :param dead: the components that have ended.
        :param health: what ``/api/v2/monitor/health`` says of each component.
        :param now: seconds of a clock that never goes back.
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
        """Return the components that do not stay up, however often they are started."""
        return [
            name
            for name, starts in self._starts.items()
            if sum(1 for each in starts if each > now - STARTS_SECONDS) > MOST_STARTS
        ]
