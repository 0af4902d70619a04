"""Distinguishes a whole video from anything else: the container half of invariant 7.

A file passes only if its boxes fill it, it has a picture, every sample of picture and sound lies in a media box, and no
fragment that the file mentions is missing. Nothing is decoded.

One case cannot be detected: a fragmented file that was truncated exactly between two fragments and does not say how
many it has. Irrelevant bytes may be missing (an ``mfra`` or ``free`` box after the media) or added at the end (a few
bytes of rubbish, zeros).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from airflow_provider_apimart.client.errors import InvalidVideoError
from airflow_provider_apimart.generation.landing.mp4.boxes import Box, BoxReader, invalid
from airflow_provider_apimart.generation.landing.mp4.fragments import Fragments, check_random_access, read_index
from airflow_provider_apimart.generation.landing.mp4.movie import SOUND, VIDEO, Track, read_movie, sample_entry_size
from airflow_provider_apimart.generation.landing.mp4.samples import Media, Samples, read_samples

#: How far the samples may fall short of the announced duration if an index proves that the end of the file is there.
#: Some writers announce the longest track of their source, or the duration shown instead of the duration stored.
INDEXED_SLACK_SECONDS = 0.5
#: A box's header begins with fewer zeros than this.
MIN_PADDING = 4


@dataclass(frozen=True)
class MediaInfo:
    """The properties of a video. Width and height are those shown, after rotation."""

    duration_seconds: float
    width: int
    height: int
    has_audio: bool


def read_mp4(file: BinaryIO, size: int) -> MediaInfo:
    """Check an MP4 file of ``size`` bytes and return its properties.

    :raises InvalidVideoError: if it is not an MP4, or not whole.
    """
    reader = BoxReader(file, size)
    try:
        head = reader.read(0, min(size, 16))
        if head[4:8] != b"ftyp":
            what = f"it begins with {head!r}" if head else "it is empty"
            raise InvalidVideoError(f"The file is not an MP4: {what}")
        return _Verdict(reader).info()
    except (struct.error, OverflowError) as error:
        raise InvalidVideoError(f"The file is a damaged MP4: {error}") from error


class _Verdict:
    def __init__(self, reader: BoxReader) -> None:
        self._reader = reader
        self._boxes = list(reader.boxes())
        moovs = self._of(b"moov")
        mdats = self._of(b"mdat")
        if len(moovs) > 1:
            invalid("it has two 'moov' boxes")
        for kind, found in (("moov", moovs), ("mdat", mdats)):
            if not found:
                invalid(f"it has no {kind!r} box")
        self._movie = read_movie(reader, moovs[0])
        self._moofs = self._of(b"moof")
        self._movie.fragmented = self._movie.fragmented or bool(self._moofs)
        media = Media(mdats, reader.size)
        #: What each track of picture or sound holds, by its index among the tracks.
        self._samples = self._read_samples(media)
        if self._movie.fragmented:
            self._check_fragments(mdats)
        else:
            self._check_tail(whole=True)

    def _of(self, kind: bytes) -> list[Box]:
        return [box for box in self._boxes if box.kind == kind]

    def _read_samples(self, media: Media) -> dict[int, Samples]:
        movie = self._movie
        judged = {index: track for index, track in enumerate(movie.tracks) if track.is_media}
        own = {
            index: read_samples(self._reader, track, media, fragmented=movie.fragmented)
            for index, track in judged.items()
        }
        self._fragments = Fragments(self._reader, movie, media, {judged[index].id: own[index] for index in judged})
        for moof in self._moofs:
            self._fragments.add(moof)
        self._fragments.check_ends()
        return {index: own[index] + self._fragments.of(track) for index, track in judged.items()}

    # --- is anything missing? ---

    def _check_fragments(self, mdats: list[Box]) -> None:
        closed = self._check_last_index(mdats[-1])
        indexed = self._check_first_index(mdats[-1]) or closed
        # Some writers include the fragments in the duration of ``mvhd``. Others leave them out: then the announced
        # duration is no longer than the samples, and proves nothing.
        announced = (self._movie.announced_ticks or self._movie.ticks) / self._movie.timescale
        if not announced:
            announced = max((track.ticks / track.timescale for track, _, _ in self._lengths()), default=0.0)
        slack = INDEXED_SLACK_SECONDS if indexed else min(INDEXED_SLACK_SECONDS, self._rounding())
        longest = self._longest()
        if longest < announced - slack:
            invalid(f"its fragments last {longest:.3f} s of the {announced:.3f} s that it announces")
        if not self._moofs and not closed and not self._needs_no_fragments(mdats[-1]):
            invalid("it says that fragments follow, and has none")
        self._check_tail(whole=closed or bool(self._movie.announced_ticks))

    def _needs_no_fragments(self, last: Box) -> bool:
        """Return whether ``moov`` holds everything, although it allows for fragments.

        ``mehd`` gives the duration that includes fragments. Without it, a file that was truncated before its first
        fragment looks like a whole one. But a writer that streams fragments puts ``moov`` before the media. A writer
        that puts it last has finished.
        """
        return bool(self._movie.announced_ticks) or self._of(b"moov")[0].start > last.start

    def _check_first_index(self, last: Box) -> bool:
        """Check ``sidx``; return whether one lists all segments, up to the last media.

        A ``sidx`` before each segment proves nothing about the other segments.
        """
        proven = False
        for sidx in self._of(b"sidx"):
            count, end = read_index(self._reader, sidx)
            if end > self._reader.size:
                invalid(f"its index 'sidx' names segments up to {end}, the file has {self._reader.size} bytes")
            proven |= count > 1 and sidx.start < last.start and end >= last.end
        return proven

    def _check_last_index(self, last: Box) -> bool:
        """Check ``mfra``; return whether one follows the last media, which proves that the writer finished."""
        found = self._of(b"mfra")
        for mfra in found:
            check_random_access(self._reader, mfra, self._fragments.count)
        return any(mfra.start > last.start for mfra in found)

    def _longest(self) -> float:
        """Return how many seconds the longest track lasts, including its initial wait."""
        return max(
            (seconds + track.delay / self._movie.timescale for track, seconds, _ in self._lengths()),
            default=0.0,
        )

    def _rounding(self) -> float:
        """Return how many seconds may be mere rounding: less than a sample, plus a tick of the movie's clock."""
        return max((seconds / count / 2 for _, seconds, count in self._lengths()), default=0.0) + (
            1 / self._movie.timescale
        )

    def _lengths(self) -> Iterator[tuple[Track, float, int]]:
        """Yield each track that has samples, with their duration in seconds and their number."""
        for index, samples in self._samples.items():
            if samples.count:
                track = self._movie.tracks[index]
                yield track, samples.ticks / track.timescale, samples.count

    def _check_tail(self, *, whole: bool) -> None:
        """Check the bytes after the last box: fewer than a box needs, or zeros.

        :param whole: nothing can be missing. Otherwise a few bytes may be the beginning of a truncated fragment.
        """
        start = self._boxes[-1].end
        rest = self._reader.size - start
        if not rest or (whole and rest < 8):
            return
        if not self._reader.is_zero(start):
            invalid(f"{rest} bytes at {start} are no box")
        if not whole and rest < MIN_PADDING:
            invalid(f"{rest} bytes at {start} are too few for a box")

    # --- what it is ---

    def info(self) -> MediaInfo:
        tracks = self._movie.tracks
        held = [index for index, samples in self._samples.items() if samples.bytes]
        videos = [index for index in held if tracks[index].handler == VIDEO]
        if not videos:
            invalid("it has no video track with samples")
        shown = [(index, *self._size(tracks[index])) for index in videos]
        index, width, height = next((each for each in shown if each[1] and each[2]), shown[0])
        if not width or not height:
            invalid("its video track has no size")
        return MediaInfo(
            duration_seconds=round(self._duration(tracks[index], self._samples[index]), 6),
            width=width,
            height=height,
            has_audio=any(tracks[index].handler == SOUND for index in held),
        )

    def _size(self, track: Track) -> tuple[int, int]:
        width, height = track.width, track.height
        if not width or not height:
            width, height = sample_entry_size(self._reader, track)
        return (height, width) if track.turned else (width, height)

    def _duration(self, track: Track, samples: Samples) -> float:
        """Return the picture's duration: that of its samples, or less if the edit list plays fewer of them."""
        movie = self._movie
        seconds = samples.ticks / track.timescale
        if seconds > 0:
            played = 0.0 if movie.fragmented else track.played / movie.timescale
            return min(seconds, played) if played else seconds
        # A single picture may have no length of its own.
        said = max(track.ticks / track.timescale, movie.ticks / movie.timescale)
        if not said:
            invalid("it lasts 0 s")
        return said
