"""Runs a crash matrix in a process of its own, against an emulator with videos that are quick to make."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.media import videos as media_module

ROOT = Path(__file__).parents[2]
PADDING = 256 * 1024


def quick_videos(patch: pytest.MonkeyPatch, padding: int = PADDING) -> None:
    """Let the emulator make a video once, and give each generation a copy with bytes of its own."""
    make, made = media_module.make_video, {}

    def make_quickly(spec: Any, path: Path) -> None:
        shape = (spec.width, spec.height, spec.seconds, spec.audio)
        if shape not in made:
            make(spec, path)
            made[shape] = path.read_bytes()
        own = hashlib.shake_128(spec.digest().encode()).digest(padding)
        # A box that players skip.
        path.write_bytes(made[shape] + (len(own) + 8).to_bytes(4, "big") + b"free" + own)

    patch.setattr(media_module, "make_video", make_quickly)


@contextmanager
def quick_emulator() -> Iterator[Emulator]:
    """One that makes its videos quickly, each large enough for several chunks."""
    with pytest.MonkeyPatch.context() as patch:
        quick_videos(patch)
        with Emulator(job_seconds=0.05, balance_usd=Decimal(100_000)) as emulator:
            yield emulator


def lives(
    emulator: Emulator, folder: Path, plan: Mapping[str, Any], extra: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Live a plan once unharmed, then killed at each boundary that this life has crossed; return all lives.

    :param extra: the connection's extra.
    """
    began = time.monotonic()
    cases = results_of("tests.crash.matrix", [plan], emulator, folder, extra)
    points, spent = len(cases[0]["crossed"]), time.monotonic() - began
    print(f"\ncrash matrix, {plan['name']}: {points} boundaries, {len(cases)} lives, {spent:.0f} s")
    return cases


def results_of(
    module: str, asked: Any, emulator: Emulator, folder: Path, extra: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Run a matrix in a process of its own, and return the lives that it leaves in ``results.json``.

    :param asked: what the module reads as JSON on its standard input.
    :param extra: the connection's extra.
    """
    connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
    if extra:
        connection["extra"] = json.dumps(extra)
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        input=json.dumps(asked),
        cwd=ROOT,
        env={**os.environ, "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection), "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())
    return found
