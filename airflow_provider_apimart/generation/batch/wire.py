"""The batch's way to APIMart: one client, one gate for all requests, and a key that may be rotated meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.protocol import Call
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.batch.gate import Gate

T = TypeVar("T")

#: A key that does not work is looked up again, but not for each of a thousand rows.
LOOK_AGAIN_SECONDS = 20.0


class Sender(Protocol):
    """What is needed of :class:`~airflow_provider_apimart.client.client.AsyncApimartClient`."""

    settings: Settings

    async def send(self, call: Call[T], *, repeat: bool = True) -> T:
        """Send one call."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class Wire:
    """Sends calls, each once, and tells the gate how they went.

    :param open_client: looks the connection up and makes a client.
    :param now: tells the time in seconds.
    """

    def __init__(self, open_client: Callable[[], Awaitable[Sender]], gate: Gate, now: Callable[[], float]) -> None:
        self.gate = gate
        self._open = open_client
        self._now = now
        self._client: Sender | None = None
        self._opening = asyncio.Lock()
        self._looked_at = -float("inf")
        self._replaced_at = -float("inf")
        self._retired: list[Sender] = []
        self.sent = 0
        #: Called with the 429 that paused the account.
        self.on_pause: Callable[[errors.ApimartError], None] = lambda error: None

    async def client(self) -> Sender:
        """Return the client, making it first where there is none."""
        async with self._opening:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def send(self, make: Callable[[Settings], Call[T]]) -> T:
        """Send one call that the gate has let pass.

        :param make: makes the call for the client's settings.
        :raises ApimartError: whatever becomes of it.
        """
        client = await self.client()
        sent_at = self._now()
        self.sent += 1
        try:
            answer = await client.send(make(client.settings), repeat=False)
        except errors.RateLimitError as error:
            if self.gate.refused(self._now(), sent_at, error.retry_after_seconds):
                self.on_pause(error)
            raise
        except errors.ApiStatusError:
            self.gate.passed(self._now())
            raise
        self.gate.passed(self._now())
        return answer

    async def admit(self) -> None:
        """Wait until the gate lets one more request pass."""
        while (wait := self.gate.wait(self._now())) > 0:  # noqa: ASYNC110 - it is a time, not an event, that is waited for
            await asyncio.sleep(wait)
        self.gate.take(self._now())

    async def look_again(self, sent_at: float) -> bool:
        """Look the connection up again after it did not work; say whether it is another one now.

        :param sent_at: when the call was sent that was refused. Several are under way with one key: the first that is
            refused looks the new one up for all of them.
        """
        async with self._opening:
            old = self._client
            if sent_at < self._replaced_at:
                return True
            if self._now() - self._looked_at < LOOK_AGAIN_SECONDS or old is None:
                return False
            self._looked_at = self._now()
            try:
                fresh = await self._open()
            except errors.ApimartError:
                return False
            if _mark(fresh) == _mark(old):
                await fresh.aclose()
                return False
            # Calls may still be under way with the old one.
            self._retired.append(old)
            self._client = fresh
            self._replaced_at = self._now()
            return True

    async def aclose(self) -> None:
        """Close all connections."""
        clients, self._client, self._retired = [*self._retired, self._client], None, []
        for client in clients:
            if client is not None:
                await client.aclose()


def _mark(client: Any) -> tuple[str, str]:
    return client.settings.base_url, client.settings.api_key
