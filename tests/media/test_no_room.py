"""A full disk: the error says so and may be retried, no clip is blamed, and nothing half stays."""

from __future__ import annotations

import dataclasses
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.media import frame_orders, poster_orders, workshop
from airflow_provider_apimart.media.errors import MediaToolError
from airflow_provider_apimart.media.renditions.look import wanted
from airflow_provider_apimart.media.renditions.order import order_of
from tests.media.joining.marked import marked_clip
from tests.storage.places import local

SHAPE = {"name": "small", "width": 640, "height": 360, "effort": "ultrafast", "crf": 1}


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let no file become larger, as on a disk with no more room: in this process and in those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def order(job: str, clip: Path) -> workshop.Order:
    source = workshop.Source(local(clip))
    if job == "poster":
        return workshop.Order(job, 1, (source,), (poster_orders.poster_wanted("jpeg", None),))
    if job == "preview":
        return workshop.Order("poster", 1, (source,), (poster_orders.preview_wanted(),))
    if job == "frames":
        return workshop.Order(job, 1, (source,), (frame_orders.frame_wanted("last", "png"),))
    if job == "render":
        asked, _ = wanted([SHAPE])
        assert asked is not None
        return order_of(source, asked, lambda _, path: workshop.Source(local(path)), lambda: ())
    # Copied by tables, by FFmpeg with the sound encoded, and encoded altogether.
    parameters: dict[str, Any] = {"encode": "always" if job == "encoded" else "auto", "preset": "ultrafast"}
    inputs = (source,) * 20
    return workshop.Order("join", 1, inputs, (workshop.Wanted("join", "join", ".mp4", parameters),))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {
        "whole packets": marked_clip(folder / "whole.mp4", frames=128),
        "parted packets": marked_clip(folder / "parted.mp4", frames=96),
    }


@pytest.mark.parametrize(
    ("job", "room"),
    [
        *[("poster", 0), ("poster", 100), ("preview", 100), ("frames", 100), ("render", 0), ("render", 3_000)],
        *[("joined", 0), ("joined", 4096), ("joined", 60_000), ("parted", 60_000), ("encoded", 60_000)],
    ],
)
def test_no_room(tmp_path: Path, clips: dict[str, Path], job: str, room: int) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(clips["parted packets" if job == "parted" else "whole packets"].read_bytes())
    asked = order(job, clip)
    # First without a limit, elsewhere: Python itself does not notice when a module's cache is written in part.
    (tmp_path / "before").mkdir()
    (whole,) = workshop.make(dataclasses.replace(asked, folder=local(tmp_path / "before")))
    shutil.rmtree(tmp_path / "before")
    with at_most(room), pytest.raises(MediaToolError, match=r"no room.*(File too large|No space left)") as error:
        workshop.make(asked)
    assert not error.value.terminal, "a retry may find room"
    assert "clip.mp4" not in str(error.value), "the clip is not to blame"
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == ["clip.mp4"]
    (made,) = workshop.make(asked)
    assert (made.sha256, made.bytes) == (whole.sha256, whole.bytes) and made.bytes > room
