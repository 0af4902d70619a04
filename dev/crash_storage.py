"""Where a crash run lands its videos, as its audit reads it: without the provider's own ways to storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

#: The folders and files in which the provider keeps its own books beside the videos: records before Airflow 3.3, the
#: plans and journals of batches, the files that show what a storage can do.
OWN_PREFIX = ".apimart-"


class Storage(Protocol):
    """The files below one root."""

    def name(self, uri: str) -> str:
        """Return the file's name here for a path of an XCom or a manifest."""

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, ``None`` if there is no such file."""

    def names(self) -> set[str]:
        """Return all files that are not the provider's own books."""


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def name(self, uri: str) -> str:
        """Return the absolute path."""
        return unquote(urlsplit(uri).path)

    def read(self, name: str) -> bytes | None:
        """Return the file's bytes."""
        path = Path(name)
        return path.read_bytes() if path.is_file() else None

    def names(self) -> set[str]:
        """Return the absolute paths of all files."""
        return {
            str(path)
            for path in self.root.rglob("*")
            if path.is_file() and not _is_own(path.relative_to(self.root).parts)
        }


class Bucket:
    """A prefix in a bucket.

    :param client: a client of boto3.
    :param prefix: ends in a slash.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix

    def name(self, uri: str) -> str:
        """Return the object's key, for ``s3://connection@bucket/key``."""
        return urlsplit(uri).path.removeprefix("/")

    def read(self, name: str) -> bytes | None:
        """Return the object's bytes."""
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=name)["Body"]
        except self.client.exceptions.NoSuchKey:
            return None
        with body:
            return bytes(body.read())

    def names(self) -> set[str]:
        """Return the keys of all objects, and ``<key> (unfinished upload)`` for what S3 would go on charging for."""
        keys = {each["Key"] for each in self._all("list_objects_v2", "Contents")}
        begun = {f"{each['Key']} (unfinished upload)" for each in self._all("list_multipart_uploads", "Uploads")}
        return {key for key in keys | begun if not _is_own(tuple(key.split("/")))}

    def _all(self, call: str, field: str) -> list[dict[str, Any]]:
        pages: Callable[..., Any] = self.client.get_paginator(call).paginate
        return [each for page in pages(Bucket=self.bucket, Prefix=self.prefix) for each in page.get(field, [])]


def _is_own(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(OWN_PREFIX) for part in parts)
