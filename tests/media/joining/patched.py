"""Changes single fields in the index of an MP4."""

from __future__ import annotations

import struct
from pathlib import Path


def boxes(data: bytes, *path: bytes) -> list[int]:
    """Return where the bodies of all boxes of a path begin, such as ``moov``, ``trak``, ``tkhd``."""
    found = [(0, len(data))]
    for kind in path:
        inside = []
        for start, end in found:
            at = start
            while at + 8 <= end:
                length, name = struct.unpack_from(">I4s", data, at)
                if name == kind:
                    inside.append((at + 8, at + length))
                at += length
        found = inside
    return [start for start, _ in found]


STBL = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def patched(source: Path, to: Path, at: int, layout: str, *values: int) -> Path:
    """Write a copy of a file with other fields at one place."""
    data = bytearray(source.read_bytes())
    struct.pack_into(layout, data, at, *values)
    to.write_bytes(data)
    return to


def with_inserted(source: Path, to: Path, path: tuple[bytes, ...], box: bytes) -> Path:
    """Write a copy with a box at the end of each box of a path; the index has to stand behind the media."""
    data = source.read_bytes()
    assert data.find(b"mdat") < data.find(b"moov")
    to.write_bytes(_inserted(data, path, box))
    return to


def _inserted(data: bytes, path: tuple[bytes, ...], box: bytes) -> bytes:
    out, at = b"", 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + length]
        if kind == path[0]:
            body = body + box if len(path) == 1 else _inserted(body, path[1:], box)
        out += struct.pack(">I4s", 8 + len(body), kind) + body
        at += length
    return out
