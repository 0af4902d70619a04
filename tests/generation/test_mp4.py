from __future__ import annotations

import io
import struct

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.client.errors import InvalidVideoError
from airflow_provider_apimart.generation.mp4 import MAX_BOXES, MediaInfo, read_mp4
from tests.generation.media_files import FPS, HEIGHT, WIDTH, mp4

PLAIN = mp4()
FAST = mp4(movflags="faststart")


def read(data: bytes) -> MediaInfo:
    return read_mp4(io.BytesIO(data), len(data))


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def find(data: bytes, kind: bytes) -> int:
    """Return where the box ``kind`` begins; the fixtures hold each name once."""
    at = data.index(kind)
    return at - 4


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


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
        (box(b"ftyp", b"isom") + b"\x00\x00", "2 bytes at 12 are too few"),
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
    """Only the header grows, so that what the index points to moves by 8 bytes and still ends inside the file."""
    at = find(data, b"mdat")
    size = struct.unpack(">I", data[at : at + 4])[0]
    long = data[:at] + struct.pack(">I4sQ", 1, b"mdat", size + 8) + data[at + 8 :]
    assert read(long) == read(data)


def test_media_to_the_end_of_the_file() -> None:
    """``mdat`` of size 0 hides a cut from the boxes; the index of samples does not."""
    at = find(FAST, b"mdat")
    assert at + struct.unpack(">I", FAST[at : at + 4])[0] == len(FAST)
    open_end = patched(FAST, at, bytes(4))
    assert read(open_end) == read(FAST)
    with pytest.raises(InvalidVideoError, match=r"has samples up to \d+, the file has \d+ bytes"):
        read(open_end[:-1])


def test_index_that_points_past_the_end() -> None:
    at = FAST.index(b"stco") + 12
    with pytest.raises(InvalidVideoError, match="samples up to"):
        read(patched(FAST, at, struct.pack(">I", len(FAST))))


def test_more_samples_than_the_chunks_hold() -> None:
    at = FAST.index(b"stco") + 8
    with pytest.raises(InvalidVideoError, match="more samples than its chunks hold"):
        read(patched(FAST, at, struct.pack(">I", 0)))


def test_tables_that_lie_about_their_length() -> None:
    at = FAST.index(b"stco") + 8
    with pytest.raises(InvalidVideoError, match="too short for its 4294967295 rows"):
        read(patched(FAST, at, struct.pack(">I", 2**32 - 1)))


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


def test_movie_without_a_duration_takes_that_of_its_track() -> None:
    at = PLAIN.index(b"mvhd") + 20
    for unknown in (0, 2**32 - 1):
        assert read(patched(PLAIN, at, struct.pack(">I", unknown))).duration_seconds == pytest.approx(1.0, abs=0.1)


def test_timescale_of_zero() -> None:
    with pytest.raises(InvalidVideoError, match="no ticks"):
        read(patched(PLAIN, PLAIN.index(b"mvhd") + 16, bytes(4)))


def test_fragments_that_fall_short_of_what_is_announced() -> None:
    data = mp4(2, audio=False, movflags="frag_keyframe+empty_moov")
    mvex, trex, moov = find(data, b"mvex"), find(data, b"trex"), find(data, b"moov")
    timescale = struct.unpack(">I", data[data.index(b"mvhd") + 16 :][:4])[0]

    def announcing(seconds: float) -> bytes:
        mehd = box(b"mehd", struct.pack(">II", 0, int(seconds * timescale)))
        sized = bytearray(data)
        for at in (mvex, moov):
            sized[at : at + 4] = struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + len(mehd))
        return bytes(sized[:trex]) + mehd + bytes(sized[trex:])

    assert read(announcing(2)).duration_seconds == 2.0
    with pytest.raises(InvalidVideoError, match=r"fragments last 2\.0\d+ s of the 9\.000 s"):
        read(announcing(9))


def test_a_file_shorter_than_its_size() -> None:
    with pytest.raises(InvalidVideoError):
        read_mp4(io.BytesIO(PLAIN), len(PLAIN) + 100)


FRAGMENTED = mp4(movflags="frag_keyframe+empty_moov")
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\x00\x00\x00\x01"])),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.sampled_from([PLAIN, FAST, FRAGMENTED]), edits=EDITS, keep=st.floats(0.1, 1), in_moov=st.booleans())
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
