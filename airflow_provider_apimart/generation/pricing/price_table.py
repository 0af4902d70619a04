"""The provider's own price list: one row a model and key. Every price in this package comes from here.

Recorded catalogues of 2026-08 to 2026-10 that agree wherever they overlap; USD after APIMart's standard discount
(sections 8.4 and 11 of the contract). To add a model, add a row here, and its rules in ``client/model_rules.py``. The
keys are those of ``GET /api/pricing/models/all``, in lower case:

* models priced per video (8 s): ``default`` (720p and 1080p), ``4k``, and for remixes ``extend`` and ``extend-4k``;
* models priced per second: ``720p``, ``1080p`` and ``4k`` without sound, the same with ``-audio``, and ``default`` and
  ``audio``, which are the prices at 720p.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

#: When the newest of the catalogues was recorded.
LISTED_ON = date(2026, 10, 31)
#: APIMart has changed prices about twice a year. After so many months the list says how old it is.
OLD_AFTER_MONTHS = 3


@dataclass(frozen=True)
class Prices:
    """The prices of one model, by key."""

    unit: Literal["usd_per_call", "usd_per_second"]
    usd: Mapping[str, Decimal]

    @property
    def per_second(self) -> bool:
        """Whether a price is for a second of video, not for a video."""
        return self.unit == "usd_per_second"


def _per_video(default: str, four_k: str, extend: str) -> Prices:
    prices = {"default": default, "4k": four_k, "extend": extend, "extend-4k": four_k}
    return Prices("usd_per_call", {key: Decimal(usd) for key, usd in prices.items()})


def _per_second(hd: tuple[str, str], full_hd: tuple[str, str], four_k: tuple[str, str]) -> Prices:
    prices = {"default": hd[0], "audio": hd[1]}
    for size, (silent, audio) in {"720p": hd, "1080p": full_hd, "4k": four_k}.items():
        prices |= {size: silent, f"{size}-audio": audio}
    return Prices("usd_per_second", {key: Decimal(usd) for key, usd in prices.items()})


PRICES: Mapping[str, Prices] = {
    "veo3.1-fast-official": _per_second(("0.064", "0.08"), ("0.08", "0.096"), ("0.20", "0.24")),
    "veo3.1-quality-official": _per_second(("0.16", "0.32"), ("0.16", "0.32"), ("0.32", "0.48")),
    "veo3.1-lite": _per_video("0.07", "0.57", "0.07"),
    "veo3.1-fast": _per_video("0.14", "0.64", "0.14"),
    "veo3.1-quality": _per_video("1.00", "1.50", "1.00"),
}
#: Names under which APIMart lists the same models.
ALIASES: Mapping[str, str] = {f"{model}-ext": model for model, prices in PRICES.items() if not prices.per_second}
SIZES = ("720p", "1080p", "4k")


def prices_of(model: str) -> Prices | None:
    """Return the prices of a model, by any of its names."""
    return PRICES.get(ALIASES.get(model, model))


def price_key(prices: Prices, size: str, *, audio: bool = False, remix: bool = False) -> str:
    """Return the key of what a request asks for.

    :param size: in lower case.
    """
    if not prices.per_second:
        large = size == "4k"
        return ("extend-4k" if large else "extend") if remix else ("4k" if large else "default")
    return f"{size}-audio" if audio else size


def own_list(today: date | None = None) -> str:
    """Return what the list calls itself, with its age if it is old.

    :param today: ``None`` leaves the age out.
    """
    name = f"the provider's own list of {LISTED_ON:%Y-%m}"
    months = 0 if today is None else (today.year - LISTED_ON.year) * 12 + today.month - LISTED_ON.month
    return f"{name}, {months} months old: check apimart.ai/pricing" if months > OLD_AFTER_MONTHS else name
