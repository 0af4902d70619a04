"""An answer's body as it arrives, for every sender: bounded in size and time, and inflated in small pieces.

A few kilobytes can inflate to gigabytes. So they are never inflated at once: not to fill the memory before the size is
checked, and not to hold up an event loop, which may turn between any two pieces.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.protocol import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from zlib import _Decompress as _Inflater

#: Others are not requested, and refused if they come.
ENCODINGS = frozenset(("", "identity", "gzip", "deflate"))
PIECE_BYTES = 64 * 1024
#: With this value zlib detects whether gzip or zlib is what it reads. "deflate" may also be without either's head.
GZIP_OR_ZLIB, HEADLESS = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
GZIP_HEAD = 0x1F


class Body:
    """One answer's body. Give it each chunk with :meth:`pieces`, and take it with :meth:`whole`.

    :param encoding: the answer's ``Content-Encoding``.
    :param status: the answer's HTTP status.
    :param what: what the call is called in messages.
    :param seconds: how long the body may take from now on.
    :raises ResponseError: if the encoding was not requested.
    """

    def __init__(
        self,
        encoding: str,
        status: int,
        what: str,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in ENCODINGS:
            text = "APIMart's answer is compressed with an encoding that was not requested"
            raise errors.ResponseError(text, status=status)
        self._what = what
        self._monotonic = monotonic
        self._end = monotonic() + seconds
        self._content = bytearray()
        self._inflater: _Inflater | None = None

    def pieces(self, chunk: bytes) -> Iterator[None]:
        """Take a chunk. Each turn of the iterator is a small piece of work.

        :raises ResponseError: if the body becomes too large.
        :raises ApimartTimeoutError: if it takes too long.
        :raises OutcomeUnknownError: if it is not compressed as it says.
        """
        if not chunk or self._encoding in ("", "identity"):
            self._add(chunk)
            return
        try:
            inflater = self._inflater = self._inflater or _inflater_of(self._encoding, chunk)
            piece = inflater.decompress(chunk, PIECE_BYTES)
            self._add(piece)
            # A full piece may have left output behind, though all input is consumed.
            while not inflater.eof and (inflater.unconsumed_tail or len(piece) == PIECE_BYTES):
                yield
                piece = inflater.decompress(inflater.unconsumed_tail, PIECE_BYTES)
                self._add(piece)
        except zlib.error:
            raise self._damaged() from None

    def whole(self) -> bytes:
        """Return the body.

        :raises OutcomeUnknownError: if it ends before its compression does.
        """
        if self._inflater is not None and not self._inflater.eof:
            raise self._damaged()
        return bytes(self._content)

    def _add(self, piece: bytes) -> None:
        self._content += piece
        if len(self._content) > MAX_RESPONSE_BYTES:
            raise errors.ResponseError(f"APIMart's answer is larger than {MAX_RESPONSE_BYTES} bytes")
        if self._monotonic() > self._end:
            raise errors.ApimartTimeoutError(f"APIMart's answer to the {self._what} trickled in and was given up")

    def _damaged(self) -> errors.OutcomeUnknownError:
        return errors.OutcomeUnknownError(f"the answer to the {self._what} broke off: its compression is damaged")


def _inflater_of(encoding: str, beginning: bytes) -> _Inflater:
    # No headless "deflate" begins as either's head does.
    headless = encoding == "deflate" and beginning[0] != GZIP_HEAD and beginning[0] & 15 != zlib.DEFLATED
    return zlib.decompressobj(HEADLESS if headless else GZIP_OR_ZLIB)
