"""What a track has is found by its tables: each of them must be there, and lead into the media."""

from __future__ import annotations

import io
import struct
import tracemalloc

import pytest

from airflow_provider_apimart.generation.landing.mp4 import read_mp4
from tests.generation.landing.media_files import mp4
from tests.generation.landing.mp4.editing import (
    body,
    box,
    full,
    patched,
    poked,
    read,
    refused,
    renamed,
    replaced,
    spot,
    table,
)

#: The index stands behind the media, so that a table of another length moves nothing.
DATA = mp4()
FAST = mp4(movflags="faststart")
SIZES, OFFSETS = table(b"stsz"), table(b"stco")


@pytest.mark.parametrize("track", [b"vide", b"soun"])
@pytest.mark.parametrize("name", [b"stsd", b"stts", b"stsc", b"stsz", b"stco"])
def test_a_track_that_lacks_a_table(name: bytes, track: bytes) -> None:
    refused(renamed(DATA, *table(name), track=track), f"has samples and no '{name.decode()}' box")


@pytest.mark.parametrize("track", [b"vide", b"soun"])
@pytest.mark.parametrize("path", [(b"mdia", b"mdhd"), (b"tkhd",)])
def test_a_track_that_lacks_a_header(path: tuple[bytes, ...], track: bytes) -> None:
    refused(renamed(DATA, b"moov", b"trak", *path, track=track), "ticks a second|'tkhd'")


@pytest.mark.parametrize("path", [(b"mdia", b"minf"), (b"mdia", b"minf", b"stbl")])
def test_a_length_in_the_header_claims_samples(path: tuple[bytes, ...]) -> None:
    refused(renamed(DATA, b"moov", b"trak", *path, track=b"soun"), "track 2 has samples and no 'stsd' box")


@pytest.mark.parametrize("name", [b"stts", b"stsc", b"stco", b"stsd"])
def test_a_table_without_rows(name: bytes) -> None:
    refused(replaced(DATA, table(name), full(name, ">I", 0)))


@pytest.mark.parametrize("name", [b"stts", b"stsc", b"stsz", b"stco"])
@pytest.mark.parametrize("kept", [0, 4, 7])
def test_a_table_cut_short(name: bytes, kept: int) -> None:
    refused(replaced(DATA, table(name), box(name, body(DATA, *table(name))[:kept])))


@pytest.mark.parametrize("handler", [b"text", b"meta", b"tmcd", b"sbtl", b"subt", b"clcp", b"odsm"])
def test_other_tracks_are_not_judged(handler: bytes) -> None:
    data = DATA
    for name in (b"stsz", b"stco", b"stsd", b"stts"):
        data = renamed(data, *table(name), track=b"soun")
    data = poked(data, (b"moov", b"trak", b"mdia", b"mdhd"), 12, bytes(4), track=b"soun")
    data = poked(data, (b"moov", b"trak", b"mdia", b"hdlr"), 8, handler, track=b"soun")
    info = read(data)
    assert not info.has_audio and info.duration_seconds == 1.0


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_compact_sizes_are_read(bits: int) -> None:
    count = struct.unpack(">I", body(DATA, *SIZES)[8:12])[0]
    sizes = struct.unpack(f">{count}I", body(DATA, *SIZES)[12:])
    end = struct.unpack(">I", body(DATA, *OFFSETS)[-4:])[0]

    def compact(value: int | None = None) -> bytes:
        """Return the file with its sizes in another box, all of them ``value`` or as they are."""
        values = [min(size, 2**bits - 1) if value is None else value for size in sizes]
        if bits == 4:
            values = [high << 4 | low for high, low in zip(values[::2], values[1::2], strict=True)]
        rows = struct.pack(f">{len(values)}{'H' if bits == 16 else 'B'}", *values)
        return replaced(DATA, SIZES, box(b"stz2", struct.pack(">III", 0, bits, count) + rows))

    assert read(compact()) == read(DATA)
    assert read(compact(1)).duration_seconds == 1.0
    refused(poked(compact(1), OFFSETS, 8, struct.pack(">I", end + 2**20)), "samples up to")
    if bits == 16:
        refused(compact(2**16 - 1), "samples up to")


def test_compact_sizes_of_other_widths() -> None:
    count = struct.unpack(">I", body(DATA, *SIZES)[8:12])[0]
    refused(replaced(DATA, SIZES, full(b"stz2", ">II100x", 5, count)), "sizes of 5 bits")
    refused(replaced(DATA, SIZES, full(b"stz2", ">II", 8, count)), "too short for its 24 rows")


def test_64_bit_offsets() -> None:
    offsets = body(DATA, *OFFSETS)
    values = struct.unpack(f">{len(offsets) // 4 - 2}I", offsets[8:])
    wide = full(b"co64", f">I{len(values)}Q", len(values), *values)
    assert read(replaced(DATA, OFFSETS, wide)) == read(DATA)
    refused(replaced(DATA, OFFSETS, full(b"co64", f">I{len(values)}Q", len(values), *[2**63] * len(values))))


@pytest.mark.parametrize("data", [DATA, FAST], ids=["plain", "faststart"])
@pytest.mark.parametrize("track", [b"vide", b"soun"])
def test_samples_outside_the_media(data: bytes, track: bytes) -> None:
    first = struct.unpack(">I", body(data, *OFFSETS, track=track)[8:12])[0]
    start, end = spot(data, b"mdat")
    for wrong in (0, start, start + 7, end - 1, end, len(data), 2**32 - 1):
        refused(poked(data, OFFSETS, 8, struct.pack(">I", wrong), track=track), "samples")
    assert start + 8 <= first < end


@pytest.mark.parametrize("to_the_end", [True, False])
def test_an_index_that_was_moved_without_its_offsets(*, to_the_end: bool) -> None:
    data = FAST if to_the_end else DATA
    start, end = spot(data, b"moov")
    rest = data[:start] + data[end:]
    head = spot(rest, b"ftyp")[1]
    moved = rest + data[start:end] if to_the_end else rest[:head] + data[start:end] + rest[head:]
    refused(moved, "which no 'mdat' box holds|samples up to")


def test_more_samples_than_the_chunks_hold() -> None:
    refused(replaced(DATA, OFFSETS, full(b"stco", ">I", 0)), "more samples than its chunks hold")
    refused(poked(DATA, SIZES, 4, struct.pack(">II", 1, 2**32 - 1)), "more samples than its chunks hold")


@pytest.mark.parametrize(
    ("name", "offset"), [(b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4)], ids=["stts", "stsc", "stsz", "stco"]
)
def test_counts_that_the_box_does_not_hold(name: bytes, offset: int) -> None:
    refused(poked(DATA, table(name), offset, b"\xff" * 4), "too short for its 4294967295 rows")


def test_runs_of_chunks() -> None:
    """Samples that lie side by side can be one chunk or many, and a chunk may be said to hold more than are left."""
    data, sizes = mp4(audio=False), body(mp4(audio=False), *SIZES)
    start = struct.unpack(">I", body(data, *OFFSETS)[8:12])[0]
    first, second, third = struct.unpack(">3I", sizes[12:24])
    offsets = [start, start + first + second, start + first + second + third]

    def runs(*rows: int) -> bytes:
        chunked = replaced(data, table(b"stsc"), full(b"stsc", f">{1 + len(rows)}I", len(rows) // 3, *rows))
        return replaced(chunked, OFFSETS, full(b"stco", ">4I", 3, *offsets))

    assert read(runs(1, 2, 1, 2, 1, 1, 3, 21, 1)) == read(data)
    assert read(runs(1, 2, 1, 2, 1, 1, 3, 2**32 - 1, 1)) == read(data)
    refused(runs(1, 2, 1, 2, 1, 1, 3, 20, 1), "more samples than its chunks hold")
    refused(runs(2, 2, 1, 2, 1, 1, 3, 21, 1), "do not go forwards")


def test_times_beyond_the_samples_do_not_count() -> None:
    data = replaced(DATA, table(b"stts"), full(b"stts", ">5I", 2, 24, 512, 2**32 - 1, 2**31 - 1))
    assert read(data).duration_seconds == 1.0
    short = replaced(DATA, table(b"stts"), full(b"stts", ">3I", 1, 23, 512))
    assert read(short).duration_seconds == 1.0


def test_packed_sound_of_quicktime() -> None:
    """Its size of a sample is no size at all: 64 samples are in 34 bytes."""
    mdat = b"v" * 100 + b"a" * 340
    offset = len(box(b"ftyp", b"qt  ")) + 8

    def track(number: int, handler: bytes, entry: bytes, samples: int, size: int, at: int) -> bytes:
        tables = full(b"stsd", ">I", 1) + entry
        tables = patched(tables, 0, struct.pack(">I", len(tables)))
        tables += full(b"stts", ">3I", 1, samples, 1) + full(b"stsc", ">4I", 1, 1, samples, 1)
        tables += full(b"stsz", ">2I", size, samples) + full(b"stco", ">2I", 1, at)
        head = full(b"mdhd", ">5I", 0, 0, samples, samples, 0) + box(b"hdlr", bytes(8) + handler + bytes(13))
        media = box(b"mdia", head + box(b"minf", box(b"stbl", tables)))
        return box(b"trak", full(b"tkhd", ">5I52x2I", 0, 0, number, 0, 1, 64 << 16, 48 << 16) + media)

    picture = box(b"mp4v", bytes(24) + struct.pack(">2H", 64, 48) + bytes(50))

    def movie(packed: bytes) -> bytes:
        sound = box(b"ima4", bytes(8) + packed)
        tracks = track(1, b"vide", picture, 10, 10, offset) + track(2, b"soun", sound, 640, 1, offset + 100)
        return box(b"ftyp", b"qt  ") + box(b"mdat", mdat) + box(b"moov", full(b"mvhd", ">4I", 0, 0, 1, 1) + tracks)

    v1 = struct.pack(">HHI4HI4I", 1, 0, 0, 1, 16, 0, 0, 44100 << 16, 64, 34, 34, 2)
    assert read(movie(v1)).has_audio
    refused(movie(patched(v1, 0, bytes(2))), "samples up to|no 'mdat' box holds")


def test_large_tables_take_no_memory() -> None:
    count = 300_000
    moov_at = spot(DATA, b"moov")[0]
    media = box(b"mdat", bytes(count))
    data = DATA[:moov_at] + media + DATA[moov_at:]
    data = replaced(data, SIZES, full(b"stsz", ">2I", 0, count) + struct.pack(">I", 1) * count)
    start = spot(data, *SIZES)[0]
    data = patched(data, start, struct.pack(">I", 20 + 4 * count))
    data = replaced(data, table(b"stsc"), full(b"stsc", ">4I", 1, 1, count, 1))
    data = replaced(data, OFFSETS, full(b"stco", ">2I", 1, moov_at + 8))
    file = io.BytesIO(data)
    tracemalloc.start()
    try:
        read_mp4(file, len(data))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
