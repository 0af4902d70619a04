"""Follows a track's sample tables: how many samples it has, how long they last, and whether each lies in the media.

A track with samples must have every table that is needed to find them. A table that cannot be read is an error.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import NoReturn

from airflow_provider_apimart.generation.landing.mp4.boxes import Box, BoxReader, invalid
from airflow_provider_apimart.generation.landing.mp4.movie import SOUND, Track


@dataclass(frozen=True)
class Samples:
    """What a track holds, in ``moov`` or in fragments."""

    count: int = 0
    bytes: int = 0
    ticks: int = 0

    def __add__(self, other: Samples) -> Samples:
        return Samples(self.count + other.count, self.bytes + other.bytes, self.ticks + other.ticks)


NOTHING = Samples()


class Media:
    """The ranges of the file that hold samples: the bodies of its ``mdat`` boxes, in the file's order."""

    def __init__(self, boxes: list[Box], size: int) -> None:
        self._starts = [box.body for box in boxes]
        self._ends = [box.end for box in boxes]
        self._size = size

    def holds(self, start: int, end: int) -> bool:
        """Return whether a single range holds everything from ``start`` to ``end``."""
        index = bisect_right(self._starts, start) - 1
        return index >= 0 and end <= self._ends[index]

    def refuse(self, track_id: int, start: int, end: int) -> NoReturn:
        """Refuse the file for samples that are not where they should be."""
        if end > self._size:
            invalid(f"track {track_id} has samples up to {end}, the file has {self._size} bytes")
        invalid(f"track {track_id} has samples from {start} to {end}, which no 'mdat' box holds")


def read_samples(reader: BoxReader, track: Track, media: Media, *, fragmented: bool) -> Samples:
    """Return what the tables of a track in ``moov`` hold, after checking that the samples lie in the media.

    :param fragmented: the samples may be in fragments, so headers with a duration need no tables.
    """
    tables = track.tables
    sizes = tables.get(b"stsz") or tables.get(b"stz2")
    offsets = tables.get(b"co64") or tables.get(b"stco")
    found = {"stsd": tables.get(b"stsd"), "stts": tables.get(b"stts"), "stsc": tables.get(b"stsc")}
    found |= {"stsz": sizes, "stco": offsets}
    missing = [name for name, box in found.items() if box is None]
    # An empty track may have a row of times for zero samples.
    times = _count(reader, found["stts"], 4) and _count(reader, found["stts"], 8)
    claimed = _count(reader, sizes, 8) or _count(reader, offsets, 4) or times
    if not claimed and not (missing and track.ticks and not fragmented):
        return NOTHING
    if missing or sizes is None or offsets is None:
        invalid(f"track {track.id} has samples and no {missing[0]!r} box")
    check_headers(reader, track)
    table = _Sizes(reader, track, sizes)
    total, count = 0, table.left
    if not count:
        invalid(f"track {track.id} has samples, and its box {sizes.name} has none")
    layout = ">Q" if offsets.kind == b"co64" else ">I"
    for (offset,), per_chunk in zip(
        reader.table(offsets, layout, 8), _samples_per_chunk(reader, tables[b"stsc"]), strict=False
    ):
        length = table.take(per_chunk)
        total += length
        if length and not media.holds(offset, offset + length):
            media.refuse(track.id, offset, offset + length)
        if not table.left:
            break  # Chunks without samples are not checked: there can be millions.
    if table.left:
        invalid(f"track {track.id} has more samples than its chunks hold")
    return Samples(count, total, _ticks(reader, track, count))


def check_headers(reader: BoxReader, track: Track) -> None:
    """Refuse a track that has samples but lacks the headers needed to decode them."""
    if not track.id:
        invalid("it has a track without a 'tkhd' box")
    if not track.timescale:
        invalid(f"track {track.id} does not say how many ticks a second has ('mdhd')")
    stsd = track.tables.get(b"stsd")
    if stsd is None or not reader.fields(stsd, ">I", 4)[0]:
        invalid(f"track {track.id} does not say what its samples are ('stsd')")


def _count(reader: BoxReader, box: Box | None, skip: int) -> int:
    """Return the count of samples or rows that a table holds after ``skip`` bytes."""
    return reader.fields(box, ">I", skip)[0] if box is not None and box.end - box.body >= skip + 4 else 0


class _Sizes:
    """The sizes of a track's samples, in order."""

    def __init__(self, reader: BoxReader, track: Track, box: Box) -> None:
        self._each = 0
        #: Old QuickTime sound is packed: this many samples take this many bytes.
        self._packet = (1, 0)
        self._sizes: Iterator[int] = iter(())
        if box.kind == b"stsz":
            self._each, self.left = reader.fields(box, ">2I", 4)
            if self._each:
                self._packet = _packet(reader, track)
            else:
                self._sizes = chain.from_iterable(reader.table(box, ">I", 12))
        else:
            bits, self.left = reader.fields(box, ">2I", 4)
            self._sizes = _compact(reader, box, bits & 0xFF, self.left)

    def take(self, count: int) -> int:
        """Return how many bytes the next ``count`` samples have. Samples after the last one count 0."""
        count = min(count, self.left)
        self.left -= count
        per_packet, packet_bytes = self._packet
        if packet_bytes:
            return -(-count // per_packet) * packet_bytes
        return self._each * count if self._each else sum(islice(self._sizes, count))


def _compact(reader: BoxReader, box: Box, bits: int, count: int) -> Iterator[int]:
    if bits in (8, 16):
        yield from chain.from_iterable(reader.rows(box, ">B" if bits == 8 else ">H", 12, count))
    elif bits == 4:
        for (pair,) in reader.rows(box, ">B", 12, (count + 1) // 2):
            yield pair >> 4
            yield pair & 0xF
    else:
        invalid(f"box 'stz2' at {box.start} has sizes of {bits} bits")


def _packet(reader: BoxReader, track: Track) -> tuple[int, int]:
    """Return the samples and bytes of one packet of QuickTime's compressed sound; 0 bytes means "not packed".

    Version 1 of the sound description gives both, unless its compression id is -2: then the size is that of a packet.
    """
    stsd = track.tables[b"stsd"]
    if track.handler == SOUND and reader.version(stsd)[0] == 0 and stsd.end - stsd.body >= 8 + 52:
        version, compression, per_packet, _, frame_bytes = reader.fields(stsd, ">H10xh6x3I", 8 + 16)
        if version == 1 and compression != -2 and per_packet > 1:
            return per_packet, frame_bytes
    return 1, 0


def _samples_per_chunk(reader: BoxReader, stsc: Box) -> Iterator[int]:
    """Yield how many samples each chunk has; the last number repeats forever."""
    chunk, per_chunk, previous = 1, 0, 0
    for first, samples, _ in reader.table(stsc, ">3I", 8):
        if first <= previous:
            invalid("the runs of box 'stsc' do not go forwards")
        previous = first
        while chunk < first:
            yield per_chunk
            chunk += 1
        per_chunk = samples
    while True:
        yield per_chunk


def _ticks(reader: BoxReader, track: Track, count: int) -> int:
    """Return how long the first ``count`` samples last.

    If the table covers too few samples, players reuse its last row. If it covers too many, they ignore the rest.
    """
    stts = track.tables[b"stts"]
    if not reader.fields(stts, ">I", 4)[0]:
        invalid(f"track {track.id} does not say how long its samples last ('stts')")
    total = delta = 0
    for samples, delta in reader.table(stts, ">Ii", 8):
        samples = min(samples, count)
        total, count = total + samples * delta, count - samples
        if not count:
            break
    return total + count * delta
