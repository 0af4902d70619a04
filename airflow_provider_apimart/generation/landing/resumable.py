"""Tracks how much of one file has been received, and which bytes may be appended to it.

Sans-IO except for the sink: it chooses the range to request, judges the answer by its headers, and takes the bytes. It
never mixes the bytes of two versions of a file. A part is appended only if a validator (ETag, Last-Modified), the total
length or, without a validator from the server, an overlap of the bytes shows that it belongs to the same file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import BinaryIO, NoReturn

from airflow_provider_apimart.client.errors import VideoTooLargeError
from airflow_provider_apimart.storage.checksum import Sha256

#: How much is requested a second time, for comparison, if the server sends no validator.
OVERLAP_BYTES = 64 * 1024
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", re.IGNORECASE)


class MismatchError(Exception):
    """An answer does not continue the bytes received before. Those were dropped: the next attempt starts at zero."""


class ResumableFile:
    """The state of one download.

    :param sink: where the bytes go; must be readable too, for comparison with bytes that a server sends again.
    :param max_bytes: a larger file is refused, whether the server announces it or just sends it.
    :param digest: receives the bytes in order.
    """

    def __init__(self, sink: BinaryIO, max_bytes: int, digest: Sha256) -> None:
        self._sink = sink
        self._max_bytes = max_bytes
        self._digest = digest
        self.finished = False
        self._drop()

    def _drop(self) -> None:
        self._sink.seek(0)
        self._sink.truncate(0)
        self.received = 0
        self.total: int | None = None
        #: Whether a host called these bytes compressed.
        self.compressed = False
        self._digest.restart()
        self._etag: str | None = None
        self._modified: str | None = None
        self._overlap = b""

    @property
    def sha256(self) -> str:
        """The SHA-256 of the received bytes, in hex."""
        return self._digest.hexdigest()

    def request_headers(self) -> dict[str, str]:
        """Return the headers that request the missing bytes."""
        self._overlap = b""
        if not self.received:
            return {}
        validator = self._etag if self._etag and not self._etag.startswith("W/") else self._modified
        if validator:
            return {"Range": f"bytes={self.received}-", "If-Range": validator}
        start = max(0, self.received - OVERLAP_BYTES)
        self._sink.seek(start)
        self._overlap = self._sink.read(self.received - start)
        return {"Range": f"bytes={start}-"}

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Judge an answer: 200 starts over, 206 must continue, 416 may mean that nothing is missing.

        :raises MismatchError: if it does not fit.
        :raises VideoTooLargeError: if it announces a file that is too large.
        """
        if status == 206:
            self._begin_part(headers)
        elif status == 416:
            self._begin_nothing(headers)
        else:
            self._drop()
            self.total = announced_length(headers)
        self._etag = headers.get("etag") or self._etag
        self._modified = headers.get("last-modified") or self._modified
        if self.total is not None and self.total > self._max_bytes:
            raise VideoTooLargeError(f"The video has {self.total} bytes, the cap is {self._max_bytes}")
        self._sink.seek(self.received)

    def _begin_part(self, headers: Mapping[str, str]) -> None:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if not found or found[1] is None:
            self._mismatch(f"a part without a Content-Range ({headers.get('content-range')!r})")
        expected = self.received - len(self._overlap)
        if int(found[1]) != expected:
            self._mismatch(f"a part that begins at {found[1]} instead of {expected}")
        total = None if found[3] == "*" else int(found[3])
        if total is not None and not int(found[1]) <= int(found[2]) < total:
            self._mismatch(f"a part that contradicts itself ({found[0]})")
        if total is not None and self.total not in (None, total):
            self._mismatch(f"a part of a file of {total} bytes instead of {self.total}")
        for name, known in (("etag", self._etag), ("last-modified", self._modified)):
            if known and headers.get(name, known) != known:
                self._mismatch(f"a part of another version of the file ({name})")
        self.total = total if total is not None else self.total

    def _begin_nothing(self, headers: Mapping[str, str]) -> None:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if not self.received or not found or found[3] != str(self.received) or self.total not in (None, self.received):
            self._mismatch("that it has no such range")
        self.total = self.received

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the answer."""
        if self._overlap:
            size = min(len(chunk), len(self._overlap))
            if chunk[:size] != self._overlap[:size]:
                self._mismatch("other bytes than before")
            self._overlap, chunk = self._overlap[size:], chunk[size:]
        if not chunk:
            return
        received = self.received + len(chunk)
        if self.total is not None and received > self.total:
            self._mismatch(f"more than the {self.total} bytes that it announced")
        if received > self._max_bytes:
            raise VideoTooLargeError(f"The video has more than {self._max_bytes} bytes, which is the cap")
        written = 0
        while written < len(chunk):
            written += self._sink.write(memoryview(chunk)[written:])
        self._digest.update(chunk)
        self.received = received

    def end(self) -> None:
        """Note that the answer ended properly. If no length was announced, this is the end of the file."""
        self.finished = not self._overlap and self.total in (None, self.received)

    def _mismatch(self, what: str) -> NoReturn:
        self._drop()
        raise MismatchError(f"the server sent {what}")


def announced_length(headers: Mapping[str, str]) -> int | None:
    """Return the announced length of the body; ``None`` if the body itself marks its end."""
    if "transfer-encoding" in headers:
        return None
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None
