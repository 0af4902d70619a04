"""Clips that agree, copied by their tables: what FFmpeg reads back is what the clips held, and hostile tables are left
to it.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from airflow_provider_apimart.media.errors import BadInput
from airflow_provider_apimart.media.joining import quick
from airflow_provider_apimart.media.joining.indexed import read_tables
from airflow_provider_apimart.media.joining.tables import movie, ranges
from airflow_provider_apimart.media.joining.tables.boxes import NotPlain
from airflow_provider_apimart.media.joining.wish import Wish
from tests.media.joining.marked import clicks, decoded, flashes, marked_clip, payloads
from tests.media.joining.patched import STBL, boxes, patched, with_inserted

FRAMES = 128
#: The matrix of pictures that are turned clockwise.
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
SECONDS = Fraction(FRAMES, 24)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 128 frames are a whole number of packets of sound, so that it is copied as well.
    return marked_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=FRAMES)


def copied(clips: list[Path], out: Path, **wish: Any) -> dict[str, Any]:
    facts = quick.copied([str(each) for each in clips], Wish(**wish), str(out))
    assert facts is not None, "FFmpeg would have to do it"
    return facts


def packets(path: Path, kind: str) -> list[tuple[int, int, int, bool, bytes]]:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (packet.pts, packet.dts, packet.duration, packet.is_keyframe, bytes(packet))
            for packet in container.demux(stream)
            if packet.dts is not None
        ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"frames": 97, "rate": 44_100},
        {"frames": 75, "fps": Fraction(30_000, 1001), "layout": "mono"},
        {"sound": False},
    ],
)
def test_what_is_read_from_the_tables_is_what_ffmpeg_reads(tmp_path: Path, options: dict[str, Any]) -> None:
    path = marked_clip(tmp_path / "one.mp4", **options)
    tables = read_tables(str(path), 0)
    data = path.read_bytes()
    for kind, track in (("video", tables.pictures), ("audio", tables.sound)):
        if track is not None:
            assert packets(path, kind) == [
                (each.pts, each.dts, each.duration, each.is_keyframe, data[each.offset : each.offset + each.size])
                for each in track.samples
            ]
    assert (tables.sound is None) == (options == {"sound": False})


def test_every_packet_is_the_clips_own_at_its_own_time(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "out.mp4"
    facts = copied([clip] * 20, out)
    assert facts == {
        "width": 160,
        "height": 90,
        "duration_seconds": pytest.approx(float(20 * SECONDS), abs=0.001),
        "has_audio": True,
    }
    own, found = packets(clip, "video"), packets(out, "video")
    length = int(SECONDS * 12_288)
    assert found == [
        (pts + number * length, dts + number * length, duration, key, data)
        for number in range(20)
        for pts, dts, duration, key, data in own
    ]
    assert decoded(out) == (20 * FRAMES, 20 * SECONDS)
    heard = packets(out, "audio")
    assert {data for *_, data in heard} <= set(payloads(clip, "audio")) and len(heard) == 20 * 250 + 1
    marks = [Fraction(FRAMES * number + 24, 24) for number in range(20)]
    assert flashes(out) == marks
    for by_time, most in ((True, 0.003), (False, 0.01)):
        sounds = clicks(out, by_time=by_time)
        assert max(abs(click - float(mark)) for click, mark in zip(sounds, marks, strict=True)) < most


def test_no_byte_is_there_that_no_sample_owns(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "out.mp4"
    copied([clip] * 3, out)
    data = out.read_bytes()
    sizes = sum(len(payload) for kind in ("video", "audio") for payload in payloads(out, kind))
    (media,) = boxes(data, b"mdat")
    assert [data[at - 4 : at] for at in boxes(data, b"ftyp") + boxes(data, b"moov")] == [b"ftyp", b"moov"]
    assert len(data) - media == sizes and data.find(b"moov") < media


def test_what_was_joined_can_be_joined_again(tmp_path: Path, clip: Path) -> None:
    once, twice = tmp_path / "once.mp4", tmp_path / "twice.mp4"
    copied([clip] * 2, once)
    copied([once] * 3, twice)
    assert payloads(twice, "video") == payloads(clip, "video") * 6
    assert flashes(twice) == [Fraction(FRAMES * number + 24, 24) for number in range(6)]


def test_places_of_64_bits(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow, wide, again = tmp_path / "narrow.mp4", tmp_path / "wide.mp4", tmp_path / "again.mp4"
    copied([clip] * 4, narrow)
    with monkeypatch.context() as patch:
        # As if 4 GiB were this little.
        patch.setattr(movie, "WIDEST", 4000)
        copied([clip] * 4, wide)
    data = wide.read_bytes()
    assert b"co64" in data and b"stco" not in data and b"stco" in narrow.read_bytes()
    assert struct.unpack_from(">I", data, data.find(b"mdat") - 4) == (1,)
    for kind in ("video", "audio"):
        assert packets(wide, kind) == packets(narrow, kind)
    assert read_tables(str(wide), 0).pictures.timescale == read_tables(str(narrow), 0).pictures.timescale
    copied([wide] * 2, again)
    assert payloads(again, "video") == payloads(clip, "video") * 8


def test_places_beyond_4_gib_are_read(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, far, out = tmp_path / "plain.mp4", tmp_path / "far.mp4", tmp_path / "out.mp4"
    monkeypatch.setattr(movie, "WIDEST", 4000)
    copied([clip], plain)
    monkeypatch.undo()
    data = plain.read_bytes()
    hole = 5 * 2**30
    head = data.find(b"mdat") - 4
    index = bytearray(data[:head])
    for at in boxes(data[:head], *STBL, b"co64"):
        (count,) = struct.unpack_from(">I", index, at + 4)
        places = struct.unpack_from(f">{count}Q", index, at + 8)
        struct.pack_into(f">{count}Q", index, at + 8, *(place + hole for place in places))
    # A sparse file: nothing of the hole is on the disk.
    with far.open("wb") as file:
        file.write(bytes(index) + struct.pack(">I4sQ", 1, b"free", hole))
        file.seek(head + hole)
        file.write(data[head:])
    copied([far, clip], out)
    assert payloads(out, "video") == payloads(clip, "video") * 2


def test_decoders_that_look_ahead_less_and_negative_offsets(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    (offsets,) = boxes(data, *STBL, b"ctts")
    edit = boxes(data, b"moov", b"trak", b"edts", b"elst")[0]
    (count,) = struct.unpack_from(">I", data, offsets + 4)
    rows = struct.unpack_from(f">{2 * count}I", data, offsets + 8)
    early = rows[1]
    changed = bytearray(data)
    # The same times, told as version 1 does: pictures may be shown before they are decoded.
    struct.pack_into(">I", changed, offsets, 1 << 24)
    for number in range(count):
        struct.pack_into(">i", changed, offsets + 12 + 8 * number, rows[2 * number + 1] - early)
    struct.pack_into(">i", changed, edit + 12, 0)
    signed = tmp_path / "signed.mp4"
    signed.write_bytes(changed)
    assert [each[0] for each in packets(signed, "video")] == [each[0] for each in packets(clip, "video")]
    assert [tuple(each[:4]) for each in read_tables(str(signed), 0).pictures.samples] == [
        each[:4] for each in packets(signed, "video")
    ]
    out = tmp_path / "out.mp4"
    copied([signed, clip, signed], out)
    assert flashes(out) == [Fraction(FRAMES * number + 24, 24) for number in range(3)]
    assert payloads(out, "video") == payloads(clip, "video") * 3


def test_sound_that_begins_later_than_the_pictures(tmp_path: Path, clip: Path) -> None:
    # The pictures begin with the third one (and with it the edit list), so the sound is as much earlier, or later.
    data = clip.read_bytes()
    _, edits = boxes(data, b"moov", b"trak", b"edts", b"elst")
    later, out = patched(clip, tmp_path / "later.mp4", edits + 12, ">i", 0), tmp_path / "out.mp4"
    assert [each[0] for each in packets(later, "audio")] == [
        each.pts
        for each in read_tables(str(later), 0).sound.samples  # type: ignore[union-attr]
    ]
    copied([later], out)
    # FFmpeg hears no click earlier or later in the copy than in the clip.
    assert clicks(out, by_time=True) == pytest.approx(clicks(later, by_time=True), abs=0.0001)


HOSTILE: dict[str, Callable[[bytes], tuple[int, str, int]]] = {
    "a box in the index longer than it": lambda data: (boxes(data, b"moov", b"trak")[0] - 8, ">I", 2**31),
    "a box shorter than its own head": lambda data: (boxes(data, b"moov", b"trak", b"mdia")[0] - 8, ">I", 3),
    "an endless box": lambda data: (boxes(data, b"moov", b"trak", b"mdia")[0] - 8, ">I", 0),
    "2**32 durations": lambda data: (boxes(data, *STBL, b"stts")[0] + 4, ">I", 2**32 - 1),
    "a duration 2**32 times": lambda data: (boxes(data, *STBL, b"stts")[0] + 8, ">I", 2**32 - 1),
    "an offset 2**32 times": lambda data: (boxes(data, *STBL, b"ctts")[0] + 8, ">I", 2**32 - 1),
    "2**32 sizes": lambda data: (boxes(data, *STBL, b"stsz")[0] + 8, ">I", 2**32 - 1),
    "one size, 2**32 times": lambda data: (boxes(data, *STBL, b"stsz")[0] + 4, ">Q", 1 << 32 | (2**32 - 1)),
    "2**32 keyframes": lambda data: (boxes(data, *STBL, b"stss")[0] + 4, ">I", 2**32 - 1),
    "2**32 chunks": lambda data: (boxes(data, *STBL, b"stco")[0] + 4, ">I", 2**32 - 1),
    "2**32 runs of chunks": lambda data: (boxes(data, *STBL, b"stsc")[0] + 4, ">I", 2**32 - 1),
    "2**32 samples in a chunk": lambda data: (boxes(data, *STBL, b"stsc")[0] + 12, ">I", 2**32 - 1),
    "no samples in a chunk": lambda data: (boxes(data, *STBL, b"stsc")[0] + 12, ">I", 0),
    "chunks that begin at 0": lambda data: (boxes(data, *STBL, b"stsc")[0] + 8, ">I", 0),
    "a chunk over the others": lambda data: (boxes(data, *STBL, b"stco")[0] + 8, ">I", len(data) - 30),
    "a sample as large as anything": lambda data: (boxes(data, *STBL, b"stsz")[0] + 12, ">I", 2**32 - 1),
    "an empty sample": lambda data: (boxes(data, *STBL, b"stsz")[0] + 12, ">I", 0),
    "a sample that takes no time": lambda data: (boxes(data, *STBL, b"stts")[0] + 12, ">I", 0),
    "a clock that stands still": lambda data: (boxes(data, b"moov", b"trak", b"mdia", b"mdhd")[0] + 12, ">I", 0),
    "a clock of the whole that stands still": lambda data: (boxes(data, b"moov", b"mvhd")[0] + 12, ">I", 0),
    "a length that is not true": lambda data: (boxes(data, b"moov", b"trak", b"mdia", b"mdhd")[0] + 16, ">I", 10**6),
    "many sample entries": lambda data: (boxes(data, *STBL, b"stsd")[0] + 4, ">I", 2**32 - 1),
    "encrypted pictures": lambda data: (boxes(data, *STBL, b"stsd")[0] + 12, ">4s", "encv"),
    "a second data reference": lambda data: (boxes(data, *STBL, b"stsd")[0] + 22, ">H", 2),
    "samples in another file": lambda data: (
        boxes(data, b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")[0] + 16, ">I", 0,
    ),
    "an edit list that skips": lambda data: (boxes(data, b"moov", b"trak", b"edts", b"elst")[0] + 12, ">I", 30_000),
    "an edit list that ends early": lambda data: (boxes(data, b"moov", b"trak", b"edts", b"elst")[0] + 8, ">I", 1000),
    "an edit list of double speed": lambda data: (boxes(data, b"moov", b"trak", b"edts", b"elst")[0] + 16, ">I", 2**17),
    "an edit list of 2**32": lambda data: (boxes(data, b"moov", b"trak", b"edts", b"elst")[0] + 4, ">I", 2**32 - 1),
    "distorted pictures": lambda data: (boxes(data, b"moov", b"trak", b"tkhd")[0] + 40, ">I", 77_777),
    "a descriptor longer than its box": lambda data: (data.find(b"esds") + 9, ">I", 0x80808001 | 0x7F << 8),
    "no index": lambda data: (boxes(data, b"moov")[0] - 4, ">4s", "free"),
    "another index": lambda data: (boxes(data, b"mdat")[0] - 4, ">4s", "moov"),
    "a fragment": lambda data: (boxes(data, b"free")[0] - 4, ">4s", "moof"),
    "QuickTime": lambda data: (8, ">4s", "qt  "),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_odd_and_hostile_tables_are_left_to_ffmpeg(tmp_path: Path, clip: Path, name: str) -> None:
    at, layout, value = HOSTILE[name](clip.read_bytes())
    given: Any = value.encode() if isinstance(value, str) else value
    bad = patched(clip, tmp_path / "bad.mp4", at, layout, given)
    assert bad.read_bytes() != clip.read_bytes()
    with pytest.raises(NotPlain):
        read_tables(str(bad), 0)
    out = tmp_path / "out.mp4"
    assert quick.copied([str(clip), str(bad)], Wish(), str(out)) is None and not out.exists()


def test_tracks_that_share_bytes_are_left_to_ffmpeg(tmp_path: Path, clip: Path) -> None:
    data, out = clip.read_bytes(), tmp_path / "out.mp4"
    pictures, sound = boxes(data, *STBL, b"stco")
    (first,) = struct.unpack_from(">I", data, pictures + 8)
    over = patched(clip, tmp_path / "over.mp4", sound + 8, ">I", first + 1)
    assert quick.copied([str(over)], Wish(), str(out)) is None and not out.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_left_to_ffmpeg(tmp_path: Path, clip: Path, share: float) -> None:
    joined, cut = tmp_path / "joined.mp4", tmp_path / "cut.mp4"
    copied([clip], joined)
    data = joined.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(NotPlain):
        read_tables(str(cut), 0)


@pytest.mark.parametrize(
    ("path", "box"),
    [
        ((b"moov",), b"\0\0\0\x08mvex"),
        ((b"moov",), b"\0\0\0\x08free" * 1001),
        ((b"moov", b"trak"), b"\0\0\0\x08tkhd"),
        ((b"moov", b"trak", b"mdia", b"minf", b"stbl"), b"\0\0\0\x10stco" + bytes(8)),
        ((b"moov", b"trak", b"mdia", b"minf", b"stbl"), b"\0\0\0\x10co64" + bytes(8)),
        ((b"moov",), b"\0\0\0"),
    ],
)
def test_more_boxes_than_there_should_be(tmp_path: Path, clip: Path, path: tuple[bytes, ...], box: bytes) -> None:
    with pytest.raises(NotPlain):
        read_tables(str(with_inserted(clip, tmp_path / "bad.mp4", path, box)), 0)


def test_boxes_in_boxes_in_boxes_are_not_followed(tmp_path: Path, clip: Path) -> None:
    deep = b""
    for _ in range(3 * sys.getrecursionlimit()):
        deep = struct.pack(">I4s", 8 + len(deep), b"udta") + deep
    nested = with_inserted(clip, tmp_path / "deep.mp4", (b"moov", b"trak"), deep)
    out = tmp_path / "out.mp4"
    copied([nested, clip], out)
    assert payloads(out, "video") == payloads(clip, "video") * 2


def test_a_clip_of_a_longer_matrix_or_other_parameters_is_not_copied(tmp_path: Path, clip: Path) -> None:
    data = clip.read_bytes()
    turned = tmp_path / "turned.mp4"
    changed = bytearray(data)
    struct.pack_into(
        ">9i", changed, boxes(data, b"moov", b"trak", b"tkhd")[0] + 40, 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30
    )
    turned.write_bytes(changed)
    others = [
        turned,
        marked_clip(tmp_path / "small.mp4", size=(80, 46)),
        marked_clip(tmp_path / "mute.mp4", sound=False),
    ]
    for other in others:
        assert quick.copied([str(clip), str(other)], Wish(), str(tmp_path / "out.mp4")) is None
    out = tmp_path / "out.mp4"
    assert copied([turned] * 2, out) | {"width": 90, "height": 160} == copied([turned] * 2, out)
    with av.open(str(out)) as container:
        assert next(container.decode(video=0)).rotation == -90


def test_ranges_of_any_length_are_copied_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "BLOCK_BYTES", 7)
    source, sink = tmp_path / "source", tmp_path / "sink"
    source.write_bytes(bytes(range(100)))
    with source.open("rb", buffering=0) as one, sink.open("wb", buffering=0) as other:
        copy = ranges.copier(other)
        for start, end in ((10, 90), (0, 7), (50, 50), (99, 100)):
            copy(one, start, end)
        with pytest.raises(ranges.CutOff):
            copy(one, 90, 101)
    assert sink.read_bytes()[:88] == bytes([*range(10, 90), *range(7), 99])


def test_a_write_that_is_short_is_gone_on_with() -> None:
    class Short(io.BytesIO):
        def write(self, data: Any, /) -> int:
            return super().write(data[:3])

    sink = Short()
    ranges.write_whole(sink, b"0123456789")
    assert sink.getvalue() == b"0123456789"


def test_a_clip_that_becomes_shorter_meanwhile_is_named(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrinking = tmp_path / "shrinking.mp4"
    shrinking.write_bytes(clip.read_bytes())
    laid_out = quick._laid_out([str(clip), str(shrinking)], Wish())
    shrinking.write_bytes(clip.read_bytes()[:100])
    with pytest.raises(BadInput, match="shorter") as error:
        laid_out.write([str(clip), str(shrinking)], str(tmp_path / "out.mp4"))
    assert error.value.number == 1


def test_tables_that_are_not_kept_are_read_again(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, read = tmp_path / "kept.mp4", tmp_path / "read.mp4"
    copied([clip] * 4, kept)
    monkeypatch.setattr(quick, "KEPT_SAMPLES", read_tables(str(clip), 0).clip.packets + 1)
    copied([clip] * 4, read)
    assert kept.read_bytes() == read.read_bytes()
