"""A PostgreSQL of the test's own: in a temporary folder, on a socket there, without a port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def find(program: str) -> str | None:
    """Return where a program of PostgreSQL's server is: Debian keeps them out of the path."""
    found = [str(path) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{program}")]
    return found[-1] if found else shutil.which(program)


def why_not() -> str | None:
    """Return why there can be no PostgreSQL here, or ``None``."""
    if find("initdb") is None:
        return "PostgreSQL's server is not installed (Debian: postgresql)"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return None


def _user() -> str | None:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@contextmanager
def running() -> Iterator[str]:
    """Yield the SQLAlchemy URL of an empty database."""
    # (The path of a socket may be 107 characters long, which pytest's folders are not far from.)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = _user() if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"

    def call(program: str, *arguments: str) -> None:
        path = find(program)
        assert path is not None
        log = subprocess.DEVNULL
        subprocess.run([path, *arguments], check=True, user=user, cwd=folder, stdout=log, stderr=log, timeout=120)

    call("initdb", "-D", str(data), "-A", "trust", "-U", "airflow", "-E", "UTF8", "--locale=C", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c synchronous_commit=off"
    call("pg_ctl", "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg2://airflow@/postgres?host={quote(str(folder), safe='')}"
    finally:
        call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)
