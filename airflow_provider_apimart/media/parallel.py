"""Does the same work on many videos, several at once. The work runs in child processes; threads wait for them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from airflow_provider_apimart.media.child import stop_children

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How many items for each thread are taken ahead of the one whose result is due.
AHEAD = 16


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with its result, in the order of the items.

    Items are taken as there is room for them, so a long table is not held in memory. An error of ``work`` ends
    everything: work that may go on after an error returns it. So does closing the iterator.
    """
    waiting = iter(items)
    running: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="media") as pool:
        try:
            while True:
                for item in islice(waiting, at_once * AHEAD - len(running)):
                    running.append((item, pool.submit(work, item)))
                if not running:
                    return
                item, future = running[0]
                result = future.result()
                running.popleft()
                yield item, result
        except BaseException:
            # Airflow may be ending the task: nobody waits for what is still running, or for what it would start next.
            futures = [future for _, future in running if not future.cancel()]
            while wait(futures, timeout=0.1).not_done:
                stop_children()
            raise
