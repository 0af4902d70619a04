"""``reconcile`` against Airflow's own metadata database, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow
from tests.airflow_at_hand import HAS_STATE_STORE

DAG_ID, RUN = "veo_left_behind", "reconciled"


def reconcile(local: LocalAirflow, output_root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "airflow_provider_apimart.cli", "reconcile", "--dag-id", DAG_ID, *arguments]
    if not HAS_STATE_STORE:
        # Before 3.3 Airflow keeps no records; they are beside the videos.
        command += ["--folder", f"{output_root}/left/"]
    return subprocess.run(command, env=local.env, capture_output=True, text=True, timeout=120)


def test_a_generation_that_airflow_has_given_up_is_listed_and_landed(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, output_root: Path
) -> None:
    local_airflow.trigger(DAG_ID, run_id=RUN)
    assert local_airflow.wait_run(DAG_ID, RUN) == "failed"
    (generation,) = [each for each in emulator_process.state()["generations"] if each["prompt"] == "left behind"]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        (generation,) = [each for each in emulator_process.state()["generations"] if each["prompt"] == "left behind"]
        if generation["status"] == "completed":
            break
        time.sleep(0.5)

    listed = reconcile(local_airflow, output_root)
    assert listed.returncode == 1, listed.stderr
    assert generation["generation_id"] in listed.stdout
    assert "0.256 USD" in listed.stdout

    landed = reconcile(local_airflow, output_root, "--land", "--json")
    assert landed.returncode == 0, landed.stdout + landed.stderr
    finding = json.loads(landed.stdout.splitlines()[-1])
    assert finding["outcome"].startswith("landed ")
    path = output_root / "left" / f"{generation['generation_id']}.mp4"
    assert path.is_file()
    assert reconcile(local_airflow, output_root).returncode == 0
    assert emulator_process.api_key not in listed.stdout + listed.stderr + landed.stdout + landed.stderr

    # A clear finds it landed: nothing is paid, nothing is fetched.
    local_airflow.clear(DAG_ID, RUN, ["make"])
    assert local_airflow.wait_run(DAG_ID, RUN) == "success"
    assert local_airflow.xcom(DAG_ID, RUN, "make")["videos"][0]["path"] == str(path)
    assert len([each for each in emulator_process.state()["generations"] if each["prompt"] == "left behind"]) == 1
