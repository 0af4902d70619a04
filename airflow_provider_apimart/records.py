"""What the commands share: the records of generations, wherever they are kept, and the text of an error."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.landing.reconcile import Kept


def kept_records(
    options: argparse.Namespace,
    trouble: Callable[[str], None],
    no_store: Callable[[], None],
    *,
    dag_id: str | None = None,
) -> Iterator[Kept]:
    """Yield the records in Airflow's database and in the given folders, of all places that can be read.

    :param options: ``no_database`` and ``folder``.
    :param trouble: is told of a place that cannot be looked at.
    :param no_store: is called before Airflow 3.3, whose database keeps none.
    :param dag_id: those of this Dag alone.
    """
    from airflow_provider_apimart.hooks.storage.paths import folder_of
    from airflow_provider_apimart.hooks.stores import record_stores

    if not options.no_database:
        try:
            yield from record_stores.records_of_airflow(dag_id)
        except ImportError:
            no_store()
        except Exception as error:
            trouble(f"Airflow's database cannot be looked at: {error_text(error)}")
    for folder in options.folder:
        try:
            for kept in record_stores.records_in_folder(folder_of(folder)):
                if dag_id in (None, (kept.record.asked_by if kept.record else {}).get("dag_id")):
                    yield kept
        except Exception as error:
            trouble(f"--folder {folder} cannot be looked at: {error_text(error)}")


def error_text(error: Exception) -> str:
    """Return what an error of ours says, or the first line of any other."""
    from airflow_provider_apimart.client.errors import ApimartError

    return str(error) if isinstance(error, ApimartError) else first_line(error)


def first_line(error: Exception) -> str:
    """Return the type of an error and its first line: one of a database goes on with the statement and its values."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
