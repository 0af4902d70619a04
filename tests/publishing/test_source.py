"""The file is the one that was landed, or it is refused: changed, cut, grown, gone; on a disk and in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_apimart.client.errors import ApimartError, LandingError
from airflow_provider_apimart.publishing import source as module
from airflow_provider_apimart.publishing.errors import VideoChangedError
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.storage.files import Target

DATA = bytes(range(256)) * 10
VIDEO = VideoFile("the video", len(DATA), hashlib.sha256(DATA).hexdigest())


@pytest.fixture(params=["file", "memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> VideoSource:
    path = f"{tmp_path}/clip.mp4"
    filesystem = fsspec.filesystem(request.param)
    found = VideoSource(Target(filesystem, path, f"{request.param}://{path}"), VIDEO)
    filesystem.makedirs(str(tmp_path), exist_ok=True)
    put(found, DATA)
    return found


def put(source: VideoSource, data: bytes) -> None:
    source.place.fs.pipe_file(source.place.path, data)


def test_the_landed_file_passes(source: VideoSource) -> None:
    source.check_size()
    source.check_whole()
    assert b"".join(source.stream(0, len(DATA))) == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""], ids=["cut", "grown", "empty"])
def test_another_size_is_found_without_reading(source: VideoSource, data: bytes) -> None:
    put(source, data)
    with pytest.raises(VideoChangedError, match=f"has {len(data)} bytes, but {len(DATA)} were landed"):
        source.check_size()


def test_another_content_of_the_same_size_is_found_by_reading(source: VideoSource) -> None:
    put(source, DATA[:-1] + b"?")
    source.check_size()
    with pytest.raises(VideoChangedError, match="checksum"):
        source.check_whole()


def test_a_file_that_is_gone(source: VideoSource) -> None:
    source.place.fs.rm(source.place.path)
    error: type[ApimartError] = VideoChangedError
    told = r"does not exist\. Nothing was posted"
    if isinstance(source.place.fs, LocalFileSystem):
        # Another worker may have it, so this is no verdict.
        error, told = LandingError, "is not on this machine"
    for check in (source.check_size, source.check_whole):
        with pytest.raises(error, match=told):
            check()


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (255, 3), (len(DATA) - 1, 1), (len(DATA), 0)])
def test_any_part_is_read_exactly(
    source: VideoSource, offset: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 2)
    seen: list[bytes] = []
    chunks = list(source.stream(offset, length, seen.append))
    assert b"".join(chunks) == DATA[offset : offset + length]
    assert seen == chunks and all(0 < len(chunk) <= 2 for chunk in chunks)


def test_a_file_that_ends_early_says_where(source: VideoSource) -> None:
    with pytest.raises(VideoChangedError, match=f"ended after {len(DATA)} bytes"):
        list(source.stream(len(DATA) - 5, 50))


def test_what_others_see_of_it_is_said(source: VideoSource) -> None:
    put(source, b"other")
    with pytest.raises(VideoChangedError, match="Nothing of it was made public"):
        source.check_whole()
