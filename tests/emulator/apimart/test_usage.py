"""``GET /v1/usage``: what was billed, by day and model, as section 6 of the contract describes it."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from tests.emulator.conftest import EXT, OFFICIAL, task_id

NOW = int(time.time())
RANGE = {"start": str(NOW - 86_400), "end": str(NOW + 86_400)}


def usage(api: httpx.Client, **query: str) -> list[dict[str, Any]]:
    answer = api.get("/v1/usage", params={**RANGE, **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["data"]["items"]
    return items


@pytest.fixture
def billed(emulator: Emulator, submit: Any) -> Emulator:
    """One generation of each model is completed, and one has failed."""
    for body in (OFFICIAL, EXT, {**OFFICIAL, "prompt": "a dog [[fail]]"}):
        task_id(submit(body))
    return emulator


def test_what_is_billed_counts_and_nothing_else(api: httpx.Client, billed: Emulator) -> None:
    (total,) = usage(api)
    assert (total["amount_usd"], total["requests"]) == (0.396, 2)
    assert (total["credits"], total["prompt_tokens"], total["completion_tokens"]) == (3.96, 0, 0)
    assert usage(api, scope="account") == [total]


def test_by_model_and_by_day(api: httpx.Client, billed: Emulator) -> None:
    by_model = {item["model"]: item["amount_usd"] for item in usage(api, group_by="model")}
    assert by_model == {"veo3.1-fast-official": 0.256, "veo3.1-fast": 0.14}
    both = usage(api, group_by="model,date", tz="UTC")
    assert [set(item) >= {"model", "date"} for item in both] == [True, True]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert {item["date"] for item in usage(api, group_by="date", tz="UTC")} <= {today, both[0]["date"]}
    assert usage(api, model="veo3.1-fast")[0]["amount_usd"] == 0.14
    assert usage(api, model="veo3.1-lite,veo9") == []


def test_another_time_is_another_bill(api: httpx.Client, billed: Emulator) -> None:
    assert usage(api, start="2026-01-01T00:00:00+08:00", end="2026-01-31T00:00:00Z") == []


def test_it_needs_a_key(plain: httpx.Client, emulator: Emulator) -> None:
    assert plain.get(f"{emulator.base_url}/v1/usage", params=RANGE).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        {"start": ""},
        {"end": "yesterday"},
        {"start": "2026-01-01T00:00:00"},
        {"start": "99999999999999999999"},
        {"start": str(NOW - 40 * 86_400)},
        {"start": str(NOW), "end": str(NOW - 1)},
        {"group_by": "hour"},
        {"scope": "team"},
        {"tz": "Mars/Olympus"},
        {"model": ",".join(f"m{number}" for number in range(51))},
    ],
)
def test_what_is_refused(api: httpx.Client, query: dict[str, str]) -> None:
    assert api.get("/v1/usage", params={**RANGE, **query}).status_code == 400
