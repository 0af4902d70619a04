"""Files that a record names: nothing holds a thread, and nothing leads elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.ui.sources import sidecars, storage
from airflow_provider_apimart.ui.sources.storage import NotShown, open_video
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import Rows
from tests.ui.conftest import Client

RUN = "run"
ALL = Place("mine", RUN, "all")
ROWS = f"/apimart/api/rows/mine/{RUN}/all/-1"
LINE = b'{"row": "1", "outcome": "landed", "generation_id": "g1", "request": {"prompt": "p"}}\n'
HEAD = b"\x00\x00\x00\x18ftypmp42"


@contextmanager
def pipe(path: Path, content: bytes) -> Iterator[None]:
    """Put a pipe there, with something in it: who reads it is not held, and this test fails rather than hangs."""
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(held, content)
        yield
    finally:
        os.close(held)


def batch(rows: Rows, manifest: Path) -> None:
    rows.task(ALL, operator="VeoGenerateBatchOperator", return_value={"manifest": str(manifest), "rows": 1})


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "clip.mp4"
    path.write_bytes(HEAD + bytes(100))
    return path


def test_a_pipe_is_no_manifest(client: Client, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "manifest-1.jsonl"
    batch(rows, path)
    with pipe(path, LINE):
        # (The end of a pipe that is held open never comes, but a first line would.)
        answer = client("admin").get("/apimart/video/mine/run/all/-1/1", params={"row": "1"})
        assert answer.status_code == 404
        assert "not a file" in client("admin").get(ROWS).json()["detail"]


def test_a_line_without_an_end_is_not_held(client: Client, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "manifest-1.jsonl"
    with path.open("wb") as file:
        file.truncate(64 * 1024**2)
    batch(rows, path)
    answer = client("admin").get(ROWS)
    assert answer.status_code == 404 and "line" in answer.json()["detail"]


def test_a_pipe_is_no_video_and_no_sidecar(video: Path) -> None:
    assert open_video(str(video)).size == 112
    video.unlink()
    with pipe(video, HEAD + bytes(100)), pytest.raises(NotShown):
        open_video(str(video))
    with pipe(video.with_name("clip.mp4.posts.json"), b'{"posts": [{"target": "x"}]}'):
        assert sidecars.posts_of(str(video)) == []


def test_what_was_looked_at_is_what_is_sent(video: Path, tmp_path: Path) -> None:
    """Between a look and the next piece, or the next request, somebody puts another file there."""
    secret = tmp_path / "airflow.cfg"
    secret.write_bytes(b"fernet_key = hunter2".ljust(112))
    opened = open_video(str(video))
    assert opened.read(0, 12) == HEAD
    video.unlink()
    video.symlink_to(secret)
    with pytest.raises(NotShown):
        opened.read(0, 112)
    with pytest.raises(NotShown):
        open_video(str(video)).read(0, 112)
    video.unlink()
    with pipe(video, bytes(112)), pytest.raises(NotShown):
        opened.read(0, 112)


@pytest.mark.parametrize("root", ["{}", "file://{}", "{}/"])
def test_a_link_does_not_lead_out_of_the_roots(video: Path, tmp_path: Path, rows: Rows, root: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("clip.mp4", "clip.mp4.posts.json"):
        (outside / name).write_bytes(HEAD + bytes(100) if name.endswith("4") else b'{"posts": [{"target": "x"}]}')
    folder = video.parent
    prefix = "file://" if root.startswith("file") else ""
    roots = (root.format(folder),)
    (folder / "link.mp4").symlink_to(outside / "clip.mp4")
    (folder / "inner.mp4").symlink_to(video)
    (folder / "folder").symlink_to(outside)
    (folder / "clip.mp4.posts.json").symlink_to(outside / "clip.mp4.posts.json")
    assert open_video(f"{prefix}{video}", roots).size == 112
    assert open_video(f"{prefix}{folder}/inner.mp4", roots).size == 112
    for name in ("link.mp4", "folder/clip.mp4"):
        with pytest.raises(NotShown, match="outside"):
            open_video(f"{prefix}{folder}/{name}", roots)
    assert sidecars.posts_of(f"{prefix}{video}", roots) == []
    assert open_video(f"{prefix}{folder}/link.mp4").size == 112


def test_a_root_may_be_a_link(video: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(video.parent)
    assert open_video(f"{tmp_path}/mount/clip.mp4", (f"{tmp_path}/mount",)).size == 112


@pytest.mark.parametrize("path", ["smb://host/share\\..\\secret/clip.mp4", "/mnt/videos/\\../clip.mp4"])
def test_no_path_goes_up(path: str) -> None:
    with pytest.raises(NotShown):
        storage.check_path(path, ())


def test_one_users_copy_is_not_shown_to_the_next(client: Client, rows: Rows, video: Path) -> None:
    """The same browser, another login: the address is the same, the cookie is not."""
    told: dict[str, Any] = {"kind": "generation", "outcome": "completed", "videos": [{"path": str(video)}]}
    rows.task(Place("mine", RUN, "make"), apimart_note_2026112613=told)
    answer = client("admin").get("/apimart/video/mine/run/make/-1/1")
    assert answer.status_code == 200
    assert {"cookie", "authorization"} <= {name.strip().lower() for name in answer.headers["vary"].split(",")}
