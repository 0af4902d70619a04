"""(a), second half: ours with more triggers than it may poll at their best pace. Which are polled when, and which wait?

A window of a few seconds cannot show whether every trigger gets a turn, so these runs are long enough for that. They
mostly wait, so they run in parallel, each with an account of its own on one shared server.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from benchmarks.measurements.figures import turns
from benchmarks.measurements.loops import Server, beside, run_child, status_server

#: All triggers start within this time.
RAMP_SECONDS = 10.0
#: A job that does not end during the measurement, but not so long that its best pace would be slow.
JOB_SECONDS = 240.0


def order_of(size: int, seconds: float) -> dict[str, Any]:
    """Return the order for a child process."""
    jobs = [(number, number / size * RAMP_SECONDS, max(JOB_SECONDS, 2 * seconds), None) for number in range(size)]
    return {"contestant": "ours", "jobs": jobs, "warm": 0.0, "seconds": seconds, "until_done": False}


def line_of(size: int, answer: float, order: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table."""
    line = {"triggers": size, "answer_seconds": answer}
    if "window" not in found:
        return line | {"error": found["error"]}
    starts = [found["origin"] + start for _, start, _, _ in order["jobs"]]
    return line | {
        **vars(turns(starts, found["asked"], found["end"])),
        **{"seconds": found["window"], "polls_per_second": found["polls"] / found["window"], "lag": found["lag"]},
        **{"cpu_share": found["cpu_seconds"] / found["window"], "lost": found["lost"], "error": found["error"]},
        "kb_per_trigger": found["rss_growth"] / 1024 / size,
    }


def measure(server: Server, size: int, answer: float, seconds: float) -> dict[str, Any]:
    """Run one child and return its line."""
    order = order_of(size, seconds)
    found = run_child(server, order, f"turns{size}at{answer * 1000:g}", answer_seconds=answer)
    line = line_of(size, answer, order, found)
    print(f"  {size} triggers, answers after {answer * 1000:g} ms: {summary(line)}", flush=True)
    return line


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all sizes in parallel."""
    with status_server(options.answer_seconds) as server:
        pairs = [each.split("@") for each in options.turns]
        jobs = [partial(measure, server, int(size), float(answer), options.turn_seconds) for size, answer in pairs]
        return {"lines": beside(jobs), "seconds": options.turn_seconds}


def summary(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    if "asked" not in line:
        return str(line["error"])
    return (
        f"{line['asked'] * 100:.0f} % asked, the first time after {line['first'][1]:.0f} s at most, then every "
        f"{line['between'][0]:.0f} s (p99 {line['between'][1]:.0f}, longest {line['between'][2]:.0f} s); nobody waited "
        f"for longer than {line['longest']:.0f} s; {line['polls_per_second']:.0f} polls a second, "
        f"{line['cpu_share']:.2f} CPUs"
    )
