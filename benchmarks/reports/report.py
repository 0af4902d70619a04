"""Makes ``docs/benchmarks.md`` and its pictures from the results. Pure but for reading and writing files."""

from __future__ import annotations

import json
import re
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
            "The store of 30 ms a request is a small one of our own; the download is not delayed. "
            "*Loopback*: as fast as the server can send, which no real network is. Ratios are medians of the "
            "ratios within a round. Memory is the worst peak of all rounds above the process's initial size. The "
            "last column is the time of a process's very first video, of a few kilobytes: it includes loading the "
            "certificates, which curl does not need on plain HTTP.",
            table(["", "ours", "throughput, ours to the other", "peak memory", "process before", "first video"], rows),
        ]
    )


def joining(found: dict[str, Any]) -> str:
    """Return (f)."""
    rows = [
        [
            f"{found['clips']} clips, {line['megabytes']:.0f} MB",
            milliseconds(line["join_seconds"] * 1000),
            milliseconds(line["task_seconds"] * 1000),
            milliseconds(line["copy_seconds"] * 1000),
            figure(line["ratio"]),
            figure(line["task_ratio"]),
        ]
        for line in found["lines"]
    ]
    return "\n\n".join(
        [
            "## Joining clips",
            about(found),
            "Clips of 8 seconds (1080p, H.264 and AAC) that agree are copied into one video, bit by bit. `cp` copies "
            "one file of the same size. All are flushed to disk (`fsync`). Ratios are medians of the ratios within a "
            "round. *In its process* is the same in a child process, as tasks run it: the difference is the start of "
            "Python. A task also reads each file once for its checksum.",
            table(["", "join", "in its process", "`cp`", "join to `cp`", "in its process to `cp`"], rows),
        ]
    )


def renditions(found: dict[str, Any]) -> str:
    """Return (g)."""
    parts = ["## Renditions", about(found)]
    if "skipped" in found:
        return "\n\n".join([*parts, f"Nothing was measured: {found['skipped']}."])
    rows = [
        [
            line["row"],
            figure(line["ours_seconds"], " s"),
            figure(line["ffmpeg_seconds"], " s"),
            f"{line['speed']:.2f}",
            f"{line['ours_mb']:,.0f} MB",
            f"{line['ffmpeg_mb']:,.0f} MB",
            f"{line['memory']:.2f}",
        ]
        for line in found["lines"]
    ]
    versions = found["versions"]
    medians = f"Figures are medians of {found['rounds']} rounds." if found["rounds"] > 1 else "It was done once."
    return "\n\n".join(
        [
            *parts,
            f"A clip of {found['seconds']} s, 1080p, noisy and moving everywhere, is made into what a channel takes: "
            "by the child process of `VideoRenditionOperator` and by the `ffmpeg` binary, with the same filters and "
            "encoder settings, in turn; each from the start of its process to its end. The binary is FFmpeg "
            f"{versions['ffmpeg']}, ours PyAV {versions['av']} with FFmpeg {versions['av_ffmpeg']}; their x264 "
            f"differs, too. {medians} Memory is the peak resident size.",
            table(["", "ours", "ffmpeg", "speed, ours to it", "memory, ours", "ffmpeg", "memory, ours to it"], rows),
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


def quoted(name: str) -> str:
    """Return a name of the code as Markdown."""
    return f"`{name}`"


def mapped(found: dict[str, Any]) -> str:
    """Return (h)."""
    head = ["operator", "CPU a row", "pays or submits", "ends", "its own part", "ours to this"]
    head += ["requests to Airflow", "its own", "modules loaded"]
    rows = [
        [
            f"{line['row']}: {line['operator'] if line['row'] == 'nothing' else quoted(line['operator'])}",
            milliseconds(line["cpu_seconds"] * 1000),
            *[milliseconds(part * 1000) for part in line["parts"]],
            "-" if line["row"] == "nothing" else milliseconds(line["own_seconds"] * 1000),
            "-" if line["ours_to_this"] is None else figure(line["ours_to_this"]),
            *[f"{line[name]}" for name in ("requests", "own_requests", "modules")],
        ]
        for line in found["lines"]
    ]
    return "\n\n".join(
        [
            "## A mapped row in the worker",
            about(found),
            f"Each operator is mapped over {found['rows']} rows, in {found['rounds']} rounds, in turn. Airflow's own "
            "task runner carries out both parts of each task, in a process each that is forked from one that has "
            "loaded what a LocalExecutor's worker has. CPU is user and system time of both processes. *Its own part* "
            "is what is left without that of an operator that only defers. Requests are those of the task to its "
            "supervisor, which makes an HTTP request to the API server of nearly each of them; that work is not in "
            "these figures. Ours pays for a generation, keeps its record in Airflow's task state store, lands a video "
            "on the local disk and leaves two notes for the pages. The peer starts a job and reads its state; what it "
            "has made stays where it is, and nothing is kept for a try that follows a crash.",
            table(head, rows),
        ]
    )


def question(found: dict[str, Any]) -> str:
    """Return (i)."""
    rows = [[line["row"], f"{line['cpu_ms']:.3f} ms", figure(line["ours_to_this"])] for line in found["lines"]]
    return "\n\n".join(
        [
            "## One status question",
            about(found),
            f"CPU of the process that asks, for each question: {found['at_once']} at once, answers after "
            f"{found['answer_seconds'] * 1000:.0f} ms. *ours* reads the answer into a `Generation`; the others are "
            "plain HTTP clients that read it as JSON. "
            f"The least of {found['rounds']} rounds, in turn.",
            table(["", "CPU", "ours to this"], rows),
        ]
    )


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "question": question,
    "scale": scale,
    "turns": turns,
    "delay": delay,
    "pacing": pacing,
    "limit": limit,
    "triggerer": triggerer,
    "landing": landing,
    "joining": joining,
    "renditions": renditions,
    "imports": imports,
    "mapped": mapped,
}


def section(name: str, found: dict[str, Any]) -> str:
    """Return one part's section; for a part that failed, the section says so."""
    if "error" in found:
        return f"## {name}: failed\n\n{about(found)}\n\nGave no figures: `{found['error'][:200]}`"
    return SECTIONS[name](found)


def kept_sections(page: str) -> dict[str, str]:
    """Return the sections of an earlier page by their parts: each names the command that measured it."""
    found = {}
    for text in re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]:
        if command := re.search(r"BENCH_ARGS=['\"]?(\w+)", text):
            found[command[1]] = text.strip()
    return found


def write(results: Path, docs: Path) -> None:
    """Write the page and the pictures from whatever results there are; sections without results stay as they are."""
    found = {name: json.loads(path.read_text()) for name in SECTIONS if (path := results / f"{name}.json").exists()}
    (docs / "benchmarks").mkdir(parents=True, exist_ok=True)
    pictures.draw({name: each for name, each in found.items() if "error" not in each}, docs / "benchmarks")
    page = docs / "benchmarks.md"
    sections = kept_sections(page.read_text("utf-8")) if page.exists() else {}
    sections |= {name: section(name, each) for name, each in found.items()}
    page.write_text(
        "\n\n".join([INTRO.strip(), *[sections[name] for name in SECTIONS if name in sections]]) + "\n", "utf-8"
    )
