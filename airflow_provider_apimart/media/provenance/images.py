"""XMP in a JPEG (APP1), a WebP (chunk ``XMP ``) and a PNG (``iTXt``). Images are small: they are held in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

MAX_BYTES = 256 * 1024**2
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp\0"
#: In VP8X: the file has XMP; it has transparency.
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10


class Jpeg:
    """Segments up to the start of the picture, and the rest."""

    def __init__(self, data: bytes) -> None:
        self._segments: list[bytes] = []
        at = 2
        while True:
            if len(data) - at < 4 or data[at] != 0xFF:
                raise ValueError(f"it is damaged at byte {at}: no JPEG segment begins there")
            marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
            if marker == 0xFF:
                at += 1
                continue
            if length < 2 or at + 2 + length > len(data):
                raise ValueError(f"it is damaged at byte {at}: the segment is longer than the file")
            if marker == 0xDA:
                break
            self._segments.append(data[at : at + 2 + length])
            at += 2 + length
        self._rest = data[at:]

    @property
    def has_credentials(self) -> bool:
        """Whether it has a C2PA manifest."""
        return any(segment[1] == 0xEB and b"jumb" in segment[:40] for segment in self._segments)

    @property
    def xmp(self) -> bytes | None:
        """The XMP packet that it has."""
        found = next((segment for segment in self._segments if self._is_xmp(segment)), None)
        return found[4 + len(_JPEG_XMP) :] if found else None

    def with_xmp(self, packet: bytes) -> bytes:
        """Return the image with ``packet`` as its only XMP."""
        body = _JPEG_XMP + packet
        if len(body) > 0xFFFF - 2:
            raise ValueError("its XMP would not fit into a JPEG segment (64 KiB)")
        others = [segment for segment in self._segments if not self._is_xmp(segment)]
        # JFIF and Exif have to come first.
        first = 0
        while first < len(others) and others[first][1] in (0xE0, 0xE1):
            first += 1
        ours = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        return b"\xff\xd8" + b"".join([*others[:first], ours, *others[first:]]) + self._rest

    @staticmethod
    def _is_xmp(segment: bytes) -> bool:
        return segment[1] == 0xE1 and segment[4:].startswith(_JPEG_XMP)


class WebP:
    """The chunks of a WebP, still or animated."""

    def __init__(self, data: bytes) -> None:
        end = 8 + struct.unpack_from("<I", data, 4)[0]
        if end > len(data):
            raise ValueError("it is shorter than it says")
        self._chunks = list(self._read(data, end))
        if not self._chunks:
            raise ValueError("it holds no picture")

    @staticmethod
    def _read(data: bytes, end: int) -> Iterator[tuple[bytes, bytes]]:
        at = 12
        while at + 8 <= end:
            kind, length = struct.unpack_from("<4sI", data, at)
            if at + 8 + length > end:
                raise ValueError(f"it is damaged at byte {at}: the chunk is longer than the file")
            yield kind, data[at + 8 : at + 8 + length]
            at += 8 + length + length % 2

    @property
    def has_credentials(self) -> bool:
        """Whether it has a C2PA manifest."""
        return any(kind == b"C2PA" for kind, _ in self._chunks)

    @property
    def xmp(self) -> bytes | None:
        """The XMP packet that it has."""
        return next((body for kind, body in self._chunks if kind == b"XMP "), None)

    def with_xmp(self, packet: bytes) -> bytes:
        """Return the image with ``packet`` as its only XMP."""
        kind, first = self._chunks[0]
        rest = self._chunks[1:] if kind == b"VP8X" else self._chunks
        header = bytearray(first) if kind == b"VP8X" else self._header(kind, first)
        if len(header) < 10:
            raise ValueError("its header (VP8X) is damaged")
        header[0] |= _HAS_XMP
        kept = [chunk for chunk in rest if chunk[0] != b"XMP "]
        chunks = [(b"VP8X", bytes(header)), *kept, (b"XMP ", packet)]
        body = b"".join(struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
        return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body

    @staticmethod
    def _header(kind: bytes, picture: bytes) -> bytearray:
        """Return the extended header (VP8X) of a simple file, without which it cannot have metadata."""
        if kind == b"VP8 " and len(picture) >= 10 and picture[3:6] == b"\x9d\x01\x2a":
            wide, high = (size & 0x3FFF for size in struct.unpack_from("<HH", picture, 6))
            flags = 0
        elif kind == b"VP8L" and len(picture) >= 5 and picture[0] == 0x2F:
            bits = struct.unpack_from("<I", picture, 1)[0]
            wide, high = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
            flags = _HAS_ALPHA if bits >> 28 & 1 else 0
        else:
            raise ValueError("its picture is no VP8")
        return bytearray([flags, 0, 0, 0, *(wide - 1).to_bytes(3, "little"), *(high - 1).to_bytes(3, "little")])


class Png:
    """The chunks of a PNG."""

    def __init__(self, data: bytes) -> None:
        self._chunks: list[tuple[bytes, bytes]] = []
        at = len(_PNG)
        while at < len(data):
            if len(data) - at < 12:
                raise ValueError(f"it ends inside a chunk, at byte {at}")
            length, kind = struct.unpack_from(">I4s", data, at)
            if at + 12 + length > len(data):
                raise ValueError(f"it is damaged at byte {at}: the chunk is longer than the file")
            self._chunks.append((kind, data[at + 8 : at + 8 + length]))
            at += 12 + length
        if not self._chunks or self._chunks[0][0] != b"IHDR":
            raise ValueError("it does not begin with its header (IHDR)")

    @property
    def has_credentials(self) -> bool:
        """Whether it has a C2PA manifest."""
        return any(kind == b"caBX" for kind, _ in self._chunks)

    @property
    def xmp(self) -> bytes | None:
        """The XMP packet that it has, if it is not compressed."""
        head = _PNG_XMP + b"\0\0\0\0"
        return next(
            (body[len(head) :] for kind, body in self._chunks if kind == b"iTXt" and body.startswith(head)), None
        )

    def with_xmp(self, packet: bytes) -> bytes:
        """Return the image with ``packet`` as its only XMP."""
        kept = [chunk for chunk in self._chunks if not (chunk[0] == b"iTXt" and chunk[1].startswith(_PNG_XMP))]
        kept.insert(1, (b"iTXt", _PNG_XMP + b"\0\0\0\0" + packet))
        return _PNG + b"".join(
            struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in kept
        )
