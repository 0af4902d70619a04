"""Keeps the index up to date: a thread of the API server that works in small steps and rests longer than it works.

It begins with the first request for a gallery, so that a server that shows none does nothing. Several API servers may
keep one index: what one has done the others find done, and each step is one short transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Engine

from airflow_provider_apimart.ui.index import feed, manifests, writing
from airflow_provider_apimart.ui.index.rows import millis
from airflow_provider_apimart.ui.index.tables import IndexUnavailableError, airflow_engine, make_ready
from airflow_provider_apimart.ui.sources.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
SETTLE_SECONDS = 60.0
PRUNE_SECONDS = 3600.0
MANIFEST_RETRY_SECONDS = 60.0
#: After an error: the database restarts, or Airflow is being upgraded.
ERROR_SECONDS = 60.0
#: It rests this many times as long as it has worked.
REST = 3.0
PRUNE_STEP = 500


class Keeper:
    """Keeps one index.

    :param engine: of Airflow's database.
    """

    def __init__(self, engine: Engine, options: Settings) -> None:
        self.engine = engine
        self.options = options
        self.trouble: str | None = None
        self._ready = False
        self._reading: manifests.Reading | None = None
        self._settled: tuple[int, str] | None = (-1, "")
        self._due = {"settle": 0.0, "prune": 0.0, "manifest": 0.0}

    def run(self, stop: threading.Event) -> None:
        """Keep the index until told to stop."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                more = self.step(datetime.now(UTC), began)
                self.trouble = None
                rest = (time.monotonic() - began) * REST if more else LOOK_SECONDS
            except IndexUnavailableError as error:
                self._ready, self.trouble, rest = False, str(error), ERROR_SECONDS
            except Exception as error:
                # Whatever it is, the API server goes on, and so does this, later.
                log.warning("The gallery's index is not kept now: %s: %s", type(error).__name__, _first_line(error))
                self.trouble = f"The index cannot be kept up to date now ({type(error).__name__})."
                # The tables may have been dropped.
                self._ready, self._reading, rest = False, None, ERROR_SECONDS
            stop.wait(rest)

    def step(self, now: datetime, clock: float) -> bool:
        """Do one small piece of work, and return whether there is more to do at once.

        :param clock: seconds that only go forward.
        """
        if not self._ready:
            make_ready(self.engine)
            self._ready = True
        if feed.step(self.engine, now):
            return True
        return self._manifests(clock) or self._settle(clock) or self._prune(now, clock)

    def _manifests(self, clock: float) -> bool:
        if self._reading is None:
            if clock < self._due["manifest"]:
                return False
            self._reading = manifests.begin(self.engine, self.options.video_roots)
            if self._reading is None:
                return False
        done = self._reading.done
        try:
            if manifests.step(self.engine, self._reading):
                return True
        except Exception:
            # Whatever is wrong with this one, the others get their turn.
            manifests.give_up(self.engine, self._reading, for_good=False)
            raise
        if self._reading.done == done:
            # Not a line of it could be read.
            self._due["manifest"] = clock + MANIFEST_RETRY_SECONDS
        self._reading = None
        return True

    def _settle(self, clock: float) -> bool:
        if clock < self._due["settle"]:
            return False
        self._settled = feed.settle(self.engine, self._settled or (-1, ""))
        if self._settled is None:
            self._due["settle"] = clock + SETTLE_SECONDS
        return self._settled is not None

    def _prune(self, now: datetime, clock: float) -> bool:
        days = self.options.index_retention_days
        if not days or clock < self._due["prune"]:
            return False
        if prune(self.engine, now - timedelta(days=days)) == PRUNE_STEP:
            return True
        self._due["prune"] = clock + PRUNE_SECONDS
        return False


def prune(engine: Engine, before: datetime) -> int:
    """Remove some of the oldest generations from the index, and return how many. Their videos stay."""
    with writing.writing(engine) as connection:
        return writing.take_out(connection, millis(before), PRUNE_STEP)


def _first_line(error: Exception) -> str:
    # An error of the database goes on with the statement and all its values.
    return (str(error).splitlines() or [""])[0][:300]


_keeper: Keeper | None = None
_lock = threading.Lock()


def keeping(options: Settings) -> Keeper:
    """Return the keeper of this process; its thread is started by the first call."""
    global _keeper
    with _lock:
        if _keeper is None:
            _keeper = Keeper(airflow_engine(), options)
            work = threading.Thread(target=_keeper.run, args=(threading.Event(),), name="apimart-index", daemon=True)
            work.start()
    return _keeper
