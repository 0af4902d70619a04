"""Run the checks of a release one after another, and list what passed.

``python -m dev.release`` checks the last commit and leaves wheel, sdist and bill of materials in ``dist/``.
``python -m dev.release --tag v0.2.0`` checks a release that is about to be published: the version, the changelog and
the tag must agree. ``python -m dev.release --snapshot`` writes what this version promises (``api.json``); it follows a
release.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from airflow_provider_apimart import __version__, get_provider_info
from dev.public_names import public_modules
from dev.release import build, contents, sbom
from dev.release.build import ROOT, Built

DIST = ROOT / "dist"
#: What may be missing where no extra is installed, by the name that it is imported by. Its owners import it late.
OPTIONAL = ("av", "PIL", "fontTools", "regex", "c2pa", "pytest", "airflow.providers.openlineage")
ACCEPTED = Path(__file__).with_name("accepted.txt")


class Release:
    """The last commit, built, installed and looked at.

    :param work: an empty folder for builds and environments.
    :param tag: the tag to be published; ``None`` between releases.
    """

    def __init__(self, work: Path, tag: str | None) -> None:
        self.work = work
        self.tag = tag
        self.project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    @cached_property
    def builds(self) -> tuple[Built, Built]:
        """Two builds that must be equal."""
        return build.build_twice(self.work)

    @cached_property
    def wheel(self) -> contents.Wheel:
        """The wheel's files and metadata."""
        return contents.read_wheel(self.builds[0].wheel)

    @cached_property
    def python(self) -> Path:
        """The Python of an environment that holds the wheel and nothing else."""
        return build.empty_environment(self.work / "empty", self.builds[0].wheel)

    def api(self) -> list[str]:
        """Public names, signatures, trigger arguments and stored fields are those of the last release, or more."""
        # Imports the operators, and with them Airflow, which needs a home.
        from dev.release import api, breaks

        old = json.loads(api.FILE.read_text())
        found = breaks.breaks(old, api.snapshot(get_provider_info()))
        itself = self.tag is not None and old["version"] == __version__
        said = [f"{api.FILE.name} describes {__version__} itself; it must be of the one before"] if itself else []
        return said + breaks.problems(found, breaks.accepted_of(ACCEPTED.read_text()))

    def versions(self) -> list[str]:
        """The version, the changelog's headings and the tag agree."""
        today = datetime.now(UTC).date()
        return contents.changelog_problems((ROOT / "CHANGELOG.md").read_text(), __version__, tag=self.tag, today=today)

    def reproducible(self) -> list[str]:
        """Two builds are equal to the byte: another folder, umask and time zone; wheel from sdist or tree."""
        first, second = self.builds
        return build.reproduction_problems(first.sums(), second.sums())

    def readable(self) -> list[str]:
        """The package index can show it (twine check --strict)."""
        first = self.builds[0]
        build.run(sys.executable, "-m", "twine", "check", "--strict", str(first.wheel), str(first.sdist))
        return []

    def wheel_contents(self) -> list[str]:
        """The wheel holds the package, its license and its entry points, and nothing else."""
        return contents.wheel_problems(self.wheel, build.tracked(), self.project)

    def sdist_contents(self) -> list[str]:
        """The sdist holds what it takes to build and to test, and nothing that git does not know."""
        return contents.sdist_problems(contents.sdist_names(self.builds[0].sdist), build.tracked())

    def metadata(self) -> list[str]:
        """Version, classifiers, Pythons and extras of the metadata fit."""
        return contents.metadata_problems(self.wheel.metadata, __version__, self.project)

    def installed(self) -> list[str]:
        """Without extras: all public modules import, Airflow accepts and finds the provider, errors name the extra."""
        asked = {"version": __version__, "public": public_modules(get_provider_info()), "optional": OPTIONAL}
        script = Path(__file__).with_name("installed.py")
        said = build.run(
            *(str(self.python), "-W", "ignore", "-I", str(script), json.dumps(asked)),
            cwd=self.work,
            env={"AIRFLOW_HOME": str(self.work / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        )
        found: list[str] = json.loads(said.strip().splitlines()[-1])
        return found

    def bill(self) -> list[str]:
        """The bill of materials names everything that is installed (dist/*.cdx.json)."""
        first = self.builds[0]
        build.keep(first, DIST)
        file = DIST / f"{sbom.NAME}-{__version__}.cdx.json"
        bill = sbom.draw_up(self.python, file, __version__, first.sums()[first.wheel.name])
        needed = [canonicalize_name(Requirement(one).name) for one in self.project["dependencies"]]
        return sbom.problems(bill, needed, str(self.work))

    def checks(self) -> tuple[Callable[[], list[str]], ...]:
        """Return all checks, the quick ones first."""
        return (
            *(self.versions, self.api),
            *(self.reproducible, self.readable, self.wheel_contents, self.sdist_contents, self.metadata),
            *(self.installed, self.bill),
        )


def carry_out(checks: tuple[Callable[[], list[str]], ...], say: Callable[[str], None] = print) -> int:
    """Run all checks, tell of each, and return how many failed. A failure does not keep the others from running."""
    failed = 0
    for check in checks:
        try:
            problems = check()
        except Exception as error:
            problems = [f"{type(error).__name__}: {error}"]
        failed += bool(problems)
        say(f"{'FAILED' if problems else 'ok':<7} {check.__name__:<15} {(check.__doc__ or '').splitlines()[0]}")
        for problem in problems:
            say(f"        - {problem}")
    return failed


def main() -> int:
    """Check, or write the snapshot."""
    parser = argparse.ArgumentParser(prog="python -m dev.release", description=__doc__)
    parser.add_argument("--tag", help="the tag that is to be published, v0.2.0; [Unreleased] must be empty then")
    parser.add_argument("--snapshot", action="store_true", help="write what this version promises, instead of checking")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        # Its own home: importing Airflow writes a configuration and logs.
        os.environ["AIRFLOW_HOME"] = str(Path(folder) / "airflow-home")
        if options.snapshot:
            from dev.release import api, breaks

            api.write()
            comments = [line for line in ACCEPTED.read_text().splitlines()[:2] if line.startswith("#")]
            ACCEPTED.write_text("\n".join(comments) + "\n")
            print(f"{api.FILE.name} describes {__version__} now, and {ACCEPTED.name} is empty")
            return 0 if not breaks.accepted_of(ACCEPTED.read_text()) else 1
        left = build.uncommitted()
        if left:
            print(f"Not committed, so not in this check's builds: {', '.join(left)}")
            if options.tag:
                return 1
        failed = carry_out(Release(Path(folder).resolve(), options.tag).checks())
    if failed:
        print(f"\n{failed} of the checks FAILED: this is not fit for a release")
        return 1
    print(f"\nAll checks passed for {__version__}. In dist/:")
    for file in sorted(DIST.iterdir()):
        print(f"  {file.name}  {file.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
