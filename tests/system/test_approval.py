"""A person decides in a real Airflow: what was rejected is never posted, and another take is paid for once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from airflow_provider_apimart.hooks.decisions import decisions_of
from dev.local_airflow import LocalAirflow
from tests.asking import RUN, answer, posted, wait_for_question, wait_until
from tests.system.test_generate import generations

CASES = ("approval_group", "approval_sheet", "approval_takes", "approval_timeout")
EXAMPLES = ("example_approval", "example_approval_sheet")


@pytest.fixture(scope="module", autouse=True)
def runs(local_airflow: LocalAirflow) -> None:
    """Start every run."""
    for dag_id in (*CASES, *EXAMPLES):
        local_airflow.trigger(dag_id, run_id=RUN)


def test_in_a_mapped_task_group_only_the_approved_video_is_posted(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    for index in (0, 1):
        wait_for_question(local_airflow, "approval_group", "one.approve", index)
    answer(local_airflow, "approval_group", "one.approve", "Reject", 0, reason="wrong kite")
    answer(local_airflow, "approval_group", "one.approve", "Approve", 1, title="The blue one")
    # The careless task of the rejected video fails.
    assert local_airflow.wait_run("approval_group", RUN, timeout=240) == "failed"
    states = {
        (task["task_id"], task["map_index"]): task["state"]
        for task in local_airflow.task_instances("approval_group", RUN)
    }
    assert [states["one.publish", index] for index in (0, 1)] == ["skipped", "success"]
    assert [states["one.careless", index] for index in (0, 1)] == ["failed", "success"]
    assert [content["title"] for content in posted(emulator_process, "group")] == ["The blue one"]
    assert len(posted(emulator_process, "careless")) == 1
    log = local_airflow.task_log("approval_group", RUN, "one.careless", map_index=0)
    assert "is not approved: rejected by" in log and "wrong kite" in log


def test_another_take_is_paid_for_once_though_the_triggerer_dies(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    wait_for_question(local_airflow, "approval_takes", "approve")
    first = local_airflow.xcom("approval_takes", RUN, "approve", key="approval")["videos"][0]
    answer(local_airflow, "approval_takes", "approve", "Another take", reason="more wind")

    def paid() -> int:
        return len(generations(emulator_process, "approval: a | `kite`"))

    wait_until(lambda: paid() == 2)
    local_airflow.kill("triggerer", signal.SIGKILL)
    wait_for_question(local_airflow, "approval_takes", "approve", takes=2)
    answer(local_airflow, "approval_takes", "approve", "Approve", video="2", title="A better kite")
    assert local_airflow.wait_run("approval_takes", RUN, timeout=240) == "success"
    result = local_airflow.xcom("approval_takes", RUN, "approve")
    assert (result["takes"], result["chosen"], result["title"]) == (2, 2, "A better kite")
    assert paid() == 2
    assert [content["sha256"] for content in posted(emulator_process, "takes")] == [result["videos"][0]["sha256"]]
    assert [line["decision"] for line in decisions_of(first["path"])][-1] == "another_take"
    assert [line["decision"] for line in decisions_of(result["videos"][0]["path"])] == ["approved"]


def test_a_sheet_decides_about_a_whole_table(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> None:
    wait_for_question(local_airflow, "approval_sheet", "approve")
    answer(local_airflow, "approval_sheet", "approve", "Approve the ticked ones", video_2=True, video_3=True)
    assert local_airflow.wait_run("approval_sheet", RUN, timeout=240) == "success"
    approved = local_airflow.xcom("approval_sheet", RUN, "approve")
    assert [Path(row["videos"][0]["path"]).is_file() for row in approved] == [True, True]
    assert len(posted(emulator_process, "sheet")) == 2


def test_without_an_answer_nothing_is_posted(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> None:
    assert local_airflow.wait_run("approval_timeout", RUN, timeout=240) == "failed"
    states = {task["task_id"]: task["state"] for task in local_airflow.task_instances("approval_timeout", RUN)}
    assert states == {"generate": "success", "approve": "failed", "publish": "upstream_failed"}
    assert local_airflow.task_instance("approval_timeout", RUN, "approve")["try_number"] == 1
    assert posted(emulator_process, "timeout") == []


def test_the_example_shows_a_poster_and_posts_what_was_approved(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    for index in range(3):
        wait_for_question(local_airflow, "example_approval", "product.approve", index)
    (asked,) = local_airflow.xcom("example_approval", RUN, "product.approve", key="approval", map_index=0)["videos"]
    assert asked["poster_sha256"]
    answer(local_airflow, "example_approval", "product.approve", "Approve", 0, title="A kettle, approved")
    answer(local_airflow, "example_approval", "product.approve", "Reject", 1)
    answer(local_airflow, "example_approval", "product.approve", "Approve", 2)
    assert local_airflow.wait_run("example_approval", RUN, timeout=240) == "success"
    posts = [local_airflow.xcom("example_approval", RUN, "product.publish", map_index=index) for index in range(3)]
    assert posts[1] is None
    public = {post["id"]: post["title"] for post in emulator_process.posts("youtube")}
    assert public[posts[0]["post_id"]] == "A kettle, approved"
    assert posts[2]["post_id"] in public


def test_the_example_of_a_sheet_announces_what_was_ticked(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    wait_for_question(local_airflow, "example_approval_sheet", "approve")
    answer(local_airflow, "example_approval_sheet", "approve", "Approve the ticked ones", video_1=True)
    assert local_airflow.wait_run("example_approval_sheet", RUN, timeout=240) == "success"
    (approved,) = local_airflow.xcom("example_approval_sheet", RUN, "approve")
    assert approved["labels"]["product"] == "Alpine Kettle" and approved["poster_sha256"]
    (message,) = posted(emulator_process, "video.approved")
    assert message["sha256"] == approved["video_sha256"]
