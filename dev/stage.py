"""What the demo and ``make up`` share: the example DAGs, the emulator behind them, and a clean shutdown."""

from __future__ import annotations

import csv
import json
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import NoReturn

from airflow_provider_apimart.emulator.publishing import connections as publishing
from airflow_provider_apimart.emulator.server import EmulatorProcess

REPO = Path(__file__).resolve().parent.parent
EXAMPLE_DAGS = REPO / "example_dags"
#: How long a video takes at the emulator: longer than the 12 s that a deferral must last, and short enough to watch.
JOB_SECONDS = 20.0
#: The pool of the example DAGs. It counts deferred tasks, so it limits how many generations the account runs at once.
POOL, POOL_SLOTS = "apimart", 10


def connections(emulator: EmulatorProcess, prompts: Path | None = None) -> dict[str, dict[str, str]]:
    """Return the connections of the example DAGs, by id, in Airflow's JSON form.

    :param prompts: the database of :func:`make_prompts`, for the DAGs that need one.
    """
    database = {} if prompts is None else {"apimart_prompts": {"conn_type": "sqlite", "host": str(prompts)}}
    return {
        "apimart_default": {"conn_type": "apimart", "host": emulator.base_url, "password": emulator.api_key},
        "apimart_cms": {"conn_type": "http", "host": emulator.base_url},
        **publishing.connections(emulator.base_url),
        **database,
    }


def connections_env(emulator: EmulatorProcess, prompts: Path | None = None) -> dict[str, str]:
    """Return the same connections as environment variables."""
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections(emulator, prompts).items()}


def make_prompts(path: Path) -> Path:
    """Create the SQLite database of the backfill example from its CSV file, and return its path."""
    with (EXAMPLE_DAGS / "prompts_by_day.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["day"], row["sku"], row["prompt"], int(row["duration"])) for row in csv.DictReader(file)]
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE prompts (day TEXT, sku TEXT, prompt TEXT, duration INTEGER)")
        database.executemany("INSERT INTO prompts VALUES (?, ?, ?, ?)", rows)
    return path


def port_or_zero(port: int) -> int:
    """Return the port if it is free, else 0, which means any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP end this process as Ctrl-C does: through all ``with`` blocks, so that no child is left.

    SIGINT is set, too, because a shell starts background processes with SIGINT ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
