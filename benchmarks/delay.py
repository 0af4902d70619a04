"""(b), real clock, and (c): what is asked, and when a job's end is known, over whole lives of jobs.

(b) runs our trigger, adaptive and at fixed intervals, over the same durations at once in one loop. (c) starts a thousand
jobs at once behind a limit that lets each be asked about once in two minutes, for ours and for each peer.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import Pace, durations
from benchmarks.loops import Server, run_child, status_server


def order_of(name: str, interval: float | None, takes: list[float], ramp: float, seconds: float) -> dict[str, Any]:
    """Return what a child is told: all jobs of one contestant, submitted evenly over ``ramp`` seconds."""
    starts = [number / len(takes) * ramp for number in range(len(takes))]
    jobs = [(number, start, start, each) for number, (start, each) in enumerate(zip(starts, takes, strict=True))]
    settings = {"warm": 0.0, "seconds": seconds, "until_done": True}
    return {"contestant": name, "interval": interval, "jobs": jobs, **settings}


def line_of(row: str, order: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table."""
    line = {"row": row, "interval": order["interval"], "jobs": len(order["jobs"])}
    if "window" not in found:
        return line | {"error": found["error"]}
    # The trial of the warm-up is not one of the jobs.
    polls = [count for number, (count, _) in found["jobs"].items() if int(number) % 10**5 != 99_999]
    return line | {
        **vars(Pace.of([sum(polls) / len(order["jobs"])], found["delays"])),
        **{"known": len(found["delays"]), "lost": found["lost"], "lost_example": found["lost_example"]},
        **{"answered": sum(polls), "throttled": found["throttled"], "seconds": found["window"]},
        **{"connections": found["connections"], "lag": found["lag"], "error": found["error"]},
    }


def measure(server: Server, row: str, order: dict[str, Any], per_minute: int = 0) -> dict[str, Any]:
    """Run one child and tell."""
    line = line_of(row, order, run_child(server, order, per_minute))
    print(f"  {row}: {summary(line)}", flush=True)
    return line


def run_pace(options: argparse.Namespace) -> dict[str, Any]:
    """Run (b): ours adaptive and fixed."""
    takes = durations(options.jobs, options.job_seconds, options.sigma)
    rows = {"adaptive": None, **{f"{each:g} s": each for each in options.intervals}}
    cap = options.ramp + max(takes) + 120.0
    with status_server(options.answer_seconds) as server:
        lines = [
            measure(server, row, order_of("ours", interval, takes, options.ramp, cap)) for row, interval in rows.items()
        ]
    for line in lines:
        if "polls" in line:
            line["product"] = line["polls"] * line["mean_delay"]
    return {"lines": lines, "jobs": options.jobs, "median": options.job_seconds, "sigma": options.sigma}


def run_limit(options: argparse.Namespace) -> dict[str, Any]:
    """Run (c): everybody behind the limit."""
    takes = durations(options.limit_jobs, options.job_seconds, options.sigma)
    lines = []
    with status_server(options.answer_seconds) as server:
        for name in options.contestants:
            if name == "base":
                continue
            for row, interval in rows_of(name, options):
                order = order_of(name, interval, takes, 0.0, options.limit_seconds)
                lines.append(measure(server, row, order, options.per_minute))
    return {
        **{"lines": lines, "jobs": options.limit_jobs, "median": options.job_seconds, "sigma": options.sigma},
        **{"per_minute": options.per_minute, "seconds": options.limit_seconds},
        # Each end has to be told once, so the last one cannot be known before this.
        "least_seconds": max(max(takes), options.limit_jobs / options.per_minute * 60 - 60),
    }


def rows_of(name: str, options: argparse.Namespace) -> list[tuple[str, float | None]]:
    """Return a contestant's rows of (c): ours as it comes; a peer at the common interval."""
    if name == "ours":
        return [("ours, adaptive", None)]
    interval = options.interval or CONTESTANTS[name].default_seconds
    return [(f"{name}, {interval:g} s", interval)]


def summary(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    if "polls" not in line:
        return str(line["error"])
    return (
        f"{line['known']} of {line['jobs']} known, {line['lost']} lost, {line['polls']:.1f} polls a job, "
        f"delay {line['mean_delay']:.1f} s, p95 {line['p95_delay']:.1f} s, {line['throttled']} refused"
    )
