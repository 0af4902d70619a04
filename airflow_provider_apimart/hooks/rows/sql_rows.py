"""Reads the rows of a query, a few at a time, from any database that Airflow connects to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.generation.tables.rows import Header, Record
from airflow_provider_apimart.generation.tables.text_files import check_header

#: How many rows are fetched from a database at once.
FETCH_ROWS = 500


def rows_of_query(
    take: Callable[[Iterator[Record]], None],
    conn_id: str,
    sql: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None,
    name: str,
) -> None:
    """Let ``take`` read the rows of a query, while the database's own cursor is open.

    :param name: the query's name in messages.
    :raises ConfigurationError: if a connection or a package cannot be used, or the query is not one that returns rows.
    """

    def collect(cursor: Any) -> list[Any]:
        """Read while the hook's own connection is open, so that only a few rows are in memory as cells."""
        if cursor.description is None:
            raise ConfigurationError(f"{name} returns no rows: a SELECT is needed")
        header = [str(column[0]) for column in cursor.description]
        check_header(header, name)
        take(chain([Header(tuple(header))], _fetched(cursor, header)))
        # The hook wants a result from its handler, but nothing here uses it.
        return []

    run: Callable[..., Any] = sql_hook(conn_id).run
    run(sql, parameters=parameters, handler=collect)


def sql_hook(conn_id: str) -> Any:
    """Return the hook of a database.

    :raises ConfigurationError: if a connection or a package cannot be used.
    """
    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError as error:
        raise ConfigurationError(
            "a table from SQL needs the common-sql provider: pip install 'airflow-provider-apimart[sql]'"
        ) from error
    try:
        hook = BaseHook.get_hook(conn_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"sql_conn_id={conn_id!r}: there is no such Airflow connection; make it, or name one that there is"
        ) from None
    if not isinstance(hook, DbApiHook):
        raise ConfigurationError(f"sql_conn_id={conn_id!r}: {type(hook).__name__} is no database hook of common-sql")
    return hook


def _fetched(cursor: Any, header: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    while found := cursor.fetchmany(FETCH_ROWS):
        for cells in found:
            yield dict(zip(header, cells, strict=True))
