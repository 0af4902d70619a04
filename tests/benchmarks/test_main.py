from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as main
from benchmarks.reports import report


def options(*words: str) -> argparse.Namespace:
    return main.parser().parse_args(words)


def test_command_is_what_a_reader_can_type() -> None:
    own = options("--results", "/tmp/x", "--docs", "/tmp/y", "--sizes", "50", "500", "--interval", "5", "--rounds", "3")
    assert main.command("pacing", own) == "make bench BENCH_ARGS=pacing"
    assert main.command("scale", own) == 'make bench BENCH_ARGS="scale --sizes 50 500 --interval 5"'
    assert main.command("limit", options()) == "make bench BENCH_ARGS=limit"


def test_every_setting_is_one_of_the_command_line() -> None:
    known = set(vars(options())) - {"parts", "results", "docs", "scratch"}
    assert set(main.SETTINGS) == set(main.PARTS)
    assert {name for names in main.SETTINGS.values() for name in names} == known


def test_part_that_fails_says_so_and_keeps_what_was_found_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, Any]] = [{"lines": [1]}]

    def run(options: argparse.Namespace) -> dict[str, Any]:
        return found.pop() if found else {}["no"]

    monkeypatch.setattr(main, "machine", lambda: {**dict.fromkeys(["cpus", "memory_gb"], 2), **dict.fromkeys(
        ["model", "system", "python", "airflow"], "x")})  # fmt: skip
    monkeypatch.setitem(main.PARTS, "pacing", run)
    assert main.measure("pacing", options("--results", str(tmp_path)))
    for _ in range(2):
        assert not main.measure("pacing", options("--results", str(tmp_path)))
    failed = json.loads((tmp_path / "pacing.json").read_text())
    assert "KeyError" in failed["error"] and "KeyError" in report.section("pacing", failed)
    assert json.loads((tmp_path / "pacing.before.json").read_text())["lines"] == [1]
