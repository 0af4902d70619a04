"""A clock for triggers that ask a real server: real time while a request is under way, and none while nothing is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.hooks.apimart import ApimartHook
from tests.virtual import virtually


class Clock:
    """:ivar asked: when each question was asked, in seconds since the trigger began."""

    def __init__(self) -> None:
        self.busy = 0
        self.asked: list[float] = []
        self.passed = 0.0
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at a time."""
        self._plans.append((when, do))

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run to the end."""

        async def all_of_it() -> Any:
            loop = asyncio.get_running_loop()
            for when, do in self._plans:
                loop.call_later(when, do)
            found = await work()
            self.passed = loop.time()
            return found

        return virtually(all_of_it, busy=lambda: self.busy > 0)


def watch_requests(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Count requests and lookups as something real that is under way."""

    def watched(function: Callable[..., Any], note: bool) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            clock.busy += 1
            if note:
                clock.asked.append(asyncio.get_running_loop().time())
            try:
                return await function(*args, **kwargs)
            finally:
                clock.busy -= 1

        return call

    monkeypatch.setattr(AsyncApimartClient, "send", watched(AsyncApimartClient.send, True))
    monkeypatch.setattr(AsyncApimartClient, "aclose", watched(AsyncApimartClient.aclose, False))
    monkeypatch.setattr(ApimartHook, "aget_conn", watched(ApimartHook.aget_conn, False))


def clock_for(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Make requests and lookups take real time, and everything else none; unix time goes with the loop's."""
    clock, began = Clock(), time.time()

    watch_requests(monkeypatch, clock)
    real = time.time

    def unix() -> float:
        try:
            return began + asyncio.get_running_loop().time()
        except RuntimeError:
            return real()

    monkeypatch.setattr(time, "time", unix)
    return clock
