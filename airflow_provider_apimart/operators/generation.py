"""What every operator of one paid generation does: obtain it, wait for it, land it.

Thin on purpose. ``generation/purchase/purchase.py`` decides what to pay for and submits it.
``generation/waiting/polling.py`` decides when to poll. ``generation/landing/delivery.py`` lands the video. The
deferrable and the sync path differ only in which process waits.

A deferrable task has two processes, and the DAG processor a third that only reads the file. So each step loads what it
needs where it needs it: paying, waiting and landing are not loaded by who does something else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import BaseOperator, TaskDeferralError, TaskDeferralTimeout
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import (
    GenerationModelGoneError,
    GenerationParkedError,
)
from airflow_provider_apimart.client.fallback import with_model
from airflow_provider_apimart.client.models import Generation, VeoRequest
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.decide import Action, Policy
from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, RecordStore
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.reports import lineage, metrics, notes
from airflow_provider_apimart.hooks.storage.paths import read_images, target_of
from airflow_provider_apimart.hooks.stores.record_stores import record_store
from airflow_provider_apimart.links.veo import ApimartHelpLink, VeoVideoLink, only_useful
from airflow_provider_apimart.operators import arguments, models, veo_arguments
from airflow_provider_apimart.operators.budget import BudgetExhaustedError, spending_of, when_exhausted
from airflow_provider_apimart.operators.labels import check_name, labels_of
from airflow_provider_apimart.operators.lineage import TellsLineage
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
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.operators.waiting import WaitsForGeneration
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.storage.localfs import drop_parts
from airflow_provider_apimart.storage.places import check_target

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.generation.purchase.purchase import Purchase


STAYS_KNOWN = (
    "Whatever ends this wait, the generation goes on and is billed (APIMart has no cancel); the next try, or a clear, "
    "re-attaches to it without paying again"
)


@dataclass(frozen=True)
class Paid:
    """A generation that is paid for, with all that is needed to land it."""

    client: ApimartClient
    store: RecordStore
    record: Record
    request: VeoRequest


class GenerationOperator(WaitsForGeneration, TellsLineage, AuthorTemplates, BaseOperator):
    """The base of the operators that pay for one generation. A subclass has the arguments, and says what is asked for.

    A subclass sets ``model``, ``resolution``, ``generate_audio``, ``fallback_model``, ``rules``, ``output_path``,
    ``apimart_conn_id``, ``deferrable``, ``timeout``, ``poll_interval``, ``on_clear``, ``on_unknown_submit``,
    ``on_mismatch``, ``check``, ``max_cost_usd``, ``budget`` and ``labels``, and calls :meth:`_begin` at the end of its
    ``__init__``.
    """

    #: What is paid for.
    request_type: ClassVar[type[VeoRequest]] = VeoRequest
    object_fields: ClassVar[Sequence[str]] = ("extra_body", "labels")
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra_body": "json", "labels": "json"}
    operator_extra_links = (VeoVideoLink(), ApimartHelpLink())
    ui_color = "#e8e0ff"

    model: Any
    resolution: Any
    generate_audio: Any = None
    fallback_model: Any = None
    rules: Any = "table"
    output_path: Any
    apimart_conn_id: Any
    deferrable: Any
    timeout: Any
    poll_interval: Any
    on_clear: Any
    on_unknown_submit: Any
    on_mismatch: Any
    check: Any = None
    max_cost_usd: Any
    budget: Any = None
    labels: Any

    def __init__(self, **kwargs: Any) -> None:
        # Without an ``__init__`` here, Airflow would take those of ``BaseOperator`` as this class's own wishes: in
        # ``.partial()`` they replace the real defaults (``inlets`` is ``None``), and every mapped task fails.
        super().__init__(**kwargs)

    def _begin(self) -> None:
        """Set what a try learns, and check those arguments that are known while the DAG is parsed."""
        # For on_kill and the links.
        self.generation_id: str | None = None
        self.video_url: str | None = None
        self.help_url: str | None = None
        self._last_word = ""
        arguments.refuse(self._owner, veo_arguments.literal_problems(self))

    # --- arguments -----------------------------------------------------------------------------------------------

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        super()._do_render_template_fields(*args, **kwargs)
        if not arguments.label_problems("labels", self.labels):
            # For map_index_template, which Airflow renders next, and again at the end.
            self.labels = labels_of(self.labels)

    @property
    def _owner(self) -> str:
        return arguments.owner_of(self)

    def _request_values(self) -> dict[str, Any]:
        """Return the request's parameters, by name."""
        return {name: getattr(self, name) for name in self.request_type.FIELDS}

    def _checked_request(self) -> VeoRequest:
        """Check all arguments, and return the request as it is rendered now."""
        arguments.refuse(self._owner, veo_arguments.late_problems(self))
        return self.request_type.checked(self._request_values())

    # --- the two ends of the task --------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Obtain the generation, wait for it here or in the triggerer, and land it."""
        return self._run(context)

    def execute_after_reset(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Ask the budget again in its next day or month, and go on. Nothing was paid for when the wait began.

        :param event: the trigger's event; see :class:`~airflow_provider_apimart.triggers.budget.BudgetResetTrigger`.
        """
        return self._run(context)

    def _run(self, context: Context) -> dict[str, Any]:
        began = time.time()
        request = self._checked_request()
        check_name(self, context)
        for note in request.notes():
            self.log.warning("%s", note)
        with only_useful(self), failures(self, context) as known:
            known.store = record_store(context, self._output(), identity_of(context))
            return self._generate(context, known.store, request, began)

    def _generate(self, context: Context, store: RecordStore, request: VeoRequest, began: float) -> dict[str, Any]:
        """Obtain the generation, wait for it and land it; if its model is gone, the same with the fallback model."""
        from airflow_provider_apimart.generation.purchase.purchase import Purchase

        output = self._output()
        if output is not None:
            check_target(output)
        images = read_images(request)
        with ApimartHook(self.apimart_conn_id).get_conn() as client:
            on_unknown_submit = self.on_unknown_submit or client.settings.on_unknown_submit
            purchase = Purchase(
                client=client,
                store=store,
                identity=identity_of(context),
                request=request,
                images=images,
                policy=Policy(on_clear=self.on_clear, on_unknown_submit=on_unknown_submit),
                output_path=None if output is None else output.uri,
                apimart_conn_id=self.apimart_conn_id,
                approve=lambda wanted: self._approve(wanted, client),
                fallback=models.fallback_of(self.fallback_model, request, at_last=models.is_last_try(context)),
                spending=spending_of(self.budget, identity_of(context), store),
            )
            while True:
                try:
                    return self._carry_out(purchase, output, context, began)
                except GenerationModelGoneError as error:
                    if purchase.fallback is None:
                        raise models.with_advice(error, purchase.request.model, client) from None
                except BudgetExhaustedError as error:
                    when_exhausted(self, error)
                    raise

    def _approve(self, request: VeoRequest, client: ApimartClient) -> None:
        """Refuse what cannot be carried out to its end, or costs too much, before it is paid for."""
        if self.check is not None:
            from airflow_provider_apimart.operators.checks import before_paying

            before_paying(self.check)
        models.approve(self, self._owner, request, client)

    def _carry_out(self, purchase: Purchase, output: Target | None, context: Context, began: float) -> dict[str, Any]:
        obtained = purchase.obtain(lambda record: _files_whole(record, output))
        client, store, request = purchase.client, purchase.store, purchase.request
        record, view = wanted_here(self, store, obtained.record, output), obtained.view
        self.generation_id = record.generation_id
        if obtained.decision.action is Action.KEEP:
            self.log.info("Nothing to do: %s.", obtained.decision.reason)
            return self._result(context, record, view, record.landed, request)
        if obtained.decision.action is Action.WAIT:
            # Logged now: if a person or kill -9 ends the wait, nothing may be left to log it.
            self.log.info("Waiting: %s. %s.", obtained.decision.reason, STAYS_KNOWN)
            deadline = self._deferred_deadline(record, began) if self.deferrable else self._deadline(record)
            notes.leave(
                context,
                lambda: notes.of_generation(self, record, outcome="running", request=request, deadline=deadline),
            )
            if self.deferrable and time.time() < self._deadline(record):
                self._defer(record, request, began)
            view = self._wait(client, record)
        if obtained.decision.action is Action.REFUSE and obtained.decision.error:
            raise obtained.decision.error
        return self._finish(Paid(client, store, record, request), view, context)

    def execute_complete(
        self,
        context: Context,
        event: Any,
        record: Any = None,
        request: Any = None,
        labels: Any = None,
        fallback_model: Any = None,
    ) -> dict[str, Any]:
        """Land the generation that the trigger has waited for.

        Airflow has rendered all arguments again by now, and a template may give another value than when the generation
        was paid for. So the values from the deferral are used.

        :param event: the trigger's event; see :class:`~airflow_provider_apimart.triggers.veo.VeoGenerationTrigger`.
        :param record: the record when the deferral began; ``None`` if Airflow dropped it, as ``dags test`` does.
        :param request: the request when the deferral began; ``None`` if Airflow dropped it.
        :param labels: the labels when the deferral began; ``None`` if Airflow dropped them.
        :param fallback_model: the fallback model when the deferral began, if there was one.
        """
        began = time.time()
        with only_useful(self), failures(self, context) as known:
            recall(self, record, labels)
            if request is not None:
                self.fallback_model = fallback_model
            paid = self.request_type.checked(self._request_values() if request is None else request)
            output = self._output()
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
            self.generation_id = current.generation_id
            self._last_word = report.last_word_of(event)
            with ApimartHook(self.apimart_conn_id).get_conn() as client:
                view = final_word(client, current, event)
                try:
                    return self._finish(Paid(client, store, current, paid), view, context)
                except GenerationModelGoneError as error:
                    if arguments.is_unset(self.fallback_model) or current.fallback_from:
                        raise models.with_advice(error, current.model, client) from None
            # The record says that the model is gone. What follows is what a next try would do.
            arguments.refuse_for_now(self._owner, veo_arguments.argument_problems(self, arguments.always))
            return self._generate(context, store, paid, began)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. If Airflow itself ended the deferral, log what happens to the paid generation."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            # Airflow has replaced the kwargs, so only the store still holds the generation's id. It is not lost: the
            # next try re-attaches.
            self.log.error(
                "Airflow ended the wait (%s). The generation goes on at APIMart and is billed when it completes (there "
                "is no cancel); the next try, or a clear, re-attaches to it without paying again.",
                error,
            )
            raise

    def on_kill(self) -> None:
        """Log what happens to the paid generation: APIMart has no cancel.

        Airflow kills the process next, and no ``finally`` runs.
        """
        if self.generation_id:
            self.log.warning("%s", report.abandoned_text(self.generation_id))
        # If another try has already landed the video, no later landing would delete these partial files.
        drop_parts()

    # --- steps ---------------------------------------------------------------------------------------------------

    def _output(self) -> Target | None:
        return None if self.output_path is None else target_of(self.output_path)

    def _finish(self, paid: Paid, view: Generation | None, context: Context) -> dict[str, Any]:
        """Land the videos of a generation that has ended, or raise the error that it ended with."""
        from airflow_provider_apimart.generation.purchase.kept import keep
        from airflow_provider_apimart.generation.purchase.transitions import settled

        record = paid.record
        if view is None or not view.is_final:
            text = report.parked_text(record, polls_failed=False, last_word=self._last_word)
            if time.time() < self._deadline(record):
                text += f". What passed was execution_timeout={self.execution_timeout}, which limits each try's wait"
            metrics.count("parked", record)
            raise GenerationParkedError(text, generation_id=record.generation_id or "")
        decision, record = settled(record, view)
        spending = spending_of(self.budget, identity_of(context), paid.store)
        if spending is not None:
            spending.settle(record)
        output = self._output()
        if decision.error is not None or output is None:
            keep(paid.store, record)
        if decision.error is not None:
            metrics.count_error(decision.error, record)
            raise decision.error
        self.log.info("%s", report.summary(view, record))
        if output is None:
            check_expiry(record, view.videos)
            metrics.count("completed", record, videos=len(view.videos))
            return self._result(context, record, view, (), paid.request)
        from airflow_provider_apimart.generation.landing.delivery import deliver

        try:
            landed = deliver(
                client=paid.client,
                record=record,
                videos=view.videos,
                output=output,
                provenance=provenance_of(record, paid.request, context, labels_of(self.labels)),
                request=paid.request,
            )
        except Exception:
            # (Nothing is saved between the end of the wait and the landing: a try that is killed there leaves a record
            # that says "submitted", and the next one asks APIMart again.)
            keep(paid.store, record)
            raise
        keep(paid.store, record.but(state=RecordState.LANDED, landed=landed))
        metrics.count("completed", record, videos=len(landed))
        return self._result(context, record.but(landed=landed), view, landed, paid.request)

    def _result(
        self,
        context: Context,
        record: Record,
        view: Generation | None,
        landed: Sequence[LandedVideo],
        request: VeoRequest,
    ) -> dict[str, Any]:
        """Return the XCom of a generation whose record is settled, once its videos pass the user's check."""
        self._tell(context, partial(lineage.of_generation, record, request, landed))
        videos = view.videos if view else ()
        self.video_url = videos[0].url if videos else None
        result = result_of(record, videos, landed, request, self.on_mismatch, self.log)
        notes.leave(
            context, lambda: notes.of_generation(self, record, outcome="completed", request=request, videos=landed)
        )
        if self.check is not None and landed:
            from airflow_provider_apimart.operators.checks import check_landed

            check_landed(self.check, record, landed, request, context)
        return result


def _files_whole(record: Record, output: Target | None) -> bool:
    from airflow_provider_apimart.generation.landing.delivery import files_whole

    return files_whole(record, output)
