"""(b), real clock, and (c): the number of polls, and the delay until a job's end is known, over the whole life of jobs.

(b) runs our trigger, adaptive and at fixed intervals, over the same durations. (c) has a thousand jobs in flight behind
a limit that allows each job one poll in two minutes, for ours and for each peer. The rows mostly wait, so they run in
parallel: each in a process of its own, with an account and a limit of its own on one shared server. A contestant that
floods the server when it is refused runs alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.measurements.figures import Pace, durations
from benchmarks.measurements.loops import Server, beside, run_child, status_server
from benchmarks.peers.contestants import CONTESTANTS


def order_of(name: str, interval: float | None, takes: list[float], ramp: float, seconds: float) -> dict[str, Any]:
    """Return the order for a child process.

    :param ramp: the jobs are submitted evenly over this many seconds.
    """
    jobs = [(index, index / len(takes) * ramp, each, interval) for index, each in enumerate(takes)]
    return {"contestant": name, "jobs": jobs, "warm": 0.0, "seconds": seconds, "until_done": True}


def line_of(row: str, order: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table."""
    line = {"row": row, "jobs": len(order["jobs"])}
    if "window" not in found:
        return line | {"error": found["error"]}
    delays, answered = list(found["delays"].values()), len(found["asked"])
    return line | {
        **vars(Pace.of([answered / len(order["jobs"])], delays)),
        **{"known": len(delays), "lost": found["lost"], "lost_example": found["lost_example"]},
        **{"answered": answered, "throttled": found["throttled"], "seconds": found["window"]},
        **{"lag": found["lag"], "cpu_seconds": found["cpu_seconds"], "error": found["error"]},
    }


def measure(server: Server, row: str, order: dict[str, Any], per_minute: int = 0) -> dict[str, Any]:
    """Run one child and return its line."""
    account = "".join(letter for letter in row if letter.isalnum())
    line = line_of(row, order, run_child(server, order, account, per_minute=per_minute))
    print(f"  {row}: {summary(line)}", flush=True)
    return line


def run_pace(options: argparse.Namespace) -> dict[str, Any]:
    """Run (b): ours, adaptive and at fixed intervals, in parallel."""
    takes = durations(options.jobs, options.job_seconds, options.sigma)
    intervals: dict[str, float | None] = {"adaptive": None, **{f"{each:g} s": each for each in options.intervals}}
    cap = options.ramp + max(takes) + 120.0
    with status_server(options.answer_seconds) as server:
        jobs = [
            partial(measure, server, row, order_of("ours", interval, takes, options.ramp, cap))
            for row, interval in intervals.items()
        ]
        lines = beside(jobs)
    for line in lines:
        if "polls" in line:
            line["product"] = line["polls"] * line["mean_delay"]
    return {"lines": lines, "jobs": options.jobs, "median": options.job_seconds, "sigma": options.sigma}


def run_limit(options: argparse.Namespace) -> dict[str, Any]:
    """Run (c): all contestants behind limits of the same size."""
    takes = durations(options.limit_jobs, options.job_seconds, options.sigma)
    names = [name for name in options.contestants if name != "base"]
    lines: dict[str, dict[str, Any]] = {}
    with status_server(options.answer_seconds) as server:

        def job(name: str) -> Callable[[], dict[str, Any]]:
            row, interval = row_of(name, options)
            order = order_of(name, interval, takes, options.ramp, options.limit_seconds)
            return partial(measure, server, row, order, options.per_minute)

        quiet = [name for name in names if not CONTESTANTS[name].storms]
        for group in (quiet, *([name] for name in names if name not in quiet)):
            lines |= zip(group, beside([job(name) for name in group]), strict=True)
    return {
        **{"lines": [lines[name] for name in names], "jobs": options.limit_jobs, "median": options.job_seconds},
        **{"per_minute": options.per_minute, "seconds": options.limit_seconds, "sigma": options.sigma},
        # Each job's end takes one answer, so the last end cannot be known before this.
        "least_seconds": max(max(takes), options.limit_jobs / options.per_minute * 60 - 60),
    }


def row_of(name: str, options: argparse.Namespace) -> tuple[str, float | None]:
    """Return a contestant's row of (c) and its interval: ours by default; a peer at the common interval."""
    if name == "ours":
        return "ours, adaptive", None
    interval = options.interval or CONTESTANTS[name].default_seconds
    return f"{name}, {interval:g} s", interval


def summary(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    if "polls" not in line:
        return str(line["error"])
    return (
        f"{line['known']} of {line['jobs']} known, {line['lost']} lost, {line['polls']:.1f} polls a job, "
        f"delay {line['mean_delay']:.1f} s, p95 {line['p95_delay']:.1f} s, {line['throttled']} refused"
    )
