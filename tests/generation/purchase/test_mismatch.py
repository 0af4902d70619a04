"""What was asked for against what was delivered: every real difference is found, and nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.emulator.apimart import validation
from airflow_provider_apimart.generation.pricing.prices import estimate
from airflow_provider_apimart.generation.purchase.mismatch import mismatches, text_of
from airflow_provider_apimart.generation.purchase.record import LandedVideo

OFFICIAL = "veo3.1-fast-official"


def video(width: int = 1280, height: int = 720, seconds: float = 8.0, audio: bool = False) -> LandedVideo:
    return LandedVideo(
        path="/v.mp4", bytes=1, sha256="0", width=width, height=height, duration_seconds=seconds, has_audio=audio
    )


def request(**values: Any) -> VeoRequest:
    return VeoRequest.checked({"prompt": "a cat", **values})


def found(asked: VeoRequest, *videos: LandedVideo, count: int | None = None, **more: Any) -> dict[str, tuple[Any, Any]]:
    lines = mismatches(asked, videos, count=len(videos) if count is None else count, **more)
    return {line["field"]: (line["asked"], line["delivered"]) for line in lines}


def test_everything_else_than_what_was_asked_for_is_found() -> None:
    asked = request(duration=8, resolution="1080p", aspect_ratio="9:16", generate_audio=True)
    delivered = video(640, 360, 4.0)
    assert mismatches(asked, [delivered], count=1) == [
        {"field": "duration", "asked": 8, "delivered": 4.0, "sample": 1, "usd": 0.384},
        {"field": "resolution", "asked": "1080p", "delivered": "640x360", "sample": 1, "usd": 0.128},
        {"field": "aspect_ratio", "asked": "9:16", "delivered": "640x360", "sample": 1, "usd": 0.0},
        {"field": "generate_audio", "asked": True, "delivered": False, "sample": 1, "usd": 0.128},
    ]


def test_defaults_of_the_api_were_asked_for() -> None:
    assert found(request(), video(640, 360, 4.0)) == {"duration": (8, 4.0), "resolution": ("720p", "640x360")}
    assert found(request(), video(720, 1280)) == {"aspect_ratio": ("16:9", "720x1280")}
    assert found(request(model="veo3.1-lite"), video(seconds=5.0, audio=True)) == {"duration": (8, 5.0)}
    assert found(request(model="veo4"), video(640, 360, 4.0, True)) == {}
    assert found(request(model="veo4", duration=10), video(seconds=4.0)) == {"duration": (10, 4.0)}


def test_what_extra_body_asks_for_counts() -> None:
    asked = request(model="veo4", extra_body={"duration": 6, "resolution": "4K", "sample_count": 2, "seed": "x"})
    assert found(asked, video(seconds=4.0)) == {
        "sample_count": (2, 1),
        "duration": (6, 4.0),
        "resolution": ("4K", "1280x720"),
    }
    odd = request(model="veo4", extra_body={"resolution": 5, "sample_count": "many", "aspect_ratio": "wide"})
    assert found(odd, video()) == {}


def test_fewer_videos_than_asked_for() -> None:
    asked = request(sample_count=3, duration=4)
    lines = mismatches(asked, [], count=1)
    assert lines == [{"field": "sample_count", "asked": 3, "delivered": 1, "sample": None, "usd": 0.512}]
    assert found(asked, count=3) == {} and found(asked, count=4) == {}


def test_each_sample_is_looked_at() -> None:
    asked = request(sample_count=2)
    loose = request(model="veo4", extra_body={"sample_count": 2.0})
    assert found(loose, count=1) == {"sample_count": (2.0, 1)}
    lines = mismatches(asked, [video(), video(seconds=4.0)], count=2)
    assert [(line["field"], line["sample"]) for line in lines] == [("duration", 2)]
    assert mismatches(asked, [video(seconds=4.0)], count=2, first=2)[0]["sample"] == 2
    text = "duration: asked 8, delivered 4.0 in sample 2, 0.256 USD too much"
    assert text_of(lines) == f"{text} (prices from the provider's own list of 2026-10)"


@pytest.mark.parametrize(
    ("seconds", "width", "height"),
    [(8.0, 1280, 720), (8.04, 1280, 720), (7.96, 1280, 720), (8.4, 1280, 720), (8.0, 1280, 704), (8.0, 1272, 720)],
)
def test_what_encoders_round_is_no_difference(seconds: float, width: int, height: int) -> None:
    assert found(request(), video(width, height, seconds)) == {}


@pytest.mark.parametrize(("seconds", "width", "height"), [(7.4, 1280, 720), (8.6, 1280, 720), (8.0, 1024, 576)])
def test_what_is_more_than_rounding_is_one(seconds: float, width: int, height: int) -> None:
    assert len(found(request(), video(width, height, seconds))) == 1


@pytest.mark.parametrize(
    "frames", [{"first_frame_image": "https://x.org/a.png"}, {"extra_body": {"image_urls": ["u"]}}]
)
def test_frame_may_bring_its_own_shape_along(frames: dict[str, Any]) -> None:
    assert found(request(**frames), video(720, 1280)) == {}
    assert "aspect_ratio" in found(request(aspect_ratio="16:9", **frames), video(720, 1280))


def test_sound_that_nobody_asked_for_is_a_difference_where_it_was_charged_for() -> None:
    silent = request(duration=8)
    assert found(silent, video(audio=True)) == {}
    assert found(silent, video(audio=True), cost_usd=0.512) == {}
    assert mismatches(silent, [video(audio=True)], count=1, cost_usd=0.64) == [
        {"field": "generate_audio", "asked": False, "delivered": True, "sample": 1, "usd": 0.128}
    ]
    # At 1080p a charge without sound may be what the list of this version has for one with it.
    assert found(request(resolution="1080p"), video(1920, 1080, audio=True), cost_usd=0.64) == {}
    assert found(request(model="veo3.1-fast"), video(audio=True), cost_usd=0.14) == {}


def test_sound_is_a_difference_where_none_was_asked_for_by_name() -> None:
    silent = request(duration=8, generate_audio=False)
    assert mismatches(silent, [video(audio=True)], count=1) == [
        {"field": "generate_audio", "asked": False, "delivered": True, "sample": 1, "usd": -0.128}
    ]
    assert mismatches(silent, [video(audio=True)], count=1, cost_usd=0.64)[0]["usd"] == 0.128
    assert found(silent, video()) == {}


@pytest.mark.parametrize("model", MODELS)
def test_what_the_emulator_makes_is_what_was_asked_for(model: str) -> None:
    rules = MODELS[model]
    sounds = (None, False, True) if "generate_audio" not in rules.unsupported else (None,)
    ratios, sizes = (None, "16:9", "9:16"), (None, *rules.resolutions)
    for duration, size, ratio, sound in itertools.product((None, *rules.durations), sizes, ratios, sounds):
        asked = request(model=model, duration=duration, resolution=size, aspect_ratio=ratio, generate_audio=sound)
        _, spec = validation.read_generation(asked.body())
        price = estimate(asked)
        cost = float(price.usd) if price else None
        made = video(spec.width, spec.height, float(spec.seconds), spec.audio)
        assert found(asked, made, cost_usd=cost) == {}, asked
