"""Clips that are odd, but whole: every picture of both is in the joined video, at its time, and as it was shown."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from airflow_provider_apimart.media.errors import BadInput, Refused
from airflow_provider_apimart.media.joining.join import join
from airflow_provider_apimart.media.measure import measure
from tests.media.joining.patched import boxes
from tests.media.test_odd_files import FRAGMENTS, encoded

#: Pictures that come when they like: three in a row, then none for long.
UNSTEADY = {"times": lambda number: (number // 3) * 250 + number % 3 * 41}
ODD: dict[str, dict[str, Any]] = {
    "unsteady": UNSTEADY,
    "ever further apart": {"times": lambda number: number * number * 2},
    "a begin after 100 s": {"times": lambda number: 100_000 + number * 42},
    "10 bits": {"pixels": "yuv420p10le"},
    "4:4:4": {"pixels": "yuv444p"},
    "HEVC": {"codec": "libx265"},
    "AV1": {"codec": "libsvtav1"},
    "MPEG-4": {"codec": "mpeg4"},
    "Matroska": {"kind": "matroska"},
    "MPEG-TS": {"kind": "mpegts"},
    "fragments": {"options": FRAGMENTS},
}


def shown(path: Path) -> list[tuple[Fraction, bytes]]:
    """Return when each picture is shown, and its middle line."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            grey = frame.reformat(format="gray")
            plane = grey.planes[0]
            line = bytes(plane)[plane.line_size * (frame.height // 2) :][: frame.width]
            found.append((frame.pts * Fraction(frame.time_base), line))
        return found


@pytest.mark.parametrize("how", ODD.values(), ids=ODD)
def test_all_pictures_at_their_times(tmp_path: Path, how: dict[str, Any]) -> None:
    clip, out = encoded(tmp_path / "clip", **how), tmp_path / "out.mp4"
    # Matroska does not tell when its first pictures are decoded, so they are encoded.
    parameters = {"encode": "never"} if how.get("kind") != "matroska" else {"preset": "ultrafast", "crf": 1}
    facts = join([str(clip)] * 2, [{"name": "one", "path": str(out), "parameters": parameters}])["one"]
    own, found = shown(clip), shown(out)
    assert [line[80] for _, line in found] == pytest.approx([line[80] for _, line in own] * 2, abs=4)
    if "encode" in parameters:
        assert [line for _, line in found] == [line for _, line in own] * 2
    steps = [after - before for (before, _), (after, _) in pairwise(own)]
    # Containers round to milliseconds.
    for number, (before, after) in enumerate(pairwise(found)):
        if number != 23:
            assert after[0] - before[0] == pytest.approx(steps[number % 24], abs=0.002)
    assert measure(str(out))["duration_seconds"] == pytest.approx(facts["duration_seconds"], abs=0.05)


@pytest.mark.parametrize(
    "how",
    [
        # FFmpeg writes no MP4 with these.
        {"codec": "prores_ks", "pixels": "yuv422p10le", "kind": "mov"},
        # It reads AV1 by another library than the one that it writes it with.
        {"codec": "libsvtav1", "options": FRAGMENTS},
    ],
    ids=["ProRes", "AV1 in fragments"],
)
def test_what_cannot_be_copied_into_an_mp4_is_encoded(tmp_path: Path, how: dict[str, Any]) -> None:
    clip, out = encoded(tmp_path / "clip", **how), tmp_path / "out.mp4"
    join([str(clip)] * 2, [{"name": "one", "path": str(out), "parameters": {"preset": "ultrafast"}}])
    found = measure(str(out))
    assert (found["video_codec"], found["frames"], found["decode_errors"]) == ("h264", 48, 0)
    with pytest.raises(Refused, match=r'encode="never", but .* cannot be written here'):
        join([str(clip)] * 2, [{"name": "one", "path": str(out), "parameters": {"encode": "never"}}])


def test_fragments_that_begin_later_are_whole(tmp_path: Path) -> None:
    # What they say of their length counts from the beginning of their clock.
    late = {"times": lambda number: 500 + number * 42, "options": {"movflags": "frag_keyframe+empty_moov"}}
    clip, out = encoded(tmp_path / "clip.mp4", **late), tmp_path / "out.mp4"
    facts = join([str(clip)] * 2, [{"name": "one", "path": str(out), "parameters": {"encode": "never"}}])["one"]
    assert facts["duration_seconds"] == pytest.approx(2 * 24 * 0.042, abs=0.01)


@pytest.mark.parametrize("kind", ["mp4", "fragments"])
def test_a_clip_of_which_no_picture_can_be_decoded_is_named(tmp_path: Path, kind: str) -> None:
    options = FRAGMENTS if kind == "fragments" else {}
    whole, veiled = encoded(tmp_path / "whole.mp4", options=options), tmp_path / "veiled.mp4"
    data = bytearray(whole.read_bytes())
    at = data.find(b"mdat") + 4
    while at > 3:
        # As encryption leaves them: their lengths stay, and the rest is noise.
        (length,) = struct.unpack_from(">I", data, at - 8)
        place, end = at, at - 8 + length
        while place + 4 < end:
            (size,) = struct.unpack_from(">I", data, place)
            data[place + 4 : place + 4 + size] = bytes((7 * n + 3) % 251 | 128 for n in range(size))
            place += 4 + size
        at = data.find(b"mdat", end) + 4
    veiled.write_bytes(data)
    for encode in ("auto", "always"):
        parameters = {"preset": "ultrafast", "encode": encode}
        with pytest.raises(BadInput, match="decoded") as error:
            join([str(whole), str(veiled)], [{"name": "one", "path": str(tmp_path / "o"), "parameters": parameters}])
        assert error.value.number == 1


@pytest.mark.parametrize("kind", ["mp4", "fragments"])
def test_an_encrypted_clip_is_refused(tmp_path: Path, kind: str) -> None:
    veil = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "7" * 32, "encryption_kid": "3" * 32}
    veiled = encoded(tmp_path / "veiled.mp4", options=veil | (FRAGMENTS if kind == "fragments" else {}))
    for encode in ("auto", "always"):
        parameters = {"preset": "ultrafast", "encode": encode}
        with pytest.raises(BadInput, match="it is encrypted") as error:
            join([str(veiled)] * 2, [{"name": "one", "path": str(tmp_path / "o"), "parameters": parameters}])
        assert error.value.number == 0


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_clips_stay_turned_however_they_are_joined(tmp_path: Path, turn: int) -> None:
    plain = encoded(tmp_path / "plain.mp4")
    data = bytearray(plain.read_bytes())
    one = 65536
    matrix = {90: (0, -one, one, 0), 180: (-one, 0, 0, -one), 270: (0, one, -one, 0)}[turn]
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        struct.pack_into(">i", data, boxes(bytes(data), b"moov", b"trak", b"tkhd")[0] + 40 + place, value)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    size = (160, 96) if turn == 180 else (96, 160)
    for clips, encode in (((turned, turned), "never"), ((turned, turned), "always"), ((turned, plain), "auto")):
        out = tmp_path / "out.mp4"
        parameters = {"encode": encode, "preset": "ultrafast"}
        facts = join([str(clip) for clip in clips], [{"name": "one", "path": str(out), "parameters": parameters}])
        found = measure(str(out))
        assert (found["width"], found["height"]) == size == (facts["one"]["width"], facts["one"]["height"])
        assert found["frames"] == 48


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    clip, out = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    with av.open(str(clip), "w") as container:
        stream: Any = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in range(24):
            frame = av.VideoFrame(160, 96, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for encode in ("never", "always"):
        parameters = {"encode": encode, "preset": "ultrafast"}
        facts = join([str(clip)] * 2, [{"name": "one", "path": str(out), "parameters": parameters}])["one"]
        found = measure(str(out))
        shape = facts["width"], facts["height"]
        assert shape == (found["width"], found["height"])
        assert shape[0] in (213, 214) and shape[1] == 96
