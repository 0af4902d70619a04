"""Opens prompt tables in any object storage, as streams of records: CSV, JSONL and Parquet, compressed or not."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal, get_args

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError
from airflow_provider_apimart.generation.tables.parquet import StorageFault, parquet_records
from airflow_provider_apimart.generation.tables.rows import Record, TableError
from airflow_provider_apimart.generation.tables.text_files import (
    csv_records,
    is_delimiter,
    jsonl_records,
    what_else,
)
from airflow_provider_apimart.hooks.storage.paths import StorageReadError, file_system, storage_path

TableFormat = Literal["csv", "tsv", "jsonl", "parquet"]
_SUFFIXES: dict[str, TableFormat] = {
    "csv": "csv",
    "tsv": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}
#: How many bytes of a file are read to find out what kind of file it is.
HEAD_BYTES = 4096
#: No line of a table is longer. A file without line ends is not a table.
MAX_LINE = 64 * 1024 * 1024


def found(path: str | ObjectStoragePath, name: str) -> ObjectStoragePath:
    """Return a table's path, after checking that its storage can be used and its connection exists."""
    try:
        place = storage_path(path)
        # Created here, and not where the file is opened: a missing package is not a temporary error.
        file_system(place)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error.message}") from None
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"{name}: this storage cannot be used: {error}") from error
    except Exception as error:
        raise StorageReadError(f"{name} could not be read: {type(error).__name__}: {error}") from error
    return place


@contextmanager
def file_records(
    path: ObjectStoragePath,
    name: str,
    format: TableFormat | None,
    delimiter: str | None,
    quoting: bool | None,
    prefix: str,
    tells_lineage: bool = False,
) -> Iterator[Iterator[Record]]:
    """Open a table, and yield its records, which are read while it is open.

    :param name: what errors call the table.
    :param tells_lineage: the caller tells by itself what it has read.
    :param prefix: what precedes ``format``, ``delimiter`` and ``quoting`` in the names that the user knows.
    :raises TableError: if it is not a table of that format.
    :raises StorageReadError: if the storage cannot be reached this time.
    """
    kind, zipped = _format_of(path, name, format, prefix)
    text = kind in ("csv", "tsv")
    if delimiter is not None and not (text and is_delimiter(delimiter)):
        raise ConfigurationError(f"{prefix}delimiter={delimiter!r}: allowed: one character, for CSV files")
    if quoting is not None and not (text and isinstance(quoting, bool)):
        raise ConfigurationError(f"{prefix}quoting={quoting!r}: allowed: True or False, for CSV files, or None")
    try:
        # Airflow's own opening notes the file for its lineage. For that it loads what all providers have for it.
        opened_as = file_system(path).open(path.path, "rb") if tells_lineage else path.open("rb")  # type: ignore[no-untyped-call]
        with opened_as as file:
            stream = _opened(file, name, zipped, kind, prefix)
            if kind == "parquet":
                yield parquet_records(stream, name)
                return
            # utf-8-sig: Excel puts a byte order mark before the first column's name.
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as opened:
                lines = _lines(opened, name)
                if kind == "jsonl":
                    yield jsonl_records(lines, name=name)
                else:
                    usual = "\t" if kind == "tsv" else ","
                    yield csv_records(
                        lines, delimiter=delimiter, usual=usual, quoting=quoting, name=name, prefix=prefix
                    )
    except UnicodeDecodeError as error:
        raise TableError(
            f"{name} is not UTF-8 ({error.reason} at byte {error.start} of a block); save it as UTF-8. "
            "Nothing was submitted"
        ) from None
    except (FileNotFoundError, IsADirectoryError, PermissionError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{name} cannot be read: {type(error).__name__}: {error}. Nothing was submitted") from None
    except ApimartError:
        raise
    except ImportError as error:
        raise ConfigurationError(f"{name}: this storage cannot be used: {error}") from error
    except Exception as error:
        # Each object store raises its own errors when it cannot be reached. A retry may reach it again.
        cause = error.__cause__ if isinstance(error, StorageFault) else error
        raise StorageReadError(f"{name} could not be read: {type(cause).__name__}: {cause}") from cause


class _Rejoined(io.RawIOBase):
    """A file from its start, although its first bytes have already been read: not every storage can seek back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        piece = self._head[:size] or self._rest.read(size)
        self._head = self._head[size:]
        buffer[: len(piece)] = piece
        return len(piece)


def _opened(file: BinaryIO, name: str, zipped: bool, kind: TableFormat, prefix: str) -> Any:
    """Return a table's file from its start, decompressed.

    :raises TableError: if the content is not of the expected format.
    """
    head = file.read(HEAD_BYTES)
    stream = _from_start(file, head, kind)
    if zipped or head.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=stream)
        head = stream.read(HEAD_BYTES)
        stream = _from_start(stream, head, kind)
    if (what := what_else(head, kind, prefix)) is not None:
        raise TableError(f"{name} is {what}. Nothing was submitted")
    return stream


def _from_start(file: Any, head: bytes, kind: TableFormat) -> Any:
    if kind == "parquet":
        file.seek(0)
        return file
    return io.BufferedReader(_Rejoined(head, file))


def _lines(file: io.TextIOWrapper, name: str) -> Iterator[str]:
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise TableError(
                f"{name} is no table: it has a line of more than {MAX_LINE:,} characters. Nothing was submitted"
            )
        yield line


def _format_of(
    path: ObjectStoragePath, shown: str, format: TableFormat | None, prefix: str
) -> tuple[TableFormat, bool]:
    formats = ", ".join(get_args(TableFormat))
    if format is not None and format not in get_args(TableFormat):
        raise ConfigurationError(f"{prefix}format={format!r}: allowed: {formats}")
    name = path.name.lower()
    zipped = name.endswith(".gz")
    suffix = name.removesuffix(".gz").rpartition(".")[2]
    kind = format or _SUFFIXES.get(suffix)
    if kind is None:
        allowed = ", ".join(f".{suffix}" for suffix in _SUFFIXES)
        raise ConfigurationError(
            f"{shown}: what kind of table is this? Allowed are {allowed}, or {prefix}format= {formats}"
        )
    return kind, zipped
