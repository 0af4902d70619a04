"""Tells a whole video from anything else: the container half of invariant 7.

A file passes only if its boxes fill it, it has a picture, every sample of picture and sound lies in a media box, and no
fragment is missing that the file speaks of. Nothing is decoded.

What no reader can see: a fragmented file that was cut exactly between two fragments and says nowhere how many there
are. Bytes that play no part may be missing (an ``mfra`` or ``free`` box behind the media), or follow (a few bytes of
rubbish, zeros).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from airflow_provider_apimart.client.errors import InvalidVideoError
from airflow_provider_apimart.generation.mp4.boxes import Box, BoxReader, invalid
from airflow_provider_apimart.generation.mp4.fragments import Fragments, check_random_access, indexed_end
from airflow_provider_apimart.generation.mp4.movie import SOUND, VIDEO, Movie, Track, read_movie, sample_entry_size
from airflow_provider_apimart.generation.mp4.samples import Media, Samples, read_samples

#: How far the samples may fall short of the announced duration where an index proves that the end of the file is there.
#: Writers announce the longest track of what they had, or count what is shown instead of what is stored.
INDEXED_SLACK_SECONDS = 0.5
#: More zeros than the first bytes of a box's header can be.
MIN_PADDING = 4


@dataclass(frozen=True)
class MediaInfo:
    """What a video is. Width and height are those it is shown with, after its rotation."""

    duration_seconds: float
    width: int
    height: int
    has_audio: bool


def read_mp4(file: BinaryIO, size: int) -> MediaInfo:
    """Check a whole MP4 file of ``size`` bytes and return what it is.

    :raises InvalidVideoError: when it is not one, or not whole.
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
        self._samples = self._read_samples(Media(mdats, reader.size))
        ends_proven = self._check_indexes(mdats)
        if self._movie.fragmented:
            self._check_fragments(ends_proven)
        else:
            self._check_tail(whole=True)

    def _of(self, kind: bytes) -> list[Box]:
        return [box for box in self._boxes if box.kind == kind]

    def _read_samples(self, media: Media) -> dict[int, Samples]:
        """Return what each track of picture or sound holds, in ``moov`` and in fragments, by its place."""
        movie, reader = self._movie, self._reader
        judged = {index: track for index, track in enumerate(movie.tracks) if track.is_media}
        own = {
            index: read_samples(reader, track, media, fragmented=movie.fragmented) for index, track in judged.items()
        }
        fragments = Fragments(reader, movie, media, {judged[index].id: samples for index, samples in own.items()})
        for moof in self._moofs:
            fragments.add(moof)
        found = {}
        for index, track in judged.items():
            mine, more = own[index], fragments.of(track)
            found[index] = Samples(mine.count + more.count, mine.bytes + more.bytes, mine.ticks + more.ticks)
        return found

    # --- is anything missing? ---

    def _check_indexes(self, mdats: list[Box]) -> bool:
        """Check the indexes of segments and fragments; return whether one of them proves the end of the file."""
        proven = False
        for sidx in self._of(b"sidx"):
            end = indexed_end(self._reader, sidx)
            if end > self._reader.size:
                invalid(f"its index 'sidx' names segments up to {end}, the file has {self._reader.size} bytes")
            proven |= bool(self._moofs) and sidx.start < self._moofs[0].start and end >= mdats[-1].end
        for mfra in self._of(b"mfra"):
            check_random_access(self._reader, mfra, len(self._moofs))
            proven |= mfra.start > mdats[-1].start
        return proven

    def _check_fragments(self, ends_proven: bool) -> None:
        announced = self._announced()
        if announced:
            self._check_length(announced, ends_proven)
        elif not self._moofs and not ends_proven:
            invalid("it says that fragments follow, and has none")
        self._check_tail(whole=bool(announced) or ends_proven)

    def _announced(self) -> float:
        """Return how many seconds there are to be, fragments and all, or 0 where that is not said.

        ``mvhd`` counts the fragments in some files, and leaves them out in others: then it falls short of the samples.
        """
        return (self._movie.announced_ticks or self._movie.ticks) / self._movie.timescale

    def _check_length(self, announced: float, ends_proven: bool) -> None:
        """Check that the samples last as long as is announced.

        A missing fragment is a sample or more. Less than that is rounding.
        """
        movie = self._movie
        longest, slack = 0.0, INDEXED_SLACK_SECONDS
        for index, samples in self._samples.items():
            track = movie.tracks[index]
            if samples.count and track.timescale:
                seconds = samples.ticks / track.timescale
                longest = max(longest, seconds + track.delay / movie.timescale)
                if not ends_proven:
                    slack = min(slack, seconds / samples.count / 2 + 1 / movie.timescale)
        if longest < announced - slack:
            invalid(f"its fragments last {longest:.3f} s of the {announced:.3f} s that it announces")

    def _check_tail(self, *, whole: bool) -> None:
        """Check what follows the last box: fewer bytes than a box needs, or zeros.

        :param whole: nothing can be missing. Otherwise a few bytes may be what a cut has left of the next fragment.
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
        """Return how long the picture lasts: what its samples last, or less where the edit list plays less of them."""
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
