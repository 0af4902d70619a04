"""The list prices, model by model, as the contract has them (8.4); what a request really asks for; APIMart's list."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.models import Price
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.generation.pricing.prices import APIMART_LIST, PriceList, estimate, list_price


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


# --- what is really asked for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "usd"),
    [
        ({}, "0.512"),
        ({"extra_body": {"duration": 30}}, "1.92"),
        ({"duration": 4, "extra_body": {"generate_audio": True}}, "0.32"),
        ({"extra_body": {"sample_count": 4}}, "2.048"),
        ({"extra_body": {"resolution": "4K"}}, "1.024"),
        ({"extra_body": {"duration": 10, "sample_count": 3, "generate_audio": True, "resolution": "4k"}}, "4.8"),
        ({"model": "veo3.1-fast", "extra_body": {"sample_count": 2}}, "0.28"),
        ({"extra_body": {"style": "film"}}, "0.512"),
        ({"extra_body": {"official_fallback": False}}, "0.512"),
    ],
)
def test_extra_body_counts(values: dict[str, Any], usd: str) -> None:
    price = estimate(VeoRequest.checked({"prompt": "a", **values}))
    assert price is not None and price.usd == Decimal(usd)


@pytest.mark.parametrize(
    "extra",
    [
        {"generate_audio": "yes"},
        {"sample_count": "4"},
        {"sample_count": 2.5},
        {"sample_count": True},
        {"sample_count": 0},
        {"resolution": 4},
        {"resolution": "8k"},
        {"resolution": None},
        {"official_fallback": True},
    ],
)
def test_what_cannot_be_told_has_no_price(extra: dict[str, Any]) -> None:
    assert estimate(VeoRequest.checked({"prompt": "a", "extra_body": extra})) is None


# --- APIMart's list --------------------------------------------------------------------------------------------------


def told(*prices: tuple[str, str, str, float], **values: Any) -> str:
    listed = PriceList([Price(model=m, unit=u, key=k, usd=usd) for m, u, k, usd in prices], APIMART_LIST)
    return str(listed.estimate(VeoRequest.checked({"prompt": "a", **values})))


FAST, LITE = "veo3.1-fast-official", "veo3.1-lite"
SECOND, CALL = "usd_per_second", "usd_per_call"


@pytest.mark.parametrize(
    ("prices", "values", "text"),
    [
        ([(FAST, SECOND, "720p", 0.05)], {}, "0.4 USD (1 x 8 s x 0.05 USD/s without audio; prices from APIMart's"),
        ([(FAST, SECOND, "720P-audio", 0.1)], {"generate_audio": True}, "0.8 USD (1 x 8 s x 0.1 USD/s with audio;"),
        ([(FAST, SECOND, "720p", 0.05)], {"generate_audio": True}, "0.64 USD (1 x 8 s x 0.08 USD/s with audio, the"),
        ([(FAST, SECOND, "720p", 0.09)], {"generate_audio": True}, "0.72 USD (1 x 8 s x 0.09 USD/s with audio, the"),
        ([(FAST, SECOND, "4k", 0.1)], {"resolution": "4K", "generate_audio": True}, "1.28 USD"),
        ([(FAST, SECOND, "720p no audio", 0.05), (FAST, SECOND, "720p", 0.06)], {}, "0.48 USD"),
        ([(f"{LITE}-ext", CALL, "720p", 0.05)], {"model": LITE}, "0.05 USD (1 x 0.05 USD/video; prices from APIMart's"),
        ([(LITE, CALL, "720p", 0.05)], {"model": f"{LITE}-ext"}, "0.05 USD"),
        ([("veo9", CALL, "720p", 3.0)], {"model": "veo9"}, "3 USD"),
        # What the list does not say, or says in words that are not known here, comes from the own list.
        ([(FAST, SECOND, "1080p", 0.05)], {}, "0.512 USD (1 x 8 s x 0.064 USD/s without audio; prices from the prov"),
        ([(FAST, SECOND, "720p-turbo", 0.05)], {}, "0.512 USD"),
        ([(FAST, SECOND, "720p", 0.0)], {}, "0.512 USD"),
        ([(FAST, "usd_per_token", "720p", 0.05)], {}, "0.512 USD"),
        ([("veo9", CALL, "1080p", 3.0)], {"model": "veo9"}, "None"),
        ([], {"model": "veo9"}, "None"),
    ],
)
def test_apimarts_list_goes_first(prices: list[Any], values: dict[str, Any], text: str) -> None:
    assert told(*prices, **values).startswith(text)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("audio", [False, True])
def test_emulators_list_says_what_it_charges(apimart_emulator: Emulator, model: str, audio: bool) -> None:
    with ApimartClient(Settings(apimart_emulator.api_key, apimart_emulator.base_url)) as client:
        prices = price_list(client)
    assert prices.source == APIMART_LIST
    for resolution in MODELS[model].resolutions:
        values = {"prompt": "a", "model": model, "resolution": resolution, "extra_body": {"generate_audio": audio}}
        request = VeoRequest.checked(values)
        mine, theirs = estimate(request), prices.estimate(request)
        assert mine is not None and theirs is not None
        assert theirs.usd == mine.usd
        assert theirs.source == APIMART_LIST


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "html"}, {"kind": "drop_before"}])
def test_without_apimarts_list_the_own_one_is_used_and_named(apimart_emulator: Emulator, fault: dict[str, Any]) -> None:
    apimart_emulator.fault("pricing", **fault, times=-1)
    with ApimartClient(Settings(apimart_emulator.api_key, apimart_emulator.base_url)) as client:
        prices = price_list(client)
    price = prices.estimate(VeoRequest(prompt="a"))
    assert price is not None and price.usd == Decimal("0.512")
    assert "the provider's own list of 2026-09, since APIMart's could not be had" in str(price)
