"""The crash matrix of the batch: killed at every kind of boundary, on both paths; each row is paid for once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from tests.crash.batch_life import ROWS
from tests.crash.running import results_of

pytestmark = pytest.mark.crash
STEP = 5
PRICE = 0.256


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(job_seconds=0.05, balance_usd=10_000) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def lives(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return results_of("tests.crash.batch_life", STEP, emulator, tmp_path_factory.mktemp("batch"))


def test_the_kills_were_kills_and_every_batch_got_through(lives: list[dict[str, Any]]) -> None:
    killed = [life for life in lives if life["codes"][0] == -9]
    # Which thread crosses a boundary first differs a little from life to life, so a few kills find no occasion.
    assert len(killed) > 0.8 * (len(lives) - 1) > 30
    assert {life["codes"][-1] for life in lives} == {0}
    labels = {life["kill"]["label"] for life in killed}
    for label in (
        "after:submission",
        "before:fdatasync",
        "after:fdatasync",
        "before:upload",
        "chunk",
        "os.rename",
        "before:budget file",
        "after:budget file",
        "after:budget.grow",
        "before:budget.note_share",
    ):
        assert any(label in one for one in labels), label


def test_every_row_is_paid_for_once(lives: list[dict[str, Any]], emulator: Emulator) -> None:
    paid = Counter(each["prompt"] for each in emulator.state()["generations"])
    for life in lives:
        for row in range(ROWS):
            assert paid[f"{life['name']} row {row}"] == 1, life["kill"]


def test_every_row_counts_once_in_the_budget(lives: list[dict[str, Any]]) -> None:
    for life in lives:
        assert life["spent"] == [pytest.approx(ROWS * PRICE)], life["kill"]


def test_every_row_has_its_line_and_its_video(lives: list[dict[str, Any]]) -> None:
    for life in lives:
        assert (life["xcom"]["rows"], life["xcom"]["landed"]) == (ROWS, ROWS), life["kill"]
        assert [line["outcome"] for line in life["lines"]] == ["landed"] * ROWS, life["kill"]
        videos = sorted(Path(line["path"]).name for line in life["lines"])
        manifest = Path(life["xcom"]["manifest"]).name
        # Nothing is left of what was killed.
        assert life["files"] == sorted([manifest, *videos, *(f"{name}.json" for name in videos)]), life["kill"]
