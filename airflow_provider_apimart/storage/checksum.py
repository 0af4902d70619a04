"""A SHA-256 that is computed while the next bytes are fetched.

On a fast network, hashing takes about as long as receiving and writing. Python releases its global lock during all
three, so hashing in a separate thread adds almost no time. It is never more than a few pieces behind, so memory stays
constant.
"""

from __future__ import annotations

import hashlib
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Self

PIECES_BEHIND = 6


class Sha256:
    """The SHA-256 of the bytes given to :meth:`update` since the last :meth:`restart`. Use it as a context manager."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = Semaphore(PIECES_BEHIND)
        self._thread = Thread(target=self._work, name="sha256", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.put(None)
        self._thread.join()

    def restart(self) -> None:
        """Forget everything."""
        self._settle()
        self._digest = hashlib.sha256()

    def update(self, piece: bytes) -> None:
        """Take the next bytes. The caller must not change them afterwards."""
        self._room.acquire()
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        """Wait for the pending pieces, and return the digest in hex."""
        self._settle()
        return self._digest.hexdigest()

    def _settle(self) -> None:
        for _ in range(PIECES_BEHIND):
            self._room.acquire()
        self._room.release(PIECES_BEHIND)

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._digest.update(piece)
            del piece  # Free its memory while waiting for the next one.
            self._room.release()
