"""What a request will cost.

The numbers are the fallback: APIMart's list prices after its standard discount, as of 2026-09 (section 8.4 of the
contract). An account's group ratio can change what is really charged; the ``cost`` of a finished generation is the
truth. 4K of the official models has no published price: the higher reading, twice the price per second, is used and
said to be a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from airflow_provider_apimart.client.request import VeoRequest

#: Dollars a video, by resolution (these models make 8 s and nothing else).
PER_VIDEO: dict[str, dict[str, Decimal]] = {
    "veo3.1-lite": {"720p": Decimal("0.07"), "1080p": Decimal("0.07"), "4k": Decimal("0.57")},
    "veo3.1-fast": {"720p": Decimal("0.14"), "1080p": Decimal("0.14"), "4k": Decimal("0.64")},
    "veo3.1-quality": {"720p": Decimal("1.00"), "1080p": Decimal("1.00"), "4k": Decimal("1.50")},
}
#: Dollars a second, without and with an audio track.
PER_SECOND: dict[str, tuple[Decimal, Decimal]] = {
    "veo3.1-fast-official": (Decimal("0.064"), Decimal("0.08")),
    "veo3.1-quality-official": (Decimal("0.16"), Decimal("0.32")),
}
PER_SECOND_SIZES = ("720p", "1080p", "4k")
OFFICIAL_4K_FACTOR = Decimal(2)
#: Names under which the price page lists the same models.
ALIASES = {f"{model}-ext": model for model in PER_VIDEO}


@dataclass(frozen=True)
class Estimate:
    """What a request is expected to cost, in USD, and how that was computed."""

    usd: Decimal
    basis: str


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


def estimate(request: VeoRequest) -> Estimate | None:
    """Return the list price of ``request``, or ``None`` where none is published."""
    # The body, because that is what is paid for: ``extra_body`` may hold what the price depends on.
    body = request.body()
    seconds, samples = body.get("duration", 8), body.get("sample_count", 1)
    size, audio = body.get("resolution", "720p"), body.get("generate_audio", False)
    # How APIMart reads a value of another type is anybody's guess.
    if type(seconds) is not int or type(samples) is not int or not isinstance(size, str) or not isinstance(audio, bool):
        return None
    return list_price(
        request.model, duration_seconds=seconds, resolution=size, generate_audio=audio, sample_count=samples
    )
