"""Each check of ``make release-check`` fails on a release that is broken in its way."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from datetime import date
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import airflow
import pytest

from airflow_provider_apimart import get_provider_info
from dev.release import build, contents, installed, sbom
from dev.release.__main__ import carry_out

P = contents.PACKAGE
PROJECT: dict[str, Any] = {
    "scripts": {"command": f"{P}.cli:main"},
    "entry-points": {"airflow.plugins": {"apimart": f"{P}.ui.plugin:Plugin"}},
    "optional-dependencies": {"media": []},
}
TRACKED = [f"{P}/__init__.py", f"{P}/py.typed", f"{P}/ui/static/kit.js", "tests/test_a.py", "dev/up.py", "README.md",
           "pyproject.toml", "CHANGELOG.md", "LICENSE"]  # fmt: skip
METADATA = """Metadata-Version: 2.4
Name: airflow-provider-apimart
Version: 0.2.0
Requires-Python: >=3.11
Classifier: Development Status :: 4 - Beta
Classifier: Framework :: Apache Airflow :: Provider
Classifier: Programming Language :: Python :: 3
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Classifier: Typing :: Typed
Provides-Extra: media
"""
POINTS = {"console_scripts": {"command": f"{P}.cli:main"}, "airflow.plugins": {"apimart": f"{P}.ui.plugin:Plugin"}}
WHEEL = contents.Wheel(
    frozenset([*TRACKED[:3], "x-0.2.0.dist-info/METADATA", "x-0.2.0.dist-info/licenses/LICENSE"]),
    Parser().parsestr(METADATA),
    POINTS,
)


def metadata(old: str = "", new: str = "") -> Message:
    assert old in METADATA
    return Parser().parsestr(METADATA.replace(old, new))


# --- the wheel -------------------------------------------------------------------------------------------------------


def test_a_whole_wheel_passes() -> None:
    assert contents.wheel_problems(WHEEL, TRACKED, PROJECT) == []


@pytest.mark.parametrize("lost", [f"{P}/py.typed", f"{P}/ui/static/kit.js", "x-0.2.0.dist-info/licenses/LICENSE"])
def test_a_wheel_without_a_file_fails(lost: str) -> None:
    found = contents.wheel_problems(replace(WHEEL, names=WHEEL.names - {lost}), TRACKED, PROJECT)
    assert any(lost.rpartition("/")[2] in one for one in found)


@pytest.mark.parametrize("more", ["tests/test_a.py", "dev/up.py", "other/__init__.py", f"{P}/__pycache__/a.pyc",
                                  f"{P}/notes.txt"])  # fmt: skip
def test_a_wheel_with_more_than_the_package_fails(more: str) -> None:
    found = contents.wheel_problems(replace(WHEEL, names=WHEEL.names | {more}), TRACKED, PROJECT)
    assert found == [f"the wheel has {more}, which is no part of the package"]


def test_a_wheel_without_an_entry_point_fails() -> None:
    found = contents.wheel_problems(replace(WHEEL, entry_points={**POINTS, "airflow.plugins": {}}), TRACKED, PROJECT)
    assert found == [f"the wheel's entry points lack airflow.plugins: apimart = {P}.ui.plugin:Plugin"]


def test_a_wheel_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(f"{P}/__init__.py", "")
        archive.writestr("x-0.2.0.dist-info/METADATA", METADATA)
        archive.writestr("x-0.2.0.dist-info/entry_points.txt", "[console_scripts]\ncommand = a.b:main\n")
    wheel = contents.read_wheel(tmp_path / "a.whl")
    assert (f"{P}/__init__.py" in wheel.names, wheel.metadata["Version"]) == (True, "0.2.0")
    assert wheel.entry_points == {"console_scripts": {"command": "a.b:main"}}


# --- the sdist -------------------------------------------------------------------------------------------------------


def test_an_sdist_is_compared_with_git(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in [*TRACKED, "PKG-INFO"]:
            archive.addfile(tarfile.TarInfo(f"x-0.2.0/{name}"), io.BytesIO())
    names = contents.sdist_names(tmp_path / "a.tar.gz")
    assert contents.sdist_problems(names, TRACKED) == []
    assert contents.sdist_problems(names - {"LICENSE"}, TRACKED) == ["the sdist lacks LICENSE"]
    assert contents.sdist_problems(names - {"tests/test_a.py"}, TRACKED) == ["the sdist lacks tests/test_a.py"]
    assert contents.sdist_problems(names | {".env"}, TRACKED) == ["the sdist has .env, which git does not know"]
    assert contents.sdist_problems(names | {"a/x.key"}, [*TRACKED, "a/x.key"]) == ["the sdist has a/x.key"]


# --- metadata and changelog ------------------------------------------------------------------------------------------


def test_fitting_metadata_passes() -> None:
    assert contents.metadata_problems(metadata(), "0.2.0", PROJECT) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Version: 0.2.0", "Version: 0.3.0", "the wheel's version is 0.3.0"),
        (":: Provider", ":: Other", "Framework :: Apache Airflow :: Provider is missing"),
        (">=3.11", ">=3.12", "names Python 3.11, which Requires-Python excludes"),
        (">=3.11", ">=3.10", "begin at another version"),
        ("4 - Beta", "5 - Production/Stable", "0.2.0 and the classifier"),
        ("Provides-Extra: media", "Provides-Extra: other", "the extra media is missing"),
        ("Python :: 3.1", "Python :: x", "no classifier names a version of Python"),
    ],
)
def test_metadata_that_does_not_fit_fails(old: str, new: str, said: str) -> None:
    assert said in "\n".join(contents.metadata_problems(metadata(old, new), "0.2.0", PROJECT))


CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-27\n\n- b\n\n## [0.1.0] - 2026-11-26\n\n- a\n"
TODAY = date(2026, 11, 27)


def test_a_changelog_that_agrees_passes() -> None:
    assert contents.changelog_problems(CHANGELOG, "0.2.0", tag="v0.2.0", today=TODAY) == []
    between = CHANGELOG.replace("[Unreleased]\n", "[Unreleased]\n\n- c\n")
    assert contents.changelog_problems(between, "0.2.0", tag=None, today=TODAY) == []


@pytest.mark.parametrize(
    ("old", "new", "version", "tag", "said"),
    [
        ("## [Unreleased]\n", "", "0.2.0", None, "does not begin with ## [Unreleased]"),
        ("", "", "0.3.0", None, "newest release is 0.2.0, and the package says 0.3.0"),
        ("", "", "0.2.0", "v0.3.0", "it must be v0.2.0"),
        ("[Unreleased]\n", "[Unreleased]\n\n- c\n", "0.2.0", "v0.2.0", "[Unreleased] in the changelog is not empty"),
        ("2026-11-27", "2026-11-28", "0.2.0", None, "which is yet to come"),
        ("2026-11-27", "2026-11-25", "0.2.0", None, "not in the order of their days"),
        (" - 2026-11-27", "", "0.2.0", None, "heading of 0.2.0 has no day"),
    ],
)  # fmt: skip
def test_a_changelog_that_does_not_agree_fails(old: str, new: str, version: str, tag: str | None, said: str) -> None:
    assert old in CHANGELOG
    found = contents.changelog_problems(
        CHANGELOG.replace(old, new) if old else CHANGELOG, version, tag=tag, today=TODAY
    )
    assert said in "\n".join(found)


# --- builds and environments -----------------------------------------------------------------------------------------


def test_two_builds_must_be_equal() -> None:
    assert build.reproduction_problems({"a.whl": "1"}, {"a.whl": "1"}) == []
    assert build.reproduction_problems({"a.whl": "1"}, {"a.whl": "2"}) == ["a.whl is not reproducible: 1 and 2"]
    assert build.reproduction_problems({"a.whl": "1"}, {}) == ["a.whl is not reproducible: 1 and not built"]


def test_only_the_new_build_is_kept(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "old.whl").write_text("old")
    built = build.Built(tmp_path / "new.whl", tmp_path / "new.tar.gz")
    for file in (built.wheel, built.sdist):
        file.write_text("new")
    build.keep(built, tmp_path / "dist")
    assert sorted(one.name for one in (tmp_path / "dist").iterdir()) == ["new.tar.gz", "new.whl"]


def _says(text: str) -> None:
    raise RuntimeError(text)


def test_an_error_must_name_the_extra() -> None:
    good = ("a", lambda: _says("pip install 'airflow-provider-apimart[media]'"), "[media]")
    silent = ("b", lambda: _says("No module named 'av'"), "[media]")
    there = ("c", lambda: None, "[media]")
    assert list(installed.extra_problems((good,))) == []
    assert "b does not say that it needs [media]" in next(installed.extra_problems((silent,)))
    assert "c did not need the extra [media]" in next(installed.extra_problems((there,)))


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """A package in the place of ours, as if it were installed."""
    home = folder / "site-packages" / "release_fake"
    home.mkdir(parents=True)
    for name, code in {"__init__": "", **modules}.items():
        (home / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(home.parent))
    monkeypatch.setattr(installed, "PACKAGE", "release_fake")
    for name in ("", *(f".{one}" for one in modules)):
        monkeypatch.delitem(installed.sys.modules, f"release_fake{name}", raising=False)


@pytest.mark.parametrize(
    ("code", "public", "said"),
    [
        ("", True, None),
        ("import release_extra", False, None),
        ("import release_extra", True, "release_fake.room cannot be imported without release_extra"),
        ("import release_other", False, "release_fake.room cannot be imported without release_other"),
        ("1 / 0", False, "release_fake.room cannot be imported: ZeroDivisionError"),
        ("__dir__ = lambda: ['A']\n__getattr__ = lambda name: 1 / 0", True, "release_fake.room.A cannot be loaded"),
    ],
    ids=["good", "extra", "public needs extra", "unknown", "broken", "broken when asked for"],
)  # fmt: skip
def test_every_module_is_imported(
    code: str, public: bool, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _package(tmp_path, monkeypatch, room=code)
    found = list(installed.import_problems(["release_fake.room"] if public else [], ["release_extra"]))
    for name in ("release_fake", "release_fake.room"):
        installed.sys.modules.pop(name, None)
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])


def test_a_public_module_that_is_not_installed_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, monkeypatch)
    found = list(installed.import_problems(["release_fake.gone"], []))
    installed.sys.modules.pop("release_fake", None)
    assert found == ["release_fake.gone is public, and is not installed"]


def test_metadata_that_airflow_refuses_fails() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    info = get_provider_info()
    assert list(installed.schema_problems(info, schema)) == []
    del info["name"]
    info["connection-types"][0]["hook-class-name"] = 1
    found = "\n".join(installed.schema_problems(info, schema))
    assert "'name' is a required property" in found
    assert "$['connection-types'][0]['hook-class-name']: 1 is not of type 'string'" in found


# --- the bill of materials -------------------------------------------------------------------------------------------


def bill(**root: str) -> dict[str, Any]:
    return {
        "metadata": {"component": {"name": sbom.NAME, **root}},
        "components": [{"name": "httpx", "version": "0.28"}, {"name": "apache_airflow", "version": "3.3.2"}],
    }


def test_the_bill_says_which_release_it_is_of() -> None:
    told = bill()
    assert "the bill of materials does not say its version" in sbom.problems(told, [], "/folder")
    sbom.complete(told, "0.2.0", "ab12")
    assert sbom.problems(told, ["httpx", "apache-airflow"], "/folder") == []
    assert told["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab12"}]


def test_a_bill_that_lacks_or_tells_too_much_fails() -> None:
    told = bill(version="/folder/x", purl="pkg:pypi/x")
    told["components"] += [{"name": "pip", "version": "1"}, {"name": "nameless"}]
    assert sbom.problems(told, ["tenacity"], "/folder") == [
        "the bill of materials lacks tenacity",
        "the bill of materials has nameless without a version",
        "the bill of materials has pip, which nothing needs",
        "the bill of materials names a folder of this machine",
    ]


# --- all of them -----------------------------------------------------------------------------------------------------


def test_a_failure_is_counted_and_the_rest_still_runs() -> None:
    def good() -> list[str]:
        """Good."""
        return []

    def bad() -> list[str]:
        """Bad."""
        return ["this", "that"]

    def broken() -> list[str]:
        """Broken."""
        raise build.CommandError("it ended with 1")

    said: list[str] = []
    assert carry_out((bad, broken, good), said.append) == 2
    assert [line.split()[0] for line in said] == ["FAILED", "-", "-", "FAILED", "-", "ok"]
    assert "CommandError: it ended with 1" in said[4]
