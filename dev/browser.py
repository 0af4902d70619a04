"""Chromium, driven by Playwright: for the tests in a real browser and for the pictures in the docs.

The browser is the system's own (Debian's ``chromium``); Playwright's own download is never used.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
#: No calls home, and nothing that a container forbids. Playwright gives every browser a profile of its own.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

Theme = Literal["light", "dark"]


def find_chromium() -> str | None:
    """Return the path of the system's Chromium, ``None`` if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium.

    :raises RuntimeError: if there is none on this machine.
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError(f"no Chromium found (looked for {', '.join(NAMES)}); on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def airflow_window(
    browser: Browser, url: str, *, theme: Theme = "light", language: str = "en", width: int = 1280, height: int = 860
) -> BrowserContext:
    """Return a window with cookies of its own, whose Airflow speaks that language and has that theme."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme=theme,
        locale={"ko": "ko-KR"}.get(language, "en-US"),
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    # Airflow keeps both choices in the browser's storage.
    context.add_init_script(
        f"localStorage.setItem('i18nextLng', '{language}'); localStorage.setItem('theme', '{theme}')"
    )
    return context
