"""XMP in an MP4 (ISO 14496-12): a ``uuid`` box of its own at the end, so that no sample moves.

A player seeks by offsets from the start of the file (``stco``, ``co64``, ``mfra``). Nothing before the new box changes
its place: an older packet becomes free space, and the index of a fragmented file (``mfra``), which readers look for at
the end, stays last. Memory is constant.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
MAX_BOXES = 1_000_000
MAX_PACKET_BYTES = 4 * 1024**2
_BLOCK_BYTES = 1024**2


@dataclass(frozen=True)
class Box:
    """A box at the top level.

    :param open_ended: whether its length is not written: it goes to the end of the file.
    """

    kind: bytes
    start: int
    body: int
    end: int
    uuid: bytes = b""
    open_ended: bool = False


def top_boxes(file: BinaryIO) -> Iterator[Box]:
    """Yield the boxes at the top level.

    :raises ValueError: if they do not fill the file to the byte.
    """
    size, at = file.seek(0, os.SEEK_END), 0
    for _ in range(MAX_BOXES):
        if at == size:
            return
        file.seek(at)
        head = file.read(32)
        if len(head) < 8:
            raise ValueError(f"it ends inside a box, at byte {at}")
        length, kind = struct.unpack_from(">I4s", head)
        body = at + 8
        if length == 1 and len(head) >= 16:
            length, body = struct.unpack_from(">Q", head, 8)[0], at + 16
        end = size if length == 0 else at + length
        if end < body or end > size:
            raise ValueError(f"the box {kind.decode('latin-1')!r} at byte {at} does not fit into the file")
        uuid = head[body - at : body - at + 16] if kind == b"uuid" else b""
        yield Box(kind, at, body, end, uuid, open_ended=length == 0)
        at = end
    raise ValueError(f"it has more than {MAX_BOXES} boxes")


def has_credentials(file: BinaryIO) -> bool:
    """Return whether it has a C2PA manifest."""
    return any(box.uuid == C2PA_UUID for box in top_boxes(file))


def existing_xmp(file: BinaryIO) -> bytes | None:
    """Return the XMP packet that it has."""
    for box in top_boxes(file):
        if box.uuid == XMP_UUID:
            start = box.body + 16
            if box.end - start > MAX_PACKET_BYTES:
                raise ValueError(f"its XMP is larger than {MAX_PACKET_BYTES // 1024**2} MiB")
            file.seek(start)
            return file.read(box.end - start)
    return None


def write(source: BinaryIO, sink: BinaryIO, packet: bytes) -> None:
    """Copy ``source`` to ``sink``, with ``packet`` as its only XMP.

    :raises ValueError: if it is no whole MP4.
    """
    boxes = list(top_boxes(source))
    if not {b"moov", b"mdat"} <= {box.kind for box in boxes} and not any(box.kind == b"moof" for box in boxes):
        raise ValueError("it holds no movie (moov) or no media (mdat)")
    index = next((box for box in boxes if box.kind == b"mfra"), None)
    at = index.start if index is not None and index is boxes[-1] else boxes[-1].end
    _copy(source, sink, 0, at)
    sink.write(struct.pack(">I4s", 8 + 16 + len(packet), b"uuid") + XMP_UUID + packet)
    _copy(source, sink, at, boxes[-1].end)
    for box in boxes:
        if box.uuid == XMP_UUID:
            sink.seek(box.start + 4)
            sink.write(b"free")
    if boxes[-1].open_ended:
        _close(boxes[-1], sink)
    sink.seek(0, os.SEEK_END)


def _close(last: Box, sink: BinaryIO) -> None:
    """Write the length of a box that went to the end of the file; something follows it now."""
    length = last.end - last.start
    if length >= 2**32:
        raise ValueError("its last box is larger than 4 GiB and has no length, so nothing can follow it")
    sink.seek(last.start)
    sink.write(struct.pack(">I", length))


def _copy(source: BinaryIO, sink: BinaryIO, start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        block = source.read(min(_BLOCK_BYTES, end - start))
        if not block:
            raise ValueError("it became shorter while it was read")
        sink.write(block)
        start += len(block)
