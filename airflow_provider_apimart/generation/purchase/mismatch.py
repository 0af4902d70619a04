"""Compares what was requested with what was delivered. Pure.

APIMart's relays have been seen to ignore duration, size and sound. The request is the body that was sent plus, for the
models that are known here, the defaults that APIMart documents. Differences that matter to nobody are ignored:

* Encoders round, so half a second and a few lines of the picture do not count.
* The ext models always make sound, at one price, and have no parameter for it. So sound that the request does not
  mention is a difference only if it was charged for.
* A frame may determine the video's shape: with a frame and no ``aspect_ratio``, no shape was requested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeGuard

from airflow_provider_apimart.client.model_rules import FRAME_FIELDS
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.price_table import prices_of
from airflow_provider_apimart.generation.pricing.prices import OWN_LIST, list_price
from airflow_provider_apimart.generation.purchase.record import LandedVideo

OnMismatch = Literal["warn", "fail"]

SECONDS_OFF = 0.5
SIZE_OFF, RATIO_OFF = 0.05, 0.03
#: The shorter side of the picture.
LINES = {"720p": 720, "1080p": 1080, "4k": 2160}
DEFAULTS: Mapping[str, Any] = {"duration": 8, "resolution": "720p", "aspect_ratio": "16:9", "sample_count": 1}


@dataclass(frozen=True)
class _Priced:
    """What the price of one video depends on."""

    model: str
    seconds: float
    size: str
    audio: bool

    def usd(self) -> Decimal | None:
        found = list_price(
            self.model, duration_seconds=round(self.seconds), resolution=self.size, generate_audio=self.audio
        )
        return None if found is None else found.usd


def mismatches(
    request: VeoRequest, landed: Sequence[LandedVideo], *, count: int, cost_usd: float | None = None, first: int = 1
) -> list[dict[str, Any]]:
    """Return where the videos of a generation differ from its request, as plain JSON.

    :param landed: the videos whose content is known.
    :param count: how many videos were delivered, landed or not.
    :param cost_usd: what was charged for the generation.
    :param first: which sample the first of ``landed`` is, counted from 1.
    :return: ``[{"field", "asked", "delivered", "sample", "usd"}]``. ``field`` is the request's parameter. ``sample`` is
        the video (``None`` for all of them together). ``usd`` is the overpayment according to the price list (below 0
        if more was delivered than requested), ``None`` if no price is known.
    """
    asked = asked_for(request)
    found: list[dict[str, Any]] = []
    priced = _priced(request, asked)
    wanted = asked.get("sample_count")
    if _is_number(wanted) and count < wanted:
        one = priced.usd() if priced else None
        found.append(_line("sample_count", wanted, count, None, None if one is None else one * (round(wanted) - count)))
    for sample, video in enumerate(landed, start=first):
        found += _of_one(asked, priced, video, sample, cost_usd)
    return found


def text_of(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the differences as one readable line, with what each is worth."""
    lines = [
        f"{one['field']}: asked {one['asked']!r}, delivered {one['delivered']!r}"
        f"{'' if one['sample'] in (None, 1) else ' in sample ' + str(one['sample'])}{_worth(one['usd'])}"
        for one in found
    ]
    source = f" (prices from {OWN_LIST})" if any(one["usd"] for one in found) else ""
    return "; ".join(lines) + source


def _worth(usd: float | None) -> str:
    return f", {abs(usd):g} USD {'too much' if usd > 0 else 'less than it is worth'}" if usd else ""


def asked_for(request: VeoRequest) -> dict[str, Any]:
    """Return what was requested: the fields that are sent, and APIMart's defaults for those that are not."""
    body = request.body()
    # The defaults of a model that is not known here are not known either.
    defaults = dict(DEFAULTS) if request.rules else {}
    if request.remix_of is not None or any(body.get(name) for name in (*FRAME_FIELDS, "image_urls")):
        defaults.pop("aspect_ratio", None)
    if request.remix_of is not None:
        # How long it gets depends on the video that it extends.
        defaults.pop("duration", None)
    return {**defaults, **body}


def _priced(request: VeoRequest, asked: Mapping[str, Any]) -> _Priced | None:
    seconds, size = asked.get("duration"), _size(asked.get("resolution"))
    if size is None or not _is_number(seconds):
        return None
    return _Priced(request.model, seconds, size, asked.get("generate_audio") is True)


def _of_one(
    asked: Mapping[str, Any], priced: _Priced | None, video: LandedVideo, sample: int, cost_usd: float | None
) -> list[dict[str, Any]]:
    found = []

    def differs(field: str, delivered: Any, **changes: Any) -> None:
        found.append(_line(field, asked.get(field), delivered, sample, _difference(priced, **changes)))

    seconds, size, picture = asked.get("duration"), _size(asked.get("resolution")), f"{video.width}x{video.height}"
    if _is_number(seconds) and abs(video.duration_seconds - seconds) > SECONDS_OFF:
        differs("duration", video.duration_seconds, seconds=video.duration_seconds)
    lines = min(video.width, video.height)
    if size is not None and _is_off(lines, LINES[size], SIZE_OFF):
        differs("resolution", picture, size=_size_of(lines))
    ratio = _ratio(asked.get("aspect_ratio"))
    if ratio is not None and video.height and _is_off(video.width / video.height, ratio, RATIO_OFF):
        differs("aspect_ratio", picture)
    wants_sound = asked.get("generate_audio") is True
    if wants_sound and not video.has_audio:
        differs("generate_audio", False, audio=False)
    if not wants_sound and video.has_audio:
        if priced is not None and _sound_was_charged(asked, priced, cost_usd):
            usd = _difference(replace(priced, audio=True), audio=False)
            found.append(_line("generate_audio", False, True, sample, usd))
        elif asked.get("generate_audio") is False:
            differs("generate_audio", True, audio=True)
    return found


def _sound_was_charged(asked: Mapping[str, Any], priced: _Priced, cost_usd: float | None) -> bool:
    """Return whether a charge is, to the cent, the price with sound."""
    samples, prices = asked.get("sample_count"), prices_of(priced.model)
    if prices is None or not prices.per_second or not _is_number(samples):
        return False
    usd = replace(priced, audio=True).usd()
    return cost_usd is not None and usd is not None and abs(float(usd) * samples - cost_usd) < 0.005


def _difference(priced: _Priced | None, **changes: Any) -> Decimal | None:
    """Return how much more the requested video costs than the same one with ``changes``."""
    if priced is None:
        return None
    one, other = priced.usd(), replace(priced, **changes).usd()
    return None if one is None or other is None else one - other


def _line(field: str, asked: Any, delivered: Any, sample: int | None, usd: Decimal | None) -> dict[str, Any]:
    value = None if usd is None else round(float(usd), 6)
    return {"field": field, "asked": asked, "delivered": delivered, "sample": sample, "usd": value}


def _size(resolution: Any) -> str | None:
    text = resolution.strip().lower() if isinstance(resolution, str) else ""
    return text if text in LINES else None


def _size_of(lines: int) -> str:
    """Return the size that a picture is sold as. Nothing smaller than 720p is sold."""
    fitting = [size for size, least in LINES.items() if lines >= least * (1 - SIZE_OFF)]
    return fitting[-1] if fitting else "720p"


def _ratio(aspect: Any) -> float | None:
    match = re.fullmatch(r"\s*([1-9][0-9]{0,3}):([1-9][0-9]{0,3})\s*", aspect) if isinstance(aspect, str) else None
    return int(match[1]) / int(match[2]) if match else None


def _is_off(value: float, wanted: float, share: float) -> bool:
    return abs(value - wanted) > share * wanted


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
