"""What must be in the wheel and in the sdist, what must not, and whether version, changelog and metadata agree."""

from __future__ import annotations

import configparser
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

PACKAGE = "airflow_provider_apimart"
#: Folders of the repository that nobody needs to run the provider.
NOT_IN_A_WHEEL = ("tests", "example_dags", "dev", "docs", "benchmarks", "deploy", ".github", ".ci")
#: What the sdist needs beside the package, so that a distributor can build, test and read.
IN_AN_SDIST = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO")
#: Traces of a machine or of a run.
LITTER = re.compile(r"(^|/)(__pycache__|\.git|\.venv|\.DS_Store|\.env)(/|$)|\.pyc$|\.log$|\.mp4$|\.pem$|\.key$")
HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<day>\S+))?$", re.MULTILINE)


@dataclass(frozen=True)
class Wheel:
    """A wheel, as far as the checks read it.

    :param names: the paths of its files.
    :param metadata: its METADATA.
    :param entry_points: its entry points, by group.
    """

    names: frozenset[str]
    metadata: Message
    entry_points: dict[str, dict[str, str]]


def read_wheel(file: Path) -> Wheel:
    """Return what the checks need to know of a wheel.

    :raises KeyError: if it has no metadata or no entry points.
    """
    with zipfile.ZipFile(file) as archive:
        names = frozenset(archive.namelist())
        info = next(name.partition("/")[0] for name in sorted(names) if ".dist-info/" in name)
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(archive.read(f"{info}/entry_points.txt").decode())
    return Wheel(names, metadata, {group: dict(parser[group]) for group in parser.sections()})


def sdist_names(file: Path) -> frozenset[str]:
    """Return the paths of an sdist's files, without the folder that it unpacks to."""
    with tarfile.open(file) as archive:
        return frozenset(one.name.partition("/")[2] for one in archive.getmembers() if one.isfile())


def wheel_problems(wheel: Wheel, tracked: Iterable[str], project: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a wheel's files and entry points.

    :param tracked: the repository's files. Each of the package belongs into the wheel: code, ``py.typed``, scripts,
        styles, and whatever else comes to it.
    :param project: ``[project]`` of pyproject.toml.
    """
    wanted = {name for name in tracked if name.startswith(f"{PACKAGE}/")}
    found = [f"the wheel lacks {name}" for name in sorted(wanted - wheel.names)]
    for name in sorted(wheel.names - wanted):
        room = name.partition("/")[0]
        if LITTER.search(name) or room in NOT_IN_A_WHEEL or not room.endswith(".dist-info"):
            found.append(f"the wheel has {name}, which is no part of the package")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.names):
        found.append("the wheel lacks LICENSE")
    if f"{PACKAGE}/py.typed" not in wheel.names:
        found.append(f"the wheel lacks {PACKAGE}/py.typed, without which no type checker looks into it")
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    for group, points in groups.items():
        for name, target in points.items():
            if wheel.entry_points.get(group, {}).get(name) != target:
                found.append(f"the wheel's entry points lack {group}: {name} = {target}")
    return found


def sdist_problems(names: Iterable[str], tracked: Iterable[str]) -> list[str]:
    """Return what is wrong with an sdist's files: ``names`` are its own, ``tracked`` the repository's."""
    have, known = set(names), set(tracked)
    needed = {*IN_AN_SDIST, *(name for name in known if name.startswith((f"{PACKAGE}/", "tests/")))}
    found = [f"the sdist lacks {name}" for name in sorted(needed - have)]
    # PKG-INFO is made by the build.
    found += [f"the sdist has {name}, which git does not know" for name in sorted(have - known - {"PKG-INFO"})]
    return found + [f"the sdist has {name}" for name in sorted(have & known) if LITTER.search(name)]


def metadata_problems(metadata: Message, version: str, project: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a wheel's metadata."""
    found = []
    if metadata["Version"] != version:
        found.append(f"the wheel's version is {metadata['Version']}, and the package says {version}")
    classifiers = metadata.get_all("Classifier", [])
    for needed in ("Framework :: Apache Airflow :: Provider", "Typing :: Typed"):
        if needed not in classifiers:
            found.append(f"the classifier {needed} is missing")
    pythons = [c.rpartition(" :: ")[2] for c in classifiers if re.search(r":: Python :: 3\.\d+$", c)]
    required = SpecifierSet(metadata["Requires-Python"] or "")
    if not pythons:
        found.append("no classifier names a version of Python")
    found += [
        f"a classifier names Python {one}, which Requires-Python excludes" for one in pythons if one not in required
    ]
    lower = [one.version for one in required if one.operator == ">="]
    if pythons and lower != [min(pythons, key=lambda one: int(one.partition(".")[2]))]:
        found.append(f"Requires-Python is {required}, and the classifiers begin at another version")
    stage = next((c for c in classifiers if c.startswith("Development Status :: ")), "")
    if version.startswith("0.") == ("5 - " in stage or "6 - " in stage):
        found.append(f"{version} and the classifier {stage or 'Development Status, which is missing,'} do not fit")
    extras = set(metadata.get_all("Provides-Extra", []))
    found += [f"the extra {name} is missing" for name in project["optional-dependencies"] if name not in extras]
    return found


def changelog_problems(changelog: str, version: str, *, tag: str | None, today: date) -> list[str]:
    """Return what is wrong with the changelog's headings.

    :param tag: the tag that is being released, such as ``v0.2.0``; ``None`` between releases, when ``[Unreleased]`` may
        hold something.
    """
    headings = [(one["version"], one["day"]) for one in HEADING.finditer(changelog)]
    if not headings or headings[0][0] != "Unreleased":
        return ["the changelog does not begin with ## [Unreleased]"]
    found, days = [], []
    for name, day in headings[1:]:
        try:
            days.append(date.fromisoformat(day or ""))
        except ValueError:
            found.append(f"the changelog's heading of {name} has no day (## [{name}] - 2026-01-31)")
    if days != sorted(days, reverse=True):
        found.append("the changelog's releases are not in the order of their days")
    if days and days[0] > today:
        found.append(f"the changelog's newest release is of {days[0]}, which is yet to come")
    newest = headings[1][0] if len(headings) > 1 else "none"
    if newest != version:
        found.append(f"the changelog's newest release is {newest}, and the package says {version}")
    if tag is not None:
        if tag != f"v{version}":
            found.append(f"the tag is {tag}, and the package says {version}: it must be v{version}")
        unreleased = changelog.split("## [Unreleased]", 1)[1].partition("\n## [")[0]
        if unreleased.strip():
            found.append("[Unreleased] in the changelog is not empty: its lines belong to the release")
    return found
