"""Writes the index of a joined video (``moov``, ISO 14496-12): two tracks at most, one sample entry in each."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import sub

from airflow_provider_apimart.media.joining.tables.boxes import not_plain
from airflow_provider_apimart.media.joining.tables.entries import PictureEntry, boxed
from airflow_provider_apimart.media.joining.tables.track import Sample, Track

#: The largest number that most fields hold. Places, lengths and durations above have wider fields.
WIDEST = 2**32 - 1
UNITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
#: ``und`` in three times five bits.
NO_LANGUAGE = 0x55C4


@dataclass
class Runs:
    """A table that says how often a value is repeated."""

    counts: array[int] = field(default_factory=lambda: array("I"))
    values: array[int] = field(default_factory=lambda: array("I"))

    def add(self, value: int, count: int = 1) -> None:
        """Add a value, so many times.

        :raises NotPlain: if the table cannot hold it.
        """
        if not 0 <= value <= WIDEST:
            not_plain("the times of the joined video are too far apart")
        if self.values and self.values[-1] == value:
            self.counts[-1] += count
        else:
            self.counts.append(count)
            self.values.append(value)

    def extend(self, values: Iterable[int]) -> None:
        """Add many values."""
        for value, same in groupby(values):
            self.add(value, sum(1 for _ in same))

    def rows(self) -> bytes:
        """Return the table, its length first."""
        words = array("I", (word for row in zip(self.counts, self.values, strict=True) for word in row))
        return struct.pack(">I", len(self.values)) + big_endian(words)


class JoinedTrack:
    """The tables of a track, sample by sample, and its chunks as they are laid out.

    :param like: the track of the first clip.
    """

    def __init__(self, like: Track) -> None:
        self.like = like
        self.sizes = array("I")
        self.keyframes = array("I")
        self.durations, self.offsets = Runs(), Runs()
        #: Where each chunk begins, counted from the first byte of the media.
        self.chunks = array("Q")
        self.chunk_samples = array("I")
        #: The samples of the clip that came last, each with its times, until they are settled.
        self._fresh: list[tuple[Sample, int, int]] = []
        self.start: int | None = None
        self._first = self._last = self._end = self._usual = 0
        self._shown_last = -WIDEST

    def add(self, sample: Sample, pts: int, dts: int) -> None:
        """Add a sample, to be shown at ``pts`` and decoded at ``dts``."""
        self._fresh.append((sample, pts, dts))

    def settle(self) -> list[tuple[int, int]]:
        """Put what was added into the tables, and return where it is in the clip: offsets and sizes."""
        if not self._fresh:
            return []
        samples, shown, decoded = zip(*self._fresh, strict=True)
        self._fresh.clear()
        if self.start is None:
            self.start, self._first = shown[0], decoded[0]
        else:
            self.durations.add(decoded[0] - self._last)
        self.durations.extend(map(sub, decoded[1:], decoded))
        self.offsets.extend(map(sub, shown, decoded))
        if (latest := max(shown)) >= self._shown_last:
            self._shown_last, self._end = latest, latest + samples[shown.index(latest)].duration
        self._last, self._usual = decoded[-1], samples[-1].duration
        self.keyframes.extend(
            number for number, sample in enumerate(samples, len(self.sizes) + 1) if sample.is_keyframe
        )
        self.sizes.extend(sample.size for sample in samples)
        return [(sample.offset, sample.size) for sample in samples]

    def finish(self) -> None:
        """End the last sample."""
        self.durations.add(self._usual)

    @property
    def ticks(self) -> int:
        """How long its samples take to decode."""
        return self._last + self._usual - self._first

    def _in_movie(self, ticks: int, timescale: int) -> int:
        return -(-ticks * timescale // self.like.timescale)

    def shown(self, timescale: int) -> int:
        """How long it is shown, from the beginning of the video on."""
        return self._in_movie(self._end, timescale)

    def edits(self, timescale: int) -> list[tuple[int, int]]:
        """Return its edit list: durations, and where each begins in the track; -1 is nothing at all."""
        start = self.start or 0
        begun = [(self._in_movie(start, timescale), -1)] if start > 0 else []
        return [*begun, (self.shown(timescale) - sum(each for each, _ in begun), max(0, start) - self._first)]


def movie(tracks: list[JoinedTrack], timescale: int, media_at: int, *, wide_places: bool) -> bytes:
    """Return the index.

    :param timescale: of the whole: ticks in a second.
    :param media_at: where the first byte of the media is in the file.
    :param wide_places: whether places have 64 bits, which makes the index longer.
    """
    longest = max(track.shown(timescale) for track in tracks)
    wide = longest > WIDEST
    head = full(
        b"mvhd",
        struct.pack(">QQIQ" if wide else ">IIII", 0, 0, timescale, longest),
        struct.pack(">IH10x", 0x10000, 0x100) + UNITY + bytes(24) + struct.pack(">I", len(tracks) + 1),
        version=int(wide),
    )
    rest = (_track(number, each, timescale, media_at, wide_places) for number, each in enumerate(tracks, 1))
    return boxed(b"moov", head, *rest)


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with a version and flags."""
    return boxed(kind, struct.pack(">I", version << 24 | flags), *parts)


def big_endian(numbers: array[int]) -> bytes:
    """Return the numbers as they stand in a file."""
    if sys.byteorder == "little":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _track(number: int, track: JoinedTrack, timescale: int, media_at: int, wide_places: bool) -> bytes:
    like, has_pictures = track.like, isinstance(track.like.entry, PictureEntry)
    shown, ticks = track.shown(timescale), track.ticks
    edits = track.edits(timescale)
    wide = max(shown, ticks, *(start for _, start in edits)) > WIDEST // 2
    head = full(
        b"tkhd",
        struct.pack(">QQI4xQ" if wide else ">III4xI", 0, 0, number, shown),
        # Sounds of one group are each other's alternatives.
        struct.pack(">8xHHH2x", 0, 0 if has_pictures else 1, 0 if has_pictures else 0x100),
        like.matrix,
        struct.pack(">II", *like.shown),
        version=int(wide),
        flags=3,
    )
    rows = b"".join(struct.pack(">QqI" if wide else ">IiI", *edit, 0x10000) for edit in edits)
    edit_list = boxed(b"edts", full(b"elst", struct.pack(">I", len(edits)), rows, version=int(wide)))
    clock = full(
        b"mdhd",
        struct.pack(">QQIQ" if wide else ">IIII", 0, 0, like.timescale, ticks),
        struct.pack(">HH", NO_LANGUAGE, 0),
        version=int(wide),
    )
    kind, name = (b"vide", b"VideoHandler\0") if has_pictures else (b"soun", b"SoundHandler\0")
    media = full(b"vmhd", bytes(8), flags=1) if has_pictures else full(b"smhd", bytes(4))
    own_file = boxed(b"dinf", full(b"dref", struct.pack(">I", 1), full(b"url ", flags=1)))
    info = boxed(b"minf", media, own_file, _tables(track, has_pictures, media_at, wide_places))
    handler = full(b"hdlr", bytes(4), kind, bytes(12), name)
    return boxed(b"trak", head, edit_list, boxed(b"mdia", clock, handler, info))


def _tables(track: JoinedTrack, has_pictures: bool, media_at: int, wide_places: bool) -> bytes:
    count = len(track.sizes)
    parts = [
        full(b"stsd", struct.pack(">I", 1), track.like.entry.written),
        full(b"stts", track.durations.rows()),
    ]
    if has_pictures and len(track.keyframes) < count:
        parts.append(full(b"stss", struct.pack(">I", len(track.keyframes)), big_endian(track.keyframes)))
    if any(track.offsets.values):
        parts.append(full(b"ctts", track.offsets.rows()))
    parts.append(full(b"stsc", _chunk_rows(track.chunk_samples)))
    parts.append(full(b"stsz", struct.pack(">II", 0, count), big_endian(track.sizes)))
    places = array("Q" if wide_places else "I", (media_at + place for place in track.chunks))
    parts.append(full(b"co64" if wide_places else b"stco", struct.pack(">I", len(places)), big_endian(places)))
    if not has_pictures:
        # A decoder that begins anywhere needs the packet before.
        parts.append(full(b"sgpd", b"roll", struct.pack(">IIh", 2, 1, -1), version=1))
        parts.append(full(b"sbgp", b"roll", struct.pack(">III", 1, count, 1)))
    return boxed(b"stbl", *parts)


def _chunk_rows(counts: array[int]) -> bytes:
    rows = array("I")
    for number, count in enumerate(counts, 1):
        if len(rows) < 3 or rows[-2] != count:
            rows.extend((number, count, 1))
    return struct.pack(">I", len(rows) // 3) + big_endian(rows)
