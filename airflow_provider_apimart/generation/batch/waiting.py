"""A row's path from its generation to its videos in storage: polls, the final word, landing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation import transitions
from airflow_provider_apimart.generation.batch import steps
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.batch.steps import Stop, StopKind
from airflow_provider_apimart.generation.batch.work import Active, Todo
from airflow_provider_apimart.generation.decide import Action
from airflow_provider_apimart.generation.mismatch import mismatches, text_of
from airflow_provider_apimart.generation.polling import last_word, spread_of, told_seconds
from airflow_provider_apimart.generation.record import RecordState
from airflow_provider_apimart.generation.schedule import next_wait
from airflow_provider_apimart.generation.settling import Settling, is_empty

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.batch.engine import Engine

#: The price of a poll, as a share of a job's duration: here each poll costs another row its turn.
PRICE_SHARE = 0.02


def wait_for(engine: Engine, active: Active) -> None:
    """Schedule the polls of a submitted row."""
    now = engine.now()
    engine.in_flight.add(active)
    engine.polls.push(_no_later(engine, active, now + _next_wait(engine, active, now)), active)


def _next_wait(engine: Engine, active: Active, now: float) -> float:
    elapsed, fixed = max(0.0, now - active.submitted), engine.rules.poll_interval
    if fixed is not None:
        return fixed if active.asked else max(0.0, fixed - elapsed)
    belief = engine.durations.belief
    spread = spread_of(active.record.generation_id or "")
    return next_wait(belief, elapsed, asked=active.asked, price=PRICE_SHARE * belief.median, spread=spread)


def _no_later(engine: Engine, active: Active, when: float) -> float:
    # The last poll comes at the deadline, not before it and not long after.
    return min(when, max(engine.now(), engine.deadline(active)))


async def ask(engine: Engine, active: Active) -> None:
    """Poll a generation once. An error is not a verdict."""
    generation_id = active.record.generation_id or ""
    seen = engine.wire.account.changes
    try:
        view = await engine.wire.send(lambda settings: protocol.generation(generation_id), active.failing_since)
    except ApimartError as error:
        await _no_answer(engine, active, error, seen)
        return
    now = engine.now()
    active.failures, active.failing_since = 0, None
    elapsed = max(0.0, now - active.submitted)
    active.last_word = last_word(view)
    if is_empty(view) and now < engine.deadline(active):
        active.settling = active.settling or Settling()
        if (again := active.settling.wait(view, now)) is not None:
            engine.polls.push(_no_later(engine, active, now + again), active)
            return
    if view.is_final:
        _learn(engine, active, view, elapsed)
        _final_word(engine, active, view)
        return
    active.at_work, active.asked = elapsed, True
    if now >= engine.deadline(active):
        park(engine, active, "not finished by its deadline")
    else:
        if active.last_word:
            engine.wonder(active)
        wait_for(engine, active)


async def _no_answer(engine: Engine, active: Active, error: ApimartError, seen: int) -> None:
    now = engine.now()
    if isinstance(error, (errors.AuthenticationError, errors.ConfigurationError)):
        other = await engine.wire.look_again(seen)
        if not other and engine.stop is not None and engine.stop.kind is StopKind.CREDENTIALS:
            park(engine, active, f"APIMart no longer accepts the key: {error}")
            return
    if now >= engine.deadline(active):
        park(engine, active, f"its deadline has passed and APIMart does not answer: {error}")
        return
    wait = 0.0
    if not isinstance(error, errors.RateLimitError):
        active.failures += 1
        if active.failing_since is None:
            active.failing_since = engine.wire.account.now()
        wait = steps.wait_after(error, active.failures)
    engine.polls.push(_no_later(engine, active, now + wait), active)


def park(engine: Engine, active: Active, why: str) -> None:
    """Stop waiting for a row without a verdict."""
    engine.release(active)
    text = "it goes on at APIMart and is billed when it completes; the next try re-attaches to it"
    seen = f"; what was seen last: {active.last_word}" if active.last_word else ""
    engine.end(active, Outcome.PARKED, note=f"{why}{seen}; {text}")


def _learn(engine: Engine, active: Active, view: Generation, elapsed: float) -> None:
    # A failed generation says nothing about how long a video takes.
    if view.status is GenerationStatus.COMPLETED:
        engine.durations.finished(active.at_work, elapsed, told_seconds(view))


def _final_word(engine: Engine, active: Active, view: Generation) -> None:
    decision, record = transitions.settled(active.record, view)
    lost = active.record.state is RecordState.LANDED
    active.record, active.view = record, view
    if decision.action is Action.LAND:
        cost = view.cost_usd if view.cost_usd is not None else engine.estimated(active.row.position)
        engine.release(active, 0.0 if lost else cost)
        active.failures = 0
        engine.landings.push(engine.now(), active)
        return
    if record.state is RecordState.FAILED:
        _failed(engine, active)
        return
    engine.release(active, 0.0 if lost else view.cost_usd or 0.0)
    outcome = Outcome.UNLANDED if lost else Outcome.EMPTY
    if record.state is RecordState.REJECTED:
        outcome = Outcome.REJECTED
    engine.end(active, outcome, note=str(decision.error or decision.reason), final=True)


def _failed(engine: Engine, active: Active) -> None:
    record = active.record
    engine.release(active)
    if record.number < engine.rules.max_generations and engine.stop is None:
        engine.note(active)
        engine.todo.appendleft(Todo(active.row.position, record.epoch, record.number + 1))
        return
    engine.end(active, Outcome.FAILED, note=f"failed at APIMart, not charged: {record.note or 'no reason given'}")


async def bring_home(engine: Engine, active: Active) -> None:
    """Land a row's videos, off the event loop."""
    if active.view is None:
        raise AssertionError("what is landed has been seen")
    try:
        settings = await engine.wire.settings()
        landed = await engine.hands.land(settings, active.record, active.row, active.view.videos)
    except ApimartError as error:
        _not_landed(engine, active, error)
        return
    engine.lost_landings = engine.failed_landings = 0
    active.record = active.record.but(state=RecordState.LANDED, landed=landed)
    engine.end(active, Outcome.LANDED)
    found = mismatches(active.row.request, landed, count=len(landed), cost_usd=active.record.cost_usd)
    if found:
        engine.mismatched(active.row.number, text_of(found))


def _not_landed(engine: Engine, active: Active, error: ApimartError) -> None:
    active.failures += 1
    engine.failed_landings += 1
    if not error.terminal and active.failures < steps.LANDING_TRIES and not engine.is_over:
        engine.landings.push(engine.now() + steps.LANDING_WAITS[active.failures - 1], active)
        return
    engine.lost_landings += 1
    if active.record.state is RecordState.LANDED:
        active.record = active.record.but(landed=())
    engine.end(active, Outcome.UNLANDED, note=f"paid for, but not landed: {error}", final=error.terminal)
    if engine.lost_landings >= steps.LANDINGS_LOST:
        text = f"{engine.lost_landings} videos in a row could not be landed; the last error: {error}"
        engine.stop_submitting(Stop(StopKind.STORAGE, text, False))
