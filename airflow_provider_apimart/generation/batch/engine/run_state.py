"""The state of a run, as the steps of a row see it: what it knows, and what may happen to its rows.

The steps (``resume.py``, ``submission.py``, ``waiting.py``) report what has become of a row: it was noted, money was
committed for it, it waits for something, it has ended, or it is left for another try. The loop in ``engine.py`` starts
the steps when something is due. So a step can be read, tested and replaced without the loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_provider_apimart.client.errors import ApimartError, InsufficientBalanceError
from airflow_provider_apimart.client.model_rules import ModelRules
from airflow_provider_apimart.client.models import Video
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.batch.engine.active_rows import Active, Due, Todo
from airflow_provider_apimart.generation.batch.engine.error_verdicts import LANDINGS_LOST, Stop, StopKind
from airflow_provider_apimart.generation.batch.engine.progress import Pace, Progress
from airflow_provider_apimart.generation.batch.engine.purse import Purse
from airflow_provider_apimart.generation.batch.group_commit import GroupCommit
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow
from airflow_provider_apimart.generation.batch.states import Outcome, line_of
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState
from airflow_provider_apimart.generation.waiting.account import RequestLane
from airflow_provider_apimart.generation.waiting.polling import refused_for_money
from airflow_provider_apimart.generation.waiting.schedule import ENOUGH, Durations

#: At most this many different strange answers are logged.
STRANGE_WORDS = 20


@dataclass(frozen=True)
class EndedModel:
    """A model that nothing more is submitted for.

    :param text: what APIMart said.
    :param gone: it has ended. Otherwise there was no channel for it for so long that its rows are left to the next try.
    """

    text: str
    gone: bool


class Workers(Protocol):
    """Does the blocking work; see :class:`.worker_threads.WorkerThreads`."""

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run something short off the event loop."""
        ...

    async def land(
        self, settings: Settings, record: Record, row: PlannedRow, videos: tuple[Video, ...]
    ) -> tuple[LandedVideo, ...]:
        """Land videos."""
        ...

    async def image(self, name: str, path: str, rules: ModelRules | None) -> LocalImage:
        """Read a frame."""
        ...


class RunState:
    """The rows of one run of the engine, by what they wait for, and the money that is spent and committed.

    :param workers: does the blocking work.
    :param lane: sends the requests to APIMart.
    :param journal: records every row's state.
    :param ends_at: when the run has to end, in unix seconds; infinite if nothing limits it.
    :param purse: the budget that rows are paid from, if there is one.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        workers: Workers,
        lane: RequestLane,
        journal: GroupCommit,
        log: logging.Logger | Any,
        now: Callable[[], float],
        ends_at: float,
        purse: Purse | None = None,
    ) -> None:
        self.plan = plan
        self.rules = plan.index.rules
        self.workers = workers
        self.lane = lane
        self.journal = journal
        self.purse = purse
        self.log = log
        self.now = now
        self.ends_at = ends_at
        self.durations = Durations(plan.index.median_seconds)
        self.progress = Progress(len(plan.index.slots), now())
        #: Rows to be paid for, rows whose intent is written, and rows that wait until they are due.
        self.todo: deque[Todo] = deque()
        self.ready: deque[Active] = deque()
        self.resends, self.polls, self.landings = Due(), Due(), Due()
        #: Generations that run at APIMart, and landings in progress.
        self.in_flight: set[Active] = set()
        self.landing: set[asyncio.Task[None]] = set()
        #: Writes the intents of the next rows.
        self.preparing: asyncio.Task[None] | None = None
        self.stop: Stop | None = None
        self.left = 0
        self.account: str | None = None
        self.uploads: dict[str, tuple[str, float]] = {}
        self.upload_locks: dict[str, asyncio.Lock] = {}
        #: How many videos, and how many attempts to land one, have failed in a row.
        self.lost_landings = 0
        self.failed_landings = 0
        self.hopeless = 0
        #: Landed rows whose videos differ from the request, if the user counts those as failed.
        self.unlike = 0
        #: Models that nothing more is submitted for, and why.
        self.ended_models: dict[str, EndedModel] = {}
        #: The rows that were under way when so many models had ended.
        self.busy: tuple[int, frozenset[str]] = (0, frozenset())
        self._scouts: set[Active] = set()
        self._wondered: set[str] = set()
        self._unanswered = 0
        self._poor = Pace()
        self._committed_usd = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no row waits for anything and none is being landed."""
        waiting = (self.todo, self.ready, self.resends, self.polls, self.landings, self.landing)
        return not any(len(one) for one in waiting)

    @property
    def is_holding(self) -> bool:
        """Whether payments are on hold: the storage takes nothing, and further landings can still test it."""
        return self.failed_landings >= LANDINGS_LOST and bool(len(self.landings) or self.landing)

    def next_ready(self) -> Active | None:
        """Take the next row whose intent is written, if there is room for it."""
        if self.is_holding or not self.ready or len(self.in_flight) >= self.rules.max_in_flight:
            return None
        active = self.ready.popleft()
        self.in_flight.add(active)
        return active

    def wants_to_send(self, now: float) -> bool:
        """Say whether a request is due."""
        due = any(heap.heap[0][0] <= now for heap in (self.resends, self.polls) if heap)
        return due or bool(self.ready and len(self.in_flight) < self.rules.max_in_flight)

    def is_scout(self, active: Active) -> bool:
        """Say whether a row is one of the few that show how long a job takes, which nothing is known of yet."""
        if active not in self._scouts and len(self._scouts & self.in_flight) < ENOUGH:
            self._scouts = (self._scouts & self.in_flight) | {active}
        return active in self._scouts

    def utc(self) -> datetime:
        """Return the time as a datetime."""
        return datetime.fromtimestamp(self.now(), tz=UTC)

    def deadline(self, active: Active) -> float:
        """Return the unix time at which the wait for a row ends: counted from its submission, at most the run's end."""
        return min(self.ends_at, active.submitted + self.rules.timeout_seconds)

    @property
    def seconds_left(self) -> float | None:
        """How long the run may still take; ``None`` if nothing limits it."""
        return None if math.isinf(self.ends_at) else self.ends_at - self.now()

    def wonder(self, active: Active) -> None:
        """Log what is strange about APIMart's answers, once for all rows that it concerns."""
        if active.last_word not in self._wondered and len(self._wondered) < STRANGE_WORDS:
            self._wondered.add(active.last_word)
            self.log.warning("Row %d: %s. The wait goes on.", active.row.number, active.last_word)

    def unanswered(self, error: ApimartError) -> None:
        """Log that APIMart gave no usable answer: the 1st, 2nd, 4th, 8th... time, so that a dead host is not silent."""
        self._unanswered += 1
        if self._unanswered & (self._unanswered - 1) == 0:
            self.log.warning(
                "APIMart gave no usable answer (%d so far): %s. It is tried again.", self._unanswered, error
            )

    def poll_failed(self, error: ApimartError) -> None:
        """Log that a poll had no usable answer.

        An account without money has all of its polls refused, so that is logged by the clock and not by their number.
        """
        if not isinstance(error, InsufficientBalanceError):
            self.unanswered(error)
        elif self._poor.due(self.now()):
            text = "%s. %d generations are paid for and go on there. The wait goes on."
            self.log.warning(text, refused_for_money(error), len(self.in_flight))

    def poll_answered(self) -> None:
        """Log that APIMart answers polls again, if it was logged that it refused them."""
        if self._poor.over():
            self.log.info("APIMart answers again: what has completed is landed.")

    def note(self, active: Active, **more: Any) -> None:
        """Write a row's state to the journal."""
        if self.purse is not None:
            self.purse.see(active)
        self.journal.add(line_of(active.slot, active.record, self.now(), **more))

    def estimated(self, todo: Todo) -> float:
        """Return what a row is expected to cost; 0 if that is not known."""
        return self.plan.index.estimate(todo.position, fallback=todo.fallback)

    def commit_money(self, active: Active) -> None:
        """Count a row that is about to be paid for."""
        self._committed_usd += active.row.estimated_usd or 0.0
        if self.purse is not None:
            self.purse.see(active)

    def within_budget(self, todo: Todo, more: float = 0.0) -> bool:
        """Say whether a row can be paid for without the total exceeding what the user allows."""
        limit = self.rules.max_cost_usd
        whole = self.progress.spent_usd + self._committed_usd + self.estimated(todo) + more
        # A hundredth of a cent is left for rounding errors of floats.
        return limit is None or whole <= limit + 1e-4

    def _give_back(self, active: Active) -> None:
        self._committed_usd -= active.row.estimated_usd or 0.0

    def release(self, active: Active, cost_usd: float = 0.0) -> None:
        """Stop counting a row as in flight: its generation has ended at APIMart, or was not made."""
        self.in_flight.discard(active)
        self._give_back(active)
        self.progress.spent_usd += cost_usd

    def end(self, active: Active, outcome: Outcome, *, note: str | None = None, final: bool = False) -> None:
        """Give a row its outcome."""
        self.note(active, outcome=outcome, note=note, final=final)
        self.progress.ended(outcome, self.now())
        self.hopeless += final or outcome is Outcome.REJECTED
        if not outcome.good:
            self.check_failures(f"row {active.row.number} is {outcome}{f' ({note})' if note else ''}; ")

    def check_failures(self, why: str = "") -> None:
        """Stop submitting if more rows have failed, over all tries, than the user allows."""
        failed, total = self.progress.failed + self.unlike, self.progress.total
        # A float's rounding error must not cost a row.
        most = self.rules.max_failed_share * total + 1e-6
        if self.rules.stop_on_failure and failed > most:
            text = f'{why}{failed:,} of {total:,} rows have failed and on_row_failure="stop"'
            self.stop_submitting(Stop(StopKind.ROW_FAILURE, text, self.hopeless + self.unlike > most))

    def mismatched(self, number: int, text: str) -> None:
        """Note that a row has its videos, but that they differ from its request."""
        if self.rules.on_mismatch == "fail":
            self.unlike += 1
            self.check_failures(f"row {number} is not what was asked for ({text}); ")

    def stop_submitting(self, stop: Stop) -> None:
        """Submit no new row. Running generations are waited for and landed."""
        said = self.stop is not None
        self.stop = self.stop or stop
        # Rows that were being prepared can come back after the first stop.
        self.left += len(self.todo)
        self.todo.clear()
        while self.ready:
            self.leave(self.ready.popleft())
        if said:
            return
        late = stop.kind is StopKind.DEADLINE
        self.log.warning(
            "No more rows are submitted: %s. %d generations run and %d wait to be landed; %s.",
            stop.text.rstrip("."),
            len(self.in_flight),
            len(self.landings) + len(self.landing),
            "what has not completed is parked, and the rest is landed" if late else "they are brought home first",
        )

    def put_back(self, active: Active) -> None:
        """Put a row for which nothing was done back at the head of the queue."""
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
        fallback = active.row.fallback_from is not None
        self.todo.appendleft(Todo(active.row.position, active.record.epoch, active.record.number, fallback))

    def leave(self, active: Active, note: str | None = None) -> None:
        """Leave a row for which nothing was done to another try."""
        self._give_back(active)
        self.in_flight.discard(active)
        self.left += 1
        active.record = active.record.but(state=RecordState.REFUSED)
        self.note(active, note=note)
