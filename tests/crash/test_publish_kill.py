"""Real processes, killed with SIGKILL at the boundaries of a post's life: what others see is one post."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator import Emulator
from tests.crash.publishing import DATA

pytestmark = pytest.mark.crash
ROOT = Path(__file__).parents[2]
#: Every so many boundaries; with CRASH_MATRIX=full in the environment every one.
STEP = 1 if os.environ.get("CRASH_MATRIX") == "full" else 6


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def live(emulator: Emulator, path: Path, kind: str, *kill_at: int, minutes: int = 0) -> dict[str, Any] | None:
    """Live once in a process of its own; ``None`` if it was killed."""
    order = {"base_url": emulator.base_url, "path": str(path), "kind": kind, "kill_at": kill_at, "minutes": minutes}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.publish_life"],
        input=json.dumps(order),
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr[-3000:]
    ending: dict[str, Any] = json.loads(done.stdout)
    return ending


def begin(emulator: Emulator, folder: Path, name: str) -> Path:
    emulator.reset()
    path = folder / f"{name}.mp4"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("kind", ["youtube", "instagram", "webhook"])
def test_public_once_whenever_it_is_killed(emulator: Emulator, tmp_path: Path, kind: str) -> None:
    whole = live(emulator, begin(emulator, tmp_path, "whole"), kind)
    assert whole is not None and whole["kept"]
    points = whole["boundaries"]
    for at in range(0, len(points), STEP):
        path = begin(emulator, tmp_path, f"{kind}-{at}")
        assert live(emulator, path, kind, at) is None, f"{points[at]} was not met"
        ending = None
        for number in range(4):
            ending = live(emulator, path, kind, minutes=15 * number)
            if ending and (ending["kept"] or ending["refusal"]):
                break
        assert ending is not None and ending["kept"], f"{points[at]}: {ending}"
        assert len(emulator.posts(kind)) == 1, points[at]
