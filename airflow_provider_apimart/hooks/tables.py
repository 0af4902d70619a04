"""Reads prompt tables from files in any object storage, and from any database that Airflow connects to.

Files are streamed: memory never holds a whole file, only the rows read from it.
:mod:`~airflow_provider_apimart.generation.tables.rows` defines what a row is, and finds what is wrong with it.

Parquet needs pyarrow (``[parquet]``). SQL needs the common-sql provider, which comes with Airflow (``[sql]``), and the
database's own provider.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_apimart._compat import AirflowFailException, conf
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.generation.tables.rows import (
    Columns,
    EmptyTableError,
    Record,
    Row,
    TableError,
    stream_rows,
)
from airflow_provider_apimart.hooks.rows.sql_rows import rows_of_query
from airflow_provider_apimart.hooks.rows.table_files import TableFormat, file_records, found
from airflow_provider_apimart.hooks.rows.verbatim import verbatim
from airflow_provider_apimart.hooks.storage.paths import shown_path

log = logging.getLogger(__name__)

#: Airflow's own default, used if its configuration has no value.
MAX_MAP_LENGTH = 1024


def read_table(
    path: str | ObjectStoragePath | None = None,
    *,
    sql: str | None = None,
    sql_conn_id: str | None = None,
    sql_parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    format: TableFormat | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    columns: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    skip_if: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Read a prompt table and check every row of it. Pays for nothing and sends APIMart nothing.

    The operators never render the rows' texts as templates, even if the table was read in the DAG file.

    :param path: a CSV, JSONL or Parquet file, local or in any object storage (``s3://conn@bucket/prompts.csv``). It may
        be compressed (``.gz``).
    :param sql: a query instead of ``path``. Its columns are the table's columns.
    :param sql_conn_id: the connection of the database that runs the query; any connection with a common-sql hook.
    :param sql_parameters: the values for the query's placeholders, in the database's own style.
    :param format: the file's format. The default is taken from the file name.
    :param delimiter: the delimiter of a CSV file. The default is the one that its first line names (``sep=;``), else
        ``,``.
    :param quoting: how to read quotes in a CSV file. ``False``: they are characters of the text, as in most TSV files.
        ``True``: they enclose values. ``None``: they enclose values, and a value that looks as if a stray quote had
        merged rows is refused.
    :param columns: maps a column to a parameter (``{"text": "prompt"}``). Columns that are not parameters become
        labels. Mapping a column to a name that is not a parameter renames the label.
    :param defaults: parameters for the rows that do not set them.
    :param skip_if: which rows to leave out. Maps a column to a value, or a list of values. A row is left out as soon as
        one column matches. ``None`` matches an empty cell (``{"Title": None, "Status": ["draft", "archived"]}``).
    :raises TableError: with every problem of every row, or :class:`EmptyTableError` for a table without rows.
    :raises ConfigurationError: if a package, a connection or an argument is missing.
    :raises StorageReadError: if the storage cannot be reached this time.
    """
    rows: list[Row] = []
    stream_table(
        lambda found: rows.extend(map(_verbatim_row, found)),
        path,
        sql=sql,
        sql_conn_id=sql_conn_id,
        sql_parameters=sql_parameters,
        format=format,
        delimiter=delimiter,
        quoting=quoting,
        columns=columns,
        defaults=defaults,
        skip_if=skip_if,
    )
    return rows


def _verbatim_row(row: Row) -> Row:
    texts = row.request.model_dump(exclude_unset=True)
    return replace(row, request=row.request.model_copy(update=verbatim(texts)), labels=verbatim(dict(row.labels)))


def stream_table(
    take: Callable[[Iterator[Row]], object],
    path: str | ObjectStoragePath | None = None,
    *,
    sql: str | None = None,
    sql_conn_id: str | None = None,
    sql_parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    format: TableFormat | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    columns: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    skip_if: Mapping[str, Any] | None = None,
    share_identical: bool = False,
    prefix: str = "",
    tells_lineage: bool = False,
) -> None:
    """Read a prompt table without holding all of it in memory. The other parameters are those of :func:`read_table`.

    :param take: called once with the rows, while the file or the query is open. It must not act on a row before this
        function has returned, because a later row may be wrong.
    :param share_identical: identical rows are paid for only once, so do not warn about them.
    :param prefix: what precedes ``format``, ``delimiter`` and ``quoting`` in the names that the user knows.
    :param tells_lineage: the caller tells Airflow by itself what it has read.
    """
    known = Columns(dict(columns or {}))
    options: dict[str, Any] = {"columns": known, "defaults": defaults, "skip_if": skip_if}
    tally = _Tally()
    if path is not None and sql is None and sql_conn_id is None:
        name = shown_path(path)
        with file_records(found(path, name), name, format, delimiter, quoting, prefix, tells_lineage) as records:
            take(tally.of(stream_rows(records, **options, name=name)))
    elif path is None and sql is not None and sql_conn_id is not None:
        name = f"the query to {sql_conn_id!r}"

        def collect(records: Iterator[Record]) -> None:
            take(tally.of(stream_rows(records, **options, name=name)))

        rows_of_query(collect, sql_conn_id, sql, sql_parameters, name)
    else:
        raise ConfigurationError("a prompt table needs either path, or sql and sql_conn_id")
    _tell(name, tally, known, share_identical=share_identical)


def rows_as_kwargs(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows for ``VeoGenerateOperator.partial(...).expand_kwargs(...)``: the parameters and labels of each row.

    The operators never render the rows' texts as templates, even if the table was read in the DAG file.

    :param rows: those of :func:`read_table`.
    :raises TableError: if there are more rows than Airflow maps over.
    """
    kwargs = [
        verbatim(
            {
                **row.request.model_dump(mode="json", exclude_unset=True, exclude_none=True),
                **({"labels": dict(row.labels)} if row.labels else {}),
            }
        )
        for row in rows
    ]
    limit = conf.getint("core", "max_map_length", fallback=MAX_MAP_LENGTH)
    if len(kwargs) > limit:
        raise TableError(
            f"the table has {len(kwargs):,} rows, and Airflow maps over {limit:,} at most ([core] max_map_length). "
            "Nothing was submitted. Read it in parts, one DAG run or one mapped task each"
        )
    return kwargs


def prompt_rows(
    path: str | None = None,
    *,
    sql: str | None = None,
    sql_conn_id: str | None = None,
    sql_parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    format: TableFormat | None = None,
    delimiter: str | None = None,
    quoting: bool | None = None,
    columns: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    skip_if: Mapping[str, Any] | None = None,
    allow_empty: bool = False,
) -> list[dict[str, Any]]:
    """Read a table for ``expand_kwargs``. Run it as a task: ``task(prompt_rows)("s3://conn@bucket/{{ ds }}.csv")``.

    The parameters are those of :func:`read_table`. A table that can never work fails the task without a retry.

    :param allow_empty: accept a table without rows. It gives no rows, and Airflow skips the task mapped over them.
    """
    try:
        return rows_as_kwargs(
            read_table(
                path,
                sql=sql,
                sql_conn_id=sql_conn_id,
                sql_parameters=sql_parameters,
                format=format,
                delimiter=delimiter,
                quoting=quoting,
                columns=columns,
                defaults=defaults,
                skip_if=skip_if,
            )
        )
    except EmptyTableError as error:
        if allow_empty:
            log.info("%s.", error)
            return []
        raise AirflowFailException(str(error)) from error
    except (TableError, ConfigurationError) as error:
        raise AirflowFailException(str(error)) from error


@dataclass
class _Tally:
    """What is logged about a table's rows once all of them have been read.

    :param repeats: the numbers of the rows whose request is identical to that of an earlier row.
    """

    rows: int = 0
    repeats: list[int] = field(default_factory=list)

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows unchanged, and count them."""
        for row in rows:
            self.rows += 1
            if row.repeats:
                self.repeats.append(row.number)
            yield row


def _tell(name: str, tally: _Tally, columns: Columns, *, share_identical: bool) -> None:
    log.info("%s: %s rows, all of them checked.", name, f"{tally.rows:,}")
    for column, parameter in columns.slips.items():
        log.warning(
            "%s: the column %r is no parameter and travels as a label. Did you mean %r? Then say so: columns={%r: %r}.",
            name,
            column,
            parameter,
            column,
            parameter,
        )
    if (same := tally.repeats) and not share_identical:
        shown = ", ".join(map(str, same[:20])) + (", ..." if len(same) > 20 else "")
        log.warning(
            "%s: %s rows ask for the same as an earlier one, and each is a video of its own to pay for: rows %s.",
            name,
            f"{len(same):,}",
            shown,
        )
