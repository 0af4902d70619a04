"""Copies ranges of bytes from file to file."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

#: Of this size a block stays in the processor's cache between reading and writing. The kernel's own copying
#: (``copy_file_range``) takes longer for ranges that do not begin where its pages do, which no sample cares about.
BLOCK_BYTES = 512 * 1024


class CutOff(Exception):
    """The file ended before the range did."""


def copier(sink: BinaryIO) -> Callable[[BinaryIO, int, int], None]:
    """Return what copies the bytes from ``start`` to ``end`` of a file to where ``sink`` is. Both are unbuffered.

    It raises :class:`CutOff` if the file is shorter, and an ``OSError`` if ``sink`` cannot be written.
    """
    block = memoryview(bytearray(BLOCK_BYTES))

    def copy(source: BinaryIO, start: int, end: int) -> None:
        source.seek(start)
        while start < end:
            count = source.readinto(block[: min(BLOCK_BYTES, end - start)])  # type: ignore[attr-defined]
            if not count:
                raise CutOff
            write_whole(sink, block[:count])
            start += count

    return copy


def write_whole(sink: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of ``data`` to an unbuffered file."""
    rest = memoryview(data)
    while rest:
        rest = rest[sink.write(rest) :]
