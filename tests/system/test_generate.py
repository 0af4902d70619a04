"""The operator under a real scheduler, dag processor, triggerer and LocalExecutor: the examples, and what goes wrong.

All runs are started at once and looked at one after the other: most of a run's time is waiting.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import av
import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow

EXAMPLES = {
    "example_veo_single": 1,
    "example_veo_variants": 3,
    "example_veo_frames": 1,
    "example_marketing_run": 3,
    "example_storyboard": 4,
}
CASES = (
    "veo_rejected",
    "veo_fails_once",
    "veo_parity",
    "veo_mapped_bad_row",
    "veo_data",
    "veo_templated_bad",
    "veo_cleared",
    "veo_cleared_regenerate",
    "veo_marked_failed",
    "veo_parked",
)
RUN = "test"
ENDED = Callable[[str], str]


@pytest.fixture(scope="module")
def runs(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> None:
    """Start every run."""
    emulator_process.fault("task", "task_fails", prompt_contains="fails once", times=1)
    for dag_id in (*EXAMPLES, *CASES):
        conf = {"duration": "7", "seed": "4294967296", "prompt": " "} if dag_id == "veo_templated_bad" else None
        local_airflow.trigger(dag_id, conf, run_id=RUN)


@pytest.fixture(scope="module")
def ended(local_airflow: LocalAirflow, runs: None) -> ENDED:
    """Wait for a run's end and return its state."""

    def wait(dag_id: str) -> str:
        return local_airflow.wait_run(dag_id, RUN, timeout=600)

    return wait


def generations(emulator: EmulatorProcess, prompt: str) -> list[dict[str, Any]]:
    """Return the emulator's generations of a prompt, oldest first."""
    found = [each for each in emulator.state()["generations"] if prompt in each["prompt"]]
    return sorted(found, key=lambda each: each["created"])


def check_landed(result: dict[str, Any], seconds: float = 4) -> None:
    """Look at every landed video of a result: the file, its sidecar, its content."""
    assert result["status"] == "completed"
    assert result["videos"]
    for video in result["videos"]:
        path = Path(video["path"])
        data = path.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (video["bytes"], video["sha256"])
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (video["width"], video["height"])
            assert bool(container.streams.audio) is video["has_audio"]
            assert sum(1 for _ in container.decode(stream)) == pytest.approx(seconds * 24, abs=2)
        sidecar = json.loads(path.with_name(path.name + ".json").read_text())
        assert sidecar["generation_id"] == result["generation_id"]
        assert sidecar["video"]["sha256"] == video["sha256"]
        assert sidecar["cost_usd"] == result["cost_usd"]
        assert "url" not in sidecar["video"]


@pytest.mark.parametrize("dag_id", EXAMPLES)
def test_example_lands_its_videos(local_airflow: LocalAirflow, ended: ENDED, dag_id: str) -> None:
    assert ended(dag_id) == "success"
    results = []
    for ti in local_airflow.task_instances(dag_id, RUN):
        value = local_airflow.xcom(dag_id, RUN, ti["task_id"], map_index=ti["map_index"])
        if isinstance(value, dict) and "generation_id" in value:
            results.append(value)
    assert len(results) == EXAMPLES[dag_id]
    for result in results:
        check_landed(result)
    assert len({result["generation_id"] for result in results}) == len(results)


def test_data_reaches_apimart_as_it_stands(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_data") == "success"
    cells = ["{{ conn.apimart_default.password }} as a neon sign", "a mug that says {{brand}} {# small #}", '"1" "000"']
    names = []
    for index, text in enumerate(cells):
        for task_id, prompt in (("make", text), ("clip", f"{text}, twice")):
            result = local_airflow.xcom("veo_data", RUN, task_id, map_index=index)
            (made,) = [
                each for each in emulator_process.state()["generations"] if each["id"] == result["generation_id"]
            ]
            assert made["body"]["prompt"] == prompt
            check_landed(result)
        names += [
            ti["rendered_map_index"]
            for ti in local_airflow.task_instances("veo_data", RUN)
            if (ti["task_id"], ti["map_index"]) == ("make", index)
        ]
    assert names == ["row <>", f"row <{cells[1]}>", f"row <{cells[2]}>"]


def test_variants_are_what_they_say(local_airflow: LocalAirflow, ended: ENDED) -> None:
    ended("example_veo_variants")
    video = {
        task: local_airflow.xcom("example_veo_variants", RUN, task)["videos"][0]
        for task in ("with_audio", "portrait", "waited_for_in_the_worker")
    }
    assert [video[task]["has_audio"] for task in video] == [True, False, False]
    assert (video["portrait"]["width"], video["portrait"]["height"]) == (720, 1280)
    checked = local_airflow.xcom("example_veo_variants", RUN, "check")
    assert checked["verdict"] in ("ok", "warn") and checked["path"] == video["with_audio"]["path"]
    made = local_airflow.xcom("example_veo_variants", RUN, "poster")
    assert Path(made["poster"]["path"]).stat().st_size == made["poster"]["bytes"] and made["preview"] is not None


def test_marketing_run_publishes_each_video_once(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    ended("example_marketing_run")
    mine = {
        local_airflow.xcom("example_marketing_run", RUN, "generate", map_index=index)["generation_id"]
        for index in range(3)
    }
    told = [message["content"].get("generation_id") for message in emulator_process.publishing()["webhook"]]
    assert sorted(each for each in told if each in mine) == sorted(mine)
    posts = [local_airflow.xcom("example_marketing_run", RUN, "schedule", map_index=index) for index in range(3)]
    scheduled = {post["post_id"]: post["publish_at"] for post in posts}
    assert {post["state"] for post in posts} == {"scheduled"}
    assert {post["video"]["generation_id"] for post in posts} == mine
    # The DAG's own schedule has made a run of its own, whose videos are on the same channel.
    channel = emulator_process.publishing()["youtube"]
    checksums = [video["sha256"] for video in channel]
    assert [checksums.count(post["video"]["sha256"]) for post in posts] == [1, 1, 1]
    held = {video["id"]: video["status"] for video in channel if video["id"] in scheduled}
    assert set(held) == set(scheduled)
    assert all(status["containsSyntheticMedia"] and status["privacyStatus"] == "private" for status in held.values())
    # At the campaign's hour, wherever the clocks are changed in between.
    times = [datetime.fromisoformat(when).astimezone(ZoneInfo("Europe/Berlin")) for when in scheduled.values()]
    assert {(time.hour, time.minute) for time in times} == {(18, 0)}
    assert len(set(times)) == 3
    assert [post for post in emulator_process.posts("youtube") if post["id"] in scheduled] == []


def test_grid_names_the_rows(local_airflow: LocalAirflow, ended: ENDED) -> None:
    ended("example_marketing_run")
    names = [
        ti["rendered_map_index"]
        for ti in local_airflow.task_instances("example_marketing_run", RUN)
        if ti["task_id"] == "generate"
    ]
    assert sorted(names) == ["Alpine Kettle", "Night Lamp", "Trail Bottle"]


def test_progress_is_told_at_a_human_pace(local_airflow: LocalAirflow, ended: ENDED) -> None:
    ended("example_veo_single")
    log = local_airflow.task_log("example_veo_single", RUN, "golden_retriever")
    lines = [line for line in log.splitlines() if "processing" in line or "pending" in line]
    assert any(" s left" in line and "%" in line for line in lines), log
    assert len(lines) <= 4, lines


def test_rejected_content_fails_for_good(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_rejected") == "failed"
    assert local_airflow.task_instance("veo_rejected", RUN, "make")["try_number"] == 1
    (generation,) = generations(emulator_process, "a famous person")
    log = local_airflow.task_log("veo_rejected", RUN, "make")
    assert f"APIMart refused the content of generation {generation['id']}" in log
    assert "not charged" in log
    assert "change the prompt" in log


def test_failed_generation_is_made_anew_by_the_retry(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_fails_once") == "success"
    assert local_airflow.task_instance("veo_fails_once", RUN, "make")["try_number"] == 2
    first, second = generations(emulator_process, "fails once")
    assert (first["status"], second["status"]) == ("failed", "completed")
    result = local_airflow.xcom("veo_fails_once", RUN, "make")
    assert result["generation_id"] == second["id"]
    check_landed(result)


def test_both_paths_return_the_same_to_the_key(local_airflow: LocalAirflow, ended: ENDED) -> None:
    assert ended("veo_parity") == "success"
    deferred, in_worker = (local_airflow.xcom("veo_parity", RUN, task) for task in ("deferred", "in_worker"))
    assert list(deferred) == list(in_worker)
    assert [list(video) for video in deferred["videos"]] == [list(video) for video in in_worker["videos"]]
    different = ("generation_id", "submitted_at", "completed_at", "videos")
    assert {k: v for k, v in deferred.items() if k not in different} == {
        k: v for k, v in in_worker.items() if k not in different
    }


def test_bad_mapped_row_costs_nothing_and_is_not_retried(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_mapped_bad_row") == "failed"
    good, bad = (local_airflow.task_instance("veo_mapped_bad_row", RUN, "make", index) for index in (0, 1))
    assert (good["state"], bad["state"], bad["try_number"]) == ("success", "failed", 1)
    assert generations(emulator_process, "a bad row") == []
    log = local_airflow.task_log("veo_mapped_bad_row", RUN, "make", map_index=1)
    assert "duration=5: allowed: 4, 6 or 8" in log
    assert "Nothing was submitted" in log


def test_bad_templated_values_are_all_told_and_not_retried(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_templated_bad") == "failed"
    assert local_airflow.task_instance("veo_templated_bad", RUN, "make")["try_number"] == 1
    log = local_airflow.task_log("veo_templated_bad", RUN, "make")
    for text in ("duration='7': allowed: 4, 6 or 8", "seed='4294967296': allowed:", "prompt=' ': must not be empty"):
        assert text in log


def test_clear_goes_on_with_what_is_paid_and_landed(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_cleared") == "success"
    before = local_airflow.xcom("veo_cleared", RUN, "make")
    fetched = len(emulator_process.requests("media"))

    local_airflow.clear("veo_cleared", RUN, ["make"])
    assert local_airflow.wait_run("veo_cleared", RUN) == "success"

    assert local_airflow.xcom("veo_cleared", RUN, "make") == before
    assert len(generations(emulator_process, "cleared afterwards")) - 1 == len(
        generations(emulator_process, "cleared afterwards, anew")
    )
    media = [each for each in emulator_process.requests("media")[fetched:] if before["generation_id"] in each["path"]]
    assert media == []


def test_clear_with_regenerate_pays_for_a_new_one(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_cleared_regenerate") == "success"
    before = local_airflow.xcom("veo_cleared_regenerate", RUN, "make")

    local_airflow.clear("veo_cleared_regenerate", RUN, ["make"])
    assert local_airflow.wait_run("veo_cleared_regenerate", RUN) == "success"

    after = local_airflow.xcom("veo_cleared_regenerate", RUN, "make")
    assert after["generation_id"] != before["generation_id"]
    assert after["videos"][0]["path"] == before["videos"][0]["path"]
    check_landed(after)
    assert len(generations(emulator_process, "cleared afterwards, anew")) == 2


def test_marked_failed_while_deferred_then_cleared_reattaches(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: None
) -> None:
    task = local_airflow.task_instance("veo_marked_failed", RUN, "make")
    if task["state"] in (None, "scheduled", "queued", "running", "deferred"):
        local_airflow.wait_task("veo_marked_failed", RUN, "make", {"deferred", "success"})
    local_airflow.mark("veo_marked_failed", RUN, "make", "failed")
    local_airflow.clear("veo_marked_failed", RUN, ["make"], only_failed=True)
    assert local_airflow.wait_run("veo_marked_failed", RUN) == "success"
    (generation,) = generations(emulator_process, "marked failed")
    assert local_airflow.xcom("veo_marked_failed", RUN, "make")["generation_id"] == generation["id"]


def test_deadline_parks_and_a_later_try_lands_it(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, ended: ENDED
) -> None:
    assert ended("veo_parked") == "success"
    (generation,) = generations(emulator_process, "parked")
    assert local_airflow.xcom("veo_parked", RUN, "make")["generation_id"] == generation["id"]
    log = local_airflow.task_log("veo_parked", RUN, "make", try_number=1)
    assert f"Generation {generation['id']} was not finished by its deadline" in log
    assert "re-attaches" in log


def test_the_key_is_nowhere(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, output_root: Path, ended: ENDED
) -> None:
    """Logs, XComs, rendered fields, trigger rows, records, sidecars: whatever Airflow or we have written, and the media
    server."""
    for dag_id in EXAMPLES:
        ended(dag_id)
    secret = emulator_process.api_key.encode()
    looked_at = 0
    for root in (local_airflow.home, output_root):
        for path in (each for each in root.rglob("*") if each.is_file()):
            looked_at += 1
            assert secret not in path.read_bytes(), path
    assert looked_at > 50
    media = emulator_process.requests("media")
    assert media
    assert not any("authorization" in {name.lower() for name in each["headers"]} for each in media)
