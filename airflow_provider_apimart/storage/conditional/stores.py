"""Which conditional writes belong to a file system."""

from __future__ import annotations

from typing import Any

from airflow_provider_apimart.storage.conditional import azure, gcs, s3
from airflow_provider_apimart.storage.conditional.writes import ConditionalWrites
from airflow_provider_apimart.storage.uploads import protocols

#: The names in URIs, what is needed of the file system, and the writes.
_STORES: tuple[tuple[frozenset[str], tuple[str, ...], type[ConditionalWrites]], ...] = (
    (frozenset({"s3", "s3a"}), s3.NEEDED, s3.S3Writes),
    (frozenset({"gs", "gcs"}), gcs.NEEDED, gcs.GcsWrites),
    (frozenset({"abfs", "abfss", "az", "adl"}), azure.NEEDED, azure.AzureWrites),
)


def conditional_writes(fs: Any) -> ConditionalWrites | None:
    """Return the conditional writes of a file system; ``None`` if none are known for it."""
    for names, needed, writes in _STORES:
        if protocols(fs) & names and all(hasattr(fs, name) for name in needed):
            return writes(fs)
    return None
