"""A SHA-256 that is computed while the next bytes are fetched.

Hashing takes about as long as receiving and writing do on a fast network, and Python lets go of its lock during all
three: in a thread of its own it costs next to no time. It is never more than a few pieces behind, so memory stays
constant.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

PIECES_BEHIND = 4


class Sha256:
    """The SHA-256 of what :meth:`update` was given since the last :meth:`restart`. Leaving it ends its thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def restart(self) -> None:
        """Forget everything. What is still being hashed goes into the digest that is dropped here."""
        self._digest = hashlib.sha256()
        self._pending: deque[Future[None]] = deque()

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        if len(self._pending) >= PIECES_BEHIND:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._digest.update, piece))

    def hexdigest(self) -> str:
        """Wait for what is pending, and return the digest in hex."""
        while self._pending:
            self._pending.popleft().result()
        return self._digest.hexdigest()
