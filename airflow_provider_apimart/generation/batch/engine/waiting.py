"""A row's path from its generation to its videos in storage: polls, the final answer, landing."""

from __future__ import annotations

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation.batch.engine import error_verdicts, model_end
from airflow_provider_apimart.generation.batch.engine.active_rows import Active, Todo
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.engine.run_state import RunState
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.purchase import transitions
from airflow_provider_apimart.generation.purchase.decide import Action
from airflow_provider_apimart.generation.purchase.mismatch import mismatches, text_of
from airflow_provider_apimart.generation.purchase.record import RecordState
from airflow_provider_apimart.generation.purchase.settling import Settling, is_empty, may_fill
from airflow_provider_apimart.generation.waiting.polling import last_word, poll_error_text, spread_of, told_seconds
from airflow_provider_apimart.generation.waiting.schedule import ENOUGH, next_wait

#: The cost of a poll, as a share of a job's duration. In a batch, each poll takes a turn from another row.
PRICE_SHARE = 0.02
#: The first rows of a batch are asked about sooner than others until they have shown how long a job takes: after this
#: time, and then whenever this share of the time that has passed has passed again. So few questions cost little, and
#: whoever has short jobs does not wait for what is usual of Veo. They take this share of a limited account at most.
SCOUT_SECONDS, SCOUT_SHARE, SCOUTS_OF_LIMIT = 2.0, 0.25, 0.15


def wait_for(run: RunState, active: Active) -> None:
    """Schedule the next poll of a submitted row."""
    now = run.now()
    run.in_flight.add(active)
    run.polls.push(_no_later(run, active, now + _next_wait(run, active, now)), active)


def _next_wait(run: RunState, active: Active, now: float) -> float:
    elapsed, fixed = max(0.0, now - active.submitted), run.rules.poll_interval
    if fixed is not None:
        return fixed if active.asked else max(0.0, fixed - elapsed)
    belief = run.durations.belief
    spread = spread_of(active.record.generation_id or "")
    usual = next_wait(belief, elapsed, asked=active.asked, price=PRICE_SHARE * belief.median, spread=spread)
    if belief.known or not run.is_scout(active):
        return usual
    least = ENOUGH / (SCOUTS_OF_LIMIT * run.lane.per_second)
    return min(usual, max(SCOUT_SECONDS - elapsed, SCOUT_SHARE * elapsed, least))


def _no_later(run: RunState, active: Active, when: float) -> float:
    # The last poll comes at the deadline, not before it and not long after it.
    return min(when, max(run.now(), run.deadline(active)))


async def ask(run: RunState, active: Active) -> None:
    """Poll a generation once. An error says nothing about the generation's outcome."""
    generation_id = active.record.generation_id or ""
    seen = run.lane.account.changes
    try:
        view = await run.lane.send(lambda settings: protocol.generation(generation_id), active.failing_since)
    except ApimartError as error:
        await _no_answer(run, active, error, seen)
        return
    now = run.now()
    run.poll_answered()
    active.failures, active.failing_since = 0, None
    elapsed = max(0.0, now - active.submitted)
    active.last_word = last_word(view)
    if is_empty(view):
        active.settling = active.settling or Settling()
        again = active.settling.wait(view, now)
        if again is not None and now < run.deadline(active):
            run.polls.push(_no_later(run, active, now + again), active)
            return
        if again is not None and may_fill(view, now, run.deadline(active)):
            park(run, active, "its deadline has passed")
            return
    if view.is_final:
        _learn(run, active, view, elapsed)
        has_ended(run, active, view)
        return
    active.at_work, active.asked = elapsed, True
    if now >= run.deadline(active):
        park(run, active, _unfinished(run, now))
    else:
        if active.last_word:
            run.wonder(active)
        wait_for(run, active)


async def _no_answer(run: RunState, active: Active, error: ApimartError, seen: int) -> None:
    now = run.now()
    if isinstance(error, (errors.AuthenticationError, errors.ConfigurationError)):
        other = await run.lane.look_again(seen)
        if not other and run.stop is not None and run.stop.kind is StopKind.CREDENTIALS:
            park(run, active, f"APIMart does not take the key any more: {error}")
            return
    if now >= run.deadline(active):
        park(run, active, f"{_unfinished(run, now)}, and APIMart does not answer: {poll_error_text(error)}")
        return
    wait = 0.0
    if not isinstance(error, errors.RateLimitError):
        active.failures += 1
        run.poll_failed(error)
        if active.failing_since is None:
            active.failing_since = run.lane.account.now()
        wait = error_verdicts.wait_after(error, active.failures)
    run.polls.push(_no_later(run, active, now + wait), active)


def _unfinished(run: RunState, now: float) -> str:
    return f"not finished {'when the time of this try was up' if now >= run.ends_at else 'by its deadline'}"


def park(run: RunState, active: Active, why: str) -> None:
    """Stop waiting for a row without a verdict."""
    run.release(active)
    text = "it goes on at APIMart and is billed when it completes; the next try re-attaches to it"
    seen = f"; what was seen last: {active.last_word}" if active.last_word else ""
    run.end(active, Outcome.PARKED, note=f"{why}{seen}; {text}")


def _learn(run: RunState, active: Active, view: Generation, elapsed: float) -> None:
    # A failed generation says nothing about how long a video takes.
    if view.status is GenerationStatus.COMPLETED:
        known = run.durations.belief.known
        run.durations.finished(active.at_work, elapsed, told_seconds(view))
        if run.durations.belief.known and not known:
            _hurry(run)


def _hurry(run: RunState) -> None:
    """Ask sooner about the rows whose polls were scheduled before it was known how long a job takes."""
    now = run.now()
    for when, active in run.polls.clear():
        sooner = when if active.asked or active.failures else min(when, now + _next_wait(run, active, now))
        run.polls.push(sooner, active)


def has_ended(run: RunState, active: Active, view: Generation) -> None:
    """Do what APIMart's final word means for a row."""
    decision, record = transitions.settled(active.record, view)
    lost = active.record.state is RecordState.LANDED
    active.record, active.view = record, view
    if decision.action is Action.LAND:
        cost = view.cost_usd if view.cost_usd is not None else active.row.estimated_usd or 0.0
        run.release(active, 0.0 if lost else cost)
        active.failures = 0
        run.landings.push(run.now(), active)
        return
    if record.state is RecordState.FAILED:
        _failed(run, active)
        return
    if record.state is RecordState.MODEL_GONE:
        model_end.generation_lost(run, active)
        return
    run.release(active, 0.0 if lost else view.cost_usd or 0.0)
    outcome = Outcome.UNLANDED if lost else Outcome.EMPTY
    if record.state is RecordState.REJECTED:
        outcome = Outcome.REJECTED
    run.end(active, outcome, note=str(decision.error or decision.reason), final=True)


def _failed(run: RunState, active: Active) -> None:
    record = active.record
    run.release(active)
    if record.number < run.rules.max_generations and run.stop is None:
        run.note(active)
        fallback = active.row.fallback_from is not None
        run.todo.appendleft(Todo(active.row.position, record.epoch, record.number + 1, fallback))
        return
    run.end(active, Outcome.FAILED, note=f"failed at APIMart, not charged: {record.note or 'no reason given'}")


async def bring_home(run: RunState, active: Active) -> None:
    """Land a row's videos, off the event loop."""
    if active.view is None:
        raise AssertionError("what is landed has been seen")
    try:
        settings = await run.lane.settings()
        landed = await run.workers.land(settings, active.record, active.row, active.view.videos)
    except ApimartError as error:
        _not_landed(run, active, error)
        return
    run.lost_landings = run.failed_landings = 0
    active.record = active.record.but(state=RecordState.LANDED, landed=landed)
    run.end(active, Outcome.LANDED)
    found = mismatches(active.row.request, landed, count=len(landed), cost_usd=active.record.cost_usd)
    if found:
        run.mismatched(active.row.number, text_of(found))


def _not_landed(run: RunState, active: Active, error: ApimartError) -> None:
    active.failures += 1
    run.failed_landings += 1
    if not error.terminal and active.failures < error_verdicts.LANDING_TRIES and run.now() < run.ends_at:
        run.landings.push(run.now() + error_verdicts.LANDING_WAITS[active.failures - 1], active)
        return
    run.lost_landings += 1
    if active.record.state is RecordState.LANDED:
        active.record = active.record.but(landed=())
    run.end(active, Outcome.UNLANDED, note=f"paid for, but not landed: {error}", final=error.terminal)
    if run.lost_landings >= error_verdicts.LANDINGS_LOST:
        text = f"{run.lost_landings} videos one after the other could not be landed, the last with: {error}"
        run.stop_submitting(Stop(StopKind.STORAGE, text, False))
