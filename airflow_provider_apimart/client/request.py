"""The request to Veo: every parameter of APIMart's page, with its range and its cross-field rules.

A wrong value is refused here, before anything is paid, with the field's name, the value and what is allowed. All wrong
values of a request are reported at once. Fields that the user did not set are not sent. A request for an unknown model
is sent without model-specific rules, and ``extra_body`` carries parameters that APIMart has added since.

Source: APIMart's page "VEO3 official generation", and section 2 of the contract for the ``-ext`` models.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.client.json_text import has_text_keys, json_text, not_allowed, valid_text
from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL, FRAME_FIELDS, MODELS, RETIRED, ModelRules
from airflow_provider_apimart.client.null_words import is_null_word

SEED_MAX = 4_294_967_295
#: URLs that APIMart fetches itself. Anything else is a path, which must be uploaded first.
REMOTE_IMAGE_SCHEMES = ("http", "https", "asset")


def is_remote_image(value: str) -> bool:
    """Return whether APIMart fetches this image itself (``http(s)://`` or ``asset://``)."""
    scheme, colon, _ = value.partition(":")
    return bool(colon) and scheme.strip().lower() in REMOTE_IMAGE_SCHEMES


def path_text(value: Any) -> Any:
    """Return a path object (``pathlib``, Airflow's or another of fsspec's) as text, and any other value unchanged."""
    of_storage = hasattr(value, "protocol") and hasattr(value, "joinpath")
    return str(value) if of_storage or isinstance(value, os.PathLike) else value


class VeoRequest(BaseModel):
    """One request for video. ``None`` or blank text means "not set": it is not sent, and APIMart's own default applies.

    :param prompt: what to show; English is recommended. A dict or a list is sent as its JSON text.
    :param model: ``veo3.1-fast-official``, ``veo3.1-quality-official``, or one of the ``-ext`` family.
    :param negative_prompt: what to keep out of the video.
    :param duration: seconds: 4, 6 or 8 (APIMart's default 8).
    :param aspect_ratio: ``16:9`` (APIMart's default) or ``9:16``.
    :param resolution: ``720p`` (APIMart's default), ``1080p`` or ``4K``.
    :param first_frame_image: URL, ``asset://…`` or path of the image to begin with.
    :param last_frame_image: the image to end with; only together with ``first_frame_image``.
    :param seed: 0 to 4294967295.
    :param sample_count: 1 (APIMart's default) to 4 videos of one generation.
    :param generate_audio: make an audio track (APIMart's default is none). Changes the price.
    :param person_generation: ``allow_adult`` (APIMart's default) or ``disallow``.
    :param resize_mode: ``pad`` (APIMart's default) or ``crop``; only with a frame.
    :param enhance_prompt: only ``True`` is accepted; leave it out otherwise.
    :param extra_body: further fields of the request, sent as they are: a dict, or its JSON text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    model: str = DEFAULT_MODEL
    negative_prompt: str | None = None
    duration: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    first_frame_image: str | None = None
    last_frame_image: str | None = None
    seed: int | None = None
    sample_count: int | None = None
    generate_audio: bool | None = None
    person_generation: str | None = None
    resize_mode: str | None = None
    enhance_prompt: bool | None = None
    extra_body: dict[str, Any] | None = None

    FIELDS: ClassVar[tuple[str, ...]] = (
        "prompt",
        "model",
        "negative_prompt",
        "duration",
        "aspect_ratio",
        "resolution",
        "first_frame_image",
        "last_frame_image",
        "seed",
        "sample_count",
        "generate_audio",
        "person_generation",
        "resize_mode",
        "enhance_prompt",
        "extra_body",
    )

    # --- making one ----------------------------------------------------------------------------------------------

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> VeoRequest:
        """Make a request from ``values``, or raise :class:`InvalidParameterError` with everything that is wrong."""
        problems = cls.problems(values)
        if problems:
            raise InvalidParameterError(tuple(problems))
        return cls.model_validate(dict(values))

    @classmethod
    def problems(cls, values: Mapping[str, Any], unknown: Collection[str] = ()) -> list[FieldProblem]:
        """Return what is wrong with ``values``; the fields in ``unknown`` have no value yet (templates) and are
        skipped.
        """
        # A name that is no parameter is wrong whatever its value.
        known = {name: value for name, value in values.items() if name not in unknown or name not in cls.FIELDS}
        if "prompt" in unknown:
            known["prompt"] = "not known yet"
        found: list[FieldProblem] = []
        # Without the model's name its rules cannot be applied: only types and ranges that all models share are checked.
        context = {"model": None if "model" in unknown else known.get("model", DEFAULT_MODEL), "fields_only": True}
        try:
            cls.model_validate(known, context=context)
        except ValidationError as error:
            found += [_as_problem(detail, cls.FIELDS) for detail in error.errors(include_url=False)]
        bad = {problem.field for problem in found} | set(unknown)
        return found + _cross_field_problems(cls._set_values(known), bad)

    @model_validator(mode="before")
    @classmethod
    def _blank_is_not_set(cls, values: Any) -> Any:
        return cls._set_values(values) if isinstance(values, Mapping) else values

    @classmethod
    def _set_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out the optional fields that are blank text, which is how a template says "not set"."""
        optional = _optional(cls)
        return {
            name: value
            for name, value in values.items()
            if name not in optional or not isinstance(value, str) or value.strip()
        }

    @field_validator("prompt", "model", "negative_prompt", mode="before")
    @classmethod
    def _text(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name == "negative_prompt":
            return None
        if info.field_name == "prompt" and isinstance(value, (Mapping, list)):
            return json_text(value)
        if not isinstance(value, str):
            raise not_allowed("text is needed")
        if not value.strip():
            raise not_allowed("must not be empty")
        if info.field_name == "model" and not (value.isprintable() and " " not in value):
            raise not_allowed("a model's name has no spaces or line ends in or around it")
        if is_null_word(value):
            what = "model" if info.field_name == "model" else "text for a video"
            raise not_allowed(f"this is how a template or a table says that it found nothing, and no {what}")
        return valid_text(value)

    @field_validator("duration", "seed", "sample_count", mode="before")
    @classmethod
    def _whole_number(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        rules = _rules(info)
        numbers: Collection[int]
        if info.field_name == "seed":
            numbers, allowed = range(SEED_MAX + 1), f"a whole number from 0 to {SEED_MAX}"
        elif info.field_name == "sample_count":
            numbers, allowed = range(1, 5), "a whole number from 1 to 4"
        elif rules:
            numbers, allowed = rules.durations, f"{_one_of(rules.durations)} (whole seconds)"
        else:
            numbers, allowed = range(1, 3601), "a whole number of seconds, 1 or more"
        # A template renders to text, so whole numbers are also accepted as text. True is an int only to Python.
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value.strip()):
            value = int(value)
        # int(): Python searches a range item by item for a subclass of int.
        if isinstance(value, bool) or not isinstance(value, int) or int(value) not in numbers:
            raise not_allowed(f"allowed: {allowed}")
        return int(value)

    @field_validator("generate_audio", "enhance_prompt", mode="before")
    @classmethod
    def _truth(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            value = value.strip().lower() == "true"
        if info.field_name == "enhance_prompt" and value is not True:
            raise not_allowed("allowed: True, or leave it out (APIMart refuses false)")
        if not isinstance(value, bool):
            raise not_allowed("allowed: True or False")
        return value

    @field_validator("aspect_ratio", "resolution", "person_generation", "resize_mode", mode="before")
    @classmethod
    def _choice(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        rules = _rules(info)
        choices = {
            "aspect_ratio": ("16:9", "9:16"),
            "resolution": rules.resolutions if rules else (),
            "person_generation": ("allow_adult", "disallow"),
            "resize_mode": ("pad", "crop"),
        }[str(info.field_name)]
        if not isinstance(value, str) or not value.strip():
            raise not_allowed(f"allowed: {_one_of(choices)}" if choices else "text is needed")
        if rules is None:
            if is_null_word(value):
                raise not_allowed("this is how a template or a table says that it found nothing")
            return valid_text(value)
        if info.field_name == "resolution":
            # APIMart spells it 4K for one family and 4k for the other. Users need not know which.
            value = {choice.lower(): choice for choice in choices}.get(value.lower(), value)
        if value not in choices:
            raise not_allowed(f"allowed: {_one_of(choices)}")
        return value

    @field_validator("first_frame_image", "last_frame_image", mode="before")
    @classmethod
    def _image(cls, value: Any) -> Any:
        if value is None:
            return None
        value = path_text(value)
        allowed = "allowed: an http(s) URL, asset://…, or the path of an image (local or object storage)"
        if not isinstance(value, str) or not value.strip() or any(ord(c) < 32 for c in value):
            raise not_allowed(allowed)
        if value.strip().lower().startswith("data:"):
            raise not_allowed(f"{allowed}; APIMart no longer takes data: URIs")
        if is_remote_image(value) and (" " in value or not _host(value)):
            raise not_allowed(f"{allowed}; this URL has no host or has a space in it")
        return valid_text(value)

    @field_validator("extra_body", mode="before")
    @classmethod
    def _extra_body(cls, value: Any) -> Any:
        if value is None:
            return None
        allowed = "allowed: a dict with text keys and JSON values (or its JSON text), without model and prompt"
        try:
            if isinstance(value, str):
                # A template renders to text: "{{ params.extra | tojson }}".
                value = json.loads(value)
            if not isinstance(value, Mapping) or not has_text_keys(value) or {"model", "prompt"} & set(value):
                raise not_allowed(allowed)
            # Encoded as the client encodes it and decoded again: a copy that nobody else can change.
            extra = json.loads(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
        except (TypeError, ValueError, RecursionError) as error:
            if isinstance(error, PydanticCustomError):
                raise
            raise not_allowed(f"{allowed} ({error})") from None
        if "duration" in extra and type(extra["duration"]) is not int:
            raise not_allowed(f"{allowed}; APIMart takes duration as a number without quotes only")
        return extra

    @model_validator(mode="after")
    def _cross_fields(self, info: ValidationInfo) -> VeoRequest:
        if not (info.context or {}).get("fields_only"):
            problems = _cross_field_problems(self.model_dump(), ())
            if problems:
                raise not_allowed("; ".join(str(problem) for problem in problems))
        return self

    # --- reading it ----------------------------------------------------------------------------------------------

    @property
    def rules(self) -> ModelRules | None:
        """The rules of this request's model, or ``None`` for a model that is not known here."""
        return MODELS.get(self.model)

    @property
    def seconds(self) -> int:
        """The video's duration in seconds, APIMart's default included."""
        return self.duration or 8

    @property
    def local_images(self) -> dict[str, str]:
        """The frames that are paths and must be uploaded first, by field."""
        frames = {name: getattr(self, name) for name in FRAME_FIELDS}
        return {name: value for name, value in frames.items() if value is not None and not is_remote_image(value)}

    def body(self, images: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON body: what was set and nothing else.

        :param images: what stands in for the local images, by field (their upload's URL, or their checksum).
        """
        given = self.model_dump(exclude_none=True, exclude={"extra_body"})
        given.update({name: url for name, url in (images or {}).items() if name in given})
        if self.rules and self.rules.frames == "image_urls":
            frames = [given.pop(name) for name in FRAME_FIELDS if name in given]
            if frames:
                given.update(generation_type="frame", image_urls=frames)
        return {**given, **(self.extra_body or {})}

    @property
    def remix_of(self) -> str | None:
        """The generation whose video this request extends; ``None`` for a request for a new video."""
        return None

    def identity(self, images: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return what tells this request from any other, as JSON.

        :param images: as for :meth:`body`.
        """
        return self.body(images)

    def notes(self) -> list[str]:
        """Return what the user should know before paying, although it is not an error."""
        notes = []
        if (retired := RETIRED.get(self.model)) is not None:
            notes.append(f"model={self.model!r} {retired}. It is sent as it is.")
        if self.rules is None:
            near = difflib.get_close_matches(self.model, MODELS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            notes.append(
                f"model={self.model!r} is not known to this version of the provider: it is sent as it is, "
                f"without model-specific checks.{hint}"
            )
        if (self.resolution or "720p") != "720p" and self.seconds < 8:
            notes.append(
                f"resolution={self.resolution!r} with duration={self.duration}: Google makes more than 720p only at "
                "8 s, "
                "so APIMart may refuse this (a refused request is not charged)."
            )
        if (self.sample_count or 1) > 1:
            notes.append(
                f"sample_count={self.sample_count}: APIMart recommends 1; what more samples cost is not published."
            )
        return notes


def _cross_field_problems(values: Mapping[str, Any], skip: Collection[str]) -> list[FieldProblem]:
    """Apply the cross-field rules. A rule is skipped if one of its fields is wrong or has no value yet."""
    is_set = {name for name, value in values.items() if value is not None and name not in skip}
    problems = []
    if "last_frame_image" in is_set and not {"first_frame_image"} & (is_set | set(skip)):
        problems.append(
            FieldProblem("last_frame_image", values["last_frame_image"], "needs first_frame_image beside it")
        )
    if "resize_mode" in is_set and not set(FRAME_FIELDS) & (is_set | set(skip)):
        problems.append(FieldProblem("resize_mode", values["resize_mode"], "only with first_frame_image"))
    model = values.get("model", DEFAULT_MODEL)
    rules = MODELS.get(model) if "model" not in skip and isinstance(model, str) else None
    for name in VeoRequest.FIELDS:
        if rules and name in is_set and name in rules.unsupported:
            allowed = f"not a parameter of {model}; leave it out (or send it in extra_body if APIMart has gained it)"
            problems.append(FieldProblem(name, values[name], allowed))
    extra = (values["extra_body"] or {}) if "extra_body" in is_set else {}
    given = {name: f"{name} is given as an argument already" for name in is_set}
    if rules and rules.frames == "image_urls" and is_set & set(FRAME_FIELDS):
        given |= dict.fromkeys(("generation_type", "image_urls"), f"the frames of {model} are sent in it already")
    problems += [
        FieldProblem(f"extra_body.{name}", extra[name], given[name]) for name in sorted(set(extra) & set(given))
    ]
    return problems


@functools.cache
def _optional(cls: type[VeoRequest]) -> frozenset[str]:
    """Return the names of the fields that may be left out, and whose blank text means that they are."""
    return frozenset(name for name in cls.FIELDS if name != "model" and not cls.model_fields[name].is_required())


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _rules(info: ValidationInfo) -> ModelRules | None:
    context = info.context or {}
    model = context["model"] if "model" in context else info.data.get("model")
    return MODELS.get(model) if isinstance(model, str) else None


def _as_problem(detail: Any, fields: Collection[str]) -> FieldProblem:
    name = str(detail["loc"][0]) if detail["loc"] else "request"
    if detail["type"] == "missing":
        return FieldProblem(name, None, "is needed")
    if detail["type"] == "extra_forbidden":
        return FieldProblem(name, detail["input"], f"no such parameter; allowed: {', '.join(fields)}")
    return FieldProblem(name, detail["input"], detail["msg"])


def _one_of(choices: Collection[Any]) -> str:
    words = [str(choice) for choice in choices]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
