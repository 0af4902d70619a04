"""Group commit: journal lines are collected while the last group is being written, and then written together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from airflow_provider_apimart.generation.batch.journal import JournalWriter

log = logging.getLogger(__name__)

#: How long a line stays in memory if nothing waits for it, so that others can be written with it.
PATIENCE_SECONDS = 0.2
AGAIN_SECONDS = 5.0
Offload = Callable[..., Awaitable[Any]]


class GroupCommit:
    """Writes lines into a journal, off the event loop, one group at a time.

    :param offload: runs a function in a thread.
    """

    def __init__(self, writer: JournalWriter, offload: Offload) -> None:
        self._writer = writer
        self._offload = offload
        self._lines: list[Mapping[str, Any]] = []
        self._writing = asyncio.Lock()
        self._wanted = asyncio.Event()

    def add(self, line: Mapping[str, Any]) -> None:
        """Add a line that nothing waits for."""
        self._lines.append(line)
        self._wanted.set()

    async def flush(self) -> None:
        """Write all lines collected so far; they are durable when this returns.

        :raises LandingError: if they are not; they are kept for the next time.
        """
        async with self._writing:
            lines, self._lines = self._lines, []
            self._wanted.clear()
            if not lines:
                return
            try:
                await self._offload(self._writer.add, lines)
            except BaseException:
                # Lines that did reach the storage will be written twice. That is harmless: the ledger merges
                # duplicates.
                self._lines = [*lines, *self._lines]
                self._wanted.set()
                raise

    async def run(self) -> None:
        """Write lines that nothing waits for, until cancelled."""
        while True:
            await self._wanted.wait()
            await asyncio.sleep(PATIENCE_SECONDS)
            try:
                await self.flush()
            except Exception as error:
                log.warning("The journal could not be written (%s); retrying in %g s.", error, AGAIN_SECONDS)
                await asyncio.sleep(AGAIN_SECONDS)

    async def aclose(self) -> None:
        """Write what is left, and close."""
        try:
            await self.flush()
        finally:
            self._writer.close()
