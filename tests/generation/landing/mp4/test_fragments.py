"""Fragments: each must bring its samples, and none may be missing that the file speaks of."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.generation.landing.media_files import FPS, mp4
from tests.generation.landing.mp4.editing import (
    FRAGMENTED,
    accepts,
    announcing,
    body,
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
)

SILENT = mp4(3, audio=False, movflags=FRAGMENTED)
SOUND = mp4(3, movflags=FRAGMENTED)
#: A fragment for each track in turn.
APART = mp4(3, movflags=f"{FRAGMENTED}+separate_moof")


def number_of(fragment: bytes) -> int:
    number: int = struct.unpack(">I", body(fragment, b"moof", b"mfhd")[4:])[0]
    return number


def numbered(fragment: bytes, number: int) -> bytes:
    return poked(fragment, (b"moof", b"mfhd"), 4, struct.pack(">I", number))


def without_times(fragment: bytes) -> bytes:
    return fragment.replace(b"tfdt", b"free")


@pytest.mark.parametrize("mvhd", [True, False], ids=["mvhd", "mehd"])
@pytest.mark.parametrize("data", [SILENT, SOUND], ids=["silent", "sound"])
def test_fragments_that_fall_short_of_what_is_announced(data: bytes, *, mvhd: bool) -> None:
    head, fragments, tail = parts(announcing(data, 3, mvhd=mvhd))
    assert read(head + b"".join(fragments) + tail) == read(data)
    assert read(head + b"".join(fragments)) == read(data)
    assert len(fragments) > 3
    for kept in range(1, len(fragments)):
        refused(head + b"".join(fragments[:kept]), r"fragments last \d\.\d{3} s of the 3\.000 s that it announces")


def test_a_length_that_only_the_track_says() -> None:
    timescale = struct.unpack(">I", body(SILENT, b"moov", b"trak", b"mdia", b"mdhd")[12:16])[0]
    said = poked(SILENT, (b"moov", b"trak", b"mdia", b"mdhd"), 16, struct.pack(">I", 3 * timescale))
    head, fragments, _ = parts(said)
    assert accepts(head + b"".join(fragments))
    refused(head + b"".join(fragments[:-1]), r"of the 3\.000 s that it announces")


def test_a_gap_between_fragments_that_are_not_counted() -> None:
    head, fragments, _ = parts(SILENT)
    same = [numbered(each, 1) for each in fragments]
    assert accepts(head + b"".join(same))
    refused(head + b"".join(same[:2] + same[3:]), "fragments are missing before")


def test_both_headers_may_say_the_whole_length() -> None:
    head, fragments, _ = parts(announcing(announcing(SILENT, 3, mvhd=True), 3))
    assert read(head + b"".join(fragments)).duration_seconds == 3.0
    refused(head + b"".join(fragments[:-1]), "that it announces")


def test_a_single_frame_is_missed_and_rounding_is_not() -> None:
    single = mp4(1, audio=False, movflags="frag_every_frame+empty_moov+default_base_moof")
    head, fragments, _ = parts(announcing(single, 1))
    assert len(fragments) == FPS
    refused(head + b"".join(fragments[:-1]), "that it announces")
    assert accepts(announcing(single, 1 + 0.4 / FPS))
    head, fragments, _ = parts(announcing(single, 1 + 0.4 / FPS))
    assert accepts(head + b"".join(fragments))


def test_the_end_that_an_index_proves_allows_for_another_length() -> None:
    """Writers announce the longest track of what they had, which need not be in this file."""
    head, fragments, tail = parts(announcing(SILENT, 3.4))
    assert accepts(head + b"".join(fragments) + tail)
    refused(head + b"".join(fragments), "that it announces")
    refused(announcing(SILENT, 3.6), "that it announces")


def test_what_moov_holds_counts() -> None:
    data = mp4(3, audio=False, movflags="frag_keyframe+default_base_moof")
    assert read(data).duration_seconds == 3.0
    head, fragments, tail = parts(data)
    refused(head + b"".join(fragments[1:]) + tail, "fragments are missing")
    refused(head, "says that fragments follow, and has none")
    assert accepts(head + b"".join(fragments[:1]))


@pytest.mark.parametrize("data", [SILENT, SOUND, APART], ids=["silent", "sound", "apart"])
@pytest.mark.parametrize("change", [lambda fragment: fragment, without_times], ids=["times", "no times"])
def test_fragments_in_another_order(data: bytes, change: Callable[[bytes], bytes]) -> None:
    head, whole, _ = parts(data)
    fragments = [change(each) for each in whole]

    def put(*order: int) -> bytes:
        return head + b"".join(fragments[index] for index in order)

    count = range(len(fragments))
    assert read(put(*count)) == read(data)
    for gone in count[1:-1]:
        refused(put(*(index for index in count if index != gone)))
    for twice in count:
        refused(put(*count[: twice + 1], *count[twice:]))
    for at in count[:-1]:
        refused(put(*count[:at], at + 1, at, *count[at + 2 :]))
    refused(put(*reversed(count)))


@pytest.mark.parametrize("data", [SILENT, SOUND], ids=["silent", "sound"])
def test_times_that_go_back_under_numbers_that_go_on(data: bytes) -> None:
    head, fragments, _ = parts(data)
    again = [*fragments[:2], *fragments[1:]]
    refused(head + b"".join(numbered(each, 1 + index) for index, each in enumerate(again)), "back from")


def test_numbers_alone_do_not_prove_that_a_fragment_is_missing() -> None:
    """They run through all tracks of the film that this one was taken from."""
    head, fragments, _ = parts(SILENT)
    spread = [numbered(each, 7 + 3 * index) for index, each in enumerate(fragments)]
    assert read(head + b"".join(spread)) == read(SILENT)
    refused(head + b"".join(without_times(each) for each in spread), "have gaps")


def test_a_pause_in_the_film_is_none() -> None:
    head, fragments, _ = parts(SILENT)
    kept = [numbered(each, 1 + index) for index, each in enumerate([*fragments[:2], *fragments[3:]])]
    assert read(head + b"".join(kept)).duration_seconds == 3.0
    anonymous = b"".join(each.replace(b"mfhd", b"free") for each in kept)
    refused(head + anonymous, "fragments are missing")


@pytest.mark.parametrize("data", [announcing(SILENT, 3), SILENT, SOUND], ids=["announced", "silent", "sound"])
def test_a_fragment_without_its_media(data: bytes) -> None:
    head, fragments, _ = parts(data)
    whole = head + b"".join(fragments)
    start, end = [(at, until) for kind, at, until in boxes(whole) if kind == b"mdat"][-1]
    refused(whole[:start], "samples")
    refused(whole[:start] + box(b"mdat"), "samples")
    tenth = whole[start + 8 : start + 8 + (end - start) // 10]
    refused(whole[:start] + struct.pack(">I4s", 0, b"mdat") + tenth, "samples up to")
    refused(whole[:start] + box(b"free", whole[start + 8 :]), "no 'mdat' box holds")
    assert accepts(whole[:start] + struct.pack(">I4s", 0, b"mdat") + whole[start + 8 :])


@pytest.mark.parametrize("value", [0, -100, 2**31 - 1])
def test_a_run_that_points_elsewhere(value: int) -> None:
    head, fragments, _ = parts(SILENT)
    wrong = poked(fragments[-1], (b"moof", b"traf", b"trun"), 8, struct.pack(">i", value))
    refused(head + b"".join(fragments[:-1]) + wrong, "samples")


def test_absolute_offsets_are_followed() -> None:
    data = mp4(2, audio=False, movflags="frag_keyframe+empty_moov")
    head, fragments, _ = parts(data)
    assert accepts(head + b"".join(fragments))
    refused(head + box(b"free") + b"".join(fragments), "samples")


def test_a_second_track_counted_from_the_fragment() -> None:
    """Where nothing says what it is counted from, the standard means the end of the first track's data."""
    data = mp4(2, movflags="frag_keyframe+empty_moov+omit_tfhd_offset")
    info = read(data)
    head, fragments, _ = parts(data)

    def moved(fragment: bytes) -> bytes:
        at, end = spot(fragment, b"moof")
        trafs = [(start, until) for kind, start, until in boxes(fragment, at + 8, end) if kind == b"traf"]
        if len(trafs) < 2:
            return fragment
        run = fragment.index(b"trun", trafs[1][0]) + 4
        return patched(fragment, run + 8, struct.pack(">i", end + 8))

    changed = [moved(each) for each in fragments]
    assert changed != fragments
    assert read(head + b"".join(changed)) == info


def test_sizes_that_only_the_movie_says() -> None:
    """A run without sizes takes those of ``tfhd``, and where that has none, of ``trex``."""
    head, fragments, _ = parts(mp4(1, audio=False, movflags="frag_every_frame+empty_moov+default_base_moof"))
    last = fragments[-1]
    size = spot(last, b"mdat")[1] - spot(last, b"mdat")[0] - 8

    def run(each: int) -> bytes:
        tfhd = box(b"tfhd", struct.pack(">II", 0x20000, 1))
        tfdt = box(b"tfdt", body(last, b"moof", b"traf", b"tfdt"))
        trun = box(b"trun", struct.pack(">IIi", 1, 1, 8 + 16 + 8 + len(tfhd + tfdt) + 20 + 8))
        moof = box(b"moof", box(b"mfhd", struct.pack(">II", 0, FPS)) + box(b"traf", tfhd + tfdt + trun))
        movie = poked(head, (b"moov", b"mvex", b"trex"), 12, struct.pack(">II", 512, each))
        return movie + b"".join(fragments[:-1]) + moof + last[spot(last, b"mdat")[0] :]

    assert read(run(size)).duration_seconds == 1.0
    refused(run(size + 1), "samples up to")
    refused(run(2**32 - 1), "samples up to")


@pytest.mark.parametrize("name", [b"mdhd", b"stsd"])
def test_a_fragments_track_needs_its_headers(name: bytes) -> None:
    path = (b"mdhd",) if name == b"mdhd" else (b"minf", b"stbl", b"stsd")
    refused(renamed(SILENT, b"moov", b"trak", b"mdia", *path), f"'{name.decode()}'")


def test_a_fragment_of_nobody() -> None:
    refused(renamed(SILENT, b"moof", b"traf", b"tfhd"), "does not say of which track")


@pytest.mark.parametrize("skip", [4, 8], ids=["samples", "flags"])
def test_counts_that_a_run_does_not_hold(skip: int) -> None:
    head, fragments, _ = parts(SILENT)
    wrong = poked(fragments[0], (b"moof", b"traf", b"trun"), 4, b"\xff" * (skip - 4 or 4))
    refused(head + wrong + b"".join(fragments[1:]), "too short for its|samples")


# --- indexes ---


def test_an_index_before_the_segments() -> None:
    data = mp4(3, movflags="dash+global_sidx")
    head, fragments, _ = parts(data)
    assert accepts(head + b"".join(fragments))
    for kept in range(1, len(fragments)):
        refused(head + b"".join(fragments[:kept]), "its index 'sidx' names segments up to")
    start = spot(data, b"sidx")[0]
    refused(patched(data, start + 8 + 30, b"\xff\xff"), "too short for its 65535 rows")


def test_an_index_of_32_bits() -> None:
    data = mp4(3, audio=False, movflags="dash+global_sidx")
    at, end = spot(data, b"sidx")
    track, timescale, earliest, first = struct.unpack(">IIQQ", data[at + 12 : at + 36])
    short = box(b"sidx", struct.pack(">5I", 0, track, timescale, earliest, first) + data[at + 36 : end])
    head, fragments, _ = parts(data[:at] + short + data[end:])
    assert accepts(head + b"".join(fragments))
    refused(head + b"".join(fragments[:-1]), "its index 'sidx'")


def test_an_index_behind_the_fragments() -> None:
    head, fragments, tail = parts(SILENT)
    untimed = [without_times(each) for each in fragments[1:]]
    refused(head + b"".join(untimed) + tail, rf"'mfra' names {len(fragments)} fragments of track 1, {len(untimed)} are")
    assert accepts(head + box(b"free") + b"".join(fragments) + tail)


def test_an_index_of_one_segment_proves_nothing_of_the_next() -> None:
    head, fragments, _ = parts(mp4(3, audio=False, movflags="dash"))
    refused(head + fragments[0][:-1])
    for kept in (1, 3, 7):
        refused(head + fragments[0] + bytes.fromhex("0000004073696478")[:kept])


TREX = full(b"trex", ">5I", 1, 1, 0, 0, 0)


@pytest.mark.parametrize("flags", ["faststart", ""], ids=["moov first", "moov last"])
@pytest.mark.parametrize("children", ["", "trex", "mehd"])
def test_a_whole_movie_that_is_ready_for_fragments(flags: str, children: str) -> None:
    """It needs none where it lasts as long as ``mehd`` says; without that, a cut file with ``moov`` first looks so."""
    data = mp4(1, audio=False, movflags=flags)
    ticks = struct.unpack(">I", body(data, b"moov", b"mvhd")[16:20])[0]

    def extended(announced: int) -> bytes:
        inner = {"": b"", "trex": TREX, "mehd": full(b"mehd", ">I", announced) + TREX}[children]
        changed = replaced(data, (b"moov", b"udta"), box(b"mvex", inner))
        return shifted(changed, len(changed) - len(data)) if flags else changed

    if flags and children == "trex":
        refused(extended(ticks), "says that fragments follow")
    else:
        assert read(extended(ticks)) == read(data)
    if children == "mehd":
        refused(extended(2 * ticks), "announces")
    if children == "mehd" and flags:
        refused(extended(0), "says that fragments follow")


def test_a_file_that_lacks_its_first_fragments() -> None:
    """Numbers and times begin too late. A clip from a live stream does so too, by far more than it has."""
    head, fragments, _ = parts(SILENT)
    for missing in (1, len(fragments) // 2):
        refused(head + b"".join(fragments[missing:]), "track 1 lacks its beginning")
    live = [numbered(each, 9000 + index) for index, each in enumerate(fragments[1:])]
    assert accepts(head + b"".join(live))


def test_an_index_names_the_fragments_of_each_track() -> None:
    """A fragment of its own for each track: that one of the sound is there does not stand for one of the picture."""
    head, fragments, tail = parts(APART)
    assert b"mfra" in tail and accepts(APART)
    untimed = [without_times(each) for each in fragments]
    assert accepts(head + b"".join(untimed) + tail)
    refused(head + b"".join(untimed[:-1]) + tail, r"'mfra' names \d+ fragments of track")
