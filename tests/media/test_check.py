"""The rules, one by one: what each measures, what it allows, and what its verdict is."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.media.check import (
    DEFAULT_VERDICTS,
    Asked,
    Limits,
    Rules,
    Verdict,
    judge,
    limits_of,
    undecodable,
)
from airflow_provider_apimart.media.facts import Span, VideoFacts

GOOD = VideoFacts(
    duration_seconds=8.0,
    declared_seconds=8.0,
    frames=192,
    frame_rate=24.0,
    width=1280,
    height=720,
    video_codec="h264",
    pixel_format="yuv420p",
    audio_codec="aac",
    audio_seconds=7.98,
    sample_rate=48_000,
    channels=2,
    faststart=True,
    loudness_lufs=-18.0,
    peak_dbfs=-1.0,
    clipped_share=0.0,
)
ASKED = Asked(duration_seconds=8, resolution="720p", aspect_ratio="16:9", audio=True)


def _verdicts(asked: Asked = ASKED, rules: Rules | None = None, **facts: Any) -> dict[str, str]:
    report = judge(GOOD.model_copy(update=facts), asked, rules or Rules())
    return {finding.rule: str(finding.verdict) for finding in report.broken()}


def test_a_good_video_breaks_no_rule_and_every_rule_looked() -> None:
    report = judge(GOOD, ASKED, Rules())
    assert report.verdict is Verdict.OK
    assert [finding.rule for finding in report.findings] == list(DEFAULT_VERDICTS)
    assert report.broken() == ()


@pytest.mark.parametrize(
    ("facts", "broken"),
    [
        ({"decode_errors": 1}, {"decode": "fail"}),
        ({"duration_seconds": 7.4, "declared_seconds": 7.4}, {"duration": "fail"}),
        ({"duration_seconds": 7.5, "declared_seconds": 8.01}, {"complete": "fail"}),
        ({"duration_seconds": 8.5}, {}),
        ({"duration_seconds": 8.51, "declared_seconds": None}, {"duration": "fail"}),
        ({"width": 1920, "height": 1080}, {"resolution": "fail"}),
        ({"width": 720, "height": 1280}, {"aspect_ratio": "fail"}),
        ({"width": 1280, "height": 718}, {}),
        ({"width": 1200, "height": 680}, {"resolution": "fail"}),
        ({"audio_codec": None, "audio_seconds": None}, {"audio_track": "fail"}),
        ({"audio_seconds": 0.0}, {"audio_track": "fail"}),
        ({"black": (Span(start=0, end=2),)}, {}),
        ({"black": (Span(start=0, end=2.1),)}, {"black": "fail"}),
        ({"frozen": (Span(start=0, end=1), Span(start=2, end=5.5))}, {"frozen": "fail"}),
        ({"silent": (Span(start=0, end=7.9),)}, {"silent": "fail"}),
        ({"clipped_share": 0.002}, {"clipped": "warn"}),
        ({"loudness_lufs": -40.0}, {"loudness": "warn"}),
        ({"loudness_lufs": -3.0}, {"loudness": "warn"}),
        ({"loudness_lufs": None}, {}),
        ({"frame_rate": 15.0}, {"frame_rate": "warn"}),
        ({"frame_rate": 60.0}, {}),
        ({"video_codec": "hevc"}, {"codec": "warn"}),
        ({"pixel_format": "yuv422p"}, {"codec": "warn"}),
        ({"audio_codec": "opus"}, {"codec": "warn"}),
        ({"faststart": False}, {"faststart": "warn"}),
        ({"faststart": None}, {}),
    ],
)
def test_what_breaks_which_rule(facts: dict[str, Any], broken: dict[str, str]) -> None:
    assert _verdicts(**facts) == broken


def test_what_was_not_asked_for_is_not_compared() -> None:
    facts = {"duration_seconds": 3.0, "width": 100, "height": 100, "audio_codec": None, "audio_seconds": None}
    assert _verdicts(Asked(), **facts, declared_seconds=None) == {}


@pytest.mark.parametrize("aspect", ["wide", "16:0", ":9", "16:", "-1:2"])
def test_an_aspect_ratio_that_is_none_is_not_compared(aspect: str) -> None:
    assert _verdicts(Asked(aspect_ratio=aspect), width=10, height=1000) == {}


def test_no_sound_was_asked_for_and_some_is_there() -> None:
    assert _verdicts(Asked(audio=False)) == {}


def test_4k_is_its_shorter_side() -> None:
    assert _verdicts(Asked(resolution="4K"), width=3840, height=2160) == {}
    assert _verdicts(Asked(resolution="4k"), width=2160, height=3840) == {}


def test_the_users_verdicts_and_limits() -> None:
    rules = Rules({"black": "skip", "codec": "off", "faststart": "fail"}, Limits(black_share=0.0))
    facts = {"black": (Span(start=0, end=0.3),), "video_codec": "hevc", "faststart": False}
    assert _verdicts(rules=rules, **facts) == {"black": "skip", "faststart": "fail"}


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        ({"black": "warn", "frozen": "skip"}, "skip"),
        ({"black": "fail", "frozen": "skip"}, "fail"),
        ({"black": "warn", "frozen": "warn"}, "warn"),
        ({"black": "off", "frozen": "off"}, "ok"),
    ],
)
def test_the_gravest_verdict_counts(verdicts: dict[str, str], worst: str) -> None:
    whole = (Span(start=0, end=8),)
    report = judge(GOOD.model_copy(update={"black": whole, "frozen": whole}), ASKED, Rules(verdicts))
    assert report.verdict == worst


def test_a_finding_says_what_was_measured_and_what_is_allowed() -> None:
    report = judge(GOOD.model_copy(update={"duration_seconds": 5.0, "declared_seconds": 5.0}), ASKED, Rules())
    (finding,) = report.broken()
    assert str(finding) == "duration: 5.0 (wanted: 8 s, as asked, give or take 0.5 s)"
    assert finding.as_json() == {
        "rule": "duration",
        "verdict": "fail",
        "measured": 5.0,
        "wanted": "8 s, as asked, give or take 0.5 s",
        "text": "duration: 5.0 (wanted: 8 s, as asked, give or take 0.5 s)",
    }


@pytest.mark.parametrize(("verdict", "worst"), [({}, "fail"), ({"decode": "skip"}, "skip"), ({"decode": "off"}, "ok")])
def test_what_cannot_be_decoded_breaks_the_rule_on_decoding(verdict: dict[str, str], worst: str) -> None:
    report = undecodable("it holds no picture", Rules(verdict))
    assert (report.verdict, report.as_json()["facts"]) == (worst, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"blackness": 0.1}, "blackness: no such limit; allowed: duration_tolerance_seconds, black_share"),
        ({"black_share": "much"}, "black_share='much': allowed: a number"),
        ({"black_share": True}, "allowed: a number"),
        ({"black_share": float("nan")}, "allowed: a number"),
        ({"black_share": -0.1}, "0 or more"),
        ({"black_share": [0.1, 0.2]}, "allowed: a number"),
        ({"frame_rate": 24}, "two numbers"),
        ({"frame_rate": [60, 23]}, "lowest before highest"),
    ],
)
def test_limits_that_are_none(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        limits_of(given)


def test_limits() -> None:
    assert limits_of({"black_share": 1, "loudness_lufs": [-30, -10]}) == Limits(
        black_share=1.0, loudness_lufs=(-30.0, -10.0)
    )
