"""Killed at every boundary of its life, once and twice, a task pays for one generation and lands its video whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.client.models import VeoRequest
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.pricing.prices import list_price
from tests.crash.life import STORES
from tests.crash.running import lives, quick_emulator

pytestmark = pytest.mark.crash
PLANS: dict[str, dict[str, Any]] = {
    "deferrable": {"deferrable": True, "store": "task_state"},
    "deferrable_31": {"deferrable": True, "store": "beside", "into_folder": True},
    "sync": {"deferrable": False, "store": "task_state", "into_folder": True, "samples": 2},
    "sync_31": {"deferrable": False, "store": "beside"},
    # There is room for one generation and no second.
    "budget": {"deferrable": True, "store": "task_state", "budget_usd": 0.5},
    "budget_31": {"deferrable": False, "store": "beside", "budget_usd": 0.5},
    "remote": {"deferrable": True, "store": "beside", "scheme": "kept"},
}
#: And where there is a budget.
OF_A_BUDGET = {
    f"{when}:{what}" for when in ("before", "after") for what in ("budget.reserve", "budget.settle", "budget file")
}
PLANS = {name: plan for name, plan in PLANS.items() if plan["store"] in STORES}
FULL = os.environ.get("CRASH_MATRIX") == "full"
#: Killed twice in a row at each boundary, too; with CRASH_MATRIX=full in the environment all of them are.
TWICE = set(PLANS) if FULL else {"deferrable", "sync"}
#: These go through the newer response format (X-APIMart-Response-Version), the others through the default; in full,
#: all go through both.
VERSIONED = {"sync", "deferrable_31"}
RUNS = [(name, versioned) for name in PLANS for versioned in (False, True) if FULL or versioned is (name in VERSIONED)]
#: What the matrix must have seen at the least, or the instruments have come loose.
EXPECTED = {
    *(f"{when}:record.{what}" for when in ("before", "after") for what in ("load", "save")),
    *(f"{when}:{what}" for when in ("before", "after") for what in ("upload", "submission", "status request")),
    *("answering:POST videos", "answering:POST uploads", "answering:GET tasks", "answering:GET media"),
    *("before:chunk", "after:chunk", "open for writing", "os.rename"),
    *("before:xcom", "after:xcom", "before:execute persisted", "after:execute persisted"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with quick_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: f"{run[0]}-{'versioned' if run[1] else 'default'}")
def cases(request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All lives of one kind of task."""
    emulator.reset()
    name, versioned = request.param
    plan = {"name": name, "twice": name in TWICE, **PLANS[name]}
    extra = {"response_version": "2026-07-27"} if versioned else None
    return lives(emulator, tmp_path_factory.mktemp("matrix"), plan, extra)


def test_every_boundary_was_met(cases: list[dict[str, Any]]) -> None:
    crossed = {(point["part"], point["label"]) for point in cases[0]["crossed"]}
    expected = EXPECTED | OF_A_BUDGET if cases[0]["plan"]["budget_usd"] else EXPECTED
    assert {label for _, label in crossed} >= expected
    killed = {(case["kill"]["part"], case["kill"]["label"]) for case in cases[1:] if case["killed"]}
    assert crossed - killed == set()
    # Polls and chunks come as the clock has it: the last of them may not come again. All else does.
    unkilled = [case["kill"]["label"] for case in cases[1:] if not case["killed"]]
    passing = ("status request", "GET tasks", "chunk")
    assert [label for label in unkilled if not label.endswith(passing)] == []
    twice = Counter(len(case["killed"]) for case in cases[1:] if case["times"] == 2)
    assert (twice[2] > 0) is (cases[0]["plan"]["name"].rpartition("_")[0] in TWICE)


def test_every_life_ends_with_its_video_paid_for_once(cases: list[dict[str, Any]], emulator: Emulator) -> None:
    state = emulator.state()
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for generation in state["generations"]:
        by_prompt.setdefault(generation["prompt"], []).append(generation)
    del by_prompt["case warm of the crash matrix"]
    assert len(by_prompt) == len(cases)
    with httpx.Client(trust_env=False, timeout=30) as http:
        for case in cases:
            where = f"killed at {case['kill']}, {case['times']} times: {case['failures']}"
            name = case["plan"]["name"]
            (generation,) = by_prompt.pop(f"case {name} of the crash matrix")
            samples = case["plan"]["samples"]
            price = list_price(DEFAULT_MODEL, duration_seconds=4, sample_count=samples)
            assert price is not None
            assert generation["charged_usd"] == float(price.usd), where
            assert case["success"] and not case["failures"], where
            check_storage(case, generation, [sha256(http, url) for url in generation["urls"]], where)
    assert not by_prompt


def test_both_response_formats_go_through_the_matrix(
    cases: list[dict[str, Any]], request: pytest.FixtureRequest, emulator: Emulator
) -> None:
    versioned = request.node.callspec.params["cases"][1]
    submissions = emulator.requests("submit")
    assert submissions
    assert {"x-apimart-response-version" in one["headers"] for one in submissions} == {versioned}


def sha256(http: httpx.Client, url: str) -> str:
    response = http.get(url)
    assert response.status_code == 200
    return hashlib.sha256(response.content).hexdigest()


def check_storage(case: dict[str, Any], generation: dict[str, Any], served: list[str], where: str) -> None:
    """The videos that were served, their sidecars, the record, and no more; and the XCom says the same."""
    check_budget(case, generation["charged_usd"], where)
    plan, files, xcom, record = case["plan"], case["found"]["files"], case["xcom"], case["found"]["record"]
    stem = generation["generation_id"] if plan["into_folder"] else "clip"
    names = [f"{stem}.mp4"] if plan["samples"] == 1 else [f"{stem}-{n}.mp4" for n in range(1, plan["samples"] + 1)]
    assert len(served) == len(names)
    assert [files.get(one) for one in names] == served, where
    others = {one for one in files if not one.startswith(".apimart-records/")} - set(names)
    assert others == {f"{one}.json" for one in names}, where
    records = [one for one in files if one.startswith(".apimart-records/")]
    assert len(records) == (plan["store"] == "beside"), where

    assert xcom["generation_id"] == record["generation_id"] == generation["generation_id"], where
    assert record["state"] == "landed" and record["number"] == 1 and record["previous"] == [], where
    assert (xcom["status"], xcom["model"], xcom["cost_usd"]) == ("completed", DEFAULT_MODEL, generation["cost"])
    folder = case["plan"]["folder"]
    for video, name, digest, url in zip(xcom["videos"], names, served, generation["urls"], strict=True):
        assert video["sha256"] == digest and video["url"] == url, where
        assert video["path"] == f"{plan['scheme']}://{folder}/out/{name}", where
        assert (video["duration_seconds"], video["width"], video["height"]) == (4.0, 1280, 720), where


def check_budget(case: dict[str, Any], charged_usd: float, where: str) -> None:
    """The generation counts once, as what it has cost; a ledger of several entries would have counted it again."""
    ledger = case["found"]["ledger"]
    if case["plan"]["budget_usd"] is None:
        assert ledger == [], where
        return
    assert len({name.split("~")[0] for name in ledger}) == 1, where
    (paid,) = (name for name in ledger if name.endswith(".paid.json"))
    assert int(paid.removesuffix(".paid.json").split("~")[1]) == round(charged_usd * 1e6), where


def test_the_request_is_the_same_to_the_byte_in_every_resend(cases: list[dict[str, Any]], emulator: Emulator) -> None:
    bodies: dict[str, set[str]] = {}
    for request in emulator.requests("submit"):
        bodies.setdefault(request["headers"]["idempotency-key"], set()).add(json.dumps(request["body"]))
    assert len(bodies) == len(cases) + 1  # the life that warms the parent up
    assert {len(sent) for sent in bodies.values()} == {1}
    assert set(VeoRequest.FIELDS) >= set(json.loads(next(iter(bodies.values())).pop()))
