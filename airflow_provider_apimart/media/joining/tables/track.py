"""Reads one track's sample tables: when each sample is shown, how long, and where its bytes are."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain, repeat
from operator import add
from typing import NamedTuple

from airflow_provider_apimart.media.joining.tables.boxes import Box, Children, not_plain
from airflow_provider_apimart.media.joining.tables.entries import (
    PictureEntry,
    SoundEntry,
    picture_entry,
    sound_entry,
)

#: In a track of one clip: hours of pictures. Longer ones are FFmpeg's.
MAX_SAMPLES = 500_000
#: One and nothing, as a matrix writes them.
ONE, NONE = 0x10000, 0
#: The matrices of pictures that are shown as they are, or turned: by the degrees counterclockwise.
TURNS = {
    (ONE, NONE, NONE, ONE): 0,
    (NONE, -ONE, ONE, NONE): 90,
    (-ONE, NONE, NONE, -ONE): 180,
    (NONE, ONE, -ONE, NONE): 270,
}


class Sample(NamedTuple):
    """A picture, or a packet of sound. Its times are in ticks of its track, those of the edit list applied.

    :param offset: where its bytes begin in the file.
    """

    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    offset: int
    size: int
    is_discard: bool = False


@dataclass(frozen=True)
class Track:
    """One track of a clip.

    :param timescale: ticks in a second.
    :param matrix: how a player turns it.
    :param shown: width and height as a player shows them, in 1/65,536 of a pixel.
    :param samples: in the order in which they are decoded, which is that of their bytes as well.
    """

    timescale: int
    matrix: bytes
    shown: tuple[int, int]
    entry: PictureEntry | SoundEntry
    samples: tuple[Sample, ...]

    @property
    def ticks(self) -> int:
        """How long all samples take."""
        return sum(sample.duration for sample in self.samples)

    @property
    def rotation(self) -> int:
        """By how many degrees a player turns the pictures, counterclockwise."""
        a, b, _, c, d, *_ = Box(b"tkhd", memoryview(self.matrix)).fields(">9i")
        if (a, b, c, d) not in TURNS:
            not_plain("its pictures are distorted")
        return TURNS[a, b, c, d]


def handler(track: Children) -> bytes:
    """Return what a track holds: ``vide``, ``soun`` or anything else."""
    return bytes(track.one(b"mdia").children().one(b"hdlr").body[8:12])


def read_track(track: Children, movie_timescale: int, file_bytes: int) -> Track:
    """Read a track of pictures or sound.

    :param file_bytes: the size of the file: no sample lies outside.
    :raises NotPlain: if anything about it is not understood.
    """
    head = track.one(b"tkhd")
    skip = 52 if head.version == 1 else 40
    shown = head.fields(">II", skip + 36)
    media = track.one(b"mdia").children()
    timescale, duration = _clock(media.one(b"mdhd"))
    info = media.one(b"minf").children()
    _check_own_file(info)
    tables = info.one(b"stbl").children()
    entry = _entry(tables.one(b"stsd"), handler(track))
    times = _Times.read(tables, track, movie_timescale, timescale)
    samples = tuple(times.samples(_sizes(tables.one(b"stsz")), tables, file_bytes))
    found = Track(timescale, bytes(head.body[skip : skip + 36]), (shown[0], shown[1]), entry, samples)
    if abs(times.ticks - duration) > 2 * max(times.durations):
        not_plain("it says that it is longer or shorter than its samples")
    return found


def _clock(box: Box) -> tuple[int, int]:
    timescale, duration = box.fields(">IQ", 20) if box.version == 1 else box.fields(">II", 12)
    if not 0 < timescale < 2**31:
        not_plain("its clock does not tick")
    return timescale, duration


def _check_own_file(info: Children) -> None:
    """Check that the samples are in this file, and not in one that it names."""
    references = info.one(b"dinf").children().one(b"dref")
    inside = references.children(8).boxes
    if len(inside) != 1 or inside[0].fields(">I")[0] & 0xFFFFFF != 1:
        not_plain("its samples are in another file")


def _entry(box: Box, kind: bytes) -> PictureEntry | SoundEntry:
    inside = box.children(8).boxes
    if box.fields(">I", 4)[0] != 1 or len(inside) != 1:
        not_plain("it has several sample entries")
    if inside[0].fields(">H", 6)[0] != 1:
        not_plain("its samples are in another file")
    return picture_entry(inside[0]) if kind == b"vide" else sound_entry(inside[0])


def _sizes(box: Box) -> array[int]:
    each, count = box.fields(">II", 4)
    if not 0 < count <= MAX_SAMPLES:
        not_plain(f"it has {count} samples")
    sizes = box.words(12, count) if not each else array("I", repeat(each, count))
    if min(sizes) == 0:
        not_plain("it has empty samples")
    return sizes


def _runs(box: Box) -> Iterator[tuple[int, int]]:
    """Yield the rows of a table of runs: how many, and what."""
    words = box.words(8, 2 * box.fields(">I", 4)[0])
    if sum(words[::2]) > MAX_SAMPLES:
        not_plain(f"the box {box.kind!r} has too many samples")
    return zip(words[::2], words[1::2], strict=True)


def _expanded(box: Box) -> array[int]:
    return array("q", chain.from_iterable(repeat(value, count) for count, value in _runs(box)))


@dataclass(frozen=True)
class _Times:
    """The times of a track's samples.

    :param offsets: how much later than it is decoded each is shown.
    :param start: what the edit list says is shown first, in ticks.
    :param end: where it ends; ``None`` if it does not say.
    :param keyframes: their numbers, counted from 1; ``None`` if all are.
    """

    durations: array[int]
    offsets: array[int]
    start: int
    end: int | None
    keyframes: frozenset[int] | None
    is_sound: bool

    @classmethod
    def read(cls, tables: Children, track: Children, movie_timescale: int, timescale: int) -> _Times:
        durations = _expanded(tables.one(b"stts"))
        if not durations or min(durations) <= 0:
            not_plain("some samples take no time")
        shown, sync = tables.maybe(b"ctts"), tables.maybe(b"stss")
        offsets = array("q", repeat(0, len(durations))) if shown is None else _expanded(shown)
        if shown is not None:
            # Version 0 has no negative ones; writers put them there all the same.
            offsets = array("q", (each - 2**32 if each >= 2**31 else each for each in offsets))
        start, end = _edit(track, movie_timescale, timescale)
        keyframes = None if sync is None else frozenset(sync.words(8, min(MAX_SAMPLES, sync.fields(">I", 4)[0])))
        return cls(durations, offsets, start, end, keyframes, handler(track) == b"soun")

    @property
    def ticks(self) -> int:
        return sum(self.durations)

    def samples(self, sizes: array[int], tables: Children, file_bytes: int) -> Iterator[Sample]:
        """Return the samples that are shown."""
        places = _places(tables, sizes, file_bytes)
        if not len(sizes) == len(self.durations) == len(self.offsets) == len(places):
            not_plain("its tables do not have the same number of samples")
        # As FFmpeg counts: no picture is decoded after it is shown.
        behind = max(0, -min(self.offsets))
        began = list(accumulate(self.durations, initial=-self.start))[:-1]
        shown = list(map(add, began, self.offsets))
        count = len(shown)
        if self.end is not None and max(shown) >= self.end:
            if not self.is_sound:
                not_plain("it shows only a part of its pictures")
            count = next(number for number, at in enumerate(shown) if at >= self.end)
        keys = repeat(True) if self.keyframes is None else map(self.keyframes.__contains__, range(1, count + 1))
        decoded = began if not behind else [at - behind for at in began]
        rows = zip(shown[:count], decoded, self.durations, keys, places, sizes, repeat(False), strict=False)
        # As ``map(Sample._make, rows)``, in a third of the time: a join takes most of its own time here.
        return map(partial(tuple.__new__, Sample), rows)


def _edit(track: Children, movie_timescale: int, timescale: int) -> tuple[int, int | None]:
    """Return which part of the samples is shown, in ticks: its beginning, and how long it is."""
    edits = track.maybe(b"edts")
    box = None if edits is None else edits.children().maybe(b"elst")
    if box is None:
        return 0, None
    count, length, start, rate = box.fields(">IQqI" if box.version == 1 else ">IIiI", 4)
    if count != 1 or start < 0 or rate != ONE:
        not_plain("its edit list does more than to begin and to end")
    # A length of 0 is that of the whole.
    return start, round(length * timescale / movie_timescale) if length else None


def _places(tables: Children, sizes: array[int], file_bytes: int) -> array[int]:
    """Return where the samples begin."""
    chunks = _chunks(tables)
    words = tables.one(b"stsc")
    rows = words.words(8, 3 * words.fields(">I", 4)[0])
    firsts, counts, entries = rows[::3], rows[1::3], rows[2::3]
    if not firsts or firsts[0] != 1 or set(entries) != {1} or min(counts) == 0:
        not_plain("its chunks are not counted from 1, or empty")
    places, end = array("q"), 0
    for first, after, count in zip(firsts, [*firsts[1:], len(chunks) + 1], counts, strict=True):
        if not first < after <= len(chunks) + 1:
            not_plain("its chunks are not in order")
        if len(places) + (after - first) * count > len(sizes):
            not_plain("its chunks hold more samples than there are")
        for at in chunks[first - 1 : after - 1]:
            if at < end:
                not_plain("its chunks overlap, or are not in order")
            held = sizes[len(places) : len(places) + count]
            places.extend(accumulate(held[:-1], initial=at))
            end = places[-1] + held[-1]
            if end > file_bytes:
                not_plain("it is cut off")
    return places


def _chunks(tables: Children) -> array[int]:
    if not tables.all(b"co64"):
        short = tables.one(b"stco")
        return short.words(8, short.fields(">I", 4)[0])
    long = tables.one(b"co64")
    if tables.all(b"stco"):
        not_plain("it says twice where its chunks are")
    chunks = long.long_words(8, long.fields(">I", 4)[0])
    if chunks and max(chunks) >= 2**62:
        not_plain("its chunks are outside of the file")
    return chunks
