"""The sender that everything in one process shares: one client, one rate limiter, and a key that may be rotated.

An :class:`Account` belongs to one connection on one event loop. Each user of it holds a :class:`RequestLane`: all
single generations share one, each batch has its own. When the rate limiter admits fewer requests than are wanted, the
lanes take turns, so that none starves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.protocol import Call
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.waiting.rate_limiter import RateLimiter

T = TypeVar("T")

#: A connection that does not work is looked up again, but not for each of a thousand generations, and less and less
#: often while nothing has changed.
LOOK_AGAIN_SECONDS, LONGEST_LOOK_AGAIN_SECONDS = 20.0, 300.0
#: One that could not be looked up at all is retried sooner.
OPEN_AGAIN_SECONDS = 5.0
#: One that works is looked up again after this time, because it may have been edited.
MAX_AGE_SECONDS = 300.0
#: How long a free request is reserved for the lane whose turn it is.
TURN_SECONDS = 0.05
#: Errors that mean that the host is in trouble and say nothing about the request.
TROUBLE = (errors.ApimartConnectionError, errors.OutcomeUnknownError, errors.ServerError)


class Sender(Protocol):
    """The part of :class:`~airflow_provider_apimart.client.client.AsyncApimartClient` that is used here."""

    settings: Settings

    async def send(self, call: Call[T], *, repeat: bool = True) -> T:
        """Send one call."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


OpenClient = Callable[[], Awaitable[Sender]]


class _Lease:
    """A client, and the number of its requests in flight."""

    def __init__(self, client: Sender) -> None:
        self.client = client
        self.users = 0
        self.retired = False


class Account:
    """One client and one rate limiter for all requests of a connection on this event loop.

    :param open_client: looks the connection up and creates a client; must not block the loop.
    :param limiter: the rate limiter; kept by the caller if what it has learnt should outlive the client.
    :param now: returns the time in seconds of a monotonic clock.
    """

    def __init__(self, open_client: OpenClient, limiter: RateLimiter, now: Callable[[], float]) -> None:
        self.limiter = limiter
        self.now = now
        self.lanes: list[RequestLane] = []
        self._open_client = open_client
        self._lease: _Lease | None = None
        self._retired: set[_Lease] = set()
        self._opening = asyncio.Lock()
        self._looked_at = -float("inf")
        self._looked_again_at = -float("inf")
        self._fruitless = 0
        self._failure: Exception | None = None
        self._turns = 0
        #: How often a lookup has found a different connection.
        self.changes = 0

    def lane(self, own: RateLimiter | None = None) -> RequestLane:
        """Return a new wire.

        :param own: a further rate limiter for this lane alone.
        """
        lane = RequestLane(self, own)
        self.lanes.append(lane)
        return lane

    def next_turn(self) -> int:
        """Count the requests that were let pass."""
        self._turns += 1
        return self._turns

    # --- the connection ------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Return whether the connection has been looked up."""
        return self._lease is not None

    async def lease(self) -> _Lease:
        """Return the client. Look the connection up first if there is none or the lookup is old.

        :raises Exception: whatever the lookup raised; a recent failure is raised again without a lookup.
        """
        if self._lease is not None:
            if self.now() - self._looked_at > MAX_AGE_SECONDS and not self._opening.locked():
                await self._look()
            return self._lease
        async with self._opening:
            lease = self._lease
            if lease is None:
                since = self.now() - self._looked_at
                if self._failure is not None and since < OPEN_AGAIN_SECONDS * 2 ** min(self._fruitless, 5):
                    raise self._failure.with_traceback(None)
                self._looked_at = self.now()
                try:
                    lease = self._take(await self._open_client())
                except Exception as error:
                    self._failure, self._fruitless = error, self._fruitless + 1
                    raise
                self._failure, self._fruitless = None, 0
        return lease

    async def look_again(self, seen: int | None = None) -> bool:
        """Look the connection up again after it did not work. Return whether it is a different one now.

        :param seen: the value of :attr:`changes` when the refused call was sent. Many calls share one key: the first
            that is refused looks up the new one for all of them.
        """
        if seen is not None and self._opening.locked():
            # Another caller is looking it up already.
            await self._opening.acquire()
            self._opening.release()
        if seen is not None and seen != self.changes:
            return True
        floor = min(LONGEST_LOOK_AGAIN_SECONDS, LOOK_AGAIN_SECONDS * 2.0 ** min(self._fruitless, 10))
        # (A key may be rotated right after its first lookup.)
        if self._lease is None or self._opening.locked() or self.now() - self._looked_again_at < floor:
            return False
        self._looked_again_at = self.now()
        found = await self._look()
        self._fruitless = 0 if found else self._fruitless + 1
        return found

    async def _look(self) -> bool:
        async with self._opening:
            self._looked_at = self.now()
            try:
                fresh = await self._open_client()
            except Exception:
                # The current client may still work; the next request will show.
                return False
            old = self._lease
            if old is not None and fresh.settings == old.client.settings:
                await fresh.aclose()
                return False
            self._take(fresh)
            self.changes += 1
            if old is not None:
                # Calls may still be in flight with the old client.
                old.retired = True
                if old.users:
                    self._retired.add(old)
                else:
                    await old.client.aclose()
            return True

    def _take(self, client: Sender) -> _Lease:
        self._lease = _Lease(client)
        self.limiter.set_limit(client.settings.requests_per_minute, self.now())
        return self._lease

    # --- requests ------------------------------------------------------------------------------------------------

    async def send(self, make: Callable[[Settings], Call[T]], failing_since: float | None = None) -> T:
        """Send one admitted call, once, and report the result to the rate limiter.

        :param failing_since: when it had no usable answer for the first time, if it had none the last time.
        :raises ApimartError: whatever becomes of it.
        """
        lease = await self.lease()
        call = make(lease.client.settings)
        sent_at = self.now()
        lease.users += 1
        try:
            answer = await lease.client.send(call, repeat=False)
        except errors.RateLimitError as error:
            if self.limiter.refused(self.now(), sent_at, error.retry_after_seconds):
                for lane in self.lanes:
                    lane.on_pause(error)
            raise
        except TROUBLE as error:
            if self.limiter.failed(self.now(), sent_at, failing_since):
                for lane in self.lanes:
                    lane.on_break(error)
                await self.look_again()
            raise
        except errors.ApimartError:
            self.limiter.passed(self.now())
            raise
        finally:
            lease.users -= 1
            if lease.retired and not lease.users:
                self._retired.discard(lease)
                await lease.client.aclose()
        self.limiter.passed(self.now())
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        leases = [*self._retired, *filter(None, [self._lease])]
        self._lease, self._retired = None, set()
        for lease in leases:
            await lease.client.aclose()


class RequestLane:
    """One sender's access to an account."""

    def __init__(self, account: Account, own: RateLimiter | None) -> None:
        self.account = account
        self.sent = 0
        #: Called with the 429 that paused the account.
        self.on_pause: Callable[[errors.ApimartError], None] = lambda error: None
        #: Called with the error that made the circuit breaker open.
        self.on_break: Callable[[errors.ApimartError], None] = lambda error: None
        self._own = own
        self._wants = False
        self._turn = 0
        self._owns_account = False

    @classmethod
    def alone(cls, open_client: OpenClient, limiter: RateLimiter | None, now: Callable[[], float]) -> RequestLane:
        """Return the lane of an account that nobody shares and that closes with it.

        :param limiter: a further rate limiter beside the account's own.
        """
        lane = Account(open_client, RateLimiter(None), now).lane(limiter)
        lane._owns_account = True
        return lane

    # --- when ----------------------------------------------------------------------------------------------------

    @property
    def per_second(self) -> float:
        """The highest number of requests a second at present."""
        now = self.account.now()
        rate = self.account.limiter.rate(now)
        return rate if self._own is None else min(rate, self._own.rate(now))

    @property
    def cuts(self) -> int:
        """How often APIMart's 429s have lowered the rate."""
        return self.account.limiter.cuts

    @property
    def free_in(self) -> float:
        """The seconds until any wire may send a request."""
        now = self.account.now()
        own = 0.0 if self._own is None else self._own.wait(now)
        return max(own, self.account.limiter.wait(now))

    def wait(self) -> float:
        """Return the seconds until a request may be sent. Calling this means wanting to send now, and queues for a
        turn.
        """
        now = self.account.now()
        own = 0.0 if self._own is None else self._own.wait(now)
        if own > 0:
            self._wants = False
            return max(own, self.account.limiter.wait(now))
        wait = self.account.limiter.wait(now)
        if wait > 0:
            self._wants = True
            return wait
        rivals = [lane for lane in self.account.lanes if lane._wants and lane._turn < self._turn and lane is not self]
        if rivals:
            left = self.account.limiter.free_at + TURN_SECONDS - now
            if left > 0:
                self._wants = True
                return left
            for rival in rivals:
                # It let its turn pass: it has nothing to send any more.
                rival._wants = False
        return 0.0

    def take(self) -> None:
        """Count a request that is being sent."""
        now = self.account.now()
        self.account.limiter.take(now)
        if self._own is not None:
            self._own.take(now)
        self._wants, self._turn = False, self.account.next_turn()

    async def admit(self) -> None:
        """Wait until one more request may be sent."""
        if not self.account.is_open:
            # The account's limit is not known before its connection is. Whatever the lookup raises, sending raises,
            # too.
            with contextlib.suppress(Exception):
                await self.account.lease()
        while (wait := self.wait()) > 0:  # noqa: ASYNC110 - it is a time, not an event, that is waited for
            await asyncio.sleep(wait)
        self.take()

    # --- what ----------------------------------------------------------------------------------------------------

    async def settings(self) -> Settings:
        """Return the connection's settings."""
        return (await self.account.lease()).client.settings

    async def send(self, make: Callable[[Settings], Call[T]], failing_since: float | None = None) -> T:
        """Send one admitted call.

        :param make: builds the call from the connection's settings.
        :param failing_since: when it had no usable answer for the first time, if it had none the last time.
        :raises ApimartError: whatever becomes of it.
        """
        self.sent += 1
        return await self.account.send(make, failing_since)

    async def look_again(self, seen: int | None = None) -> bool:
        """Look the connection up again after it did not work; see :meth:`Account.look_again`."""
        return await self.account.look_again(seen)

    async def aclose(self) -> None:
        """Leave the account, and close it if nobody else uses it."""
        if self in self.account.lanes:
            self.account.lanes.remove(self)
        if self._owns_account:
            await self.account.aclose()
