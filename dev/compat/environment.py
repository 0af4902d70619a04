"""The environment of a cell: its Python, what is resolved for it, what is installed into it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from dev.compat.cells import ROOT, split
from dev.compat.pins import lift, own_requirements, providers

#: What the tests import.
EXTRAS = ("all", "dev")


def python_of(version: str) -> str | None:
    """Return the path of a Python of this version that starts, from PATH or from pyenv.

    A version manager's shims can be on PATH and still fail.
    """
    home = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [f"python{version}", *map(str, sorted(home.glob(f"versions/{version}.*/bin/python")))]
    for candidate in candidates:
        try:
            told = subprocess.run(  # noqa: S603 -- argv is ours
                [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"],
                capture_output=True,
                text=True,
            )
        except OSError:
            continue
        if told.returncode == 0 and told.stdout.splitlines()[0] == version:
            return told.stdout.splitlines()[1]
    return None


def uv(*arguments: str) -> None:
    """Run uv, and end with it if it fails."""
    # `make compat` installed it beside this Python.
    command = [str(Path(sys.executable).with_name("uv")), *arguments]
    if subprocess.run(command, cwd=ROOT).returncode:  # noqa: S603 -- argv is ours
        raise SystemExit(f"This failed: uv {' '.join(arguments)}")


def published(constraints: str) -> str:
    """Return the text of Airflow's own constraints, from a file or an address."""
    if constraints.startswith("https://"):
        with urllib.request.urlopen(constraints, timeout=60) as answer:  # noqa: S310 -- https only
            return str(answer.read().decode())
    return Path(constraints).read_text()


def make(cell: str, python: str, folder: Path, constraints: str | None) -> tuple[Path, list[str]]:
    """Install the cell's Airflow, the provider and the test tools into a new environment.

    :return: the environment's Python, and the pins that were lifted for it
    """
    airflow, version = split(cell)
    compile_ = ("pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", version)
    requirements = list(own_requirements(ROOT / "pyproject.toml"))
    wanted = folder / "airflow.in"
    wanted.write_text("\n".join([f"apache-airflow=={airflow.version}", *providers(requirements)]) + "\n")
    pins = folder / "airflow.txt"
    if constraints:
        pins.write_text(published(constraints))
    else:
        pins.unlink(missing_ok=True)
        uv(*compile_, "--exclude-newer", airflow.day, "--output-file", str(pins), str(wanted))
    text, lifted = lift(pins.read_text(), requirements)
    kept = folder / "kept.txt"
    kept.write_text(text)
    resolved = folder / "resolved.txt"
    # uv keeps to what its output already holds where that is possible: what Airflow does not pin, the test tools above
    # all, is what `make test` has.
    shutil.copyfile(ROOT / "constraints.txt", resolved)
    extras = [part for extra in EXTRAS for part in ("--extra", extra)]
    sources = (str(wanted), "pyproject.toml")
    uv(*compile_, *extras, "--constraint", str(kept), "--output-file", str(resolved), *sources)
    interpreter = folder / "venv" / "bin" / "python"
    # An environment that already holds just this is kept.
    holds = "\n".join([python, resolved.read_text(), (ROOT / "pyproject.toml").read_text()])
    stamp = folder / "installed.txt"
    if not (interpreter.exists() and stamp.exists() and stamp.read_text() == holds):
        stamp.unlink(missing_ok=True)
        uv("venv", "--quiet", "--clear", "--python", python, str(folder / "venv"))
        install = ("pip", "install", "--quiet", "--python", str(interpreter))
        uv(*install, "--requirement", str(resolved), "--editable", ".")
        stamp.write_text(holds)
    return interpreter, lifted
