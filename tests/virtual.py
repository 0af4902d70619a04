"""An event loop whose time passes only while nothing is under way."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any


class _NoWait(selectors.BaseSelector):
    """Turns waiting into the passing of virtual time."""

    def __init__(self, loop: VirtualLoop, real: selectors.BaseSelector) -> None:
        self._loop, self._real = loop, real

    def select(self, timeout: float | None = None) -> Any:
        if self._loop.busy():
            # Something real is under way (a request over a socket): that is waited for in real time.
            began = time.monotonic()
            events = self._real.select(0.05 if timeout is None else min(timeout, 0.05))
            self._loop.passes(time.monotonic() - began)
            return events
        if timeout is None:
            raise RuntimeError("deadlock: nothing is due and nothing is under way")
        if timeout > 0 and (events := self._real.select(self._loop.patience)):
            return events
        self._loop.passes(max(0.0, timeout), idle=True)
        return self._real.select(0)

    def register(self, *args: Any) -> Any:
        return self._real.register(*args)

    def unregister(self, fileobj: Any) -> Any:
        return self._real.unregister(fileobj)

    def get_map(self) -> Any:
        return self._real.get_map()

    def get_key(self, fileobj: Any) -> Any:
        return self._real.get_key(fileobj)

    def modify(self, *args: Any) -> Any:
        return self._real.modify(*args)

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """:param busy: says whether something real is under way.
    :param patience: real seconds that it may begin in.
    :param on_idle: called with the seconds that pass without being waited for.
    """

    virtual = 0.0

    def __init__(
        self,
        busy: Callable[[], bool] = lambda: False,
        patience: float = 0.0,
        on_idle: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        super().__init__()
        self.busy, self.patience, self.on_idle = busy, patience, on_idle
        self._selector = _NoWait(self, self._selector)

    def passes(self, seconds: float, *, idle: bool = False) -> None:
        self.virtual += seconds
        if idle:
            self.on_idle(seconds)

    def time(self) -> float:
        return self.virtual


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def virtually(work: Callable[[], Coroutine[Any, Any, Any]], start: float = 0.0, **loop_arguments: Any) -> Any:
    """Run to the end in virtual time."""
    loop = VirtualLoop(**loop_arguments)
    loop.virtual = start
    try:
        return loop.run_until_complete(work())
    finally:
        loop.run_until_complete(_end(asyncio.all_tasks(loop)))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
