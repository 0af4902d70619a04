"""Which Airflows and Pythons are tried, and which parts of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Airflow:
    """A minor's Airflow, and a day on which the index had what was released with it, and nothing much later."""

    version: str
    day: str


#: The oldest supported one of each minor, and the newest.
AIRFLOWS = {
    "3.1": Airflow("3.1.3", "2025-11-18"),
    "3.2": Airflow("3.2.0", "2026-04-14"),
    "3.3": Airflow("3.3.2", "2026-09-24"),
}
PYTHONS = ("3.11", "3.12", "3.13")
CELLS = tuple(f"{airflow}-py{python}" for airflow in AIRFLOWS for python in PYTHONS)

#: The rooms of ``tests`` that import Airflow.
AIRFLOW_ROOMS = ("decorators", "hooks", "operators", "sensors", "triggers", "ui")
#: What runs a whole Airflow of its own, or takes many minutes.
SLOW = ("system", "crash", "ui/browser")
#: How the table calls a part of the tests.
PARTS = {
    "all": "all",
    "unit": f"all but `{'`, `'.join(SLOW)}`",
    "airflow": f"`{'`, `'.join(AIRFLOW_ROOMS)}` without `ui/browser`",
    "system": "`system`",
}


def split(cell: str) -> tuple[Airflow, str]:
    """Return the Airflow and the Python of a cell, such as ``3.1-py3.12``."""
    minor, _, python = cell.partition("-py")
    return AIRFLOWS[minor], python


def pytest_arguments(part: str, tests: Path = ROOT / "tests") -> list[str]:
    """Return pytest's arguments for a part of the tests.

    What is not wanted is ignored: with paths of several rooms pytest would mistake the fixtures of one for another's.
    """
    if part == "system":
        return ["tests/system"]
    ignored: set[str] = set()
    if part != "all":
        ignored.update(SLOW)
    if part == "airflow":
        rooms = {path.name for path in tests.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
        ignored |= rooms - set(AIRFLOW_ROOMS)
    return [f"--ignore=tests/{room}" for room in sorted(ignored)]
