"""A row's path to its generation: upload, intent, paid call. See ``engine.py`` for why a row is paid for once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.client.models import Submission
from airflow_provider_apimart.client.protocol import Call
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.batch.engine import error_verdicts, model_end
from airflow_provider_apimart.generation.batch.engine.active_rows import Active, Todo
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.engine.purse import Purse
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.engine.run_state import RunState
from airflow_provider_apimart.generation.batch.engine.waiting import has_ended, wait_for
from airflow_provider_apimart.generation.batch.plan import PlannedRow
from airflow_provider_apimart.generation.batch.states import Outcome, line_of
from airflow_provider_apimart.generation.purchase import transitions
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE
from airflow_provider_apimart.generation.purchase.identity import account_mark
from airflow_provider_apimart.generation.purchase.record import (
    MAX_MODEL_LENGTH,
    MAX_PATH_LENGTH,
    MAX_UPLOAD_URL_LENGTH,
    Record,
    RecordState,
    clipped,
)
from airflow_provider_apimart.generation.purchase.uploading import UPLOAD_LIFE

UPLOAD_TRIES = 5
#: How often, and at which intervals, a journal write is tried before submissions stop.
JOURNAL_WAITS = (1.0, 5.0, 15.0, 30.0)
UPLOADS_AT_ONCE = 4


async def prepare(run: RunState, count: int) -> None:
    """Write the intents of the next rows to the journal, in one group. Then the rows may be submitted."""
    todos = await _next_todos(run, count)
    if not todos:
        return
    try:
        settings = await run.lane.settings()
    except ApimartError as error:
        _put_back(run, todos)
        run.stop_submitting(error_verdicts.stop_of(error) or Stop(StopKind.CONNECTION, str(error), error.terminal))
        return
    run.account = account_mark(settings.base_url, settings.api_key)
    rows = [await _row(run, todo) for todo in todos]
    todos, rows = model_end.still_to_pay(run, todos, rows, _intent, await _busy(run))
    if not todos:
        return
    limit = asyncio.Semaphore(UPLOADS_AT_ONCE)
    try:
        # A paused account blocks uploads for as long as it is paused, so the run's deadline limits the wait.
        async with asyncio.timeout(run.seconds_left) as patience:
            uploads = await asyncio.gather(*(_uploads(run, row, limit) for row in rows))
    except TimeoutError:
        if not patience.expired():
            raise
        _put_back(run, todos)
        return
    group: list[Active] = []
    for todo, row, uploaded in zip(todos, rows, uploads, strict=True):
        active = Active(row, run.plan.index.slots[row.position], _intent(run, todo, row, {}))
        run.commit_money(active)
        if isinstance(uploaded, ApimartError):
            _upload_failed(run, active, uploaded)
            continue
        active.record = _intent(run, todo, row, uploaded)
        group.append(active)
    try:
        written = bool(group) and await _write(run, group)
    except asyncio.CancelledError:
        # No row was submitted, though the intents may be in the journal already.
        for active in group:
            run.leave(active)
        raise
    if written and run.stop is None:
        run.ready.extend(group)
    else:
        for active in group:
            run.leave(active)


async def _row(run: RunState, todo: Todo) -> PlannedRow:
    held = run.plan.held(todo.position)
    if held is None:
        # The row's chunk is read off the event loop.
        held = await run.workers.offload(run.plan.row, todo.position)
    other = run.rules.fallback_model
    return run.plan.with_fallback(held, other) if todo.fallback and other else held


async def _busy(run: RunState) -> frozenset[str] | None:
    """Return the slots of rows that are under way; read again after each end of a model."""
    ends = len(run.ended_models)
    if run.busy[0] != ends:
        try:
            run.busy = ends, model_end.under_way(await run.workers.offload(read_ledger, run.plan))
        except ApimartError as error:
            run.log.warning("The journal could not be read (%s): no row is given up without asking APIMart.", error)
            return None
    return run.busy[1]


async def _next_todos(run: RunState, count: int) -> list[Todo]:
    todos: list[Todo] = []
    more = 0.0
    while run.todo and len(todos) < count:
        todo = run.todo[0]
        if not run.within_budget(todo, more):
            if not todos and not run.in_flight and not run.ready:
                rules = run.rules
                text = f"max_cost_usd={rules.max_cost_usd:g} is used up: {run.progress.spent_usd:.2f} USD are spent"
                run.stop_submitting(Stop(StopKind.BUDGET, text, True))
            elif not todos:
                # Running rows may turn out cheaper than estimated. Until then the budget has no room.
                await asyncio.sleep(1.0)
            break
        more += run.estimated(todo)
        todos.append(run.todo.popleft())
    return todos if run.purse is None or not todos else await _affordable(run, run.purse, todos)


async def _affordable(run: RunState, purse: Purse, todos: list[Todo]) -> list[Todo]:
    """Return those of the next rows that the budget has room for; the others are put back."""
    idle = not run.in_flight and not run.ready
    count = await purse.admit(
        [run.estimated(todo) for todo in todos],
        lambda: [run.estimated(todo) for todo in run.todo],
        run.now(),
        idle=idle,
    )
    if run.stop is not None:
        # It came while the ledger was asked.
        _put_back(run, todos)
        run.stop_submitting(run.stop)
        return []
    _put_back(run, todos[count:])
    if not count and idle and purse.stop is not None:
        run.stop_submitting(purse.stop)
    elif not count:
        # Running rows may turn out cheaper than estimated, or not be charged. Until then the budget has no room.
        await asyncio.sleep(1.0)
    return todos[:count]


def _put_back(run: RunState, todos: list[Todo]) -> None:
    run.todo.extendleft(reversed(todos))


def _intent(run: RunState, todo: Todo, row: PlannedRow, uploaded: dict[str, tuple[str, float]]) -> Record:
    key = run.plan.idempotency_key(row, epoch=todo.epoch, number=todo.number)
    oldest = min((at for _, at in uploaded.values()), default=None)
    return Record(
        state=RecordState.INTENT,
        fingerprint=row.fingerprint,
        idempotency_key=key,
        epoch=todo.epoch,
        number=todo.number,
        model=clipped(row.request.model, MAX_MODEL_LENGTH),
        account=run.account,
        fallback_from=row.fallback_from and clipped(row.fallback_from, MAX_MODEL_LENGTH),
        uploads={name: url for name, (url, _) in uploaded.items()},
        uploaded_at=None if oldest is None else datetime.fromtimestamp(oldest, tz=UTC),
        intent_at=run.utc(),
        asked_by=run.plan.identity_of(row).place,
        output_path=clipped(run.plan.index.output_uri, MAX_PATH_LENGTH),
        apimart_conn_id=run.plan.index.apimart_conn_id,
    )


async def _write(run: RunState, group: list[Active]) -> bool:
    """Make the intents durable; say whether they are."""
    for active in group:
        line = line_of(active.slot, active.record, run.now())
        # For a later try whose table does not have the row any more.
        run.journal.add(line if run.purse is None else {**line, "usd": active.row.estimated_usd or 0.0})
    for wait in (*JOURNAL_WAITS, None):
        try:
            await run.journal.flush()
            return True
        except ApimartError as error:
            if wait is None:
                text = f"the journal cannot be written, and nothing is paid for without it: {error}"
                run.stop_submitting(Stop(StopKind.STORAGE, text, False))
                return False
            run.log.warning("The journal could not be written (%s); trying again in %g s.", error, wait)
        await asyncio.sleep(wait)
    return False


# --- frames ------------------------------------------------------------------------------------------------------


async def _uploads(
    run: RunState, row: PlannedRow, limit: asyncio.Semaphore
) -> dict[str, tuple[str, float]] | ApimartError:
    """Return the URLs of a row's local frames and when they were uploaded, or the error that ends it."""
    found: dict[str, tuple[str, float]] = {}
    try:
        for name, path in row.request.local_images.items():
            digest = row.images[name]
            # Rows that share a frame wait for its single upload.
            async with run.upload_locks.setdefault(digest, asyncio.Lock()), limit:
                known = run.uploads.get(digest)
                if known is None or run.now() - known[1] > UPLOAD_LIFE.total_seconds():
                    known = run.uploads[digest] = await _upload(run, row, name, path, digest)
            found[name] = known
    except ApimartError as error:
        return error
    return found


async def _upload(run: RunState, row: PlannedRow, name: str, path: str, digest: str) -> tuple[str, float]:
    image = await run.workers.image(name, path, row.request.rules)
    if image.sha256 != digest:
        raise errors.LandingError(f"{name}={path!r} has changed since the table was checked")
    for failures in range(1, UPLOAD_TRIES + 1):
        await run.lane.admit()
        try:
            at = run.now()
            answer = await run.lane.send(
                lambda settings: protocol.upload(image.filename, image.content, image.content_type)
            )
        except ApimartError as error:
            error.charge = errors.Charge.NO
            if error.terminal or failures == UPLOAD_TRIES:
                raise
            await asyncio.sleep(error_verdicts.wait_after(error, failures))
        else:
            if len(answer.url) > MAX_UPLOAD_URL_LENGTH:
                raise errors.ResponseError(f"APIMart's upload answer holds a URL of {len(answer.url)} characters")
            return answer.url, at
    raise AssertionError("the last try returns or raises")


def _upload_failed(run: RunState, active: Active, error: ApimartError) -> None:
    run.release(active)
    if stop := error_verdicts.stop_of(error):
        run.commit_money(active)
        run.leave(active, str(error))
        run.stop_submitting(stop)
        return
    active.record = active.record.but(state=RecordState.REFUSED)
    run.end(active, Outcome.REFUSED, note=f"a frame could not be uploaded: {error}", final=error.terminal)


# --- the paid call -----------------------------------------------------------------------------------------------


class _OtherAccount(Exception):
    """The connection has a different key or host than when the intent was saved."""


class _KeyForgotten(Exception):
    """APIMart may have forgotten the idempotency key by now: the call would be a new one and paid for again."""


async def submit(run: RunState, active: Active) -> None:
    """Send the paid call once, and do what its answer means."""
    if run.stop is not None and not active.doubtful:
        run.leave(active)
        return
    ended = not active.doubtful and active.row.request.model in run.ended_models
    # A row that would be paid for with the fallback is submitted all the same: another may have used its intent.
    if ended and not model_end.falls_back(run, active.row):
        model_end.row_without_model(run, active)
        return
    sent_at, seen = run.now(), run.lane.account.changes
    active.first_sent = active.first_sent or sent_at
    record = active.record
    resend_unknown = run.rules.on_unknown_submit == "resend"

    def paid_call(settings: Settings) -> Call[Submission]:
        # A row can wait for a day: because the account always answers 429, or because this process was suspended.
        # Another process may have taken its place meanwhile.
        if run.utc() - record.intent_at >= KEY_LIFE:
            raise _KeyForgotten
        # The connection is looked up again while the batch runs. Another account would pay again for what this one may
        # have paid for, and a later try could not know which of the two to poll.
        if record.account not in (None, account_mark(settings.base_url, settings.api_key)):
            raise _OtherAccount
        return protocol.submit(
            active.row.request.body(record.uploads),
            record.idempotency_key,
            resend_unknown=resend_unknown,
            response_version=settings.response_version,
        )

    try:
        answer = await run.lane.send(paid_call)
        active.record = transitions.submitted(record, answer, run.utc())
    except _OtherAccount:
        _moved(run, active)
        return
    except _KeyForgotten:
        run.release(active)
        text = "it may have been paid for, and APIMart has forgotten its idempotency key by now (24 hours)"
        run.end(active, Outcome.UNKNOWN, note=text, final=True)
        return
    except ApimartError as error:
        await _failed(run, active, error, sent_at, seen)
        return
    active.failures = 0
    run.note(active)
    if answer.result is None:
        wait_for(run, active)
    else:
        run.in_flight.add(active)
        has_ended(run, active, answer.result)


def _moved(run: RunState, active: Active) -> None:
    """Handle a connection that has changed since the intent was written. This attempt sent nothing."""
    if active.doubtful:
        run.release(active)
        text = "the connection has another key now, and what was sent under the old one may have been paid for"
        run.end(active, Outcome.UNKNOWN, note=text)
        return
    _begin_again(run, active)


def _begin_again(run: RunState, active: Active) -> None:
    # A new intent names the account that will pay now. Nothing was done under the old one.
    if run.stop is None:
        run.begin_again(active)
    else:
        run.leave(active)


async def _failed(run: RunState, active: Active, error: ApimartError, sent_at: float, seen: int) -> None:
    active.doubtful = active.doubtful or error_verdicts.is_doubt(error)
    active.failures += 1
    began = active.first_sent if active.first_sent is not None else sent_at
    verdict = error_verdicts.after_submission(
        error,
        doubtful=active.doubtful,
        failures=active.failures,
        given_up=sent_at - began > run.rules.timeout_seconds,
        resend_unknown=run.rules.on_unknown_submit == "resend",
        ended=active.row.request.model in run.ended_models,
    )
    if verdict.stop is not None and verdict.stop.kind is StopKind.CREDENTIALS and await run.lane.look_again(seen):
        # The API key was rotated. The new key takes the row, but it cannot see what the old key may have paid for.
        if not active.doubtful:
            _begin_again(run, active)
            return
    if verdict.pause:
        active.failures -= 1
        if active.doubtful:
            run.resends.push(run.now(), active)
        else:
            run.put_back(active)
        return
    if verdict.again_after is not None:
        run.unanswered(error)
        run.resends.push(run.now() + verdict.again_after, active)
        return
    if verdict.model_ends:
        await model_end.refused(run, active, error)
        return
    if verdict.stop is not None:
        run.stop_submitting(verdict.stop)
    if verdict.undone and verdict.outcome is Outcome.LEFT:
        run.leave(active, str(error))
        return
    run.release(active)
    if verdict.undone:
        active.record = transitions.refused(active.record, error)
    run.end(active, verdict.outcome, note=str(error), final=verdict.final)
