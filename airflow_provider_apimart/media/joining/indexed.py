"""Reads what a clip is made of from its index alone, as :mod:`.reading` does by FFmpeg."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

from airflow_provider_apimart.media.joining.clip import RATES, Clip, Pictures, Sound
from airflow_provider_apimart.media.joining.tables.boxes import Box, Children, not_plain, read_index
from airflow_provider_apimart.media.joining.tables.entries import PictureEntry, SoundEntry
from airflow_provider_apimart.media.joining.tables.track import Track, handler, read_track

MAX_TRACKS = 16
#: Units in a picture: parameters, and slices.
MAX_UNITS = 1000


@dataclass(frozen=True)
class Tables:
    """A clip and its sample tables."""

    clip: Clip
    pictures: Track
    sound: Track | None


def read_tables(path: str, number: int) -> Tables:
    """Read a clip.

    :raises NotPlain: if it has to be read by FFmpeg, damaged ones included: its text says more.
    """
    with open(path, "rb") as file:
        tables = _read(file, path, number)
        _check_first_picture(file, tables.pictures)
    return tables


def _read(file: BinaryIO, path: str, number: int) -> Tables:
    index = read_index(file)
    size = file.seek(0, os.SEEK_END)
    if index.all(b"mvex"):
        not_plain("it is in fragments")
    movie = index.one(b"mvhd")
    movie_timescale = movie.fields(">I", 20 if movie.version == 1 else 12)[0]
    if not movie_timescale:
        not_plain("its clock does not tick")
    pictures, sound = _tracks(index)
    picture_track = read_track(pictures, movie_timescale, size)
    sound_track = None if sound is None else read_track(sound, movie_timescale, size)
    return Tables(_clip(path, number, picture_track, sound_track), picture_track, sound_track)


def _check_first_picture(file: BinaryIO, pictures: Track) -> None:
    """Check that the first picture can be one, without decoding it: neither noise, as of encryption, nor a hole."""
    entry, first = pictures.entry, pictures.samples[0]
    if not isinstance(entry, PictureEntry) or entry.length_bytes is None:
        return
    at, end = first.offset, first.offset + first.size
    for _ in range(MAX_UNITS):
        file.seek(at)
        head = file.read(entry.length_bytes + 1)
        length = int.from_bytes(head[: entry.length_bytes])
        # The highest bit of a unit is never set.
        if len(head) <= entry.length_bytes or not length or head[-1] & 0x80:
            not_plain("its first picture is none")
        at += entry.length_bytes + length
        if at >= end:
            break
    if at != end:
        not_plain("its first picture is none")


def _tracks(index: Children) -> tuple[Children, Children | None]:
    boxes = index.all(b"trak")
    if len(boxes) > MAX_TRACKS:
        not_plain(f"it has {len(boxes)} tracks")
    tracks = [box.children() for box in boxes]
    kinds = [handler(track) for track in tracks]
    if kinds.count(b"vide") != 1 or kinds.count(b"soun") > 1:
        not_plain("it has no pictures, or several tracks of pictures or of sound")
    sound = tracks[kinds.index(b"soun")] if b"soun" in kinds else None
    return tracks[kinds.index(b"vide")], sound


def _clip(path: str, number: int, pictures: Track, sound: Track | None) -> Clip:
    entry = pictures.entry
    if not isinstance(entry, PictureEntry):
        raise TypeError("a track of pictures has an entry of pictures")
    first, tick = pictures.samples[0], Fraction(1, pictures.timescale)
    if first.pts != min(sample.pts for sample in pictures.samples) or first.pts < 0:
        not_plain("its first picture is not the first that is shown")
    rate = Fraction(len(pictures.samples), pictures.ticks) / tick
    if not RATES[0] <= rate <= RATES[1]:
        not_plain("it has no steady frame rate")
    start = first.pts * tick
    return Clip(
        number=number,
        path=path,
        pictures=Pictures(
            codec=entry.codec,
            parameter_sets=entry.compared,
            size=entry.size,
            pixel_format=None,
            pixel_shape=_pixel_shape(pictures, entry),
            rate=rate,
            time_base=tick,
            rotation=pictures.rotation,
            colours=(),
        ),
        sound=None if sound is None else _sound(sound),
        seconds=pictures.ticks * tick,
        packets=len(pictures.samples) + (0 if sound is None else len(sound.samples)),
        start=start,
        sound_lead=0 if sound is None else _lead(sound, start),
        indexed=True,
    )


def _pixel_shape(track: Track, entry: PictureEntry) -> Fraction:
    written = Box(entry.codec.encode(), memoryview(entry.written)[8:]).children(78).maybe(b"pasp")
    if written is not None:
        wide, high = written.fields(">II")
        if not wide or not high:
            not_plain("its pixels have no shape")
        return Fraction(wide, high)
    if track.shown != (entry.size[0] << 16, entry.size[1] << 16):
        not_plain("its pictures are shown in another size")
    return Fraction(1)


def _sound(track: Track) -> Sound:
    entry = track.entry
    if not isinstance(entry, SoundEntry):
        raise TypeError("a track of sound has an entry of sound")
    return Sound(
        codec="aac",
        profile="LC",
        parameters=entry.compared,
        rate=entry.rate,
        layout=entry.layout,
        time_base=Fraction(1, track.timescale),
    )


def _lead(track: Track, start: Fraction) -> int:
    if not track.samples:
        not_plain("its sound is empty")
    return round(Fraction(track.samples[0].pts) - start * track.timescale)
