"""The engine of a batch: limited generations at once, limited requests a minute, each row paid for once.

Why it never pays twice:

1. A row's key is computed from who asks and for what (:func:`.identity.idempotency_key`), so any later process computes
the same key.
2. A row is submitted only after its intent is durable in the journal, with the uploaded frames that its body names.
3. After an unknown outcome, only the identical request is sent again, under the same key; only APIMart's own failure
gives a row its next number.
4. :func:`.decide.decide` decides about a row that an earlier process started, as about a single generation.

One coroutine holds all waiting rows, in heaps. Tasks exist only for requests in flight (a few), for videos being landed
(a few) and for the journal. The engine never blocks: the thread pool does all file work.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Video
from airflow_provider_apimart.client.request import ModelRules
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.account import Wire
from airflow_provider_apimart.generation.batch.flusher import Flusher
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow
from airflow_provider_apimart.generation.batch.progress import Progress
from airflow_provider_apimart.generation.batch.resume import begin
from airflow_provider_apimart.generation.batch.states import Outcome, line_of
from airflow_provider_apimart.generation.batch.steps import LANDINGS_LOST, Stop, StopKind
from airflow_provider_apimart.generation.batch.submission import give_up, prepare, submit
from airflow_provider_apimart.generation.batch.waiting import ask, bring_home, park
from airflow_provider_apimart.generation.batch.work import Active, Due, Todo
from airflow_provider_apimart.generation.decide import KEY_LIFE
from airflow_provider_apimart.generation.images import LocalImage
from airflow_provider_apimart.generation.record import LandedVideo, Record, RecordState
from airflow_provider_apimart.generation.schedule import Durations

#: Requests in flight at once; the client has as many connections.
MAX_REQUESTS = 16
#: Videos that are being landed at once.
MAX_LANDINGS = 8
#: How long after the deadline videos that are finished at APIMart may still be landed.
LAST_LANDINGS_SECONDS = 300.0
#: Finished generations that may wait for landing before no more are submitted.
LANDING_BACKLOG = 200
#: Intents written together, and how many are written ahead of their turn.
GROUP, AHEAD = 50, 16
#: An intent that was written ahead and not used for this long is written again, because its key's life counts from it.
STALE = timedelta(hours=1)
#: How many different strange answers are logged.
STRANGE_WORDS = 20


class Hands(Protocol):
    """What does the blocking work; see :class:`.crew.Crew`."""

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a short function off the loop."""
        ...

    async def land(
        self, settings: Settings, record: Record, row: PlannedRow, videos: tuple[Video, ...]
    ) -> tuple[LandedVideo, ...]:
        """Land videos."""
        ...

    async def image(self, name: str, path: str, rules: ModelRules | None) -> LocalImage:
        """Read a frame."""
        ...


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

    :param hands: does the blocking work.
    :param wire: sends requests to APIMart.
    :param log: receives progress and problems.
    :param now: returns the time in unix seconds.
    :param deadline: when the run must end, in unix seconds. Then nothing more is submitted, what runs at APIMart is
        parked, and what is finished there is landed within :data:`LAST_LANDINGS_SECONDS`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        hands: Hands,
        wire: Wire,
        writer: JournalWriter,
        log: logging.Logger | Any,
        now: Callable[[], float],
        deadline: float | None = None,
    ) -> None:
        self.plan = plan
        self._ends_at = deadline
        self.rules = plan.index.rules
        self.hands = hands
        self.wire = wire
        wire.on_pause = self._say_pause
        self.log = log
        self.now = now
        self.journal = Flusher(writer, hands.offload)
        self.durations = Durations(plan.index.median_seconds)
        self.progress = Progress(len(plan.index.slots), now())
        self.todo: deque[Todo] = deque()
        self.ready: deque[Active] = deque()
        self.resends, self.polls, self.landings = Due(), Due(), Due()
        self.in_flight: set[Active] = set()
        self.stop: Stop | None = None
        self.left = 0
        self.account: str | None = None
        self.uploads: dict[str, tuple[str, float]] = {}
        self.upload_locks: dict[str, asyncio.Lock] = {}
        self.lost_landings = 0
        #: Attempts to land a video that have failed in a row.
        self.failed_landings = 0
        self.hopeless = 0
        self._wondered: set[str] = set()
        #: Landed rows that are not what was asked for, if the user counts them as failed.
        self.unlike = 0
        self._committed_usd = 0.0
        self._requests: set[asyncio.Task[None]] = set()
        self._landing: set[asyncio.Task[None]] = set()
        self._preparing: asyncio.Task[None] | None = None
        self._crash: BaseException | None = None
        self._wake = asyncio.Event()
        self._polled_last = False

    # --- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Run until every row has an outcome, or until nothing more may be paid for and the running generations have
        ended.
        """
        flushing = asyncio.create_task(self.journal.run())
        try:
            await begin(self)
            while not self._finished():
                if self._crash is not None:
                    raise self._crash
                if self.is_over:
                    self._wind_up()
                    if self._finished() or self.now() >= (self._ends_at or 0.0) + LAST_LANDINGS_SECONDS:
                        break
                self._renew()
                self._launch()
                self._prepare()
                self._say()
                await self._pause()
            if self._crash is not None:
                raise self._crash
            self._say(last=True)
        finally:
            await self._close(flushing)
        outcomes = {str(outcome): count for outcome, count in self.progress.outcomes.items()}
        return Ending(self.stop, outcomes, self.left, round(self.progress.spent_usd, 6))

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._ends_at is not None and self.now() >= self._ends_at

    def _wind_up(self) -> None:
        """At the deadline: submit nothing more, and park what runs. The next try re-attaches."""
        self.stop_submitting(Stop(StopKind.DEADLINE, "execution_timeout has passed", False))
        while self.polls:
            park(self, self.polls.take(), "execution_timeout has passed before it was finished")
        while self.resends:
            give_up(self, self.resends.take(), "execution_timeout has passed before its submission was answered")
        # Rows that wait for another attempt to land get it now; it is the last one.
        for active in [self.landings.take() for _ in range(len(self.landings))]:
            self.landings.push(self.now(), active)

    def _finished(self) -> bool:
        waiting = (self.todo, self.ready, self.resends, self.polls, self.landings, self._requests, self._landing)
        return self._preparing is None and not any(len(one) for one in waiting)

    async def _close(self, flushing: asyncio.Task[None]) -> None:
        tasks = [*self._requests, *self._landing, *filter(None, [self._preparing])]
        for task in (*tasks, flushing):
            task.cancel()
        await asyncio.gather(*tasks, flushing, return_exceptions=True)
        try:
            # What is known about money must reach the journal even if this task is being cancelled.
            await asyncio.shield(self.journal.aclose())
        finally:
            await self.wire.aclose()

    def _launch(self) -> None:
        """Start what is due, as far as the rate limiter admits it."""
        now = self.now()
        # (Check first whether anything is due: asking the wire queues for a turn.)
        while len(self._requests) < MAX_REQUESTS and self._wants_to_send(now) and self.wire.wait() <= 0:
            work = self._next_request(now)
            if work is None:
                break
            self.wire.take()
            self._start(self._requests, work)
        while len(self._landing) < MAX_LANDINGS and (active := self.landings.pop(now)) is not None:
            self._start(self._landing, bring_home(self, active))

    def _next_request(self, now: float) -> Coroutine[Any, Any, None] | None:
        # What may have been paid for comes first. Then submissions and polls take turns, so that neither starves.
        if (active := self.resends.pop(now)) is not None:
            return submit(self, active)
        if not self._polled_last and (active := self.polls.pop(now)) is not None:
            self._polled_last = True
            return ask(self, active)
        self._polled_last = False
        if (active := self._next_ready()) is not None:
            return submit(self, active)
        active = self.polls.pop(now)
        return None if active is None else ask(self, active)

    @property
    def _holding(self) -> bool:
        # While the storage takes nothing, and there is a video to test it with, nothing more is paid for.
        return self.failed_landings >= LANDINGS_LOST and bool(len(self.landings) or self._landing)

    def _next_ready(self) -> Active | None:
        if self._holding or not self.ready or len(self.in_flight) >= self.rules.max_in_flight:
            return None
        active = self.ready.popleft()
        self.in_flight.add(active)
        return active

    def _renew(self) -> None:
        """Take back intents that were written ahead and not used: they are written anew before their keys are too old.

        If a key is too old already, this process was suspended: another may have used the intent since.
        """
        while self.ready and STALE <= self.utc() - self.ready[0].record.intent_at < KEY_LIFE:
            self.begin_again(self.ready.popleft())

    def _prepare(self) -> None:
        """Start writing the next intents, if there is room for them."""
        if self._preparing is not None or not self.todo or self.stop is not None:
            return
        if self._holding or len(self.landings) + len(self._landing) > max(LANDING_BACKLOG, self.rules.max_in_flight):
            return
        # Where the outcome of a submission is never asked for again, nothing that was not sent may look as if it was.
        ahead = min(AHEAD, self.rules.max_in_flight) if self.rules.on_unknown_submit == "resend" else 0
        room = self.rules.max_in_flight + ahead - len(self.in_flight) - len(self.ready)
        if room > 0:
            self._preparing = asyncio.create_task(prepare(self, min(room, GROUP)))
            self._preparing.add_done_callback(self._prepared)

    def _prepared(self, task: asyncio.Task[None]) -> None:
        self._preparing = None
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
        now = self.now()
        waits = [self.progress.due(now)]
        if self._ends_at is not None:
            waits.append(self._ends_at - now if now < self._ends_at else self._ends_at + LAST_LANDINGS_SECONDS - now)
        if len(self._requests) < MAX_REQUESTS:
            gate = self.wire.wait() if self._wants_to_send(now) else 0.0
            waits += [max(gate, heap.heap[0][0] - now) for heap in (self.resends, self.polls) if heap]
            if self.ready and len(self.in_flight) < self.rules.max_in_flight and not self._holding:
                waits.append(gate)
        if self.landings and len(self._landing) < MAX_LANDINGS:
            waits.append(self.landings.heap[0][0] - now)
        timer = asyncio.get_running_loop().call_later(max(0.0, min(waits)), self._wake.set)
        await self._wake.wait()
        timer.cancel()
        self._wake.clear()

    def _wants_to_send(self, now: float) -> bool:
        due = any(heap.heap[0][0] <= now for heap in (self.resends, self.polls) if heap)
        return due or bool(self.ready and len(self.in_flight) < self.rules.max_in_flight)

    def _say(self, *, last: bool = False) -> None:
        now = self.now()
        if last or self.progress.due(now) <= 0:
            self.progress.running = len(self.in_flight)
            self.progress.landing = len(self.landings) + len(self._landing)
            self.log.info("%s", self.progress.line(now))

    def _say_pause(self, error: ApimartError) -> None:
        # Log the 1st, 2nd, 4th, 8th..., not every one.
        if self.wire.cuts & (self.wire.cuts - 1) == 0:
            self.log.warning(
                "APIMart asks for a pause (%s): no requests for %.0f s, then at most %.0f requests a minute.",
                error,
                self.wire.free_in,
                self.wire.per_second * 60,
            )

    # --- what the steps tell the engine --------------------------------------------------------------------------

    def utc(self) -> datetime:
        """Return the time as a datetime."""
        return datetime.fromtimestamp(self.now(), tz=UTC)

    def deadline(self, active: Active) -> float:
        """Return when the wait for a row ends: absolute, counted from its submission."""
        return active.submitted + self.rules.timeout_seconds

    def wonder(self, active: Active) -> None:
        """Log what is unusual about APIMart's answers, once for all rows that it concerns."""
        if active.last_word not in self._wondered and len(self._wondered) < STRANGE_WORDS:
            self._wondered.add(active.last_word)
            self.log.warning("Row %d: %s. The wait goes on.", active.row.number, active.last_word)

    def note(self, active: Active, **more: Any) -> None:
        """Record a row's state in the journal."""
        self.journal.add(line_of(active.slot, active.record, self.now(), **more))

    def estimated(self, position: int) -> float:
        """Return a row's estimated cost; 0 if unknown."""
        return self.plan.index.estimates[position] or 0.0

    def commit_money(self, active: Active) -> None:
        """Count a row that is about to be paid for."""
        self._committed_usd += self.estimated(active.row.position)

    def within_budget(self, position: int, more: float = 0.0) -> bool:
        """Return whether a row can be paid for within the user's limit for the whole table."""
        limit = self.rules.max_cost_usd
        whole = self.progress.spent_usd + self._committed_usd + self.estimated(position) + more
        # A tolerance of a hundredth of a cent, for rounding errors.
        return limit is None or whole <= limit + 1e-4

    def _give_back(self, active: Active) -> None:
        self._committed_usd -= self.estimated(active.row.position)

    def release(self, active: Active, cost_usd: float = 0.0) -> None:
        """A row's generation has ended at APIMart, or was not made."""
        self.in_flight.discard(active)
        self._give_back(active)
        self.progress.spent_usd += cost_usd

    def end(self, active: Active, outcome: Outcome, *, note: str | None = None, final: bool = False) -> None:
        """A row has its outcome."""
        self.note(active, outcome=outcome, note=note, final=final)
        self.progress.ended(outcome, self.now())
        self.hopeless += final or outcome is Outcome.REJECTED
        if not outcome.good:
            self.check_failures(f"row {active.row.number} is {outcome}{f' ({note})' if note else ''}; ")

    def check_failures(self, why: str = "") -> None:
        """Stop submitting if more rows have failed, in whatever try, than the user allows."""
        failed, total = self.progress.failed + self.unlike, self.progress.total
        # A rounding error must not cost a row.
        most = self.rules.max_failed_share * total + 1e-6
        if self.rules.stop_on_failure and failed > most:
            text = f'{why}{failed:,} of {total:,} rows have failed and on_row_failure="stop"'
            self.stop_submitting(Stop(StopKind.ROW_FAILURE, text, self.hopeless + self.unlike > most))

    def mismatched(self, number: int, text: str) -> None:
        """A row has its videos, but they are not what was asked for."""
        if self.rules.on_mismatch == "fail":
            self.unlike += 1
            self.check_failures(f"row {number} is not what was asked for ({text}); ")

    def stop_submitting(self, stop: Stop) -> None:
        """Submit no new row. Running generations are waited for and landed."""
        if self.stop is not None:
            return
        self.stop = stop
        self.left += len(self.todo)
        self.todo.clear()
        while self.ready:
            self.leave(self.ready.popleft())
        self.log.warning(
            "No more rows are submitted: %s. %d generations run and %d wait to be landed; they are landed first.",
            stop.text.rstrip("."),
            len(self.in_flight),
            len(self.landings) + len(self._landing),
        )

    def put_back(self, active: Active) -> None:
        """Queue a row for which nothing was done again."""
        if self.stop is not None:
            self.leave(active)
            return
        self.in_flight.discard(active)
        self.ready.appendleft(active)

    def begin_again(self, active: Active) -> None:
        """Give a row for which nothing was done a new intent: by another account, or later."""
        self._give_back(active)
        self.in_flight.discard(active)
        active.record = active.record.but(state=RecordState.REFUSED)
        self.note(active)
        self.todo.appendleft(Todo(active.row.position, active.record.epoch, active.record.number))

    def leave(self, active: Active, note: str | None = None) -> None:
        """Leave a row for which nothing was done to another try."""
        self._give_back(active)
        self.in_flight.discard(active)
        self.left += 1
        active.record = active.record.but(state=RecordState.REFUSED)
        self.note(active, note=note)
