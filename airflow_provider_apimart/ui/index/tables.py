"""The index's tables, and how they come to be.

``apimart_generation`` has a row for each generation, ``apimart_day`` the sums of each day, Dag and outcome,
``apimart_batch`` the manifests to be read, ``apimart_index`` how far the reading has come. Times are milliseconds since
1970 (UTC) and money is millionths of a dollar: whole numbers, so that sums are exact and an index orders them.

Each list of the gallery is one walk along one of the indexes below, in the order of the list.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.models.base import StringID
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, inspect
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

#: The version of these tables. Derived data is not migrated: tables of another version are dropped and filled again.
VERSION = 1

metadata = MetaData()
_LongText = Text().with_variant(MEDIUMTEXT, "mysql")

generations = Table(
    "apimart_generation",
    metadata,
    # A hash of the task instance, the row and the generation.
    Column("id", String(32), primary_key=True),
    Column("dag_id", StringID(), nullable=False),
    Column("run_id", StringID(), nullable=False),
    Column("task_id", StringID(), nullable=False),
    Column("map_index", Integer, nullable=False),
    # The row of a batch.
    Column("row_name", String(250)),
    Column("outcome", String(16), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("videos", Integer, nullable=False),
    # When its source was written: what is older changes nothing.
    Column("told_at", BigInteger, nullable=False),
    # What a search looks at, in lower case.
    Column("words", _LongText, nullable=False),
    # The rest, as JSON.
    Column("body", _LongText, nullable=False),
    Index("apimart_generation_at", "at", "id"),
    Index("apimart_generation_cost", "cost", "id"),
    Index("apimart_generation_outcome_at", "outcome", "at", "id"),
    Index("apimart_generation_dag_at", "dag_id", "at", "id"),
    Index("apimart_generation_dag_cost", "dag_id", "cost", "id"),
    Index("apimart_generation_dag_outcome_at", "dag_id", "outcome", "at", "id"),
    Index("apimart_generation_run_at", "dag_id", "run_id", "at", "id"),
)

days = Table(
    "apimart_day",
    metadata,
    # Days since 1970.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("dag_id", StringID(), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("generations", Integer, nullable=False),
    Column("videos", Integer, nullable=False),
    Column("cost", BigInteger, nullable=False),
)

batches = Table(
    "apimart_batch",
    metadata,
    # A hash of the task instance.
    Column("id", String(32), primary_key=True),
    Column("dag_id", StringID(), nullable=False),
    Column("run_id", StringID(), nullable=False),
    Column("task_id", StringID(), nullable=False),
    Column("map_index", Integer, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("told_at", BigInteger, nullable=False),
    # Lines that are in the index; how many there are once all are.
    Column("read_lines", Integer, nullable=False),
    # 0: to be read, 1: read, 2: cannot be read.
    Column("state", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Index("apimart_batch_state", "state", "told_at"),
)

state = Table(
    "apimart_index",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("value", Text, nullable=False),
)


class IndexUnavailableError(Exception):
    """The tables cannot be made or used. The text is for the gallery."""


def airflow_engine() -> Engine:
    """Return the engine of Airflow's own database."""
    from airflow import settings

    if settings.engine is None:
        raise IndexUnavailableError("Airflow has no database here.")
    return settings.engine


def ready(engine: Engine) -> bool:
    """Return whether the tables are there, in this version, and may be read."""
    try:
        with engine.connect() as connection:
            return _version(connection) == VERSION
    except DBAPIError as error:
        log.debug("The gallery's tables cannot be read: %s", type(error.orig).__name__)
        return False


def make_ready(engine: Engine) -> None:
    """Make the tables if they are not there, or are of another version. Several processes may do this at once.

    :raises IndexUnavailableError: if the database user may not.
    """
    try:
        for last in (False, True):
            try:
                with engine.begin() as connection:
                    _make(connection)
                return
            except DBAPIError:
                # Another process has made them in between, or this one may not.
                if last:
                    raise
    except DBAPIError as error:
        log.warning("The gallery's tables cannot be made: %s", type(error.orig).__name__)
        raise IndexUnavailableError(
            "The gallery keeps an index in Airflow's own database, and the user of that database may not make or use "
            "its tables (apimart_generation, apimart_day, apimart_batch, apimart_index). Run `airflow-provider-apimart "
            "index` once as a user who may make them, and let this one read and write them; the tabs of tasks work "
            "without it."
        ) from error


def make_anew(engine: Engine) -> None:
    """Drop the tables, and make them empty.

    :raises IndexUnavailableError: if the database user may not.
    """
    try:
        with engine.begin() as connection:
            metadata.drop_all(connection)
    except DBAPIError as error:
        raise IndexUnavailableError(f"The gallery's tables cannot be dropped ({type(error.orig).__name__}).") from error
    make_ready(engine)


def _make(connection: Connection) -> None:
    found = _version(connection)
    if found == VERSION:
        return
    if found is not None and found > VERSION:
        # API servers are being upgraded, one by one. The older ones must not drop what the newer ones have made.
        raise IndexUnavailableError("The gallery's index was made by a newer version of the provider than this one.")
    if found is not None:
        metadata.drop_all(connection)
    metadata.create_all(connection)
    connection.execute(state.delete())
    connection.execute(state.insert(), [_row("version", VERSION), _row("writer", 0)])


def _row(name: str, value: Any) -> dict[str, str]:
    return {"name": name, "value": str(value)}


def _version(connection: Connection) -> int | None:
    """Return the version of the tables that are there, 0 for unfinished ones, or ``None`` if there are none."""
    if not inspect(connection).has_table(state.name):
        return None
    value = connection.scalar(state.select().with_only_columns(state.c.value).where(state.c.name == "version"))
    try:
        return int(value or 0)
    except ValueError:
        return 0
