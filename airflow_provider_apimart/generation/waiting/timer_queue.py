"""A timer queue on a clock that stands still while not everything due can be sent. Pure: the caller passes the time.

Due times are kept in *queue time*. It runs like real time, but never gets far ahead of the first item that is due and
unsent, whatever held that item up: an account's limit or pause, slow answers, a blocked event loop. So when more is
wanted than can be sent, all waits grow by the same factor, including those already queued, and shrink again when there
is room. Nothing piles up after an interruption, because items keep their distances. Nobody has to know how much can be
sent. A caller who knows that more is wanted than fits may let the clock skip idle time.

An item may have a latest time, which is real. Once that has come it goes before all others, however the waits grow.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: How far the clock may run ahead: a short queue, so that no time is lost between two due items.
AHEAD_SECONDS = 1.0
#: Sums of seconds are off by less than this, so an item due within it counts as due.
TICK_SECONDS = 1e-3
#: Cancelled items are removed when there are more than this, and more than half of all.
SWEPT_FROM = 64


class QueuedItem(Generic[T]):
    """An entry of the queue. ``item`` is ``None`` once it was cancelled or taken."""

    __slots__ = ("item", "soonest")

    def __init__(self, item: T, soonest: float) -> None:
        self.item: T | None = item
        self.soonest = soonest


class TimerQueue(Generic[T]):
    """A queue of items by due time.

    ``now`` is always in seconds of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._heap: list[tuple[float, int, QueuedItem[T]]] = []
        #: Those that have a latest time, by that time.
        self._latest: list[tuple[float, int, QueuedItem[T]]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._time = 0.0
        self._seen = now

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def put(self, item: T, wait: float, now: float, *, least: float = 0.0, latest: float = math.inf) -> QueuedItem[T]:
        """Queue an item.

        :param wait: seconds of queue time until it is due.
        :param least: seconds of real time that must pass at least.
        :param latest: seconds of real time after which it goes before all others; not less than ``least``.
        """
        self._advance(now)
        queued = QueuedItem(item, now + least)
        heapq.heappush(self._heap, (self._time + wait, next(self._order), queued))
        if latest < math.inf:
            heapq.heappush(self._latest, (now + latest, next(self._order), queued))
            if len(self._latest) > 2 * len(self) + SWEPT_FROM:
                self._latest = [place for place in self._latest if place[2].item is not None]
                heapq.heapify(self._latest)
        return queued

    def cancel(self, queued: QueuedItem[T]) -> None:
        """Cancel an item that is still queued."""
        queued.item = None
        self._cancelled += 1
        if self._cancelled > SWEPT_FROM and self._cancelled > len(self._heap) / 2:
            self._heap = [place for place in self._heap if place[2].item is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def wait(self, now: float, *, full: bool = False) -> float | None:
        """Return the seconds until the first item is due, 0 if it is due now, ``None`` if the queue is empty.

        :param full: more is wanted than can be sent, so no time should be idle: the clock jumps to the first item as
            soon as that one may be sent.
        """
        self._advance(now)
        latest = self._next_latest()
        if latest <= now:
            return 0.0
        while self._heap:
            due, order, queued = self._heap[0]
            ahead, left = due - self._time, queued.soonest - now
            if full and left <= TICK_SECONDS:
                self._time = max(self._time, due)
                return 0.0
            if ahead > TICK_SECONDS:
                return min(latest - now, ahead, left) if full else min(latest - now, ahead)
            if left <= TICK_SECONDS:
                return 0.0
            heapq.heapreplace(self._heap, (self._time + left, order, queued))
            self._sweep_head()
        return None

    def pop(self) -> T:
        """Remove and return the first item, which must be due."""
        if self._next_latest() <= self._seen:
            queued = self._latest[0][2]
            item = queued.item
            self.cancel(queued)
        else:
            queued = heapq.heappop(self._heap)[2]
            item, queued.item = queued.item, None
        if item is None:
            raise AssertionError("wait() leaves none at the head that was cancelled")
        return item

    def pop_least(self, key: Callable[[T], tuple[float, ...]]) -> T:
        """Remove and return the item with the least key, due or not. The queue must not be empty."""
        there = ((queued.item, queued) for _, _, queued in self._heap if queued.item is not None)
        item, queued = min(there, key=lambda each: key(each[0]))
        self.cancel(queued)
        return item

    def drain(self) -> list[T]:
        """Remove and return everything, in no order."""
        items = [queued.item for _, _, queued in self._heap if queued.item is not None]
        self._heap.clear()
        self._latest.clear()
        self._cancelled = 0
        return items

    def _advance(self, now: float) -> None:
        self._sweep_head()
        time = self._time + now - self._seen
        if self._heap:
            time = min(time, max(self._time, self._heap[0][0] + AHEAD_SECONDS))
        self._time, self._seen = time, now

    def _next_latest(self) -> float:
        """Return when the first latest time comes."""
        while self._latest and self._latest[0][2].item is None:
            heapq.heappop(self._latest)
        return self._latest[0][0] if self._latest else math.inf

    def _sweep_head(self) -> None:
        while self._heap and self._heap[0][2].item is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
