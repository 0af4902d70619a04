from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.full_airflow.triggerer import BLOCKED
from benchmarks.reports import triggerer_section
from benchmarks.servers.wait import WaitServer

PHASE = {
    **{"phase": "start", "seconds": 20.0, "warnings": 2, "longest": 1.3, "overlaps": 0, "polls": 1000},
    **{"peak_open": 16, "all_assigned_seconds": 6.0, "all_asked_seconds": 19.5},
    "peak_mb": {"runner": 168.0, "supervisor": 170.0},
}
END = PHASE | {
    **{"phase": "all completed", "all_told_seconds": 15.0, "deferred": 1, "in_time": False},
    **{"told": 1000, "finished": 998, "failed": 1, "triggers_left": 1},
}
STEADY = PHASE | {"phase": "steady", "least_gap": 5.04, "most_gap": 11.0}


def test_a_question_about_a_job_that_is_being_asked_about_is_counted() -> None:
    async def ask() -> WaitServer:
        server = WaitServer(answer_seconds=0.01)
        await asyncio.gather(server.poll("a"), server.poll("a"), server.poll("b"))
        await server.poll("b")
        return server

    server = asyncio.run(ask())
    counts = server.control("/control/count")
    assert (counts["polls"], counts["seen"], counts["overlaps"]) == (4, 2, 1)
    assert server.control("/control/mark")["polls"] == 0


def test_the_longest_time_without_a_question_counts_those_that_are_still_waiting() -> None:
    async def ask() -> WaitServer:
        server = WaitServer(answer_seconds=0.0)
        await asyncio.gather(server.poll("a"), server.poll("b"))
        server.control("/control/mark")
        await asyncio.sleep(0.05)
        await server.poll("a")
        await asyncio.sleep(0.05)
        return server

    counts = asyncio.run(ask()).control("/control/count")
    assert counts["most_gap"] >= 0.1 and 0.05 <= counts["least_gap"] < 0.1


def test_jobs_go_on_until_they_are_told_to_end() -> None:
    server = WaitServer(answer_seconds=0.0)
    assert asyncio.run(server.poll("a"))["data"]["status"] == "processing"
    server.control("/control/done")
    assert asyncio.run(server.poll("a"))["data"]["status"] == "completed"
    assert server.control("/control/count")["told"] == 1


def test_the_warning_that_is_looked_for_is_airflows() -> None:
    import inspect

    from airflow.jobs.triggerer_job_runner import TriggerRunner

    text = inspect.getsource(TriggerRunner.block_watchdog).replace("%.2f", "1.30")
    assert BLOCKED.findall(text) == ["1.30"]


def test_page_tells_each_phase_and_what_was_left_behind() -> None:
    about: dict[str, Any] = {
        **{"command": "python -m benchmarks", "date": "2026-01-01", "load_before": 0.1, "took_seconds": 9.0},
        "machine": {"cpus": 2, "model": "a CPU", "memory_gb": 4, "system": "Linux", "python": "3.11", "airflow": "3.3"},
    }
    lines = [
        {"row": "ours", "tasks": 1000, "phases": [PHASE, STEADY, END]},
        {"row": "base", "tasks": 1000, "phases": [PHASE]},
    ]
    page = triggerer_section.triggerer({"lines": lines, "about": about, "answer_seconds": 0.2, "dead_after": 10})
    assert "| ours: start | - | 6.0 s | 19.5 s | 2 (1.3 s) | 0 | - | 50 | 16 | - | - | 168 MB | 170 MB |" in page
    assert "### 1,000 deferred tasks" in page and "| 2 (1.3 s) | 0 | 5.0-11.0 s |" in page
    assert "ours: all completed (not done in time)" in page and "left `deferred` never" in page
    assert "998 tasks got that as their event; 1 triggers failed, 1 tasks and 1 triggers were left behind" in page
