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
#: The parts of the tests that have a name, and how the table calls them. A folder of ``tests`` is a part, too.
PARTS = {
    "all": "all",
    "unit": f"all but `{'`, `'.join(SLOW)}`",
    "airflow": f"`{'`, `'.join(AIRFLOW_ROOMS)}`, without `ui/browser`",
}


def split(cell: str) -> tuple[Airflow, str]:
    """Return the Airflow and the Python of a cell, such as ``3.1-py3.12``."""
    minor, _, python = cell.partition("-py")
    return AIRFLOWS[minor], python


def rooms(tests: Path) -> set[str]:
    """Return the folders of the tests."""
    return {path.name for path in tests.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}


def pytest_arguments(part: str, tests: Path = ROOT / "tests") -> list[str]:
    """Return pytest's arguments for a part of the tests.

    What is not wanted is ignored: with paths of several rooms pytest would mistake the fixtures of one for another's.

    :raises ValueError: if there is no such part
    """
    if part not in PARTS:
        if not (tests / part).is_dir():
            raise ValueError(f"There is no {tests / part}. A part is {', '.join(PARTS)} or a folder of {tests.name}")
        return [f"tests/{part}"]
    ignored: set[str] = set()
    if part != "all":
        ignored.update(SLOW)
    if part == "airflow":
        ignored |= rooms(tests) - set(AIRFLOW_ROOMS)
    return [f"--ignore=tests/{room}" for room in sorted(ignored)]
