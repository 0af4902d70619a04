"""The names of stored files: what other tools call one, whatever connection it is read through.

Names follow OpenLineage's naming specification (https://openlineage.io/docs/spec/naming/). An Airflow connection in a
path (``s3://conn@bucket/key``) is no part of them: another DAG may reach the same file through another connection.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

AZURE = frozenset({"abfs", "abfss", "az", "adl", "wasb", "wasbs"})
_SAME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", **dict.fromkeys(AZURE, "abfss")}
#: In these a name has no leading slash.
_KEYED = frozenset({"s3", "gs", "abfss"})
_AZURE_HOSTS = (".dfs.core.windows.net", ".blob.core.windows.net")
#: What has no meaning of its own in a URI's path.
_PLAIN = "/:@!$&'()*+,;=~-._"


def is_absolute(path: str) -> bool:
    """Return whether a path means the same place in every process."""
    scheme, separator, rest = path.partition("://")
    if separator and scheme.lower() in ("file", "local"):
        # In file://videos/ "videos" is not read as a host: it is a folder relative to the current process.
        return rest.startswith("/") or rest.partition("/")[0].endswith("@")
    return bool(separator) or path.startswith("/")


@dataclass(frozen=True)
class DatasetName:
    """The name of a file or a folder.

    :param namespace: where it is, such as ``s3://bucket`` or ``file``.
    :param name: which of the things there, such as ``videos/a.mp4`` or ``/data/a.mp4``.
    """

    namespace: str
    name: str

    @property
    def uri(self) -> str:
        """The same as one text, such as ``s3://bucket/videos/a.mp4`` or ``file:///data/a.mp4``."""
        if self.namespace == "file":
            return f"file://{self.name}"
        return f"{self.namespace}/{self.name.lstrip('/')}"

    @property
    def quoted_uri(self) -> str:
        """The same in ASCII, as Airflow wants an asset's URI. What Airflow would drop or reorder is quoted as well."""
        scheme, _, rest = self.uri.partition("://")
        return f"{scheme}://{quote(rest, safe=_PLAIN)}"


def dataset_name(path: str, *, account: str | None = None) -> DatasetName | None:
    """Return the name of a file or a folder; ``None`` for what is no file (``asset://…``).

    The query of an ``http(s)`` URL is left out, since it may be a signature.

    :param path: a local path, or the URI of any storage, with or without a connection in it.
    :param account: the Azure storage account, which a path does not name if the connection does.
    """
    scheme, separator, rest = path.partition("://")
    if not separator:
        return DatasetName("file", os.path.abspath(path))
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        parts = urlsplit(path)
        return DatasetName(f"{scheme}://{parts.netloc.rpartition('@')[2]}", parts.path or "/")
    if scheme == "asset":
        return None
    place, _, inner = rest.partition("/")
    if scheme in ("file", "local"):
        return DatasetName("file", os.path.abspath(f"/{inner}" if not place or place.endswith("@") else rest))
    before, _, place_name = place.rpartition("@")
    if scheme in AZURE:
        return DatasetName(_azure_namespace(before, place_name, account), _key(inner))
    scheme = _SAME.get(scheme, scheme)
    return DatasetName(f"{scheme}://{place_name}", _key(inner) if scheme in _KEYED else posixpath.normpath(f"/{inner}"))


def _key(inner: str) -> str:
    # A bucket's root has a name, too.
    return inner.rstrip("/") or "/"


def _azure_namespace(before: str, last: str, account: str | None) -> str:
    """Return ``abfss://container@account.dfs.core.windows.net``, or as much of it as is known."""
    for host in _AZURE_HOSTS:
        if last.endswith(host):
            return f"abfss://{before.rpartition('@')[2]}@{last.removesuffix(host)}{_AZURE_HOSTS[0]}"
    return f"abfss://{last}@{account}{_AZURE_HOSTS[0]}" if account else f"abfss://{last}"
