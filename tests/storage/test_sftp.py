"""Landing on an SFTP server through sshfs: whole under its name, nothing left over, nobody's video replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.storage import files
from airflow_provider_apimart.storage.conditional.stores import conditional_writes
from airflow_provider_apimart.storage.files import commit_bytes, read_small, staging, stored_sha256, stored_size
from airflow_provider_apimart.storage.moves import move
from tests.generation.landing.landings import OTHER, VIDEO, Killed, delivered, made
from tests.storage.fake_sftp import Folder, serving

pytest.importorskip("sshfs", reason="pip install sshfs")


@pytest.fixture(params=[True, False], ids=["posix-rename", "plain rename"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    with serving(tmp_path, posix_rename=request.param) as opened:
        yield opened


def test_a_video_lands_once_and_an_earlier_one_is_replaced(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    target = folder.target("clip.mp4")
    assert conditional_writes(folder.fs) is None
    first = delivered(VIDEO, target, made("g1"))
    assert first.path == target.uri and folder.names == ["clip.mp4", "clip.mp4.json"]
    assert folder.data("clip.mp4") == VIDEO and stored_sha256(target) == first.sha256
    assert delivered(OTHER, target, made("g1")) == first, "it was landed twice"
    with caplog.at_level(logging.WARNING):
        second = delivered(OTHER, target, made("g2", run_id="r2"))
    assert second.path == target.uri and folder.data("clip.mp4") == OTHER and len(folder.names) == 2
    assert "held the video of generation g1 (run r1)" in caplog.text


def test_the_video_of_another_task_is_kept(folder: Folder) -> None:
    delivered(VIDEO, folder.target("clip.mp4"), made("g1"))
    second = delivered(OTHER, folder.target("clip.mp4"), made("g2", map_index=3))
    assert second.path == "sftp://videos/clip-g2.mp4"
    assert (folder.data("clip.mp4"), folder.data("clip-g2.mp4")) == (VIDEO, OTHER)


@pytest.mark.parametrize("death", ["while it is sent", "before the move"])
def test_a_killed_try_leaves_only_a_hidden_file_that_the_next_one_removes(
    folder: Folder, death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder.target("clip.mp4")
    commit_bytes(target, b"old")

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", die)
        patch.setattr(files, "remove", lambda *_: None)  # A dead process tidies nothing up.
        if death == "while it is sent":
            patch.setattr(type(folder.fs.open("/videos/x", "wb")), "close", die)
        with pytest.raises(Killed):
            delivered(VIDEO, target, made("g"))
    (folder.path / "videos" / "x").unlink(missing_ok=True)
    assert folder.names == [".clip.mp4.g-1.part", "clip.mp4"] and folder.data("clip.mp4") == b"old"
    delivered(VIDEO, target, made("g"))
    assert folder.names == ["clip.mp4", "clip.mp4.json"] and folder.data("clip.mp4") == VIDEO


def test_requests_of_a_video(folder: Folder) -> None:
    """Not three: SFTP opens, writes, closes, asks and moves with a request each. There were 24 in November 2026."""
    delivered(VIDEO, folder.target("first.mp4"), made("g0"))
    folder.asked.clear()
    delivered(VIDEO, folder.target("g.mp4"), made("g"), own_name=True)
    assert 5 < len(folder.asked) <= 28


def test_a_file_that_cannot_be_moved_is_an_error_and_stays(folder: Folder) -> None:
    commit_bytes(folder.target("clip.mp4"), b"x")
    for source, destination in (("/videos/none", "/videos/clip.mp4"), ("/videos/clip.mp4", "/nowhere/clip.mp4")):
        with pytest.raises(Exception, match=r"(?i)no such file|exists"):
            move(folder.fs, source, destination)
    assert folder.data("clip.mp4") == b"x"


def test_a_server_that_forbids_writing_is_an_error_of_the_storage(folder: Folder) -> None:
    (folder.path / "videos").write_text("no folder")
    with pytest.raises(LandingError, match=r"sftp://videos/clip\.mp4 could not be written"):
        commit_bytes(folder.target("clip.mp4"), b"x")


def test_small_files_are_read_back(folder: Folder) -> None:
    commit_bytes(folder.target("five"), b"12345")
    assert read_small(folder.target("five"), 5) == b"12345" and read_small(folder.target("five"), 4) is None
    assert read_small(folder.target("absent"), 5) is None and stored_size(folder.target("absent")) is None
    with staging(folder.target("dropped")):
        pass
    assert folder.names == ["five"]
