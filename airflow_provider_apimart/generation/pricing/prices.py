"""What a request will cost.

Prices come from APIMart's public price list if it is available (:class:`PriceList`). The list here fills its gaps:
APIMart's prices after its standard discount, as of 2026-09 (section 8.4 of the contract). An account's group ratio can
change the actual charge; the ``cost`` of a finished generation is authoritative. 4K of the official models has no
published price. The higher interpretation, twice the price per second, is used and marked as a guess.

The estimate is made from the body that is sent, because ``extra_body`` can also set fields that the price depends on.
An unknown price is ``None``, never a guess that is too low.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.models import Price
from airflow_provider_apimart.client.request import VeoRequest

#: Dollars per video, by resolution (these models make 8 s videos only).
PER_VIDEO: dict[str, dict[str, Decimal]] = {
    "veo3.1-lite": {"720p": Decimal("0.07"), "1080p": Decimal("0.07"), "4k": Decimal("0.57")},
    "veo3.1-fast": {"720p": Decimal("0.14"), "1080p": Decimal("0.14"), "4k": Decimal("0.64")},
    "veo3.1-quality": {"720p": Decimal("1.00"), "1080p": Decimal("1.00"), "4k": Decimal("1.50")},
}
#: Dollars per second, without and with an audio track.
PER_SECOND: dict[str, tuple[Decimal, Decimal]] = {
    "veo3.1-fast-official": (Decimal("0.064"), Decimal("0.08")),
    "veo3.1-quality-official": (Decimal("0.16"), Decimal("0.32")),
}
PER_SECOND_SIZES = ("720p", "1080p", "4k")
OFFICIAL_4K_FACTOR = Decimal(2)
#: Names under which the price page lists the same models.
ALIASES = {f"{model}-ext": model for model in PER_VIDEO}
#: Fields that change the price in an unpublished way.
UNPRICED = ("official_fallback",)

OWN_LIST = "the provider's own list of 2026-09"
APIMART_LIST = "APIMart's price list"


@dataclass(frozen=True)
class Estimate:
    """What a request is expected to cost, in USD, and how that was computed.

    :param source: where the prices come from.
    """

    usd: Decimal
    basis: str
    source: str = OWN_LIST

    def __str__(self) -> str:
        return f"{self.usd:.6f}".rstrip("0").rstrip(".") + f" USD ({self.basis}; prices from {self.source})"


def list_price(
    model: str,
    *,
    duration_seconds: int = 8,
    resolution: str = "720p",
    generate_audio: bool = False,
    sample_count: int = 1,
) -> Estimate | None:
    """Return the list price of one request, or ``None`` for a model or a size that has no published price."""
    size = resolution.lower()
    model = ALIASES.get(model, model)
    if model in PER_SECOND and size in PER_SECOND_SIZES:
        rate = PER_SECOND[model][generate_audio]
        guess = ""
        if size == "4k":
            rate, guess = rate * OFFICIAL_4K_FACTOR, ", 4K guessed at twice the price: none is published"
        usd = rate * duration_seconds * sample_count
        audio = "with" if generate_audio else "without"
        return Estimate(usd, f"{sample_count} x {duration_seconds} s x {rate} USD/s {audio} audio{guess}")
    if model in PER_VIDEO and size in PER_VIDEO[model]:
        usd = PER_VIDEO[model][size]
        return Estimate(usd * sample_count, f"{sample_count} x {usd} USD/video")
    return None


@dataclass(frozen=True)
class _Asked:
    """What the price of a request depends on."""

    model: str
    size: str
    seconds: int
    audio: bool
    samples: int


class PriceList:
    """Prices by model, resolution and sound.

    :param prices: the prices of APIMart's list; the list of this file fills the gaps.
    :param source: where the prices come from, for the log.
    """

    def __init__(self, prices: Sequence[Price] = (), source: str = OWN_LIST) -> None:
        self.source = source
        self._prices: dict[str, list[Price]] = {}
        for price in prices:
            # Nothing is free at APIMart: a zero means that the list does not know the price.
            if price.usd > 0 and price.unit in ("usd_per_second", "usd_per_call"):
                self._prices.setdefault(price.model, []).append(price)

    def estimate(self, request: VeoRequest) -> Estimate | None:
        """Return what ``request`` will cost, or ``None`` if no price is published."""
        asked = _asked(request)
        if asked is None:
            return None
        told = self._told(asked)
        if told is not None:
            return told
        own = list_price(
            asked.model,
            duration_seconds=asked.seconds,
            resolution=asked.size,
            generate_audio=asked.audio,
            sample_count=asked.samples,
        )
        source = f"{OWN_LIST}, since {self.source} does not tell this one" if self._prices else self.source
        return None if own is None else replace(own, source=source)

    def _told(self, asked: _Asked) -> Estimate | None:
        same = (asked.model, f"{asked.model}-ext", ALIASES.get(asked.model, ""))
        prices = next((self._prices[name] for name in same if name in self._prices), [])
        prices = [price for price in prices if _words(price.key)[0] == asked.size]
        fitting = [price for price in prices if _words(price.key)[1] is asked.audio]
        note, least = "", Decimal(0)
        if asked.audio and not fitting:
            # The list has one price for both, or only one without sound.
            fitting = prices
            if asked.model in PER_SECOND:
                own = list_price(asked.model, duration_seconds=1, resolution=asked.size, generate_audio=True)
                note, least = ", the dearer of it and our own price with audio", own.usd if own else least
        if not fitting or (least and fitting[0].unit != "usd_per_second"):
            return None
        # If the list has two prices, the higher one is used.
        price = max(fitting, key=lambda price: price.usd)
        rate = max(Decimal(str(price.usd)), least)
        if price.unit == "usd_per_call":
            return Estimate(rate * asked.samples, f"{asked.samples} x {rate} USD/video", self.source)
        audio = "with" if asked.audio else "without"
        basis = f"{asked.samples} x {asked.seconds} s x {rate} USD/s {audio} audio{note}"
        return Estimate(rate * asked.seconds * asked.samples, basis, self.source)


def estimate(request: VeoRequest) -> Estimate | None:
    """Return what ``request`` costs by this file's own list, or ``None`` if no price is published."""
    return PriceList().estimate(request)


def _asked(request: VeoRequest) -> _Asked | None:
    """Return what is actually requested, ``extra_body`` included; ``None`` if that cannot be determined."""
    body: Mapping[str, Any] = request.body()
    size, seconds = body.get("resolution", "720p"), body.get("duration", 8)
    audio, samples = body.get("generate_audio", False), body.get("sample_count", 1)
    if not isinstance(size, str) or not isinstance(audio, bool) or any(body.get(name) for name in UNPRICED):
        return None
    if any(type(number) is not int or number < 1 for number in (seconds, samples)):
        return None
    return _Asked(request.model, size.strip().lower(), seconds, audio, samples)


def _words(key: str) -> tuple[str, bool | None]:
    """Read a key of APIMart's price list: a resolution, with or without a suffix about sound."""
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    sizes = [word for word in words if word in PER_SECOND_SIZES]
    rest = {word for word in words if word not in PER_SECOND_SIZES}
    if len(sizes) != 1 or rest - {"audio", "with", "no", "without", "off", "on", "silent"}:
        return "", None
    return sizes[0], bool(rest) and not rest & {"no", "without", "off", "silent"}
