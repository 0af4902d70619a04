"""What each family of Veo models accepts: durations, resolutions, frames, and which parameters it lacks.

To add or rename a model, change this table. A request for an unlisted model is sent without model-specific rules.

Source: APIMart's page "VEO3 official generation", and section 2 of the contract for the ``-ext`` models.
"""

from __future__ import annotations

from dataclasses import dataclass

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


_OFFICIAL = ModelRules((4, 6, 8), ("720p", "1080p", "4K"), frozenset(), "fields")
_EXT_UNSUPPORTED = frozenset(
    "negative_prompt seed sample_count generate_audio person_generation resize_mode enhance_prompt".split()
)
_EXT_IMAGES = ("image/jpeg", "image/png", "image/webp")
_EXT = ModelRules((8,), ("720p", "1080p", "4k"), _EXT_UNSUPPORTED, "image_urls", 10 * MIB, _EXT_IMAGES)
_LITE = ModelRules((8,), ("720p", "1080p", "4k"), _EXT_UNSUPPORTED | set(FRAME_FIELDS), "none")

MODELS: dict[str, ModelRules] = {
    "veo3.1-fast-official": _OFFICIAL,
    "veo3.1-quality-official": _OFFICIAL,
    **dict.fromkeys(("veo3.1-fast", "veo3.1-fast-ext", "veo3.1-quality", "veo3.1-quality-ext"), _EXT),
    **dict.fromkeys(("veo3.1-lite", "veo3.1-lite-ext"), _LITE),
}
