"""Prompt tables under a real Airflow: mapped over a file, ``@task.veo``, and a backfill that is cut and run again."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.airflow_api import AirflowApiError
from dev.local_airflow import LocalAirflow
from dev.stage import EXAMPLE_DAGS, POOL

RUN = "table"
BACKFILL = "example_backfill"
DAYS = [f"2026-01-0{day}" for day in range(1, 6)]


def by_prompt(emulator: EmulatorProcess, prompts: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the emulator's generations of each prompt."""
    found: dict[str, list[dict[str, Any]]] = {prompt: [] for prompt in prompts}
    for each in emulator.state()["generations"]:
        if each["prompt"] in found:
            found[each["prompt"]].append(each)
    return found


def backfill(airflow: LocalAirflow, *arguments: str) -> int:
    """Run ``airflow backfill create`` as a user would, over all days, and return the backfill's id.

    SQLite lets it fail half-way when another component writes at the same moment; then it is cancelled and made again.
    """
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", BACKFILL, "--from-date", DAYS[0]]
    command += ["--to-date", DAYS[-1]]
    for _ in range(8):
        # Airflow has one backfill of a DAG at a time, and notices late that one has ended.
        for each in airflow.api("GET", "backfills", params={"dag_id": BACKFILL})["backfills"]:
            if each["completed_at"] is None:
                patient(airflow, "PUT", f"backfills/{each['id']}/cancel")
        done = subprocess.run([*command, *arguments], env=airflow.env, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            known = airflow.api("GET", "backfills", params={"dag_id": BACKFILL})["backfills"]
            return max(int(each["id"]) for each in known)
        assert "database is locked" in done.stderr, done.stdout + done.stderr
        time.sleep(2)
        if "--reprocess-behavior" not in arguments:
            arguments = (*arguments, "--reprocess-behavior", "failed")
    raise AssertionError(f"the database was locked each time: {done.stderr[-2000:]}")


def patient(airflow: LocalAirflow, method: str, path: str, json: Any = None) -> None:
    """Call the API; SQLite, with all components at it, can be busy for longer than Airflow waits."""
    for attempt in range(10):
        try:
            airflow.api(method, path, json)
            return
        except AirflowApiError as error:
            if error.status not in (409, 500, 503) or attempt == 9:
                raise
        time.sleep(1)


def runs_of_backfill(airflow: LocalAirflow) -> dict[str, dict[str, Any]]:
    """Return the runs of the days, by day."""
    runs = airflow.api("GET", f"dags/{BACKFILL}/dagRuns", params={"limit": 100})["dag_runs"]
    return {
        run["logical_date"][:10]: run for run in runs if run["logical_date"] and run["logical_date"][:10] in set(DAYS)
    }


def wait_for_days(airflow: LocalAirflow, timeout: float = 240) -> dict[str, str]:
    """Wait until every day has ended, and return the states."""
    until = time.monotonic() + timeout
    while True:
        states = {day: run["state"] for day, run in runs_of_backfill(airflow).items()}
        if len(states) == len(DAYS) and set(states.values()) <= {"success", "failed"}:
            return states
        if time.monotonic() > until:
            raise TimeoutError(f"the backfill has not ended after {timeout} s: {states}")
        time.sleep(1)


@pytest.fixture(scope="module")
def start(local_airflow: LocalAirflow) -> Callable[[], None]:
    """Start the runs that nothing disturbs, once: late enough not to be in the cut backfill's way."""

    @cache
    def trigger() -> None:
        for dag_id in ("example_veo_taskflow", "example_prompt_table"):
            local_airflow.trigger(dag_id, run_id=RUN)

    return trigger


def test_backfill_is_cut_in_the_middle_and_run_again(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, output_root: Path, start: Callable[[], None]
) -> None:
    with (EXAMPLE_DAGS / "prompts_by_day.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    prompts = [row["prompt"] for row in table]
    local_airflow.wait_dag(BACKFILL)
    local_airflow.api("PATCH", f"dags/{BACKFILL}", {"is_paused": False}, {"update_mask": "is_paused"})

    number = backfill(local_airflow, "--max-active-runs", "2")
    until = time.monotonic() + 120
    while not any(by_prompt(emulator_process, prompts).values()):
        assert time.monotonic() < until, "nothing was submitted"
        local_airflow.tend()
        time.sleep(0.5)
    patient(local_airflow, "PUT", f"backfills/{number}/cancel")
    for run in runs_of_backfill(local_airflow).values():
        if run["state"] == "running":
            patient(local_airflow, "PATCH", f"dags/{BACKFILL}/dagRuns/{quote(run['dag_run_id'])}", {"state": "failed"})
    cut = wait_for_days(local_airflow)
    paid = by_prompt(emulator_process, prompts)
    assert any(paid.values()) and not all(paid.values()), "it was not cut in the middle"
    assert "failed" in cut.values()

    backfill(local_airflow, "--max-active-runs", "5", "--reprocess-behavior", "failed")
    start()
    states = wait_for_days(local_airflow)
    assert states == dict.fromkeys(DAYS, "success")
    paid = by_prompt(emulator_process, prompts)
    assert {prompt: len(found) for prompt, found in paid.items()} == dict.fromkeys(prompts, 1)
    for row in table:
        folder = output_root / "backfill" / row["day"]
        assert (folder / f"{paid[row['prompt']][0]['generation_id']}.mp4").is_file()
    assert len(list((output_root / "backfill").glob("*/*.mp4"))) == len(table)

    # All of it once more: everything is there, nothing is paid and nothing fetched.
    fetched = len(emulator_process.requests("media"))
    backfill(local_airflow, "--max-active-runs", "5", "--reprocess-behavior", "completed")
    assert wait_for_days(local_airflow) == dict.fromkeys(DAYS, "success")
    assert all(len(found) == 1 for found in by_prompt(emulator_process, prompts).values())
    ours = {found[0]["generation_id"] for found in by_prompt(emulator_process, prompts).values()}
    media = emulator_process.requests("media")[fetched:]
    assert [each["path"] for each in media if any(name in each["path"] for name in ours)] == []


def test_table_is_mapped_named_and_pooled(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, start: Callable[[], None]
) -> None:
    start()
    assert local_airflow.wait_run("example_prompt_table", RUN, timeout=300) == "success"
    tasks = local_airflow.task_instances("example_prompt_table", RUN)
    made = [task for task in tasks if task["task_id"] == "generate"]
    assert [task["rendered_map_index"] for task in made] == ["KETTLE-01", "BOTTLE-02", "LAMP-03"]
    assert {task["pool"] for task in made} == {POOL}
    assert local_airflow.xcom("example_prompt_table", RUN, "funds")["account_usd"] > 1

    results = [local_airflow.xcom("example_prompt_table", RUN, "generate", map_index=index) for index in range(3)]
    bodies = {each["generation_id"]: each["body"] for each in emulator_process.state()["generations"]}
    sent = [bodies[result["generation_id"]] for result in results]
    assert [body.get("duration") for body in sent] == [4, 4, 4]
    assert [body.get("generate_audio") for body in sent] == [False, None, True]
    assert [body.get("seed") for body in sent] == [7, None, None]
    assert "🏔️" in sent[1]["prompt"]
    sidecar = Path(results[1]["videos"][0]["path"] + ".json").read_text(encoding="utf-8")
    assert re.search(r'"sku":\s*"BOTTLE-02"', sidecar)
    log = local_airflow.task_log("example_prompt_table", RUN, "generate", map_index=0)
    assert "prices from APIMart's price list" in log
    assert local_airflow.api("GET", f"pools/{POOL}")["include_deferred"] is True


def test_decorated_functions_are_mapped_and_keep_their_prompts(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, start: Callable[[], None]
) -> None:
    start()
    assert local_airflow.wait_run("example_veo_taskflow", RUN, timeout=300) == "success"
    tasks = local_airflow.task_instances("example_veo_taskflow", RUN)
    forests = [task for task in tasks if task["task_id"] == "forest"]
    assert [task["rendered_map_index"] for task in forests] == ["spring", "autumn"]
    assert "a forest in autumn" in local_airflow.rendered_fields("example_veo_taskflow", RUN, "forest", 1)["prompt"]
    closing = local_airflow.xcom("example_veo_taskflow", RUN, "closing_shot")
    assert (closing["videos"][0]["width"], closing["videos"][0]["height"]) == (720, 1280)
    prompts = [each["prompt"] for each in emulator_process.state()["generations"]]
    assert [
        prompts.count(f"a forest in {season}, slow aerial shot, soft light") for season in ("spring", "autumn")
    ] == [
        1,
        1,
    ]
    assert prompts.count("the credits of a film in 2 parts, letters of leaves") == 1
