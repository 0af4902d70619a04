"""Reads ``moov``: the movie, its tracks, and where each track's tables are. Nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_apimart.generation.landing.mp4.boxes import Box, BoxReader, invalid

MAX_TRACKS = 64
VIDEO, SOUND = b"vide", b"soun"


@dataclass
class Track:
    """What the headers say about one track. Times are in the track's ticks unless noted otherwise."""

    id: int = 0
    handler: bytes = b""
    timescale: int = 0
    ticks: int = 0
    width: int = 0
    height: int = 0
    turned: bool = False
    #: The sample tables, by box type.
    tables: dict[bytes, Box] = field(default_factory=dict)
    #: How long its edit list plays, and how long it waits before that, in the movie's ticks.
    played: int = 0
    delay: int = 0
    #: A sample's ticks and bytes, for fragments that omit them.
    default_ticks: int = 0
    default_bytes: int = 0

    @property
    def is_media(self) -> bool:
        """Whether it is picture or sound. Only these are checked: other tracks vary widely and do not matter."""
        return self.handler in (VIDEO, SOUND)


@dataclass
class Movie:
    """What ``moov`` says."""

    timescale: int
    ticks: int
    tracks: list[Track]
    #: Whether fragments follow, and how long the movie is with them; 0 if not given.
    fragmented: bool = False
    announced_ticks: int = 0

    def track(self, track_id: int) -> Track | None:
        """Return a track by its id."""
        return next((track for track in self.tracks if track.id == track_id), None)


def read_movie(reader: BoxReader, moov: Box) -> Movie:
    """Read the ``moov`` box."""
    timescale = ticks = 0
    tracks: list[Track] = []
    extends: list[Box] = []
    for box in reader.children(moov):
        if box.kind == b"mvhd":
            timescale, ticks = _times(reader, box)
            if not timescale:
                invalid("box 'mvhd' says that a second has no ticks")
        elif box.kind == b"trak":
            if len(tracks) >= MAX_TRACKS:
                invalid(f"it has more than {MAX_TRACKS} tracks")
            tracks.append(_read_track(reader, box))
        elif box.kind == b"mvex":
            extends.append(box)
    if not timescale:
        invalid("it has no 'mvhd' box")
    movie = Movie(timescale, ticks, tracks)
    for box in extends:
        _read_extends(reader, box, movie)
    return movie


def sample_entry_size(reader: BoxReader, track: Track) -> tuple[int, int]:
    """Return the coded size of the picture, from the track's first sample entry."""
    width, height = reader.fields(track.tables[b"stsd"], ">2H", 8 + 32)
    return width, height


def _times(reader: BoxReader, box: Box) -> tuple[int, int]:
    """Return timescale and duration of an ``mvhd`` or ``mdhd``; an unknown duration is 0."""
    version, _ = reader.version(box)
    layout, unknown = (">IQ", 2**64 - 1) if version == 1 else (">II", 2**32 - 1)
    timescale, ticks = reader.fields(box, layout, 20 if version == 1 else 12)
    return timescale, 0 if ticks == unknown else ticks


def _read_track(reader: BoxReader, trak: Box) -> Track:
    track = Track()
    for box in reader.children(trak):
        if box.kind == b"tkhd":
            _read_header(reader, box, track)
        elif box.kind == b"edts":
            for edits in reader.children(box):
                if edits.kind == b"elst":
                    _read_edits(reader, edits, track)
        elif box.kind == b"mdia":
            _read_media(reader, box, track)
    return track


def _read_header(reader: BoxReader, tkhd: Box, track: Track) -> None:
    long = reader.version(tkhd)[0] == 1
    track.id = reader.fields(tkhd, ">I", 20 if long else 12)[0]
    a, b, _, c, d, _, _, _, _, width, height = reader.fields(tkhd, ">9i2I", 52 if long else 40)
    track.width, track.height = width >> 16, height >> 16
    track.turned = a == 0 and d == 0 and b != 0 and c != 0


def _read_edits(reader: BoxReader, elst: Box, track: Track) -> None:
    layout = ">Qq2h" if reader.version(elst)[0] == 1 else ">Ii2h"
    row = 20 if layout == ">Qq2h" else 12
    # Some writers count edits that the box does not hold. Players ignore those.
    count = min(reader.fields(elst, ">I", 4)[0], (elst.end - elst.body - 8) // row)
    for ticks, media_time, _, _ in reader.rows(elst, layout, 8, count):
        if media_time >= 0:
            track.played += ticks
        elif not track.played:
            track.delay += ticks


def _read_media(reader: BoxReader, mdia: Box, track: Track) -> None:
    for box in reader.children(mdia):
        if box.kind == b"mdhd":
            track.timescale, track.ticks = _times(reader, box)
        elif box.kind == b"hdlr":
            track.handler = reader.fields(box, ">3I")[2].to_bytes(4)
        elif box.kind == b"minf":
            for inner in reader.children(box):
                if inner.kind == b"stbl":
                    track.tables.update((table.kind, table) for table in reader.children(inner))


def _read_extends(reader: BoxReader, mvex: Box, movie: Movie) -> None:
    for box in reader.children(mvex):
        if box.kind == b"mehd":
            movie.announced_ticks = reader.fields(box, ">Q" if reader.version(box)[0] == 1 else ">I", 4)[0]
        elif box.kind == b"trex":
            # Without this box no track can have fragments.
            movie.fragmented = True
            track_id, _, ticks, size = reader.fields(box, ">4I", 4)
            if track := movie.track(track_id):
                track.default_ticks, track.default_bytes = ticks, size
