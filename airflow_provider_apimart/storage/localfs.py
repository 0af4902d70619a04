"""Makes local files appear whole or not at all, and removes the rubbish of killed tries.

Owns the part file. If the system supports it (``O_TMPFILE`` on Linux), the part file has no name until it is committed,
so that a kill at any moment leaves nothing. Otherwise it is a hidden file beside its destination, locked with ``flock``
for as long as its process lives. An unlocked part was left by a killed process, whatever its age. A locked part never
was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

log = logging.getLogger(__name__)

WRITE_BACK_BYTES = 2 * 1024 * 1024
LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.02
#: A folder with this many names is listed only this often. Listing it for each video would take longer than landing.
LARGE_FOLDER, LIST_AGAIN_SECONDS = 1000, 30.0
#: The errors of ``flock`` on file systems without locks (some network file systems).
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL})

#: The part files of this process.
_held: set[str] = set()
#: Whether unnamed files can be used, by folder.
_nameable: dict[str, bool] = {}


class WholeFile(io.FileIO):
    """An unbuffered file whose ``write`` writes everything, or raises an error."""

    def write(self, data: Any, /) -> int:
        """Write all of ``data``. The system writes only a part of it where the room for the rest is missing."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return length


class _SteadyFile(WholeFile):
    """A file that is sent to the disk while it is written, so that the final flush has little left to wait for."""

    _pending = 0

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._pending += written
        if self._pending >= WRITE_BACK_BYTES:
            self.flush()
        return written

    def flush(self) -> None:
        """Start sending the bytes written since the last call to the disk, without waiting."""
        if self._pending and hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                # For pages that are not yet on the disk, Linux takes this as a request to start writing them. Only the
                # last pages are named: Linux walks all named pages, and would drop those already written from memory.
                os.posix_fadvise(self.fileno(), self.tell() - self._pending, self._pending, os.POSIX_FADV_DONTNEED)
            self._pending = 0


class Part:
    """An unfinished part file."""

    def __init__(self, file: BinaryIO, path: str, *, named: bool) -> None:
        self.file = file
        self.path = path
        self.named = named

    def commit(self, destination: str) -> None:
        """Make the file appear under its name. Its content reaches the disk before its name appears in the folder."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if not self.named:
            # An unnamed file can be given a name, but not one that is already in use: hence the intermediate step. The
            # folder's descriptor has no effect with an absolute path, but without one Python would not follow the link.
            number = self.file.fileno()
            os.link(f"/proc/self/fd/{number}", self.path, src_dir_fd=number, follow_symlinks=True)
            self.named = True
        os.replace(self.path, destination)
        _sync_folder(os.path.dirname(destination))


@contextlib.contextmanager
def part_file(destination: str) -> Iterator[Part]:
    """Remove the part files that killed tries left for ``destination``, and open a new one. If it is not committed, it
    is removed.
    """
    os.makedirs(os.path.dirname(destination), exist_ok=True)
    _sweep(destination)
    descriptor, path, named = _create_locked(destination)
    # Closing drops the lock, so the name goes first.
    with _SteadyFile(descriptor, "r+") as file:
        _held.add(path)
        try:
            yield Part(cast(BinaryIO, file), path, named=named)
        finally:
            _held.discard(path)
            # The folder may be read-only by now, or gone. The error already being raised tells the cause, not this one.
            with contextlib.suppress(OSError):
                os.unlink(path)


def drop_parts() -> None:
    """Remove the part files of this process, which is about to be killed without running any ``finally``."""
    for path in tuple(_held):
        with contextlib.suppress(OSError):
            os.unlink(path)


@contextlib.contextmanager
def folder_lock(folder: str) -> Iterator[None]:
    """Hold the lock of a folder. Go on without it if it cannot be taken (not readable, no locks, held for long)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        give_up = time.monotonic() + LOCK_WAIT_SECONDS
        while not _lock(descriptor):
            if time.monotonic() > give_up:
                log.warning("Another process has held the lock of %s for %s s; going on", folder, LOCK_WAIT_SECONDS)
                break
            time.sleep(LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _part_prefix(path: str) -> str:
    name = os.path.basename(path)
    if len(os.fsencode(name)) > 200:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}."


def _create_anonymous(folder: str, part: str) -> int | None:
    """Open an unnamed file and lock it; ``None`` if there are none here, or if it could not be named later."""
    if not hasattr(os, "O_TMPFILE") or not _can_be_named(folder, part):
        return None
    # 0o666 leaves the permissions to the umask, as for any file that the user's own code would write.
    descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    _lock(descriptor)
    return descriptor


def _can_be_named(folder: str, trial: str) -> bool:
    """Test, once per folder, whether an unnamed file can be given a name there: containers may forbid it.

    :param trial: a part file's name, so that the remains of a killed test are removed like any other part file.
    """
    if folder not in _nameable:
        try:
            descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            _nameable[folder] = False
            return False
        try:
            os.link(f"/proc/self/fd/{descriptor}", trial, src_dir_fd=descriptor, follow_symlinks=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(trial)
            _nameable[folder] = True
        except OSError as error:
            log.debug("Files without a name cannot be used in %s: %s", folder, error)
            _nameable[folder] = False
        finally:
            os.close(descriptor)
    return _nameable[folder]


def _create_locked(path: str) -> tuple[int, str, bool]:
    """Return a locked part file, its present or later intermediate name, and whether it has that name already."""
    folder = os.path.dirname(path)
    while True:
        part = os.path.join(folder, f"{_part_prefix(path)}{secrets.token_hex(6)}.part")
        anonymous = _create_anonymous(folder, part)
        if anonymous is not None:
            return anonymous, part, False
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return descriptor, part, True
        except BaseException:
            os.close(descriptor)
            os.unlink(part)
            raise
        # Another try's sweep ran between the creation and the lock, and removes the file.
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock; false if another process holds it. Without locks nobody sweeps, so continuing is safe."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.debug("No locks on this file system: %s", error)
    return True


def _sweep(path: str) -> None:
    """Remove the part files that killed tries left for ``path``."""
    folder, prefix = os.path.dirname(path), _part_prefix(path)
    try:
        names = _parts_in(folder)
    except PermissionError:
        return
    for name in names:
        if name.startswith(prefix) and re.fullmatch(r"[0-9a-f]{12}\.part", name[len(prefix) :]):
            _remove_if_abandoned(os.path.join(folder, name))


_listed: dict[str, tuple[float, list[str]]] = {}


def _parts_in(folder: str) -> list[str]:
    """Return the names of part files in a folder. For a large folder the list may be some seconds old."""
    known = _listed.get(folder)
    if known is not None and time.monotonic() - known[0] < LIST_AGAIN_SECONDS:
        return known[1]
    names = os.listdir(folder)
    parts = [name for name in names if name.endswith(".part")]
    if len(names) >= LARGE_FOLDER:
        _listed[folder] = time.monotonic(), parts
    else:
        _listed.pop(folder, None)
    return parts


def _remove_if_abandoned(part: str) -> None:
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(part)
            log.info("Removed %s, left by a try that was killed", part)
    except OSError as error:
        log.debug("Left %s alone: %s", part, error)
    finally:
        os.close(descriptor)


def _sync_folder(folder: str) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
