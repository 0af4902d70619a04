"""Joins clips that agree by their tables: the tables are written anew, and the media is copied in large pieces, without
a decoder or a muxer. What is not understood is left to FFmpeg (:mod:`.streams`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import Any

from airflow_provider_apimart.media.errors import BadInput
from airflow_provider_apimart.media.joining.clip import Clip, difference, sound_difference
from airflow_provider_apimart.media.joining.copying import CopiedPictures, CopiedSound, NotCopyable, best_shift
from airflow_provider_apimart.media.joining.indexed import Tables, read_tables
from airflow_provider_apimart.media.joining.tables import movie
from airflow_provider_apimart.media.joining.tables.boxes import NotPlain, not_plain
from airflow_provider_apimart.media.joining.tables.entries import boxed
from airflow_provider_apimart.media.joining.tables.movie import JoinedTrack
from airflow_provider_apimart.media.joining.tables.ranges import CutOff, copier, write_whole
from airflow_provider_apimart.media.joining.wish import Wish

#: Samples that are kept in memory until they are laid out: about 20 MB. Those of other clips are read twice.
KEPT_SAMPLES = 50_000
BRANDS = b"isom\0\0\2\0isomiso2mp41"


def copied(inputs: Sequence[str], wish: Wish, path: str) -> dict[str, Any] | None:
    """Join the inputs into ``path``, and return the facts of the result; ``None`` if this is not the way to do it.

    :raises BadInput: if a clip became shorter meanwhile.
    :raises OSError: if the video cannot be written.
    """
    try:
        laid_out = _laid_out(inputs, wish)
    except (NotPlain, NotCopyable):
        return None
    laid_out.write(inputs, path)
    wide, high = laid_out.first.shown_size
    return {
        "width": wide,
        "height": high,
        "duration_seconds": round(float(laid_out.seconds), 3),
        "has_audio": laid_out.first.sound is not None,
    }


@dataclass(frozen=True)
class _Range:
    """Bytes of a clip that follow each other in the joined video as they do in the clip."""

    start: int
    end: int


@dataclass(frozen=True)
class _LaidOut:
    """A joined video before its first byte is written."""

    first: Clip
    seconds: Fraction
    tracks: list[JoinedTrack]
    ranges: list[list[_Range]]

    def write(self, inputs: Sequence[str], path: str) -> None:
        """Write it."""
        with open(path, "wb", buffering=0) as sink:
            write_whole(sink, self._head())
            copy = copier(sink)
            for number, (source_path, ranges) in enumerate(zip(inputs, self.ranges, strict=True)):
                with open(source_path, "rb", buffering=0) as source:
                    try:
                        for each in ranges:
                            copy(source, each.start, each.end)
                    except CutOff:
                        raise BadInput(number, "it became shorter while it was read") from None

    def _head(self) -> bytes:
        """Return everything before the media. Its length is known only with it, and places are counted from its end."""
        media = sum(each.end - each.start for ranges in self.ranges for each in ranges)
        timescale = self.tracks[-1].like.timescale
        kind = boxed(b"ftyp", BRANDS)
        for wide in (False, True):
            if media + 16 <= movie.WIDEST:
                media_head = struct.pack(">I4s", media + 8, b"mdat")
            else:
                media_head = struct.pack(">I4sQ", 1, b"mdat", media + 16)
            length = len(movie.movie(self.tracks, timescale, 0, wide_places=wide))
            begin = len(kind) + length + len(media_head)
            if wide or begin + media <= movie.WIDEST:
                return kind + movie.movie(self.tracks, timescale, begin, wide_places=wide) + media_head
        raise AssertionError("64 bits are enough for any place")


class _Shelf:
    """Reads the tables of the clips, and keeps those of the first ones: of long videos they are too much for memory."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self._inputs = inputs
        self._kept: dict[int, Tables] = {}
        self._room = KEPT_SAMPLES

    def tables(self, number: int) -> Tables:
        """Return those of a clip.

        :raises NotPlain: as :func:`read_tables` does.
        """
        if number in self._kept:
            return self._kept[number]
        tables = read_tables(self._inputs[number], number)
        if tables.clip.packets <= self._room:
            self._room -= tables.clip.packets
            self._kept[number] = tables
        return tables


def _laid_out(inputs: Sequence[str], wish: Wish) -> _LaidOut:
    shelf = _Shelf(inputs)
    first = shelf.tables(0)
    clips = [first.clip, *(_agreeing(shelf.tables(number), first) for number in range(1, len(inputs)))]
    if wish.why_not_copied(clips[0].shown_size, clips[0].pictures.rate, len(clips)) or difference(clips):
        not_plain("its pictures have to be encoded")
    pictures = JoinedTrack(first.pictures)
    copied_pictures = CopiedPictures(pictures.add, first.clip.pictures.time_base)
    sound = copied_sound = None
    if first.sound is not None:
        shift = None if sound_difference(clips) is not None else best_shift(clips)
        if shift is None:
            not_plain("its sound has to be encoded")
        sound = JoinedTrack(first.sound)
        copied_sound = CopiedSound(sound.add, first.sound.timescale, shift)
    tracks = [pictures] if sound is None else [pictures, sound]
    end, ranges, media = Fraction(0), [], 0
    for number in range(len(inputs)):
        tables = shelf.tables(number)
        end += _add(tables, copied_pictures, copied_sound, end)
        ranges.append(_lay_out(tracks, media))
        media += sum(each.end - each.start for each in ranges[-1])
    for track in tracks:
        track.finish()
    return _LaidOut(clips[0], end, tracks, ranges)


def _add(tables: Tables, pictures: CopiedPictures, sound: CopiedSound | None, start: Fraction) -> Fraction:
    """Add a clip to the joined video at ``start``, and return how long it is."""
    clip = tables.clip
    pictures.begin(clip, None, start)
    for picture in tables.pictures.samples:
        pictures.packet(picture)
    seconds = pictures.end()
    if sound is not None and tables.sound is not None:
        sound.begin(clip, None, clip.start, start)
        for packet in tables.sound.samples:
            sound.packet(packet)
        sound.end(seconds)
    return seconds


def _lay_out(tracks: list[JoinedTrack], at: int) -> list[_Range]:
    """Lay out the samples of the last clip from byte ``at`` of the media on, in the order of the clip, without gaps.

    :raises NotPlain: if they overlap.
    """
    ranges: list[_Range] = []
    samples = sorted((start, size, number) for number, track in enumerate(tracks) for start, size in track.settle())
    begin = end = samples[0][0] if samples else 0
    for number, chunk in groupby(samples, key=itemgetter(2)):
        track, count = tracks[number], 0
        track.chunks.append(at)
        for start, size, _ in chunk:
            if start != end:
                if start < end:
                    not_plain("its samples overlap")
                ranges.append(_Range(begin, end))
                begin = start
            end = start + size
            at += size
            count += 1
        track.chunk_samples.append(count)
    return [*ranges, _Range(begin, end)]


def _agreeing(tables: Tables, first: Tables) -> Clip:
    one, other = tables.pictures, first.pictures
    if (one.matrix, one.shown) != (other.matrix, other.shown):
        not_plain("it is turned another way than the first one")
    if (tables.sound is None) != (first.sound is None):
        not_plain("not all clips have sound")
    return tables.clip
