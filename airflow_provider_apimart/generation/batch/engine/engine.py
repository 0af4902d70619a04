"""The engine of a batch: it limits concurrent generations and requests per minute, and pays for each row once.

Why it never pays twice:

1. A row's key is computed from the task's identity and the request (:func:`.identity.idempotency_key`), so any later
process computes the same key.
2. A row is submitted only after its intent is durable in the journal, with the uploaded frames that its body names.
3. After an unknown outcome, only the identical request is sent again, under the same key; only APIMart's own failure
gives a row its next number.
4. :func:`.decide.decide` decides what to do with a row that an earlier process started, as it does for a single
generation.

One coroutine holds all waiting rows in heaps. Tasks exist only for requests in flight (a few), for videos being landed
(a few) and for the journal. The engine never blocks: the thread pool does all file work.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.batch.engine import closing
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop
from airflow_provider_apimart.generation.batch.engine.purse import Purse
from airflow_provider_apimart.generation.batch.engine.resume import begin
from airflow_provider_apimart.generation.batch.engine.run_state import RunState, Workers
from airflow_provider_apimart.generation.batch.engine.submission import prepare, submit
from airflow_provider_apimart.generation.batch.engine.waiting import ask, bring_home
from airflow_provider_apimart.generation.batch.group_commit import GroupCommit
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE
from airflow_provider_apimart.generation.waiting.account import RequestLane

#: Requests in flight at once; the client has more connections. With answers of 0.2 s that is 240 requests a second.
MAX_REQUESTS = 48
#: Videos that are being landed at once.
MAX_LANDINGS = 8
#: Finished generations that may wait for landing before no more are submitted.
LANDING_BACKLOG = 200
#: How many intents are written together, and how many are written ahead of their turn.
GROUP, AHEAD = 50, 16
#: An intent that was written ahead and not used for this long is written again: its key's life counts from the intent.
STALE = timedelta(hours=1)


@dataclass(frozen=True)
class Ending:
    """How a run of the engine ended.

    :param left: rows that were not started, or for which nothing was done.
    """

    stop: Stop | None
    outcomes: dict[str, int]
    left: int
    spent_usd: float


class Engine:
    """Carries out a plan. Used once.

    :param workers: does the blocking work.
    :param lane: sends the requests to APIMart.
    :param log: receives progress and warnings.
    :param now: returns the time in unix seconds.
    :param deadline: when the run has to end, in unix seconds. Then nothing more is submitted, running generations are
        parked, and finished ones are landed; see ``closing.py``.
    :param purse: the budget that rows are paid from, if there is one.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        workers: Workers,
        lane: RequestLane,
        writer: JournalWriter,
        log: logging.Logger | Any,
        now: Callable[[], float],
        deadline: float | None = None,
        purse: Purse | None = None,
    ) -> None:
        self.state = RunState(
            plan,
            workers=workers,
            lane=lane,
            journal=GroupCommit(writer, workers.offload),
            log=log,
            now=now,
            ends_at=math.inf if deadline is None else deadline,
            purse=purse,
        )
        lane.on_pause = self._say_pause
        # Polls and submissions alternate.
        self._polled_last = False
        self._requests: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None
        self._wake = asyncio.Event()

    # --- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Work until every row has an outcome, or until nothing more may be paid for and no generation runs."""
        flushing = asyncio.create_task(self.state.journal.run())
        try:
            await begin(self.state)
            closing.close(self.state)
            while not self._finished():
                if self._crash is not None:
                    raise self._crash
                self._renew()
                self._launch()
                self._prepare()
                self._say()
                await self._pause()
                closing.close(self.state)
                if closing.is_quiet(self.state):
                    # Cancelling is safe: the journal knows what was sent.
                    for task in (*self._requests, *filter(None, [self.state.preparing])):
                        task.cancel()
            if self._crash is not None:
                raise self._crash
            self._say(last=True)
        finally:
            await self._close(flushing)
        outcomes = {str(outcome): count for outcome, count in self.state.progress.outcomes.items()}
        return Ending(self.state.stop, outcomes, self.state.left, round(self.state.progress.spent_usd, 6))

    def _finished(self) -> bool:
        done = self.state.preparing is None and not self._requests and self.state.is_idle
        return done or closing.is_over(self.state)

    async def _close(self, flushing: asyncio.Task[None]) -> None:
        tasks = [*self._requests, *self.state.landing, *filter(None, [self.state.preparing])]
        for task in (*tasks, flushing):
            task.cancel()
        await asyncio.gather(*tasks, flushing, return_exceptions=True)
        try:
            # What is known about money must reach the journal even while this task is being cancelled.
            await asyncio.shield(self.state.journal.aclose())
        finally:
            await self.state.lane.aclose()

    def _launch(self) -> None:
        """Start what is due, as far as the rate limiter lets it pass."""
        state = self.state
        now = state.now()
        # Check first whether anything is due: a call of lane.wait() already requests a turn.
        while len(self._requests) < MAX_REQUESTS and state.wants_to_send(now) and state.lane.wait() <= 0:
            work = self._next_request(now)
            if work is None:
                break
            state.lane.take()
            self._start(self._requests, work)
        while len(state.landing) < MAX_LANDINGS and (active := state.landings.pop(now)) is not None:
            self._start(state.landing, bring_home(state, active))

    def _next_request(self, now: float) -> Coroutine[Any, Any, None] | None:
        state = self.state
        # Resends come first, because they may have been paid for already. Then submissions and polls alternate, so that
        # neither starves.
        if (active := state.resends.pop(now)) is not None:
            return submit(state, active)
        if not self._polled_last and (active := state.polls.pop(now)) is not None:
            self._polled_last = True
            return ask(state, active)
        self._polled_last = False
        if (active := state.next_ready()) is not None:
            return submit(state, active)
        active = state.polls.pop(now)
        return None if active is None else ask(state, active)

    def _renew(self) -> None:
        """Take back intents that were written ahead and not used, to write them anew before their keys are too old.

        If a key is too old already, this process was suspended. Another process may have used the intent since.
        """
        state = self.state
        while state.ready and STALE <= state.utc() - state.ready[0].record.intent_at < KEY_LIFE:
            state.begin_again(state.ready.popleft())

    def _prepare(self) -> None:
        """Start writing the next intents, if there is room for them."""
        state = self.state
        if state.preparing is not None or not state.todo or state.stop is not None:
            return
        if state.is_holding or len(state.landings) + len(state.landing) > max(
            LANDING_BACKLOG, state.rules.max_in_flight
        ):
            return
        # If unknown submissions are never resent, an intent that was not sent must not look like one that was.
        ahead = min(AHEAD, state.rules.max_in_flight) if state.rules.on_unknown_submit == "resend" else 0
        room = state.rules.max_in_flight + ahead - len(state.in_flight) - len(state.ready)
        if room > 0:
            state.preparing = asyncio.create_task(prepare(state, min(room, GROUP)))
            state.preparing.add_done_callback(self._prepared)

    def _prepared(self, task: asyncio.Task[None]) -> None:
        self.state.preparing = None
        self._ended(task)

    def _start(self, group: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = self._crash or error
        self._wake.set()

    async def _pause(self) -> None:
        """Wait until something is due or a task has ended."""
        state = self.state
        now = state.now()
        waits = [state.progress.due(now), closing.next_step(state, now)]
        if len(self._requests) < MAX_REQUESTS:
            free_in = state.lane.wait() if state.wants_to_send(now) else 0.0
            waits += [max(free_in, heap.heap[0][0] - now) for heap in (state.resends, state.polls) if heap]
            if state.ready and len(state.in_flight) < state.rules.max_in_flight and not state.is_holding:
                waits.append(free_in)
        if state.landings and len(state.landing) < MAX_LANDINGS:
            waits.append(state.landings.heap[0][0] - now)
        timer = asyncio.get_running_loop().call_later(max(0.0, min(waits)), self._wake.set)
        await self._wake.wait()
        timer.cancel()
        self._wake.clear()

    def _say(self, *, last: bool = False) -> None:
        state = self.state
        now = state.now()
        if last or state.progress.due(now) <= 0:
            state.progress.running = len(state.in_flight)
            state.progress.landing = len(state.landings) + len(state.landing)
            state.log.info("%s", state.progress.line(now))

    def _say_pause(self, error: ApimartError) -> None:
        state = self.state
        # Log the 1st, 2nd, 4th, 8th… pause only, so that the log is not flooded.
        if state.lane.cuts & (state.lane.cuts - 1) == 0:
            state.log.warning(
                "APIMart asks for a pause (%s): nothing is asked for %.0f s, and then at most %.0f requests a minute.",
                error,
                state.lane.free_in,
                state.lane.per_second * 60,
            )
