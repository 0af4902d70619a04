"""What every operator of one paid generation is: its arguments, and the two ends of its task.

The DAG processor reads this file for every DAG, and never pays, waits or lands. What a try does is in
``tries.py``, which is loaded when a task begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import BaseOperator, TaskDeferralError, TaskDeferralTimeout
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.links.veo import ApimartHelpLink, VeoVideoLink
from airflow_provider_apimart.operators import arguments, veo_arguments
from airflow_provider_apimart.operators.labels import labels_of
from airflow_provider_apimart.operators.lineage import TellsLineage
from airflow_provider_apimart.operators.templates import AuthorTemplates

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.generation.purchase.record import Record


class GenerationOperator(TellsLineage, AuthorTemplates, BaseOperator):
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
        arguments.refuse(arguments.owner_of(self), veo_arguments.literal_problems(self))

    # --- arguments -----------------------------------------------------------------------------------------------

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        super()._do_render_template_fields(*args, **kwargs)
        if not arguments.label_problems("labels", self.labels):
            # For map_index_template, which Airflow renders next, and again at the end.
            self.labels = labels_of(self.labels)

    def _request_values(self) -> dict[str, Any]:
        """Return the request's parameters, by name."""
        return {name: getattr(self, name) for name in self.request_type.FIELDS}

    def _checked_request(self) -> VeoRequest:
        """Check all arguments, and return the request as it is rendered now."""
        arguments.refuse(arguments.owner_of(self), veo_arguments.late_problems(self))
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
        from airflow_provider_apimart.operators import tries

        return tries.run(self, context)

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
        from airflow_provider_apimart.operators import tries

        return tries.complete(self, context, event, record, request, labels, fallback_model)

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
        from airflow_provider_apimart.generation.purchase import report
        from airflow_provider_apimart.storage.localfs import drop_parts

        if self.generation_id:
            self.log.warning("%s", report.abandoned_text(self.generation_id))
        # If another try has already landed the video, no later landing would delete these partial files.
        drop_parts()

    def _kind(self, record: Record) -> str:
        """Return the kind of generation whose durations are like this one's."""
        from airflow_provider_apimart.generation.waiting.schedule import kind_of

        return kind_of(record.model, self.resolution, self.generate_audio)
