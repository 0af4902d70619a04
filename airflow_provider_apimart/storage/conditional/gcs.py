"""Conditional writes to Google Cloud Storage, through gcsfs.

GCS takes ``ifGenerationMatch=0`` (create) and ``ifGenerationMatch=<generation>`` (replace this version) with every
upload. It compares the MD5 that comes with an upload with the bytes that arrive, before the object appears.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from airflow_provider_apimart.storage import permissions
from airflow_provider_apimart.storage.conditional.writes import (
    ABSENT,
    ANY,
    NOTE,
    ChangedError,
    ConditionalWrites,
    Content,
    Read,
    Stored,
    UnsupportedError,
)

#: What this needs of gcsfs. Another file system for GCS may lack some of it.
NEEDED = ("loop", "split_path", "_location", "_call")
#: The largest file sent in one request: aiohttp gives each five minutes, and one that breaks starts over.
WHOLE_BYTES = 64 * 1024 * 1024
#: The pieces of larger files, a multiple of 256 KiB. One is held in memory.
PIECE_BYTES = 16 * 1024 * 1024
READ_BYTES = 256 * 1024
_GOOGLE = ".googleapis.com"


class GcsWrites(ConditionalWrites):
    """Conditional writes through gcsfs. A version is a generation: a whole number."""

    no_version = "1"

    def _put(self, path: str, content: Content, when: str) -> str:
        md5 = _md5(content.file)
        whole = content.size <= WHOLE_BYTES
        try:
            return self._run((self._whole if whole else self._in_pieces)(path, content, md5, _condition(when)))
        except Exception as error:
            # Older versions of gcsfs have no type for it.
            if isinstance(error, FileExistsError) or str(getattr(error, "code", "")) == "412":
                raise ChangedError(path) from error
            if not permissions.is_denied(error) and self._is_zonal(self._place(path)):
                raise UnsupportedError(path) from error
            raise

    async def _whole(self, path: str, content: Content, md5: str, condition: dict[str, str]) -> str:
        """Send it in one request."""
        bucket, key, _ = self._fs.split_path(path)
        mark = uuid.uuid4().hex
        about = json.dumps(_about(key, content, md5))
        before = (
            f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{about}\r\n"
            f"--{mark}\r\nContent-Type: {content.content_type}\r\n\r\n"
        )
        body = _Body(content, before.encode(), f"\r\n--{mark}--\r\n".encode())
        answer = await self._fs._call(
            "POST",
            self._uploads,
            bucket,
            uploadType="multipart",
            headers={"Content-Type": f'multipart/related; boundary="{mark}"', "Content-Length": str(len(body))},
            data=body,
            json_out=True,
            **condition,
        )
        return _version(answer, content.size)

    async def _in_pieces(self, path: str, content: Content, md5: str, condition: dict[str, str]) -> str:
        """Send it in pieces. The last one makes it appear; the session that they belong to holds the condition."""
        bucket, key, _ = self._fs.split_path(path)
        headers, _ = await self._fs._call(
            "POST",
            self._uploads,
            bucket,
            uploadType="resumable",
            headers={"X-Upload-Content-Type": content.content_type, "X-Upload-Content-Length": str(content.size)},
            json=_about(key, content, md5),
            **condition,
        )
        session, start = headers["Location"], 0
        while True:
            content.file.seek(start)
            piece = content.file.read(PIECE_BYTES)
            if not piece:
                raise OSError(f"the store has all {start} bytes and does not say that it is done")
            headers, said = await self._fs._call(
                "PUT",
                session,
                headers={"Content-Range": f"bytes {start}-{start + len(piece) - 1}/{content.size}"},
                data=_Piece(piece),
            )
            if said:
                return _version(json.loads(said), content.size)
            # It says how much it has kept, which may be less than it was sent.
            kept = re.fullmatch(r"bytes=0-(\d+)", headers.get("Range", ""))
            start = int(kept[1]) + 1 if kept else 0

    @property
    def _uploads(self) -> str:
        return f"{self._fs._location}/upload/storage/v1/b/{{}}/o"

    async def _look(self, path: str) -> Stored:
        bucket, key, _ = self._fs.split_path(path)
        found = await self._fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return Stored(str(found["generation"]), int(found["size"]), str(found.get("metadata", {}).get(NOTE, "")))

    async def _read(self, path: str, limit: int) -> Read | None:
        try:
            headers, data = await self._content(path, limit)
        except Exception as error:
            if str(getattr(error, "code", "")) != "416":
                raise
            return Read(b"", await self._look(path))  # An empty object has no range.
        if len(data) > limit:
            return None
        if version := headers.get("X-Goog-Generation"):
            return Read(data, Stored(version, len(data), headers.get(f"X-Goog-Meta-{NOTE}", "")))
        # Some emulators do not say it. Then it is read again, if it still is what the store says about it.
        stored = await self._look(path)
        _, data = await self._content(path, limit, ifGenerationMatch=stored.version)
        return Read(data, stored)

    async def _content(self, path: str, limit: int, **condition: str) -> tuple[Any, bytes]:
        bucket, key, _ = self._fs.split_path(path)
        place = f"{self._fs._location}/download/storage/v1/b/{{}}/o/{{}}"
        headers, data = await self._fs._call(
            "GET", place, bucket, key, alt="media", headers={"Range": f"bytes=0-{limit}"}, **condition
        )
        return headers, data

    def _remove(self, path: str) -> None:
        # Not through ``rm_file``: it asks over gRPC first what kind of bucket this is, and an emulator cannot answer.
        bucket, key, _ = self._fs.split_path(path)
        self._run(self._fs._call("DELETE", "b/{}/o/{}", bucket, key))

    def _place(self, path: str) -> str:
        return str(self._fs.split_path(path)[0])

    def _documented(self, place: str) -> bool:
        return _is_google(self._fs)

    def _is_zonal(self, bucket: str) -> bool:
        """Return whether this is a bucket of a zone ("Rapid Storage"), which takes uploads only over gRPC."""
        asked: Callable[[str], Any] | None = getattr(self._fs, "_is_zonal_bucket", None)
        if asked is None or not _is_google(self._fs):
            return False
        return bool(self._run(asked(bucket)))


class _Body:
    """A file between two texts, read while it is sent. A repeated request reads it anew."""

    def __init__(self, content: Content, before: bytes, after: bytes) -> None:
        self._content = content
        self._before = before
        self._after = after

    def __len__(self) -> int:
        return len(self._before) + self._content.size + len(self._after)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._before
        self._content.file.seek(0)
        while piece := self._content.file.read(READ_BYTES):
            yield piece
        yield self._after


class _Piece(io.BytesIO):
    """The body of a request that may be repeated.

    aiohttp closes a body that it has sent. One that it could not rewind would fail at GCS' 308, which it takes for a
    redirect until it finds no address in it.
    """

    def close(self) -> None:
        """Stay open."""


def _md5(file: BinaryIO) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    file.seek(0)
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    return base64.b64encode(digest.digest()).decode()


def _condition(when: str) -> dict[str, str]:
    if when == ANY:
        return {}
    return {"ifGenerationMatch": "0" if when == ABSENT else when}


def _about(key: str, content: Content, md5: str) -> dict[str, Any]:
    noted = {"metadata": {NOTE: content.note}} if content.note else {}
    return {"name": key, "contentType": content.content_type, "md5Hash": md5, **noted}


def _version(answer: dict[str, Any], size: int) -> str:
    if int(answer["size"]) != size:
        # It is not removed: in a store that holds only whole objects, this may be somebody else's whole file.
        raise OSError(f"{answer['size']} bytes arrived of {size}")
    return str(answer["generation"])


def _is_google(fs: Any) -> bool:
    return (urlsplit(fs._location).hostname or "").endswith(_GOOGLE)
