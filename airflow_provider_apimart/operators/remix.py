"""``VeoRemixOperator``: extends a video that was generated before, paid for once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_apimart.client.remix import RemixRequest
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.arguments import DEFAULT_TIMEOUT
from airflow_provider_apimart.operators.generation import GenerationOperator

if TYPE_CHECKING:
    from airflow_provider_apimart._compat import ObjectStoragePath
    from airflow_provider_apimart.generation.pricing.budget import Budget
    from airflow_provider_apimart.generation.purchase.decide import OnClear, OnUnknownSubmit
    from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch
    from airflow_provider_apimart.generation.purchase.record import Record


class VeoRemixOperator(GenerationOperator):
    """Extend a generated video with Veo through APIMart (its "remix"), wait for it, and land it in storage.

    A video of 8 seconds becomes one of about 15. APIMart extends the videos of ``veo3.1-fast`` and ``veo3.1-quality``
    only; a request for another known model is refused before anything is paid. What is paid for, retried, landed and
    returned is the same as with :class:`~airflow_provider_apimart.operators.veo.VeoGenerateOperator`: a remix is paid
    for once, whatever crashes.

    There is no ``fallback_model``: APIMart takes no other model than the one that made the source.

    :param source: what to extend: the output of the task that generated it (``generate.output``), or the id of a
        completed generation of the same APIMart account.
    :param prompt: how it goes on. A dict or a list is sent as its JSON text.
    :param model: the model that made the source. ``None`` takes it from the task's output; with a bare id it is needed.
    :param raw: ``True`` gives the new part alone, ``False`` (APIMart's default) the source with the new part after it.
    :param aspect_ratio: ``16:9`` or ``9:16``.
    :param resolution: ``720p`` (APIMart's default), ``1080p`` or ``4k``.
    :param extra_body: further fields of the request, sent unchanged: a dict, or its JSON text.
    :param output_path: as for ``VeoGenerateOperator``; so are all parameters that follow.
    :param apimart_conn_id: the connection. It has to be of the account that made the source.
    :param deferrable: wait in the triggerer (``True``) or in the worker.
    :param timeout: how long a generation may take from its submission: ``timedelta`` or seconds.
    :param poll_interval: seconds between two polls; ``None`` adapts to how long such generations take.
    :param on_clear: ``"reuse"``: a cleared task continues with its generation. ``"regenerate"``: it pays for a new one.
    :param on_unknown_submit: ``"resend"``, ``"fail"``, or ``None``: what the connection says.
    :param on_mismatch: ``"warn"`` or ``"fail"`` if a landed video differs from the request.
    :param check: check each landed video: ``"default"``, or a dict of rules and verdicts.
    :param max_cost_usd: refuse a remix that costs more, before it is paid for.
    :param budget: a :class:`~airflow_provider_apimart.operators.budget.Budget` of a day or a month that this is
        paid from, shared with other tasks. What does not fit is refused before it is paid for. Not templated.
    :param labels: a dict (or its JSON text) that is kept in the video's sidecar.
    """

    request_type: ClassVar[type[RemixRequest]] = RemixRequest
    template_fields: Sequence[str] = (
        *RemixRequest.FIELDS,
        *("output_path", "apimart_conn_id", "max_cost_usd", "labels"),
        *("timeout", "poll_interval", "on_clear", "on_unknown_submit", "on_mismatch"),
    )
    object_fields: ClassVar[Sequence[str]] = ("source", "extra_body", "labels")
    needed_fields: ClassVar[Collection[str]] = ("source", "output_path", "apimart_conn_id")

    def __init__(
        self,
        *,
        source: Any,
        prompt: str,
        model: str | None = None,
        raw: bool | str | None = None,
        aspect_ratio: str | None = None,
        resolution: str | None = None,
        extra_body: dict[str, Any] | None = None,
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
        self.source = source
        self.prompt = prompt
        self.model = model
        self.raw = raw
        self.aspect_ratio = aspect_ratio
        self.resolution = resolution
        self.extra_body = extra_body
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

    def _request_values(self) -> dict[str, Any]:
        """Return the request's parameters, by name. The source's result gives its id, and its model if none is set."""
        values = super()._request_values()
        source = _result_of(self.source)
        if isinstance(source, Mapping):
            values["source"] = source.get("generation_id")
        if arguments.is_unset(self.model):
            values["model"] = source.get("model") if isinstance(source, Mapping) else None
            if arguments.is_template(self.source, arguments.marks_of(self)):
                # Not known yet, as the source itself is not.
                values["model"] = self.source
        return values

    def _sources(self) -> Iterable[Any]:
        source = _result_of(self.source)
        return [video.get("path") for video in source.get("videos") or ()] if isinstance(source, Mapping) else ()

    def _kind(self, record: Record) -> str:
        return f"{super()._kind(record)}/remix"


def _result_of(source: Any) -> Any:
    """Return the object that a template rendered to (``{{ … | tojson }}``); anything else unchanged."""
    try:
        return arguments.from_json_text(source)
    except (ValueError, RecursionError):
        return source
