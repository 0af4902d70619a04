"""Run as one Airflow component: ``python -m dev.component <gate file> <airflow arguments>``.

Half of a component's start is spent on imports, which need no database. So they run while the database is still being
created. The component itself starts when the gate file appears.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

HEAVY = {
    "api-server": ("airflow.api_fastapi.core_api.app", "airflow.api_fastapi.execution_api.app"),
    "scheduler": ("airflow.jobs.scheduler_job_runner",),
    "dag-processor": ("airflow.jobs.dag_processor_job_runner",),
    "triggerer": ("airflow.jobs.triggerer_job_runner",),
    "celery": ("airflow.providers.celery.executors.celery_executor", "airflow.sdk.execution_time.supervisor"),
}


#: How many seconds a component waits for another one's transaction; sqlite3's own 5 s are too few on a busy machine.
#: ``database.sql_alchemy_connect_args`` of :class:`dev.local_airflow.LocalAirflow` names this.
CONNECT_ARGS = {"timeout": 20}


def do_not_wait_for_the_disk(connection: Any, _: object) -> None:
    """If a new connection is to SQLite, let the operating system decide when to write to disk.

    If the disk is busy for long (flushing a fresh installation is enough), Airflow's scheduler thinks that its own
    database is locked, and ends. A killed process loses nothing by this setting. A power failure can destroy this
    Airflow's database, which holds nothing of value.
    """
    # A task may connect to other databases in this process's children.
    if "sqlite" in type(connection).__module__:
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=OFF")
        cursor.close()


def let_readers_and_writers_go_on(connection: Any, _: object) -> None:
    """Give the new database a write-ahead log; it keeps the setting.

    Without the log, who reads holds up who writes, and the other way around: six components did so until
    ``airflow backfill create`` found the database locked eight times in a row.
    """
    if "sqlite" in type(connection).__module__:
        connection.execute("PRAGMA journal_mode=WAL").close()


def main(gate: Path, arguments: list[str]) -> None:
    """Import, wait for the gate, become ``airflow <arguments>``."""
    event.listen(Engine, "connect", do_not_wait_for_the_disk)
    if arguments[0] == "db":
        event.listen(Engine, "connect", let_readers_and_writers_go_on)
    for module in HEAVY.get(arguments[0], ()):
        importlib.import_module(module)
    cli = importlib.import_module("airflow.__main__")
    while not gate.exists():
        time.sleep(0.05)
    sys.argv = ["airflow", *arguments]
    cli.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
