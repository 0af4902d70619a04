"""Makes the pictures of the docs: ``python -m dev.pictures`` runs the example DAGs and photographs the pages.

It takes some three minutes, and needs Chromium and the ``dev`` extra. The pictures lie in ``docs/pictures``.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.browser import Theme, airflow_window, chromium
from dev.local_airflow import LocalAirflow
from dev.stage import EXAMPLE_DAGS, POOL, POOL_SLOTS, REPO, connections_env, end_on_signals, make_prompts

FOLDER = REPO / "docs" / "pictures"
RUN = "manual__2026-01-05T09:00:00+00:00"
#: Longer than the 12 s that a deferral must last, and long enough to be photographed on the way.
JOB_SECONDS = 45.0
WIDTH, HEIGHT = 1280, 800
#: Seconds for a run, on a machine that has other work, too.
PATIENCE = 600
#: What the two runs make.
VIDEOS = 6
#: Pictures of pages are made of few colours, and a clone of the repository should stay small.
COLOURS = 96


def keep(page: Page, name: str) -> None:
    """Write what the page shows."""
    page.wait_for_load_state("networkidle")
    FOLDER.mkdir(exist_ok=True)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)
    print(f"docs/pictures/{name}.png", flush=True)


def tab(dag_id: str, task_id: str, map_index: int) -> str:
    """Return the path of a task's tab."""
    return f"/dags/{dag_id}/runs/{quote(RUN, safe='')}/tasks/{task_id}/mapped/{map_index}/plugin/apimart-video"


def open_page(browser: Browser, airflow: LocalAirflow, path: str, wait_for: str, theme: Theme = "light") -> Page:
    """Open a page of Airflow in a window of its own."""
    window = airflow_window(browser, airflow.url, theme=theme, width=WIDTH, height=HEIGHT)
    window.set_default_timeout(120_000)
    page = window.new_page()
    page.goto(f"{airflow.url}{path}")
    page.wait_for_selector(wait_for)
    return page


def photograph(browser: Browser, airflow: LocalAirflow) -> None:
    """Run the example DAGs and make all pictures."""
    for dag_id in ("example_marketing_run", "example_prompt_batch"):
        airflow.trigger(dag_id, run_id=RUN)
    airflow.wait_task("example_marketing_run", RUN, "generate", "deferred", map_index=0, timeout=PATIENCE)
    keep(open_page(browser, airflow, tab("example_marketing_run", "generate", 0), ".apimart-bar"), "running")
    for dag_id in ("example_marketing_run", "example_prompt_batch"):
        airflow.wait_run(dag_id, RUN, timeout=PATIENCE)
    page = open_page(browser, airflow, tab("example_marketing_run", "generate", 0), "video.apimart-screen")
    # Past the first frame the player's wheel has gone.
    page.evaluate(
        "async () => { const video = document.querySelector('video.apimart-screen'); video.muted = true;"
        " await video.play(); video.pause(); }"
    )
    page.wait_for_function("document.querySelector('video.apimart-screen').readyState >= 3")
    keep(page, "video")
    run = f"/dags/example_marketing_run/runs/{quote(RUN, safe='')}/plugin/apimart-run-videos"
    wait_index(airflow)
    keep(drawn(open_page(browser, airflow, run, ".apimart-card")), "contact-sheet")
    keep(drawn(open_page(browser, airflow, "/plugin/apimart-videos", ".apimart-card", "dark")), "gallery-dark")


def wait_index(airflow: LocalAirflow) -> None:
    """Wait until the gallery knows that all is done: the API server writes its index a moment later."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        while True:
            found = client.get(f"{airflow.url}/apimart/api/generations", params={"limit": 1}).json()["outcomes"]
            if found.get("completed", 0) >= VIDEOS and not found.get("running"):
                return
            time.sleep(0.5)


def drawn(page: Page) -> Page:
    """Wait until the cards that can be seen have their pictures."""
    page.wait_for_function(
        "![...document.querySelectorAll('.apimart-card canvas.apimart-hidden')]"
        ".some((each) => each.getBoundingClientRect().top < innerHeight)"
    )
    return page


def main() -> int:
    """Make the pictures; return the exit code."""
    end_on_signals()
    with tempfile.TemporaryDirectory() as home:
        place = Path(home)
        with EmulatorProcess(place / "emulator.sqlite", job_seconds=JOB_SECONDS) as emulator:
            env = {
                **connections_env(emulator, make_prompts(place / "prompts.sqlite")),
                "APIMART_OUTPUT_ROOT": str(place / "videos"),
            }
            with LocalAirflow(place / "airflow", EXAMPLE_DAGS, env=env) as airflow, chromium() as browser:
                airflow.put_pool(POOL, POOL_SLOTS)
                photograph(browser, airflow)
    return 0


if __name__ == "__main__":
    sys.exit(main())
