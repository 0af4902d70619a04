"""What a failure says of itself: every known message with its verdict, and what may not decide."""

from __future__ import annotations

import re
import time

import pytest

from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.client.verdicts import SUPPORT_CODES, Verdict, category, verdict
from tests.client.failure_messages import AUDIO, PASSING, REFUSED, UNKNOWN


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_of_the_input(message: str) -> None:
    assert verdict(None, None, message) is Verdict.REFUSED
    assert verdict("400", "task_failed", message) is Verdict.REFUSED, "a number and a general type say nothing"


@pytest.mark.parametrize("message", PASSING)
def test_what_passes_or_is_about_what_was_made(message: str) -> None:
    assert verdict(None, None, message) is Verdict.PASSING
    assert verdict("task_failed", "task_failed", message) is Verdict.PASSING


@pytest.mark.parametrize("message", UNKNOWN)
def test_what_says_nothing_of_the_input(message: str | None) -> None:
    assert verdict(None, None, message) is Verdict.UNKNOWN
    assert verdict("500", "server_error", message) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("code", "kind", "message", "said"),
    [
        ("content_policy", None, "no", Verdict.REFUSED),
        (None, "content_policy_violation", None, Verdict.REFUSED),
        ("Content-Rejected", "task_failed", "no", Verdict.REFUSED),
        ("sensitive_words_detected", "new_api_error", "x", Verdict.REFUSED),
        ("PUBLIC_ERROR_UNSAFE_GENERATION", None, None, Verdict.REFUSED),
        ("PUBLIC_ERROR_AUDIO_FILTERED", None, "blocked by safety review", Verdict.PASSING),
        ("output_moderation", None, "The prompt violates our content policy", Verdict.PASSING),
        ("rate_limit_exceeded", None, "This violates our usage policies", Verdict.PASSING),
        ("task_failed", "task_failed", "boom", Verdict.UNKNOWN),
        ("content_policy_unknown_word", None, "boom", Verdict.UNKNOWN),
    ],
)
def test_code_and_type_count_more_than_the_message(
    code: str | None, kind: str | None, message: str | None, said: Verdict
) -> None:
    assert verdict(code, kind, message) is said


@pytest.mark.parametrize(
    "message", [text for text in REFUSED if text.isascii() and '"' not in text and "'" not in text]
)
@pytest.mark.parametrize("quotes", ['""', "''", "“”", "「」", "``"])
def test_quoted_text_never_decides(message: str, quotes: str) -> None:
    assert verdict(None, None, f"Task failed, prompt: {quotes[0]}{message}{quotes[1]}") is Verdict.UNKNOWN


@pytest.mark.parametrize("code", SUPPORT_CODES)
def test_every_support_code_is_a_refusal_and_can_be_named(code: str) -> None:
    assert verdict(None, None, f"No video. Support codes: {code}") is Verdict.REFUSED
    assert category(f"Support codes: 00000000, {code}")


def test_a_support_code_that_google_has_not_listed_is_one_too() -> None:
    assert verdict(None, None, "No video. Support codes: 12345678") is Verdict.REFUSED
    assert category("Support codes: 12345678") is None


@pytest.mark.parametrize(
    "text", ["violates " * 1200, '"' * 10_000, '{"message": "' * 800, "'a " * 3000, "prompt " * 1500]
)
def test_long_text_takes_no_time(text: str) -> None:
    started = time.perf_counter()
    verdict(None, None, text)
    assert time.perf_counter() - started < 1


def test_the_view_of_a_generation_says_whether_its_input_was_refused() -> None:
    def read(message: str) -> bool:
        return Generation.read({"status": "failed", "error": {"message": message}}, "t").rejected

    assert read("Sorry, we can't create videos with real people's names or likenesses")
    assert not read(AUDIO)


def test_the_table_is_made_of_many_messages() -> None:
    messages = [text for text in (*REFUSED, *PASSING, *UNKNOWN) if text]
    assert len(messages) == len(set(messages)) >= 90
    assert sum(bool(re.search(r"[^\x00-\u024f\u2018-\u201d]", text)) for text in messages) >= 12
