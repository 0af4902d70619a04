"""A prompt table: records become checked requests, or one error that lists every problem in all of them.

Pure. A record is a mapping of columns to cells, from wherever it was read. ``columns.py`` decides which column is which
parameter. Any other column is kept as a label.

* Every row is checked before one is paid: a table with one bad row yields no row at all.
* An empty cell (``None``, blank text, NaN, a null word) means "not set".
* A problem of the table as a whole is reported once, not row by row.
* A row's key depends on its request and not on its position. So rows may be inserted, removed and reordered, and
  nothing is paid for twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from airflow_provider_apimart.client.errors import ApimartError, Charge, FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.purchase.identity import fingerprint
from airflow_provider_apimart.generation.tables.cells import BadCell, is_empty, label, matches, parameter, plain
from airflow_provider_apimart.generation.tables.columns import Columns, Header, clean_name, listed, parameter_of

__all__ = [
    "BadRecord",
    "Columns",
    "EmptyTableError",
    "Header",
    "Row",
    "RowProblem",
    "SkipIf",
    "TableError",
    "read_rows",
    "stream_rows",
    "table_error",
]

#: How many groups of problems an error's text lists; the error itself holds all of them.
MAX_SHOWN = 1000


@dataclass(frozen=True)
class Row:
    """One row of a table, ready to be paid for.

    :param number: 1-based, in the order of the table; a header is not counted.
    :param labels: the columns that are not parameters, as plain JSON.
    :param key: identifies the row for payment: the fingerprint of the request, and which of several identical rows it
        is.
    """

    number: int
    request: VeoRequest
    labels: Mapping[str, Any]
    key: str

    @property
    def repeats(self) -> bool:
        """Whether an earlier row of the table has the same request."""
        return not self.key.endswith("-1")


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be read at all, and why."""

    value: Any
    allowed: str


#: What reading a table yields: records, after a header if all records have the same columns.
Record = Mapping[str, Any] | BadRecord | Header


@dataclass(frozen=True)
class RowProblem:
    """One wrong cell: the row's number, the column as the table names it, the value and what is allowed."""

    row: int
    problem: FieldProblem

    def __str__(self) -> str:
        return f"row {self.row}: {self.problem}"


class TableError(ApimartError, ValueError):
    """A table that cannot be used as it is. Holds all problems of all its rows; nothing was submitted."""

    terminal = True
    charge = Charge.NO

    def __init__(self, message: str, problems: tuple[RowProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message, self.problems), self.__dict__)


class EmptyTableError(TableError):
    """A table without rows."""


@dataclass
class SkipIf:
    """Which rows of a table are to be skipped.

    :param conditions: maps a column to the value, or list of values, for which a row is skipped; ``None`` stands for an
        empty cell. One condition that holds is enough.
    """

    conditions: Mapping[str, Any]

    def skips(self, record: Mapping[str, Any], columns: Columns) -> bool:
        """Say whether a record is to be left out."""
        for column, cell in record.items():
            for name in (clean_name(column), columns.of(str(column))[0]):
                wanted = self.conditions.get(name, ())
                values = wanted if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
                if any(matches(cell, value) for value in values):
                    return True
        return False

    def not_there(self, columns: Columns) -> str | None:
        """Return which columns the conditions name but the table does not have, if any."""
        there = {name for column in columns.seen for name in (clean_name(column), columns.of(column)[0])}
        missing = [name for name in self.conditions if name not in there]
        return (
            f"skip_if: no column {' or '.join(map(repr, missing))}; it has {listed(columns.seen)}" if missing else None
        )


def read_rows(
    records: Iterable[Record],
    *,
    columns: Columns | None = None,
    defaults: Mapping[str, Any] | None = None,
    skip_if: Mapping[str, Any] | None = None,
    name: str = "the table",
) -> list[Row]:
    """Return the rows of a table, all of them checked.

    :param defaults: parameters for rows that do not set them.
    :param skip_if: the rows to leave out: see :class:`SkipIf`.
    :param name: the table's name in errors.
    :raises TableError: with all problems of all rows; :class:`EmptyTableError` if the table has no row.
    """
    return list(stream_rows(records, columns=columns, defaults=defaults, skip_if=skip_if, name=name))


def stream_rows(
    records: Iterable[Record],
    *,
    columns: Columns | None = None,
    defaults: Mapping[str, Any] | None = None,
    skip_if: Mapping[str, Any] | None = None,
    name: str = "the table",
) -> Iterator[Row]:
    """Yield the rows of a table as :func:`read_rows` returns them, one at a time.

    The rest of the table may be wrong, so do nothing for a row until the last one has come without an error.

    :raises TableError: after the last row, with all problems of all rows.
    """
    columns, defaults, conditions = columns or Columns(), dict(defaults or {}), skip_if or {}
    skip = SkipIf(conditions)
    if not _is_mapping(conditions):
        allowed = "allowed: a dict of columns and the values that leave a row out"
        raise TableError(f"skip_if={skip_if!r}: {allowed}. Nothing was submitted")
    if unknown := [key for key in defaults if key not in VeoRequest.FIELDS]:
        raise TableError(f"defaults: no such parameter: {', '.join(map(repr, unknown))}. Nothing was submitted")
    problems: list[RowProblem] = []
    ordinals: Counter[str] = Counter()
    count, skipped = 0, 0
    header, headers = None, set[tuple[str, ...]]()
    for record in records:
        if isinstance(record, Header):
            header = record
            continue
        if header is not None and not isinstance(record, BadRecord) and _is_header(record, columns):
            if _folded(_names_in(record)) == _folded(record):
                # In joined files the header appears again; it is not a row.
                continue
            record = BadRecord(list(record.values()), "this is another header; join files of the same columns only")
        count += 1
        if count == 1 and header is not None:
            headers.add(header.names)
            _refuse(name, columns.refusal(header.names), columns.not_there(header, defaults), skip.not_there(columns))
        if isinstance(record, BadRecord):
            problems.append(RowProblem(count, FieldProblem("record", record.value, record.allowed)))
            continue
        names = tuple(map(str, record))
        if names not in headers:
            headers.add(names)
            _refuse(name, columns.refusal(names))
        if skip.conditions and skip.skips(record, columns):
            skipped += 1
            continue
        request, labels, wrong = _check(record, columns, defaults)
        if request is None:
            problems += [RowProblem(count, problem) for problem in wrong]
        elif not problems:
            mark = fingerprint(request.body())[:32]
            ordinals[mark] += 1
            yield Row(count, request, labels, f"{mark}-{ordinals[mark]}")
    if header is None and columns.seen:
        _refuse(name, None, columns.not_there(None, defaults), skip.not_there(columns))
    if problems:
        raise table_error(name, count, problems)
    if count == skipped:
        why = f": skip_if leaves out all {count:,} of them" if count else ""
        raise EmptyTableError(f"{name} has no rows{why}. Nothing was submitted")


def _is_mapping(value: object) -> bool:
    # A value from a template or a DAG file may not match the annotation.
    return isinstance(value, Mapping)


def _is_header(record: Mapping[str, Any], columns: Columns) -> bool:
    """Say whether a row is itself a header: it holds its columns' names, or the prompt column's name as its prompt."""
    names = _names_in(record)
    return set(_folded(names)) == set(_folded(record)) or any(
        columns.of(column) == ("prompt", True) and (name == column or parameter_of(name) == "prompt")
        for name, column in zip(names, record, strict=True)
    )


def _folded(names: Iterable[str]) -> list[str]:
    # Exports differ in case: "Prompt" in one is "prompt" in another.
    return [name.casefold() for name in names]


def _names_in(record: Mapping[str, Any]) -> list[str]:
    # Column names are short. A longer cell is a prompt.
    return [clean_name(cell).strip() if isinstance(cell, str) and len(cell) < 200 else "" for cell in record.values()]


def _refuse(name: str, wrong: str | None, lacks: str | None = None, not_skipped: str | None = None) -> None:
    """Raise the error about the table as a whole, if anything is wrong.

    :param lacks: the rest of a sentence that begins with the table's name; the others are sentences.
    """
    told = [f"{name} {lacks}"] if lacks else []
    for sentence in (wrong, not_skipped):
        if sentence:
            told.append(sentence if told else f"{name}: {sentence}")
    if told:
        raise TableError(f"{'; '.join(told)}. Nothing was submitted")


def table_error(name: str, count: int, problems: list[RowProblem]) -> TableError:
    """Return the error that lists all problems of a table of ``count`` rows."""
    return TableError(_text(name, count, problems), tuple(problems))


def _check(
    record: Mapping[str, Any], columns: Columns, defaults: Mapping[str, Any]
) -> tuple[VeoRequest | None, dict[str, Any], list[FieldProblem]]:
    values, labels = dict(defaults), dict[str, Any]()
    names: dict[str, str] = {}
    nulls: dict[str, str] = {}
    problems: list[FieldProblem] = []
    for column, cell in record.items():
        name, known = columns.of(str(column))
        if not known:
            labels[name] = label(cell)
            continue
        cell = plain(cell)
        names[name] = str(column)
        if is_empty(cell):
            if isinstance(cell, str):
                nulls[name] = cell
            continue
        try:
            values[name] = parameter(name, cell)
        except BadCell as error:
            problems.append(FieldProblem(str(column), cell, str(error)))
            values.pop(name, None)
    if not problems:
        try:
            return VeoRequest.model_validate(values), labels, []
        except ValidationError:
            pass
    bad = {name for name, column in names.items() if any(problem.field == column for problem in problems)}
    for problem in VeoRequest.problems(values, unknown=bad):
        head, dot, rest = problem.field.partition(".")
        value, allowed = problem.value, problem.allowed
        if value is None and nulls.get(head, "").strip():
            value, allowed = nulls[head], f"{allowed}, and this says that there is none"
        problems.append(FieldProblem(f"{names.get(head, head)}{dot}{rest}", value, allowed))
    return None, labels, problems


def _text(name: str, count: int, problems: list[RowProblem]) -> str:
    """Return all problems as text: the same mistake in many rows is listed once, with all of their numbers."""
    groups: dict[str, list[int]] = {}
    for problem in problems:
        groups.setdefault(str(problem.problem), []).append(problem.row)
    bad = len({problem.row for problem in problems})
    lines = [f"{_numbers(rows)}: {text}" for text, rows in list(groups.items())[:MAX_SHOWN]]
    left = sorted({row for rows in list(groups.values())[MAX_SHOWN:] for row in rows})
    if left:
        lines.append(f"{_numbers(left)}: {len(groups) - MAX_SHOWN} further problems")
    verb = "has a wrong value" if bad == 1 else "have wrong values"
    return (
        f"{name}: {bad:,} of {count:,} rows {verb} (rows count from 1, without a header). Nothing was submitted and "
        "nothing paid. Correct them:\n  " + "\n  ".join(lines)
    )


def _numbers(rows: list[int]) -> str:
    spans = [f"{first}" if first == last else f"{first}-{last}" for first, last in _spans(rows)]
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(spans)}"


def _spans(rows: list[int]) -> Iterator[tuple[int, int]]:
    start = previous = rows[0]
    for row in rows[1:]:
        if row > previous + 1:
            yield start, previous
            start = row
        previous = row
    yield start, previous
