"""Asset events under a real Airflow: each video is told of once, and posted once by the DAG that they start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import airflow.sdk
import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow
from tests.system.test_generate import check_landed

RUN = "assets"
VIDEOS, PUBLISHING, RETRIED, LATE = (
    "example_asset_videos",
    "example_asset_publishing",
    "asset_retried",
    "example_deadline",
)


@pytest.fixture(scope="module")
def runs(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> None:
    """Start every run; the events of one start another DAG."""
    emulator_process.fault("task", "task_fails", prompt_contains="asset: breaks down", times=1)
    local_airflow.wait_dag(PUBLISHING)
    local_airflow.api("PATCH", f"dags/{PUBLISHING}", {"is_paused": False}, {"update_mask": "is_paused"})
    for dag_id in (VIDEOS, RETRIED, LATE):
        local_airflow.trigger(dag_id, run_id=RUN)


def events(airflow: LocalAirflow, dag_id: str, run_id: str = RUN) -> list[dict[str, Any]]:
    """Return the asset events of a run, oldest first."""
    asked = {"source_dag_id": dag_id, "source_run_id": run_id, "order_by": "timestamp"}
    found: list[dict[str, Any]] = airflow.api("GET", "assets/events", params=asked)["asset_events"]
    return found


def eventually(seen: Callable[[], Any], timeout: float = 200) -> Any:
    """Return what is seen, as soon as it is something."""
    until = time.monotonic() + timeout
    while not (found := seen()):
        assert time.monotonic() < until, "nothing was seen"
        time.sleep(0.5)
    return found


@pytest.mark.usefixtures("runs")
def test_each_mapped_task_tells_of_its_video_once(local_airflow: LocalAirflow) -> None:
    assert local_airflow.wait_run(VIDEOS, RUN, timeout=300) == "success"
    told = events(local_airflow, VIDEOS)
    assert sorted(event["source_map_index"] for event in told) == [0, 1]
    for event in told:
        index, extra = event["source_map_index"], event["extra"]
        result = local_airflow.xcom(VIDEOS, RUN, "generate", map_index=index)
        check_landed(result)
        (video,) = result["videos"]
        assert (event["name"], extra["map_index"]) == ("apimart-clips", index)
        assert (extra["generation_id"], extra["cost_usd"]) == (result["generation_id"], result["cost_usd"])
        assert [(one["path"], one["sha256"]) for one in extra["videos"]] == [(video["path"], video["sha256"])]


@pytest.mark.usefixtures("runs")
def test_the_events_start_a_dag_that_posts_each_video_once(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    local_airflow.wait_run(VIDEOS, RUN, timeout=300)
    made = [local_airflow.xcom(VIDEOS, RUN, "generate", map_index=index) for index in range(2)]
    # A user clears a task that has ended well: its event is sent again, and nothing is paid or posted again.
    local_airflow.clear(VIDEOS, RUN, [["generate", 0]])
    assert local_airflow.wait_run(VIDEOS, RUN, timeout=300) == "success"
    assert sorted(event["source_map_index"] for event in events(local_airflow, VIDEOS)) == [0, 0, 1]
    assert local_airflow.xcom(VIDEOS, RUN, "generate", map_index=0)["videos"] == made[0]["videos"]

    started = eventually(lambda: [run for run in runs_of(local_airflow) if run.startswith("asset_triggered")])
    # Airflow may keep the last event for a run that another one starts. An hourly run takes it; here a hand starts one.
    local_airflow.trigger(PUBLISHING, run_id=RUN)
    for run_id in (*started, RUN, *runs_of(local_airflow)):
        assert local_airflow.wait_run(PUBLISHING, run_id, timeout=300) == "success"

    posts = [event["extra"] for run_id in runs_of(local_airflow) for event in events(local_airflow, PUBLISHING, run_id)]
    wanted = {result["videos"][0]["sha256"]: result["generation_id"] for result in made}
    assert {(post["sha256"], post["generation_id"]) for post in posts} == set(wanted.items())
    assert len({post["post_id"] for post in posts}) == 2
    assert all(post["url"].endswith(post["post_id"]) for post in posts)
    channel = [video["sha256"] for video in emulator_process.publishing()["youtube"]]
    assert [channel.count(checksum) for checksum in wanted] == [1, 1]


def runs_of(airflow: LocalAirflow) -> list[str]:
    """Return the runs of the DAG that posts."""
    return [run["dag_run_id"] for run in airflow.api("GET", f"dags/{PUBLISHING}/dagRuns")["dag_runs"]]


@pytest.mark.usefixtures("runs")
def test_a_retry_does_not_tell_twice(local_airflow: LocalAirflow) -> None:
    assert local_airflow.wait_run(RETRIED, RUN, timeout=300) == "success"
    assert local_airflow.task_instance(RETRIED, RUN, "make")["try_number"] == 2
    (video,) = local_airflow.xcom(RETRIED, RUN, "make")["videos"]
    told = {event["name"]: event for event in events(local_airflow, RETRIED)}
    uri = f"file://{video['path']}"
    assert sorted(told) == sorted(["case-library", uri]) and len(events(local_airflow, RETRIED)) == 2
    assert told["case-library"]["extra"] == told[uri]["extra"]
    assert told[uri]["uri"] == uri


@pytest.mark.skipif(not hasattr(airflow.sdk, "DeadlineAlert"), reason="Airflow 3.1 has deadlines as an experiment")
@pytest.mark.usefixtures("runs")
def test_a_late_run_is_reported_and_goes_on(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> None:
    # tests/running_airflow.py sets a deadline before the emulator's job can be done.
    def reports() -> list[dict[str, Any]]:
        return [each for each in emulator_process.state()["cms"] if each.get("late") == LATE]

    (report,) = eventually(reports)
    assert report["run"] == RUN
    assert local_airflow.wait_run(LATE, RUN, timeout=300) == "success"
    check_landed(local_airflow.xcom(LATE, RUN, "generate"))
    assert len(reports()) == 1
