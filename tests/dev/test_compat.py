"""`make compat` without installing anything: cells, pins, counts, the table; and that the project's files agree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from dev.compat.__main__ import PAGE, RUNS
from dev.compat.cells import AIRFLOW_ROOMS, AIRFLOWS, CELLS, PYTHONS, ROOT, pytest_arguments, split
from dev.compat.environment import published, python_of
from dev.compat.page import BEGIN, END, Result, counts, record, table
from dev.compat.pins import lift, own_requirements, providers

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def result(cell: str = "3.1-py3.12", part: str = "unit", passed: int = 5, lifted: tuple[str, ...] = ()) -> Result:
    return Result(cell, part, "2026-11-27", "3.1.3", "3.12.1", "index of 2025-11-18", list(lifted), passed, 1, 0)


def ask(*texts: str) -> list[Requirement]:
    return [Requirement(text) for text in texts]


def test_a_pin_that_a_requirement_excludes_is_lifted_and_named() -> None:
    pins = "# made by uv\nFoo_Bar==1.0\nfoo==2.0\nbaz==3.0rc1 ; python_version < '3.13'\n"
    text, lifted = lift(pins, ask("foo-bar>=1.2", "foo>=2", "foo<3", "baz>=2"))
    assert text == "# made by uv\nfoo==2.0\nbaz==3.0rc1 ; python_version < '3.13'\n"
    assert lifted == ["Foo_Bar==1.0"]


def test_nothing_is_lifted_without_need() -> None:
    assert lift("foo==2.0\n", ask("foo>=2")) == ("foo==2.0\n", [])


def test_airflows_own_providers_are_resolved_with_airflow() -> None:
    asked = ask(
        "apache-airflow>=3.1.3",
        "apache-airflow-providers-amazon[s3fs]",
        "apache-airflow-providers-standard>=1.14",
        "apache-airflow-providers-amazon>=9",
        "httpx",
    )
    assert providers(asked) == ["apache-airflow-providers-amazon[s3fs]", "apache-airflow-providers-standard"]


def test_requirements_of_all_extras_count() -> None:
    names = {one.name for one in own_requirements(ROOT / "pyproject.toml")}
    assert {"apache-airflow", "av", "apache-airflow-providers-standard", "pytest"} <= names


def test_counts_are_those_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_all.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_one(): pass\n"
        "def test_two(): pass\n"
        "def test_three(): assert 0\n"
        "def test_four(broken): pass\n"
        "def test_five(): pytest.skip('no')\n"
    )
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "-c", os.devnull]
    subprocess.run([*command, f"--junitxml={report}", str(tmp_path)], capture_output=True, cwd=tmp_path)
    assert counts(report) == (2, 1, 2)


def test_the_last_run_of_a_part_counts_and_the_page_keeps_its_text(tmp_path: Path) -> None:
    page, runs = tmp_path / "page.md", tmp_path / "runs.json"
    page.write_text(f"before\n{BEGIN}\n\nold\n\n{END}\nafter\n")
    record([result(passed=1), result("3.3-py3.13")], page, runs)
    record([result(passed=7, lifted=("foo==1",)), result(part="system")], page, runs)
    assert [(one["cell"], one["part"], one["passed"]) for one in json.loads(runs.read_text())] == [
        ("3.1-py3.12", "unit", 7),
        ("3.1-py3.12", "system", 5),
        ("3.3-py3.13", "unit", 5),
    ]
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n| Airflow")
    assert text.endswith(f"|\n\n{END}\nafter\n")
    assert "old" not in text
    assert "`foo==1`" in text


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing of ours")
    with pytest.raises(SystemExit, match="no place"):
        record([result()], page, tmp_path / "runs.json")
    assert page.read_text() == "nothing of ours"


def test_the_pages_table_is_that_of_the_recorded_runs() -> None:
    runs = [Result(**one) for one in json.loads(RUNS.read_text())]
    _, _, rest = PAGE.read_text().partition(BEGIN)
    assert rest.partition(END)[0].strip() == table(runs)


def test_parts_ignore_what_there_is() -> None:
    for argument in pytest_arguments("airflow"):
        assert (ROOT / argument.removeprefix("--ignore=")).is_dir()
    assert all((ROOT / "tests" / room).is_dir() for room in AIRFLOW_ROOMS)


def test_a_part_leaves_out_what_it_does_not_name(tmp_path: Path) -> None:
    for name in ("hooks", "media", "system", "__pycache__"):
        (tmp_path / name).mkdir()
    wanted = {one.removeprefix("--ignore=tests/") for one in pytest_arguments("airflow", tmp_path)}
    assert wanted == {"media", "system", "crash", "ui/browser"}
    assert {one.removeprefix("--ignore=tests/") for one in pytest_arguments("unit")} == {
        "system",
        "crash",
        "ui/browser",
    }
    assert pytest_arguments("system") == ["tests/system"]
    with pytest.raises(ValueError, match=r"There is no .*nowhere. A part is all, unit, airflow or a folder of tests"):
        pytest_arguments("nowhere")
    assert pytest_arguments("all") == []


def fake_python(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True)
    python = folder / "python3.11"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


def test_a_shim_that_does_not_start_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_python(tmp_path / "shims", "echo 'pyenv: python3.11: command not found'; exit 127")
    real = fake_python(tmp_path / "pyenv" / "versions" / "3.11.7" / "bin", "echo 3.11; echo /there/python3.11")
    real.rename(real.with_name("python"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert python_of("3.11") == "/there/python3.11"
    assert python_of("3.99") is None


def test_published_constraints_can_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("foo==1\n")
    assert published(str(tmp_path / "constraints.txt")) == "foo==1\n"


def test_cells_are_what_the_package_supports() -> None:
    supported = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one}
    assert set(PYTHONS) == supported
    floor = next(one for one in own_requirements(ROOT / "pyproject.toml") if one.name == "apache-airflow")
    assert [one.version for one in AIRFLOWS.values()] == sorted((one.version for one in AIRFLOWS.values()), key=Version)
    oldest, newest = AIRFLOWS["3.1"].version, AIRFLOWS["3.3"].version
    assert str(floor.specifier) == f">={oldest}"
    assert f"apache-airflow=={newest}\n" in (ROOT / "constraints.txt").read_text()
    assert split("3.2-py3.13") == (AIRFLOWS["3.2"], "3.13")


@pytest.mark.parametrize("file", ["README.md", "docs/quickstart.md", "docs/ko/quickstart.md", "docs/compatibility.md"])
def test_pages_name_the_oldest_airflow(file: str) -> None:
    floor = r"(?:Airflow(?: \|)? |apache-airflow>=)(3[\d.]*\d)(?:'|\s(?:or|and)\slater)"
    assert set(re.findall(floor, (ROOT / file).read_text())) == {AIRFLOWS["3.1"].version}


def test_the_workflow_runs_every_cell() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "compat.yml").read_text())["jobs"]
    matrix = jobs["cell"]["strategy"]["matrix"]
    assert {f"{airflow}-py{python}" for airflow in matrix["airflow"] for python in matrix["python"]} == set(CELLS)
