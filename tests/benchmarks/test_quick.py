"""The small measurements: which ratios are told, and how they stand beside the committed ones."""

from __future__ import annotations

import json

from benchmarks import __main__ as bench
from benchmarks import quick

FOUND = {
    "question": {"lines": [{"row": "ours", "ours_to_this": 1.0}, {"row": "httpx", "ours_to_this": 0.25}]},
    "scale": {
        "lines": [
            {"row": "base", "triggers": 500, "started": 500, "cpu_ms_per_poll": None, "lag": {"p99": 1.0}},
            {"row": "ours", "triggers": 500, "started": 500, "cpu_ms_per_poll": 1.5, "lag": {"p99": 4.0}},
            {"row": "ours, adaptive", "triggers": 500, "started": 500, "cpu_ms_per_poll": 1.0, "lag": {"p99": 1.0}},
            {"row": "dbt-cloud", "triggers": 500, "started": 500, "cpu_ms_per_poll": 2.0, "lag": {"p99": 8.0}},
            {"row": "openai", "triggers": 500, "started": 20, "cpu_ms_per_poll": 0.1, "lag": {"p99": 9000.0}},
            {"row": "fivetran", "triggers": 500, "error": "gave no figures"},
        ]
    },
    "landing": {"lines": [{"megabytes": 10, "storage": "local", "ratios": {"curl": 0.5}}]},
    "joining": {"lines": [{"megabytes": 6.2, "ratio": 2.0}]},
    "imports": {"lines": [{"row": "http", "ours_to_this": 0.75, "parse": {100: {"ours_to_this": 0.5}}}]},
}


def test_what_is_told() -> None:
    found = quick.ratios(FOUND)
    assert list(found.values()) == [0.25, 0.75, 4.0, 0.5, 2.0, 0.75, 0.5]
    # A peer whose triggers never started is not the cheapest.
    assert found["500 triggers: CPU a poll, ours to the cheapest peer's"] == 0.75
    assert quick.ratios({}) == {}


def test_a_part_without_figures_leaves_out_its_ratios() -> None:
    stalled = {"scale": {"lines": [{"row": "ours", "triggers": 500, "error": "gave no figures"}]}}
    assert quick.ratios(stalled) == {}


def test_the_report_names_what_changed_what_is_new_and_what_is_missing() -> None:
    lines = quick.report({"a": 1.1, "new": 2.0}, {"a": 1.0, "gone": 3.0}).splitlines()
    assert lines[1].split() == ["a", "1.10", "1.00", "+10", "%"]
    assert lines[2].split() == ["new", "2.00", "-"]
    assert lines[3].split() == ["gone", "-", "3.00"]


def test_its_settings_and_parts_are_those_of_the_benchmark() -> None:
    bench.parser().parse_args(quick.SETTINGS)
    assert set(quick.PARTS) <= set(bench.PARTS)


def test_the_committed_ratios_are_of_these_measurements() -> None:
    committed = json.loads(quick.COMMITTED.read_text())
    assert committed["about"]["date"] and committed["ratios"]
    assert all(ratio > 0 for ratio in committed["ratios"].values())
