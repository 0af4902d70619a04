"""Killed at every boundary of its life, a task that extends a video pays for one remix and lands it whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from tests.crash.life import STORES
from tests.crash.running import lives, quick_emulator

pytestmark = pytest.mark.crash
MODEL = "veo3.1-fast"
#: What the matrix must have seen at the least, or the instruments have come loose.
EXPECTED = {
    *(f"{when}:record.{what}" for when in ("before", "after") for what in ("load", "save")),
    *(f"{when}:{what}" for when in ("before", "after") for what in ("submission", "status request")),
    *(
        "answering:POST videos",
        "answering:GET tasks",
        "answering:GET media",
        "before:chunk",
        "after:chunk",
        "os.rename",
    ),
    *("before:xcom", "after:xcom", "before:execute persisted", "after:execute persisted"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with quick_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def source(emulator: Emulator) -> str:
    """A completed generation, to be extended by all lives."""
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    with httpx.Client(base_url=emulator.base_url, headers=headers, trust_env=False) as http:
        made = http.post("/v1/videos/generations", json={"model": MODEL, "prompt": "the source"}).json()
        generation_id: str = made["data"][0]["task_id"]
        while http.get(f"/v1/tasks/{generation_id}").json()["data"]["status"] != "completed":
            pass
    return generation_id


@pytest.fixture(scope="module")
def cases(emulator: Emulator, source: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    plan = {"name": "remix", "store": STORES[0], "remix_of": source, "twice": os.environ.get("CRASH_MATRIX") == "full"}
    return lives(emulator, tmp_path_factory.mktemp("matrix"), plan)


def test_every_boundary_was_met(cases: list[dict[str, Any]]) -> None:
    crossed = {(point["part"], point["label"]) for point in cases[0]["crossed"]}
    assert {label for _, label in crossed} >= EXPECTED
    killed = {(case["kill"]["part"], case["kill"]["label"]) for case in cases[1:] if case["killed"]}
    assert crossed - killed == set()


def test_every_life_ends_with_its_remix_paid_for_once(
    cases: list[dict[str, Any]], emulator: Emulator, source: str
) -> None:
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for generation in emulator.state()["generations"]:
        by_prompt.setdefault(generation["prompt"], []).append(generation)
    with httpx.Client(trust_env=False, timeout=30) as http:
        for case in cases:
            where = f"killed at {case['kill']}, {case['times']} times: {case['failures']}"
            (generation,) = by_prompt.pop(f"case {case['plan']['name']} of the crash matrix")
            assert case["success"] and not case["failures"], where
            assert (generation["charged_usd"], generation["seconds"]) == (0.14, 15), where
            assert case["xcom"]["generation_id"] == generation["generation_id"] != source, where
            (video,) = case["xcom"]["videos"]
            served = http.get(generation["urls"][0]).content
            assert video["sha256"] == hashlib.sha256(served).hexdigest() == case["found"]["files"]["clip.mp4"], where
    assert set(by_prompt) == {"the source", "case warm of the crash matrix"}


def test_every_resend_has_the_same_key_and_path(cases: list[dict[str, Any]], emulator: Emulator, source: str) -> None:
    sent: dict[str, set[str]] = {}
    for request in emulator.requests("remix"):
        sent.setdefault(request["headers"]["idempotency-key"], set()).add(f"{request['path']} {request['body']}")
    assert len(sent) == len(cases)
    for whole in sent.values():
        (one,) = whole
        assert one.startswith(f"/v1/videos/{source}/remix ")
