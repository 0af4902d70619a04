"""Veo's models as data: what each family accepts, its other names, and which models are retired.

To add a family, add a line to :data:`FAMILIES` (and its prices to ``generation/pricing/price_table.py``, under the same
name). To rename a model, add its new name to :data:`ALIASES`. To retire one, add it to :data:`RETIRED`. Nothing else
knows a model's name, except the default.

The table is never stricter than APIMart. A request for an unlisted model is sent without model-specific rules, or
checked against APIMart's own schema of it (``rules="schema"``). A retired model is sent with a warning: APIMart may
still serve it.

Source: APIMart's page "VEO3 official generation", and sections 2 and 11 of the contract for the ``-ext`` models.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

DEFAULT_MODEL = "veo3.1-fast-official"
MIB = 1024 * 1024
FRAME_FIELDS = ("first_frame_image", "last_frame_image")


@dataclass(frozen=True)
class ModelRules:
    """What one family of models accepts."""

    durations: tuple[int, ...]
    resolutions: tuple[str, ...]
    #: Request fields that the family's page does not list. APIMart would ignore them silently.
    unsupported: frozenset[str]
    #: How frames are sent: under their own names, as ``image_urls`` in frame mode, or not at all.
    frames: str
    image_bytes_max: int = 20 * MIB
    image_types: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp", "image/gif")
    #: Whether APIMart extends the model's videos (contract 4).
    remix: bool = False


@dataclass(frozen=True)
class Retired:
    """The end of a model.

    :param since: when it ended; ``None`` if nobody has published the day.
    :param successor: the model that takes its place.
    :param source: who says so.
    """

    since: date | None
    successor: str
    source: str

    def __str__(self) -> str:
        when = "" if self.since is None else f" since {self.since:%Y-%m-%d}"
        return f"is retired{when} ({self.source}); its successor is {self.successor!r}"


_OFFICIAL = ModelRules((4, 6, 8), ("720p", "1080p", "4K"), frozenset(), "fields")
_EXT_UNSUPPORTED = frozenset(
    "negative_prompt seed sample_count generate_audio person_generation resize_mode enhance_prompt".split()
)
_EXT_IMAGES = ("image/jpeg", "image/png", "image/webp")
_EXT = ModelRules((8,), ("720p", "1080p", "4k"), _EXT_UNSUPPORTED, "image_urls", 10 * MIB, _EXT_IMAGES, remix=True)
_LITE = ModelRules((8,), ("720p", "1080p", "4k"), _EXT_UNSUPPORTED | set(FRAME_FIELDS), "none")

#: The rules of each family, by the family's name: the id under which APIMart's own page lists it.
FAMILIES: dict[str, ModelRules] = {
    "veo3.1-fast-official": _OFFICIAL,
    "veo3.1-quality-official": _OFFICIAL,
    "veo3.1-fast": _EXT,
    "veo3.1-quality": _EXT,
    "veo3.1-lite": _LITE,
}
#: Other names of the same families: APIMart's price page calls the models that are not official ``-ext``.
ALIASES: dict[str, str] = {
    "veo3.1-fast-ext": "veo3.1-fast",
    "veo3.1-quality-ext": "veo3.1-quality",
    "veo3.1-lite-ext": "veo3.1-lite",
}
#: Models that have ended. They need not be (or have been) families of this table.
RETIRED: dict[str, Retired] = {
    "veo3.1": Retired(None, "veo3.1-fast", "APIMart's pages of 2025 had it, and today's have not"),
    # Google's own ids, which other services sell under their names.
    "veo-3.1-generate-preview": Retired(date(2026, 10, 22), "veo3.1-quality-official", "Google's Gemini API"),
    "veo-3.1-fast-generate-preview": Retired(date(2026, 10, 22), DEFAULT_MODEL, "Google's Gemini API"),
}
#: The rules by every name that is known here.
MODELS: dict[str, ModelRules] = {**FAMILIES, **{alias: FAMILIES[family] for alias, family in ALIASES.items()}}


def family_of(model: str) -> str | None:
    """Return the name of a model's family, under which prices and rules are kept; ``None`` if it is not known here."""
    family = ALIASES.get(model, model)
    return family if family in FAMILIES else None
