"""People in front of a real Airflow: who watches, who may not, and what they see while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dev.local_airflow import LocalAirflow
from tests.ui.browser.conftest import RUN, LoginServer, OpenWindow

ROWS = 30
#: The whole tab, in words.
TEXT = "document.querySelector('.apimart').innerText"


def test_the_tab_shows_progress_and_then_the_video_without_a_reload(
    open_window: OpenWindow, local_airflow: LocalAirflow
) -> None:
    run_id = "watched"
    local_airflow.trigger("mine", run_id=run_id)
    local_airflow.wait_task("mine", run_id, "make", ("running", "deferred"), map_index=0)
    window = open_window()
    page = window.open_tab("mine", "make", 0, run_id)
    page.evaluate("globalThis.sameDocument = true")
    bar = page.locator(".apimart-bar[aria-valuenow]")
    bar.wait_for()
    seen = bar.get_attribute("aria-valuenow")
    page.wait_for_function(
        "before => { const bar = document.querySelector('.apimart-bar');"
        " return bar && bar.getAttribute('aria-valuenow') !== before; }",
        arg=seen,
    )
    page.wait_for_selector("video.apimart-screen", timeout=90_000)
    assert page.evaluate("globalThis.sameDocument") is True
    assert window.errors == []


def test_a_video_plays_to_its_end_and_seeks(open_window: OpenWindow, runs: LocalAirflow) -> None:
    page = open_window().open_tab("mine", "make", 0)
    answers: list[tuple[int, str]] = []
    page.on("response", lambda each: "/apimart/video/" in each.url and answers.append((each.status, each.url)))
    # From the beginning, so that the requests are seen.
    page.reload()
    page.wait_for_selector("video.apimart-screen")
    state: dict[str, Any] = page.evaluate(
        """async () => {
          const video = document.querySelector("video.apimart-screen");
          const once = (name) => new Promise((done) => video.addEventListener(name, done, { once: true }));
          if (video.readyState < 1) await once("loadedmetadata");
          video.muted = true;
          const ended = once("ended");
          await video.play();
          await ended;
          const end = video.currentTime;
          const sought = once("seeked");
          video.currentTime = 1;
          await sought;
          return { end, duration: video.duration, at: video.currentTime, width: video.videoWidth };
        }"""
    )
    assert state["end"] == pytest.approx(state["duration"], abs=0.1) == pytest.approx(4, abs=0.5)
    assert state["at"] == pytest.approx(1, abs=0.1)
    assert state["width"] > 0
    assert answers and {status for status, _ in answers} == {206}


def test_a_task_of_others_says_so(open_window: OpenWindow, runs: LocalAirflow) -> None:
    page = open_window().open_tab("mine", "plain")
    page.wait_for_selector("text=No video here")


def test_a_hostile_prompt_is_text(open_window: OpenWindow, runs: LocalAirflow) -> None:
    window = open_window()
    page = window.open_tab("mine", "make", 1)
    page.wait_for_selector(".apimart-prompt")
    assert "<script>document.title" in page.evaluate(TEXT)
    assert page.title() != "taken over"
    assert window.errors == []


def test_a_rejected_prompt_says_what_happened_and_offers_to_try_again_for_nothing(
    open_window: OpenWindow, runs: LocalAirflow
) -> None:
    page = open_window().open_tab("theirs", "refused")
    for heading in ("What happened", "The money", "What to do"):
        page.wait_for_selector(f"dt:has-text('{heading}')")
    page.click("text=Clear and try again")
    dialog = page.locator("dialog[open]")
    assert "costs nothing" in dialog.inner_text()
    # Nobody confirms: nothing is cleared.
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert runs.task_instance("theirs", RUN, "refused")["state"] == "failed"


def test_rows_of_a_batch_are_paged_and_filtered(open_window: OpenWindow, runs: LocalAirflow) -> None:
    page = open_window().open_tab("theirs", "table")
    page.wait_for_selector(".apimart-card")
    assert page.locator(".apimart-card").count() == 24
    page.click("text=Next")
    page.wait_for_function(f"document.querySelectorAll('.apimart-card').length === {ROWS - 24}")
    assert page.locator(".apimart-pager").inner_text().count("Page 2 of 2") == 1
    page.click(".apimart-card-button >> nth=0")
    page.wait_for_selector("dialog[open] video.apimart-screen")
    page.wait_for_function("document.querySelector('dialog video').readyState >= 1")


def test_clearing_through_the_page_makes_a_new_try(open_window: OpenWindow, local_airflow: LocalAirflow) -> None:
    run_id = "cleared"
    local_airflow.trigger("theirs", run_id=run_id)
    local_airflow.wait_task("theirs", run_id, "refused", "failed")
    page = open_window().open_tab("theirs", "refused", run_id=run_id)
    page.click("text=Clear and try again")
    page.click("dialog[open] button:has-text('Try again')")
    page.locator("dialog[open]").wait_for(state="detached")
    local_airflow.wait_task("theirs", run_id, "refused", "failed")
    assert local_airflow.task_instance("theirs", run_id, "refused")["try_number"] == 2


def test_under_a_path_an_admin_sees_all_and_others_what_they_may(
    open_as: OpenWindow, login_server: LoginServer, runs: LocalAirflow
) -> None:
    assert login_server.url.endswith("/airflow")
    page = open_as("admin").open_tab("theirs", "table")
    page.wait_for_selector(".apimart-card")
    page = open_as("one").open_tab("mine", "make", 0)
    page.wait_for_selector("video.apimart-screen")
    page.wait_for_function("document.querySelector('video.apimart-screen').readyState >= 1")


@pytest.mark.parametrize("user", ["one", "none", None])
def test_who_may_not_see_a_dag_gets_nothing_of_it(
    open_as: OpenWindow, login_server: LoginServer, runs: LocalAirflow, user: str | None
) -> None:
    window = open_as(user)
    place = f"theirs/{quote(RUN, safe='')}"
    for path in (f"api/task/{place}/table/-1", f"api/rows/{place}/table/-1", f"video/{place}/refused/-1/1"):
        # With the cookies of that window.
        answer = window.page.request.get(f"{login_server.url}/apimart/{path}")
        assert answer.status == (403 if user else 401), path


def test_nothing_of_the_machine_is_in_the_pages(runs: LocalAirflow) -> None:
    folder = Path(__file__).parents[3] / "airflow_provider_apimart" / "ui" / "static"
    for file in folder.iterdir():
        text = file.read_text("utf-8")
        for forbidden in ("innerHTML", "dangerouslySetInnerHTML", "eval(", "new Function", "document.write", "http://"):
            assert forbidden not in text, f"{file.name}: {forbidden}"
