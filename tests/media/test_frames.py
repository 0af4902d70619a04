"""The first and the last frame of a video, as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops

from airflow_provider_apimart.generation.purchase.images import check_image
from airflow_provider_apimart.media.frame_orders import JOB, VERSION, frame_wanted
from airflow_provider_apimart.media.frames import frames
from airflow_provider_apimart.media.workshop import Order, Source, make
from tests.media.clips import make_clip
from tests.storage.places import local


def shown(path: Path, number: int) -> Any:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))[number].to_image()


def difference(one: Any, other: Any) -> int:
    extrema = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    return max(high for _, high in extrema)


def made(clip: Path, folder: Path, which: Any, picture_format: Any = "png") -> Path:
    wanted = frame_wanted(which, picture_format)
    path = folder / f"{which}{wanted.suffix}"
    facts = frames([str(clip)], [{"name": "one", "path": str(path), "parameters": dict(wanted.parameters)}])
    with Image.open(path) as picture:
        assert facts == {"one": {"width": picture.width, "height": picture.height}}
    return path


@pytest.mark.parametrize("seconds", [1 / 24, 2.0, 12.0])
def test_they_are_the_very_first_and_the_very_last(tmp_path: Path, seconds: float) -> None:
    # Longer than the distance of two keyframes, and as short as a single picture.
    clip = make_clip(tmp_path / "clip.mp4", seconds=seconds)
    for which, number in (("first", 0), ("last", -1)):
        assert difference(Image.open(made(clip, tmp_path, which)), shown(clip, number)) == 0


def test_a_jpeg_is_hardly_different(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=0.5)
    assert difference(Image.open(made(clip, tmp_path, "last", "jpeg")), shown(clip, -1)) < 16


def test_a_damaged_end_gives_the_last_picture_that_can_be_shown(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=2.0, sound=None)
    whole = clip.read_bytes()
    clip.write_bytes(whole[:-2000] + bytes(2000))
    assert made(clip, tmp_path, "last").stat().st_size > 0


def test_no_picture(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    with pytest.raises((OSError, ValueError)):
        made(tmp_path / "clip.mp4", tmp_path, "last")


def test_from_the_workshop_a_next_shot_can_begin_with_it(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1.0)
    order = Order(JOB, VERSION, (Source(local(clip)),), (frame_wanted("first"), frame_wanted("last")))
    first, last = make(order)
    assert (first.kind, last.kind, last.width, last.height) == ("first_frame", "last_frame", 320, 180)
    assert check_image("first_frame_image", last.path, Path(last.path).read_bytes(), None).content_type == "image/png"
    assert make(order) == (first, last)
