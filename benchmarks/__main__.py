"""All measurements, or some: ``python -m benchmarks [pacing] [imports] [landing] [joining] [renditions] [scale] …``.

``make bench`` installs the peers and runs all measurements, which takes about 40 minutes; ``triggerer`` only runs when
it is named. Each part writes its figures into the results folder as JSON. The page and the pictures are made from that
folder, so a part can be repeated alone, and ``report`` makes only the page. If a part fails, the page says so and the
other parts still run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.full_airflow import triggerer
from benchmarks.measurements import (
    delay,
    imports,
    joining,
    landings,
    mapped,
    pacing,
    question,
    renditions,
    scale,
    turns,
)
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.reports import report

PARTS = {
    "pacing": pacing.run,
    "imports": imports.run,
    "mapped": mapped.run,
    "question": question.run,
    "landing": landings.run,
    "joining": joining.run,
    "renditions": renditions.run,
    "scale": scale.run,
    "turns": turns.run,
    "delay": delay.run_pace,
    "limit": delay.run_limit,
    "triggerer": triggerer.run,
}
#: It takes as long as all the others and has no peers to compare with, so it runs only if it is named.
ON_REQUEST = ("triggerer",)
TURNS = ["5000@0.2", "10000@0.2", "5000@0.02", "10000@0.02"]
#: Options that a part's figures depend on. The command on the page shows those that differ from the default.
LOOPS = ("contestants", "interval", "answer_seconds")
JOBS = ("answer_seconds", "job_seconds", "sigma", "ramp")
SETTINGS = {
    "pacing": ("answer_seconds", "intervals", "simulated_jobs", "sigma"),
    "imports": ("operators", "import_rounds", "parse_rounds"),
    "mapped": ("mapped_rows", "mapped_rounds"),
    "question": ("questions", "question_rounds"),
    "landing": ("megabytes", "rates", "rounds"),
    "joining": ("clip_megabytes", "rounds"),
    "renditions": ("rendition_rounds",),
    "scale": ("sizes", "seconds", *LOOPS),
    "turns": ("turns", "turn_seconds"),
    "delay": ("jobs", "intervals", *JOBS),
    "limit": ("limit_jobs", "per_minute", "limit_seconds", "contestants", "interval", *JOBS),
    "triggerer": ("tasks", "steady_seconds", "answer_seconds"),
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parse.add_argument("parts", nargs="*", metavar="part", help=f"of: {', '.join(PARTS)}, report")
    parse.add_argument("--results", type=Path, default=Path(".bench/results"))
    parse.add_argument("--docs", type=Path, default=Path("docs"), help="where the page and the pictures go")
    parse.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parse.add_argument("--answer-seconds", type=float, default=0.2, help="how long the server takes to answer")
    parse.add_argument("--interval", type=float, default=10.0, help="between polls, for all; 0: each one's default")
    parse.add_argument("--sizes", nargs="+", type=int, default=[50, 500, 5000, 10000], help="scale: triggers")
    parse.add_argument("--seconds", type=float, default=15.0, help="scale: the window that is measured")
    parse.add_argument(
        "--turns",
        nargs="+",
        default=["10000@0.2", "10000@0.02", "5000@0.2"],
        metavar="TRIGGERS@SECONDS",
        help="turns: triggers, and how long an answer takes",
    )
    parse.add_argument("--turn-seconds", type=float, default=180.0, help="turns")
    parse.add_argument("--intervals", nargs="+", type=float, default=[5.0, 10.0, 30.0, 60.0], help="pacing, delay")
    parse.add_argument("--simulated-jobs", type=int, default=5000, help="pacing")
    parse.add_argument("--jobs", type=int, default=200, help="delay: of each interval")
    parse.add_argument("--job-seconds", type=float, default=75.0, help="delay, limit: the median")
    parse.add_argument("--sigma", type=float, default=0.3, help="spread of the durations: of their logarithm")
    parse.add_argument("--ramp", type=float, default=30.0, help="delay, limit: submitted over so many seconds")
    parse.add_argument("--limit-jobs", type=int, default=1000)
    parse.add_argument("--per-minute", type=int, default=500, help="limit")
    parse.add_argument("--limit-seconds", type=float, default=270.0, help="limit: at most")
    parse.add_argument("--tasks", nargs="+", type=int, default=[1000, 5000], help="triggerer: deferred")
    parse.add_argument("--steady-seconds", type=float, default=60.0, help="triggerer: the steady window")
    parse.add_argument("--megabytes", nargs="+", type=int, default=[10, 500], help="landing")
    parse.add_argument("--rates", nargs="+", type=float, default=[0, 125.0], help="landing: MB/s of the server; 0: all")
    parse.add_argument("--rounds", type=int, default=7, help="landing, joining; landing: half of it for large files")
    parse.add_argument("--clip-megabytes", nargs="+", type=int, default=[2, 10, 25], help="joining: each clip")
    parse.add_argument("--rendition-rounds", type=int, default=3, help="renditions; they need an ffmpeg on PATH")
    parse.add_argument(
        "--scratch", type=Path, default=None, help="landing, joining, renditions: a folder on the disk to be measured"
    )
    parse.add_argument("--operators", nargs="+", type=int, default=[100, 1000], help="imports: in a DAG file")
    parse.add_argument("--import-rounds", type=int, default=7)
    parse.add_argument("--parse-rounds", type=int, default=3)
    parse.add_argument("--mapped-rows", type=int, default=5, help="mapped: of each contestant, in each round")
    parse.add_argument("--mapped-rounds", type=int, default=3)
    parse.add_argument("--questions", type=int, default=1600, help="question: in a round")
    parse.add_argument("--question-rounds", type=int, default=3)
    return parse


def machine() -> dict[str, Any]:
    """Return the facts about this machine that the figures depend on."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = next((int(line.split()[1]) // 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        **{"cpus": os.cpu_count(), "model": model, "memory_gb": memory, "system": platform.system()},
        **{"kernel": platform.release(), "python": platform.python_version(), "airflow": version("apache-airflow")},
        "versions": {each.distribution: each.version for each in CONTESTANTS.values() if each.distribution},
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def command(part: str, options: argparse.Namespace) -> str:
    """Return the command with which a reader can repeat a part: the same settings, without folders of this machine."""
    words = [part]
    for name in SETTINGS[part]:
        value = getattr(options, name)
        if value == parser().get_default(name):
            continue
        values = value if isinstance(value, list) else [value]
        words += [
            f"--{name.replace('_', '-')}",
            *(f"{each:g}" if isinstance(each, float) else str(each) for each in values),
        ]
    text = shlex.join(words)
    return f'make bench BENCH_ARGS="{text}"' if len(words) > 1 else f"make bench BENCH_ARGS={text}"


def measure(part: str, options: argparse.Namespace) -> bool:
    """Run one part and keep its figures. If it fails, keep the error and set the earlier figures aside."""
    before, began = os.getloadavg()[0], time.time()
    try:
        found = PARTS[part](options)
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"[:500]}
    about = {
        **{"date": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_seconds": time.time() - began},
        # The second figure includes the part's own work, so the first one shows whether the machine was idle.
        **{"load_before": before, "load_after": os.getloadavg()[0], "machine": machine()},
        "command": command(part, options),
    }
    path = options.results / f"{part}.json"
    if "error" in found and path.exists() and "error" not in json.loads(path.read_text()):
        path.replace(path.with_suffix(".before.json"))
    path.write_text(json.dumps(found | {"about": about}, indent=1))
    return "error" not in found


def main() -> None:
    """Run the requested parts, then write the page."""
    parse = parser()
    options = parse.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS and part != "report"]:
        parse.error(f"there is no part {unknown[0]!r}: {', '.join(PARTS)}, report")
    options.results.mkdir(parents=True, exist_ok=True)
    # Keep out the settings of the machine's own Airflow.
    os.environ["AIRFLOW_HOME"] = str((options.results.parent / "airflow").resolve())
    wanted = [part for part in PARTS if part in (options.parts or set(PARTS) - set(ON_REQUEST))]
    began, failed = time.monotonic(), []
    for number, part in enumerate(wanted, 1):
        print(f"[{elapsed(began)}] {part} ({number} of {len(wanted)}) ...", flush=True)
        start = time.monotonic()
        if not measure(part, options):
            failed.append(part)
        print(f"[{elapsed(began)}] {part} {'FAILED' if part in failed else 'took'} {elapsed(start)}", flush=True)
        # Write the page after each part, in case the rest is interrupted.
        report.write(options.results, options.docs)
    report.write(options.results, options.docs)
    print(f"[{elapsed(began)}] {options.docs / 'benchmarks.md'} is written.", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def elapsed(since: float) -> str:
    """Return the time since then as minutes and seconds."""
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"{minutes}:{seconds:02}"


if __name__ == "__main__":
    main()
