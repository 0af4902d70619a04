"""Writes to an object store that succeed only if nobody else has changed the object: one request, no gap.

S3 takes ``If-None-Match: *`` (create) and ``If-Match: <ETag>`` (replace this version) with PutObject and
CompleteMultipartUpload. A store that ignores these headers answers 200 as well, so an answer of 200 proves nothing. The
writes are trusted only at Amazon itself, whose documentation promises them, and where a trial shows that the store
refuses what it has to refuse. Everywhere else the caller uses another way.

A note (at most one line of ASCII) is stored with the object, in its metadata.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import posixpath
import threading
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from airflow_provider_apimart.storage import permissions
from airflow_provider_apimart.storage.uploads import BLOCK_BYTES, PUT_BYTES, protocols, type_argument

log = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Conditions of a write. Any other text is the version that may be replaced.
ANY = "any"
ABSENT = "absent"
#: The key of the note in the object's metadata. No hyphen and no underscore: some proxies drop or change them.
NOTE = "apimart"
TRIAL = ".apimart-check-"
#: What this needs of s3fs. Another file system for S3 may lack some of it.
_NEEDED = ("loop", "get_s3", "set_session", "split_path", "_call_s3", "_get_s3_method_kwargs")
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
#: The codes and statuses with which S3 refuses a condition. 409: another conditional write was under way.
_REFUSED_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_REFUSED_STATUSES = frozenset({409, 412})

_verdicts: dict[tuple[Any, str], bool] = {}
_trying = threading.Lock()


class ChangedError(Exception):
    """The condition of a write did not hold: nothing was written by this request.

    An earlier request may have been: if its answer was lost and it was repeated, the object may be the caller's own.
    """


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


class ConditionalWrites:
    """Conditional writes through s3fs. Errors other than :class:`ChangedError` are the file system's own.

    :param fs: the file system of s3fs.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def put(
        self, path: str, file: BinaryIO, size: int, *, sha256: str, content_type: str, note: str = "", when: str = ANY
    ) -> str:
        """Write a whole file, which appears only when it is complete and, if the store checks it, has this checksum.

        :param sha256: its SHA-256, in hex.
        :param when: :data:`ANY`, :data:`ABSENT`, or the version to replace.
        :return: its version.
        :raises ChangedError: if the condition does not hold.
        """
        writing = _Writing(self._fs, path, file, size, sha256, content_type, note, when)
        if 0 < size <= PUT_BYTES:
            try:
                return self._run(writing.whole())
            except Exception as error:
                if isinstance(error, ChangedError) or permissions.is_denied(error):
                    raise
                # It may have arrived all the same. Then the condition does not hold any more, and the caller looks.
                log.debug("%s did not go into S3 in one request: %s", path, error)
        return self._run(writing.in_parts())

    def look(self, path: str) -> Stored | None:
        """Return what the store says about an object; ``None`` if there is none."""
        bucket, key, _ = self._fs.split_path(path)
        try:
            return _stored(self._run(self._fs._call_s3("head_object", Bucket=bucket, Key=key)))
        except FileNotFoundError:
            return None

    def read(self, path: str, limit: int) -> Read | None:
        """Return a small object; ``None`` if there is none or it is larger than ``limit`` bytes."""
        try:
            return self._run(self._read(path, limit))
        except FileNotFoundError:
            return None

    async def _read(self, path: str, limit: int) -> Read | None:
        bucket, key, _ = self._fs.split_path(path)
        answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            if answer["ContentLength"] > limit:
                body.close()
                return None
            return Read(await body.read(), _stored(answer))

    def trusted(self, path: str) -> bool:
        """Return whether this store refuses a write whose condition does not hold.

        :param path: of an object beside which the trial may be made.
        :return: what Amazon's documentation or a trial says (five small requests, once per process and bucket).
        """
        bucket = self._fs.split_path(path)[0]
        place = getattr(self._fs, "_fs_token", id(self._fs)), bucket
        with _trying:
            if place not in _verdicts:
                try:
                    _verdicts[place] = self._at_amazon(bucket) or self._tried(posixpath.dirname(path))
                except Exception as error:  # No verdict. What forbids this trial shows in the other way, too.
                    log.debug("Conditional writes to %s could not be tried: %s", bucket, error)
                    return False
                log.debug("%s: conditional writes are %s", bucket, "kept" if _verdicts[place] else "ignored")
            return _verdicts[place]

    def _at_amazon(self, bucket: str) -> bool:
        async def endpoint() -> str:
            await self._fs.set_session()
            return str((await self._fs.get_s3(bucket)).meta.endpoint_url)

        host = urlsplit(self._run(endpoint())).hostname or ""
        return host.endswith(_AMAZON) and "outposts" not in host

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
            return kept is not None and kept.note == note and refused(ABSENT) and refused('"no such version"')
        finally:
            try:
                self._fs.rm_file(path)
            except Exception as error:
                log.debug("%s stays: %s", path, error)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        doing = asyncio.run_coroutine_threadsafe(work, self._fs.loop)
        try:
            return doing.result()
        finally:
            doing.cancel()  # The task may have been killed while it waited.


@dataclass(frozen=True)
class _Writing:
    """One file on its way into S3."""

    fs: Any
    path: str
    file: BinaryIO
    size: int
    sha256: str
    content_type: str
    note: str
    when: str

    async def whole(self) -> str:
        """Send it in one request."""
        # Not through ``fs.call_s3``: its retries continue from the file's position. Those of botocore start over.
        self.file.seek(0)
        client, place = await self._client()
        digest = base64.b64encode(bytes.fromhex(self.sha256)).decode()
        # S3 compares it with what arrives, and botocore need not compute another one. Not where the user chose one, or
        # has turned checksums off for an old store.
        own = getattr(self.fs, "s3_additional_kwargs", None) or {}
        wanted = getattr(client.meta.config, "request_checksum_calculation", None) != "when_required"
        checked = (
            {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}
            if wanted and "ChecksumAlgorithm" not in own
            else {}
        )
        answer = await self._asked(
            client.put_object, **place, **self._about(), **self._condition(), **checked, Body=self.file
        )
        if not checked or answer.get("ChecksumSHA256") != digest:
            await self._check_length(client, place)
        return str(answer["ETag"])

    async def in_parts(self) -> str:
        """Send it in parts. The last request makes it appear, and holds the condition."""
        client, place = await self._client()
        begun = await self._asked(client.create_multipart_upload, **place, **self._about())
        upload = {**place, "UploadId": begun["UploadId"]}
        try:
            self.file.seek(0)
            parts: list[dict[str, Any]] = []
            while (piece := self.file.read(BLOCK_BYTES)) or not parts:
                number = len(parts) + 1
                sent = await self._asked(client.upload_part, **upload, PartNumber=number, Body=piece)
                parts.append({"PartNumber": number, "ETag": sent["ETag"]})
            done = await self._asked(
                client.complete_multipart_upload, **upload, **self._condition(), MultipartUpload={"Parts": parts}
            )
        except BaseException:
            try:
                await client.abort_multipart_upload(**upload)
            except Exception as error:
                log.debug("An upload of %s stays unfinished: %s", self.path, error)
            raise
        await self._check_length(client, place)
        return str(done["ETag"])

    async def _client(self) -> tuple[Any, dict[str, str]]:
        bucket, key, _ = self.fs.split_path(self.path)
        await self.fs.set_session()
        return await self.fs.get_s3(bucket), {"Bucket": bucket, "Key": key}

    def _about(self) -> dict[str, Any]:
        own = (getattr(self.fs, "s3_additional_kwargs", None) or {}).get("Metadata", {})
        return {
            **type_argument(self.fs, self.content_type),
            "Metadata": {**own, **({NOTE: self.note} if self.note else {})},
        }

    def _condition(self) -> dict[str, str]:
        if self.when == ANY:
            return {}
        return {"IfNoneMatch": "*"} if self.when == ABSENT else {"IfMatch": self.when}

    async def _asked(self, call: Any, **arguments: Any) -> Any:
        try:
            return await call(**self.fs._get_s3_method_kwargs(call, **arguments))
        except Exception as error:
            answer = getattr(error, "response", None)
            if not isinstance(answer, dict):
                raise
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = answer.get("Error", {}).get("Code")
            conditional = "IfMatch" in arguments or "IfNoneMatch" in arguments
            gone = "IfMatch" in arguments and code == "NoSuchKey"  # The version to replace was removed.
            if conditional and (gone or status in _REFUSED_STATUSES or code in _REFUSED_CODES):
                raise ChangedError(self.path) from error
            if status == 403:
                raise PermissionError(str(error)) from error
            raise

    async def _check_length(self, client: Any, place: dict[str, str]) -> None:
        found = await self._asked(client.head_object, **place)
        if found["ContentLength"] != self.size:
            # It is not removed: in a store that holds only whole objects, this is somebody else's whole file.
            raise OSError(f"{found['ContentLength']} bytes arrived of {self.size}")


def conditional_writes(fs: Any) -> ConditionalWrites | None:
    """Return the conditional writes of a file system; ``None`` if none are known for it."""
    if protocols(fs) & {"s3", "s3a"} and all(hasattr(fs, name) for name in _NEEDED):
        return ConditionalWrites(fs)
    return None


def _stored(answer: dict[str, Any]) -> Stored:
    return Stored(str(answer["ETag"]), int(answer["ContentLength"]), str(answer.get("Metadata", {}).get(NOTE, "")))
