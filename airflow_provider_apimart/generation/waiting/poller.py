"""One poller for all waits of a connection in one event loop, and the registry that hands it out.

It holds one timer queue of polls, one task that sends them, and a few requests at once; a wait costs an entry in the
queue and a future. Due polls are served in order and none is dropped: where the account, the connections or the event
loop cannot serve all, all waits grow (``stretch``) instead.

The client closes when the last wait ends. What was learnt about durations and the account's limit stays.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import time
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.waiting import schedule
from airflow_provider_apimart.generation.waiting.account import Account, OpenClient, RequestLane
from airflow_provider_apimart.generation.waiting.polling import PollingWait, Step
from airflow_provider_apimart.generation.waiting.rate_limiter import RateLimiter
from airflow_provider_apimart.generation.waiting.schedule import Kinds
from airflow_provider_apimart.generation.waiting.timer_queue import QueuedItem, TimerQueue

log = logging.getLogger(__name__)

#: Requests in flight at most; the client has more connections than that. They are sent evenly, so there are as many as
#: the rate times the seconds that an answer takes (Little's law), and no more.
MAX_REQUESTS = 56
#: A request costs about half a millisecond of the event loop, which all triggers share: at most an eighth of that goes.
#: That is enough to poll ten thousand generations once a minute, with answers of 0.2 s and all that may be in flight.
PROCESS_PER_SECOND = 250.0
#: No wait is longer than this, however many others want to be polled sooner, as long as so many polls fit: a little
#: less than the longest wait of the schedule, for the time in the queue.
LONGEST_WAIT_SECONDS = 0.9 * schedule.MAX_INTERVAL_SECONDS
#: An answer may let more be sent at once (a free place, a host that is back), or within this time.
SOON_SECONDS = 0.05
#: The mean duration of an answer, and so the possible rate, is taken over about this many answers.
ANSWERS = 16
#: A wait that cannot be polled at its deadline, because the account is paused, ends this much later without a poll; one
#: that is only queued has longer. (Airflow ends the trigger 15 minutes after the deadline.)
DEADLINE_GRACE_SECONDS, LONGEST_GRACE_SECONDS = 60.0, 600.0
MAX_REMEMBERED = 32
#: Values that a connection edited in the meantime may change.
LOOK_AGAIN_AFTER = (errors.AuthenticationError, errors.PermissionDeniedError, errors.ConfigurationError)

Say = Callable[[Step], None]


@dataclass(slots=True, eq=False)
class _Entry:
    """One wait. ``polling`` is ``None`` once it is over."""

    polling: PollingWait | None
    say: Say | None
    context: contextvars.Context | None
    over: asyncio.Future[Step]
    #: Polls a second that it wants.
    rate: float = 0.0
    queued: QueuedItem[_Entry] | None = None
    #: When polls of it began to fail, if the last one failed.
    failing_since: float | None = None
    request: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None


class Poller:
    """Polls every generation that is waited for over one connection.

    :param lane: the sender, with this process's ceiling as its own rate limiter.
    :param wall: returns unix time, the unit of deadlines.
    """

    def __init__(self, lane: RequestLane, wall: Callable[[], float] | None = None) -> None:
        self._lane = lane
        self._wall = wall or (lambda: time.time())
        self._loop = asyncio.get_running_loop()
        self._timers: TimerQueue[_Entry] = TimerQueue(self._loop.time())
        self._wanted = 0.0
        self._answer_seconds: float | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._sleeps = math.inf
        lane.on_break = self._say_break
        lane.on_pause = self._say_pause
        self._dispatcher = self._spawn(self._dispatch())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Not in the context of the trigger that happened to come first: Airflow finds a trigger's log by its context.
        return self._loop.create_task(work, context=contextvars.Context())

    def __len__(self) -> int:
        return len(self._timers) + len(self._requests)

    @property
    def stretch(self) -> float:
        """The factor by which all waits grow so that all polls fit."""
        return max(1.0, self._wanted / self._per_second)

    @property
    def _per_second(self) -> float:
        """How many polls a second fit."""
        per_second = self._lane.per_second
        return min(per_second, MAX_REQUESTS / self._answer_seconds) if self._answer_seconds else per_second

    def _latest(self, least: float) -> float:
        """Return the seconds after which a wait goes before all others."""
        fits = len(self) <= self._per_second * LONGEST_WAIT_SECONDS
        return max(least, LONGEST_WAIT_SECONDS) if fits else math.inf

    async def follow(self, polling: PollingWait, say: Say) -> Generation | None:
        """Wait for a generation. Return APIMart's final word, or ``None`` when the deadline has passed.

        :param say: called, in the caller's own context, with every step that has a log line.
        """
        entry = _Entry(polling, say, contextvars.copy_context(), self._loop.create_future())
        polling.stretch = self.stretch
        self._plan(entry, polling.first_wait(self._wall()))
        # A wait that begins after its deadline (the triggerer was down) is polled once, too.
        entry.timer = self._loop.call_later(max(0.0, polling.deadline - self._wall()), self._last_call, entry)
        try:
            return (await entry.over).final
        finally:
            self._drop(entry)

    # --- the timer queue -----------------------------------------------------------------------------------------

    def _plan(self, entry: _Entry, wait: float) -> None:
        polling = entry.polling
        if polling is None:
            return
        self._wanted -= entry.rate
        entry.rate = 1 / max(wait, schedule.MIN_INTERVAL_SECONDS)
        self._wanted += entry.rate
        latest = self._latest(polling.least)
        entry.queued = self._timers.put(entry, wait, self._loop.time(), least=polling.least, latest=latest)
        if min(wait, polling.least) < self._sleeps:
            self._wake.set()

    def _drop(self, entry: _Entry) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        self._wanted = max(0.0, self._wanted - entry.rate)
        entry.rate = 0.0
        if entry.request is not None:
            entry.request.cancel()
            entry.request = None
        if entry.queued is not None:
            self._timers.cancel(entry.queued)
            entry.queued = None
        entry.polling = entry.say = entry.context = None

    def _last_call(self, entry: _Entry) -> None:
        """At the deadline there is one last poll, however long the waits are at that time."""
        polling = entry.polling
        if polling is None or entry.over.done():
            return
        if (left := polling.deadline - self._wall()) > 1:
            # The wall clock was set back.
            entry.timer = self._loop.call_later(left, self._last_call, entry)
            return
        if entry.queued is not None:
            self._timers.cancel(entry.queued)
            polling.least = 0.0
            self._plan(entry, 0.0)
        until = self._loop.time() + LONGEST_GRACE_SECONDS
        entry.timer = self._loop.call_later(DEADLINE_GRACE_SECONDS, self._expire, entry, until)

    def _expire(self, entry: _Entry, until: float) -> None:
        polling = entry.polling
        if polling is None or entry.over.done():
            return
        account = self._lane.account
        if self._loop.time() < until and not account.limiter.paused(account.now()):
            entry.timer = self._loop.call_later(DEADLINE_GRACE_SECONDS, self._expire, entry, until)
            return
        self._end(entry, polling.failed(ApimartError("no question could be asked in time"), self._wall()))

    # --- the questions -------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while True:
            try:
                wait = self._launch()
            except Exception:
                # A bug here must not leave thousands of triggers waiting forever.
                log.exception("The poller hit an unexpected error; it continues in a second.")
                wait = 1.0
            self._sleeps = math.inf if wait is None else wait
            timer = None if wait is None else self._loop.call_later(wait, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            self._wake.clear()

    def _launch(self) -> float | None:
        """Send what is due. Return the seconds until more may be due; ``None`` if another event will wake the loop."""
        while (wait := self._timers.wait(self._loop.time(), full=self.stretch > 1)) is not None:
            if wait > 0:
                return wait
            if len(self._requests) >= (MAX_REQUESTS if self._lane.account.is_open else 1):
                # (The account's limit is not known before its connection is.)
                return None
            if (wait := self._lane.wait()) > 0:
                return wait
            broken = self._lane.account.limiter.broken
            entry = self._timers.pop_least(_doubt) if broken else self._timers.pop()
            entry.queued = None
            if entry.polling is None:
                raise AssertionError("what is over was taken off the timer queue")
            self._lane.take()
            entry.request = self._spawn(self._ask(entry, entry.polling))
            self._requests.add(entry.request)
            entry.request.add_done_callback(self._asked)
        return None

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("The poller could not process an answer.", exc_info=error)
        # Who looks again soon need not be woken, which would double the work of a poll.
        if self._sleeps > SOON_SECONDS:
            self._wake.set()

    async def _ask(self, entry: _Entry, polling: PollingWait) -> None:
        generation_id = polling.generation_id
        polling.stretch = self.stretch
        began = self._loop.time() if self._lane.account.is_open else None
        try:
            view = await self._lane.send(lambda settings: protocol.generation(generation_id), entry.failing_since)
        except Exception as error:
            # Whatever it is, it says nothing about the generation. (A cancellation is not an ``Exception`` and passes.)
            if isinstance(error, LOOK_AGAIN_AFTER):
                await self._lane.look_again()
            step = polling.failed(error, self._wall())
            wait = step.wait_seconds
            if wait is not None and isinstance(error, errors.RateLimitError):
                # The account pauses as a whole; each wait keeps its place.
                wait = polling.least = min(wait, schedule.MIN_INTERVAL_SECONDS)
            elif entry.failing_since is None:
                entry.failing_since = self._lane.account.now()
        else:
            entry.failing_since = None
            step = polling.saw(view, self._wall())
            wait = step.wait_seconds
        if began is not None:
            took = self._loop.time() - began
            mean = took if self._answer_seconds is None else self._answer_seconds
            self._answer_seconds = mean + (took - mean) / ANSWERS
        if entry.polling is None:
            return
        entry.request = None
        if wait is None:
            self._end(entry, step)
        else:
            self._tell(entry, step)
            self._plan(entry, wait)

    def _end(self, entry: _Entry, step: Step) -> None:
        self._tell(entry, step)
        if not entry.over.done():
            entry.over.set_result(step)

    def _tell(self, entry: _Entry, step: Step) -> None:
        if step.say and entry.say is not None and entry.context is not None:
            try:
                entry.context.run(entry.say, step)
            except Exception:
                log.exception("A line could not be logged: %s", step.say)

    def _say_break(self, error: ApimartError) -> None:
        log.warning(
            "APIMart does not answer (%s): no polls for %.0f s; %d generations are waiting.",
            error,
            self._lane.account.limiter.wait(self._lane.account.now()),
            len(self),
        )

    def _say_pause(self, error: ApimartError) -> None:
        limiter, now = self._lane.account.limiter, self._lane.account.now()
        if limiter.cuts & (limiter.cuts - 1) == 0:
            text = "APIMart asks for a pause (%s): no requests for %.0f s, then at most %.0f requests a minute."
            log.warning(text, error, limiter.wait(now), limiter.rate(now) * 60)

    async def aclose(self) -> None:
        """End the tasks. Waits that still run are cancelled."""
        tasks = [self._dispatcher, *self._requests]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in self._timers.drain():
            entry.over.cancel()
        await self._lane.aclose()


def _doubt(entry: _Entry) -> tuple[float, ...]:
    """Return how unsuitable an entry is for testing whether a host is back: its failures may be its own."""
    polling = entry.polling
    if polling is None:
        raise AssertionError("what is over was taken off the timer queue")
    return polling.failures, not polling.polls, polling.jitter


# --- who shares what ----------------------------------------------------------------------------------------------


@dataclass
class _Memory:
    """What is kept for a connection while nothing waits."""

    limiter: RateLimiter = field(default_factory=lambda: RateLimiter(None))
    kinds: Kinds = field(default_factory=Kinds)


class Shared:
    """What the users of one connection on one event loop share."""

    def __init__(self, open_client: OpenClient, memory: _Memory, wall: Callable[[], float] | None) -> None:
        self.account = Account(open_client, memory.limiter, asyncio.get_running_loop().time)
        self.kinds = memory.kinds
        self.users = 0
        self._wall = wall
        self._poller: Poller | None = None

    @property
    def poller(self) -> Poller:
        """The poller of single generations, created on first use."""
        if self._poller is None:
            self._poller = Poller(self.account.lane(RateLimiter(PROCESS_PER_SECOND * 60)), self._wall)
        return self._poller

    async def aclose(self) -> None:
        """End the tasks and close the connections."""
        try:
            if self._poller is not None:
                await self._poller.aclose()
        finally:
            await self.account.aclose()


class Pollers:
    """The connections that are in use on one event loop."""

    def __init__(self, wall: Callable[[], float] | None = None) -> None:
        self._active: dict[str, Shared] = {}
        self._memory: OrderedDict[str, _Memory] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._wall = wall

    @asynccontextmanager
    async def join(self, conn_id: str, open_client: OpenClient) -> AsyncIterator[Shared]:
        """Share a connection for as long as the block runs.

        :param open_client: looks the connection up and creates a client, without blocking.
        """
        shared = self._active.get(conn_id)
        if shared is None:
            shared = self._active[conn_id] = Shared(open_client, self._remembered(conn_id), self._wall)
        shared.users += 1
        try:
            yield shared
        finally:
            shared.users -= 1
            if not shared.users:
                del self._active[conn_id]
                # A task of its own, so that a second cancellation does not leave half of it open.
                closing = asyncio.get_running_loop().create_task(shared.aclose(), context=contextvars.Context())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                await asyncio.shield(closing)

    def _remembered(self, conn_id: str) -> _Memory:
        memory = self._memory.setdefault(conn_id, _Memory())
        self._memory.move_to_end(conn_id)
        if len(self._memory) > MAX_REMEMBERED:
            self._memory.popitem(last=False)
        return memory


_HERE: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pollers] = weakref.WeakKeyDictionary()


def here() -> Pollers:
    """Return the pollers of the running event loop."""
    return _HERE.setdefault(asyncio.get_running_loop(), Pollers())
