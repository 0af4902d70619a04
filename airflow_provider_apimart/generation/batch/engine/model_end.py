"""A model that ends while a batch runs: nothing more is submitted for it, and its rows end or go on with the fallback.

One answer of APIMart is enough. The other rows of the model cost no further request: each is given its outcome, or its
fallback, when its turn comes. What runs already is waited for; whether it still becomes a video, APIMart says.

Another process may work on the same batch (a triggerer that was taken for dead), and may have submitted a row while the
model was alive. Its intent was in the journal before that. So the journal is read once more after the end of a model: a
row with an intent of anybody's is submitted, not skipped, and its key finds the other's generation.

A row's generation by the fallback model is its next number, so the journal's latest line always tells which of the two
counts. A row whose first submission may have been carried out gets no fallback: both might be paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.errors import ApimartError, ModelGoneError
from airflow_provider_apimart.generation.batch.engine.active_rows import Active, Todo
from airflow_provider_apimart.generation.batch.engine.run_state import EndedModel, RunState
from airflow_provider_apimart.generation.batch.plan import PlannedRow
from airflow_provider_apimart.generation.batch.states import Ledger, Outcome
from airflow_provider_apimart.generation.catalogue.gone import is_listed
from airflow_provider_apimart.generation.purchase.record import Record, RecordState

MakeIntent = Callable[[RunState, Todo, PlannedRow, dict[str, tuple[str, float]]], Record]


async def refused(run: RunState, active: Active, error: ApimartError) -> None:
    """Handle a submission that was refused because of its model; nothing was done."""
    model = active.row.request.model
    gone = isinstance(error, ModelGoneError) or await _is_not_listed(run, model)
    if not gone and run.rules.fallback_at_last and _fallback_of(run, active.row) is not None:
        gone = True
    _note(run, model, str(error), gone)
    row_without_model(run, active, str(error))


async def _is_not_listed(run: RunState, model: str) -> bool:
    """Ask, once no channel was found for long enough, whether the account has the model at all."""
    try:
        models = await run.lane.send(lambda settings: protocol.models(expand=True))
    except ApimartError:
        return False
    return is_listed(model, models) is False


def generation_lost(run: RunState, active: Active) -> None:
    """Handle a generation that failed because its model is gone. It was not charged."""
    run.release(active)
    reason = active.record.note or "no reason given"
    _note(run, active.row.request.model, reason, gone=True)
    if run.stop is None and _fallback_of(run, active.row) is not None:
        run.note(active)
        run.todo.appendleft(_next(active))
    else:
        note = f"its model is gone, so the generation failed, not charged: {reason}"
        run.end(active, Outcome.MODEL_GONE, note=note, final=True)


def row_without_model(run: RunState, active: Active, told: str | None = None) -> None:
    """Handle a row whose model has ended. Nothing was done for it.

    :param told: what APIMart said about this row's own submission; ``None`` if it was not sent.
    """
    ended = run.ended_models[active.row.request.model]
    note = told or f"not submitted, since its model {'is gone' if ended.gone else 'has no channel'}: {ended.text}"
    if not ended.gone or run.stop is not None:
        run.leave(active, note)
        return
    run.release(active)
    active.record = active.record.but(state=RecordState.REFUSED)
    if _fallback_of(run, active.row) is not None:
        run.note(active, note=note)
        run.todo.appendleft(_next(active))
    else:
        run.end(active, Outcome.MODEL_GONE, note=note, final=True)


def falls_back(run: RunState, row: PlannedRow) -> bool:
    """Return whether a row would be paid for with the fallback model."""
    ended = run.ended_models.get(row.request.model)
    return ended is not None and ended.gone and _fallback_of(run, row) is not None


def under_way(ledger: Ledger) -> frozenset[str]:
    """Return the slots of the rows for which somebody has, or may have, submitted something."""
    states = (RecordState.INTENT, RecordState.SUBMITTED, RecordState.LANDED)
    return frozenset(slot for slot, row in ledger.rows.items() if row.state in states)


def still_to_pay(
    run: RunState, todos: list[Todo], rows: list[PlannedRow], intent: MakeIntent, busy: Collection[str] | None
) -> tuple[list[Todo], list[PlannedRow]]:
    """Return those rows whose models have not ended; the others end, or are queued with the fallback model.

    :param intent: makes a row's record.
    :param busy: the slots of rows that are under way, as the journal said after the last end of a model; ``None`` if it
        could not be read.
    """
    kept: list[tuple[Todo, PlannedRow]] = []
    again: list[Todo] = []
    for todo, row in zip(todos, rows, strict=True):
        ended = run.ended_models.get(row.request.model)
        if ended is None or busy is None or run.plan.index.slots[row.position] in busy:
            kept.append((todo, row))
            continue
        if ended.gone and _fallback_of(run, row) is not None:
            again.append(Todo(todo.position, todo.epoch, todo.number + 1, fallback=True))
            continue
        active = Active(row, run.plan.index.slots[row.position], intent(run, todo, row, {}))
        run.commit_money(active)
        row_without_model(run, active)
    # (Their price is another, so they take their turn, and the budget's check, once more.)
    run.todo.extendleft(reversed(again))
    if again and run.stop is not None:
        run.stop_submitting(run.stop)
    return [todo for todo, _ in kept], [row for _, row in kept]


def _next(active: Active) -> Todo:
    record = active.record
    return Todo(active.row.position, record.epoch, record.number + 1, fallback=True)


def _fallback_of(run: RunState, row: PlannedRow) -> str | None:
    """Return the model that can take the place of a row's own."""
    other = run.rules.fallback_model
    if other is None or row.fallback_from is not None or other in run.ended_models:
        return None
    return other if run.plan.index.can_fall_back(row.position) else None


def _note(run: RunState, model: str, text: str, gone: bool) -> None:
    known = run.ended_models.get(model)
    if known is not None and (known.gone or not gone):
        return
    run.ended_models[model] = EndedModel(text, gone)
    other = run.rules.fallback_model
    if not gone:
        then = "its other rows are left to the next try, at no cost"
    elif other is not None and other != model and other not in run.ended_models:
        then = f"its other rows go on with fallback_model={other!r}: new generations, which are paid for"
    else:
        then = "its other rows end without a submission, at no cost"
    what = "is gone" if gone else "has no channel now"
    run.log.warning("model=%r %s (%s). Nothing more is paid for it: %s.", model, what, text.rstrip("."), then)
