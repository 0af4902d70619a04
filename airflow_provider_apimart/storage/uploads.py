"""Uploads a staged file, whole, to a storage that is not this machine's own.

An upload to S3 is one request that reads from the staged file, so that none of it is held in memory. Parts would cost
one request each, and S3 the work of joining them. If that fails, the upload is repeated in the way that every fsspec
file system supports: block by block through the file system's own file object.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
from collections.abc import Callable
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

#: How much is sent or read back per request in all other cases: the smallest part that S3 accepts.
BLOCK_BYTES = 5 * 1024 * 1024
REST_BYTES = 64 * 1024
#: The largest file sent to S3 in one request, which starts over if it breaks. S3 accepts five times as much.
PUT_BYTES = 1024 * 1024 * 1024


#: The Content-Type with which a storage serves the file. Players and CDNs refuse a video with any other type.
CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
}
UNKNOWN_TYPE = "application/octet-stream"


def content_type_of(name: str) -> str:
    """Return the media type of a file that this provider writes."""
    return CONTENT_TYPES.get(posixpath.splitext(name.lower())[1], UNKNOWN_TYPE)


def upload(
    fs: Any, path: str, file: BinaryIO, size: int, taken: Callable[[], bool], content_type: str = UNKNOWN_TYPE
) -> dict[str, Any] | None:
    """Send a whole file.

    :param content_type: stored with the file if the storage supports that.
    :param taken: called at the beginning, and at the last moment before the file appears; if true, nothing is changed.
    :return: what the storage now says about the file; ``None`` if it was not sent.
    """
    if taken():
        return None
    if not _put(fs, path, file, size, content_type) and not _write(fs, path, file, taken, content_type):
        return None
    fs.invalidate_cache(posixpath.dirname(path))
    info: dict[str, Any] = fs.info(path)
    if info["size"] != size:
        # It is not removed: in a store that holds only whole objects, this is somebody else's whole video.
        raise OSError(f"{info['size']} bytes arrived of {size}")
    return info


def _put(fs: Any, path: str, file: BinaryIO, size: int, content_type: str) -> bool:
    """Send a file to S3 in one request; false if that is not possible."""
    if "s3" not in protocols(fs) or not 0 < size <= PUT_BYTES:
        return False
    try:
        loop = fs.loop
        sending = asyncio.run_coroutine_threadsafe(_put_object(fs, path, file, content_type), loop)
        try:
            sending.result()
        finally:
            sending.cancel()  # The task may have been killed while it waited.
    except Exception as error:
        log.debug("%s did not go into S3 in one request: %s", path, error)
        return False
    return True


async def _put_object(fs: Any, path: str, file: BinaryIO, content_type: str) -> None:
    # Not through ``fs.call_s3``: its retries continue from the file's current position. Those of botocore start over.
    file.seek(0)
    bucket, key, _ = fs.split_path(path)
    await fs.set_session()
    client = await fs.get_s3(bucket)
    names = type_argument(fs, content_type)
    await client.put_object(**fs._get_s3_method_kwargs(client.put_object, names, Bucket=bucket, Key=key, Body=file))


def type_argument(fs: Any, content_type: str) -> dict[str, Any]:
    """Return the arguments that give a file system the media type of a file; empty if it accepts none."""
    names = protocols(fs)
    if names & {"s3", "s3a"}:
        # A setting of the user for all uploads of the connection takes precedence.
        own = getattr(fs, "s3_additional_kwargs", None) or {}
        return {} if "ContentType" in own else {"ContentType": content_type}
    if names & {"gs", "gcs"}:
        return {"content_type": content_type}
    if names & {"abfs", "abfss", "az", "adl", "wasb", "wasbs"}:
        return {"content_settings": {"content_type": content_type}}
    return {}


def _open(fs: Any, path: str, content_type: str) -> Any:
    if told := type_argument(fs, content_type):
        try:
            return fs.open(path, "wb", block_size=BLOCK_BYTES, **told)
        except TypeError as error:
            # An older version, or another package for the same storage. A video without its type is better than none.
            log.debug("The storage of %s is not told its type: %s", path, error)
    return fs.open(path, "wb", block_size=BLOCK_BYTES)


def _write(fs: Any, path: str, file: BinaryIO, taken: Callable[[], bool], content_type: str) -> bool:
    """Send a file block by block; false if the name was taken meanwhile."""
    file.seek(0)
    sink = _open(fs, path, content_type)
    try:
        # Write most of a block at once. Write the rest, which makes fsspec send the block, when the first piece is no
        # longer held here. With equal pieces fsspec's buffer grows in steps and fragments the heap: 22 MB, not 16.
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
    """Drop an upload. An fsspec file commits when it is closed or finalised, so mark it as closed first."""
    with contextlib.suppress(Exception):
        if isinstance(getattr(type(sink), "closed", None), property) and not sink.closed:
            sink.closed = True
    try:
        sink.discard()
    except Exception as error:
        log.debug("Could not discard the upload of %s: %s", getattr(sink, "path", "a file"), error)


def remove(fs: Any, path: str) -> None:
    """Remove a stored file if it exists and can be removed."""
    try:
        if fs.exists(path):
            fs.rm_file(path)
    except Exception as error:
        log.debug("Could not remove %s: %s", path, error)


def protocols(fs: Any) -> set[str]:
    """Return the names that a file system has in URIs."""
    protocol = fs.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)
