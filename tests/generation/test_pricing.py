"""The list prices, model by model, as the contract has them (8.4)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_apimart.client.request import MODELS, VeoRequest
from airflow_provider_apimart.generation.pricing import estimate, list_price


@pytest.mark.parametrize(
    ("model", "options", "usd"),
    [
        ("veo3.1-fast-official", {}, "0.512"),
        ("veo3.1-fast-official", {"generate_audio": True}, "0.64"),
        ("veo3.1-fast-official", {"duration_seconds": 4}, "0.256"),
        ("veo3.1-fast-official", {"duration_seconds": 6, "sample_count": 4}, "1.536"),
        ("veo3.1-fast-official", {"resolution": "4K"}, "1.024"),
        ("veo3.1-fast-official", {"resolution": "1080p"}, "0.512"),
        ("veo3.1-quality-official", {}, "1.28"),
        ("veo3.1-quality-official", {"generate_audio": True}, "2.56"),
        ("veo3.1-lite", {}, "0.07"),
        ("veo3.1-lite-ext", {"resolution": "4k"}, "0.57"),
        ("veo3.1-fast", {"resolution": "1080p"}, "0.14"),
        ("veo3.1-fast-ext", {"resolution": "4K"}, "0.64"),
        ("veo3.1-quality", {}, "1.00"),
        ("veo3.1-quality", {"resolution": "4k", "sample_count": 2}, "3.00"),
    ],
)
def test_prices(model: str, options: dict[str, Any], usd: str) -> None:
    estimate = list_price(model, **options)
    assert estimate is not None and estimate.usd == Decimal(usd)


@pytest.mark.parametrize("model", MODELS)
def test_every_known_model_has_a_price_for_all_that_it_takes(model: str) -> None:
    for resolution in MODELS[model].resolutions:
        assert list_price(model, resolution=resolution) is not None


@pytest.mark.parametrize(
    ("model", "resolution"), [("veo9", "720p"), ("veo3.1-fast", "8k"), ("veo3.1-fast-official", "8k")]
)
def test_what_has_no_published_price_is_not_guessed(model: str, resolution: str) -> None:
    assert list_price(model, resolution=resolution) is None


def test_a_guess_is_called_one() -> None:
    guessed, known = list_price("veo3.1-fast-official", resolution="4K"), list_price("veo3.1-fast-official")
    assert guessed is not None and "guessed" in guessed.basis
    assert known is not None and known.basis == "1 x 8 s x 0.064 USD/s without audio"


@pytest.mark.parametrize(
    ("extra", "usd"),
    [
        ({"sample_count": 4}, "1.024"),
        ({"generate_audio": True}, "0.320"),
        ({"nsfw_check": False}, "0.256"),
        ({"sample_count": "4"}, None),
        ({"resolution": None}, None),
    ],
)
def test_extra_body_counts_for_the_price(extra: dict[str, Any], usd: str | None) -> None:
    price = estimate(VeoRequest(prompt="a cat", duration=4, extra_body=extra))
    assert (None if price is None else price.usd) == (None if usd is None else Decimal(usd))
