"""The sidecar that says where a video was posted."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.hooks import posts
from airflow_provider_apimart.hooks.rows.verbatim import Verbatim
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.storage import rewriting
from tests.hooks.test_post_stores import record

RESULT: dict[str, Any] = {
    **dict.fromkeys(posts.NAMES),
    "target": "youtube",
    "post_id": "abc",
    "url": "https://youtu.be/abc",
    "state": "public",
}


def test_a_post_is_noted_once_and_its_line_follows_it(tmp_path: Path) -> None:
    video = file_of(f"{tmp_path}/clip.mp4", "video")
    assert posts.posts_of(video.uri) == []
    posts.remember(video, RESULT, record(asked_by={"dag_id": "a_dag"}))
    posts.remember(video, RESULT, record(asked_by={"dag_id": "a_dag"}))
    posts.remember(video, RESULT, record(marker="apm-another"))
    posts.remember(video, {**RESULT, "state": "private"}, record(asked_by={"dag_id": "a_dag"}))
    another, first = posts.posts_of(video.uri)
    assert (another["post"], another["state"]) == ("apm-another", "public")
    assert (first["state"], first["url"], first["airflow"]) == ("private", RESULT["url"], {"dag_id": "a_dag"})
    assert isinstance(first["url"], Verbatim)


def test_tasks_that_write_at_the_same_time_lose_no_line(tmp_path: Path) -> None:
    video = file_of(f"{tmp_path}/clip.mp4", "video")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: posts.remember(video, RESULT, record(marker=f"apm-{number}")), range(24)))
    assert {post["post"] for post in posts.posts_of(video.uri)} == {f"apm-{number}" for number in range(24)}


def test_a_line_that_another_task_has_overwritten_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = file_of(f"{tmp_path}/clip.mp4", "video")
    write, rivals = rewriting.commit_bytes, ["apm-rival"]

    def overtaken(target: Any, data: bytes) -> None:
        write(target, data)
        if rivals:
            write(target, json.dumps({"schema": 1, "posts": [{"post": rivals.pop()}]}).encode())

    monkeypatch.setattr(rewriting, "commit_bytes", overtaken)
    posts.remember(video, RESULT, record(marker="apm-mine"))
    assert [post["post"] for post in posts.posts_of(video.uri)] == ["apm-rival", "apm-mine"]


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 2, "posts": []}', '{"schema": 1, "posts": [1]}'])
def test_another_file_of_that_name_is_left_alone(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    video, other = file_of(f"{tmp_path}/clip.mp4", "video"), tmp_path / "clip.mp4.posts.json"
    other.write_text(content)
    posts.remember(video, RESULT, record())
    assert other.read_text() == content and "not noted beside the video" in caplog.text
    with pytest.raises(LandingError, match="left as it is"):
        posts.posts_of(video.uri)


def test_a_storage_error_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    posts.remember(file_of("/dev/null/clip.mp4", "video"), RESULT, record())
    assert "not noted beside the video" in caplog.text
