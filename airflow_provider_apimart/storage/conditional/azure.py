"""Conditional writes to Azure Blob Storage (and Data Lake Storage, which is the same store), through adlfs.

Azure takes ``If-None-Match: *`` (create) and ``If-Match: <ETag>`` (replace this version) with Put Blob and Put Block
List. It compares the MD5 of each request with the bytes that arrive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

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

#: What this needs of adlfs. Another file system for Azure (adlfs' own for the first Data Lake) may lack some of it.
NEEDED = ("loop", "split_path", "service_client")
#: The largest file sent in one request, and the blocks of larger ones. Azure's library holds as much in memory.
BLOCK_BYTES = 16 * 1024 * 1024
#: The clouds of Microsoft: the public one, those of the US government and of China.
_MICROSOFT = (".blob.core.windows.net", ".blob.core.usgovcloudapi.net", ".blob.core.chinacloudapi.cn")
#: The codes with which Azure refuses a condition. Others have the same statuses: a lease, a blob that is immutable. The
#: last one: another writer's list of blocks came first, which takes this one's blocks away.
_REFUSED = frozenset({"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "InvalidBlockList"})


class AzureWrites(ConditionalWrites):
    """Conditional writes through adlfs. A version is an ETag."""

    no_version = '"0x0"'

    def _put(self, path: str, content: Content, when: str) -> str:
        return self._run((self._whole if content.size <= BLOCK_BYTES else self._in_blocks)(path, content, when))

    async def _whole(self, path: str, content: Content, when: str) -> str:
        """Send it in one request."""
        content.file.seek(0)
        data = content.file.read(content.size)
        async with self._blob(path, when) as blob:
            answer = await blob.upload_blob(
                data,
                length=len(data),
                validate_content=True,
                **_about(content),
                **({"overwrite": True, **_condition(when)} if when != ABSENT else {"overwrite": False}),
                **self._timeouts,
            )
        return str(answer["etag"])

    async def _in_blocks(self, path: str, content: Content, when: str) -> str:
        """Send it in blocks. The list of them makes it appear, and holds the condition."""
        from azure.storage.blob import BlobBlock

        content.file.seek(0)
        blocks: list[BlobBlock] = []
        async with self._blob(path, when) as blob:
            while piece := content.file.read(BLOCK_BYTES):
                # As long as adlfs' own, since all of a blob's must be: a killed upload may have left some.
                block = f"{content.sha256[:24]}{len(blocks):08}"
                await blob.stage_block(block, piece, length=len(piece), validate_content=True, **self._timeouts)
                blocks.append(BlobBlock(block))
            if (sent := content.file.tell()) != content.size:
                raise OSError(f"the staged file has {sent} bytes instead of {content.size}")
            answer = await blob.commit_block_list(blocks, **_about(content), **_condition(when), **self._timeouts)
        return str(answer["etag"])

    async def _look(self, path: str) -> Stored:
        async with self._blob(path) as blob:
            return _stored(await blob.get_blob_properties(**self._timeouts))

    async def _read(self, path: str, limit: int) -> Read | None:
        from azure.core.exceptions import HttpResponseError

        async with self._blob(path) as blob:
            try:
                found = await blob.download_blob(offset=0, length=limit + 1, **self._timeouts)
            except HttpResponseError as error:
                if error.status_code != 416:
                    raise
                return Read(b"", _stored(await blob.get_blob_properties(**self._timeouts)))  # Empty: it has no range.
            if found.properties.size > limit:
                return None
            return Read(await found.readall(), _stored(found.properties))

    @asynccontextmanager
    async def _blob(self, path: str, when: str = ANY) -> AsyncIterator[Any]:
        from azure.core.exceptions import HttpResponseError

        container, name, _ = self._fs.split_path(path)
        try:
            async with self._fs.service_client.get_blob_client(container=container, blob=name) as blob:
                yield blob
        except HttpResponseError as error:
            # Only errors of the storage's own answers have a code: an enumeration, or text where the code is unknown.
            given = getattr(error, "error_code", None)
            code = str(getattr(given, "value", given))
            if when != ANY and (code in _REFUSED or (when != ABSENT and code == "BlobNotFound")):
                raise ChangedError(path) from error
            if error.status_code == 404:
                raise FileNotFoundError(path) from error
            raise

    @property
    def _timeouts(self) -> dict[str, Any]:
        return dict(getattr(self._fs, "_timeout_kwargs", None) or {})

    def _place(self, path: str) -> str:
        return str(self._fs.split_path(path)[0])

    def _documented(self, place: str) -> bool:
        return str(self._fs.service_client.primary_hostname).endswith(_MICROSOFT)


def _about(content: Content) -> dict[str, Any]:
    from azure.storage.blob import ContentSettings

    return {
        "content_settings": ContentSettings(content_type=content.content_type),
        "metadata": {NOTE: content.note} if content.note else None,
    }


def _condition(when: str) -> dict[str, Any]:
    from azure.core import MatchConditions

    if when == ANY:
        return {}
    if when == ABSENT:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": when, "match_condition": MatchConditions.IfNotModified}


def _stored(properties: Any) -> Stored:
    return Stored(str(properties.etag), int(properties.size), str((properties.metadata or {}).get(NOTE, "")))
