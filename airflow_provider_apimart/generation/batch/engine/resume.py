"""The engine's first step: find out what earlier processes have done and what is left to do."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError, ContentRejectedError, GenerationModelGoneError
from airflow_provider_apimart.generation.batch.engine.active_rows import Active, Todo
from airflow_provider_apimart.generation.batch.engine.run_state import RunState
from airflow_provider_apimart.generation.batch.engine.waiting import wait_for
from airflow_provider_apimart.generation.batch.journal import read_journal
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.shares import Spent
from airflow_provider_apimart.generation.batch.states import Ledger, Outcome, RowState, record_of
from airflow_provider_apimart.generation.purchase.decide import Action, Decision, Policy, decide
from airflow_provider_apimart.generation.purchase.identity import account_mark
from airflow_provider_apimart.generation.purchase.mismatch import mismatches
from airflow_provider_apimart.generation.purchase.record import LandedVideo

#: How many rows are decided before other coroutines get a turn on the event loop.
BREATH = 200
#: How many of the rows that landed last show how long a job takes. Few, because APIMart's clock may not be ours: what
#: this process sees itself soon counts for more.
EXAMPLES = 5
#: Why a row's video that came with the first answer is not asked for again.
UNTRUSTED = (
    "its video came with APIMart's answer, and only the same request again would give it again, which "
    'on_unknown_submit="fail" does not send: look in APIMart\'s console (idempotency key {key})'
)


def read_ledger(plan: Plan, spent: Spent | None = None) -> Ledger:
    """Return what is known about the rows of a plan.

    :param spent: adds up what all generations have cost.
    :raises LandingError: when the storage does not answer.
    """
    index = plan.index
    lines: Iterable[dict[str, Any]] = read_journal(plan.journal)
    if spent is not None:
        lines = spent.reading(lines)
    if index.rules.on_clear == "regenerate":
        # Generations made before the task was cleared are not outcomes of this run. They are in neither its bill nor
        # its manifest.
        lines = (line for line in lines if line.get("epoch", 0) >= index.identity.clear_epoch)
    return Ledger(wanted=frozenset(index.slots)).fold(lines)


def decision_on(plan: Plan, row: RowState | None, slot: str, account: str | None, now: float) -> Decision:
    """Decide what to do with a row from its state in the journal. The slot stands for the request."""
    rules = plan.index.rules
    record = None
    if row is not None:
        record = record_of(row, fingerprint=slot, idempotency_key=f"row {slot}", model="")
    return decide(
        record,
        fingerprint=slot,
        clear_epoch=plan.index.identity.clear_epoch,
        policy=Policy(on_clear=rules.on_clear, on_unknown_submit=rules.on_unknown_submit),
        view=None,
        now=datetime.fromtimestamp(now, tz=UTC),
        files_whole=row is not None and not row.lost,
        account=account,
    )


def next_todo(plan: Plan, position: int, row: RowState | None, decision: Decision) -> Todo | None:
    """Return the generation of a row that is to be paid for next; ``None`` if there is none."""
    can_fall_back = plan.index.can_fall_back(position)
    if decision.action is Action.SUBMIT:
        taken_up = row is not None and row.fallback_from is not None and decision.epoch == row.epoch
        return Todo(position, decision.epoch, decision.number, fallback=taken_up and can_fall_back)
    lost_its_model = row is not None and isinstance(decision.error, GenerationModelGoneError)
    if row is not None and lost_its_model and can_fall_back and row.fallback_from is None:
        return Todo(position, row.epoch, row.number + 1, fallback=True)
    return None


async def begin(run: RunState) -> None:
    """Read the journal and queue every row where it belongs."""
    spent = Spent.of(run.plan)
    ledger: Ledger = await run.workers.offload(read_ledger, run.plan, spent)
    if run.purse is not None and spent is not None:
        run.purse.begin(spent)
    del spent
    try:
        settings = await run.lane.settings()
        run.account = account_mark(settings.base_url, settings.api_key)
    except ApimartError as error:
        # The connection is looked up again when it is needed. Running generations must not be given up because it is
        # missing now.
        run.log.warning("The connection cannot be used now: %s", error)
    _learn_durations(run, ledger)
    taken_up = 0
    for position, slot in enumerate(run.plan.index.slots):
        row = ledger.rows.pop(slot, None)
        if row is not None and row.state.value == "landed" and not row.reused:
            run.progress.spent_usd += row.cost_usd or 0.0
        taken_up += await _take_up(run, position, slot, row)
        if position % BREATH == 0:
            await asyncio.sleep(0)
    run.check_failures()
    if run.progress.done or taken_up:
        run.log.info(
            "Going on: %d of %d rows have their videos, %d have ended otherwise, %d were under way.",
            run.progress.good,
            run.progress.total,
            run.progress.failed,
            taken_up,
        )


def _learn_durations(run: RunState, ledger: Ledger) -> None:
    """Learn from the journal how long a job takes. Else every process would begin with what is known of Veo."""
    landed = (row for row in ledger.rows.values() if row.completed_at and row.submitted_at and not row.reused)
    for row in heapq.nlargest(EXAMPLES, landed, key=lambda row: row.at):
        told, known_after = (row.completed_at or 0.0) - (row.submitted_at or 0.0), row.at - (row.submitted_at or 0.0)
        if 0 < told <= known_after:
            run.durations.finished(0.0, known_after, told)


async def _take_up(run: RunState, position: int, slot: str, row: RowState | None) -> int:
    """Queue one row; returns 1 for a row that an earlier process has started."""
    decision = decision_on(run.plan, row, slot, run.account, run.now())
    todo = next_todo(run.plan, position, row, decision)
    if todo is not None:
        if todo.number > run.rules.max_generations and not todo.fallback:
            run.progress.ended(Outcome.FAILED)
        else:
            run.todo.append(todo)
        return 0
    if row is None:
        raise AssertionError(f"a decision to {decision.action} needs a record")
    if decision.action is Action.KEEP:
        run.progress.ended(row.row_outcome)
        if run.rules.on_mismatch == "fail" and run.rules.stop_on_failure:
            planned = run.plan.as_sent(await run.workers.offload(run.plan.row, position), row.fallback_model)
            landed = [LandedVideo.model_validate(video) for video in row.landed or []]
            run.unlike += bool(mismatches(planned.request, landed, count=len(landed), cost_usd=row.cost_usd))
        return 0
    if isinstance(decision.error, (ContentRejectedError, GenerationModelGoneError)):
        run.progress.ended(row.row_outcome)
        run.hopeless += 1
        return 0
    planned = run.plan.as_sent(await run.workers.offload(run.plan.row, position), row.fallback_model)
    key = run.plan.idempotency_key(planned, epoch=row.epoch, number=row.number)
    record = record_of(
        row,
        fingerprint=planned.fingerprint,
        idempotency_key=key,
        model=planned.request.model,
        asked_by=run.plan.identity_of(planned).place,
    )
    active = Active(planned, slot, record)
    # A result that came with the first answer has no id: only a replay of the submission gives it again.
    replay = decision.action is Action.RESEND or record.generation_id == record.idempotency_key
    untrusted = replay and run.rules.on_unknown_submit == "fail"
    if decision.action is Action.REFUSE or untrusted:
        # An old failure is no reason to stop. The user who cleared the task wants the other rows.
        note = str(decision.error).replace(f"row {slot}", key) if decision.error else UNTRUSTED.format(key=key)
        outcome = Outcome.UNLANDED if untrusted and record.generation_id else Outcome.UNKNOWN
        run.note(active, outcome=outcome, note=note, final=True)
        run.progress.ended(outcome)
        run.hopeless += 1
        return 0
    if run.purse is not None:
        run.purse.adopt(active)
    run.commit_money(active)
    if replay:
        active.doubtful = True
        run.in_flight.add(active)
        run.resends.push(run.now(), active)
    elif run.durations.belief.known and run.now() - active.submitted >= run.durations.belief.median:
        # It has probably ended while nobody watched.
        run.in_flight.add(active)
        run.polls.push(run.now(), active)
    else:
        wait_for(run, active)
    return 1
