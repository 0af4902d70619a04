"""What a request will cost.

Prices come from APIMart's public price list if it is available (:class:`PriceList`). The list in ``price_table.py``
fills its gaps. An account's group ratio can change the actual charge: the ``cost`` of a finished generation is what
counts.

The estimate is made from the body that is sent, because ``extra_body`` can also set fields that the price depends on.
An unknown price is ``None``, never a guess that is too low.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.models import Price
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing.price_table import SIZES, own_list, price_key, prices_of

#: Fields that change the price in an unpublished way.
UNPRICED = ("official_fallback", "nsfw_check")
#: What ``default`` stands for in a price list. Larger pictures are dearer.
DEFAULT_SIZES = ("720p", "1080p")

OWN_LIST = own_list()
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


@dataclass(frozen=True)
class _Asked:
    """What the price of a request depends on."""

    model: str
    size: str = "720p"
    seconds: int = 8
    audio: bool = False
    samples: int = 1
    remix: bool = False

    def at(self, rate: Decimal, *, per_second: bool, note: str = "") -> Estimate:
        """Return the cost at ``rate``, per second or per video."""
        if not per_second:
            return Estimate(rate * self.samples, f"{self.samples} x {rate} USD/video{note}")
        audio = "with" if self.audio else "without"
        basis = f"{self.samples} x {self.seconds} s x {rate} USD/s {audio} audio{note}"
        return Estimate(rate * self.seconds * self.samples, basis)


def list_price(
    model: str,
    *,
    duration_seconds: int = 8,
    resolution: str = "720p",
    generate_audio: bool = False,
    sample_count: int = 1,
) -> Estimate | None:
    """Return the list price of one request, or ``None`` for a model or a size that has no published price."""
    asked = _Asked(model, resolution.lower(), duration_seconds, generate_audio, sample_count)
    rate = _own_rate(asked)
    return None if rate is None else asked.at(rate[0], per_second=rate[1])


def remix_price(model: str, *, resolution: str = "720p") -> Estimate | None:
    """Return the list price of a remix of a generation of ``model``, or ``None`` if none is published."""
    asked = _Asked(model, resolution.lower(), remix=True)
    rate = _own_rate(asked)
    return None if rate is None else asked.at(rate[0], per_second=rate[1])


def _own_rate(asked: _Asked) -> tuple[Decimal, bool] | None:
    """Return the own list's price, and whether it is for a second."""
    prices = prices_of(asked.model)
    if prices is None or asked.size not in SIZES or (asked.remix and prices.per_second):
        return None
    return prices.usd[price_key(prices, asked.size, audio=asked.audio, remix=asked.remix)], prices.per_second


class PriceList:
    """Prices by model, resolution and sound.

    :param prices: the prices of APIMart's list; the provider's own list fills the gaps.
    :param source: where the prices come from, for the log.
    :param today: lets the own list say how old it is.
    """

    def __init__(self, prices: Sequence[Price] = (), source: str = OWN_LIST, today: date | None = None) -> None:
        self.source = source
        self._today = today
        self._prices: dict[str, list[Price]] = {}
        for price in prices:
            # Nothing is free at APIMart: a zero means that the list does not know the price.
            if price.usd > 0 and price.unit in ("usd_per_second", "usd_per_call"):
                self._prices.setdefault(price.model.lower(), []).append(price)

    def estimate(self, request: VeoRequest) -> Estimate | None:
        """Return what ``request`` will cost, or ``None`` if no price is published."""
        asked = _asked(request)
        if asked is None:
            return None
        told = self._told(asked)
        if told is not None:
            return replace(told, source=self.source)
        rate = _own_rate(asked)
        if rate is None:
            return None
        source = self.source
        if not source.startswith(OWN_LIST):
            source = f"{own_list(self._today)}, since {self.source} does not tell this one"
        return replace(asked.at(rate[0], per_second=rate[1]), source=source)

    def _told(self, asked: _Asked) -> Estimate | None:
        """Return what APIMart's list says: the price of what is asked for, or a nearer one that is above our own.

        For a model that is not known here, a near price could be too low, and nothing is there to compare it with.
        """
        own = _own_rate(asked)
        read = [
            (_read_key(price.key), price) for price in self._of(asked.model) if own is None or _fits(price, asked, own)
        ]
        exact = [price for key, price in read if key.is_for(asked, per_second=_is_per_second(price))]
        if exact:
            # If the list has two prices, the higher one is used.
            costs = [asked.at(Decimal(str(price.usd)), per_second=_is_per_second(price)) for price in exact]
            return max(costs, key=lambda cost: cost.usd)
        if own is None:
            return None
        near = [Decimal(str(each.usd)) for key, each in read if key.is_near(asked) and _is_per_second(each) is own[1]]
        if not near or max(near) <= own[0]:
            return None
        return asked.at(max(near), per_second=own[1], note=", the nearest price that it has")

    def _of(self, model: str) -> list[Price]:
        base = model.lower().removesuffix("-ext")
        return next((self._prices[name] for name in (model.lower(), base, f"{base}-ext") if name in self._prices), [])


def estimate(request: VeoRequest) -> Estimate | None:
    """Return what ``request`` costs by the provider's own list, or ``None`` if no price is published."""
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
    remix = request.remix_of is not None
    return _Asked(request.model, size.strip().lower(), seconds, audio, samples, remix)


@dataclass(frozen=True)
class _Key:
    """A key of APIMart's price list.

    :param size: ``""`` for the keys without one, ``default``, ``audio`` and ``extend``; ``None`` for a key that is not
        understood.
    :param audio: whether it is a price with sound.
    :param remix: whether it is the price of a remix.
    """

    size: str | None
    audio: bool = False
    remix: bool = False

    def is_for(self, asked: _Asked, *, per_second: bool) -> bool:
        """Return whether this is the very price of what is asked for.

        :param per_second: whether the price is for a second. At 1080p and with sound, the models that are priced per
            video cost the same; the others cost more.
        """
        if self.remix is not asked.remix:
            return False
        same_sound = self.audio is asked.audio or not (per_second or self.audio)
        if self.size == "":
            return same_sound and (asked.size == "720p" if per_second else asked.size in DEFAULT_SIZES)
        return same_sound and self.size == asked.size

    def is_near(self, asked: _Asked) -> bool:
        """Return whether this is a price of the same model that may be too low for what is asked for, never too high.

        That is one for a picture of at most that size, without sound that is not asked for.
        """
        if self.size is None or self.remix is not asked.remix or (self.audio and not asked.audio):
            return False
        return self.size == "" or SIZES.index(self.size) <= SIZES.index(asked.size)


def _fits(price: Price, asked: _Asked, own: tuple[Decimal, bool]) -> bool:
    """Return whether a price is in the unit that is known, or costs more: APIMart may charge in another one by now."""
    per_second = _is_per_second(price)
    if per_second is own[1]:
        return True
    cost = asked.at(Decimal(str(price.usd)), per_second=per_second).usd
    return cost > asked.at(own[0], per_second=own[1]).usd


def _is_per_second(price: Price) -> bool:
    return price.unit == "usd_per_second"


def _read_key(key: str) -> _Key:
    """Read a key, in any case: ``default``, ``audio``, or a resolution with or without a suffix about sound; and the
    same of a remix, ``extend`` and ``extend-4k``.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    if "extend" in words:
        words.remove("extend")
        return replace(_read_words(words or ["default"]), remix=True)
    return _read_words(words)


def _read_words(words: Sequence[str]) -> _Key:
    sizes = [word for word in words if word in SIZES]
    rest = {word for word in words if word not in SIZES}
    if rest == {"default"} and not sizes:
        return _Key("")
    if len(sizes) > 1 or rest - {"audio", "with", "no", "without", "off", "on", "silent"} or not words:
        return _Key(None)
    audio = bool(rest) and not rest & {"no", "without", "off", "silent"}
    if not sizes and not audio:
        return _Key(None)
    return _Key(sizes[0] if sizes else "", audio)
