"""Follows the fragments of an MP4 (``moof``): how long they last, where their samples lie, and whether one is missing.

A file that is truncated between two fragments has correct boxes. Other signs reveal the loss: fragments are numbered,
each has a start time, and an index before or after them may give their count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

from airflow_provider_apimart.generation.landing.mp4.boxes import Box, BoxReader, invalid
from airflow_provider_apimart.generation.landing.mp4.movie import Movie, Track
from airflow_provider_apimart.generation.landing.mp4.samples import NOTHING, Media, Samples, check_headers

_DURATION, _SIZE = 0x100, 0x200


@dataclass
class _Line:
    """The state of one track after the fragments read so far."""

    total: Samples = NOTHING
    #: When the last fragment ends, by its own times, and what it holds.
    end: int | None = None
    last: Samples = NOTHING
    #: How many fragment numbers the file had skipped by then.
    skipped: int = 0
    #: Whether its first fragment begins later than the track should.
    late: bool = False


@dataclass(frozen=True)
class _Run:
    """The content of a ``trun``: adjacent samples."""

    count: int
    bytes: int
    ticks: int
    data_offset: int | None


class Fragments:
    """Takes the fragments in the file's order.

    :param own: what each track holds in ``moov``, by the track's id.
    """

    def __init__(self, reader: BoxReader, movie: Movie, media: Media, own: dict[int, Samples]) -> None:
        self._reader = reader
        self._movie = movie
        self._media = media
        self._lines = {
            number: _Line(end=samples.ticks, last=samples) for number, samples in own.items() if samples.count
        }
        #: How many fragments hold a part of each track.
        self.count: Counter[int] = Counter()
        self._moofs = 0
        #: Some writers count the samples in ``moov`` as the first fragment.
        self._lowest = 2 if self._lines else 1
        self._first: int | None = None
        self._number: int | None = None
        self._repeated = False
        self._skipped = 0

    def of(self, track: Track) -> Samples:
        """Return what a track holds in all fragments."""
        return self._lines.get(track.id, _Line()).total

    def add(self, moof: Box) -> None:
        """Take the next fragment."""
        self._moofs += 1
        seen: set[int] = set()
        begins = moof.start
        for box in self._reader.children(moof):
            if box.kind == b"mfhd":
                self._read_number(box)
            elif box.kind == b"traf":
                begins = self._add_track(moof, box, begins, seen)
        self.count.update(seen)

    def check_ends(self) -> None:
        """If fragment numbers are missing, check that no track begins too late or ends too early.

        The missing numbers may include its first or last fragment. A clip from a live stream also begins late, but its
        fragment numbers are higher than its number of fragments.
        """
        if self._first is not None and self._lowest < self._first <= self._moofs + 1:
            for number, line in self._lines.items():
                if line.late:
                    invalid(f"its fragments begin with number {self._first}, and track {number} lacks its beginning")
        last = 0.0
        early: list[tuple[int, float]] = []
        for number, line in self._lines.items():
            track = self._movie.track(number)
            if track is None or not track.is_media or line.end is None or not line.total.count:
                continue
            last = max(last, line.end / track.timescale)
            if line.skipped < self._skipped:
                early.append((number, (line.end + line.last.ticks / max(line.last.count, 1) / 2) / track.timescale))
        for number, end in early:
            if end < last:
                invalid(f"fragments are missing at the end of track {number}")

    def _read_number(self, mfhd: Box) -> None:
        number, previous = self._reader.fields(mfhd, ">I", 4)[0], self._number
        if previous is not None and number < previous:
            invalid(f"fragment {number} at {mfhd.start} comes after fragment {previous}")
        # A file that was split by tracks keeps fragment numbers with gaps: a gap alone proves nothing.
        self._first = number if self._first is None else self._first
        self._skipped += number > (previous or 0) + 1
        self._repeated = number == previous
        self._number = number

    def _add_track(self, moof: Box, traf: Box, begins: int, seen: set[int]) -> int:
        """Take a track's part of a fragment; return where the next part's data begins if that part does not say."""
        reader = self._reader
        inner = list(reader.children(traf))
        headers = [box for box in inner if box.kind == b"tfhd"]
        if not headers:
            invalid(f"the fragment at {moof.start} does not say of which track it is ('tfhd')")
        track_id, base, defaults = self._read_header(headers[0], moof)
        seen.add(track_id)
        track = self._movie.track(track_id)
        start = next((self._read_time(box) for box in inner if box.kind == b"tfdt"), None)
        place = begins if base is None else base
        part = NOTHING
        for box in inner:
            if box.kind != b"trun":
                continue
            run = self._read_run(box, *defaults)
            if run.data_offset is not None:
                place = (begins if base is None else base) + run.data_offset
            if track is not None and track.is_media and run.bytes and not self._media.holds(place, place + run.bytes):
                # If nothing says what a second track's offsets are relative to, some writers mean the fragment.
                other = moof.start + (run.data_offset or 0)
                if base is not None or run.data_offset is None or not self._media.holds(other, other + run.bytes):
                    self._media.refuse(track_id, place, place + run.bytes)
            place += run.bytes
            part += Samples(run.count, run.bytes, run.ticks)
        if track is not None and part.count:
            self._take(moof, track, start, part)
        return place

    def _take(self, moof: Box, track: Track, start: int | None, part: Samples) -> None:
        # If the file begins with fragment 1, a track that begins late was either delayed or has lost a fragment.
        new = _Line(end=0) if self._first == 1 else _Line(skipped=self._skipped)
        line = self._lines.setdefault(track.id, new)
        if track.is_media:
            if line is new:
                line.late = start is not None and start > part.ticks / 2
            check_headers(self._reader, track)
            self._check_time(moof, track.id, line, start)
        # A gap counts as time: the length of a fragment's last sample may be a guess, but the next start is exact.
        gap = max(0, start - line.end) if start is not None and line.end is not None and line.last.count else 0
        line.total += Samples(part.count, part.bytes, part.ticks + gap)
        if start is not None:
            line.end = start + part.ticks
        elif line.end is not None:
            line.end += part.ticks
        line.last, line.skipped = part, self._skipped

    def _check_time(self, moof: Box, track_id: int, line: _Line, start: int | None) -> None:
        """Check that a fragment begins where the previous one ended.

        Times are rounded, and the length of a fragment's last sample may be a guess. So half a sample does not count as
        a gap, nor half a fragment as a step back. A gap without a missing number was already there when the video was
        made.
        """
        fewer = self._skipped > line.skipped
        if start is None:
            if fewer or self._repeated:
                invalid(f"the numbers of the fragments before {moof.start} have gaps, or one comes twice")
        elif line.end is not None:
            if line.total.count and start < line.end - line.last.ticks / 2:
                invalid(f"the fragment at {moof.start} takes track {track_id} back from {line.end} to {start} ticks")
            gap = start - line.end
            counted = self._number is not None and not self._repeated
            if gap > line.last.ticks / max(line.last.count, 1) / 2 and (fewer or not counted):
                invalid(f"fragments are missing before {moof.start}: track {track_id} lacks {gap} ticks")

    # --- the boxes of a fragment ---

    def _read_header(self, tfhd: Box, moof: Box) -> tuple[int, int | None, tuple[int, int]]:
        """Return the track's id, the base of its offsets if given, and a sample's ticks and bytes."""
        reader = self._reader
        _, flags = reader.version(tfhd)
        track_id, skip = reader.fields(tfhd, ">I", 4)[0], 8
        track = self._movie.track(track_id) or Track()
        base = moof.start if flags & 0x20000 else None
        if flags & 0x1:
            base, skip = reader.fields(tfhd, ">Q", skip)[0], skip + 8
        skip += 4 if flags & 0x2 else 0
        ticks, size = track.default_ticks, track.default_bytes
        if flags & 0x8:
            ticks, skip = reader.fields(tfhd, ">I", skip)[0], skip + 4
        if flags & 0x10:
            size = reader.fields(tfhd, ">I", skip)[0]
        return track_id, base, (ticks, size)

    def _read_time(self, tfdt: Box) -> int:
        return self._reader.fields(tfdt, ">Q" if self._reader.version(tfdt)[0] == 1 else ">I", 4)[0]

    def _read_run(self, trun: Box, each_ticks: int, each_bytes: int) -> _Run:
        reader = self._reader
        _, flags = reader.version(trun)
        count, skip = reader.fields(trun, ">I", 4)[0], 8
        offset = None
        if flags & 0x1:
            offset, skip = reader.fields(trun, ">i", skip)[0], skip + 4
        skip += 4 if flags & 0x4 else 0
        columns = (flags >> 8 & 0xF).bit_count()
        ticks, size = count * each_ticks, count * each_bytes
        if flags & (_DURATION | _SIZE):
            wanted = bool(flags & _DURATION) + bool(flags & _SIZE)
            first = last = 0
            for row in reader.rows(trun, f">{wanted}I{4 * (columns - wanted)}x", skip, count):
                first, last = first + row[0], last + row[-1]
            ticks = first if flags & _DURATION else ticks
            size = last if flags & _SIZE else size
        return _Run(count, size, ticks, offset)


def read_index(reader: BoxReader, sidx: Box) -> tuple[int, int]:
    """Return how many segments a ``sidx`` names, and where the last of them ends in the file."""
    long = reader.version(sidx)[0] == 1
    skip = 12 + (16 if long else 8)
    first = reader.fields(sidx, ">8xQ" if long else ">4xI", 12)[0]
    count = reader.fields(sidx, ">2xH", skip)[0]
    sizes = (row[0] & 0x7FFFFFFF for row in reader.rows(sidx, ">I8x", skip + 4, count))
    return count, sidx.end + first + sum(sizes)


def check_random_access(reader: BoxReader, mfra: Box, count: Counter[int]) -> None:
    """Check that each track has a part in as many fragments as the index at the file's end lists.

    :param count: in how many fragments each track has a part, by the track's id.

    The positions in the index are not checked: players do not need them, and tools that move a fragment may not update
    them.
    """
    for tfra in reader.children(mfra):
        if tfra.kind != b"tfra":
            continue
        long = reader.version(tfra)[0] == 1
        track_id, lengths, entries = reader.fields(tfra, ">3I", 4)
        rest = sum((lengths >> shift & 3) + 1 for shift in (4, 2, 0))
        rows = reader.rows(tfra, f">{'8xQ' if long else '4xI'}{rest}x", 16, entries)
        named = sum(1 for _ in groupby(rows))
        if named > count[track_id]:
            invalid(f"its index 'mfra' names {named} fragments of track {track_id}, {count[track_id]} are there")
