"""What earlier processes have done and what is left to do: the engine's first step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.client.errors import ApimartError, ContentRejectedError
from airflow_provider_apimart.generation.batch.journal import read_journal
from airflow_provider_apimart.generation.batch.plan import Plan
from airflow_provider_apimart.generation.batch.states import Ledger, Outcome, RowState, record_of
from airflow_provider_apimart.generation.batch.waiting import wait_for
from airflow_provider_apimart.generation.batch.work import Active, Todo
from airflow_provider_apimart.generation.decide import Action, Decision, Policy, decide
from airflow_provider_apimart.generation.identity import account_mark
from airflow_provider_apimart.generation.mismatch import mismatches
from airflow_provider_apimart.generation.record import LandedVideo

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.batch.engine import Engine

#: Rows that are decided before other tasks get their turn on the event loop.
BREATH = 200


def read_ledger(plan: Plan) -> Ledger:
    """Return what is known of the rows of a plan.

    :raises LandingError: when the storage does not answer.
    """
    index = plan.index
    lines: Iterable[dict[str, Any]] = read_journal(plan.journal)
    if index.rules.on_clear == "regenerate":
        # Generations made before the clear are not outcomes of this one: they are not in its bill and not in its
        # manifest.
        lines = (line for line in lines if line.get("epoch", 0) >= index.identity.clear_epoch)
    return Ledger(wanted=frozenset(index.slots)).fold(lines)


def decision_on(plan: Plan, row: RowState | None, slot: str, account: str | None, now: float) -> Decision:
    """Decide about a row from what the journal says of it. The slot stands for the request."""
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


async def begin(engine: Engine) -> None:
    """Read the journal and queue every row where it belongs."""
    ledger: Ledger = await engine.hands.offload(read_ledger, engine.plan)
    try:
        settings = await engine.wire.settings()
        engine.account = account_mark(settings.base_url, settings.api_key)
    except ApimartError as error:
        # It is looked up again when needed; running generations must not be given up because a connection is missing
        # now.
        engine.log.warning("The connection cannot be used now: %s", error)
    taken_up = 0
    for position, slot in enumerate(engine.plan.index.slots):
        row = ledger.rows.pop(slot, None)
        if row is not None and row.state.value == "landed" and not row.reused:
            engine.progress.spent_usd += row.cost_usd or 0.0
        taken_up += await _take_up(engine, position, slot, row)
        if position % BREATH == 0:
            await asyncio.sleep(0)
    engine.check_failures()
    if engine.progress.done or taken_up:
        engine.log.info(
            "Continuing: %d of %d rows have their videos, %d have ended otherwise, %d were running.",
            engine.progress.good,
            engine.progress.total,
            engine.progress.failed,
            taken_up,
        )


async def _take_up(engine: Engine, position: int, slot: str, row: RowState | None) -> int:
    """Queue one row. Return 1 if an earlier process started it."""
    decision = decision_on(engine.plan, row, slot, engine.account, engine.now())
    if decision.action is Action.SUBMIT:
        if decision.number > engine.rules.max_generations:
            engine.progress.ended(Outcome.FAILED)
        else:
            engine.todo.append(Todo(position, decision.epoch, decision.number))
        return 0
    if row is None:
        raise AssertionError(f"a decision to {decision.action} needs a record")
    if decision.action is Action.KEEP:
        engine.progress.ended(row.row_outcome)
        if engine.rules.on_mismatch == "fail" and engine.rules.stop_on_failure:
            planned = await engine.hands.offload(engine.plan.row, position)
            landed = [LandedVideo.model_validate(video) for video in row.landed or []]
            engine.unlike += bool(mismatches(planned.request, landed, count=len(landed), cost_usd=row.cost_usd))
        return 0
    if isinstance(decision.error, ContentRejectedError):
        engine.progress.ended(Outcome.REJECTED)
        engine.hopeless += 1
        return 0
    planned = await engine.hands.offload(engine.plan.row, position)
    key = engine.plan.idempotency_key(planned, epoch=row.epoch, number=row.number)
    record = record_of(
        row,
        fingerprint=planned.fingerprint,
        idempotency_key=key,
        model=planned.request.model,
        asked_by=engine.plan.identity_of(planned).place,
    )
    active = Active(planned, slot, record)
    if decision.action is Action.REFUSE:
        # An old failure is no reason to stop: whoever cleared the task wants the other rows.
        note = str(decision.error).replace(f"row {slot}", key)
        engine.note(active, outcome=Outcome.UNKNOWN, note=note, final=True)
        engine.progress.ended(Outcome.UNKNOWN)
        engine.hopeless += 1
        return 0
    engine.commit_money(active)
    if decision.action is Action.RESEND:
        active.doubtful = True
        engine.in_flight.add(active)
        engine.resends.push(engine.now(), active)
    else:
        wait_for(engine, active)
    return 1
