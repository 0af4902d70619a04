"""Walks the boxes of an MP4 in constant memory.

Input is hostile: every size is checked against its container, and every count against its box. Boxes and rows are
counted, so that the time for a file grows no faster than its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from airflow_provider_apimart.client.errors import InvalidVideoError

MAX_BOXES = 100_000
#: Rows of all tables together: a day of picture and sound. A file with more is refused: it could not be checked.
MAX_ROWS = 10_000_000
#: A box header is this long, or longer.
HEADER = 8
_BLOCK_BYTES = 64 * 1024


def invalid(text: str) -> NoReturn:
    """Refuse the file."""
    raise InvalidVideoError(f"The file is not a whole MP4: {text}")


@dataclass(frozen=True, slots=True)
class Box:
    """The offsets at which a box begins, its body begins, and both end."""

    kind: bytes
    start: int
    body: int
    end: int

    @property
    def name(self) -> str:
        """Its type, as messages show it."""
        return repr(self.kind.decode("latin-1"))


class BoxReader:
    """Reads the boxes, fields and tables of a file of ``size`` bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self._boxes_left = MAX_BOXES
        self._rows_left = MAX_ROWS

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly ``count`` bytes."""
        self._file.seek(offset)
        data = self._file.read(count)
        while len(data) < count and (more := self._file.read(count - len(data))):
            data += more
        if len(data) < count:
            invalid(f"it ends at {offset + len(data)}, where {count} bytes were to come at {offset}")
        return data

    def boxes(self) -> Iterator[Box]:
        """Yield the boxes of the file. They may end before the file does: see :meth:`is_zero`."""
        return self._walk(0, self.size)

    def children(self, box: Box) -> Iterator[Box]:
        """Yield the boxes inside another."""
        return self._walk(box.body, box.end)

    def is_zero(self, start: int) -> bool:
        """Return whether the file holds nothing but zeros from ``start`` on."""
        steps = range(start, self.size, _BLOCK_BYTES)
        return not any(any(self.read(at, min(_BLOCK_BYTES, self.size - at))) for at in steps)

    def fields(self, box: Box, layout: str, skip: int = 0) -> tuple[int, ...]:
        """Read fields of a box's body, after ``skip`` bytes."""
        need = skip + struct.calcsize(layout)
        if box.end - box.body < need:
            invalid(f"box {box.name} at {box.start} is too short")
        return struct.unpack(layout, self.read(box.body + skip, need - skip))

    def version(self, box: Box) -> tuple[int, int]:
        """Return a box's version and flags."""
        word = self.fields(box, ">I")[0]
        return word >> 24, word & 0xFFFFFF

    def table(self, box: Box, layout: str, skip: int) -> Iterator[tuple[int, ...]]:
        """Yield the rows of a table. The field before the first row holds their count."""
        return self.rows(box, layout, skip, self.fields(box, ">I", skip - 4)[0])

    def rows(self, box: Box, layout: str, skip: int, count: int) -> Iterator[tuple[int, ...]]:
        """Yield ``count`` rows, which begin after ``skip`` bytes of the body."""
        row = struct.calcsize(layout)
        if count * row > box.end - box.body - skip:
            invalid(f"box {box.name} at {box.start} is too short for its {count} rows")
        self._rows_left -= count
        if self._rows_left < 0:
            invalid(f"its tables have more than {MAX_ROWS} rows")
        return self._read_rows(layout, row, box.body + skip, count)

    def _read_rows(self, layout: str, row: int, at: int, count: int) -> Iterator[tuple[int, ...]]:
        while count:
            rows = min(count, _BLOCK_BYTES // row)
            yield from struct.iter_unpack(layout, self.read(at, rows * row))
            at, count = at + rows * row, count - rows

    def _walk(self, start: int, end: int) -> Iterator[Box]:
        # Fewer bytes than a header, or a header of zeros, end a list: writers pad, and QuickTime ends lists this way.
        while end - start >= HEADER:
            box = self._box(start, end)
            if box is None:
                return
            self._boxes_left -= 1
            if self._boxes_left < 0:
                invalid(f"it has more than {MAX_BOXES} boxes")
            yield box
            start = box.end

    def _box(self, start: int, end: int) -> Box | None:
        length, kind = struct.unpack(">I4s", self.read(start, HEADER))
        body = start + HEADER
        if length == 0 and kind == bytes(4):
            return None
        if length == 1:
            if end - start < HEADER + 8:
                invalid(f"the box at {start} ends within its header")
            length = struct.unpack(">Q", self.read(body, 8))[0]
            body += 8
        elif length == 0 and end == self.size:
            length = end - start
        box = Box(kind, start, body, start + length)
        if box.end < body:
            invalid(f"box {box.name} at {start} says that it is {length} bytes long")
        if box.end > end:
            where = f"the file has {end} bytes" if end == self.size else f"what it is in ends at {end}"
            invalid(f"box {box.name} says it ends at {box.end}, {where}")
        return box
