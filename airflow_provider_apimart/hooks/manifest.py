"""Reads the manifest of a batch, for the tasks that come after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_apimart.generation.batch.manifest import read_lines
from airflow_provider_apimart.hooks.storage import storage_path
from airflow_provider_apimart.hooks.verbatim import verbatim


def read_manifest(path: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a manifest, one per row of the table, in the table's order.

    :param path: as the batch operator's XCom names it (``result["manifest"]``); JSONL or Parquet.
    """
    with storage_path(path).open("rb") as file:  # type: ignore[no-untyped-call]
        # The manifest's texts came from a table. They stay data even if a DAG file reads the manifest.
        yield from map(verbatim, read_lines(file, "parquet" if path.endswith(".parquet") else "jsonl"))


def landed_rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of the rows whose videos are in storage."""
    return (line for line in read_manifest(path) if line["outcome"] in ("landed", "reused"))


def parcels(path: str, *, size: int = 100) -> list[list[dict[str, Any]]]:
    """Return the rows whose videos are in storage, in lists of ``size``, to map a task over.

    Airflow maps over at most 1,024 items, and keeps them in its database. So each row is cut down to its number,
    labels, generation id, cost and videos.
    """
    names = ("row", "labels", "generation_id", "cost_usd", "videos")
    rows = [{name: line[name] for name in names} for line in landed_rows(path)]
    return [rows[start : start + size] for start in range(0, len(rows), size)]
