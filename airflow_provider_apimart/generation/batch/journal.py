"""The journal of a batch: append-only lines in storage, whose size is linear in the rows.

Each writing process has its own files, so two writers never touch one file. On a local disk that is one growing file,
flushed to disk with each group of lines; on any other storage each group is a small object, because objects cannot
grow. A group that was only partly written does no harm: a row is paid for only after its line is durable.
"""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_apimart.generation.purchase.record import UnreadableRecordError
from airflow_provider_apimart.storage.files import (
    Target,
    commit_bytes,
    is_local,
    local_path,
    read_whole,
    storage_errors,
)

log = logging.getLogger(__name__)

FOLDER = "journal"
SUFFIX = ".jsonl"
READERS = 16


class JournalWriter:
    """Adds lines to a journal.

    :param folder: the journal's folder.
    :param writer: names the writer, for people; a random suffix makes it unique.
    """

    def __init__(self, folder: Target, writer: str) -> None:
        self._folder = folder
        self._name = f"{writer}-{secrets.token_hex(6)}"
        self._segment = 0
        self._descriptor: int | None = None
        #: Read by callers that measure what a journal writes.
        self.bytes_written = 0
        self.writes = 0

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write lines; they are durable when this returns.

        :raises LandingError: when they are not.
        """
        data = b"".join(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n" for line in lines)
        if not data:
            return
        if is_local(self._folder.fs):
            self._append(data)
        else:
            commit_bytes(self._next_segment(), data, writer=self._name)
        self.bytes_written += len(data)
        self.writes += 1

    def close(self) -> None:
        """Close the open file, if any."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _next_segment(self) -> Target:
        self._segment += 1
        return self._folder.child(f"{self._name}-{self._segment:06d}{SUFFIX}")

    def _append(self, data: bytes) -> None:
        with storage_errors(self._folder, "written"):
            try:
                if self._descriptor is None:
                    self._descriptor = self._open(local_path(self._next_segment()))
                written = os.write(self._descriptor, data)
                if written != len(data):
                    raise OSError(f"{written} of {len(data)} bytes were written")
                os.fdatasync(self._descriptor)
            except OSError:
                # The next line must not be appended to half a line.
                self.close()
                raise

    @staticmethod
    def _open(path: str) -> int:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o666)
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return descriptor


def journal_files(folder: Target) -> list[Target]:
    """Return the files of a journal; none if there is no journal yet."""
    with storage_errors(folder, "read"):
        folder.fs.invalidate_cache(folder.path.rstrip("/"))
        try:
            found = folder.fs.ls(folder.path.rstrip("/"), detail=False)
        except FileNotFoundError:
            return []
    names = sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)
    return [folder.child(name) for name in names if name.endswith(SUFFIX) and not name.startswith(".")]


def read_journal(folder: Target) -> Iterator[dict[str, Any]]:
    """Yield all lines of a journal, in no particular order.

    :raises LandingError: when the storage does not answer, because "no line" would mean "nothing was paid".
    :raises UnreadableRecordError: for a file that no journal writer wrote.
    """
    files = journal_files(folder)
    if is_local(folder.fs):
        # They grow to megabytes, so they are read line by line.
        for target in files:
            with storage_errors(target, "read"), open(local_path(target), "rb") as file:
                yield from _lines(target, file)
        return
    with ThreadPoolExecutor(READERS, thread_name_prefix="apimart-journal") as pool:
        step = READERS * 8
        for start in range(0, len(files), step):
            # A few at a time: a finished batch has megabytes of them.
            part = files[start : start + step]
            for target, data in zip(part, pool.map(read_whole, part), strict=True):
                yield from _lines(target, io.BytesIO(data))


def _lines(target: Target, texts: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(texts, start=1):
        if not text.endswith(b"\n"):
            log.info(
                "%s ends in half a line: its writer was killed while it wrote; nothing was relied on it.", target.uri
            )
            return
        try:
            line = json.loads(text)
            if not isinstance(line, dict) or not {"row", "state", "at"} <= set(line):
                raise ValueError("no line of a journal")
        except ValueError as error:
            raise UnreadableRecordError(
                f"line {number} of {target.uri} cannot be read ({error}). It may tell of a generation that was paid "
                "for, so nothing was submitted. If it was written by a newer version of the provider, use that "
                "version; else look for the generation in APIMart's console, then correct or delete the file"
            ) from None
        yield line
