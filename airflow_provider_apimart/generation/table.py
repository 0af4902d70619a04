"""A prompt table: records become checked requests, or one error that tells everything that is wrong in all of them.

Pure. A record is a mapping of columns to cells, from wherever it was read. Columns that carry a parameter's name are
that parameter (in any case: some databases shout), a mapping renames others, and what is left travels along as labels.

* Every row is checked before one is paid: a table with one bad row gives no row at all.
* An empty cell (``None``, blank text, NaN) means "not set".
* A row's key depends on what is asked for and not on where the row stands: rows may be inserted, removed and reordered
  without anything being paid for twice.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from airflow_provider_apimart.client.errors import ApimartError, Charge, FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.cells import BadCell, is_empty, label, parameter
from airflow_provider_apimart.generation.identity import fingerprint

#: How like a parameter's name another one must be to be taken for a slip of the pen.
LIKENESS = 0.8
#: Groups of problems that an error's text spells out; the error itself holds all of them.
MAX_SHOWN = 1000


@dataclass(frozen=True)
class Row:
    """One row of a table, ready to be paid for.

    :param number: 1-based, in the order of the table; a header is not counted.
    :param labels: the columns that are no parameters, as plain JSON.
    :param key: tells who pays: the fingerprint of the request, and which of several identical rows it is.
    """

    number: int
    request: VeoRequest
    labels: Mapping[str, Any]
    key: str

    @property
    def repeats(self) -> bool:
        """Whether an earlier row of the table asks for the same."""
        return not self.key.endswith("-1")


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be read at all, and why."""

    value: Any
    allowed: str


@dataclass(frozen=True)
class RowProblem:
    """One wrong cell: the row's number, the column as the table names it, the value and what is allowed."""

    row: int
    problem: FieldProblem

    def __str__(self) -> str:
        return f"row {self.row}: {self.problem}"


class TableError(ApimartError, ValueError):
    """A table that cannot be taken as it is. Holds all problems of all its rows; nothing was submitted."""

    terminal = True
    charge = Charge.NO

    def __init__(self, message: str, problems: tuple[RowProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.message, self.problems), self.__dict__)


class EmptyTableError(TableError):
    """A table without a row."""


@dataclass
class Columns:
    """Which column is which parameter.

    :param renamed: column to parameter; or to another name, under which it travels as a label.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, tuple[str, bool]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for column, target in self.renamed.items():
            near = difflib.get_close_matches(str(target), VeoRequest.FIELDS, n=1, cutoff=LIKENESS)
            if target not in VeoRequest.FIELDS and near:
                raise TableError(f"columns={{{column!r}: {target!r}}}: no such parameter; did you mean {near[0]!r}?")

    def of(self, column: str) -> tuple[str, bool]:
        """Return the name of a column's value, and whether it is a parameter."""
        if column not in self._known:
            name = self.renamed.get(column) or column.strip().lower()
            known = name in VeoRequest.FIELDS
            self._known[column] = (name if known else self.renamed.get(column, column), known)
        return self._known[column]

    def refusal(self, names: Iterable[str]) -> str | None:
        """Say what is wrong with a table that has columns of these names, if anything."""
        taken: dict[str, str] = {}
        for column in names:
            name, _ = self.of(column)
            if name in taken:
                return (
                    f"the columns {taken[name]!r} and {column!r} are both {name!r}; give one of them another name: "
                    f'columns={{{column!r}: "a label"}}'
                )
            taken[name] = column
        return None

    @property
    def slips(self) -> dict[str, str]:
        """The labels seen so far whose names look like a parameter's, and which."""
        near = {
            column: difflib.get_close_matches(
                column.strip().lower().replace(" ", "_").replace("-", "_"), VeoRequest.FIELDS, n=1, cutoff=LIKENESS
            )
            for column, (_, known) in self._known.items()
            if not known and column not in self.renamed
        }
        return {column: names[0] for column, names in near.items() if names}

    @property
    def missing(self) -> list[str]:
        """The columns that were to be renamed and never came."""
        return [column for column in self.renamed if column not in self._known]

    @property
    def seen(self) -> list[str]:
        """The columns of the table so far."""
        return list(self._known)


def read_rows(
    records: Iterable[Mapping[str, Any] | BadRecord],
    *,
    columns: Columns | None = None,
    defaults: Mapping[str, Any] | None = None,
    name: str = "the table",
) -> list[Row]:
    """Return the rows of a table, all of them checked.

    :param defaults: parameters for rows that do not set them.
    :param name: what the table is called in an error.
    :raises TableError: with all problems of all rows; :class:`EmptyTableError` where there is no row.
    """
    return list(stream_rows(records, columns=columns, defaults=defaults, name=name))


def stream_rows(
    records: Iterable[Mapping[str, Any] | BadRecord],
    *,
    columns: Columns | None = None,
    defaults: Mapping[str, Any] | None = None,
    name: str = "the table",
) -> Iterator[Row]:
    """Yield the rows of a table as :func:`read_rows` returns them, one at a time.

    The rest of the table may be wrong: nothing may be done for a row before the last one has come without an error.

    :raises TableError: after the last row, with all problems of all rows.
    """
    columns, defaults = columns or Columns(), dict(defaults or {})
    if unknown := [key for key in defaults if key not in VeoRequest.FIELDS]:
        raise TableError(f"defaults: no such parameter: {', '.join(map(repr, unknown))}. Nothing was submitted")
    problems: list[RowProblem] = []
    ordinals: Counter[str] = Counter()
    count, headers = 0, set[tuple[str, ...]]()
    for count, record in enumerate(records, start=1):
        if isinstance(record, BadRecord):
            problems.append(RowProblem(count, FieldProblem("record", record.value, record.allowed)))
            continue
        header = tuple(record)
        if header not in headers:
            headers.add(header)
            if refusal := columns.refusal(header):
                raise TableError(f"{name}: {refusal}. Nothing was submitted")
        request, labels, wrong = _check(record, columns, defaults)
        if request is None:
            problems += [RowProblem(count, problem) for problem in wrong]
        elif not problems:
            mark = fingerprint(request.body())[:32]
            ordinals[mark] += 1
            yield Row(count, request, labels, f"{mark}-{ordinals[mark]}")
    if not count:
        raise EmptyTableError(f"{name} has no rows. Nothing was submitted")
    if missing := columns.missing:
        raise TableError(
            f"{name} has no column {' or '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, columns.seen)) or 'none'}. Nothing was submitted"
        )
    if problems:
        raise table_error(name, count, problems)


def table_error(name: str, count: int, problems: list[RowProblem]) -> TableError:
    """Return the error that tells all problems of a table of ``count`` rows."""
    return TableError(_text(name, count, problems), tuple(problems))


def _check(
    record: Mapping[str, Any], columns: Columns, defaults: Mapping[str, Any]
) -> tuple[VeoRequest | None, dict[str, Any], list[FieldProblem]]:
    values, labels = dict(defaults), dict[str, Any]()
    names: dict[str, str] = {}
    problems: list[FieldProblem] = []
    for column, cell in record.items():
        name, known = columns.of(column)
        if not known:
            labels[name] = label(cell)
        elif not is_empty(cell):
            names[name] = column
            try:
                values[name] = parameter(name, cell)
            except BadCell as error:
                problems.append(FieldProblem(column, cell, str(error)))
                values.pop(name, None)
    if not problems:
        try:
            return VeoRequest.model_validate(values), labels, []
        except ValidationError:
            pass
    bad = {name for name, column in names.items() if any(problem.field == column for problem in problems)}
    for problem in VeoRequest.problems(values, unknown=bad):
        head, dot, rest = problem.field.partition(".")
        shown = f"{names.get(head, head)}{dot}{rest}"
        problems.append(FieldProblem(shown, problem.value, problem.allowed))
    return None, labels, problems


def _text(name: str, count: int, problems: list[RowProblem]) -> str:
    """Return all problems as text: the same mistake in many rows is told once, with all of their numbers."""
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
