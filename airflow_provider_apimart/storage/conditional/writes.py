"""What a conditional write is, and which stores are trusted to keep its condition.

A store that ignores conditions answers 200 as well, so an answer of 200 proves nothing. The writes are trusted only at
the store's own maker, whose documentation promises them, and where a trial shows that the store refuses what it has to
refuse. Everywhere else the caller uses another way.

A note (at most one line of ASCII) is stored with the object, in its metadata.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import posixpath
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, TypeVar

from airflow_provider_apimart.storage import permissions

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Conditions of a write. Any other text is the version that may be replaced.
ANY = "any"
ABSENT = "absent"
#: The key of the note in the object's metadata. No hyphen and no underscore: some proxies drop or change them.
NOTE = "apimart"
TRIAL = ".apimart-check-"

_verdicts: dict[tuple[Any, str], bool] = {}
_trying = threading.Lock()


class ChangedError(Exception):
    """The condition of a write did not hold: nothing was written by this request.

    An earlier request may have been: if its answer was lost and it was repeated, the object may be the caller's own.
    """


class UnsupportedError(Exception):
    """The store does not take writes of this kind at all. Nothing was written; the caller uses another way."""


@dataclass(frozen=True)
class Stored:
    """What a store says about an object.

    :param version: changes with each write; may be given as the condition of a write.
    :param note: what was noted with the write; empty if nothing was.
    """

    version: str
    size: int
    note: str


@dataclass(frozen=True)
class Read:
    """The content of a small object, and what the store says about it."""

    data: bytes
    stored: Stored


@dataclass(frozen=True)
class Content:
    """A whole file, and what is stored with it.

    :param sha256: its SHA-256, in hex.
    """

    file: BinaryIO
    size: int
    sha256: str
    content_type: str
    note: str = ""


class ConditionalWrites(ABC):
    """Conditional writes through one file system. Errors other than :class:`ChangedError` are the file system's own.

    :param fs: the file system, whose ``loop`` runs in another thread.
    """

    #: A version that no object has, for the trial.
    no_version: ClassVar[str]

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def put(
        self, path: str, file: BinaryIO, size: int, *, sha256: str, content_type: str, note: str = "", when: str = ANY
    ) -> str:
        """Write a whole file, which appears only when it is complete and, if the store checks it, has its checksum.

        :param sha256: its SHA-256, in hex.
        :param when: :data:`ANY`, :data:`ABSENT`, or the version to replace.
        :return: its version.
        :raises ChangedError: if the condition does not hold.
        """
        return self._put(path, Content(file, size, sha256, content_type, note), when)

    @abstractmethod
    def _put(self, path: str, content: Content, when: str) -> str: ...

    def look(self, path: str) -> Stored | None:
        """Return what the store says about an object; ``None`` if there is none."""
        try:
            return self._run(self._look(path))
        except FileNotFoundError:
            return None

    @abstractmethod
    async def _look(self, path: str) -> Stored: ...

    def read(self, path: str, limit: int) -> Read | None:
        """Return a small object; ``None`` if there is none or it is larger than ``limit`` bytes."""
        return self.finish_reading(self.start_reading(path, limit))

    def start_reading(self, path: str, limit: int) -> Future[Read | None]:
        """Begin to read a small object, and return at once."""
        return asyncio.run_coroutine_threadsafe(self._read(path, limit), self._fs.loop)

    def finish_reading(self, reading: Future[Read | None]) -> Read | None:
        """Wait for what :meth:`start_reading` has begun, and return what :meth:`read` returns."""
        try:
            return self._wait(reading)
        except FileNotFoundError:
            return None

    @abstractmethod
    async def _read(self, path: str, limit: int) -> Read | None: ...

    @abstractmethod
    def _place(self, path: str) -> str:
        """Return the bucket or container of an object."""

    @abstractmethod
    def _documented(self, place: str) -> bool:
        """Return whether the store's documentation promises what is needed here."""

    def _remove(self, path: str) -> None:
        self._fs.rm_file(path)

    def trusted(self, path: str) -> bool:
        """Return whether this store refuses a write whose condition does not hold.

        :param path: of an object beside which the trial may be made.
        :return: what the store's documentation or a trial says (five small requests, once per process and bucket).
        """
        bucket = self._place(path)
        place = getattr(self._fs, "_fs_token", id(self._fs)), bucket
        with _trying:
            if place not in _verdicts:
                try:
                    _verdicts[place] = self._documented(bucket) or self._tried(posixpath.dirname(path))
                except Exception as error:  # No verdict. What forbids this trial shows in the other way, too.
                    log.debug("Conditional writes to %s could not be tried: %s", bucket, error)
                    return False
                log.debug("%s: conditional writes are %s", bucket, "kept" if _verdicts[place] else "ignored")
            return _verdicts[place]

    def _tried(self, folder: str) -> bool:
        # A name that nobody else uses, so that no other trial creates or removes it in between.
        path = f"{folder}/{TRIAL}{uuid.uuid4().hex}"
        data, note = permissions.TRIAL, "trial"
        digest = hashlib.sha256(data).hexdigest()

        def refused(when: str) -> bool:
            try:
                self.put(
                    path, io.BytesIO(data), len(data), sha256=digest, content_type="text/plain", note=note, when=when
                )
            except ChangedError:
                return True
            return False

        try:
            if refused(ABSENT):
                return False  # It refuses what it should take.
            kept = self.look(path)
            return kept is not None and kept.note == note and refused(ABSENT) and refused(self.no_version)
        finally:
            try:
                self._remove(path)
            except Exception as error:
                log.debug("%s stays: %s", path, error)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._wait(asyncio.run_coroutine_threadsafe(work, self._fs.loop))

    def _wait(self, doing: Future[Result]) -> Result:
        try:
            return doing.result()
        finally:
            doing.cancel()  # The task may have been killed while it waited.
