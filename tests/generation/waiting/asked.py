"""An APIMart for the poller, in virtual time: generations that end at their time, and faults on demand."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import Generation, GenerationStatus, Video
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.waiting.account import Sender
from airflow_provider_apimart.generation.waiting.poller import Pollers
from airflow_provider_apimart.generation.waiting.polling import PollingWait, Step
from tests.virtual import virtually

START = 1_790_000_000.0
SETTINGS = Settings("sk-simulated", "http://127.0.0.1:9")


@dataclass
class Asked:
    """What all clients of one test talk to.

    :param refuse: returns the error that a question meets, or ``None``; is given the client's settings.
    :param per_minute: more than this in a sliding window are answered 429.
    """

    latency: float = 0.05
    per_minute: float | None = None
    refuse: Callable[[str, Settings], Exception | None] = lambda generation_id, settings: None
    ends: dict[str, float] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    throttled: int = 0
    opened: int = 0
    closed: int = 0
    at_once: int = 0
    most_at_once: int = 0
    settings: Settings = SETTINGS
    lookup_fails: Exception | None = None
    lookups: list[float] = field(default_factory=list)
    window: deque[float] = field(default_factory=deque)

    async def open(self) -> Sender:
        """Look the connection up."""
        self.lookups.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.01)
        if self.lookup_fails is not None:
            raise self.lookup_fails
        self.opened += 1
        return _Client(self, self.settings)

    @property
    def questions(self) -> list[float]:
        """When questions came, in order."""
        return sorted(each for times in self.times.values() for each in times)

    def per_second(self) -> Counter[int]:
        return Counter(int(each) for each in self.questions)


class _Client:
    def __init__(self, asked: Asked, settings: Settings) -> None:
        self.asked, self.settings, self.closed = asked, settings, False

    async def send(self, call: Any, *, repeat: bool = True) -> Any:
        assert not repeat and not self.closed
        asked, now = self.asked, asyncio.get_running_loop().time()
        generation_id = call.path.rpartition("/")[2]
        asked.times.setdefault(generation_id, []).append(now)
        asked.at_once += 1
        asked.most_at_once = max(asked.most_at_once, asked.at_once)
        try:
            await asyncio.sleep(asked.latency)
        finally:
            asked.at_once -= 1
        self._limit(now)
        if (error := asked.refuse(generation_id, self.settings)) is not None:
            raise error
        done = now >= asked.ends.get(generation_id, 0.0)
        status = GenerationStatus.COMPLETED if done else GenerationStatus.PROCESSING
        videos = (Video(url=f"https://media.example/{generation_id}.mp4"),) if done else ()
        return Generation(generation_id=generation_id, status=status, videos=videos)

    def _limit(self, now: float) -> None:
        asked = self.asked
        if asked.per_minute is None:
            return
        while asked.window and asked.window[0] <= now - 60:
            asked.window.popleft()
        if len(asked.window) >= asked.per_minute:
            asked.throttled += 1
            wait = float(int(asked.window[0] + 60 - now) + 1)
            raise errors.RateLimitError("slow down", status=429, retry_after_seconds=wait)
        asked.window.append(now)

    async def aclose(self) -> None:
        self.closed = True
        self.asked.closed += 1


def pollers() -> Pollers:
    """Pollers whose wall clock is the loop's."""
    loop = asyncio.get_running_loop()
    return Pollers(lambda: START + loop.time())


def polling(generation_id: str = "task_1", **values: Any) -> PollingWait:
    now = START + asyncio.get_running_loop().time()
    return PollingWait(
        **{
            "generation_id": generation_id,
            "submitted_at": now,
            "deadline": now + 1800,
            "median_seconds": 75.0,
            **values,
        }
    )


def silent(step: Step) -> None:
    """Say nothing."""


async def follow(mine: Pollers, asked: Asked, generation_id: str = "task_1", **values: Any) -> Any:
    async with mine.join("apimart_default", asked.open) as shared:
        one = polling(generation_id, **values)
        one.durations = shared.kinds.of("kind", 75.0)
        return await shared.poller.follow(one, silent)


@asynccontextmanager
async def waiting(mine: Pollers, asked: Asked, count: int, **values: Any) -> AsyncIterator[None]:
    """So many wait for as long as the block runs."""
    many = [asyncio.create_task(follow(mine, asked, f"task_{number}", **values)) for number in range(count)]
    try:
        yield
    finally:
        for each in many:
            each.cancel()
        await asyncio.gather(*many, return_exceptions=True)


def run(work: Callable[[Pollers], Awaitable[Any]]) -> Any:
    async def all_of_it() -> Any:
        before = asyncio.all_tasks()
        found = await work(pollers())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before, "tasks were left behind"
        return found

    return virtually(all_of_it)
