"""The rows of a Parquet file, read in batches, with a limit on the memory that a file can make this process use.

A file of a few kilobytes can unpack to gigabytes. So the sizes in its metadata are checked before anything is unpacked.
Text is read as dictionaries, which hold a value once even if it appears a million times. No cell may be larger than a
cell of a CSV file. A label that Python has no type for (nanoseconds, the year 20,000, an unknown time zone) becomes
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.generation.tables.columns import Header
from airflow_provider_apimart.generation.tables.rows import Record, TableError
from airflow_provider_apimart.generation.tables.text_files import MAX_CELL, check_header

#: The most rows that are decoded at once; fewer if they are large.
BATCH_ROWS, BATCH_BYTES = 500, 32 * 1024 * 1024
#: What one column of a row group may unpack to.
MAX_CHUNK = 512 * 1024 * 1024


class StorageFault(Exception):
    """The storage raised an error while the file was read; that error is the cause."""


class _Watched:
    """A file whose own errors can be told from pyarrow's, which are OSErrors, too."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except Exception as error:
            raise StorageFault from error


def parquet_records(file: BinaryIO, name: str) -> Iterator[Record]:
    """Yield the header and the rows of a Parquet file.

    :raises TableError: for a file that is damaged, or unpacks to too much.
    :raises StorageFault: if the storage failed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigurationError(
            f"{name}: Parquet needs pyarrow: pip install 'airflow-provider-apimart[parquet]'"
        ) from error
    watched = _Watched(file)
    try:
        metadata = parquet.read_metadata(watched)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise TableError(f"{name} is no Parquet file: {error}. Nothing was submitted") from None
    try:
        _check_sizes(metadata, name)
        table = parquet.ParquetFile(
            watched,
            metadata=metadata,
            read_dictionary=_text_columns(metadata),
            # The default, nanoseconds, would change some dates that Spark writes.
            coerce_int96_timestamp_unit="us",
            # If the writer has stored checksums, a damaged byte raises an error instead of changing a prompt.
            page_checksum_verification=True,
        )
        names = table.schema_arrow.names
        check_header(names, name)
        yield Header(tuple(names))
        for number in range(metadata.num_row_groups):
            rows = _rows_at_once(metadata.row_group(number))
            for batch in table.iter_batches(batch_size=rows, row_groups=[number]):
                yield from _records(batch, names, name)
    except UnicodeDecodeError as error:
        raise TableError(f"{name} has text that is not UTF-8: {error}. Nothing was submitted") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise TableError(f"{name} is damaged: {error}. Write it again. Nothing was submitted") from None


def _check_sizes(metadata: Any, name: str) -> None:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(group.num_columns):
            chunk = group.column(index)
            nested = metadata.schema.column(index).max_repetition_level > 0
            # A list of many equal values is packed to almost nothing, but the metadata says how many there are.
            size = max(chunk.total_uncompressed_size, chunk.num_values * 8 if nested else 0)
            if size > MAX_CELL * max(1, group.num_rows):
                raise _too_large(name, chunk.path_in_schema, f"{_mib(size // max(1, group.num_rows))} on average")
            if size > MAX_CHUNK:
                raise TableError(
                    f"{name}: the column {chunk.path_in_schema!r} unpacks to {_mib(size)} in its row group {number}; "
                    f"allowed: {_mib(MAX_CHUNK)}. Write it with smaller row groups. Nothing was submitted"
                )


def _too_large(name: str, column: str, size: str) -> TableError:
    return TableError(
        f"{name}: a cell of the column {column!r} has {size}; allowed: {_mib(MAX_CELL)}. Nothing was submitted"
    )


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"


def _text_columns(metadata: Any) -> list[str]:
    columns = (metadata.schema.column(index) for index in range(metadata.num_columns))
    return [one.path for one in columns if one.physical_type == "BYTE_ARRAY" and one.logical_type.type != "DECIMAL"]


def _rows_at_once(group: Any) -> int:
    row = group.total_byte_size // max(1, group.num_rows)
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, row))))


def _records(batch: Any, names: list[str], name: str) -> Iterator[dict[str, Any]]:
    for column, cells in zip(names, batch.columns, strict=True):
        if (size := _largest(cells)) > MAX_CELL:
            raise _too_large(name, column, _mib(size))
    for row in range(batch.num_rows):
        yield {column: _value(cells[row]) for column, cells in zip(names, batch.columns, strict=True)}


def _largest(cells: Any) -> int:
    """Return the size of the largest cell of text, or an upper bound for the largest list."""
    from pyarrow import compute, types

    kind = cells.type
    if types.is_dictionary(kind):
        return _largest(cells.dictionary)
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        return _most(compute.binary_length(cells))
    if types.is_struct(kind):
        return max((_largest(cells.field(index)) for index in range(kind.num_fields)), default=0)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        longest = _most(compute.subtract(cells.offsets[1:], cells.offsets[:-1]))
        inside = (cells.keys, cells.items) if types.is_map(kind) else (cells.values,)
        return longest * max(8, *map(_largest, inside))
    return 0


def _most(numbers: Any) -> int:
    from pyarrow import compute

    return int(compute.max(numbers).as_py() or 0)


def _value(cell: Any) -> Any:
    """Return a cell as a Python value, or as text if Python has no type for it."""
    from pyarrow import types

    if getattr(cell.type, "unit", None) == "ns" and (cell.value or 0) % 1000:
        # This gives the same result with and without pandas, which pyarrow would otherwise use.
        return _text(cell)
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError, LookupError):
        pass
    if types.is_map(cell.type):
        return [[_value(pair["key"]), _value(pair["value"])] for pair in cell.values]
    if types.is_struct(cell.type):
        return {key: _value(value) for key, value in cell.items()}
    if types.is_nested(cell.type):
        return [_value(value) for value in cell.values]
    return _text(cell)


def _text(cell: Any) -> str | float:
    import pyarrow

    if pyarrow.types.is_duration(cell.type):
        return float(cell.value / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[cell.type.unit])
    try:
        text = cell.cast(pyarrow.string()).as_py()
    except pyarrow.ArrowInvalid:
        # The time zone is not known here, but the instant is, so it is written in UTC.
        text = cell.cast(pyarrow.timestamp(cell.type.unit, "UTC")).cast(pyarrow.string()).as_py()
    if text.startswith("<"):
        # The text would be "<value out of range: ...>": no date exists that far away.
        return str(cell.value)
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace(" ", "T", 1).replace("Z", "+00:00"))
