"""What YouTube would refuse is refused before any request, with the field, the value and what is allowed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.targets.youtube.limits import (
    MAX_VIDEO_BYTES,
    file_problems,
    problems_of,
    tags_length,
    time_of,
)
from tests.publishing.targets.youtube.driving import NOW, content

SOON = "2026-12-24T18:00:00Z"


def wrong(**changes: Any) -> list[str]:
    return [str(problem) for problem in problems_of(content(**changes), NOW)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"title": "x" * 100},
        {"title": "😀" * 100},
        {"description": "ä" * 2500},
        {"description": None},
        {"tags": None},
        {"tags": ["x" * 479]},
        {"tags": ["a b" * 10]},
        {"category_id": "1"},
        {"default_language": "pt-BR"},
        {"privacy_status": "unlisted"},
        {"privacy_status": "private"},
        {"publish_at": "2026-12-24T18:00:00+01:00"},
        {"publish_at": "2026-11-26T12:00:01Z"},
        {"publish_at": datetime(2026, 12, 24, tzinfo=timezone(timedelta(hours=9)))},
        {"thumbnail": "s3://bucket/a.PNG"},
        {"playlist_id": "PLx_-9"},
    ],
)
def test_what_youtube_takes_is_taken(changes: dict[str, Any]) -> None:
    assert wrong(**changes) == []


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"title": None}, "title", "required"),
        ({"title": "  "}, "title", "required"),
        ({"title": 5}, "title", "required"),
        ({"title": "x" * 101}, "title", "has 101 characters; allowed: up to 100"),
        ({"title": "I <3 lakes"}, "title", "without < and >"),
        ({"title": "a > b"}, "title", "without < and >"),
        ({"title": "\ud800"}, "title", "valid Unicode"),
        ({"title": "a\0b"}, "title", "valid Unicode"),
        ({"description": "ä" * 2501}, "description", "has 5002 bytes in UTF-8; allowed: up to 5000 bytes"),
        ({"description": "<b>"}, "description", "without < and >"),
        ({"description": 1}, "description", "allowed: text"),
        ({"tags": "see"}, "tags", "a list of texts"),
        ({"tags": ["see", ""]}, "tags", "a list of texts"),
        ({"tags": ["see", "<b"]}, "tags", "without < and >"),
        ({"tags": ["x" * 480]}, "tags", "take 480 characters"),
        ({"tags": ["x" * 239, "y" * 240]}, "tags", "take 480 characters"),
        ({"tags": ["x y" + "z" * 475]}, "tags", "take 480 characters"),
        ({"category_id": 22}, "category_id", '"22"'),
        ({"category_id": "Music"}, "category_id", '"22"'),
        ({"category_id": None}, "category_id", '"22"'),
        ({"default_language": "German"}, "default_language", "a language code"),
        ({"privacy_status": None}, "privacy_status", "required, there is no default"),
        ({"privacy_status": "Public"}, "privacy_status", "'public', 'unlisted' or 'private'"),
        ({"publish_at": "2026-12-24T18:00:00"}, "publish_at", "with an offset"),
        ({"publish_at": datetime(2026, 12, 24)}, "publish_at", "with an offset"),
        ({"publish_at": "tomorrow"}, "publish_at", "with an offset"),
        ({"publish_at": "2026-11-26T12:00:00Z"}, "publish_at", "is in the past"),
        ({"publish_at": SOON, "privacy_status": "unlisted"}, "publish_at", "only with privacy_status='public'"),
        ({"publish_at": SOON, "privacy_status": "private"}, "publish_at", "only with privacy_status='public'"),
        ({"made_for_kids": None}, "made_for_kids", "True or False"),
        ({"contains_synthetic_media": "yes"}, "contains_synthetic_media", "True or False"),
        ({"notify_subscribers": 1}, "notify_subscribers", "True or False"),
        ({"thumbnail": "/tmp/a.gif"}, "thumbnail", "JPEG or PNG"),
        ({"thumbnail": "a.png"}, "thumbnail", "absolute path"),
        ({"playlist_id": "https://www.youtube.com/playlist?list=PL1"}, "playlist_id", "not the URL"),
        ({"titel": "x"}, "titel", "no such field"),
    ],
)  # fmt: skip
def test_each_rule_names_field_and_allowed(changes: dict[str, Any], field: str, allowed: str) -> None:
    (problem,) = wrong(**changes)
    assert problem.startswith(f"{field}=")
    assert allowed in problem


def test_all_problems_are_told_at_once() -> None:
    fields = {text.partition("=")[0] for text in wrong(title="<", tags=[1], privacy_status="", publish_at="1999")}
    assert fields == {"title", "tags", "privacy_status", "publish_at"}


def test_fields_that_are_not_known_yet_are_left_out() -> None:
    late = content(title="{{ x }}" * 99, privacy_status="{{ x }}", publish_at="2027-01-01T00:00:00Z")
    assert problems_of(late, NOW, frozenset({"title", "privacy_status"})) == []


def test_tags_are_counted_as_youtube_counts_them() -> None:
    # The example of the API's own page: Foo-Baz has 7 characters, Foo Baz has 9.
    assert tags_length(["Foo-Baz"]) == 7
    assert tags_length(["Foo Baz"]) == 9
    assert tags_length(["Foo-Baz", "Foo Baz"]) == 17
    assert tags_length([]) == 0


def test_time_is_one_instant_across_a_dst_change() -> None:
    assert time_of("2026-10-25T02:30:00+02:00") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert time_of("2026-10-25T02:30:00+01:00") == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert time_of("0001-01-01T00:00:00+10:00") is None


@pytest.mark.parametrize(
    ("size", "fine"), [(0, False), (1, True), (MAX_VIDEO_BYTES, True), (MAX_VIDEO_BYTES + 1, False)]
)
def test_size_of_the_file(size: int, fine: bool) -> None:
    assert (file_problems(VideoFile("a.mp4", size, "")) == []) is fine
