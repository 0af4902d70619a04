"""A person decides about videos by clicking in Airflow's own page for required actions."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow
from tests.asking import RUN, answer_by, posted, wait_for_question
from tests.system.test_generate import generations
from tests.ui.browser.conftest import OpenWindow

TASK = "approve"


@pytest.fixture(scope="module", autouse=True)
def runs(has_chromium: None, local_airflow: LocalAirflow) -> None:
    """Start both runs."""
    for dag_id in ("asked_again", "asked_once"):
        local_airflow.trigger(dag_id, run_id=RUN)


def click(page: Page, url: str, dag_id: str, option: str, **texts: str) -> None:
    """Open the page of the question, change texts, and press a button."""
    page.goto(f"{url}/dags/{dag_id}/runs/{RUN}/tasks/{TASK}/required_actions")
    for name, text in texts.items():
        page.fill(f"#element_{name}", text)
    button = page.get_by_test_id(f"hitl-option-{option}")
    button.click()
    expect(button).to_be_disabled()


def test_another_take_and_then_an_approval_with_a_better_title(
    open_window: OpenWindow, local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    window = open_window()
    page = window.page
    wait_for_question(local_airflow, "asked_again", TASK)
    page.goto(f"{window.url}/dags/asked_again/runs/{RUN}/tasks/{TASK}/required_actions")
    # The poster is there, and no broken picture.
    page.wait_for_function(
        "() => [...document.images].some(each => each.src.includes('/apimart/poster/') && each.naturalWidth > 0)"
    )
    answer_by(lambda: click(page, window.url, "asked_again", "Another take"), local_airflow, "asked_again", TASK)
    wait_for_question(local_airflow, "asked_again", TASK, takes=2)
    # The tab shows both takes.
    tab = window.open_tab("asked_again", TASK, run_id=RUN)
    tab.wait_for_selector("video.apimart-screen")
    answer_by(
        lambda: click(page, window.url, "asked_again", "Approve", title="A better title"),
        local_airflow,
        "asked_again",
        TASK,
    )
    assert local_airflow.wait_run("asked_again", RUN) == "success"
    result = local_airflow.xcom("asked_again", RUN, TASK)
    assert (result["title"], result["takes"], result["chosen"]) == ("A better title", 2, 2)
    assert len(generations(emulator_process, "asked again")) == 2
    assert [content["sha256"] for content in posted(emulator_process, "asked again")] == [result["video_sha256"]]


def test_a_rejected_video_is_not_posted(
    open_window: OpenWindow, local_airflow: LocalAirflow, emulator_process: EmulatorProcess
) -> None:
    window = open_window()
    wait_for_question(local_airflow, "asked_once", TASK)
    answer_by(
        lambda: click(window.page, window.url, "asked_once", "Reject", reason="wrong colour"),
        local_airflow,
        "asked_once",
        TASK,
    )
    assert local_airflow.wait_run("asked_once", RUN) == "success"
    states = {task["task_id"]: task["state"] for task in local_airflow.task_instances("asked_once", RUN)}
    assert states == {"make": "success", "poster": "success", TASK: "skipped", "publish": "skipped"}
    tab = window.open_tab("asked_once", TASK, run_id=RUN)
    tab.wait_for_selector("text=wrong colour")
    assert posted(emulator_process, "asked once") == []
