"""One contestant's triggers in one event loop, as in a triggerer: the parent starts it and sends an order as JSON.

The order comes on stdin. The main thread runs the loop, with a ticker that is due every 10 ms. A second thread keeps
the time: it takes the figures when the window begins and ends, prints them as JSON and ends the process. So even a loop
that stalls for minutes ends on time, with the figures that it reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import json
import logging
import os
import resource
import sys
import threading
import time
import warnings
from array import array
from typing import Any, TextIO

import psutil

from benchmarks.measurements.figures import lag
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.servers.status import WARM_UP_INDEX, Job

STEP = 0.01
WARM_UP_SECONDS = 3.0
#: A loop that has not turned for this long counts as stalled: its window begins, or ends.
STALL_SECONDS = 10.0


class Child:
    """The run of one contestant.

    :param order: ``contestant`` and ``url``; ``jobs``: ``[index, starts after so many seconds, takes seconds, interval
        or null]`` of each; ``warm``: seconds before the window; ``seconds``: of the window at most; ``until_done``: end
        it when all jobs are done.
    :param told: the stream that the figures are written to.
    """

    def __init__(self, order: dict[str, Any], told: TextIO) -> None:
        self.order = order
        self.told = told
        self.contestant = CONTESTANTS[order["contestant"]]
        self.process = psutil.Process()
        self.wakes = array("d")
        self.started = 0
        self.events: dict[int, tuple[float, bool, str]] = {}
        self.origin = self.first = 0.0
        self.rss_before = 0
        self.done = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Run until the time is over."""
        self.contestant.prepare(self.order["url"])
        try:
            asyncio.run(self.loop())
        except BaseException as error:
            self.failed = error
            if not self.origin:
                raise
        # The timekeeping thread ends the process.
        self.done.set()
        threading.Event().wait()

    async def loop(self) -> None:
        """Start all triggers, each at its time, and wait."""
        await self.warm_up()
        self.origin = time.time()
        threading.Thread(target=self.keep_time, daemon=True).start()
        ticker = asyncio.create_task(self.tick())
        async with asyncio.TaskGroup() as group:
            for index, start, takes, interval in self.order["jobs"]:
                # Overdue triggers start at once. Otherwise a stalled loop would hold fewer triggers than it was given.
                if (pause := self.origin + start - time.time()) > 0:
                    await asyncio.sleep(pause)
                group.create_task(self.wait(Job(self.origin + start, takes, index), interval))
                self.started += 1
        ticker.cancel()

    async def warm_up(self) -> None:
        """Let one trigger poll once, so that imports and shared resources are not counted for any trigger."""
        self.first = time.time()
        trial = asyncio.create_task(self.wait(Job(self.first - 3600, 1e6, WARM_UP_INDEX), 60.0))
        await asyncio.sleep(WARM_UP_SECONDS)
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        self.events.clear()
        gc.collect()
        # Memory that is already free would hide part of what the triggers use.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        self.rss_before = self.process.memory_info().rss

    async def wait(self, job: Job, interval: float | None) -> None:
        """Run one trigger to its first event, as the triggerer does."""
        trigger = self.contestant.make(job, interval)
        ok, text = False, "no event"
        try:
            async for event in trigger.run():
                ok, text = self.contestant.succeeded(event.payload), str(event.payload)[:200]
                break
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:200]
        self.events[job.index] = time.time() - job.ends, ok, "" if ok else text

    async def tick(self) -> None:
        """Note each time the loop reaches the ticker."""
        while True:
            self.wakes.append(time.time())
            await asyncio.sleep(STEP)

    def keep_time(self) -> None:
        """Wait for the window to end, then print the figures."""
        self.sleep_until(self.origin + self.order["warm"], self.origin)
        begin, cpu = time.time(), self.cpu()
        self.sleep_until(begin + self.order["seconds"], begin)
        if self.order["until_done"] and self.done.is_set():
            begin = self.origin
        end, used = time.time(), self.cpu() - cpu
        rss = self.process.memory_info().rss
        events = dict(self.events)
        found = {
            "begin": begin,
            "end": end,
            "origin": self.origin,
            "first": self.first,
            "started": self.started,
            "cpu_seconds": used,
            "rss_growth": rss - self.rss_before,
            "lag": dataclasses.asdict(lag(list(self.wakes), STEP, begin, end)),
            "delays": {index: delay for index, (delay, ok, _) in events.items() if ok},
            "lost": sum(1 for _, ok, _ in events.values() if not ok),
            "lost_example": next((text for _, ok, text in events.values() if not ok), None),
            "error": repr(self.failed) if self.failed else None,
        }
        self.told.write(json.dumps(found) + "\n")
        self.told.flush()
        os._exit(0)

    def sleep_until(self, moment: float, since: float) -> None:
        """Sleep until a moment; end early if the loop has stalled, or if all jobs are done and the order says so.

        :param since: a stall before this moment does not count.
        """
        while (left := moment - time.time()) > 0:
            if self.done.is_set() and (self.order["until_done"] or self.failed):
                return
            # A run that measures the whole life of jobs may recover from a stall.
            last = max(since, self.wakes[-1] if self.wakes else since)
            if not self.order["until_done"] and time.time() - last > STALL_SECONDS:
                return
            time.sleep(min(left, 0.2))

    @staticmethod
    def cpu() -> float:
        """Return the CPU seconds of this process so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime


def main() -> None:
    """Read the order and run it."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    order = json.loads(sys.stdin.readline())
    # Other output, also from other threads, must not mix with the figures.
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    # Some contestants log a line for each poll, which in a triggerer costs more than the poll. No contestant's logging
    # is counted here.
    import airflow.triggers.base  # noqa: F401 - sets up the logging that is switched off next

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    Child(order, told).run()


if __name__ == "__main__":
    main()
