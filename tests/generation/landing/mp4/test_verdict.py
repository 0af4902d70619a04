from __future__ import annotations

import io
import random
import struct

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.client.errors import InvalidVideoError
from airflow_provider_apimart.generation.landing.mp4 import MAX_BOXES, read_mp4
from tests.generation.landing.media_files import FPS, HEIGHT, WIDTH, mp4
from tests.generation.landing.mp4.editing import (
    FRAGMENTED,
    accepts,
    appended,
    body,
    borders,
    box,
    boxes,
    full,
    parts,
    patched,
    poked,
    read,
    refused,
    renamed,
    replaced,
    shifted,
    spot,
    table,
)

PLAIN = mp4()
FAST = mp4(movflags="faststart")


def find(data: bytes, kind: bytes) -> int:
    """Return where the box ``kind`` begins; the fixtures hold each name once."""
    return data.index(kind) - 4


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov", "dash", "negative_cts_offsets"])
@pytest.mark.parametrize("audio", [True, False])
def test_agrees_with_a_decoder(movflags: str, audio: bool) -> None:
    data = mp4(2, audio=audio, movflags=movflags)
    info = read(data)
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        assert (info.width, info.height) == (video.width, video.height) == (WIDTH, HEIGHT)
        assert info.has_audio is bool(container.streams.audio) is audio
        assert container.duration is not None
        assert info.duration_seconds == pytest.approx(container.duration / 1_000_000, abs=2 / FPS)


@pytest.mark.parametrize("data", [PLAIN, FAST], ids=["plain", "faststart"])
def test_every_strict_prefix_is_refused(data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(InvalidVideoError):
            read(data[:size])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html></html>", r"begins with b'<!DOCTYPE html>"),
        (b"\x00\x00", "begins with"),
        (b'{"error": {"message": "x"}}', "begins with"),
        (box(b"ftyp", b"isom"), "no 'moov' box"),
        (box(b"ftyp", b"isom") + struct.pack(">I4s", 3, b"moov"), "'moov' at 12 says that it is 3 bytes long"),
        (
            box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"mdat", 2**63),
            r"'mdat' says it ends at \d+, the file has 28",
        ),
        (box(b"ftyp", b"isom") + struct.pack(">I4s", 1, b"mdat"), "ends within its header"),
        (box(b"ftyp", b"isom") + box(b"free") * (MAX_BOXES + 1), "more than 100000 boxes"),
        (box(b"ftyp", b"isom") + box(b"moov") + box(b"mdat"), "no 'mvhd'"),
    ],
)
def test_what_is_said_of_other_files(data: bytes, text: str) -> None:
    with pytest.raises(InvalidVideoError, match=text):
        read(data)


def test_cut_off_within_the_media() -> None:
    at = find(PLAIN, b"mdat")
    end = at + struct.unpack(">I", PLAIN[at : at + 4])[0]
    with pytest.raises(InvalidVideoError, match=f"box 'mdat' says it ends at {end}, the file has {end - 5} bytes"):
        read(PLAIN[: end - 5])


def test_sound_alone_is_no_video() -> None:
    with pytest.raises(InvalidVideoError, match="no video track"):
        read(PLAIN.replace(b"vide", b"meta"))


@pytest.mark.parametrize("data", [PLAIN, FAST], ids=["plain", "faststart"])
def test_media_of_64_bit_size(data: bytes) -> None:
    at = find(data, b"mdat")
    size = struct.unpack(">I", data[at : at + 4])[0]
    long = data[:at] + struct.pack(">I4sQ", 1, b"mdat", size + 8) + data[at + 8 :]
    assert read(shifted(long, 8)) == read(data)


def test_media_to_the_end_of_the_file() -> None:
    """``mdat`` of size 0 hides a cut from the boxes; the index of samples does not."""
    at = find(FAST, b"mdat")
    assert at + struct.unpack(">I", FAST[at : at + 4])[0] == len(FAST)
    open_end = patched(FAST, at, bytes(4))
    assert read(open_end) == read(FAST)
    with pytest.raises(InvalidVideoError, match=r"has samples up to \d+, the file has \d+ bytes"):
        read(open_end[:-1])


def test_rotation_swaps_width_and_height() -> None:
    at = PLAIN.index(b"tkhd") + 4 + 40
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    turned = read(patched(PLAIN, at, quarter))
    assert (turned.width, turned.height) == (HEIGHT, WIDTH)
    half = struct.pack(">9i", -(1 << 16), 0, 0, 0, -(1 << 16), 0, 0, 0, 1 << 30)
    assert read(patched(PLAIN, at, half)).width == WIDTH


def test_version_1_headers() -> None:
    """Rebuild the movie header with 64-bit times; the index does not move, because it comes after the media."""
    moov, mvhd = find(PLAIN, b"moov"), find(PLAIN, b"mvhd")
    size = struct.unpack(">I", PLAIN[mvhd : mvhd + 4])[0]
    timescale, duration = struct.unpack(">II", PLAIN[mvhd + 20 : mvhd + 28])
    long = box(b"mvhd", struct.pack(">IQQIQ", 1 << 24, 0, 0, timescale, duration) + PLAIN[mvhd + 28 : mvhd + size])
    grown = struct.unpack(">I", PLAIN[moov : moov + 4])[0] + len(long) - size
    data = PLAIN[:moov] + struct.pack(">I", grown) + PLAIN[moov + 4 : mvhd] + long + PLAIN[mvhd + size :]
    assert read(data) == read(PLAIN)


def test_timescale_of_zero() -> None:
    with pytest.raises(InvalidVideoError, match="no ticks"):
        read(patched(PLAIN, PLAIN.index(b"mvhd") + 16, bytes(4)))


# --- what is told ---


def test_the_duration_is_that_of_the_samples() -> None:
    """Headers can say anything. A writer that left them at 0 made a right file all the same."""
    for ticks in (0, 3_600_000, 2**32 - 1):
        data = PLAIN
        for path, offset in (((b"mvhd",), 16), ((b"trak", b"tkhd"), 20), ((b"trak", b"mdia", b"mdhd"), 16)):
            data = poked(data, (b"moov", *path), offset, struct.pack(">I", ticks))
        data = renamed(data, b"moov", b"trak", b"edts")
        assert read(data).duration_seconds == 1.0


def ticks_a_second(*path: bytes) -> int:
    """Return the timescale that a header names; which one the muxer takes depends on FFmpeg's version."""
    start, _ = spot(PLAIN, b"moov", *path)
    found: int = struct.unpack(">I", PLAIN[start + 20 : start + 24])[0]
    return found


def edited(*edits: tuple[int, int]) -> bytes:
    """Return the file with another edit list: milliseconds, and the media time in 1/12288 s, each."""
    movie, media = (ticks_a_second(b"mvhd"), ticks_a_second(b"trak", b"mdia", b"mdhd"))
    ticks = [(length * movie // 1000, at if at < 0 else at * media // 12288) for length, at in edits]
    rows = b"".join(struct.pack(">IihH", *edit, 1, 0) for edit in ticks)
    return replaced(PLAIN, (b"moov", b"trak", b"edts"), box(b"edts", full(b"elst", ">I", len(edits)) + rows))


@pytest.mark.parametrize(
    ("edits", "seconds"),
    [
        ([(500, 0)], 0.5),
        ([(250, 0), (250, 6144)], 0.5),
        ([(700, -1), (1000, 0)], 1.0),
        ([(3_600_000, 0)], 1.0),
        ([(0, 0)], 1.0),
        ([], 1.0),
    ],
)
def test_an_edit_list_may_play_less(edits: list[tuple[int, int]], seconds: float) -> None:
    data = edited(*edits)
    start, end = spot(data, b"moov", b"trak", b"edts")
    rows = data[start + 16 + 8 : end]
    # The size of the inner box was not counted by ``full``: say it.
    data = patched(data, start + 8, struct.pack(">I", 16 + len(rows)))
    assert read(data).duration_seconds == seconds


def test_an_edit_list_that_counts_more_than_it_holds() -> None:
    assert read(poked(PLAIN, (b"moov", b"trak", b"edts"), 12, b"\xff" * 4)) == read(PLAIN)


def test_a_picture_without_a_length_of_its_own() -> None:
    data = replaced(PLAIN, table(b"stts"), full(b"stts", ">III", 1, 1, 0))
    assert read(data).duration_seconds == pytest.approx(1.0, abs=0.1)
    for path, offset in (((b"mvhd",), 16), ((b"trak", b"mdia", b"mdhd"), 16)):
        data = poked(data, (b"moov", *path), offset, bytes(4))
    refused(data, "lasts 0 s")


@pytest.mark.parametrize("movflags", ["", FRAGMENTED])
def test_a_size_that_only_the_sample_entry_has(movflags: str) -> None:
    data = mp4(movflags=movflags)
    data = poked(data, (b"moov", b"trak", b"tkhd"), 76, bytes(8))
    assert read(data) == read(mp4(movflags=movflags))
    turned = poked(data, (b"moov", b"trak", b"tkhd"), 40, struct.pack(">5i", 0, 1 << 16, 0, -(1 << 16), 0))
    assert (read(turned).width, read(turned).height) == (HEIGHT, WIDTH)
    refused(poked(data, table(b"stsd"), 8 + 32, bytes(4)), "no size")


def test_a_track_without_samples_is_no_sound() -> None:
    data = PLAIN
    assert read(data).has_audio
    for name, offset in ((b"stsz", 8), (b"stco", 4), (b"stts", 4), (b"stsc", 4)):
        data = poked(data, table(name), offset, bytes(4), track=b"soun")
    data = poked(data, table(b"stsz"), 4, bytes(4), track=b"soun")
    assert not read(data).has_audio
    for name, offset in ((b"stsz", 8), (b"stco", 4), (b"stts", 4), (b"stsc", 4)):
        data = poked(data, table(name), offset, bytes(4))
    refused(data, "no video track with samples")


# --- what may stand where ---


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"1234567", bytes(4), bytes(8), bytes(70_000)], ids=range(6))
@pytest.mark.parametrize("movflags", ["", "faststart", FRAGMENTED])
def test_bytes_behind_the_last_box(movflags: str, tail: bytes) -> None:
    data = mp4(movflags=movflags)
    assert read(data + tail) == read(data)


@pytest.mark.parametrize("tail", [b"12345678", bytes(8) + b"\1", bytes(70_000) + b"\1"], ids=range(3))
def test_more_than_a_few_bytes_must_be_a_box_or_zeros(tail: bytes) -> None:
    refused(PLAIN + tail)


def test_what_may_be_left_of_a_fragment_is_refused() -> None:
    """Nothing says that the file goes no further, and these bytes can be where the next fragment begins."""
    head, fragments, _ = parts(mp4(2, movflags=FRAGMENTED))
    whole = head + b"".join(fragments)
    assert read(whole)
    for kept in range(1, 8):
        refused(whole + fragments[0][:kept])
    assert read(whole + bytes(4)) == read(whole)


@pytest.mark.parametrize("kind", [b"free", b"skip", b"uuid", b"udta", b"meta", b"wide", b"C2PA"])
def test_boxes_that_play_no_part(kind: bytes) -> None:
    extra = box(kind, b"\1" * 40)
    assert read(PLAIN + extra) == read(PLAIN)
    for path in ((b"moov",), (b"moov", b"trak"), (b"moov", b"trak", b"mdia"), table(b"stsd")[:-1]):
        assert read(appended(PLAIN, path, extra)) == read(PLAIN)
    at = find(FAST, b"mdat")
    moved = FAST[:at] + extra + FAST[at:]
    refused(moved, "no 'mdat' box holds|samples up to")
    assert read(shifted(moved, len(extra))) == read(FAST)


def test_media_in_two_boxes() -> None:
    at, end = spot(FAST, b"mdat")
    offsets = body(FAST, *table(b"stco"))
    second = struct.unpack(">I", offsets[-4:])[0]
    assert at + 8 < second < end
    split = FAST[:at] + box(b"mdat", FAST[at + 8 : second]) + box(b"mdat", FAST[second:end]) + FAST[end:]
    assert read(shifted(split, 8, start=second)) == read(FAST)
    refused(split, "no 'mdat' box holds")


# --- cut files ---

LAYOUTS = [
    "",
    "faststart",
    "frag_keyframe",
    "frag_keyframe+empty_moov",
    FRAGMENTED,
    "frag_keyframe+empty_moov+omit_tfhd_offset",
    "frag_keyframe+empty_moov+separate_moof",
    "frag_every_frame+empty_moov+default_base_moof",
    "dash",
    "dash+global_sidx",
    "cmaf+negative_cts_offsets",
]


@pytest.mark.parametrize("audio", [True, False], ids=["sound", "silent"])
@pytest.mark.parametrize("movflags", LAYOUTS)
def test_a_cut_file_is_refused(movflags: str, audio: bool) -> None:
    """All that may be cut off is what stands behind the media.

    Of a cut right between two fragments nothing is left to see, unless an index before them says how many there are.
    """
    data = mp4(2, audio=audio, movflags=movflags)
    assert read(data).duration_seconds == pytest.approx(2.0, abs=2 / FPS)
    tops = list(boxes(data))
    last = max(end for kind, _, end in tops if kind in (b"moov", b"mdat"))
    first = min((start for kind, start, _ in tops if kind == b"moof"), default=last)
    between = {end for kind, start, end in tops if kind == b"mdat" and start > first}
    dice = random.Random(11)
    cuts = sorted({at + step for at in borders(data) for step in (-1, 0, 1, 3, 7)} | {*dice.choices(range(last), k=40)})
    cuts = dice.sample(cuts, min(len(cuts), 300))
    found = {at for at in cuts if at < last and accepts(data[:at])}
    assert found <= (set() if "global_sidx" in movflags else between)


def test_a_file_shorter_than_its_size() -> None:
    with pytest.raises(InvalidVideoError):
        read_mp4(io.BytesIO(PLAIN), len(PLAIN) + 100)


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\x00\x00\x00\x01"])),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from([PLAIN, FAST, mp4(movflags=FRAGMENTED), mp4(movflags="dash+global_sidx")]),
    edits=EDITS,
    keep=st.floats(0.1, 1),
    in_moov=st.booleans(),
)
def test_damaged_files_are_read_or_refused(
    data: bytes, edits: list[tuple[float, bytes]], keep: float, in_moov: bool
) -> None:
    start, end = 0, len(data)
    if in_moov:
        start = find(data, b"moov")
        end = start + struct.unpack(">I", data[start : start + 4])[0]
    for where, value in edits:
        data = patched(data, start + int(where * (end - start)), value)
    data = data[: int(len(data) * keep)] if keep < 0.9 else data
    try:
        info = read(data)
    except InvalidVideoError as error:
        assert len(str(error)) < 400
    else:
        assert info.duration_seconds > 0 and info.width > 0 and info.height > 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_noise_after_ftyp(noise: bytes) -> None:
    with pytest.raises(InvalidVideoError):
        read(box(b"ftyp", b"isom") + noise)
