"""Reads the text of a CSV or JSON lines file one record at a time, so that a large file is never held in memory.

A row that cannot be read becomes a :class:`~airflow_provider_apimart.generation.tables.rows.BadRecord` in its place, so
that it is reported together with all other problems of the table. Nothing is guessed if words of a prompt could be
lost. A row with more cells than the header is most often a prompt with a comma and no quotes. A row with fewer cells is
half of a prompt. A value that swallows whole rows began with a quote that was meant as a character.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from airflow_provider_apimart.client.null_words import strip
from airflow_provider_apimart.generation.tables.cells import unique_keys
from airflow_provider_apimart.generation.tables.columns import Header, clean_name
from airflow_provider_apimart.generation.tables.rows import BadRecord, EmptyTableError, Record, TableError

#: The csv module's own limit of 131,072 characters is lower than what a quoted JSON cell may hold.
MAX_CELL = 4 * 1024 * 1024
#: How many lines a value may span if a space precedes its opening quote.
MAX_VALUE_LINES = 50
DELIMITERS = ",;\t|"
#: The first line that tells Excel the delimiter. Excel writes it, too.
_SEP = re.compile(r"\"?sep=([^\r\n\"])\"?[\s,;]*", re.IGNORECASE)


def is_delimiter(value: object) -> bool:
    """Say whether a value can be the delimiter of a CSV file."""
    return isinstance(value, str) and len(value) == 1 and value not in '\r\n"'


def csv_records(
    lines: Iterable[str],
    *,
    delimiter: str | None = None,
    usual: str = ",",
    quoting: bool | None = None,
    name: str = "the table",
    prefix: str = "",
) -> Iterator[Record]:
    """Yield the header and the records of a CSV file.

    :param delimiter: the character between cells. ``None`` means the one in a first line such as ``sep=;``, or else the
        ``usual`` one.
    :param quoting: ``False``: quotes are characters of the text. ``True``: they enclose values. ``None``: they enclose
        values, but a value that looks as if a stray quote had merged rows is refused.
    :param prefix: the prefix of these arguments' names, as the user knows them.
    :raises TableError: for a header that names no columns, or names one twice.
    """
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield from _Csv(_Lines(lines), delimiter, usual, quoting, name, prefix).records()
    finally:
        csv.field_size_limit(before)


class _Lines(Iterator[str]):
    """The lines of a file, counted. The current record's lines can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self._taken: list[str] = []
        self.number = 0

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self._taken.append(line)
        self.number += 1
        return line

    def begin(self) -> None:
        """Begin a record."""
        self._taken = []

    @property
    def taken(self) -> int:
        """How many lines the record has."""
        return len(self._taken)

    @property
    def text(self) -> str:
        """The record's text, exactly as in the file."""
        return "".join(self._taken)

    @property
    def has_escaped_quote(self) -> bool:
        """Whether the record has a quote after a backslash, as Spark writes it."""
        return '\\"' in self.text

    @property
    def is_sep_line(self) -> bool:
        """Whether the record is a line that declares the delimiter."""
        return len(self._taken) == 1 and _SEP.fullmatch(clean_name(self._taken[0])) is not None

    def has_quoted(self, delimiter: str) -> bool:
        """Say whether the record has a value that begins with a quote."""
        return any(line.startswith('"') or f'{delimiter}"' in line for line in self._taken)

    def give_back(self) -> None:
        """Put the record's lines back, so that they can be read in another way."""
        self._back.extendleft(reversed(self._taken))
        self.number -= len(self._taken)
        self._taken = []


class _Csv:
    """One CSV file."""

    def __init__(
        self, lines: _Lines, delimiter: str | None, usual: str, quoting: bool | None, name: str, prefix: str
    ) -> None:
        self.lines, self.quoting, self.name, self.prefix = lines, quoting, name, prefix
        self.said = self._sep_line()
        self.delimiter = delimiter or self.said or usual
        #: Whether a space follows each delimiter, which then belongs to no value.
        self.spaced = False
        #: Whether quotes have enclosed a value.
        self.quoted = False

    def _sep_line(self) -> str | None:
        found = _SEP.fullmatch(next(self.lines, ""))
        if found is None:
            self.lines.give_back()
        return found and found[1]

    def records(self) -> Iterator[Record]:
        """Yield header and records."""
        header = self._header()
        yield Header(tuple(header), self._delimiter_hint(self.delimiter.join(header), len(header)))
        while True:
            start = self.lines.number + 1
            try:
                cells = self._next(len(header))
            except csv.Error as error:
                if (cells := self._plain_line(len(header))) is not None:
                    yield self._record(cells, header, start)
                    continue
                problem = f"this is no CSV from here on ({error}); what follows was not looked at"
                yield BadRecord("...", f"line {start}: {problem}{self._quotes_hint()}")
                return
            if cells is None:
                return
            # Spreadsheets leave rows that hold only delimiters, and old DOS programs leave a 0x1A. Joined files repeat
            # their first line.
            if any(map(strip, cells)) and not (self.said and self.lines.is_sep_line):
                yield self._record(cells, header, start)

    def _record(self, cells: list[str], header: list[str], start: int) -> Record:
        if len(cells) < len(header) or any(cells[len(header) :]):
            why = (
                "a value with the delimiter in it needs quotes"
                if len(cells) > len(header)
                else "a file that was cut off, or a value with a line end in it, which needs quotes"
            )
            allowed = f"line {start}: allowed: {len(header)} cells, as in the header; here are {len(cells)} ({why})"
            # Only a quote can make a record span several lines.
            return BadRecord(cells, allowed + (self._quotes_hint() if self.lines.taken > 1 else ""))
        cells = cells[: len(header)]
        if self.quoting is None and self.lines.taken > 1 and _is_merged(cells, self.delimiter, trusted=self.quoted):
            argument = f"{self.prefix}quoting"
            return BadRecord(
                cells,
                f"line {start}: a quote begins a value here that takes in the rows to line {self.lines.number}. Where "
                f"quotes are characters of the text say {argument}=False; where the value does have these lines, "
                f"{argument}=True",
            )
        self.quoted = self.quoted or self.lines.has_quoted(self.delimiter)
        return dict(zip(header, cells, strict=True))

    def _header(self) -> list[str]:
        try:
            while (header := self._read(self.spaced)) is not None and not any(map(strip, header)):
                pass
        except csv.Error as error:
            hint = (
                self._delimiter_hint(self.lines.text, self.lines.text.count(self.delimiter) + 1) or self._quotes_hint()
            )
            raise TableError(f"{self.name}: the header cannot be read: {error}{hint}. Nothing was submitted") from None
        if header is None:
            raise EmptyTableError(f"{self.name} is empty: not even a header. Nothing was submitted")
        if self.quoting is not False and len(header) > 1 and all(name.startswith(" ") for name in header[1:]):
            self.spaced = True
            self.lines.give_back()
            header = self._read(self.spaced) or []
        header = [clean_name(column).strip() for column in header]
        while header and not header[-1]:
            # A comma at the end of every line makes an extra column without a name.
            header.pop()
        check_header(header, self.name)
        return header

    def _next(self, width: int) -> list[str] | None:
        cells = self._read(self.spaced)
        if self.spaced or self.quoting is False or not cells:
            return cells
        if any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for cell in cells):
            # A quote after a space still encloses the value, if the record is a complete row that way.
            self.lines.give_back()
            try:
                again = self._read(True, self.lines.number + MAX_VALUE_LINES)
            except csv.Error:
                again = None
            if again is not None and len(again) == width:
                return again
            self.lines.give_back()
            return self._read(False)
        return cells

    def _plain_line(self, width: int) -> list[str] | None:
        """Split a line whose quotes enclose no value. Most TSV files have no other quotes."""
        if self.delimiter != "\t" or self.quoting is not None:
            return None
        self.lines.give_back()
        self.lines.begin()
        cells = next(self.lines).rstrip("\r\n").split("\t")
        return cells if len(cells) == width else None

    def _read(self, spaced: bool, to_line: int | None = None) -> list[str] | None:
        self.lines.begin()
        lines = self.lines if to_line is None else islice(self.lines, to_line - self.lines.number)
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_NONE if self.quoting is False else csv.QUOTE_MINIMAL,
            skipinitialspace=spaced,
            strict=True,
        )
        return next(reader, None)

    def _quotes_hint(self) -> str:
        if self.quoting is False:
            return ""
        if self.lines.has_escaped_quote:
            return (
                '. Is a quote in a value written \\"? Then write it twice (""), as Spark does with '
                ".option('escape', '\"')"
            )
        return f". Where quotes are characters of the text say {self.prefix}quoting=False"

    def _delimiter_hint(self, header: str, cells: int) -> str:
        other = max((mark for mark in DELIMITERS if mark != self.delimiter), key=header.count)
        if header.count(other) < cells:
            return ""
        return f". Is the delimiter {other!r}? Then say {self.prefix}delimiter={other!r}"


def _is_merged(cells: list[str], delimiter: str, *, trusted: bool) -> bool:
    """Say whether a value looks like the rest of one row, then whole rows, then the beginning of another.

    A writer that uses quotes doubles those inside a value, so a value that holds a quote was quoted on purpose. In
    prose, a space follows a comma. And the other cells of merged rows would resemble the cells of this row.

    :param trusted: quotes have enclosed values in this file before. Then the value must hold a whole row, or the two
        half rows must have numbers in at least two of the places where this row has them.
    """
    tight = re.compile(f"{re.escape(delimiter)}(?=\\S)")
    for place, cell in enumerate(cells):
        lines = re.split(r"\r\n|\r|\n", cell)
        if len(lines) == 1 or '"' in cell:
            continue
        if delimiter == "\t" and "\t" in cell:
            return True
        if len(cells) == 1:
            continue
        before, after = cells[:place], cells[place + 1 :]
        first, *whole, last = (tight.split(line) for line in lines)
        rows = [before + first, *whole, last + after]
        halves = [*zip(first[1:], after, strict=False), *zip(last[:-1], before, strict=False)]
        # A single match may be a decimal comma.
        if trusted and not whole and sum(_kind(one) == _kind(other) == "number" for one, other in halves) < 2:
            continue
        if all(
            len(row) == len(cells) and all(map(_alike, row[:place] + row[place + 1 :], before + after)) for row in rows
        ):
            return True
    return False


def _alike(one: str, other: str) -> bool:
    kinds = {_kind(one), _kind(other)}
    return len(kinds) == 1 or None in kinds


def _kind(cell: str) -> str | None:
    cell = cell.strip()
    if re.fullmatch(r"[-+]?[0-9.]+", cell):
        return "number"
    return ("words" if " " in cell else "word") if cell else None


def check_header(header: Sequence[str], name: str) -> None:
    """Refuse columns without a name, or two with the same.

    :raises TableError: saying which.
    """
    counts = Counter(header)
    if not counts or "" in counts:
        index = "; the first may be pandas' index: write the file with index=False" if header[:1] == [""] else ""
        raise TableError(
            f"{name}: its header has columns without a name; give each a name{index}. Nothing was submitted"
        )
    if twice := [column for column, count in counts.items() if count > 1]:
        raise TableError(f"{name} has several columns named {', '.join(map(repr, twice))}. Nothing was submitted")


def jsonl_records(lines: Iterable[str], *, name: str = "the table") -> Iterator[Record]:
    """Yield the records of a file with one JSON object a line.

    :raises TableError: for JSON that is not a file of this kind.
    """
    first = True
    for line in lines:
        text = strip(line)
        if not text:
            continue
        if first and (text.startswith("[") or text == "{"):
            what, jq = ("array", ".[]") if text[0] == "[" else ("document of several lines", ".")
            raise TableError(
                f"{name} is one JSON {what}; needed is one JSON object a line, as jq -c {jq!r} writes it. "
                "Nothing was submitted"
            )
        first = False
        try:
            record: Any = json.loads(text, object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            yield BadRecord(text, f"allowed: one JSON object a line ({error})")
            continue
        if isinstance(record, dict):
            yield record
        else:
            yield BadRecord(record, "allowed: one JSON object a line")


def what_else(head: bytes, kind: str, prefix: str = "") -> str | None:
    """Return what a file is and what to do, if its first bytes show that it is not a table of its declared kind.

    :param head: its first 4 KB or so, unpacked.
    :param kind: its declared format.
    :param prefix: the prefix of the argument ``format``, as the user knows it.
    """
    if head.startswith(b"PAR1\x15"):
        return None if kind == "parquet" else f"a Parquet file; say {prefix}format='parquet'"
    for magic, text in _MAGICS.items():
        if head.startswith(magic):
            is_excel = magic == _ZIP and (b"xl/" in head or b"[Content_Types].xml" in head)
            return f"an Excel workbook; {_SAVE}" if is_excel else text
    # The header's names are ASCII. In UTF-16, every other byte of such text is a NUL.
    start = head[:64]
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if kind != "parquet" and (even == 0) != (odd == 0) and max(even, odd) > len(start) // 8:
        return "not UTF-8 but UTF-16 without a byte order mark; save it as UTF-8"
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page (that of a login, or of an error?); fetch the table itself"
    if kind in ("csv", "tsv") and re.match(rb"(\[\s*)?\{\s*\"", begin):
        return f"JSON; say {prefix}format='jsonl', which needs one object a line"
    return None


_ZIP = b"PK\x03\x04"
_SAVE = "save the sheet as CSV (UTF-8)"
_REPACK = "unpack it, or compress the table with gzip"
_MAGICS = {
    _ZIP: f"a ZIP archive; {_REPACK}",
    b"\xd0\xcf\x11\xe0": f"an old Excel workbook; {_SAVE}",
    b"\xff\xfe": "not UTF-8 but UTF-16; save it as UTF-8",
    b"\xfe\xff": "not UTF-8 but UTF-16; save it as UTF-8",
    b"BZh9": f"compressed with bzip2; {_REPACK}",
    b"\xfd7zXZ\x00": f"compressed with xz; {_REPACK}",
    b"\x28\xb5\x2f\xfd": f"compressed with Zstandard; {_REPACK}",
    b"Obj\x01": "an Avro file; write it as Parquet, CSV or JSONL",
}
