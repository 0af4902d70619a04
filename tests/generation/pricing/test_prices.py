"""The list prices, model by model, as the contract has them (8.4); what a request really asks for; APIMart's list."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.model_rules import MODELS
from airflow_provider_apimart.client.models import Price
from airflow_provider_apimart.client.remix import RemixRequest
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.generation.pricing.price_table import own_list
from airflow_provider_apimart.generation.pricing.prices import (
    APIMART_LIST,
    OWN_LIST,
    PriceList,
    estimate,
    list_price,
    remix_price,
)

#: USD a second without and with sound, or USD a video: contract 11, to the cent.
PER_SECOND = {
    ("veo3.1-fast-official", "720p"): ("0.064", "0.08"),
    ("veo3.1-fast-official", "1080p"): ("0.08", "0.096"),
    ("veo3.1-fast-official", "4K"): ("0.20", "0.24"),
    ("veo3.1-quality-official", "720p"): ("0.16", "0.32"),
    ("veo3.1-quality-official", "1080p"): ("0.16", "0.32"),
    ("veo3.1-quality-official", "4K"): ("0.32", "0.48"),
}
PER_VIDEO = {
    ("veo3.1-lite", "720p"): "0.07",
    ("veo3.1-lite", "1080p"): "0.07",
    ("veo3.1-lite", "4k"): "0.57",
    ("veo3.1-fast", "720p"): "0.14",
    ("veo3.1-fast", "1080p"): "0.14",
    ("veo3.1-fast", "4k"): "0.64",
    ("veo3.1-quality", "720p"): "1.00",
    ("veo3.1-quality", "1080p"): "1.00",
    ("veo3.1-quality", "4k"): "1.50",
}
#: Model, resolution, sound, seconds, samples, USD.
TABLE = [
    (model, size, audio, seconds, samples, Decimal(rates[audio]) * seconds * samples)
    for (model, size), rates in PER_SECOND.items()
    for audio in (False, True)
    for seconds in (4, 6, 8)
    for samples in (1, 4)
] + [
    (f"{model}{ext}", size, audio, 8, samples, Decimal(usd) * samples)
    for (model, size), usd in PER_VIDEO.items()
    for ext in ("", "-ext")
    for audio in (False, True)
    for samples in (1, 3)
]


def asked(model: str, size: str, audio: bool, seconds: int, samples: int) -> VeoRequest:
    extra = {"resolution": size, "duration": seconds, "generate_audio": audio, "sample_count": samples}
    return VeoRequest.checked({"prompt": "a", "model": model, "extra_body": extra})


@pytest.mark.parametrize(("model", "size", "audio", "seconds", "samples", "usd"), TABLE)
def test_prices(model: str, size: str, audio: bool, seconds: int, samples: int, usd: Decimal) -> None:
    options = {"duration_seconds": seconds, "generate_audio": audio, "sample_count": samples}
    for spelling in (size, size.upper(), size.lower()):
        price = list_price(model, resolution=spelling, **options)  # type: ignore[arg-type]
        assert price is not None and price.usd == usd
    price = estimate(asked(model, size, audio, seconds, samples))
    assert price is not None and (price.usd, price.source) == (usd, OWN_LIST)


@pytest.mark.parametrize(
    ("model", "size", "usd"),
    [
        ("veo3.1-fast", "720p", "0.14"),
        ("veo3.1-fast-ext", "1080p", "0.14"),
        ("veo3.1-quality", "720p", "1.00"),
        ("veo3.1-lite", "720p", "0.07"),
        ("veo3.1-fast", "4K", "0.64"),
        ("veo3.1-quality-ext", "4k", "1.50"),
        ("veo3.1-lite", "4k", "0.57"),
    ],
)
def test_prices_of_remixes(model: str, size: str, usd: str) -> None:
    price = remix_price(model, resolution=size)
    assert price is not None and price.usd == Decimal(usd)


@pytest.mark.parametrize(("model", "size"), [("veo3.1-fast-official", "720p"), ("veo9", "720p"), ("veo3.1-fast", "8k")])
def test_what_cannot_be_remixed_has_no_price(model: str, size: str) -> None:
    assert remix_price(model, resolution=size) is None


@pytest.mark.parametrize(
    ("today", "name"),
    [
        (None, "the provider's own list of 2026-10"),
        (date(2026, 10, 31), "the provider's own list of 2026-10"),
        (date(2027, 1, 31), "the provider's own list of 2026-10"),
        (date(2027, 2, 1), "the provider's own list of 2026-10, 4 months old: check apimart.ai/pricing"),
        (date(2028, 10, 1), "the provider's own list of 2026-10, 24 months old: check apimart.ai/pricing"),
    ],
)
def test_an_old_list_says_so(today: date | None, name: str) -> None:
    assert own_list(today) == name
    gaps = PriceList([Price(model="veo9", unit="usd_per_call", key="default", usd=1.0)], APIMART_LIST, today)
    price = gaps.estimate(VeoRequest(prompt="a"))
    assert price is not None and price.source == f"{name}, since {APIMART_LIST} does not tell this one"


@pytest.mark.parametrize("model", MODELS)
def test_every_known_model_has_a_price_for_all_that_it_takes(model: str) -> None:
    for resolution in MODELS[model].resolutions:
        assert list_price(model, resolution=resolution) is not None


@pytest.mark.parametrize(
    ("model", "resolution"), [("veo9", "720p"), ("veo3.1-fast", "8k"), ("veo3.1-fast-official", "8k")]
)
def test_what_has_no_published_price_is_not_guessed(model: str, resolution: str) -> None:
    assert list_price(model, resolution=resolution) is None


def remix(**values: Any) -> RemixRequest:
    return RemixRequest.checked({"prompt": "a", "source": "task_1", "model": "veo3.1-fast", **values})


@pytest.mark.parametrize(
    ("values", "listed", "usd"),
    [
        ({}, {}, "0.14"),
        ({"resolution": "4k"}, {}, "0.64"),
        ({"model": "veo3.1-quality"}, {}, "1.00"),
        # APIMart's own price of a remix, not that of a new video.
        ({}, {"default": 0.5, "4K": 0.9, "extend": 0.2, "EXTEND-4K": 0.7}, "0.2"),
        ({"resolution": "4K"}, {"default": 0.5, "4K": 0.9, "extend": 0.2, "EXTEND-4K": 0.7}, "0.7"),
        ({"resolution": "1080p"}, {"Extend": 0.2}, "0.2"),
        ({"resolution": "4K"}, {"extend": 0.9}, "0.9"),
        ({}, {"default": 0.5}, "0.14"),
    ],
)
def test_a_remix_has_prices_of_its_own(values: dict[str, Any], listed: dict[str, float], usd: str) -> None:
    prices = [Price(model="veo3.1-fast", unit="usd_per_call", key=key, usd=one) for key, one in listed.items()]
    price = PriceList(prices, APIMART_LIST).estimate(remix(**values))
    assert price is not None and price.usd == Decimal(usd)


def test_a_new_video_does_not_cost_what_a_remix_costs() -> None:
    prices = [Price(model="veo3.1-fast", unit="usd_per_call", key="extend", usd=0.9)]
    price = PriceList(prices, APIMART_LIST).estimate(VeoRequest(prompt="a", model="veo3.1-fast"))
    assert price is not None and price.usd == Decimal("0.14")


# --- what is really asked for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "usd"),
    [
        ({}, "0.512"),
        ({"extra_body": {"duration": 30}}, "1.92"),
        ({"duration": 4, "extra_body": {"generate_audio": True}}, "0.32"),
        ({"extra_body": {"sample_count": 4}}, "2.048"),
        ({"extra_body": {"resolution": "4K"}}, "1.6"),
        ({"extra_body": {"duration": 10, "sample_count": 3, "generate_audio": True, "resolution": "4k"}}, "7.2"),
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
        {"nsfw_check": True},
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
        (
            [(FAST, SECOND, "720p", 0.05)],
            {"generate_audio": True},
            "0.64 USD (1 x 8 s x 0.08 USD/s with audio; prices fr",
        ),
        (
            [(FAST, SECOND, "720p", 0.09)],
            {"generate_audio": True},
            "0.72 USD (1 x 8 s x 0.09 USD/s with audio, the near",
        ),
        ([(FAST, SECOND, "4k", 0.1)], {"resolution": "4K", "generate_audio": True}, "1.92 USD"),
        ([(FAST, SECOND, "720p no audio", 0.05), (FAST, SECOND, "720p", 0.06)], {}, "0.48 USD"),
        ([(f"{LITE}-ext", CALL, "720p", 0.05)], {"model": LITE}, "0.05 USD (1 x 0.05 USD/video; prices from APIMart's"),
        ([(LITE, CALL, "720p", 0.05)], {"model": f"{LITE}-ext"}, "0.05 USD"),
        ([("veo9", CALL, "720p", 3.0)], {"model": "veo9"}, "3 USD"),
        # What the list does not say, or says in words that are not known here, comes from the own list.
        # The keys that APIMart has been seen to use; case does not matter.
        ([(LITE, CALL, "default", 0.2)], {"model": LITE}, "0.2 USD (1 x 0.2 USD/video; prices from APIMart's"),
        ([("veo3.1-fast", CALL, "default", 0.2)], {"model": "veo3.1-fast-ext"}, "0.2 USD"),
        ([("VEO3.1-Fast", CALL, "Default", 0.2)], {"model": "veo3.1-fast", "resolution": "1080p"}, "0.2 USD"),
        ([(LITE, CALL, "default", 0.2), (LITE, CALL, "4K", 0.7)], {"model": LITE, "resolution": "4k"}, "0.7 USD"),
        ([(LITE, CALL, "default", 0.2), (LITE, CALL, "EXTEND-4K", 9.0)], {"model": LITE}, "0.2 USD"),
        ([(LITE, CALL, "default", 0.2), (LITE, CALL, "extend", 9.0)], {"model": LITE}, "0.2 USD"),
        ([(LITE, CALL, "default", 0.2)], {"model": LITE, "extra_body": {"generate_audio": True}}, "0.2 USD"),
        ([(FAST, SECOND, "default", 0.07)], {}, "0.56 USD (1 x 8 s x 0.07 USD/s without audio; prices"),
        ([(FAST, SECOND, "default", 0.05)], {}, "0.4 USD"),
        (
            [(FAST, SECOND, "audio", 0.09)],
            {"generate_audio": True},
            "0.72 USD (1 x 8 s x 0.09 USD/s with audio; prices",
        ),
        ([(FAST, SECOND, "audio", 0.09)], {}, "0.512 USD (1 x 8 s x 0.064 USD/s without audio; prices from the prov"),
        ([(FAST, SECOND, "720P", 0.05), (FAST, SECOND, "1080P", 0.07)], {"resolution": "1080p"}, "0.56 USD"),
        # A smaller picture's price, or one without sound, counts only where it is above our own.
        ([("veo3.1-fast", CALL, "720P", 0.2)], {"model": "veo3.1-fast", "resolution": "1080p"}, "0.2 USD (1 x 0.2 USD"),
        ([("veo3.1-fast", CALL, "4K", 0.1)], {"model": "veo3.1-fast", "resolution": "1080p"}, "0.14 USD"),
        ([(FAST, SECOND, "1080P", 0.3)], {"resolution": "4K"}, "2.4 USD (1 x 8 s x 0.3 USD/s without audio, the near"),
        # A model that is not known here has only the very price that is asked for: a near one could be too low.
        ([("veo9", SECOND, "default", 0.1)], {"model": "veo9"}, "0.8 USD (1 x 8 s x 0.1 USD/s without audio; prices"),
        ([("veo9", SECOND, "default", 0.1)], {"model": "veo9", "generate_audio": True}, "None"),
        ([("veo9", SECOND, "720P", 0.1)], {"model": "veo9", "generate_audio": True}, "None"),
        ([("veo9", SECOND, "default", 0.1)], {"model": "veo9", "resolution": "1080p"}, "None"),
        ([("veo9", CALL, "default", 0.5)], {"model": "veo9", "generate_audio": True}, "0.5 USD"),
        ([("veo9", SECOND, "720P", 0.1), ("veo9", CALL, "720P", 0.5)], {"model": "veo9"}, "0.8 USD"),
        (
            [(LITE, CALL, "default", 0.2)],
            {"model": LITE, "resolution": "4k"},
            "0.57 USD (1 x 0.57 USD/video; prices from the provider's own",
        ),
        (
            [(LITE, CALL, "default", 0.9)],
            {"model": LITE, "resolution": "4k"},
            "0.9 USD (1 x 0.9 USD/video, the nearest price that it has; prices from APIMart's",
        ),
        (
            [(FAST, SECOND, "default", 0.05)],
            {"resolution": "1080p"},
            "0.64 USD (1 x 8 s x 0.08 USD/s without audio; prices from the prov",
        ),
        ([(FAST, SECOND, "default", 0.5)], {"resolution": "4K"}, "4 USD (1 x 8 s x 0.5 USD/s without audio, "),
        ([("veo9", CALL, "default", 3.0)], {"model": "veo9"}, "3 USD"),
        ([("veo9", CALL, "default", 3.0)], {"model": "veo9", "resolution": "4k"}, "None"),
        # Another unit counts where it makes the price higher. (A list without units reads as prices per video.)
        (
            [(LITE, SECOND, "default", 0.2)],
            {"model": LITE},
            "1.6 USD (1 x 8 s x 0.2 USD/s without audio; prices from AP",
        ),
        ([(FAST, CALL, "720P", 5.0)], {}, "5 USD (1 x 5.0 USD/video; prices from APIMart's"),
        ([(FAST, CALL, "720P", 0.064)], {}, "0.512 USD (1 x 8 s x 0.064 USD/s without audio; prices from the prov"),
        ([(FAST, SECOND, "1080p", 0.05)], {}, "0.512 USD (1 x 8 s x 0.064 USD/s without audio; prices from the prov"),
        ([(FAST, SECOND, "720p-turbo", 0.05)], {}, "0.512 USD"),
        ([(FAST, SECOND, "720p", 0.0)], {}, "0.512 USD"),
        ([(FAST, "usd_per_token", "720p", 0.05)], {}, "0.512 USD"),
        ([("veo9", CALL, "1080p", 3.0)], {"model": "veo9"}, "None"),
        ([("veo9", CALL, "720P", 3.0)], {"model": "veo9", "extra_body": {"resolution": "8k"}}, "None"),
        ([(LITE, CALL, "720P", 3.0)], {"model": LITE, "extra_body": {"resolution": "8k"}}, "None"),
        ([], {"model": "veo9"}, "None"),
    ],
)
def test_apimarts_list_goes_first(prices: list[Any], values: dict[str, Any], text: str) -> None:
    assert told(*prices, **values).startswith(text)


def listed(model: str, *keys: str, rename: Callable[[str], str] = str, times: str = "1") -> list[Price]:
    """APIMart's entries for a model, from the table above: all keys, or only some."""
    base = model.removesuffix("-ext")
    if base.endswith("official"):
        rates = {
            f"{size.lower()}{end}": usd
            for (name, size), two in PER_SECOND.items()
            if name == base
            for end, usd in zip(("", "-audio"), two, strict=True)
        }
        rates |= {"default": rates["720p"], "audio": rates["720p-audio"]}
        unit = SECOND
    else:
        rates, unit = {"default": PER_VIDEO[base, "720p"], "4k": PER_VIDEO[base, "4k"], "extend": "9"}, CALL
    return [
        Price(model=rename(base), unit=unit, key=rename(key), usd=float(Decimal(usd) * Decimal(times)))
        for key, usd in rates.items()
        if not keys or key in keys
    ]


@pytest.mark.parametrize(("model", "size", "audio", "seconds", "samples", "usd"), TABLE)
def test_prices_by_source(model: str, size: str, audio: bool, seconds: int, samples: int, usd: Decimal) -> None:
    request = asked(model, size, audio, seconds, samples)

    def estimated(prices: list[Price]) -> tuple[Decimal, bool]:
        price = PriceList(prices, APIMART_LIST).estimate(request)
        assert price is not None
        return price.usd, price.source == APIMART_LIST

    # The list with all keys, in any case, and among entries that say nothing: twice as dear as the own list.
    for rename in (str.lower, str.upper, str.title):
        assert estimated(listed(model, rename=rename, times="2")) == (2 * usd, True)
    garbage = [
        Price(model=model.removesuffix("-ext"), unit=unit, key=key, usd=value)
        for unit, key, value in [
            (SECOND, "720P", 0.0), (CALL, "default", 0.0), (CALL, "4K", -1.0), ("usd_per_token", "default", 50.0),
            (SECOND, "", 50.0), (CALL, "", 50.0), (CALL, "extend-4K", 50.0), (SECOND, "default-turbo", 50.0),
        ]
    ]  # fmt: skip
    assert estimated(garbage + listed(model, times="2")) == (2 * usd, True)
    for nothing in (garbage, garbage[:3], []):
        assert estimated(nothing) == (usd, False)
    # With its default alone, no estimate is below the own list's or the default's.
    cheap, dear = listed(model, "default", times="0.5"), listed(model, "default", times="20")
    per_second = "official" in model
    covered = size == "720p" and not audio if per_second else size.lower() != "4k"
    assert estimated(cheap) == ((usd / 2, True) if covered else (usd, False))
    default = Decimal(str(dear[0].usd)) * samples * (seconds if per_second else 1)
    assert estimated(dear) == (default, True)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("audio", [False, True])
def test_emulators_list_says_what_it_charges(apimart_emulator: Emulator, model: str, audio: bool) -> None:
    with ApimartClient(Settings(apimart_emulator.api_key, apimart_emulator.base_url)) as client:
        prices = price_list(client)
    assert prices.source == APIMART_LIST
    for model_, size, audio_, seconds, samples, usd in TABLE:
        if (model_, audio_) == (model, audio):
            told = prices.estimate(asked(model, size, audio, seconds, samples))
            assert told is not None and (told.usd, told.source) == (usd, APIMART_LIST)


@pytest.mark.parametrize(("model", "size", "audio", "seconds", "samples", "usd"), TABLE[::5])
def test_the_estimate_is_what_the_emulator_charges(
    apimart_emulator: Emulator, model: str, size: str, audio: bool, seconds: int, samples: int, usd: Decimal
) -> None:
    request = asked(model, size, audio, seconds, samples)
    before = apimart_emulator.state()["bill_usd"]
    with ApimartClient(Settings(apimart_emulator.api_key, apimart_emulator.base_url)) as client:
        client.submit(request.body(), f"key-{model}-{size}-{audio}-{seconds}-{samples}")
    charged = apimart_emulator.state()["bill_usd"] - before
    mine = estimate(request)
    official = not model.endswith("-ext") and "official" in model
    # The models priced per video make one, and know neither sound nor samples.
    expected = usd if official else usd / samples
    assert charged == pytest.approx(float(expected), rel=0.01)
    assert mine is not None and float(mine.usd) >= charged - 1e-9


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "html"}, {"kind": "drop_before"}])
def test_without_apimarts_list_the_own_one_is_used_and_named(apimart_emulator: Emulator, fault: dict[str, Any]) -> None:
    apimart_emulator.fault("pricing", **fault, times=-1)
    with ApimartClient(Settings(apimart_emulator.api_key, apimart_emulator.base_url)) as client:
        prices = price_list(client)
    price = prices.estimate(VeoRequest(prompt="a"))
    assert price is not None and price.usd == Decimal("0.512")
    assert "the provider's own list of 2026-10, since APIMart's could not be had" in str(price)
