"""What the server refuses, written from the contract and not from our client, whose own checks are tested against it.

Unknown fields are let through, as the service's schemas say ``additionalProperties: true``. If the contract leaves a
value open (a duration other than 4, 6 or 8), the emulator is strict, so that users notice their mistake here first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airflow_provider_apimart.emulator.apimart.answers import documented
from airflow_provider_apimart.generation.pricing.price_table import ALIASES, PRICES

OFFICIAL = tuple(model for model, prices in PRICES.items() if prices.per_second)
EXT = tuple(model for model, prices in PRICES.items() if not prices.per_second)
MODELS = (*OFFICIAL, *EXT, *ALIASES)
REMIX_MODELS = ("veo3.1-fast", "veo3.1-quality")
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
REMIX_SECONDS, REMIX_RAW_SECONDS = 15, 7

Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Spec:
    """What the video will be: the request with its defaults filled in."""

    width: int
    height: int
    seconds: int
    audio: bool
    samples: int
    resolution: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return asdict(self)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _one_of(*allowed: Any) -> Check:
    return lambda value: value in allowed and not isinstance(value, bool)


def _is_resolution(value: Any) -> bool:
    # The pages write 4K for one family and 4k for the other, and prices are listed under 720P. No source says that the
    # service is strict about it.
    return isinstance(value, str) and value.lower() in SIZES


def _int_in(low: int, high: int) -> Check:
    return lambda value: _is_int(value) and low <= value <= high


def _whole(*allowed: int) -> Check:
    return lambda value: _is_int(value) and value in allowed


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://", "asset://"))


OFFICIAL_FIELDS: dict[str, tuple[Check, str]] = {
    "negative_prompt": (_is_text, "must be a string"),
    "duration": (_whole(4, 6, 8), "must be a number, one of: 4, 6, 8"),
    "aspect_ratio": (_one_of("16:9", "9:16"), "allowed: 16:9, 9:16"),
    "resolution": (_is_resolution, "allowed: 720p, 1080p, 4K"),
    "seed": (_int_in(0, 2**32 - 1), "must be an integer between 0 and 4294967295"),
    "sample_count": (_int_in(1, 4), "must be an integer between 1 and 4"),
    "generate_audio": (_is_bool, "must be a boolean"),
    "person_generation": (_one_of("allow_adult", "disallow"), "allowed: allow_adult, disallow"),
    "resize_mode": (_one_of("pad", "crop"), "allowed: pad, crop"),
    "enhance_prompt": (lambda value: value is True, "only true is supported"),
}
EXT_FIELDS: dict[str, tuple[Check, str]] = {
    "duration": (_whole(8), "must be the number 8"),
    "aspect_ratio": (_one_of("16:9", "9:16"), "allowed: 16:9, 9:16"),
    "resolution": (_is_resolution, "allowed: 720p, 1080p, 4k"),
    "generation_type": (_one_of("frame", "reference"), "allowed: frame, reference"),
    "enable_gif": (_is_bool, "must be a boolean"),
    "official_fallback": (_is_bool, "must be a boolean"),
}
REMIX_FIELDS: dict[str, tuple[Check, str]] = {
    "raw": (_is_bool, "must be a boolean"),
    "aspect_ratio": EXT_FIELDS["aspect_ratio"],
    "resolution": EXT_FIELDS["resolution"],
}


def _check(body: Mapping[str, Any], rules: Mapping[str, tuple[Check, str]]) -> None:
    for name, (good, allowed) in rules.items():
        # A null counts as a field that was not sent, as in a server written in Go.
        if body.get(name) is not None and not good(body[name]):
            raise documented(400, f"invalid {name}: {body[name]!r}, {allowed}", param=name)


def _check_prompt(body: Mapping[str, Any]) -> None:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise documented(400, "prompt is required")


def _check_images(body: Mapping[str, Any], model: str) -> None:
    for name in ("first_frame_image", "last_frame_image"):
        if body.get(name) is not None and not _is_link(body[name]):
            text = "Only http/https URLs or asset:// private asset URLs are supported."
            raise documented(400, f"Invalid format for {name}. {text}")
    images = body.get("image_urls")
    if images is None or model in OFFICIAL:
        return
    if not isinstance(images, list) or not all(_is_link(image) for image in images):
        raise documented(400, "invalid image_urls: must be a list of http/https URLs")
    if len(images) > 3:
        raise documented(400, "invalid image_urls: at most 3 images are supported")


def _size(body: Mapping[str, Any]) -> tuple[str, int, int]:
    resolution = str(body.get("resolution") or "720p").lower()
    wide, high = SIZES[resolution]
    return (resolution, high, wide) if body.get("aspect_ratio") == "9:16" else (resolution, wide, high)


def read_generation(body: Any) -> tuple[str, Spec]:
    """Check the body of a submission and return its model and the requested video.

    :raises ApiError: 400, as the service would say it.
    """
    if not isinstance(body, dict):
        raise documented(400, "invalid request body: a JSON object is expected")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise documented(400, "model is required")
    if model not in MODELS:
        raise documented(400, f"unsupported model: {model}")
    _check_prompt(body)
    _check(body, OFFICIAL_FIELDS if model in OFFICIAL else EXT_FIELDS)
    _check_images(body, model)
    plain = ALIASES.get(model, model)
    if plain == "veo3.1-quality" and body.get("generation_type") == "reference":
        raise documented(400, "generation_type reference is not supported by veo3.1-quality")
    if body.get("enable_gif") and str(body.get("resolution")).lower() in ("1080p", "4k") and model not in OFFICIAL:
        raise documented(400, "enable_gif is not supported with 1080p or 4k")
    resolution, width, height = _size(body)
    official = model in OFFICIAL
    return model, Spec(
        width=width,
        height=height,
        seconds=body.get("duration") or 8,
        # The other family has no such switch, and its videos come with sound.
        audio=bool(body.get("generate_audio")) if official else True,
        samples=(body.get("sample_count") or 1) if official else 1,
        resolution=resolution,
    )


def read_remix(body: Any, source_model: str) -> tuple[str, Spec]:
    """Check the body of a remix of a video that ``source_model`` made.

    :raises ApiError: 400, as the service would say it.
    """
    if not isinstance(body, dict):
        raise documented(400, "invalid request body: a JSON object is expected")
    model = body.get("model")
    if model not in REMIX_MODELS:
        raise documented(400, f"remix does not support model: {model}, allowed: {', '.join(REMIX_MODELS)}")
    if model != ALIASES.get(source_model, source_model):
        raise documented(400, f"model must be the model of the source task: {source_model}")
    _check_prompt(body)
    _check(body, REMIX_FIELDS)
    resolution, width, height = _size(body)
    seconds = REMIX_RAW_SECONDS if body.get("raw") else REMIX_SECONDS
    return str(model), Spec(width=width, height=height, seconds=seconds, audio=True, samples=1, resolution=resolution)


def reject_nan(text: str) -> float:
    """Refuse the numbers that Python's JSON reader accepts although JSON does not have them."""
    if math.isfinite(float(text)):
        return float(text)
    raise ValueError(f"not JSON: {text}")
