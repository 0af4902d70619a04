"""``VeoGenerateOperator``: a prompt becomes a landed video, paid for once. Its base class does the work."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.arguments import DEFAULT_TIMEOUT
from airflow_provider_apimart.operators.generation import GenerationOperator

if TYPE_CHECKING:
    from airflow_provider_apimart._compat import ObjectStoragePath
    from airflow_provider_apimart.generation.pricing.budget import Budget
    from airflow_provider_apimart.generation.purchase.decide import OnClear, OnUnknownSubmit
    from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch
    from airflow_provider_apimart.operators import models


class VeoGenerateOperator(GenerationOperator):
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
    :param check: check each landed video (needs the extra ``media``): ``"default"``, or a dict of rules and verdicts
        such as ``{"black": "fail", "loudness": "off"}`` (``fail``, ``skip``, ``warn``, ``off``; see docs/media.md). A
        failed check fails or skips the task; the video stays, and no try pays for another one by itself. The reports
        are the XCom ``check``. Not templated.
    :param max_cost_usd: refuse a generation that costs more, before it is paid for. The price is from APIMart's price
        list, or from the provider's own if that is not available. A generation that is already paid for is not refused.
    :param budget: a :class:`~airflow_provider_apimart.operators.budget.Budget` of a day or a month that this is
        paid from, shared with other tasks. What does not fit is refused before it is paid for. Not templated.
    :param labels: a dict (or its JSON text) that is kept in the video's sidecar. ``map_index_template`` can name a
        mapped task after a label: ``"{{ task.labels.sku }}"``. A missing label is blank.
    """

    template_fields: Sequence[str] = (
        *VeoRequest.FIELDS,
        *("fallback_model", "rules", "output_path", "apimart_conn_id", "max_cost_usd", "labels"),
        *("timeout", "poll_interval", "on_clear", "on_unknown_submit", "on_mismatch"),
    )

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
        check: Mapping[str, str] | Literal["default"] | None = None,
        max_cost_usd: float | str | None = None,
        budget: Budget | None = None,
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
        self.check = check
        self.max_cost_usd = max_cost_usd
        self.budget = budget
        self.labels = labels
        self._begin()


#: Operators that users look for here, although each has its own module. Only those who use it load that module.
_ELSEWHERE = {"VeoGenerateBatchOperator": "batch", "VeoRemixOperator": "remix"}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"airflow_provider_apimart.operators.{_ELSEWHERE[name]}"), name)
