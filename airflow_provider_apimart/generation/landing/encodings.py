"""Interprets a video's Content-Encoding, which is not always true.

Object stores keep whatever value an uploader set (``aws-chunked``, ``base64``, ``utf-8``) and serve it with plain
bytes. So a name that is no HTTP coding is ignored, and gzip or deflate count only if the bytes begin accordingly.
Length and resuming refer to the bytes as they are sent. The container check decides in the end.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.generation.landing.resumable import ResumableFile
from airflow_provider_apimart.storage.checksum import Sha256

PIECE_BYTES = 256 * 1024
INFLATABLE = frozenset({"gzip", "x-gzip", "deflate"})
#: The other content codings that IANA lists. They cannot be decoded here.
UNREADABLE = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi", "pack200-gzip"})
#: With this value zlib detects which of the two formats it reads.
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def is_compressed(headers: Mapping[str, str]) -> bool:
    """Return whether an answer's headers call its bytes compressed.

    :raises LandingError: for a coding that cannot be decoded here.
    """
    named = headers.get("content-encoding", "")
    codings = [word for word in named.lower().replace(",", " ").split() if word in INFLATABLE | UNREADABLE]
    if len(codings) > 1 or set(codings) & UNREADABLE:
        raise LandingError(f"The media host sent the video with Content-Encoding {named!r}, which was not asked for")
    return bool(codings)


def expand(sink: BinaryIO, max_bytes: int) -> tuple[int, str] | None:
    """Replace a compressed file with its content; return the content's length and SHA-256.

    :return: ``None`` for a file that is not compressed, whatever the headers said.
    :raises VideoTooLargeError: if it holds more than ``max_bytes``.
    :raises LandingError: if it is damaged.
    """
    sink.seek(0)
    head = sink.read(2)
    zlib_head = len(head) == 2 and head[0] & 15 == zlib.DEFLATED and int.from_bytes(head) % 31 == 0
    if head != b"\x1f\x8b" and not zlib_head:
        return None
    with tempfile.TemporaryFile() as packed, Sha256() as digest:
        sink.seek(0)
        shutil.copyfileobj(sink, packed, PIECE_BYTES)
        packed.seek(0)
        whole = ResumableFile(sink, max_bytes, digest)
        try:
            for piece in _inflated(packed):
                whole.write(piece)
        except zlib.error as error:
            raise LandingError(f"The media host sent the video compressed, and damaged: {error}") from error
        sink.flush()
        return whole.received, whole.sha256


def _inflated(packed: BinaryIO) -> Iterator[bytes]:
    """Yield the content in small pieces: a few bytes can hold gigabytes."""
    member = zlib.decompressobj(GZIP_OR_ZLIB)
    while chunk := packed.read(PIECE_BYTES):
        while chunk:
            if member.eof:
                # A gzip file may consist of several members, one after the other.
                member = zlib.decompressobj(GZIP_OR_ZLIB)
            yield member.decompress(chunk, PIECE_BYTES)
            chunk = member.unconsumed_tail or member.unused_data
    while not member.eof:
        piece = member.decompress(member.unconsumed_tail, PIECE_BYTES)
        if not piece:
            raise zlib.error("it ends early")
        yield piece
