"""Makes ``docs/benchmarks.md`` and its pictures from the results. Pure but for reading and writing files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measurements.landings import pace
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.reports import pictures
from benchmarks.reports.cells import about, figure, milliseconds, table
from benchmarks.reports.scale_section import scale, turns
from benchmarks.reports.triggerer_section import triggerer

INTRO = """\
# Benchmarks

<!-- Made by `make bench` (benchmarks/reports/report.py). Not to be edited by hand. -->

This page compares the provider with other providers' deferrable operators, on one machine and in the same run. Only
ratios and orders of magnitude carry over to your machine. One command repeats all of it on a clone, with nothing but
the package index and loopback:

```
make bench
```
"""


def pacing(found: dict[str, Any]) -> str:
    """Return (b), simulated."""
    parts = [
        "## Polls and delay, simulated",
        about(found),
        f"{found['jobs']:,} jobs, log-normal ({found['sigma']:g}), scheduled by the provider's own code. The delay "
        "is from a job's end to the answer that reports it. Longer fixed intervals trade polls for delay; the "
        "product of both shows how good the trade is. The ratio compares with the fixed interval that needs as "
        "many polls.",
    ]
    head = ["", "polls a job", "mean delay", "p95", "polls times mean delay"]
    for each in found["scenarios"]:
        rows = [[name, *pace_cells(line)] for name, line in each["rows"].items()]
        parts += [
            f"### Jobs of {each['median']:g} s: {each['scenario']}",
            table(head, rows),
            f"Polls times mean delay, adaptive to fixed at equal polls: **{each['ratio']:.2f}**",
        ]
    return "\n\n".join([*parts, "![Polls and delay](benchmarks/pacing.svg)"])


def pace_cells(line: dict[str, Any]) -> list[str]:
    """Return polls, delays and their product."""
    if "polls" not in line:
        return ["did not finish", "", "", ""]
    cells = [figure(line["polls"]), figure(line["mean_delay"], " s"), figure(line["p95_delay"], " s")]
    return [*cells, figure(line["product"])]


def delay(found: dict[str, Any]) -> str:
    """Return (b) on the real clock."""
    rows = [[line["row"], *pace_cells(line)] for line in found["lines"]]
    return "\n\n".join(
        [
            "## Polls and delay, real clock",
            about(found),
            f"{found['jobs']} jobs per row, log-normal around {found['median']:g} s, the same for every row. The "
            "rows ran concurrently, each in its own process. The delay is from a job's end to the trigger's "
            "event, which comes no sooner than 12 s after the deferral.",
            table(["", "polls a job", "mean delay", "p95", "polls times mean delay"], rows),
        ]
    )


def limit(found: dict[str, Any]) -> str:
    """Return (c)."""
    rows = [
        [line["row"], f"did not finish: {line['error'][:80]}", *[""] * 5] if "polls" not in line else [
            line["row"],
            f"{line['known']:,}",
            f"{line['lost']:,}",
            f"{line['answered']:,}",
            f"{line['throttled']:,}",
            figure(line["mean_delay"], " s"),
            figure(line["p95_delay"], " s"),
        ]
        for line in found["lines"]
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"## {found['jobs']:,} jobs behind {found['per_minute']} requests a minute",
            about(found),
            f"Requests above the limit get a 429 with `Retry-After`. The run takes at most {found['seconds']:g} s; "
            f"the last end cannot be known before {found['least_seconds']:.0f} s. *Lost*: the trigger ended in an "
            "error while the job went on. Delays cover only the ends that became known: where these are few, the "
            "delays say little. Contestants ran concurrently, each in its own process, with its own account and "
            f"limit on one server{alone()}.",
            table(["", "ends known", "lost", "answered", "refused", "mean delay", "p95"], rows),
        ]
    )


def alone() -> str:
    """Return which contestants ran alone in (c), and why."""
    names = ", ".join(f"*{name}*" for name, each in CONTESTANTS.items() if each.storms)
    return f"; {names} ran alone, because it retries at once when it is refused" if names else ""


def landing(found: dict[str, Any]) -> str:
    """Return (d)."""
    rows = []
    for line in found["lines"]:
        ratios = "; ".join(f"{ratio:.2f} of `{name}`" for name, ratio in line["ratios"].items())
        rows.append(
            [
                f"{line['megabytes']} MB, {line['storage']}, {pace(line['rate'])}",
                figure(line["megabytes"] / line["seconds"], " MB/s", 3),
                ratios,
                f"+{line['worst_peak_mb']:.1f} MB",
                f"{line['base_mb']:.0f} MB",
                milliseconds(line["first_seconds"] * 1000),
            ]
        )
    return "\n\n".join(
        [
            "## Landing",
            about(found),
            "Ours downloads, hashes, checks the container, flushes the file to disk (`fsync`) or uploads it to "
            "the bucket, and writes the sidecar. `curl` alone only downloads into a file, and its start-up is not "
            "counted. For S3 (moto's server), curl downloads and then uploads in one PUT, with no check. "
            "*Loopback*: as fast as the server can send, which no real network is. Ratios are medians of the "
            "ratios within a round. Memory is the worst peak of all rounds above the process's initial size. The "
            "last column is the time of a process's very first video, of a few kilobytes: it includes loading the "
            "certificates, which curl does not need on plain HTTP.",
            table(["", "ours", "throughput, ours to the other", "peak memory", "process before", "first video"], rows),
        ]
    )


def imports(found: dict[str, Any]) -> str:
    """Return (e)."""
    counts = list(found["lines"][0]["parse"])
    head = ["operator", "modules", "import", "ours to this"]
    for count in counts:
        head += [f"{count} operators", "ours to this", "serialize"]
    rows = []
    for line in found["lines"]:
        row = [f"{line['row']}: `{line['operator']}`", f"{line['modules']}", milliseconds(line["seconds"] * 1000)]
        row.append(figure(line["ours_to_this"]))
        for count in counts:
            each = line["parse"][count]
            row += [milliseconds(each["seconds"] * 1000), figure(each["ours_to_this"])]
            row.append(milliseconds(each["serialize_seconds"] * 1000))
        rows.append(row)
    return "\n\n".join(
        [
            "## Import and DAG parse",
            about(found),
            "Measured on top of `import airflow.sdk`, each in a fresh interpreter, in turn. Then a file with so "
            "many operators is parsed by Airflow's `DagBag`, the import included, and serialized.",
            table(head, rows),
        ]
    )


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "scale": scale,
    "turns": turns,
    "delay": delay,
    "pacing": pacing,
    "limit": limit,
    "triggerer": triggerer,
    "landing": landing,
    "imports": imports,
}


def section(name: str, found: dict[str, Any]) -> str:
    """Return one part's section; for a part that failed, the section says so."""
    if "error" in found:
        return f"## {name}: failed\n\n{about(found)}\n\nGave no figures: `{found['error'][:200]}`"
    return SECTIONS[name](found)


def write(results: Path, docs: Path) -> None:
    """Write the page and the pictures from whatever results there are."""
    found = {name: json.loads(path.read_text()) for name in SECTIONS if (path := results / f"{name}.json").exists()}
    (docs / "benchmarks").mkdir(parents=True, exist_ok=True)
    pictures.draw({name: each for name, each in found.items() if "error" not in each}, docs / "benchmarks")
    page = "\n\n".join([INTRO.strip(), *[section(name, each) for name, each in found.items()]])
    (docs / "benchmarks.md").write_text(page + "\n")
