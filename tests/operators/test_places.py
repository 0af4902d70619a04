"""Places given as path objects: no run replaces another one's video without a word."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from tests.operators.batches import lines, run
from tests.operators.conftest import Tries
from tests.operators.single import make

STORAGE = {"pathlib": Path, "airflow": lambda path: ObjectStoragePath(f"file://{path}/")}


@pytest.fixture
def frame() -> Path:
    return Path(__file__).parents[2] / "example_dags" / "frames" / "dawn.png"


def of_run(name: str, operator: Any) -> dict[str, Any]:
    context = Tries().next(operator, store=False)
    context["ti"].run_id = name
    return context


@pytest.mark.parametrize("kind", STORAGE)
def test_each_run_keeps_its_video_in_a_folder_given_as_a_path_object(
    emulator: Emulator, no_waiting: list[float], tmp_path: Path, kind: str
) -> None:
    for day in ("monday", "tuesday"):
        operator = make(output_path=STORAGE[kind](tmp_path / "daily"), prompt=day)
        (video,) = operator.execute(of_run(day, operator))["videos"]
        assert Path(video["path"].removeprefix("file://")).is_file()
    kept = [json.loads(path.read_text())["request"]["prompt"] for path in (tmp_path / "daily").glob("*.mp4.json")]
    assert sorted(kept) == ["monday", "tuesday"]
    # The record names the folder, too: whoever lands from it later must not make a file of it.
    records = [json.loads(path.read_text()) for path in (tmp_path / "daily" / ".apimart-records").glob("*.json")]
    assert len(records) == 2 and all(record["output_path"].endswith("/daily/") for record in records)


def test_file_that_a_later_run_replaces_is_told_of(
    emulator: Emulator, no_waiting: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day in ("monday", "tuesday"):
        operator = make(output_path=tmp_path / "clip.mp4", prompt=day)
        with caplog.at_level(logging.WARNING):
            operator.execute(of_run(day, operator))
    (told,) = [record.message for record in caplog.records if "replaced" in record.message]
    assert "run monday" in told and "end output_path in '/'" in told


@pytest.mark.parametrize("kind", STORAGE)
def test_batch_takes_folders_and_frames_as_path_objects(
    emulator: Emulator, tries: Tries, quick: None, tmp_path: Path, frame: Path, kind: str
) -> None:
    operator = VeoGenerateBatchOperator(
        task_id="table",
        requests=[{"prompt": "a cat", "duration": 4, "first_frame_image": STORAGE[kind](frame)}],
        output_path=STORAGE[kind](tmp_path / "out"),
        state_path=STORAGE[kind](tmp_path / "state"),
        deferrable=False,
    )
    (line,) = lines({"manifest": run(operator, tries)["manifest"].removeprefix("file://")})
    assert line["outcome"] == "landed" and line["request"]["first_frame_image"].removeprefix("file://") == str(frame)
    assert list((tmp_path / "out").glob("*.mp4")) and (tmp_path / "state" / ".apimart-batch").is_dir()


@pytest.mark.parametrize("kind", STORAGE)
def test_frames_of_one_generation_may_be_path_objects(
    emulator: Emulator, tries: Tries, no_waiting: list[float], tmp_path: Path, frame: Path, kind: str
) -> None:
    operator = make(tmp_path, first_frame_image=STORAGE[kind](frame))
    operator.execute(tries.next(operator))
    assert emulator.state()["generations"][0]["body"]["first_frame_image"].startswith(emulator.base_url)
    sidecar = json.loads(next(tmp_path.glob("task_*.json")).read_text())
    assert sidecar["request"]["first_frame_image"].removeprefix("file://") == str(frame)
