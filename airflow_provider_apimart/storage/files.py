"""Decides where a landed video goes, and puts it there whole.

Owns the names inside the user's storage, the staging of unfinished files, and the commit. Keeps invariant 7 (landed
means whole), also when a process crashes:

* The final name never holds half a file. A local file is staged beside it and renamed. For any other storage the file
  is staged in an unnamed local file and uploaded once it is known to be whole. Object stores show an upload only when
  it is complete. On all others the upload goes to a hidden name and is moved.
* The next try removes everything that a killed try has left. A staged local file is locked for as long as its process
  lives, so an unlocked one is rubbish. A hidden remote file has the same name in every try.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import posixpath
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from airflow_provider_apimart.client.errors import ApimartError, LandingError
from airflow_provider_apimart.storage import localfs, permissions
from airflow_provider_apimart.storage.moves import move
from airflow_provider_apimart.storage.uploads import BLOCK_BYTES, content_type_of, protocols, remove, upload

log = logging.getLogger(__name__)

#: In these a file appears only when its upload is complete, and a move would be a copy.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "wasb", "wasbs", "oss", "cos", "r2"})
#: The storages' names for the fields that change with a file's content.
VERSION_FIELDS = ("size", "ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "modified", "created")
MAX_ID_LENGTH = 100


@dataclass(frozen=True)
class Target:
    """A place in some storage.

    :param fs: an fsspec file system (fsspec ships no types).
    :param path: the path inside ``fs``.
    :param uri: the same place as the user wrote it; XComs and messages show this.
    """

    fs: Any
    path: str
    uri: str

    @property
    def is_folder(self) -> bool:
        """Whether the place was written as a folder: with a trailing slash."""
        return self.path.endswith("/") or self.uri.endswith("/")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    def sibling(self, name: str) -> Target:
        """Return the place called ``name`` in the same folder."""
        return Target(self.fs, _with_name(self.path, name), _with_name(self.uri, name))

    def child(self, name: str) -> Target:
        """Return the place called ``name`` inside this folder."""
        return Target(self.fs, f"{self.path.rstrip('/')}/{name}", f"{self.uri.rstrip('/')}/{name}")


def _with_name(path: str, name: str) -> str:
    head, slash, _ = path.rstrip("/").rpartition("/")
    return f"{head}{slash}{name}"


def safe_name(generation_id: str) -> str:
    """Return a file name for an opaque id: the id itself if possible, otherwise cleaned and made unique with a hash."""
    kept = re.sub(r"[^A-Za-z0-9._-]", "_", generation_id).lstrip(".-")[:MAX_ID_LENGTH]
    if kept == generation_id and kept:
        return kept
    digest = hashlib.sha256(generation_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{kept or 'video'}-{digest}"


def video_targets(folder_or_file: Target, generation_id: str, count: int) -> list[Target]:
    """Return where each of ``count`` videos of one generation goes.

    A folder gets ``<generation id>.mp4``, a file keeps its name; several videos are numbered from 1 before the suffix.
    """
    if folder_or_file.is_folder:
        first = folder_or_file.child(f"{safe_name(generation_id)}.mp4")
    else:
        first = folder_or_file
    if count == 1:
        return [first]
    return [numbered(first, str(sample)) for sample in range(1, count + 1)]


def numbered(target: Target, mark: str) -> Target:
    """Return the sibling of ``target`` with ``-mark`` before its suffix."""
    stem, suffix = posixpath.splitext(target.name)
    return target.sibling(f"{stem}-{mark}{suffix}")


# --- staging and commit ------------------------------------------------------------------------------------------


class Staged:
    """An unfinished file: write it through :attr:`file`, then :meth:`commit` it under its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def commit(self, target: Target, taken: Callable[[], bool] = lambda: False) -> dict[str, str] | None:
        """Make the whole file appear as ``target`` (in the folder it was staged for), replacing any file there.

        :param taken: called at the last moment; if true, nothing is changed.
        :return: its version, as from :func:`stored_version`; ``None`` if it was not committed.
        """
        raise NotImplementedError


class _LocalStaged(Staged):
    def __init__(self, part: localfs.Part) -> None:
        super().__init__(part.file)
        self._part = part

    def commit(self, target: Target, taken: Callable[[], bool] = lambda: False) -> dict[str, str] | None:
        with storage_errors(target, "written"):
            if taken():
                return None
            self._part.commit(local_path(target))
            return stored_version(target)


class _RemoteStaged(Staged):
    def __init__(self, file: BinaryIO, writer: str, content_type: str) -> None:
        super().__init__(file)
        self._writer = writer
        self._content_type = content_type

    def commit(self, target: Target, taken: Callable[[], bool] = lambda: False) -> dict[str, str] | None:
        size = self.file.seek(0, os.SEEK_END)
        with storage_errors(target, "written"):
            if is_object_store(target.fs):
                info = upload(target.fs, target.path, self.file, size, taken, self._content_type)
                return None if info is None else _version(info)
            hidden = target.sibling(f".{target.name}.{self._writer}.part")
            target.fs.makedirs(posixpath.dirname(target.path), exist_ok=True)
            try:
                if upload(target.fs, hidden.path, self.file, size, taken) is not None:
                    move(target.fs, hidden.path, target.path)
                    return stored_version(target)
            except BaseException:
                remove(target.fs, hidden.path)
                raise
            remove(target.fs, hidden.path)
            return None


@contextlib.contextmanager
def staging(target: Target, *, writer: str = "staged", content_type: str | None = None) -> Iterator[Staged]:
    """Open a file that will become ``target`` or a sibling of it. If it is not committed, it is removed.

    :param writer: distinguishes those who may write to ``target`` at the same time, and is the same in every try. It
        names the hidden file on a storage that is neither local nor an object store.
    :param content_type: the media type of the file; ``None`` derives it from the name.
    """
    if is_local(target.fs):
        with contextlib.ExitStack() as stack:
            with storage_errors(target, "written"):
                part = stack.enter_context(localfs.part_file(local_path(target)))
            yield _LocalStaged(part)
    else:
        with tempfile.TemporaryFile() as unnamed, localfs.WholeFile(unnamed.fileno(), "r+", closefd=False) as file:
            yield _RemoteStaged(cast(BinaryIO, file), writer, content_type or content_type_of(target.name))


def commit_bytes(target: Target, data: bytes, *, writer: str = "staged") -> None:
    """Write a small file as atomically as a large one."""
    with staging(target, writer=writer) as staged:
        with storage_errors(target, "written"):
            staged.file.write(data)
        staged.commit(target)


@contextlib.contextmanager
def exclusive(target: Target) -> Iterator[None]:
    """Keep others on this machine from committing into the same local folder. Other storages have no such lock."""
    if is_local(target.fs):
        with localfs.folder_lock(os.path.dirname(local_path(target))):
            yield
    else:
        yield


# --- reading back ------------------------------------------------------------------------------------------------


def read_small(target: Target, limit: int) -> bytes | None:
    """Return the content of a stored file, or ``None`` if it does not exist or is larger than ``limit`` bytes."""
    if is_object_store(target.fs):
        try:
            with looking(target):
                data = target.fs.cat_file(target.path, start=0, end=limit + 1)
            return cast(bytes, data) if len(data) <= limit else None
        except FileNotFoundError:
            return None
        except permissions.DeniedError:
            raise
        except Exception as error:  # An empty object has no range. Any other cause shows below.
            log.debug("%s is not to be had in one request: %s", target.uri, error_text(error))
    size = stored_size(target)
    if size is None or size > limit:
        return None
    with storage_errors(target, "read"):
        try:
            return cast(bytes, target.fs.cat_file(target.path))
        except FileNotFoundError:
            return None


def read_whole(target: Target) -> bytes:
    """Return the whole content of a file that must exist.

    :raises LandingError: if it does not, or the storage does not answer.
    """
    with storage_errors(target, "read"):
        return cast(bytes, target.fs.cat_file(target.path))


def stored_size(target: Target) -> int | None:
    """Return the size of a stored file, or ``None`` if it does not exist."""
    with storage_errors(target, "read"):
        try:
            target.fs.invalidate_cache(posixpath.dirname(target.path))
            with looking(target):
                info = target.fs.info(target.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
    return int(info["size"]) if info["type"] == "file" else None


def check_same_machine(target: Target, what: str) -> None:
    """Check that a local file that another process has seen is also on this machine.

    :param what: the file, for messages.
    :raises LandingError: if it is not, with the reason.
    """
    if is_local(target.fs) and not os.path.exists(local_path(target)):
        raise LandingError(
            f"{what} {target.uri} is not on this machine ({socket.gethostname()}). The path is local to the machine of "
            "the worker that has seen it, and a deferred task goes on in the triggerer and ends on any worker: use "
            "object storage, a volume that all of them share, or deferrable=False"
        )


def stored_version(target: Target) -> dict[str, str]:
    """Return the fields that distinguish one version of a stored file from the next, if the storage gives any."""
    with storage_errors(target, "read"):
        try:
            target.fs.invalidate_cache(posixpath.dirname(target.path))
            with looking(target):
                info = target.fs.info(target.path)
        except FileNotFoundError:
            return {}
    return _version(info)


def _version(info: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(info[name]) for name in VERSION_FIELDS if name in info}


def stored_sha256(target: Target) -> str:
    """Read a stored file from end to end and return its SHA-256."""
    digest = hashlib.sha256()
    # The file is read once from end to end, so a read-ahead cache would only hold the bytes twice.
    uncached = {"cache_type": "none"} if is_object_store(target.fs) else {}
    with storage_errors(target, "read"), target.fs.open(target.path, "rb", **uncached) as file:
        while chunk := file.read(BLOCK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def looking(target: Target) -> Iterator[None]:
    """Decide what a "forbidden" for a file that may not exist means: missing, or forbidden. See ``permissions.py``.

    :raises FileNotFoundError: if the file is missing.
    :raises DeniedError: if the place cannot be used at all.
    """
    try:
        yield
    except Exception as error:
        if not (is_object_store(target.fs) and permissions.is_denied(error)):
            raise
        folder = target.path.rstrip("/") if target.is_folder else posixpath.dirname(target.path)
        permissions.prove(
            target.fs, folder, posixpath.join(target.uri if target.is_folder else posixpath.dirname(target.uri), "")
        )
        raise FileNotFoundError(target.uri) from error


@contextlib.contextmanager
def storage_errors(
    target: Target, done: str, *, passing: tuple[type[Exception], ...] | type[Exception] = ()
) -> Iterator[None]:
    """Turn a storage's own exceptions into a :class:`LandingError` that names the place.

    :param passing: exceptions that are an answer, not an error.
    """
    try:
        yield
    except passing:
        raise
    except (ApimartError, MemoryError):
        # Neither says anything about the storage.
        raise
    except Exception as error:
        needed = f"; needed there: {permissions.needed(target.fs)}" if permissions.is_denied(error) else ""
        raise LandingError(f"{target.uri} could not be {done}: {error_text(error)}{needed}") from error


def error_text(error: BaseException) -> str:
    """Return an error's type and message. The type matters because some errors have no message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def is_local(fs: Any) -> bool:
    """Return whether a file system is this machine's own."""
    return bool(protocols(fs) & {"file", "local"})


def is_object_store(fs: Any) -> bool:
    """Return whether an upload to a file system appears only when it is complete."""
    return bool(protocols(fs) & OBJECT_STORES)


def local_path(target: Target) -> str:
    """Return the absolute path of a local target, without a trailing slash."""
    return os.path.abspath(str(target.fs._strip_protocol(target.path)))
