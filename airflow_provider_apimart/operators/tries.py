"""What a try of an operator of one paid generation does: obtain the generation, wait for it, land it.

Thin on purpose. ``generation/purchase/purchase.py`` decides what to pay for and submits it.
``generation/waiting/polling.py`` decides when to poll. ``generation/landing/delivery.py`` lands the video. The
deferrable and the sync path differ only in which process waits.

A deferrable task has two processes. So each step loads what it needs where it needs it: paying, waiting and landing are
not loaded by who does something else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_apimart.client.errors import (
    GenerationModelGoneError,
    GenerationParkedError,
)
from airflow_provider_apimart.client.fallback import with_model
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.decide import Action, Policy
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, RecordStore
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.reports import lineage, metrics, notes
from airflow_provider_apimart.hooks.storage.paths import read_images, target_of
from airflow_provider_apimart.hooks.stores.record_stores import record_store
from airflow_provider_apimart.links.veo import only_useful
from airflow_provider_apimart.operators import arguments, models, veo_arguments
from airflow_provider_apimart.operators.budget import BudgetExhaustedError, spending_of, when_exhausted
from airflow_provider_apimart.operators.labels import check_name, labels_of
from airflow_provider_apimart.operators.recall import recall, wanted_here
from airflow_provider_apimart.operators.task import (
    check_expiry,
    failures,
    final_word,
    identity_of,
    provenance_of,
    result_of,
    waited_for_record,
)
from airflow_provider_apimart.operators.waiting import WaitingTask, deadline_of, defer, deferred_deadline, wait
from airflow_provider_apimart.storage.places import check_target

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.client.models import Generation, VeoRequest
    from airflow_provider_apimart.generation.purchase.purchase import Purchase
    from airflow_provider_apimart.storage.files import Target

STAYS_KNOWN = (
    "Whatever ends this wait, the generation goes on and is billed (APIMart has no cancel); the next try, or a clear, "
    "re-attaches to it without paying again"
)


class GenerationTask(WaitingTask, Protocol):
    """An operator of one paid generation, and what a try learns."""

    generation_id: str | None
    video_url: str | None

    def _checked_request(self) -> VeoRequest: ...


@dataclass(frozen=True)
class Paid:
    """A generation that is paid for, with all that is needed to land it.

    :param last_word: what APIMart said last about it, for messages.
    """

    client: ApimartClient
    store: RecordStore
    record: Record
    request: VeoRequest
    last_word: str = ""


def run(task: GenerationTask, context: Context) -> dict[str, Any]:
    """Obtain the generation, wait for it here or in the triggerer, and land it."""
    began = time.time()
    request = task._checked_request()
    check_name(task, context)
    for note in request.notes():
        task.log.warning("%s", note)
    with only_useful(task), failures(task, context) as known:
        known.store = record_store(context, _output(task), identity_of(context))
        return _generate(task, context, known.store, request, began)


def _generate(
    task: GenerationTask, context: Context, store: RecordStore, request: VeoRequest, began: float
) -> dict[str, Any]:
    """Obtain the generation, wait for it and land it; if its model is gone, the same with the fallback model."""
    from airflow_provider_apimart.generation.purchase.purchase import Purchase

    output = _output(task)
    if output is not None:
        check_target(output)
    images = read_images(request)
    with ApimartHook(task.apimart_conn_id).get_conn() as client:
        on_unknown_submit = task.on_unknown_submit or client.settings.on_unknown_submit
        purchase = Purchase(
            client=client,
            store=store,
            identity=identity_of(context),
            request=request,
            images=images,
            policy=Policy(on_clear=task.on_clear, on_unknown_submit=on_unknown_submit),
            output_path=None if output is None else output.uri,
            apimart_conn_id=task.apimart_conn_id,
            approve=lambda wanted: _approve(task, wanted, client),
            fallback=models.fallback_of(task.fallback_model, request, at_last=models.is_last_try(context)),
            spending=spending_of(task.budget, identity_of(context), store),
        )
        while True:
            try:
                return _carry_out(task, purchase, output, context, began)
            except GenerationModelGoneError as error:
                if purchase.fallback is None:
                    raise models.with_advice(error, purchase.request.model, client) from None
            except BudgetExhaustedError as error:
                when_exhausted(task, error)
                raise


def _approve(task: GenerationTask, request: VeoRequest, client: ApimartClient) -> None:
    """Refuse what cannot be carried out to its end, or costs too much, before it is paid for."""
    if task.check is not None:
        from airflow_provider_apimart.operators.checks import before_paying

        before_paying(task.check)
    models.approve(task, arguments.owner_of(task), request, client)


def _carry_out(
    task: GenerationTask, purchase: Purchase, output: Target | None, context: Context, began: float
) -> dict[str, Any]:
    obtained = purchase.obtain(lambda record: _files_whole(record, output))
    client, store, request = purchase.client, purchase.store, purchase.request
    record, view, last_word = wanted_here(task, store, obtained.record, output), obtained.view, ""
    task.generation_id = record.generation_id
    if obtained.decision.action is Action.KEEP:
        task.log.info("Nothing to do: %s.", obtained.decision.reason)
        return _result(task, context, record, view, record.landed, request)
    if obtained.decision.action is Action.WAIT:
        # Logged now: if a person or kill -9 ends the wait, nothing may be left to log it.
        task.log.info("Waiting: %s. %s.", obtained.decision.reason, STAYS_KNOWN)
        deadline = deferred_deadline(task, record, began) if task.deferrable else deadline_of(task, record)
        notes.leave(
            context,
            lambda: notes.of_generation(task, record, outcome="running", request=request, deadline=deadline),
        )
        if task.deferrable and time.time() < deadline_of(task, record):
            defer(task, record, request, began)
        view, last_word = wait(task, client, record)
    if obtained.decision.action is Action.REFUSE and obtained.decision.error:
        raise obtained.decision.error
    return _finish(task, Paid(client, store, record, request, last_word), view, context)


def complete(
    task: GenerationTask,
    context: Context,
    event: Any,
    record: Any,
    request: Any,
    labels: Any,
    fallback_model: Any,
) -> dict[str, Any]:
    """Land the generation that the trigger has waited for.

    Airflow has rendered all arguments again by now, and a template may give another value than when the generation was
    paid for. So the values from the deferral are used. The parameters are those of the operator's ``execute_complete``.
    """
    began = time.time()
    with only_useful(task), failures(task, context) as known:
        recall(task, record, labels)
        if request is not None:
            task.fallback_model = fallback_model
        paid = task.request_type.checked(task._request_values() if request is None else request)
        output = _output(task)
        store = record_store(context, output, identity_of(context))
        known.store = store
        current = store.load()
        waited_for = waited_for_record(record, current, event, paid)
        if current is None:
            store.save(waited_for)
        if current is None or current.generation_id != waited_for.generation_id:
            # Another try may have run meanwhile. The store keeps that try's record. This one finishes the
            # generation that it waited for.
            current = waited_for
        if request is None and current.fallback_from:
            paid = with_model(paid, current.model)
        task.generation_id = current.generation_id
        last_word = report.last_word_of(event)
        with ApimartHook(task.apimart_conn_id).get_conn() as client:
            view = final_word(client, current, event)
            try:
                return _finish(task, Paid(client, store, current, paid, last_word), view, context)
            except GenerationModelGoneError as error:
                if arguments.is_unset(task.fallback_model) or current.fallback_from:
                    raise models.with_advice(error, current.model, client) from None
        # The record says that the model is gone. What follows is what a next try would do.
        arguments.refuse_for_now(arguments.owner_of(task), veo_arguments.argument_problems(task, arguments.always))
        return _generate(task, context, store, paid, began)


def _output(task: GenerationTask) -> Target | None:
    return None if task.output_path is None else target_of(task.output_path)


def _finish(task: GenerationTask, paid: Paid, view: Generation | None, context: Context) -> dict[str, Any]:
    """Land the videos of a generation that has ended, or raise the error that it ended with."""
    from airflow_provider_apimart.generation.purchase.kept import keep
    from airflow_provider_apimart.generation.purchase.transitions import settled

    record = paid.record
    if view is None or not view.is_final:
        text = report.parked_text(record, polls_failed=False, last_word=paid.last_word)
        if time.time() < deadline_of(task, record):
            text += f". What passed was execution_timeout={task.execution_timeout}, which limits each try's wait"
        metrics.count("parked", record)
        raise GenerationParkedError(text, generation_id=record.generation_id or "")
    decision, record = settled(record, view)
    spending = spending_of(task.budget, identity_of(context), paid.store)
    if spending is not None:
        spending.settle(record)
    output = _output(task)
    if decision.error is not None or output is None:
        keep(paid.store, record)
    if decision.error is not None:
        metrics.count_error(decision.error, record)
        raise decision.error
    task.log.info("%s", report.summary(view, record))
    if output is None:
        check_expiry(record, view.videos)
        metrics.count("completed", record, videos=len(view.videos))
        return _result(task, context, record, view, (), paid.request)
    from airflow_provider_apimart.generation.landing.delivery import deliver

    try:
        landed = deliver(
            client=paid.client,
            record=record,
            videos=view.videos,
            output=output,
            provenance=provenance_of(record, paid.request, context, labels_of(task.labels)),
            request=paid.request,
        )
    except Exception:
        # (Nothing is saved between the end of the wait and the landing: a try that is killed there leaves a record
        # that says "submitted", and the next one asks APIMart again.)
        keep(paid.store, record)
        raise
    keep(paid.store, record.but(state=RecordState.LANDED, landed=landed))
    metrics.count("completed", record, videos=len(landed))
    return _result(task, context, record.but(landed=landed), view, landed, paid.request)


def _result(
    task: GenerationTask,
    context: Context,
    record: Record,
    view: Generation | None,
    landed: Sequence[LandedVideo],
    request: VeoRequest,
) -> dict[str, Any]:
    """Return the XCom of a generation whose record is settled, once its videos pass the user's check."""
    task._tell(context, partial(lineage.of_generation, record, request, landed))
    videos = view.videos if view else ()
    task.video_url = videos[0].url if videos else None
    result = result_of(record, videos, landed, request, task.on_mismatch, task.log)
    notes.leave(context, lambda: notes.of_generation(task, record, outcome="completed", request=request, videos=landed))
    if task.check is not None and landed:
        from airflow_provider_apimart.operators.checks import check_landed

        check_landed(task.check, record, landed, request, context)
    return result


def _files_whole(record: Record, output: Target | None) -> bool:
    from airflow_provider_apimart.generation.landing.delivery import files_whole

    return files_whole(record, output)
