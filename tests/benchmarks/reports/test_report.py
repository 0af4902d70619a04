from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reports import cells, pictures, report, scale_section

ABOUT = {
    "command": "python -m benchmarks",
    "date": "2026-01-01",
    "load_before": 0.1,
    "took_seconds": 150.0,
    "machine": {
        **{"cpus": 2, "model": "a CPU", "memory_gb": 4, "system": "Linux", "python": "3.11", "airflow": "3.3"},
        "versions": {},
    },
}
LAG = {"p50": 0.2, "p99": 12.0, "max": 9200.0}
MEASURED = {
    **{"row": "ours", "triggers": 500, "version": "1", "interval": 10.0, "started": 500, "lag": LAG, "lost": 0},
    **{
        "connections": 12,
        "polls": 3000,
        "polls_per_trigger": 6.0,
        "pace_kept": 1.004,
        "asked": 1.0,
        "cpu_share": 0.3,
        "error": None,
    },
    **{"cpu_ms_per_poll": 1.5, "kb_per_trigger": 14.0, "cpu_ms_per_trigger": 9.0},
}


def test_figures_are_told_as_people_write_them() -> None:
    assert [cells.figure(each) for each in (0.00123, 0.5, 12.34, 1234.0, 0)] == ["0.0012", "0.50", "12", "1,200", "0"]
    assert cells.figure(None) == cells.figure(float("nan")) == "-"
    assert [cells.milliseconds(each) for each in (0.2, 12.0, 9200.0)] == ["0.20 ms", "12 ms", "9.2 s"]


def test_table_is_markdown() -> None:
    assert cells.table(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |"


def test_row_of_a_contestant_that_was_stalled_says_so() -> None:
    row = scale_section.scale_row(MEASURED | {"row": "openai", "started": 20, "pace_kept": 0.1})
    assert row[0] == "openai (stalled: 20 started)" and row[1] == "10 %"


def test_row_of_a_contestant_that_gave_no_figures_is_as_wide_as_the_others() -> None:
    row = scale_section.scale_row({"row": "openai", "triggers": 500, "error": "gave no figures in 200 s"})
    assert "gave no figures" in row[1] and len(row) == len(scale_section.scale_row(MEASURED))


def test_joining_tells_the_job_and_its_process_apart() -> None:
    line = {
        "megabytes": 200.4, "join_seconds": 1.5, "task_seconds": 1.75, "copy_seconds": 1.25, "ratio": 1.2,
        "task_ratio": 1.4,
    }  # fmt: skip
    page = report.joining({"lines": [line], "clips": 20, "about": ABOUT})
    assert "| 20 clips, 200 MB | 1.5 s | 1.8 s | 1.2 s | 1.2 | 1.4 |" in page


def test_page_is_made_of_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, Any]] = []
    # matplotlib is installed where the benchmarks run, and nowhere else.
    monkeypatch.setattr(pictures, "draw", lambda found, folder: drawn.append(found))
    results, docs = tmp_path / "results", tmp_path / "docs"
    results.mkdir()
    lines = [MEASURED, {"row": "openai", "triggers": 500, "error": "gave no figures"}]
    found = {"lines": lines, "answer_seconds": 0.2, "interval": 10.0, "seconds": 15.0, "about": ABOUT}
    (results / "scale.json").write_text(json.dumps(found))
    report.write(results, docs)
    page = (docs / "benchmarks.md").read_text()
    assert "| ours | 100 % | 100 % | 0.20 ms | 12 ms | 9.2 s | 12 |" in page
    assert "`python -m benchmarks`" in page and "load before: 0.1; took 2 min" in page and "## Landing" not in page
    assert list(drawn[0]) == ["scale"]


def test_renditions_tell_ratios_or_why_there_are_none() -> None:
    line = {"ours_seconds": 10.0, "ffmpeg_seconds": 9.5, "ours_mb": 480.0, "ffmpeg_mb": 500.0, "speed": 0.95}
    found = {"lines": [{"row": "YouTube", **line, "memory": 0.96}], "seconds": 8, "rounds": 3, "about": ABOUT}
    page = report.section("renditions", found | {"versions": {"ffmpeg": "5.1", "av": "18", "av_ffmpeg": "8.1"}})
    assert "| YouTube | 10 s | 9.5 s | 0.95 | 480 MB | 500 MB | 0.96 |" in page
    page = report.section("renditions", {"skipped": "there is no ffmpeg on PATH", "about": ABOUT})
    assert "Nothing was measured: there is no ffmpeg on PATH." in page


def test_a_part_that_was_not_measured_keeps_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw", lambda *_: None)
    (tmp_path / "benchmarks.md").write_text(
        "# Old\n\n## Slow\n\n`make bench BENCH_ARGS=triggerer`, 2025.\n\n### Inner\n\n12\n\n"
        '## Old\n\n`make bench BENCH_ARGS="question --questions 3"`\n'
    )
    question = {"about": ABOUT, "at_once": 16, "answer_seconds": 0.02, "rounds": 3, "lines": []}
    (tmp_path / "question.json").write_text(json.dumps(question))
    report.write(tmp_path, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "### Inner\n\n12" in page and "2025" in page
    assert page.count("BENCH_ARGS=") == 1 and "\n## Old" not in page and "## One status question" in page
