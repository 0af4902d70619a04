"""The batch under a real Airflow: its triggerer is killed in the middle, and the example publishes what was landed."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow

RUN = "batch"
ROWS = 30


def generations(emulator: EmulatorProcess, prompt: str) -> list[dict[str, Any]]:
    return [each for each in emulator.state()["generations"] if prompt in each["prompt"]]


def manifest(airflow: LocalAirflow, dag_id: str, task_id: str) -> list[dict[str, Any]]:
    path = Path(airflow.xcom(dag_id, RUN, task_id)["manifest"])
    return [json.loads(text) for text in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> None:
    """Start every run, and kill the triggerer when some of the batch's rows have landed and others run."""
    for dag_id in ("batch_killed", "batch_rejected", "batch_out_of_time", "example_prompt_batch"):
        local_airflow.trigger(dag_id, run_id=RUN)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        found = generations(emulator_process, "batch row")
        done = sum(1 for each in found if each["status"] == "completed")
        if done >= 8 and len(found) > done:
            break
        time.sleep(0.3)
    assert ROWS > len(found) > done >= 8, "the batch was not caught in the middle"
    local_airflow.kill("triggerer", signal.SIGKILL)
    time.sleep(2)
    local_airflow.restart("triggerer")


def test_a_killed_triggerer_pays_for_no_row_twice(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: None
) -> None:
    assert local_airflow.wait_run("batch_killed", RUN, timeout=300) == "success"
    # The trigger went on by itself: no retry was needed.
    assert local_airflow.task_instance("batch_killed", RUN, "make")["try_number"] == 1
    paid = Counter(each["prompt"] for each in generations(emulator_process, "batch row"))
    assert paid == {f"batch row {number}": 1 for number in range(ROWS)}
    result = local_airflow.xcom("batch_killed", RUN, "make")
    assert (result["rows"], result["landed"], result["failed"]) == (ROWS, ROWS, 0)
    assert result["cost_usd"] == pytest.approx(ROWS * 0.256)
    lines = manifest(local_airflow, "batch_killed", "make")
    assert [line["labels"]["sku"] for line in lines] == [f"S-{number}" for number in range(ROWS)]
    for line in lines:
        data = Path(line["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == line["videos"][0]["sha256"]


def test_progress_is_told_in_the_task_log(local_airflow: LocalAirflow, runs: None) -> None:
    local_airflow.wait_run("batch_killed", RUN, timeout=300)
    log = local_airflow.task_log("batch_killed", RUN, "make")
    assert "/30 done, 0 failed, 12 running, $" in log
    assert "30 of 30 rows have their videos" in log


def test_what_airflow_keeps_is_small_and_without_the_key(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: None
) -> None:
    local_airflow.wait_run("batch_killed", RUN, timeout=300)
    with closing(sqlite3.connect(local_airflow.db_path)) as database:
        query = "SELECT next_kwargs FROM task_instance WHERE dag_id='batch_killed'"
        kept = [row[0] for row in database.execute(query)]
    assert all(len(str(each)) < 2000 for each in kept)
    assert emulator_process.api_key not in str(kept)


def test_a_rejected_row_fails_the_task_for_good_and_the_other_is_there(
    local_airflow: LocalAirflow, output_root: Path, runs: None
) -> None:
    assert local_airflow.wait_run("batch_rejected", RUN, timeout=300) == "failed"
    assert local_airflow.task_instance("batch_rejected", RUN, "make")["try_number"] == 1
    (path,) = (output_root / "batch_rejected").glob("manifest-*.jsonl")
    assert [json.loads(text)["outcome"] for text in path.read_text().splitlines()] == ["landed", "rejected"]
    assert "1 of 2 rows have their videos" in local_airflow.task_log("batch_rejected", RUN, "make")


def test_the_example_publishes_each_landed_video(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: None
) -> None:
    assert local_airflow.wait_run("example_prompt_batch", RUN, timeout=300) == "success"
    mine = [line["generation_id"] for line in manifest(local_airflow, "example_prompt_batch", "generate")]
    published = [entry.get("generation_id") for entry in emulator_process.state()["cms"]]
    assert len(mine) == 3
    assert sorted(each for each in published if each in mine) == sorted(mine)


def test_a_batch_that_is_out_of_time_goes_on_in_the_next_try_and_pays_for_no_row_twice(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: None
) -> None:
    assert local_airflow.wait_run("batch_out_of_time", RUN, timeout=300) == "success"
    assert local_airflow.task_instance("batch_out_of_time", RUN, "make")["try_number"] > 1
    paid = Counter(each["prompt"] for each in generations(emulator_process, "out of time"))
    assert sorted(paid.values()) == [1] * 6
    assert {line["outcome"] for line in manifest(local_airflow, "batch_out_of_time", "make")} == {"landed"}


def test_airflow_dags_test_runs_a_batch_to_its_end(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, output_root: Path
) -> None:
    command = [sys.executable, "-m", "airflow", "dags", "test", "batch_tried_out"]
    done = subprocess.run(command, env=local_airflow.env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = output_root / "batch_tried_out"
    rows = [json.loads(text) for path in folder.glob("manifest-*.jsonl") for text in path.read_text().splitlines()]
    assert sorted(row["request"]["prompt"] for row in rows) == ["tried out one", "tried out three", "tried out two"]
    assert {row["outcome"] for row in rows} == {"landed"}
    assert len(generations(emulator_process, "tried out")) == 3
