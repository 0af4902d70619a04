"""(b), real clock, and (c): what is asked, and when a job's end is known, over whole lives of jobs.

(b) runs our trigger, adaptive and at fixed intervals, over the same durations at once in one loop. (c) has a thousand
jobs in flight behind a limit that lets each be asked about once in two minutes, for ours and for each peer.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import Pace, durations
from benchmarks.loops import Server, run_child, status_server

#: Which jobs belong to a row: the first one, and how many.
Rows = dict[str, tuple[int, int]]


def order_of(
    name: str, intervals: dict[str, float | None], takes: list[float], ramp: float, seconds: float
) -> tuple[dict[str, Any], Rows]:
    """Return what a child is told, and whose jobs are whose: each row gets all durations.

    :param intervals: of each row.
    :param ramp: the jobs of a row are submitted evenly over so many seconds.
    """
    jobs: list[tuple[int, float, float, float | None]] = []
    rows: Rows = {}
    for row, interval in intervals.items():
        rows[row] = (len(jobs), len(takes))
        jobs += [(len(jobs) + i, i / len(takes) * ramp, each, interval) for i, each in enumerate(takes)]
    # In the order of their submissions.
    jobs.sort(key=lambda job: job[1])
    return {"contestant": name, "jobs": jobs, "warm": 0.0, "seconds": seconds, "until_done": True}, rows


def line_of(row: str, mine: range, found: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table.

    :param mine: the indices of its jobs.
    """
    line = {"row": row, "jobs": len(mine)}
    if "window" not in found:
        return line | {"error": found["error"]}
    answered = sum(found["jobs"].get(index, 0) for index in mine)
    delays = [delay for index, delay in found["delays"].items() if index in mine]
    return line | {
        **vars(Pace.of([answered / len(mine)], delays)),
        **{"known": len(delays), "lost": found["lost"], "lost_example": found["lost_example"]},
        **{"answered": answered, "throttled": found["throttled"], "seconds": found["window"]},
        **{"connections": found["connections"], "lag": found["lag"], "error": found["error"]},
    }


def measure(server: Server, order: dict[str, Any], rows: Rows, per_minute: int = 0) -> list[dict[str, Any]]:
    """Run one child and return the lines of its rows."""
    found = run_child(server, order, per_minute)
    lines = [line_of(row, range(first, first + count), found) for row, (first, count) in rows.items()]
    for line in lines:
        print(f"  {line['row']}: {summary(line)}", flush=True)
    return lines


def run_pace(options: argparse.Namespace) -> dict[str, Any]:
    """Run (b): ours adaptive and fixed, all in one loop."""
    takes = durations(options.jobs, options.job_seconds, options.sigma)
    intervals: dict[str, float | None] = {"adaptive": None, **{f"{each:g} s": each for each in options.intervals}}
    cap = options.ramp + max(takes) + 120.0
    with status_server(options.answer_seconds) as server:
        order, rows = order_of("ours", intervals, takes, options.ramp, cap)
        lines = measure(server, order, rows)
    for line in lines:
        if "polls" in line:
            line["product"] = line["polls"] * line["mean_delay"]
    return {"lines": lines, "jobs": options.jobs, "median": options.job_seconds, "sigma": options.sigma}


def run_limit(options: argparse.Namespace) -> dict[str, Any]:
    """Run (c): everybody behind the limit, one after the other."""
    takes = durations(options.limit_jobs, options.job_seconds, options.sigma)
    lines = []
    with status_server(options.answer_seconds) as server:
        for name in options.contestants:
            if name != "base":
                order, rows = order_of(name, intervals_of(name, options), takes, options.ramp, options.limit_seconds)
                lines += measure(server, order, rows, options.per_minute)
    return {
        **{"lines": lines, "jobs": options.limit_jobs, "median": options.job_seconds, "sigma": options.sigma},
        **{"per_minute": options.per_minute, "seconds": options.limit_seconds},
        # Each end has to be told once, so the last one cannot be known before this.
        "least_seconds": max(max(takes), options.limit_jobs / options.per_minute * 60 - 60),
    }


def intervals_of(name: str, options: argparse.Namespace) -> dict[str, float | None]:
    """Return a contestant's row of (c): ours as it comes; a peer at the common interval."""
    if name == "ours":
        return {"ours, adaptive": None}
    interval = options.interval or CONTESTANTS[name].default_seconds
    return {f"{name}, {interval:g} s": interval}


def summary(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    if "polls" not in line:
        return str(line["error"])
    return (
        f"{line['known']} of {line['jobs']} known, {line['lost']} lost, {line['polls']:.1f} polls a job, "
        f"delay {line['mean_delay']:.1f} s, p95 {line['p95_delay']:.1f} s, {line['throttled']} refused"
    )
