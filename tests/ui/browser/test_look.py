"""How the pages look and behave in states that are hard to wait for: inside a real Airflow, with the routes' answers
given by the test (``answers.py``)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.emulator.media.videos import VideoSpec, make_video
from dev.local_airflow import LocalAirflow
from tests.ui.browser.answers import ASKING, BATCH, FAILED, HOSTILE, Answers, generation, running, task
from tests.ui.browser.conftest import OpenWindow, Window
from tests.ui.browser.pictures_diff import difference

if TYPE_CHECKING:
    from playwright.sync_api import Page

GALLERY = "/plugin/apimart-videos"
STATIC = Path(__file__).parents[3] / "airflow_provider_apimart" / "ui" / "static"


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A short video and a poster."""
    from PIL import Image

    path = tmp_path_factory.mktemp("media") / "video.mp4"
    make_video(VideoSpec(width=320, height=180, seconds=1, audio=False, prompt="a video", lines=()), path)
    poster = io.BytesIO()
    Image.linear_gradient("L").resize((320, 180)).convert("RGB").save(poster, "PNG")
    return path, poster.getvalue()


Stubbed = Callable[..., tuple[Window, Answers]]


@pytest.fixture
def stubbed(open_window: OpenWindow, media: tuple[Path, bytes], runs: LocalAirflow) -> Stubbed:
    """Opens windows whose routes are answered by the test."""

    def open_one(**look: Any) -> tuple[Window, Answers]:
        window = open_window(**{"width": 1100, "height": 900, **look})
        answers = Answers(*media)
        answers.install(window.page)
        return window, answers

    return open_one


def tab(window: Window) -> Page:
    # Airflow shows the plugin's tab of any task; what is in it, the test says.
    return window.open_tab("mine", "plain")


def serious(page: Page) -> list[str]:
    """Return what axe-core calls serious or critical in our part of the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    answer = axe.run(page, context=".apimart").response
    assert len(answer["passes"]) > 5, "axe-core did not look at our page"
    found = answer["violations"]
    return [
        f"{each['id']}: {each['help']} {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def look_at(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_function("!document.querySelector('.apimart-thumb canvas.apimart-hidden')")
    page.wait_for_function("[...document.querySelectorAll('.apimart video')].every((each) => each.readyState >= 1)")
    assert difference(name, page.locator(".apimart").screenshot()) == ""
    assert serious(page) == []


@pytest.mark.parametrize(("look", "width"), [("light", 1100), ("dark", 1100), ("narrow", 760)])
def test_the_pages_look_as_committed_and_are_accessible(stubbed: Stubbed, look: str, width: int) -> None:
    # High enough that nothing has to be scrolled into the picture.
    window, answers = stubbed(theme="light" if look == "narrow" else look, width=width, height=2400)
    answers.rows = answers.rows[:8]
    page = tab(window)
    page.wait_for_selector(".apimart-screen")
    look_at(page, f"task-{look}")
    for name, view, sign in (
        ("failed", FAILED, "text=There is no video"),
        ("running", running(40), ".apimart-bar"),
        ("asking", ASKING, "text=Your decision, please"),
        ("batch", BATCH, ".apimart-card"),
    ):
        answers.task = view
        page.reload()
        page.wait_for_selector(sign)
        look_at(page, f"{name}-{look}")
    if look == "narrow":
        page.set_viewport_size({"width": 460, "height": 2400})
    page = window.open(GALLERY, ".apimart-card")
    page.wait_for_selector(".apimart-chart")
    look_at(page, f"gallery-{look}")
    page.click(".apimart-card-button >> nth=0")
    page.wait_for_selector("dialog[open] .apimart-screen")
    assert serious(page) == []
    assert window.errors == []


def test_the_gallery_is_paged_and_searched_and_used_by_keyboard(stubbed: Stubbed) -> None:
    window, answers = stubbed()
    answers.rows[59]["prompt"] = "the needle"
    page = window.open(GALLERY, ".apimart-card")
    assert page.locator(".apimart-card").count() == 24
    for count in (24, 12):
        page.click("text=Next")
        page.wait_for_function(
            f"document.querySelectorAll('.apimart-card').length === {count} && !document.querySelector('.apimart-busy')"
        )
    assert page.locator("button:has-text('Next')").is_disabled()
    page.click("text=Back")
    page.fill("input[type=search]", "needle")
    page.wait_for_function("document.querySelectorAll('.apimart-card').length === 1")
    card = page.locator(".apimart-card-button")
    card.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .apimart-screen")
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    assert card.evaluate("button => button === document.activeElement")


def test_texts_from_outside_stay_texts_and_inside_their_place(stubbed: Stubbed) -> None:
    window, answers = stubbed()
    for name, text in HOSTILE.items():
        answers.task = task(prompt=text, label=text, model=text, seed=text, parameters={text[:200]: text})
        page = tab(window)
        page.wait_for_selector(".apimart-prompt")
        assert page.evaluate("document.querySelector('.apimart-prompt').textContent") == text, name
        wide = "(() => { const box = document.querySelector('.apimart'); return box.scrollWidth - box.clientWidth; })()"
        assert page.evaluate(wide) <= 0, name
    answers.rows = [generation(number, prompt=text, label=text) for number, text in enumerate(HOSTILE.values())]
    page = window.open(GALLERY, ".apimart-card")
    assert page.evaluate(wide) <= 0
    assert window.errors == []


def test_korean_follows_the_language_of_airflow(stubbed: Stubbed) -> None:
    window, answers = stubbed(language="ko")
    page = tab(window)
    page.wait_for_selector(".apimart-screen")
    words = page.evaluate("document.querySelector('.apimart').innerText")
    for word in ("제작", "검사", "승인", "게시", "프롬프트", "비용"):
        assert word in words
    for word in ("Made", "Approved", "Posted", "Prompt", "Cost"):
        assert word not in words.split()
    answers.task = FAILED
    page.reload()
    page.wait_for_selector("text=무슨 일이 있었나요")


def test_without_the_shared_components_of_newer_airflows_all_works(stubbed: Stubbed) -> None:
    """As on Airflow 3.1."""
    window, answers = stubbed()
    hide = "Object.defineProperty(globalThis, 'ChakraUI', { get: () => undefined, set: () => {} })"
    window.page.add_init_script(hide)
    page = window.open(GALLERY, ".apimart-card")
    assert page.evaluate("typeof globalThis.ChakraUI") == "undefined"
    assert page.locator("button.apimart-button").count() > 0
    assert serious(page) == []
    answers.task = FAILED
    page = tab(window)
    page.wait_for_selector("text=There is no video")
    assert serious(page) == []


def test_a_page_that_breaks_leaves_airflow_alone(stubbed: Stubbed) -> None:
    window, answers = stubbed()
    answers.task = task(videos=[None], prompt="broken")
    page = tab(window)
    page.wait_for_selector("text=This page could not be shown")
    assert page.locator("nav, [role=navigation], a[href]").count() > 0
    # It comes back when there is something to show again.
    answers.task = task()
    page.click(".apimart-actions button")
    page.wait_for_selector(".apimart-screen")


def test_while_it_runs_the_page_asks_again_and_not_while_it_is_hidden(stubbed: Stubbed) -> None:
    window, answers = stubbed()
    answers.task = running(40)
    window.page.clock.install()
    page = tab(window)
    bar = page.locator(".apimart-bar")
    bar.wait_for()
    assert bar.get_attribute("aria-valuenow") == "40"
    answers.task = running(60)
    page.clock.run_for(6_000)
    page.wait_for_selector(".apimart-bar[aria-valuenow='60']")
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })")
    before = len(answers.asked)
    page.clock.run_for(60_000)
    assert len(answers.asked) == before
    answers.task = task()
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { configurable: true, get: () => false });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_selector(".apimart-screen")
    # All is said: nothing more is asked.
    page.clock.run_for(60_000)
    assert len(answers.asked) == before + 1


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "Your session has ended"),
        (403, "You may not see this"),
        (404, "There is no such"),
        (500, "could not answer"),
    ],
)
def test_a_refusal_is_said_in_words(stubbed: Stubbed, status: int, text: str) -> None:
    window, answers = stubbed()
    answers.status = status
    tab(window).wait_for_selector(f"text={text}")


def test_a_strict_content_security_policy_is_kept(stubbed: Stubbed) -> None:
    window, _ = stubbed()
    page = window.page
    broken: list[str] = []
    page.on("console", lambda message: "Content Security Policy" in message.text and broken.append(message.text))

    def strict(route: Any) -> None:
        answer = route.fetch()
        # Airflow's own page writes style elements; ours does not need to.
        policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'"
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})

    page.route("**/plugin/apimart-video*", strict)
    tab(window).wait_for_selector(".apimart-screen")
    window.open(GALLERY, ".apimart-card")
    ours = [text for text in broken if "apimart" in text]
    assert ours == []


def test_every_text_exists_in_every_language_with_the_same_places(stubbed: Stubbed) -> None:
    window, _ = stubbed()
    page = tab(window)
    texts: dict[str, dict[str, Any]] = page.evaluate(
        "async () => (await import(new URL('apimart/static/texts.js', document.baseURI))).TEXTS"
    )
    places = {
        code: {
            name: [sorted(re.findall(r"\{\w+\}", form)) for form in ([text] if isinstance(text, str) else text)]
            for name, text in all_.items()
        }
        for code, all_ in texts.items()
    }
    assert places["ko"].keys() == places["en"].keys()
    assert {name for name in places["en"] if places["en"][name] != places["ko"][name]} == set()
    used = {name for file in STATIC.glob("*.js") for name in re.findall(r'\bt\(\s*"([^"]+)"', file.read_text("utf-8"))}
    assert used - places["en"].keys() == set()
