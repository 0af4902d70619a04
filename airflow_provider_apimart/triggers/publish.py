"""The wait for a post, in Airflow's triggerer: for the target's own work, or for a named time.

A trigger only asks: every request that changes something runs on the worker (invariant 5). It carries no secret:
Airflow stores its arguments in plain text. An error is no verdict (invariant 4), and the first event comes no sooner
than 12 s after the deferral (invariant 10). What the answer means is decided on the worker, which asks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.waiting.polling import FIRST_EVENT_SECONDS
from airflow_provider_apimart.hooks.publishers import Publisher, hook_for
from airflow_provider_apimart.publishing.errors import TargetLimitError
from airflow_provider_apimart.publishing.exchange import AsyncSender
from airflow_provider_apimart.publishing.pace import interval
from airflow_provider_apimart.publishing.target import Draft

EVENT_VERSION = 1
#: Errors of the target are logged no more often than this.
SAY_EVERY_SECONDS = 60.0
#: How long a connection that was read is used: it may be edited meanwhile. A token lives longer than a question.
CONNECTION_SECONDS = 600.0


class PublishTrigger(BaseTrigger):
    """Fires when a draft is no longer as it was seen, when a time has come, or when the deadline has passed.

    The event is plain JSON: ``{"version", "reason": "changed" | "time" | "deadline", "state"}``. ``state`` is what the
    target said last, for the log.

    :param target: the target's name (:data:`~airflow_provider_apimart.hooks.publishers.HOOKS`).
    :param conn_id: the connection to ask with.
    :param draft_id: the draft to ask about; ``None`` if only a time is waited for.
    :param post_id: the post, if the draft has become one.
    :param seen: what the target has said about it.
    :param deadline: unix seconds; absolute, so that a restart of the triggerer does not move it.
    :param ask_at: unix seconds; until then nothing is asked, and then it fires.
    :param poll_interval: seconds between questions; ``None`` adapts.
    """

    def __init__(
        self,
        *,
        target: str,
        conn_id: str,
        deadline: float,
        draft_id: str | None = None,
        post_id: str | None = None,
        seen: str | None = None,
        ask_at: float | None = None,
        poll_interval: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.target = target
        self.conn_id = conn_id
        self.deadline = deadline
        self.draft_id = draft_id
        self.post_id = post_id
        self.seen = seen
        self.ask_at = ask_at
        self.poll_interval = poll_interval
        self._publisher: Publisher | None = None
        self._read_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores, in plain text: ids, times and names."""
        return (
            "airflow_provider_apimart.triggers.publish.PublishTrigger",
            {
                "target": self.target,
                "conn_id": self.conn_id,
                "deadline": self.deadline,
                "draft_id": self.draft_id,
                "post_id": self.post_id,
                "seen": self.seen,
                "ask_at": self.ask_at,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and report why the wait ended."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        if self.ask_at is not None or self.draft_id is None:
            until = self.deadline if self.ask_at is None else min(self.ask_at, self.deadline)
            await asyncio.sleep(max(0.0, until - time.time()))
            reason, state = ("deadline" if until == self.deadline else "time"), self.seen
        else:
            reason, state = await self._watch(self.draft_id)
        await asyncio.sleep(max(0.0, FIRST_EVENT_SECONDS - (loop.time() - started)))
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {"version": EVENT_VERSION, "reason": reason, "state": state}
        )

    async def _watch(self, draft_id: str) -> tuple[str, str | None]:
        """Ask until the draft is no longer as it was seen. Return why that ended, and the last state."""
        began = said = time.time()
        state = self.seen
        pause = interval(0, self.poll_interval, draft_id)
        while time.time() + pause < self.deadline:
            await asyncio.sleep(pause)
            pause = interval(time.time() - began, self.poll_interval, draft_id)
            try:
                draft = await self._ask(draft_id)
            except TargetLimitError as error:
                self.log.warning("%s", error)
                pause = max(pause, error.until.timestamp() - time.time())
            except Exception as error:
                # Whatever it is, it says nothing about the post: also a connection that cannot be read now.
                self._publisher = None
                if time.time() - said >= SAY_EVERY_SECONDS:
                    said = time.time()
                    text = str(error) if isinstance(error, ApimartError) else type(error).__name__
                    self.log.warning("%s could not be asked (%s): asking again.", self.target, text)
                asked = error.retry_after_seconds if isinstance(error, ApimartError) else None
                pause = max(pause, asked or 0.0)
            else:
                if draft.progress:
                    self.log.info("%s: %s.", draft_id, draft.progress)
                state = str(draft.state)
                if state != self.seen:
                    return "changed", state
        await asyncio.sleep(max(0.0, self.deadline - time.time()))
        return "deadline", state

    async def _ask(self, draft_id: str) -> Draft:
        if self._publisher is None or time.time() - self._read_at > CONNECTION_SECONDS:
            self._publisher = await hook_for(self.target, self.conn_id).apublisher()
            self._read_at = time.time()
        async with AsyncSender(self._publisher.credentials) as sender:
            return await sender.run(self._publisher.target.ask(draft_id, self.post_id, None))

    async def on_kill(self) -> None:
        """Log what stays. Airflow 3.3 calls this when a user ends the task, and sometimes without one."""
        self.log.warning(
            "Airflow stopped waiting for the post on %s (%s). What is begun stays in its record; the next try, or a "
            "clear, goes on from there, and nothing is posted twice.",
            self.target,
            self.draft_id or "nothing begun",
        )
