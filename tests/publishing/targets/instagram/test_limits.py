"""Everything that Instagram would refuse is told at once, with field, value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.targets.instagram.limits import file_problems, problems_of
from tests.publishing.targets.instagram.meta import CONTENT

VIDEO: dict[str, Any] = {"uri": "s3://b/clip.mp4", "bytes": 1000, "sha256": "0" * 64}


def fields(**content: Any) -> list[str]:
    return [problem.field for problem in problems_of({**CONTENT, **content})]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"caption": None},
        {"caption": ""},
        {"caption": "x" * 2200},
        {"caption": " ".join(f"#tag{n}" for n in range(30))},
        {"caption": " ".join(f"@user{n}" for n in range(20))},
        {"caption": "a&#39;b me@example.com C#"},
        {"caption": "Grüße 你好 #你好"},
        {"thumb_offset_ms": 0},
        {"cover_url": "https://cdn.example.com/cover.jpg"},
        {"collaborators": ["lake.house", "a_1", "x"]},
        {"collaborators": []},
        {"audio_name": "Waves"},
        {"is_ai_generated": False},
    ],
)
def test_allowed(content: dict[str, Any]) -> None:
    assert fields(**content) == []


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"caption": "x" * 2201}, "caption"),
        ({"caption": " ".join(f"#tag{n}" for n in range(31))}, "caption"),
        ({"caption": " ".join(f"@user{n}" for n in range(21))}, "caption"),
        ({"caption": 7}, "caption"),
        ({"caption": "\ud800"}, "caption"),
        ({"caption": "a\0b"}, "caption"),
        ({"share_to_feed": "yes"}, "share_to_feed"),
        ({"is_ai_generated": None}, "is_ai_generated"),
        ({"thumb_offset_ms": -1}, "thumb_offset_ms"),
        ({"thumb_offset_ms": 1.5}, "thumb_offset_ms"),
        ({"thumb_offset_ms": True}, "thumb_offset_ms"),
        ({"cover_url": "http://cdn.example.com/cover.jpg"}, "cover_url"),
        ({"cover_url": "https://u:p@cdn.example.com/cover.jpg"}, "cover_url"),
        ({"cover_url": "https://cdn.example.com/cover.jpg?sig=5ecre7"}, "cover_url"),
        ({"cover_url": "https://["}, "cover_url"),
        ({"cover_url": 7}, "cover_url"),
        ({"cover_url": "https://cdn.example.com/c.jpg", "thumb_offset_ms": 1}, "thumb_offset_ms"),
        ({"collaborators": "lake"}, "collaborators"),
        ({"collaborators": ["@lake"]}, "collaborators"),
        ({"collaborators": ["a", "b", "c", "d"]}, "collaborators"),
        ({"collaborators": ["a", "A"]}, "collaborators"),
        ({"audio_name": "  "}, "audio_name"),
        ({"title": "x"}, "title"),
    ],
)
def test_refused(content: dict[str, Any], field: str) -> None:
    assert fields(**content) == [field]


def test_a_signed_link_is_not_shown() -> None:
    (problem,) = problems_of({**CONTENT, "cover_url": "https://u:5ecre7@cdn.example.com/c.jpg?sig=5ecre7"})
    assert "5ecre7" not in str(problem)


def test_what_is_not_known_yet_is_left_out() -> None:
    assert problems_of({**CONTENT, "caption": "{{ x }}" * 2000}, unknown={"caption"}) == []


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({}, None),
        ({"duration_seconds": 3.0, "width": 1920, "height": 1080}, None),
        ({"duration_seconds": 900.0}, None),
        ({"uri": "/data/clip.MOV"}, None),
        ({"duration_seconds": 2.9}, "2.9 s"),
        ({"duration_seconds": 900.5}, "900.5 s"),
        ({"width": 2160, "height": 3840}, "2160 px"),
        ({"width": 1900, "height": 100}, "1900x100"),
        ({"bytes": 300_000_001}, "300000001 bytes"),
        ({"bytes": 0}, "0 bytes"),
        ({"uri": "s3://b/clip.webm"}, "clip.webm"),
    ],
)
def test_the_file(facts: dict[str, Any], shown: str | None) -> None:
    problems = file_problems(VideoFile(**{**VIDEO, **facts}), CONTENT)
    assert [problem.field for problem in problems] == (["video"] if shown else [])
    assert shown is None or shown in str(problems[0])


def test_the_cover_lies_within_the_video() -> None:
    video = VideoFile(**VIDEO, duration_seconds=8.0)
    assert file_problems(video, {"thumb_offset_ms": 7999}) == []
    (problem,) = file_problems(video, {"thumb_offset_ms": 8000})
    assert problem.field == "thumb_offset_ms"
