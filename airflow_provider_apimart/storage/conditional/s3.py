"""Conditional writes to S3 and to stores that speak its protocol, through s3fs.

S3 takes ``If-None-Match: *`` (create) and ``If-Match: <ETag>`` (replace this version) with PutObject and
CompleteMultipartUpload.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass
from typing import Any
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
)
from airflow_provider_apimart.storage.uploads import BLOCK_BYTES, PUT_BYTES, type_argument

log = logging.getLogger(__name__)

#: What this needs of s3fs. Another file system for S3 may lack some of it.
NEEDED = ("loop", "get_s3", "set_session", "split_path", "_call_s3", "_get_s3_method_kwargs")
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")
#: The codes and statuses with which S3 refuses a condition. 409: another conditional write was under way.
_REFUSED_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_REFUSED_STATUSES = frozenset({409, 412})


class S3Writes(ConditionalWrites):
    """Conditional writes through s3fs. A version is an ETag."""

    no_version = '"no such version"'

    def _put(self, path: str, content: Content, when: str) -> str:
        writing = _Writing(self._fs, path, content, when)
        if 0 < content.size <= PUT_BYTES:
            try:
                return self._run(writing.whole())
            except Exception as error:
                if isinstance(error, ChangedError) or permissions.is_denied(error):
                    raise
                # It may have arrived all the same. Then the condition does not hold any more, and the caller looks.
                log.debug("%s did not go into S3 in one request: %s", path, error)
        return self._run(writing.in_parts())

    async def _look(self, path: str) -> Stored:
        bucket, key, _ = self._fs.split_path(path)
        return _stored(await self._fs._call_s3("head_object", Bucket=bucket, Key=key))

    async def _read(self, path: str, limit: int) -> Read | None:
        bucket, key, _ = self._fs.split_path(path)
        answer = await self._fs._call_s3("get_object", Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            if answer["ContentLength"] > limit:
                body.close()
                return None
            return Read(await body.read(), _stored(answer))

    def _place(self, path: str) -> str:
        return str(self._fs.split_path(path)[0])

    def _documented(self, place: str) -> bool:
        async def endpoint() -> str:
            await self._fs.set_session()
            return str((await self._fs.get_s3(place)).meta.endpoint_url)

        host = urlsplit(self._run(endpoint())).hostname or ""
        return host.endswith(_AMAZON) and "outposts" not in host


@dataclass(frozen=True)
class _Writing:
    """One file on its way into S3."""

    fs: Any
    path: str
    content: Content
    when: str

    async def whole(self) -> str:
        """Send it in one request."""
        # Not through ``fs.call_s3``: its retries continue from the file's position. Those of botocore start over.
        self.content.file.seek(0)
        client, place = await self._client()
        digest = base64.b64encode(bytes.fromhex(self.content.sha256)).decode()
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
            client.put_object, **place, **self._about(), **self._condition(), **checked, Body=self.content.file
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
            self.content.file.seek(0)
            parts: list[dict[str, Any]] = []
            while (piece := self.content.file.read(BLOCK_BYTES)) or not parts:
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
            **type_argument(self.fs, self.content.content_type),
            "Metadata": {**own, **({NOTE: self.content.note} if self.content.note else {})},
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
        if found["ContentLength"] != self.content.size:
            # It is not removed: in a store that holds only whole objects, this is somebody else's whole file.
            raise OSError(f"{found['ContentLength']} bytes arrived of {self.content.size}")


def _stored(answer: dict[str, Any]) -> Stored:
    return Stored(str(answer["ETag"]), int(answer["ContentLength"]), str(answer.get("Metadata", {}).get(NOTE, "")))
