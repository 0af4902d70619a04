"""Reads the boxes of an MP4 (ISO 14496-12) to tell a whole video from anything else.

Owns the container half of invariant 7: a file passes only if its boxes fill it exactly, it has a video track, and every
sample that its index names lies inside it. Nothing is decoded. Input is hostile: the file is read box by box in
constant memory, every size is checked against what contains it, and boxes and samples are counted. Whatever is wrong is
an :class:`InvalidVideoError` that says what and where.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn

from airflow_provider_apimart.client.errors import InvalidVideoError

MAX_BOXES = 100_000
MAX_TRACKS = 64
#: Samples whose place is checked: over an hour of sound. Past it only the boxes are.
MAX_SAMPLES = 1_000_000
#: How far the fragments may fall short of the duration that the file announces.
FRAGMENT_SLACK_SECONDS = 0.5
_TABLE_BYTES = 64 * 1024


@dataclass(frozen=True)
class MediaInfo:
    """What a video is. Width and height are those it is shown with, after its rotation."""

    duration_seconds: float
    width: int
    height: int
    has_audio: bool


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    body: int
    end: int

    @property
    def name(self) -> str:
        return repr(self.kind.decode("latin-1"))


@dataclass
class _Track:
    id: int = 0
    handler: bytes = b""
    timescale: int = 0
    ticks: int = 0
    width: int = 0
    height: int = 0
    #: The sample tables: kind of box to box.
    tables: dict[bytes, _Box] = field(default_factory=dict)
    default_ticks: int = 0
    fragment_ticks: int = 0


@dataclass
class _Movie:
    timescale: int = 0
    ticks: int = 0
    fragmented: bool = False
    announced_ticks: int = 0
    tracks: list[_Track] = field(default_factory=list)


def read_mp4(file: BinaryIO, size: int) -> MediaInfo:
    """Check a whole MP4 file of ``size`` bytes and return what it is.

    :raises InvalidVideoError: when it is not one, or not whole.
    """
    try:
        return _Reader(file, size).read()
    except (struct.error, OverflowError) as error:
        raise InvalidVideoError(f"The file is a damaged MP4: {error}") from error


def _invalid(text: str) -> NoReturn:
    raise InvalidVideoError(f"The file is not a whole MP4: {text}")


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.boxes_left = MAX_BOXES
        self.samples_left = MAX_SAMPLES
        self.movie = _Movie()

    def read(self) -> MediaInfo:
        head = self._bytes(0, min(self.size, 16))
        if head[4:8] != b"ftyp":
            what = f"it begins with {head!r}" if head else "it is empty"
            raise InvalidVideoError(f"The file is not an MP4: {what}")
        seen: set[bytes] = set()
        for box in self._boxes(0, self.size):
            if box.kind == b"moov":
                if b"moov" in seen:
                    _invalid("it has two 'moov' boxes")
                self._moov(box)
            elif box.kind == b"moof":
                self._moof(box)
            seen.add(box.kind)
        for kind in (b"moov", b"mdat"):
            if kind not in seen:
                _invalid(f"it has no {kind.decode()!r} box")
        for track in self.movie.tracks:
            self._check_samples(track)
        return self._info()

    # --- boxes ---

    def _bytes(self, offset: int, count: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(count)
        while len(data) < count and (more := self.file.read(count - len(data))):
            data += more
        if len(data) < count:
            _invalid(f"it ends at {offset + len(data)}, where {count} bytes were to come at {offset}")
        return data

    def _boxes(self, start: int, end: int) -> Iterator[_Box]:
        while start < end:
            self.boxes_left -= 1
            if self.boxes_left < 0:
                _invalid(f"it has more than {MAX_BOXES} boxes")
            box = self._box(start, end)
            yield box
            start = box.end

    def _box(self, start: int, end: int) -> _Box:
        if end - start < 8:
            _invalid(f"{end - start} bytes at {start} are too few for a box")
        length, kind = struct.unpack(">I4s", self._bytes(start, 8))
        body = start + 8
        if length == 1:
            if end - start < 16:
                _invalid(f"the box at {start} ends within its header")
            length = struct.unpack(">Q", self._bytes(body, 8))[0]
            body += 8
        elif length == 0 and end == self.size:
            length = end - start
        box = _Box(kind, start, body, start + length)
        if box.end < body:
            _invalid(f"box {box.name} at {start} says that it is {length} bytes long")
        if box.end > end:
            where = f"the file has {end} bytes" if end == self.size else f"what it is in ends at {end}"
            _invalid(f"box {box.name} says it ends at {box.end}, {where}")
        return box

    def _fields(self, box: _Box, layout: str, skip: int = 0) -> tuple[int, ...]:
        """Read fields of a box's body, after ``skip`` bytes."""
        need = skip + struct.calcsize(layout)
        if box.end - box.body < need:
            _invalid(f"box {box.name} at {box.start} is too short")
        return struct.unpack(layout, self._bytes(box.body + skip, need - skip))

    def _version(self, box: _Box) -> tuple[int, int]:
        word = self._fields(box, ">I")[0]
        return word >> 24, word & 0xFFFFFF

    def _times(self, box: _Box) -> tuple[int, int]:
        """Return timescale and duration of an mvhd or mdhd; an unknown duration is 0."""
        version, _ = self._version(box)
        layout, unknown = (">IQ", 2**64 - 1) if version == 1 else (">II", 2**32 - 1)
        timescale, ticks = self._fields(box, layout, 20 if version == 1 else 12)
        if not timescale:
            _invalid(f"box {box.name} says that a second has no ticks")
        return timescale, 0 if ticks == unknown else ticks

    # --- the movie and its tracks ---

    def _moov(self, moov: _Box) -> None:
        movie = self.movie
        extends: list[_Box] = []
        for box in self._boxes(moov.body, moov.end):
            if box.kind == b"mvhd":
                movie.timescale, movie.ticks = self._times(box)
            elif box.kind == b"trak":
                if len(movie.tracks) >= MAX_TRACKS:
                    _invalid(f"it has more than {MAX_TRACKS} tracks")
                movie.tracks.append(self._trak(box))
            elif box.kind == b"mvex":
                extends.append(box)
        if not movie.timescale:
            _invalid("it has no 'mvhd' box")
        for box in extends:
            self._mvex(box)

    def _trak(self, trak: _Box) -> _Track:
        track = _Track()
        for box in self._boxes(trak.body, trak.end):
            if box.kind == b"tkhd":
                self._tkhd(box, track)
            elif box.kind == b"mdia":
                self._mdia(box, track)
        return track

    def _tkhd(self, box: _Box, track: _Track) -> None:
        long = self._version(box)[0] == 1
        track.id = self._fields(box, ">I", 20 if long else 12)[0]
        a, b, _, c, d, _, _, _, _, width, height = self._fields(box, ">9i2I", 52 if long else 40)
        track.width, track.height = width >> 16, height >> 16
        if a == 0 and d == 0 and b and c:
            track.width, track.height = track.height, track.width

    def _mdia(self, mdia: _Box, track: _Track) -> None:
        for box in self._boxes(mdia.body, mdia.end):
            if box.kind == b"mdhd":
                track.timescale, track.ticks = self._times(box)
            elif box.kind == b"hdlr":
                self._fields(box, ">3I")
                track.handler = self._bytes(box.body + 8, 4)
            elif box.kind == b"minf":
                for inner in self._boxes(box.body, box.end):
                    if inner.kind == b"stbl":
                        track.tables.update((table.kind, table) for table in self._boxes(inner.body, inner.end))

    # --- samples ---

    def _table(self, box: _Box, layout: str, skip: int) -> Iterator[tuple[int, ...]]:
        """Yield the rows of a table whose count is the field before its first row."""
        row = struct.calcsize(layout)
        count = self._fields(box, ">I", skip - 4)[0]
        if count * row > box.end - box.body - skip:
            _invalid(f"box {box.name} at {box.start} is too short for its {count} rows")
        at, left = box.body + skip, count
        while left:
            rows = min(left, _TABLE_BYTES // row)
            yield from struct.iter_unpack(layout, self._bytes(at, rows * row))
            at, left = at + rows * row, left - rows

    def _sample_sizes(self, track: _Track) -> Iterator[int]:
        box = track.tables[b"stsz"]
        each, count = self._fields(box, ">2I", 4)
        if each:
            for _ in range(min(count, MAX_SAMPLES + 1)):
                yield each
        else:
            for row in self._table(box, ">I", 12):
                yield row[0]

    def _samples_per_chunk(self, track: _Track) -> Iterator[int]:
        """Yield how many samples each chunk has; the last number goes on for ever."""
        chunk, per_chunk, previous = 1, 0, 0
        for first, samples, _ in self._table(track.tables[b"stsc"], ">3I", 8):
            if first <= previous:
                _invalid("the runs of box 'stsc' do not go forwards")
            previous = first
            while chunk < first:
                yield per_chunk
                chunk += 1
            per_chunk = samples
        while True:
            yield per_chunk

    def _check_samples(self, track: _Track) -> None:
        """Check that every sample of the index lies inside the file."""
        tables = track.tables
        offsets = tables.get(b"co64") or tables.get(b"stco")
        if offsets is None or b"stsz" not in tables or b"stsc" not in tables:
            return
        layout = ">Q" if offsets.kind == b"co64" else ">I"
        sizes, per_chunk = self._sample_sizes(track), self._samples_per_chunk(track)
        for (offset,) in self._table(offsets, layout, 8):
            end = offset
            for _ in range(next(per_chunk)):
                size = next(sizes, None)
                if size is None:
                    break
                end += size
                self.samples_left -= 1
                if self.samples_left < 0:
                    return
            self.samples_left -= 1
            if end > self.size or self.samples_left < 0:
                break
        else:
            if next(sizes, None) is not None:
                _invalid(f"track {track.id} has more samples than its chunks hold")
            return
        if end > self.size:
            _invalid(f"track {track.id} has samples up to {end}, the file has {self.size} bytes")

    # --- fragments ---

    def _mvex(self, mvex: _Box) -> None:
        self.movie.fragmented = True
        for box in self._boxes(mvex.body, mvex.end):
            if box.kind == b"mehd":
                self.movie.announced_ticks = self._fields(box, ">Q" if self._version(box)[0] == 1 else ">I", 4)[0]
            elif box.kind == b"trex":
                track_id, _, ticks = self._fields(box, ">3I", 4)
                for track in self.movie.tracks:
                    if track.id == track_id:
                        track.default_ticks = ticks

    def _moof(self, moof: _Box) -> None:
        for traf in self._boxes(moof.body, moof.end):
            if traf.kind != b"traf":
                continue
            track: _Track | None = None
            ticks = 0
            for box in self._boxes(traf.body, traf.end):
                if box.kind == b"tfhd":
                    track_id = self._fields(box, ">I", 4)[0]
                    track = next((each for each in self.movie.tracks if each.id == track_id), None)
                    ticks = self._default_ticks(box, track)
                elif box.kind == b"trun" and track is not None:
                    track.fragment_ticks += self._run_ticks(box, ticks)

    def _default_ticks(self, tfhd: _Box, track: _Track | None) -> int:
        _, flags = self._version(tfhd)
        if flags & 0x8:
            skip = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
            return self._fields(tfhd, ">I", skip)[0]
        return track.default_ticks if track else 0

    def _run_ticks(self, trun: _Box, default_ticks: int) -> int:
        _, flags = self._version(trun)
        count = self._fields(trun, ">I", 4)[0]
        if not flags & 0x100:
            return count * default_ticks
        skip = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
        row = 4 * (flags >> 8 & 0xF).bit_count()
        if count * row > trun.end - trun.body - skip:
            _invalid(f"box 'trun' at {trun.start} is too short for its {count} samples")
        self.samples_left -= count
        if self.samples_left < 0:
            return count * default_ticks
        return sum(self._fields(trun, ">I", skip + index * row)[0] for index in range(count))

    # --- the verdict ---

    def _info(self) -> MediaInfo:
        movie = self.movie
        videos = [track for track in movie.tracks if track.handler == b"vide"]
        if not videos:
            _invalid("it has no video track")
        video = next((track for track in videos if track.width and track.height), videos[0])
        if not video.width or not video.height:
            _invalid("its video track has no size")
        return MediaInfo(
            duration_seconds=round(self._duration(video), 6),
            width=video.width,
            height=video.height,
            has_audio=any(track.handler == b"soun" for track in movie.tracks),
        )

    def _duration(self, video: _Track) -> float:
        movie = self.movie
        fragments = video.fragment_ticks / video.timescale if video.timescale else 0.0
        announced = movie.announced_ticks / movie.timescale
        own = movie.ticks / movie.timescale
        if movie.fragmented and announced and own + fragments < announced - FRAGMENT_SLACK_SECONDS:
            _invalid(f"its fragments last {own + fragments:.3f} s of the {announced:.3f} s that it announces")
        duration = announced or (fragments if movie.fragmented and fragments else own)
        if not duration and video.timescale:
            duration = video.ticks / video.timescale
        if not duration:
            _invalid("it lasts 0 s")
        return duration
