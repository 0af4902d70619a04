"""(a) How many triggers one event loop carries: ours and the peers', at 50 to 10,000."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.measurements.figures import served
from benchmarks.measurements.loops import run_child, status_server
from benchmarks.measurements.pacing import polls_between
from benchmarks.peers.contestants import CONTESTANTS

#: A job that does not end during the measurement.
LONG_SECONDS = 1_000_000.0
#: Ours does not poll a new job before this.
FIRST_POLL_SECONDS = 10.0
#: The time from the last trigger's start to the beginning of the window.
SETTLE_SECONDS = 2.0
#: The length of jobs for ours without a fixed interval. None of them ends in the window.
ADAPTIVE_JOB_SECONDS = 240.0


def contestants(names: list[str]) -> list[str]:
    """Return the rows: ours twice, with the common interval and with its own, adaptive one."""
    return [row for name in names for row in ((name, "ours, adaptive") if name == "ours" else (name,))]


def order_of(row: str, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the order for a child process.

    Triggers start evenly over one interval, as in a triggerer, and not all at the same moment.
    """
    name = row.partition(",")[0]
    adaptive = row != name
    ramp = options.interval or CONTESTANTS[name].default_seconds or 20.0
    takes = ADAPTIVE_JOB_SECONDS if adaptive else LONG_SECONDS
    starts = [number / size * ramp for number in range(size)]
    interval = None if adaptive else options.interval or CONTESTANTS[name].default_seconds
    return {
        "contestant": name,
        "interval": interval,
        "jobs": [(number, start, takes, interval) for number, start in enumerate(starts)],
        "warm": max(ramp, FIRST_POLL_SECONDS) + SETTLE_SECONDS,
        "seconds": options.seconds,
        "until_done": False,
    }


def row_of(row: str, size: int, order: dict[str, Any], found: dict[str, Any], answer: float) -> dict[str, Any]:
    """Return one line of the table."""
    contestant = CONTESTANTS[order["contestant"]]
    line = {"row": row, "triggers": size, "interval": order["interval"], "version": contestant.version}
    if "window" not in found:
        return line | {"error": found["error"]}
    window, warm = found["window"], order["warm"]
    if row == "base":
        share = None
    elif order["interval"] is None:
        due = sum(polls_between(start, takes, warm, warm + window, answer) for _, start, takes, _ in order["jobs"])
        share = found["polls"] / due if due else None
    else:
        share = served(found["polls"], size, window, order["interval"] + answer)
    return line | {
        **{"started": found["started"], "window": window, "error": found["error"], "lost": found["lost"]},
        **{"lag": found["lag"], "connections": found["connections"], "polls": found["polls"]},
        "polls_per_trigger": found["polls"] / size,
        "pace_kept": share,
        "asked": len({index for when, index in found["asked"] if when >= found["begin"]}) / size,
        "polls_per_second": found["polls"] / window,
        "cpu_ms_per_trigger": found["cpu_seconds"] * 1000 / size,
        "cpu_share": found["cpu_seconds"] / window,
        "cpu_ms_per_poll": found["cpu_seconds"] * 1000 / found["polls"] if found["polls"] else None,
        "kb_per_trigger": found["rss_growth"] / 1024 / size,
        "lost_example": found["lost_example"],
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all rows at all sizes, one after the other, against one server."""
    lines = []
    with status_server(options.answer_seconds) as server:
        for size in options.sizes:
            for row in contestants(options.contestants):
                order = order_of(row, size, options)
                line = row_of(row, size, order, run_child(server, order), options.answer_seconds)
                print(f"  {row} x {size}: {summary(line)}", flush=True)
                lines.append(line)
    return {
        "lines": lines,
        "answer_seconds": options.answer_seconds,
        "interval": options.interval,
        "seconds": options.seconds,
    }


def summary(line: dict[str, Any]) -> str:
    """Return one line for the terminal."""
    if "lag" not in line:
        return str(line["error"])
    lag = line["lag"]
    return (
        f"lag {lag['p50']:.1f}/{lag['p99']:.1f}/{lag['max']:.1f} ms, {line['connections']} connections, "
        f"{line['polls']} polls, {line['cpu_share']:.2f} CPUs, {line['kb_per_trigger']:.1f} KB"
    )
