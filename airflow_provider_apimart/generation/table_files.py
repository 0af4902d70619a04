"""The text of a table file as records: CSV and JSON lines, one record at a time, so that a large file is never held.

What cannot be read is a :class:`~airflow_provider_apimart.generation.table.BadRecord` in its row's place, so that it is
told together with everything else that is wrong in the table. Nothing is guessed: a row with more cells than the header
is most often a prompt with a comma and no quotes, which would be paid for with half its words.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_apimart.generation.table import BadRecord, EmptyTableError, TableError

#: The csv module's own limit of 131,072 characters is lower than what a quoted JSON cell may hold.
MAX_CELL = 4 * 1024 * 1024

Record = Mapping[str, Any] | BadRecord


def csv_records(lines: Iterable[str], *, delimiter: str = ",", name: str = "the table") -> Iterator[Record]:
    """Yield the records of a CSV file with a header.

    :raises TableError: for a header that names no columns, or one twice.
    """
    before = csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = _header(reader, name)
        yield from _csv_rows(reader, header)
    finally:
        csv.field_size_limit(before)


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next((row for row in reader if row), None)
    except csv.Error as error:
        raise TableError(f"{name}: the header cannot be read: {error}. Nothing was submitted") from None
    if header is None:
        raise EmptyTableError(f"{name} is empty: not even a header. Nothing was submitted")
    header = [column.strip() for column in header]
    while header and not header[-1]:
        # A comma at the end of every line names no column.
        header.pop()
    check_header(header, name)
    return header


def check_header(header: Iterable[str], name: str) -> None:
    """Refuse columns without a name, or two with the same.

    :raises TableError: saying which.
    """
    counts = Counter(header)
    if not counts or "" in counts:
        raise TableError(f"{name}: its header has columns without a name. Nothing was submitted")
    if twice := [column for column, count in counts.items() if count > 1]:
        raise TableError(f"{name} has several columns named {', '.join(map(repr, twice))}. Nothing was submitted")


def _csv_rows(reader: Iterator[list[str]], header: list[str]) -> Iterator[Record]:
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadRecord("...", f"this is no CSV from here on ({error}); what follows was not looked at")
            return
        if cells is None:
            return
        if not cells:
            continue
        if any(cells[len(header) :]):
            yield BadRecord(
                cells,
                f"allowed: {len(header)} cells, as in the header; here are {len(cells)} (a value with the delimiter in "
                "it needs quotes)",
            )
        else:
            yield {column: cells[i] if i < len(cells) else None for i, column in enumerate(header)}


def jsonl_records(lines: Iterable[str]) -> Iterator[Record]:
    """Yield the records of a file with one JSON object a line."""
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield BadRecord(line.strip(), f"allowed: one JSON object a line ({error})")
            continue
        if isinstance(record, dict):
            yield record
        else:
            yield BadRecord(record, "allowed: one JSON object a line")
