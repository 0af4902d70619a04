"""Brings a staged file into a storage that is not this machine's own, whole.

To S3 it goes in one request that reads from the staged file, so that none of it is held in memory: parts cost a request
each, and the store the work of joining them. Whatever fails there is tried again in the way that every file system of
fsspec has: block by block through its own file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
from collections.abc import Callable
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

#: How much is sent or read back in one request elsewhere: the smallest part that S3 takes.
BLOCK_BYTES = 5 * 1024 * 1024
REST_BYTES = 64 * 1024
#: What goes to S3 in one request, which begins anew when it breaks. S3 takes five times as much.
PUT_BYTES = 1024 * 1024 * 1024


def upload(fs: Any, path: str, file: BinaryIO, size: int, taken: Callable[[], bool]) -> dict[str, Any] | None:
    """Send a whole file.

    :param taken: asked at the beginning, and at the last moment before it appears; true leaves everything as it is.
    :return: what the storage says of it now; ``None`` when it was not sent.
    """
    if taken():
        return None
    if not _put(fs, path, file, size) and not _write(fs, path, file, taken):
        return None
    fs.invalidate_cache(posixpath.dirname(path))
    info: dict[str, Any] = fs.info(path)
    if info["size"] != size:
        # It is not removed: a store that has whole objects only holds somebody else's whole video there now.
        raise OSError(f"{info['size']} bytes arrived of {size}")
    return info


def _put(fs: Any, path: str, file: BinaryIO, size: int) -> bool:
    """Send a file to S3 in one request; false where that is not to be had."""
    if "s3" not in protocols(fs) or not 0 < size <= PUT_BYTES:
        return False
    try:
        loop = fs.loop
        sending = asyncio.run_coroutine_threadsafe(_put_object(fs, path, file), loop)
        try:
            sending.result()
        finally:
            sending.cancel()  # The task may have been killed while it waited.
    except Exception as error:
        log.debug("%s did not go into S3 in one request: %s", path, error)
        return False
    return True


async def _put_object(fs: Any, path: str, file: BinaryIO) -> None:
    # Not by way of ``fs.call_s3``: its repetitions go on where the file stands. Those of botocore begin anew.
    file.seek(0)
    bucket, key, _ = fs.split_path(path)
    await fs.set_session()
    client = await fs.get_s3(bucket)
    await client.put_object(**fs._get_s3_method_kwargs(client.put_object, Bucket=bucket, Key=key, Body=file))


def _write(fs: Any, path: str, file: BinaryIO, taken: Callable[[], bool]) -> bool:
    """Send a file block by block; false if the name was taken meanwhile."""
    file.seek(0)
    sink = fs.open(path, "wb", block_size=BLOCK_BYTES)
    try:
        # Most of a block at once, and the rest, which makes fsspec send it, when the most of it is not held here any
        # more. In equal pieces fsspec's buffer grows step by step and leaves holes in the heap: 22 MB, not 16.
        while most := file.read(BLOCK_BYTES - REST_BYTES):
            sink.write(most)
            del most
            sink.write(file.read(REST_BYTES))
        if taken():
            _abandon(sink)
            return False
        sink.close()
    except BaseException:
        _abandon(sink)
        raise
    return True


def _abandon(sink: Any) -> None:
    """Drop an upload. A file of fsspec commits when it is closed, and so does its finaliser: mark it closed first."""
    with contextlib.suppress(Exception):
        if isinstance(getattr(type(sink), "closed", None), property) and not sink.closed:
            sink.closed = True
    try:
        sink.discard()
    except Exception as error:
        log.debug("Could not discard the upload of %s: %s", getattr(sink, "path", "a file"), error)


def move(fs: Any, source: str, destination: str) -> None:
    """Give a stored file another name, also where the storage does not move onto one that is taken (HDFS, FTP)."""
    try:
        fs.mv(source, destination)
    except Exception:
        if not fs.exists(destination) or not fs.exists(source):
            raise
        fs.rm_file(destination)
        fs.mv(source, destination)


def remove(fs: Any, path: str) -> None:
    """Remove a stored file, if it is there and can be removed."""
    try:
        if fs.exists(path):
            fs.rm_file(path)
    except Exception as error:
        log.debug("Could not remove %s: %s", path, error)


def protocols(fs: Any) -> set[str]:
    """Return the names that a file system has in URIs."""
    protocol = fs.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)
