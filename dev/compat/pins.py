"""The pins of a cell: those of its Airflow, without those that the provider's own requirements exclude."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def own_requirements(pyproject: Path) -> Iterator[Requirement]:
    """Yield what the provider and all its extras ask for."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    for text in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        yield Requirement(text)


def providers(asked: list[Requirement]) -> list[str]:
    """Return Airflow's own providers among the requirements, with their extras and without their versions.

    Airflow's published constraints pin them, too. Resolved later, beside pins of another day, they could become ones of
    years before, which Airflow 3 cannot import.
    """
    found: dict[str, set[str]] = {}
    for one in asked:
        if one.name.startswith("apache-airflow-providers-"):
            found.setdefault(one.name, set()).update(one.extras)
    return [f"{name}[{','.join(sorted(extras))}]" if extras else name for name, extras in sorted(found.items())]


def lift(pins: str, asked: list[Requirement]) -> tuple[str, list[str]]:
    """Return the pins without those that the requirements exclude, and these, as ``name==version``."""
    kept, lifted = [], []
    for line in pins.splitlines():
        pin = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line)
        if pin and any(
            canonicalize_name(one.name) == canonicalize_name(pin[1])
            and not one.specifier.contains(Version(pin[2]), prereleases=True)
            for one in asked
        ):
            lifted.append(f"{pin[1]}=={pin[2]}")
        else:
            kept.append(line)
    return "\n".join(kept) + "\n", lifted
