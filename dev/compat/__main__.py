"""Run cells: make the environment, run the tests in it, write the table."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime

from dev.compat import environment
from dev.compat.cells import CELLS, PARTS, ROOT, pytest_arguments, split
from dev.compat.page import Result, counts, record

HOME = ROOT / ".compat"
PAGE = ROOT / "docs" / "compatibility.md"
RUNS = ROOT / "dev" / "compat" / "runs.json"


def run_cell(cell: str, part: str, constraints: str | None, arguments: list[str]) -> Result | None:
    """Make the cell's environment, run the tests in it, and return what came of it; None without its Python."""
    airflow, version = split(cell)
    python = environment.python_of(version)
    if python is None:
        print(f"{cell}: no Python {version} on PATH or in pyenv; not run", flush=True)
        return None
    folder = HOME / cell
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{cell}: installing Airflow {airflow.version} and what is tested with it into {folder}", flush=True)
    interpreter, lifted = environment.make(cell, python, folder, constraints)
    print(f"{cell}: lifted pins: {', '.join(lifted) or 'none'}", flush=True)
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    subprocess.run(  # noqa: S603 -- argv is ours
        [
            str(interpreter),
            "-m",
            "pytest",
            f"--junitxml={report}",
            *(arguments or ["--numprocesses=2", "--dist=loadgroup", *pytest_arguments(part)]),
        ],
        cwd=ROOT,
        # Another environment's own PYTHONPATH would bring another provider.
        env={**os.environ, "PYTHONPATH": "", "PATH": f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    if not report.exists():
        raise SystemExit(f"{cell}: pytest ended without a report; nothing is recorded")
    passed, skipped, failed = counts(report)
    told = subprocess.run([str(interpreter), "-V"], capture_output=True, text=True, check=True)  # noqa: S603
    return Result(
        cell=cell,
        part=part,
        day=datetime.now(UTC).date().isoformat(),
        airflow=airflow.version,
        python=told.stdout.split()[-1],
        pins="Airflow's constraints" if constraints else f"index of {airflow.day}",
        lifted=lifted,
        passed=passed,
        skipped=skipped,
        failed=failed,
    )


def main() -> None:
    """Run the cells that are asked for; end with 1 if a test failed, or a cell could not be run."""
    parser = argparse.ArgumentParser(prog="make compat", description=__doc__)
    parser.add_argument("--cell", choices=CELLS, help="one cell instead of all")
    parser.add_argument("--part", default="all", help=f"of the tests: {', '.join(PARTS)}, or a folder of tests")
    parser.add_argument("--constraints", help="path or https address of Airflow's own constraints; needs a cell")
    parser.add_argument("--pytest-args", default="", help="instead of a part; such a run is not put into the table")
    options = parser.parse_args()
    if options.constraints and not options.cell:
        parser.error("constraints are those of one Airflow and one Python: name the cell, too")
    arguments = shlex.split(options.pytest_args)
    try:
        pytest_arguments(options.part)
    except ValueError as error:
        parser.error(str(error))
    done, missing = [], False
    for cell in [options.cell] if options.cell else CELLS:
        result = run_cell(cell, options.part, options.constraints, arguments)
        if result is None:
            missing = True
            continue
        done.append(result)
        # At once: a later cell may fail.
        if not arguments:
            record([result], PAGE, RUNS)
    for one in done:
        print(f"{one.cell}: {one.passed} passed, {one.skipped} skipped, {one.failed} failed")
    sys.exit(missing or any(one.failed or not one.passed for one in done))


if __name__ == "__main__":
    main()
