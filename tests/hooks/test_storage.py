"""Which place an ``output_path`` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.hooks.storage import target_of


@pytest.mark.parametrize(
    ("output", "uri", "folder"),
    [
        ("/data/videos/", "/data/videos/", True),
        ("/data/videos", "/data/videos", False),
        (Path("/data/videos/"), "/data/videos/", True),
        (Path("/data/clip.MP4"), "/data/clip.MP4", False),
        (Path("/data/clip.mov"), "/data/clip.mov", False),
        (Path("/data/2026.01.15"), "/data/2026.01.15/", True),
        (Path("/data/v3.1"), "/data/v3.1/", True),
        (ObjectStoragePath("file:///data/videos/"), "file:///data/videos/", True),
        (ObjectStoragePath("file:///data/clip.mp4"), "file:///data/clip.mp4", False),
    ],
    ids=repr,
)
def test_path_object_is_a_folder_unless_it_names_a_video(output: Any, uri: str, folder: bool) -> None:
    target = target_of(output)
    assert (target.uri, target.is_folder) == (uri, folder)
    assert target.path.endswith("/") is folder
