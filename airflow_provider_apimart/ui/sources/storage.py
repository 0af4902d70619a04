"""The only way from a path in a record to a file: which files may be shown, how large they are, pieces of them.

A path comes from what a task wrote, never from a request. But whoever writes a DAG can write such a record, and the API
server may reach files that its author may not. So a file is shown only if its name and its first bytes say that it is a
video or a picture, and, if ``[apimart] video_roots`` is set, only from there. Where a local path leads may change at
any time: each piece is read of the very file that was looked at.

All reading is done by a thread pool of our own: the storage may be slow, and Airflow's own routes share one small pool.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
import stat
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.storage.files import OBJECT_STORES, Target, is_local, local_path, stored_size
from airflow_provider_apimart.storage.links import signed_link
from airflow_provider_apimart.storage.naming import is_absolute

T = TypeVar("T")

READERS = 8
PIECE = 1024 * 1024
#: How long a storage may take to answer before the reader is told so.
PATIENCE_SECONDS = 20.0
#: How long the size of a file in other storages is believed. A landed file does not change.
KNOWN_SECONDS, KNOWN_FILES = 60.0, 512

#: File systems that videos are landed in.
SCHEMES = OBJECT_STORES | {"file", "local", "memory", "sftp", "smb", "hdfs", "webhdfs", "dbfs"}
VIDEO_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
PICTURE_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".png": "image/png"}


class NotShown(Exception):
    """This file is not there, or is not shown. The text is for the user."""


class NoAnswer(Exception):
    """The storage does not answer now. The text is for the user."""


@dataclass(frozen=True)
class StoredFile:
    """A file that may be shown.

    :param roots: what it has to lie below.
    :param identity: of a local file, as it was looked at.
    """

    target: Target
    size: int
    media_type: str
    roots: tuple[str, ...] = ()
    identity: tuple[int, ...] | None = None

    def read(self, start: int, length: int) -> bytes:
        """Return a part of the file. It blocks.

        :raises NotShown: if another file is there now.
        """
        if is_local(self.target.fs):
            with open_local(self.target, self.roots) as file:
                if self.identity != _identity(file):
                    raise NotShown("The file is not the one that it was; load the page again.")
                file.seek(start)
                return file.read(length)
        found: bytes = self.target.fs.cat_file(self.target.path, start=start, end=start + length)
        return found


_pool = ThreadPoolExecutor(READERS, thread_name_prefix="apimart-files")
_known: OrderedDict[str, tuple[float, StoredFile]] = OrderedDict()
_lock = Lock()


async def in_pool(work: Callable[..., T], *arguments: Any) -> T:
    """Do work that reads storage, away from Airflow's own threads.

    :raises NoAnswer: if it takes too long.
    """
    loop = asyncio.get_running_loop()
    try:
        return await asyncio.wait_for(loop.run_in_executor(_pool, work, *arguments), PATIENCE_SECONDS)
    except TimeoutError:
        raise NoAnswer("The storage does not answer now.") from None


def open_video(path: str, roots: tuple[str, ...] = ()) -> StoredFile:
    """Return a stored video. It blocks.

    :param roots: what the path has to begin with; empty allows every path.
    :raises NotShown: if it is not there, or may not be shown.
    :raises NoAnswer: if its storage does not answer.
    """
    return _open(path, roots, VIDEO_TYPES, _is_video)


def open_picture(path: str, roots: tuple[str, ...] = ()) -> StoredFile:
    """Return a stored picture, as :func:`open_video` does."""
    return _open(path, roots, PICTURE_TYPES, _is_picture)


def presigned(file: StoredFile, seconds: int) -> str | None:
    """Return a link that needs no credentials for some seconds, or ``None`` if this storage makes none. It blocks."""
    try:
        return signed_link(file.target, timedelta(seconds=seconds))
    except ConfigurationError:
        return None
    except ApimartError as error:
        raise NoAnswer(f"The storage does not answer now ({type(error).__name__}).") from error


def check_path(path: str, roots: tuple[str, ...]) -> None:
    """Refuse a path that may not be shown.

    :raises NotShown: with the reason.
    """
    scheme = urlsplit(path).scheme.lower() if "://" in path else "file"
    # (fsspec reads "::" as a chain of file systems, and would fetch from web addresses.)
    if (
        "\x00" in path
        or "::" in path
        or ".." in re.split(r"[/\\]", path)
        or scheme not in SCHEMES
        or not is_absolute(path)
    ):
        raise NotShown("A path like this is not shown.")
    if roots and not any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots):
        raise NotShown("This file is outside of [apimart] video_roots, so it is not shown.")


def _open(path: str, roots: tuple[str, ...], types: dict[str, str], fits: Callable[[bytes], bool]) -> StoredFile:
    check_path(path, roots)
    media_type = types.get(posixpath.splitext(path)[1].lower())
    if media_type is None:
        raise NotShown("This file's name is not the name of a file that is shown here.")
    with _lock:
        since, known = _known.get(path, (0.0, None))
    if known is not None and time.monotonic() - since < KNOWN_SECONDS:
        return known
    try:
        file = _look(file_of(path, "path"), roots, media_type)
        if not fits(file.read(0, 16)):
            raise NotShown("This file is not what its name says, so it is not shown.")
    except FileNotFoundError:
        raise NotShown("The file is not there any more. It may have been moved or deleted.") from None
    except ConfigurationError as error:
        # Told to people who may read the Dag; the message names connections and paths, no secrets.
        raise NotShown(f"The API server cannot reach this storage: {error.message}") from error
    except NotShown:
        raise
    except Exception as error:
        # Each storage raises its own errors, and their texts may hold addresses.
        raise NoAnswer(f"The storage does not answer now ({type(error).__name__}).") from error
    if file.identity is not None:
        # Asking this machine costs less than being wrong.
        return file
    with _lock:
        _known[path] = time.monotonic(), file
        while len(_known) > KNOWN_FILES:
            _known.popitem(last=False)
    return file


def _look(target: Target, roots: tuple[str, ...], media_type: str) -> StoredFile:
    if is_local(target.fs):
        with open_local(target, roots) as file:
            return StoredFile(target, os.fstat(file.fileno()).st_size, media_type, roots, _identity(file))
    size = stored_size(target)
    if size is None:
        raise NotShown("The file is not there any more. It may have been moved or deleted.")
    return StoredFile(target, size, media_type, roots)


def open_local(target: Target, roots: tuple[str, ...]) -> BinaryIO:
    """Open a file of this machine. It neither waits for a pipe nor follows a link out of the roots.

    :raises NotShown: if it is no file, or lies elsewhere.
    :raises FileNotFoundError: if it is not there.
    """
    path = os.path.realpath(local_path(target))
    if roots and not any(_below(path, root) for root in roots):
        raise NotShown("This path leads outside of [apimart] video_roots, so it is not shown.")
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise NotShown("What is there is not a file, so it is not shown.")
    return open(number, "rb")


def _below(path: str, root: str) -> bool:
    scheme, separator, rest = root.partition("://")
    if separator and scheme not in ("file", "local"):
        return False
    real = os.path.realpath(rest if separator else root)
    return path == real or path.startswith(real.rstrip("/") + "/")


def _identity(file: BinaryIO) -> tuple[int, ...]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_video(head: bytes) -> bool:
    return head[4:8] == b"ftyp"


def _is_picture(head: bytes) -> bool:
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
