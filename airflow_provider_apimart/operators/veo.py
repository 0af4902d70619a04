"""``VeoGenerateOperator``: a prompt becomes a landed video, paid for once.

Thin on purpose. ``generation/purchase/purchase.py`` decides what to pay for and submits it.
``generation/waiting/polling.py`` decides when to poll. ``generation/landing/delivery.py`` lands the video. The
deferrable and the sync path differ only in which process waits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_apimart._compat import (
    BaseOperator,
    ObjectStoragePath,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import (
    ApimartError,
    GenerationModelGoneError,
    GenerationParkedError,
    VideoExpiredError,
)
from airflow_provider_apimart.client.fallback import with_model
from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.client.models import Generation, VeoRequest
from airflow_provider_apimart.generation.landing.delivery import deliver, files_whole
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.decide import Action, OnClear, OnUnknownSubmit, Policy
from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch
from airflow_provider_apimart.generation.purchase.purchase import Purchase, keep, settle
from airflow_provider_apimart.generation.purchase.record import (
    LandedVideo,
    Record,
    RecordState,
    RecordStore,
)
from airflow_provider_apimart.generation.waiting.polling import PollingWait, Step, spread_of
from airflow_provider_apimart.generation.waiting.schedule import expected_seconds, kind_of
from airflow_provider_apimart.hooks import metrics
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.record_stores import record_store
from airflow_provider_apimart.hooks.storage import read_images, target_of
from airflow_provider_apimart.links.veo import ApimartHelpLink, VeoVideoLink
from airflow_provider_apimart.operators import arguments, models, veo_arguments
from airflow_provider_apimart.operators.labels import check_name, labels_of
from airflow_provider_apimart.operators.recall import recall, wanted_here
from airflow_provider_apimart.operators.task import (
    DEFAULT_TIMEOUT,
    TRIGGERER_GRACE,
    failures,
    final_word,
    identity_of,
    provenance_of,
    result_of,
    waited_for_record,
)
from airflow_provider_apimart.operators.templates import AuthorTemplates
from airflow_provider_apimart.storage.files import Target
from airflow_provider_apimart.storage.localfs import drop_parts
from airflow_provider_apimart.storage.places import check_target
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

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


class VeoGenerateOperator(AuthorTemplates, BaseOperator):
    """Generate a video with Veo through APIMart, wait for it, and land it in storage.

    A generation is paid for once, whatever crashes: a retry re-attaches to the generation that an earlier try paid
    for. The request's parameters have APIMart's names. A parameter that is not given, or renders to blank text, is not
    sent. All arguments but ``deferrable`` are templated if they are written in the DAG file. Data (a table's rows,
    another task's output) is never rendered.

    Returns (XCom) ``{"generation_id", "status", "model", "cost_usd", "submitted_at", "completed_at", "videos": [{"url",
    "expires_at", "path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio"}], "mismatches":
    [{"field", "asked", "delivered", "sample", "usd"}], "fallback_from"}``. Without ``output_path``, ``path`` and the
    fields after it are null. ``mismatches`` is empty if the videos match the request. ``model`` is the one that made
    the video; ``fallback_from`` is the one that was wanted if ``fallback_model`` took its place, else null. Times are
    ISO 8601 in UTC.

    :param prompt: what to show. A dict or a list is sent as its JSON text.
    :param model: ``veo3.1-fast-official``, ``veo3.1-quality-official``, or ``veo3.1-fast``, ``-quality``, ``-lite``.
        Any other id is sent unchanged, with a warning (see ``rules``).
    :param fallback_model: the model to use if APIMart no longer has ``model``: the same request, as a new generation
        that is paid for under its own key. ``None`` fails the task instead, at no cost. Where a relay has no channel
        for the model right now, Airflow's retries ask again, and the last of them uses the fallback.
    :param rules: what a request for an id that the provider does not know is checked against before it is paid for.
        ``"table"``: nothing. ``"schema"``: APIMart's own schema of the model, if it can be had.
    :param negative_prompt: what to keep out of the video.
    :param duration: seconds: 4, 6 or 8 (APIMart's default).
    :param aspect_ratio: ``16:9`` (APIMart's default) or ``9:16``.
    :param resolution: ``720p`` (APIMart's default), ``1080p`` or ``4K``.
    :param first_frame_image: URL, ``asset://…``, or a local or object storage path, which is uploaded first.
    :param last_frame_image: the same for the last frame; needs ``first_frame_image``.
    :param seed: 0 to 4294967295.
    :param sample_count: 1 (APIMart's default) to 4.
    :param generate_audio: make an audio track (APIMart's default is none; changes the price).
    :param person_generation: ``allow_adult`` (APIMart's default) or ``disallow``.
    :param resize_mode: ``pad`` (APIMart's default) or ``crop``; only with a frame.
    :param enhance_prompt: only ``True`` is allowed; leave it out otherwise.
    :param extra_body: further fields of the request, sent unchanged: a dict, or its JSON text.
    :param output_path: where the video goes: a local path or any ``ObjectStoragePath`` such as
        ``s3://conn@bucket/clip.mp4``. A path that ends in ``/`` is a folder, and the file is named after the
        generation. A path object cannot end in ``/``: it is a folder unless it ends in ``.mp4``, ``.m4v`` or ``.mov``.
        ``None`` lands nothing.
    :param apimart_conn_id: the connection.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param timeout: how long a generation may take from its submission: ``timedelta`` or seconds. After that the try
        fails and the generation is parked: the next try, or a clear, re-attaches. ``execution_timeout`` limits each
        try from its own start. Airflow enforces it in the worker only, so a deferral ends, and parks, at whichever of
        the two comes first (though no sooner than 12 s after it began).
    :param poll_interval: seconds between two polls; ``None`` adapts to how long such generations take.
    :param on_clear: ``"reuse"``: a cleared task continues with its generation. ``"regenerate"``: it pays for a new one.
    :param on_unknown_submit: what to do if a submission may or may not have been carried out. ``"resend"``: send the
        identical request under the same idempotency key. ``"fail"``: submit nothing until a person has looked.
        ``None``: what the connection says, or else ``"resend"``.
    :param on_mismatch: what to do if a landed video differs from the request (duration, resolution, aspect ratio,
        sound, number of videos). ``"warn"``: log it. ``"fail"``: fail the task for good; the video stays where it
        landed, and no try pays for another one.
    :param max_cost_usd: refuse a generation that costs more, before it is paid for. The price is from APIMart's price
        list, or from the provider's own if that is not available. A generation that is already paid for is not refused.
    :param labels: a dict (or its JSON text) that is kept in the video's sidecar. ``map_index_template`` can name a
        mapped task after a label: ``"{{ task.labels.sku }}"``. A missing label is blank.
    """

    template_fields: Sequence[str] = (
        *VeoRequest.FIELDS,
        *("fallback_model", "rules", "output_path", "apimart_conn_id", "max_cost_usd", "labels"),
        *("timeout", "poll_interval", "on_clear", "on_unknown_submit", "on_mismatch"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra_body": "json", "labels": "json"}
    object_fields: ClassVar[Sequence[str]] = ("extra_body", "labels")
    operator_extra_links = (VeoVideoLink(), ApimartHelpLink())
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        prompt: str,
        model: str = DEFAULT_MODEL,
        negative_prompt: str | None = None,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        resolution: str | None = None,
        first_frame_image: str | None = None,
        last_frame_image: str | None = None,
        seed: int | str | None = None,
        sample_count: int | str | None = None,
        generate_audio: bool | str | None = None,
        person_generation: str | None = None,
        resize_mode: str | None = None,
        enhance_prompt: bool | str | None = None,
        extra_body: dict[str, Any] | None = None,
        fallback_model: str | None = None,
        rules: models.ModelRulesFrom = "table",
        output_path: str | ObjectStoragePath | None = None,
        apimart_conn_id: str = ApimartHook.default_conn_name,
        deferrable: bool = True,
        timeout: timedelta | float | str = DEFAULT_TIMEOUT,
        poll_interval: timedelta | float | str | None = None,
        on_clear: OnClear = "reuse",
        on_unknown_submit: OnUnknownSubmit | None = None,
        on_mismatch: OnMismatch = "warn",
        max_cost_usd: float | str | None = None,
        labels: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.model = model
        self.negative_prompt = negative_prompt
        self.duration = duration
        self.aspect_ratio = aspect_ratio
        self.resolution = resolution
        self.first_frame_image = first_frame_image
        self.last_frame_image = last_frame_image
        self.seed = seed
        self.sample_count = sample_count
        self.generate_audio = generate_audio
        self.person_generation = person_generation
        self.resize_mode = resize_mode
        self.enhance_prompt = enhance_prompt
        self.extra_body = extra_body
        self.fallback_model = fallback_model
        self.rules = rules
        self.output_path = output_path
        self.apimart_conn_id = apimart_conn_id
        self.deferrable = deferrable
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.on_clear = on_clear
        self.on_unknown_submit = on_unknown_submit
        self.on_mismatch = on_mismatch
        self.max_cost_usd = max_cost_usd
        self.labels = labels
        # What this try learns, for on_kill and the links.
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
        return {name: getattr(self, name) for name in VeoRequest.FIELDS}

    def _checked_request(self) -> VeoRequest:
        """Check all arguments, and return the request as it is rendered now."""
        arguments.refuse(self._owner, veo_arguments.late_problems(self))
        return VeoRequest.checked(self._request_values())

    @property
    def _timeout_seconds(self) -> float:
        return arguments.seconds_of(self.timeout) or DEFAULT_TIMEOUT.total_seconds()

    # --- the two ends of the task --------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Obtain the generation, wait for it here or in the triggerer, and land it."""
        began = time.time()
        request = self._checked_request()
        check_name(self, context)
        for note in request.notes():
            self.log.warning("%s", note)
        with failures(self) as known:
            known.store = record_store(context, self._output(), identity_of(context))
            return self._generate(context, known.store, request, began)

    def _generate(self, context: Context, store: RecordStore, request: VeoRequest, began: float) -> dict[str, Any]:
        """Obtain the generation, wait for it and land it; if its model is gone, the same with the fallback model."""
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
                approve=lambda wanted: models.approve(self, self._owner, wanted, client),
                fallback=models.fallback_of(self.fallback_model, request, at_last=models.is_last_try(context)),
            )
            while True:
                try:
                    return self._carry_out(purchase, output, context, began)
                except GenerationModelGoneError as error:
                    if purchase.fallback is None:
                        raise models.with_advice(error, purchase.request.model, client) from None

    def _carry_out(self, purchase: Purchase, output: Target | None, context: Context, began: float) -> dict[str, Any]:
        obtained = purchase.obtain(lambda record: files_whole(record, output))
        client, store, request = purchase.client, purchase.store, purchase.request
        record, view = wanted_here(self, store, obtained.record, output), obtained.view
        self.generation_id = record.generation_id
        if obtained.decision.action is Action.KEEP:
            self.log.info("Nothing to do: %s.", obtained.decision.reason)
            return self._result(record, view, record.landed, request)
        if obtained.decision.action is Action.WAIT:
            # Logged now: if a person or kill -9 ends the wait, nothing may be left to log it.
            self.log.info("Waiting: %s. %s.", obtained.decision.reason, STAYS_KNOWN)
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
        with failures(self) as known:
            recall(self, record, labels)
            if request is not None:
                self.fallback_model = fallback_model
            paid = VeoRequest.checked(self._request_values() if request is None else request)
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

    def _deadline(self, record: Record) -> float:
        return (record.submitted_at or record.intent_at).timestamp() + self._timeout_seconds

    def _deferred_deadline(self, record: Record, began: float) -> float:
        """Return when a deferred wait ends: Airflow does not enforce ``execution_timeout`` while a task is deferred."""
        limit = self.execution_timeout
        return self._deadline(record) if limit is None else min(self._deadline(record), began + limit.total_seconds())

    def _polling_arguments(self, record: Record, deadline: float) -> dict[str, Any]:
        resolution = self.resolution if isinstance(self.resolution, str) else None
        return {
            "generation_id": record.generation_id,
            "submitted_at": (record.submitted_at or record.intent_at).timestamp(),
            "deadline": deadline,
            "median_seconds": expected_seconds(record.model, resolution),
            "poll_interval": arguments.seconds_of(self.poll_interval),
        }

    def _kind(self, record: Record) -> str:
        return kind_of(record.model, self.resolution, self.generate_audio)

    def _defer(self, record: Record, request: VeoRequest, began: float) -> NoReturn:
        polling = self._polling_arguments(record, self._deferred_deadline(record, began))
        self.defer(
            trigger=VeoGenerationTrigger(**polling, apimart_conn_id=self.apimart_conn_id, kind=self._kind(record)),
            method_name="execute_complete",
            kwargs={
                # The connection may have been renamed since the payment. The deferral keeps the one that this try uses.
                "record": record.but(apimart_conn_id=self.apimart_conn_id).model_dump(mode="json"),
                "request": request.model_dump(mode="json", exclude_none=True),
                "labels": labels_of(self.labels),
                # Left out where it is not set, for workers of an older version.
                **({"fallback_model": self.fallback_model} if self.fallback_model and not record.fallback_from else {}),
            },
            timeout=timedelta(seconds=max(0.0, polling["deadline"] - time.time())) + TRIGGERER_GRACE,
        )

    def _wait(self, client: ApimartClient, record: Record) -> Generation | None:
        """Wait in the worker, as the trigger does. Return ``None`` if the deadline has passed."""
        values = self._polling_arguments(record, self._deadline(record))
        polling = PollingWait(**values, jitter=spread_of(values["generation_id"]))
        # (A worker waits for one generation only, so the connection's limit matters only if it is very low.)
        least = 60 / (client.settings.requests_per_minute or math.inf)
        time.sleep(polling.first_wait(time.time()))
        step = self._poll(client, polling)
        while step.wait_seconds is not None:
            time.sleep(max(step.wait_seconds, least))
            step = self._poll(client, polling)
        self._last_word = polling.last_word
        return step.final

    def _poll(self, client: ApimartClient, polling: PollingWait) -> Step:
        try:
            view = client.send(protocol.generation(polling.generation_id), repeat=False)
        except ApimartError as error:
            step = polling.failed(error, time.time())
        else:
            step = polling.saw(view, time.time())
        if step.say:
            (self.log.warning if step.warn else self.log.info)("%s", step.say)
        return step

    def _finish(self, paid: Paid, view: Generation | None, context: Context) -> dict[str, Any]:
        """Land the videos of a generation that has ended, or raise the error that it ended with."""
        record = paid.record
        if view is None or not view.is_final:
            text = report.parked_text(record, polls_failed=False, last_word=self._last_word)
            if time.time() < self._deadline(record):
                text += f". What passed was execution_timeout={self.execution_timeout}, which limits each try's wait"
            metrics.count("parked", record)
            raise GenerationParkedError(text, generation_id=record.generation_id or "")
        decision, record = settle(paid.store, record, view)
        if decision.error is not None:
            metrics.count_error(decision.error, record)
            raise decision.error
        self.log.info("%s", report.summary(view, record))
        output = self._output()
        if output is None:
            self._check_expiry(record, view)
            metrics.count("completed", record, videos=len(view.videos))
            return self._result(record, view, (), paid.request)
        landed = deliver(
            client=paid.client,
            record=record,
            videos=view.videos,
            output=output,
            provenance=provenance_of(record, paid.request, context, labels_of(self.labels)),
            request=paid.request,
        )
        keep(paid.store, record.but(state=RecordState.LANDED, landed=landed))
        metrics.count("completed", record, videos=len(landed))
        return self._result(record, view, landed, paid.request)

    def _check_expiry(self, record: Record, view: Generation) -> None:
        expired = [video for video in view.videos if video.expires_at and video.expires_at <= datetime.now(UTC)]
        if expired:
            raise VideoExpiredError(
                f"the URL of generation {record.generation_id} expired at {report.iso(expired[0].expires_at)}"
            )

    def _result(
        self, record: Record, view: Generation | None, landed: Sequence[LandedVideo], request: VeoRequest
    ) -> dict[str, Any]:
        videos = view.videos if view else ()
        self.video_url = videos[0].url if videos else None
        return result_of(record, videos, landed, request, self.on_mismatch, self.log)


def __getattr__(name: str) -> Any:
    # Users look for the batch operator here, although it has its own module. Only those who use it load that module.
    if name == "VeoGenerateBatchOperator":
        from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator

        return VeoGenerateBatchOperator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
