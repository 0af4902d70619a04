"""The pages have a word, in each language, for whatever the provider can say."""

from __future__ import annotations

from importlib.resources import files

import pytest

from airflow_provider_apimart.media.check import Verdict as CheckVerdict
from airflow_provider_apimart.publishing.decision import Verdict as Decision
from airflow_provider_apimart.ui.sources.entries import OUTCOMES

TEXTS = files("airflow_provider_apimart.ui.static").joinpath("texts.js").read_text("utf-8")
LANGUAGES = 2
WORDS = (
    *(f"verdict.{each}" for each in CheckVerdict),
    *(f"mark.{each}" for each in CheckVerdict),
    *(f"decision.{each}" for each in Decision),
    *(f"outcome.{each}" for each in sorted(set(OUTCOMES.values()))),
)


@pytest.mark.parametrize("word", WORDS)
def test_each_language_has_the_word(word: str) -> None:
    assert TEXTS.count(f'"{word}": ') == LANGUAGES
