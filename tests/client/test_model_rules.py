"""The table of models: one place for each fact, and it holds together."""

from __future__ import annotations

from datetime import date

import pytest

from airflow_provider_apimart.client import model_rules
from airflow_provider_apimart.client.fallback import fallback_problems, is_another, with_model
from airflow_provider_apimart.client.model_rules import ALIASES, DEFAULT_MODEL, FAMILIES, MODELS, RETIRED, Retired
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.pricing import prices


def test_the_table_holds_together() -> None:
    assert set(ALIASES.values()) <= set(FAMILIES) and not set(ALIASES) & set(FAMILIES)
    assert set(MODELS) == set(FAMILIES) | set(ALIASES)
    assert DEFAULT_MODEL in FAMILIES
    assert all(one.successor in MODELS and name not in MODELS for name, one in RETIRED.items())
    assert {model_rules.family_of(name) for name in MODELS} == set(FAMILIES)
    assert model_rules.family_of("veo4") is None


def test_prices_are_kept_under_the_same_names() -> None:
    for family in FAMILIES:
        assert prices.list_price(family) is not None
    for alias, family in ALIASES.items():
        assert prices.list_price(alias) == prices.list_price(family)


def test_a_retired_model_is_sent_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RETIRED, "veo2", Retired(date(2026, 1, 31), DEFAULT_MODEL, "APIMart"))
    request = VeoRequest.checked({"prompt": "x", "model": "veo2"})
    assert request.body()["model"] == "veo2"
    assert f"'veo2' is retired since 2026-01-31 (APIMart); its successor is {DEFAULT_MODEL!r}" in request.notes()[0]


def test_the_same_request_for_another_model() -> None:
    request = VeoRequest.checked(
        {"prompt": "x", "resolution": "4K", "duration": 8, "first_frame_image": "https://a.b/c.png"}
    )
    other = with_model(request, "veo3.1-quality")
    assert other.body() == {
        **{"prompt": "x", "model": "veo3.1-quality", "duration": 8, "resolution": "4k"},
        **{"generation_type": "frame", "image_urls": ["https://a.b/c.png"]},
    }
    assert is_another("veo3.1-fast", "veo3.1-fast-official") and not is_another("veo3.1-fast", "veo3.1-fast-ext")


def test_what_the_fallback_does_not_take_is_told_once_and_in_its_name() -> None:
    values = {"prompt": "x", "model": DEFAULT_MODEL, "seed": 5, "duration": 4, "sample_count": 9}
    found = [str(one) for one in fallback_problems(values, "veo3.1-fast")]
    assert [text.partition("=")[0] for text in found] == ["duration", "seed"]
    assert all("(with fallback_model='veo3.1-fast')" in text for text in found)
    assert fallback_problems({"prompt": "x", "model": "{{ x }}"}, "veo3.1-fast", {"model"}) == []
