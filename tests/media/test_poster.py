"""Posters, previews and contact sheets: the right picture, the right colours, upright."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageFilter

from airflow_provider_apimart.media.errors import UndecodableVideoError
from airflow_provider_apimart.media.poster import contact_sheet, poster
from airflow_provider_apimart.media.poster_orders import JOB, VERSION, poster_wanted, preview_wanted, sheet_wanted
from airflow_provider_apimart.media.workshop import Order, Source, Wanted, make
from tests.media.clips import make_clip
from tests.storage.places import local


def clip_of(
    path: Path, pictures: list[Any], *, space: Any = None, full: bool = False, pixels: Fraction | None = None
) -> Path:
    """Write a clip of given pictures, one each twelfth of a second, all of them keyframes.

    :param space: their colour space, which the file tells; ``None`` writes what fits their size and tells nothing.
    """
    width, height = pictures[0].size
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "4", "g": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if pixels:
            stream.codec_context.sample_aspect_ratio = pixels
        ranged = ColorRange.JPEG if full else ColorRange.MPEG
        written = space or (Colorspace.ITU709 if min(width, height) >= 720 else Colorspace.ITU601)
        if space is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = int(space), ranged
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture).reformat(
                format="yuv420p", dst_colorspace=written, dst_color_range=ranged
            )
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def made(path: Path, wanted: Wanted) -> tuple[Any, dict[str, Any]]:
    out = path.parent / f"out{wanted.suffix}"
    facts = poster([str(path)], [{"name": "one", "path": str(out), "parameters": dict(wanted.parameters)}])
    picture = Image.open(out)
    picture.load()
    return picture, facts["one"]


def stripes(size: tuple[int, int] = (320, 180)) -> Any:
    picture = Image.new("RGB", size, (40, 40, 40))
    for x in range(0, size[0], 16):
        picture.paste((220, 220, 220), (x, 0, x + 8, size[1]))
    return picture


BLACK = Image.new("RGB", (320, 180))


def test_the_sharpest_that_is_not_black(tmp_path: Path) -> None:
    sharp = stripes()
    sharp.paste((255, 0, 0), (0, 0, 40, 40))
    soft = stripes().filter(ImageFilter.GaussianBlur(6))
    # A black picture with a few sharp dots, as noise or a title has them.
    dots = BLACK.copy()
    for x in range(0, 320, 16):
        dots.putpixel((x, 90), (255, 255, 255))
    picture, facts = made(clip_of(tmp_path / "a.mp4", [BLACK, dots, soft, sharp, soft, BLACK]), poster_wanted())
    assert facts == {"width": 320, "height": 180}
    red, green, _ = picture.getpixel((20, 20))
    assert red > 200 and green < 60


def test_a_black_video_has_a_poster_all_the_same(tmp_path: Path) -> None:
    picture, _ = made(clip_of(tmp_path / "a.mp4", [BLACK, BLACK]), poster_wanted("webp", width=100))
    assert (picture.format, picture.size) == ("WEBP", (100, 56))
    assert max(picture.convert("RGB").getpixel((50, 20))) < 20


COLOUR = (200, 60, 30)


@pytest.mark.parametrize(
    ("size", "space", "full"),
    [
        ((1280, 720), Colorspace.ITU709, False),
        ((1280, 720), Colorspace.ITU709, True),
        ((1280, 720), None, False),
        ((320, 180), None, False),
        ((320, 180), Colorspace.ITU601, False),
    ],
    ids=["BT.709", "BT.709 full range", "HD that does not tell", "SD that does not tell", "BT.601"],
)
def test_colours(tmp_path: Path, size: tuple[int, int], space: Any, full: bool) -> None:
    clip = clip_of(tmp_path / "a.mp4", [Image.new("RGB", size, COLOUR)], space=space, full=full)
    picture, _ = made(clip, poster_wanted("webp", quality=100))
    found = picture.convert("RGB").getpixel((size[0] // 2, size[1] // 2))
    assert all(abs(one - other) <= 4 for one, other in zip(found, COLOUR, strict=True)), found


def turned(path: Path) -> Path:
    """Turn a video by 90 degrees, as a phone does: in the track's matrix."""
    data = path.read_bytes()
    start = data.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:start] + matrix + data[start + 36 :])
    return path


def test_upright(tmp_path: Path) -> None:
    marked = stripes()
    marked.paste((255, 0, 0), (0, 0, 60, 60))
    picture, facts = made(turned(clip_of(tmp_path / "a.mp4", [marked])), poster_wanted())
    assert facts == {"width": 180, "height": 320}
    # Turned clockwise, the upper left corner is the upper right one.
    red, green, _ = picture.getpixel((160, 20))
    assert red > 200 and green < 60


def test_square_pixels(tmp_path: Path) -> None:
    _, facts = made(clip_of(tmp_path / "a.mp4", [stripes((240, 180))], pixels=Fraction(4, 3)), poster_wanted())
    assert facts == {"width": 320, "height": 180}


def test_a_preview_moves(tmp_path: Path) -> None:
    shades = [Image.new("RGB", (320, 180), (number * 5, 0, 0)) for number in range(48)]
    picture, facts = made(clip_of(tmp_path / "a.mp4", shades), preview_wanted(seconds=2, fps=4, width=160))
    assert facts == {"width": 160, "height": 90}
    assert (picture.format, picture.n_frames) == ("WEBP", 8)
    picture.seek(7)
    red = picture.convert("RGB").getpixel((80, 45))[0]
    assert red == pytest.approx(21 * 5, abs=8)


@pytest.mark.parametrize("count", [1, 2])
def test_a_preview_of_a_single_picture(tmp_path: Path, count: int) -> None:
    picture, _ = made(clip_of(tmp_path / "a.mp4", [stripes()] * count), preview_wanted())
    assert picture.format == "WEBP"


def test_through_the_workshop_poster_and_preview_from_one_decode(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    order = Order(JOB, VERSION, (Source(local(clip)),), (preview_wanted(), poster_wanted()))
    preview, still = make(order)
    assert (preview.kind, still.kind) == ("preview", "poster")
    assert Path(still.path).name.startswith("clip.poster-") and Path(still.path).suffix == ".jpg"
    with Image.open(still.path) as picture:
        assert (picture.format, picture.size) == ("JPEG", (320, 180))
    assert make(order) == (preview, still)


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 5000])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(UndecodableVideoError, match=r"clip\.mp4: the file cannot be decoded"):
        make(Order(JOB, VERSION, (Source(local(tmp_path / "clip.mp4")),), (poster_wanted(),)))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_cut_off_video_has_a_poster(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    picture, _ = made(path, poster_wanted())
    assert picture.size == (320, 180)


def test_a_contact_sheet(tmp_path: Path) -> None:
    paths = []
    for number in range(5):
        paths.append(str(tmp_path / f"{number}.jpg"))
        Image.new("RGB", (160, 90) if number else (90, 160), (50 * number, 0, 0)).save(paths[-1])
    wanted = sheet_wanted([f"{number}" for number in range(5)], columns=3, width=100)
    out = tmp_path / "sheet.jpg"
    facts = contact_sheet(paths, [{"name": "s", "path": str(out), "parameters": dict(wanted.parameters)}])
    with Image.open(out) as sheet:
        assert facts == {"s": {"width": sheet.width, "height": sheet.height}}
        assert sheet.width == 3 * 108 + 8
        red = sheet.getpixel((8 + 108 + 50, 8 + 100 - 20))[0]
        assert red == pytest.approx(50, abs=8)
