"""Files that are odd, damaged or hostile: a clear verdict on each, from check, poster and frames."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from airflow_provider_apimart.media.check import Asked, Limits, Report, Rules, judge
from airflow_provider_apimart.media.facts import VideoFacts
from airflow_provider_apimart.media.frames import frames
from airflow_provider_apimart.media.measure import measure
from airflow_provider_apimart.media.poster import poster
from airflow_provider_apimart.media.poster_orders import poster_wanted
from tests.media.clips import make_clip
from tests.media.renditions.made import make

NEAR = Limits(duration_tolerance_seconds=0.25)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", seconds=1, size=(160, 90)).read_bytes()


def make_file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def checked(path: Path) -> Report:
    return judge(VideoFacts.model_validate(measure(str(path))), Asked(duration_seconds=1.0), Rules(limits=NEAR))


def pictures(path: Path) -> None:
    """Make a poster and the frames of a file."""
    wanted = poster_wanted()
    poster([str(path)], [{"name": "p", "path": f"{path}.jpg", "parameters": dict(wanted.parameters)}])
    for which in ("first", "last"):
        parameters = {"frame": which, "format": "png"}
        frames([str(path)], [{"name": "f", "path": f"{path}.png", "parameters": parameters}])
        with Image.open(f"{path}.png") as picture:
            picture.load()


def broken(path: Path) -> set[str]:
    return {finding.rule for finding in checked(path).broken()}


def with_field(data: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """Return a file in which a field of a box has another value; ``offset`` counts from the box's content."""
    start = data.index(box) + 4 + offset
    return data[:start] + value + data[start + len(value) :]


NOTHING: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda _: b"\0",
    "an HTML page": lambda _: b"<!DOCTYPE html><html><title>502 Bad Gateway</title></html>" * 100,
    "JSON": lambda _: b'{"error": {"code": 403}}',
    "zeros": lambda _: bytes(100_000),
    "noise": lambda _: random.Random(1).randbytes(100_000),
    "a head and noise": lambda data: data[:32] + random.Random(2).randbytes(100_000),
    "a head": lambda data: data[:32],
    "no pictures behind the index": lambda data: data[: data.index(b"mdat") - 4],
    "a twentieth": lambda data: data[: len(data) // 20],
    "two billion pictures": lambda data: with_field(data, b"stsz", 8, b"\x7f\xff\xff\xff"),
    "a ZIP": lambda _: b"PK\x03\x04" + bytes(100),
    "a playlist": lambda _: b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n",
    "a list of files": lambda _: b"ffconcat version 1.0\nfile /etc/hostname\n",
    "a stream's description": lambda _: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("change", NOTHING.values(), ids=NOTHING)
def test_of_what_is_no_video_nothing_is_made(tmp_path: Path, clip: bytes, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(change(clip))
    for work in (checked, pictures):
        with pytest.raises((OSError, ValueError, av.error.FFmpegError)) as failure:
            work(path)
        assert "Invalid argument" not in str(failure.value)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_picture_is_no_video_and_the_text_says_what_is_read(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.mp4", format=kind)
    with pytest.raises(ValueError, match="none of the containers that are read: mov, mp4"):
        checked(tmp_path / "a.mp4")


LIES: dict[str, tuple[Callable[[bytes], bytes], set[str]]] = {
    "huge pictures": (lambda data: with_field(data, b"avc1", 24, struct.pack(">HH", 65535, 65535)), set()),
    "a huge track": (lambda data: with_field(data, b"tkhd", 76, struct.pack(">II", 65535 << 16, 65535 << 16)), set()),
    "a huge film": (lambda data: with_field(data, b"mvhd", 16, b"\xff\xff\xff\xfe"), set()),
    "a huge index": (lambda data: with_field(data, b"moov", -8, b"\xff\xff\xff\xff"), set()),
    "a half": (lambda data: data[: len(data) // 2], {"decode"}),
    "all but the end": (lambda data: data[:-100], {"decode"}),
    "two in a row": (lambda data: data + data, set()),
}


@pytest.mark.parametrize(("change", "found"), LIES.values(), ids=LIES)
def test_what_a_file_says_of_itself_is_not_believed(
    tmp_path: Path, clip: bytes, change: Callable[[bytes], bytes], found: set[str]
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(change(clip))
    assert found <= broken(path)
    assert (found == set()) == (checked(path).verdict in ("ok", "warn"))
    pictures(path)


def encoded(path: Path, *, codec: str = "libx264", pixels: str = "yuv420p", **more: Any) -> Path:
    """Write a clip of 24 pictures.

    :param more: ``times`` (in ms, by the number of the picture), ``options`` of the container, ``kind`` of it.
    """
    size, times = (160, 96), more.get("times")
    with av.open(str(path), "w", format=more.get("kind", "mp4"), options=more.get("options", {})) as container:
        stream = container.add_stream(codec, rate=24, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        base = Fraction(1, 1000) if times else Fraction(1, 24)
        stream.codec_context.time_base = base
        for number in range(24):
            frame = av.VideoFrame(*size, "rgb24")
            line = frame.planes[0].line_size
            frame.planes[0].update(bytes((x + number * 9) % 256 for x in range(line)) * size[1])
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = times(number) if times else number, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
ODD: dict[str, tuple[dict[str, Any], set[str]]] = {
    "10 bits": ({"pixels": "yuv420p10le"}, {"codec"}),
    "4:4:4": ({"pixels": "yuv444p"}, {"codec"}),
    "HEVC": ({"codec": "libx265"}, {"codec"}),
    "AV1": ({"codec": "libsvtav1"}, {"codec"}),
    "MPEG-4": ({"codec": "mpeg4"}, {"codec"}),
    "Matroska": ({"kind": "matroska"}, set()),
    "MPEG-TS": ({"kind": "mpegts"}, set()),
    "fragments": ({"options": FRAGMENTS}, set()),
    "a begin after 100 s": ({"times": lambda number: 100_000 + number * 42}, set()),
    "pictures ever further apart": ({"times": lambda number: number * number * 2}, set()),
    "a gap": ({"times": lambda number: number * 42 + (5000 if number > 10 else 0)}, {"duration", "frozen"}),
}


@pytest.mark.parametrize(("how", "found"), ODD.values(), ids=ODD)
def test_odd_but_whole(tmp_path: Path, how: dict[str, Any], found: set[str]) -> None:
    path = encoded(tmp_path / "a.mp4", **how)
    assert broken(path) - {"faststart", "frame_rate"} == found
    assert checked(path).facts is not None and checked(path).facts.frames == 24  # type: ignore[union-attr]
    pictures(path)


def test_a_title_that_is_not_utf_8_is_no_reason_to_refuse(tmp_path: Path, clip: bytes) -> None:
    titled = tmp_path / "titled.mp4"
    with av.open(str(tmp_path / "a.mp4"), "w") as output, av.open(make_file(tmp_path / "b.mp4", clip)) as source:
        output.metadata["title"] = "Cafe"
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    whole = (tmp_path / "a.mp4").read_bytes()
    assert whole.count(b"Cafe") == 1
    titled.write_bytes(whole.replace(b"Cafe", b"Caf\xe9"))
    assert checked(titled).facts


def test_fragments_that_begin_late_are_complete(tmp_path: Path) -> None:
    # They count their length from the beginning of their clock.
    path = encoded(
        tmp_path / "a.mp4", times=lambda number: 5000 + number * 42, options={"movflags": "frag_keyframe+empty_moov"}
    )
    assert "complete" not in broken(path)
    (tmp_path / "clip.mp4").write_bytes(path.read_bytes())
    assert measure(str(make(tmp_path / "clip.mp4")["small"]))["duration_seconds"] == pytest.approx(1.0, abs=0.1)


def test_a_cut_fragmented_file_is_too_short(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp4", options=FRAGMENTS)
    data = path.read_bytes()
    second = data.index(b"moof", data.index(b"moof") + 4)
    path.write_bytes(data[: second + 20])
    assert "duration" in broken(path)
    pictures(path)
