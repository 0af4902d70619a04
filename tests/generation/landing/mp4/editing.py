"""Takes MP4s apart and puts them together in other ways."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from airflow_provider_apimart.client.errors import InvalidVideoError
from airflow_provider_apimart.generation.landing.mp4 import MediaInfo, read_mp4

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"mfra"}
FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof"


def read(data: bytes) -> MediaInfo:
    return read_mp4(io.BytesIO(data), len(data))


def refused(data: bytes, match: str = "not a whole MP4") -> None:
    with pytest.raises(InvalidVideoError, match=match):
        read(data)


def accepts(data: bytes) -> bool:
    try:
        read(data)
    except InvalidVideoError:
        return False
    return True


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, layout: str, *values: int, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + struct.pack(layout, *values))


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the boxes in a part of the file."""
    end = len(data) if end is None else end
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        if size == 1:
            size = struct.unpack(">Q", data[start + 8 : start + 16])[0]
        yield kind, start, start + size
        start += size


def borders(data: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield where any box begins, where its body begins, and where it ends."""
    for kind, at, until in boxes(data, start, end):
        yield from (at, at + 8, until)
        if kind in CONTAINERS:
            yield from borders(data, at + 8, until)


def spot(data: bytes, *path: bytes, track: bytes = b"vide") -> tuple[int, int]:
    """Return start and end of the box at a path; a ``trak`` is that of the kind."""
    start, end = 0, len(data)
    for depth, kind in enumerate(path):
        found = [(at, until) for each, at, until in boxes(data, start, end) if each == kind]
        if kind == b"trak":
            found = [(at, until) for at, until in found if track in data[at:until]]
        start, end = found[0]
        start += 8 if depth < len(path) - 1 else 0
    return start, end


def table(name: bytes) -> tuple[bytes, ...]:
    return b"moov", b"trak", b"mdia", b"minf", b"stbl", name


def body(data: bytes, *path: bytes, track: bytes = b"vide") -> bytes:
    start, end = spot(data, *path, track=track)
    return data[start + 8 : end]


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def poked(data: bytes, path: tuple[bytes, ...], offset: int, value: bytes, track: bytes = b"vide") -> bytes:
    """Overwrite a part of a box's body."""
    return patched(data, spot(data, *path, track=track)[0] + 8 + offset, value)


def renamed(data: bytes, *path: bytes, track: bytes = b"vide") -> bytes:
    """Make a box one that readers pass over."""
    return patched(data, spot(data, *path, track=track)[0] + 4, b"free")


def replaced(data: bytes, path: tuple[bytes, ...], new: bytes, track: bytes = b"vide") -> bytes:
    """Put something else in the place of a box. What its ancestors say of their size is mended, offsets are not."""
    start, end = spot(data, *path, track=track)
    result = data[:start] + new + data[end:]
    for depth in range(1, len(path)):
        at, until = spot(data, *path[:depth], track=track)
        result = patched(result, at, struct.pack(">I", until - at + len(new) - (end - start)))
    return result


def appended(data: bytes, path: tuple[bytes, ...], new: bytes, track: bytes = b"vide") -> bytes:
    """Add a box behind the children of another."""
    start, end = spot(data, *path, track=track)
    return replaced(data, path, struct.pack(">I", end - start + len(new)) + data[start + 4 : end] + new, track)


def shifted(data: bytes, by: int, start: int = 0) -> bytes:
    """Move what ``stco`` points to at or past ``start``."""
    for kind, at, until in list(boxes(data, *inside(data, b"moov"))):
        if kind == b"trak":
            track = b"vide" if b"vide" in data[at:until] else b"soun"
            place, end = spot(data, *table(b"stco"), track=track)
            offsets = struct.unpack(f">{(end - place - 16) // 4}I", data[place + 16 : end])
            moved = [offset + by if offset >= start else offset for offset in offsets]
            data = patched(data, place + 16, struct.pack(f">{len(moved)}I", *moved))
    return data


def inside(data: bytes, *path: bytes) -> tuple[int, int]:
    start, end = spot(data, *path)
    return start + 8, end


def parts(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Split a fragmented file: what is before the first fragment, the fragments, and what is behind the last."""
    tops = list(boxes(data))
    starts = [at for kind, at, _ in tops if kind == b"moof"]
    last = max(until for kind, _, until in tops if kind == b"mdat")
    cuts = [*starts, last]
    return data[: starts[0]], [data[a:b] for a, b in pairwise(cuts)], data[last:]


def announcing(data: bytes, seconds: float, *, mvhd: bool = False) -> bytes:
    """Say how long the movie is, in ``mehd``, or in ``mvhd`` alone."""
    timescale = struct.unpack(">I", body(data, b"moov", b"mvhd")[12:16])[0]
    ticks = int(seconds * timescale)
    if mvhd:
        return poked(data, (b"moov", b"mvhd"), 16, struct.pack(">I", ticks))
    return appended(data, (b"moov", b"mvex"), full(b"mehd", ">I", ticks))
