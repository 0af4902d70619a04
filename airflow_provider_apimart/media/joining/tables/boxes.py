"""Reads the boxes of an MP4's index (``moov``, ISO 14496-12).

Input is hostile: every size is checked against its container, every count against its box, and nothing is followed
deeper than the tables need. Whatever is odd is :class:`NotPlain`, which says nothing against the file.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NoReturn

from airflow_provider_apimart.media.provenance.mp4 import top_boxes

#: An index is read into memory. A clip's is some kilobytes; an hour's about a megabyte.
MAX_INDEX_BYTES = 32 * 1024**2
#: In the file, or in any one box.
MAX_BOXES = 1000


class NotPlain(Exception):
    """The file is none that is copied by its tables. FFmpeg may still read it."""


def not_plain(text: str) -> NoReturn:
    """Leave the file to FFmpeg."""
    raise NotPlain(text)


@dataclass(frozen=True)
class Box:
    """A box of an index: its type, and what it holds."""

    kind: bytes
    body: memoryview

    def fields(self, layout: str, skip: int = 0) -> tuple[int, ...]:
        """Read fields of it, after ``skip`` bytes."""
        if len(self.body) < skip + struct.calcsize(layout):
            not_plain(f"the box {self.kind!r} is too short")
        return struct.unpack_from(layout, self.body, skip)

    @property
    def version(self) -> int:
        """The version of a box that has one."""
        return self.fields(">B")[0]

    def words(self, skip: int, count: int) -> array[int]:
        """Read ``count`` numbers of 32 bits, after ``skip`` bytes."""
        return self._numbers("I", 4, skip, count)

    def long_words(self, skip: int, count: int) -> array[int]:
        """Read ``count`` numbers of 64 bits, after ``skip`` bytes."""
        return self._numbers("Q", 8, skip, count)

    def _numbers(self, kind: str, width: int, skip: int, count: int) -> array[int]:
        # Compared before anything is taken: a count may be up to 2**32.
        if count * width > len(self.body) - skip:
            not_plain(f"the box {self.kind!r} is too short for its {count} numbers")
        found = array(kind, bytes(self.body[skip : skip + count * width]))
        if sys.byteorder == "little":
            found.byteswap()
        return found

    def children(self, skip: int = 0) -> Children:
        """Read the boxes in it, after ``skip`` bytes."""
        found: list[Box] = []
        at = skip
        while at < len(self.body):
            if len(found) == MAX_BOXES or len(self.body) - at < 8:
                not_plain(f"the box {self.kind!r} has too many boxes, or ends inside one")
            length, kind = struct.unpack_from(">I4s", self.body, at)
            if not 8 <= length <= len(self.body) - at:
                not_plain(f"a box in {self.kind!r} does not fit into it")
            found.append(Box(kind, self.body[at + 8 : at + length]))
            at += length
        return Children(self.kind, tuple(found))


@dataclass(frozen=True)
class Children:
    """The boxes in a box."""

    of: bytes
    boxes: tuple[Box, ...]

    def all(self, kind: bytes) -> list[Box]:
        """Return those of a type."""
        return [box for box in self.boxes if box.kind == kind]

    def one(self, kind: bytes) -> Box:
        """Return the only one of a type."""
        found = self.all(kind)
        if len(found) != 1:
            not_plain(f"the box {self.of!r} holds {len(found)} boxes {kind!r}")
        return found[0]

    def maybe(self, kind: bytes) -> Box | None:
        """Return the only one of a type; ``None`` without."""
        return self.one(kind) if self.all(kind) else None


def read_index(file: BinaryIO) -> Children:
    """Read the index of a file.

    :raises NotPlain: if it has none of one piece.
    """
    try:
        found = list(islice(top_boxes(file), MAX_BOXES + 1))
    except ValueError as error:
        not_plain(str(error))
    if len(found) > MAX_BOXES or not found or found[0].kind != b"ftyp":
        not_plain("it does not begin with its type, or has too many boxes")
    indexes = [box for box in found if box.kind == b"moov"]
    if len(indexes) != 1 or any(box.kind == b"moof" for box in found):
        not_plain("it has no index, or is in fragments")
    (box,) = indexes
    if box.end - box.body > MAX_INDEX_BYTES:
        not_plain(f"its index is larger than {MAX_INDEX_BYTES // 1024**2} MiB")
    file.seek(found[0].body)
    if file.read(4) == b"qt  ":
        not_plain("it is a QuickTime file")
    file.seek(box.body)
    return Box(b"moov", memoryview(file.read(box.end - box.body))).children()
