"""Killed at every shot, and at every frame between two shots, a storyboard pays once a shot and is joined whole."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from airflow_provider_apimart.emulator import Emulator
from tests.crash.running import quick_emulator, results_of
from tests.crash.storyboard_life import OF_A_SHOT, prompts

pytestmark = pytest.mark.crash
SHOTS = 3
FULL = os.environ.get("CRASH_MATRIX") == "full"
#: Where a frame and the join must have been killed at the least, or the instruments have come loose.
OF_MEDIA = {
    *(f"{when}:{what}" for when in ("before", "after") for what in ("media", "delivery", "note", "xcom")),
    *("open for writing", "os.rename"),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with quick_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def lives(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder, began = tmp_path_factory.mktemp("storyboard"), time.monotonic()
    asked = {"shots": SHOTS, "everywhere": FULL}
    found = results_of("tests.crash.storyboard_life", asked, emulator, folder)
    print(f"\ncrash matrix of a storyboard: {len(found)} lives, {time.monotonic() - began:.0f} s")
    return found


def test_each_task_was_killed_everywhere(lives: list[dict[str, Any]]) -> None:
    killed: dict[str, set[str]] = {}
    for life in lives[1:]:
        for kill in life["kills"]:
            if life["codes"].get(kill["part"], [0])[0] == -9:
                killed.setdefault(kill["part"], set()).add(kill["label"])
    # Only a shot that continues another uploads anything.
    uploads = {label for label in OF_A_SHOT if label.endswith("upload")}
    assert killed["shot_1"] >= set(OF_A_SHOT) - uploads
    for number in range(2, SHOTS + 1):
        assert killed[f"shot_{number}"] >= set(OF_A_SHOT), number
        assert killed[f"frame_{number - 1}"] >= OF_MEDIA, number
    assert killed["join"] >= OF_MEDIA and killed["plan"] >= {"before:price list request", "before:xcom", "after:xcom"}


def test_every_shot_is_paid_for_once(lives: list[dict[str, Any]], emulator: Emulator) -> None:
    paid = Counter(each["prompt"] for each in emulator.state()["generations"])
    for life in lives:
        assert {codes[-1] for codes in life["codes"].values()} == {0}, life
        assert all(codes.count(-9) <= 1 and set(codes) <= {0, -9} for codes in life["codes"].values()), life
        for prompt in prompts(life["name"], SHOTS):
            assert paid.pop(prompt) == 1, life["kills"]
    assert set(paid) == set(prompts("warm", SHOTS))


def test_every_shot_continues_the_one_before(lives: list[dict[str, Any]], emulator: Emulator) -> None:
    bodies: dict[str, list[dict[str, Any]]] = {}
    for request in emulator.requests("submit"):
        bodies.setdefault(request["body"]["prompt"], []).append(request)
    for life in lives:
        first, *later = (bodies[prompt] for prompt in prompts(life["name"], SHOTS))
        assert {request["body"].get("first_frame_image") for request in first} == {None}
        for number, sent in enumerate(later, start=1):
            frame = life["xcoms"][f"storyboard.frame_{number}"]
            assert hashlib.sha256(Path(frame["path"]).read_bytes()).hexdigest() == frame["sha256"], life["kills"]
            # A resend is the same request under the same key, to the byte.
            assert len({(one["headers"]["idempotency-key"], json.dumps(one["body"])) for one in sent}) == 1
            (video,) = life["xcoms"][f"storyboard.shot_{number + 1}"]["videos"]
            request = json.loads(Path(f"{video['path']}.json").read_text())["request"]
            assert request["first_frame_image"] == frame["path"], life["kills"]


def test_the_joined_video_is_whole_and_nothing_else_is_left(lives: list[dict[str, Any]]) -> None:
    for life in lives:
        videos = [life["xcoms"][f"storyboard.shot_{number}"]["videos"][0] for number in range(1, SHOTS + 1)]
        joined = life["xcoms"]["storyboard.join"]
        assert hashlib.sha256(Path(joined["path"]).read_bytes()).hexdigest() == joined["sha256"], life["kills"]
        with av.open(joined["path"]) as container:
            assert sum(1 for _ in container.decode(video=0)) == SHOTS * 4 * 24, life["kills"]
        names = {Path(video["path"]).name for video in videos}
        frames = {Path(life["xcoms"][f"storyboard.frame_{number}"]["path"]).name for number in range(1, SHOTS)}
        notes = {f"{Path(video['path']).name}.media.json" for video in videos[:-1]}
        sidecars = {f"{name}.json" for name in names}
        assert set(life["files"]) == names | sidecars | frames | notes | {Path(joined["path"]).name}, life["kills"]
