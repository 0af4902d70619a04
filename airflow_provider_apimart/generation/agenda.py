"""Who is asked about next, on a clock that stands still while not everything fits. Pure; it is told the time.

What is due when is kept in *agenda time*. It runs as the world's does, but never far ahead of the first that is due and
was not sent, whatever held that one up: an account's limit or pause, slow answers, an event loop that was blocked. So
where more is wanted than can be sent everybody waits longer by the same factor, what is planned already included; when
there is room again all come sooner again; and what could not be sent for a while is no herd afterwards, for all go on
at the distances that they had. Nobody has to know how much can be sent. Who knows that more is wanted than fits may
have it leap over an idle time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: How far ahead: a queue, so that nothing is idle between two that are due.
AHEAD_SECONDS = 1.0
#: Sums of seconds are off by less than this: what is due in less is due.
TICK_SECONDS = 1e-3
#: What was cancelled is swept out when there is more of it than this, and than half of all.
SWEPT_FROM = 64


class Slot(Generic[T]):
    """A place in the agenda. ``item`` is ``None`` once it was cancelled."""

    __slots__ = ("item", "soonest")

    def __init__(self, item: T, soonest: float) -> None:
        self.item: T | None = item
        self.soonest = soonest


class Agenda(Generic[T]):
    """A queue of what is due when.

    Methods that are told ``now`` mean the seconds of a clock that does not jump.
    """

    def __init__(self, now: float) -> None:
        self._heap: list[tuple[float, int, Slot[T]]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._time = 0.0
        self._seen = now

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def put(self, item: T, wait: float, now: float, *, least: float = 0.0) -> Slot[T]:
        """Have something come up.

        :param wait: the seconds of agenda time until then.
        :param least: no sooner than after so many seconds of the world's.
        """
        self._advance(now)
        slot = Slot(item, now + least)
        heapq.heappush(self._heap, (self._time + wait, next(self._order), slot))
        return slot

    def cancel(self, slot: Slot[T]) -> None:
        """Take something back that has not come up."""
        slot.item = None
        self._cancelled += 1
        if self._cancelled > SWEPT_FROM and self._cancelled > len(self._heap) / 2:
            self._heap = [place for place in self._heap if place[2].item is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def wait(self, now: float, *, full: bool = False) -> float | None:
        """Return the seconds until the first is due, 0 when it is; ``None`` when there is nothing.

        :param full: more is wanted than can be sent, so that nothing should be idle: the clock leaps to the first as
            soon as that one may come.
        """
        self._advance(now)
        while self._heap:
            due, order, slot = self._heap[0]
            ahead, left = due - self._time, slot.soonest - now
            if full and left <= TICK_SECONDS:
                self._time = max(self._time, due)
                return 0.0
            if ahead > TICK_SECONDS:
                return min(ahead, left) if full else ahead
            if left <= TICK_SECONDS:
                return 0.0
            heapq.heapreplace(self._heap, (self._time + left, order, slot))
            self._sweep_head()
        return None

    def pop(self) -> T:
        """Return the first, which is due, and forget it."""
        item = heapq.heappop(self._heap)[2].item
        if item is None:
            raise AssertionError("wait() leaves none at the head that was cancelled")
        return item

    def pop_least(self, key: Callable[[T], tuple[float, ...]]) -> T:
        """Return the one with the least key, due or not, and forget it. There has to be one."""
        there = ((slot.item, slot) for _, _, slot in self._heap if slot.item is not None)
        item, slot = min(there, key=lambda each: key(each[0]))
        self.cancel(slot)
        return item

    def drain(self) -> list[T]:
        """Return everything, in no order, and forget it."""
        items = [slot.item for _, _, slot in self._heap if slot.item is not None]
        self._heap.clear()
        self._cancelled = 0
        return items

    def _advance(self, now: float) -> None:
        self._sweep_head()
        time = self._time + now - self._seen
        if self._heap:
            time = min(time, max(self._time, self._heap[0][0] + AHEAD_SECONDS))
        self._time, self._seen = time, now

    def _sweep_head(self) -> None:
        while self._heap and self._heap[0][2].item is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
