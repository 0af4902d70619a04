"""The gallery and the contact sheets of real runs, as somebody who may see all, one Dag, or nothing."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from dev.local_airflow import LocalAirflow
from tests.ui.browser.conftest import RUN, LoginServer, OpenWindow

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: The rows of "theirs", and its task whose prompt is refused.
ROWS, ALL = 30, 31
GALLERY = "/plugin/apimart-videos"
CARDS = "document.querySelectorAll('.apimart-card').length"
CALM = "!document.querySelector('.apimart-busy')"


@pytest.fixture(scope="module")
def indexed(runs: LocalAirflow) -> LocalAirflow:
    """Airflow, once the gallery's index knows the runs."""
    wanted = {"mine": 2, "theirs": ALL}
    until = time.monotonic() + 90
    while time.monotonic() < until:
        found = {
            dag_id: httpx.get(
                f"{runs.url}/apimart/api/generations",
                params={"dag_id": dag_id, "run_id": RUN, "limit": 1},
                trust_env=False,
                timeout=30,
            ).json()
            for dag_id in wanted
        }
        open_ = sum(each["outcomes"].get("running", 0) for each in found.values())
        if not open_ and {dag_id: each["total"] for dag_id, each in found.items()} == wanted:
            return runs
        time.sleep(0.2)
    raise AssertionError(f"the index does not know the runs: {found}")


def wait_cards(page: Page, count: int) -> None:
    page.wait_for_function(f"{CARDS} === {count} && {CALM}")


def texts(page: Page, selector: str) -> list[str]:
    return page.locator(selector).all_inner_texts()


def choose(page: Page, label: str, value: str) -> None:
    page.locator(f".apimart-field:has-text('{label}') input").fill(value)


def test_the_sheet_of_a_run_has_totals_pages_and_outcomes(open_window: OpenWindow, indexed: LocalAirflow) -> None:
    window = open_window()
    page = window.open(f"/dags/theirs/runs/{quote(RUN, safe='')}/plugin/apimart-run-videos", ".apimart-card")
    wait_cards(page, 24)
    videos, spent, failed = texts(page, ".apimart-tile-value")
    assert (videos, failed) == (str(ROWS), "1")
    assert float(spent.removeprefix("$")) == pytest.approx(ROWS * 0.256, abs=0.01)
    page.click("text=Next")
    wait_cards(page, ALL - 24)
    page.click("text=Back")
    wait_cards(page, 24)
    page.click(".apimart-chip:has-text('Failed')")
    wait_cards(page, 1)
    assert "famous person" in page.locator(".apimart-card").inner_text()
    assert window.errors == []


def test_the_sheet_of_a_dag_plays_a_video_and_leads_to_its_task(open_window: OpenWindow, indexed: LocalAirflow) -> None:
    page = open_window().open("/dags/mine/plugin/apimart-dag-videos", ".apimart-card")
    page.click(".apimart-card-button:has-text('red sneaker') >> nth=0")
    page.wait_for_selector("dialog[open] video.apimart-screen")
    page.wait_for_function("document.querySelector('dialog video').readyState >= 2")
    page.click("dialog[open] a:has-text('Open the task')")
    page.wait_for_url("**/tasks/make/mapped/0*/**")


def test_the_gallery_is_searched_sorted_and_filtered(open_window: OpenWindow, indexed: LocalAirflow) -> None:
    window = open_window()
    page = window.open(GALLERY, ".apimart-card")
    page.wait_for_selector(".apimart-chart rect")
    assert page.locator("datalist option[value=theirs]").count() == 1
    page.fill("input[type=search]", "product number 17")
    page.wait_for_function(f"{CARDS} >= 1 && {CARDS} < 24 && {CALM}")
    # A word is looked for anywhere, so in ids, too.
    assert "product number 17" in texts(page, ".apimart-card-prompt")
    assert all("product number" in text for text in texts(page, ".apimart-card-prompt"))
    page.fill("input[type=search]", "<script>")
    page.wait_for_function(
        f"document.querySelector('.apimart-card-prompt')?.innerText.startsWith('<script>') && {CALM}"
    )
    choose(page, "Dag", "theirs")
    page.wait_for_selector("text=Nothing found")
    page.click("text=Reset filters")
    wait_cards(page, 24)
    choose(page, "Dag", "mine")
    page.wait_for_function(f"{CARDS} < 24 && {CALM}")
    assert {text.strip() for text in texts(page, ".apimart-card-where")} == {"mine"}
    choose(page, "From", "2020-01-01")
    choose(page, "To", "2020-01-02")
    page.wait_for_selector("text=Nothing found")
    page.click("text=Reset filters")
    wait_cards(page, 24)
    page.select_option("select", "cost_usd asc")
    # What was refused cost nothing.
    page.wait_for_function(f"document.querySelector('.apimart-card').innerText.includes('$0.00') && {CALM}")
    assert window.errors == []


def test_what_is_found_is_downloaded_as_csv(open_window: OpenWindow, indexed: LocalAirflow) -> None:
    page = open_window().open(GALLERY, ".apimart-card")
    page.wait_for_function(CALM)
    choose(page, "Dag", "theirs")
    page.fill("input[type=search]", "product number 2")
    page.wait_for_function(f"{CARDS} < 24 && {CALM}")
    with page.expect_download() as download:
        page.click("text=Download as CSV")
    assert download.value.suggested_filename == "generations.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert len(rows) >= 11
    assert {row["dag_id"] for row in rows} == {"theirs"}
    assert {f"product number {number}" for number in (2, 20, 29)} <= {row["prompt"] for row in rows}


def test_who_may_read_one_dag_has_a_gallery_of_that_dag(
    open_as: OpenWindow, login_server: LoginServer, indexed: LocalAirflow
) -> None:
    window = open_as("one")
    page = window.open(GALLERY, ".apimart-card")
    page.wait_for_function(CALM)
    assert {text.strip() for text in texts(page, ".apimart-card-where")} == {"mine"}
    assert texts(page, ".apimart-legend li") == ["mine"]
    choose(page, "Dag", "theirs")
    page.wait_for_selector("text=Nothing found")
    for path in _lists():
        answer = page.request.get(f"{login_server.url}/apimart/{path}")
        assert answer.ok and "product number" not in answer.text() and '"theirs"' not in answer.text(), path


@pytest.mark.parametrize(("user", "status"), [("none", 403), (None, 401)])
def test_who_may_read_no_dag_or_is_not_logged_in_has_no_gallery(
    open_as: OpenWindow, login_server: LoginServer, indexed: LocalAirflow, user: str | None, status: int
) -> None:
    window = open_as(user)
    for path in _lists():
        answer = window.page.request.get(f"{login_server.url}/apimart/{path}")
        assert answer.status == status, path
        for secret in ("product number", "mine", "theirs"):
            assert secret not in answer.text(), path
    if user is not None:
        page = window.open(GALLERY, "text=You may not see this")
        assert page.locator(".apimart-card").count() == 0
        assert window.errors == []


def _lists() -> list[str]:
    """Return what asks for everything, and what asks for what one may not see."""
    return [
        "api/generations?limit=200",
        f"api/generations?dag_id=theirs&run_id={quote(RUN, safe='')}",
        "api/generations.csv",
        "api/generations.csv?dag_id=theirs",
        "api/spend",
        "api/spend?dag_id=theirs",
    ]
