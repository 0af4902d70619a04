"""The request to extend a video: ``POST /v1/videos/{task_id}/remix`` (section 4 of the contract).

APIMart extends the videos of two of its models. The request names the generation to extend in its path, so that is not
a part of the body, but it is a part of the request's identity.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import field_validator

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.json_text import not_allowed
from airflow_provider_apimart.client.model_rules import ALIASES, FAMILIES, MODELS
from airflow_provider_apimart.client.protocol import ID_MAX
from airflow_provider_apimart.client.request import VeoRequest

REMIXED_MODELS = tuple(name for name, rules in FAMILIES.items() if rules.remix)


class RemixRequest(VeoRequest):
    """One request to extend a video. ``None`` or blank text means "not set".

    :param source: the id of the generation whose video is extended. It must be completed.
    :param prompt: how it goes on.
    :param model: the model that made the source: ``veo3.1-fast`` or ``veo3.1-quality``. Their other names, which end in
        ``-ext``, are sent as these.
    :param raw: ``True`` gives the new part alone, ``False`` (APIMart's default) the source with the new part after it.
    :param aspect_ratio: ``16:9`` or ``9:16``.
    :param resolution: ``720p`` (APIMart's default), ``1080p`` or ``4k``.
    :param extra_body: further fields of the request, sent as they are: a dict, or its JSON text.
    """

    source: str
    model: str
    raw: bool | None = None

    FIELDS: ClassVar[tuple[str, ...]] = (
        "source",
        "prompt",
        "model",
        "raw",
        "aspect_ratio",
        "resolution",
        "extra_body",
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any], unknown: Collection[str] = ()) -> list[FieldProblem]:
        """Return what is wrong with ``values``, as for a new video."""
        allowed = f"not a parameter of a remix; allowed: {', '.join(cls.FIELDS)}"
        other = [name for name in VeoRequest.FIELDS if name not in cls.FIELDS and values.get(name) is not None]
        kept = {name: value for name, value in values.items() if name not in other}
        if "source" in unknown:
            kept["source"] = "unknown"
        if "model" in unknown:
            kept["model"] = REMIXED_MODELS[0]
        found = super().problems(kept, [name for name in unknown if name not in ("source", "model")])
        return [FieldProblem(name, values[name], allowed) for name in other] + found

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, value: Any) -> Any:
        allowed = f"allowed: the id of a completed generation (1 to {ID_MAX} characters without spaces)"
        found = value.strip() if isinstance(value, str) else ""
        if not 0 < len(found) <= ID_MAX or not found.isprintable() or " " in found:
            raise not_allowed(allowed)
        return found

    @field_validator("raw", mode="before")
    @classmethod
    def _raw(cls, value: Any) -> Any:
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if value is not None and not isinstance(value, bool):
            raise not_allowed("allowed: True or False")
        return value

    @field_validator("model", mode="after")
    @classmethod
    def _remixed(cls, value: str) -> str:
        rules = MODELS.get(value)
        if rules is not None and not rules.remix:
            allowed = f"allowed: {' or '.join(REMIXED_MODELS)}: APIMart extends no other model's videos"
            raise not_allowed(allowed)
        return ALIASES.get(value, value)

    @property
    def remix_of(self) -> str | None:
        """The generation whose video this request extends."""
        return self.source

    def body(self, images: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON body: what was set and nothing else, without the source."""
        return {name: value for name, value in super().body(images).items() if name != "source"}

    def identity(self, images: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return what tells this request from any other, as JSON."""
        return {"remix_of": self.source, "body": self.body(images)}
