"""All measurements, or some: ``python -m benchmarks [scale] [pacing] [delay] [limit] [triggerer] [landing] [imports]``.

``make bench`` installs the peers and runs all of it, for about two hours and a half. Each part writes
what it found into the results folder as JSON; the page and the pictures are made from what lies there, so a part can be
repeated alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import delay, imports, landings, pacing, report, scale, triggerer
from benchmarks.contestants import CONTESTANTS

PARTS = {
    "pacing": pacing.run,
    "imports": imports.run,
    "landing": landings.run,
    "scale": scale.run,
    "delay": delay.run_pace,
    "limit": delay.run_limit,
    "triggerer": triggerer.run,
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parse.add_argument("parts", nargs="*", metavar="part", help=f"of: {', '.join(PARTS)}, report; all if none is named")
    parse.add_argument("--results", type=Path, default=Path(".bench/results"))
    parse.add_argument("--docs", type=Path, default=Path("docs"), help="where the page and the pictures go")
    parse.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parse.add_argument("--answer-seconds", type=float, default=0.2, help="how long the server takes to answer")
    parse.add_argument("--interval", type=float, default=10.0, help="between polls, for all; 0: each one's default")
    parse.add_argument("--sizes", nargs="+", type=int, default=[50, 500, 5000, 10000], help="scale: triggers")
    parse.add_argument("--seconds", type=float, default=60.0, help="scale, triggerer: the window that is measured")
    parse.add_argument("--intervals", nargs="+", type=float, default=[5.0, 10.0, 30.0, 60.0], help="pacing, delay")
    parse.add_argument("--simulated-jobs", type=int, default=5000, help="pacing")
    parse.add_argument("--jobs", type=int, default=200, help="delay: of each interval")
    parse.add_argument("--job-seconds", type=float, default=75.0, help="delay, limit: the median")
    parse.add_argument("--sigma", type=float, default=0.3, help="spread of the durations: of their logarithm")
    parse.add_argument("--ramp", type=float, default=30.0, help="delay, limit: submitted over so many seconds")
    parse.add_argument("--limit-jobs", type=int, default=1000)
    parse.add_argument("--per-minute", type=int, default=500, help="limit")
    parse.add_argument("--limit-seconds", type=float, default=300.0, help="limit: at most, for each contestant")
    parse.add_argument("--tasks", nargs="+", type=int, default=[1000, 5000], help="triggerer: deferred")
    parse.add_argument("--megabytes", nargs="+", type=int, default=[10, 500], help="landing")
    parse.add_argument("--rates", nargs="+", type=float, default=[0, 125.0], help="landing: MB/s of the server; 0: all")
    parse.add_argument("--rounds", type=int, default=9, help="landing; half of it for large files")
    parse.add_argument("--scratch", type=Path, default=None, help="landing: a folder on the disk to be measured")
    parse.add_argument("--operators", nargs="+", type=int, default=[100, 1000], help="imports: in a DAG file")
    parse.add_argument("--import-rounds", type=int, default=9)
    parse.add_argument("--parse-rounds", type=int, default=5)
    return parse


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
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


def main() -> None:
    """Run what is asked for, then write the page."""
    parse = parser()
    options = parse.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS and part != "report"]:
        parse.error(f"there is no part {unknown[0]!r}: {', '.join(PARTS)}, report")
    options.results.mkdir(parents=True, exist_ok=True)
    # No settings of the machine's own Airflow.
    os.environ["AIRFLOW_HOME"] = str((options.results.parent / "airflow").resolve())
    wanted = options.parts or list(PARTS)
    for part in PARTS:
        if part not in wanted:
            continue
        print(f"{part} ...", flush=True)
        before, began = os.getloadavg()[0], time.time()
        found = PARTS[part](options)
        about = {
            **{"date": time.strftime("%Y-%m-%d", time.gmtime(began)), "took_seconds": time.time() - began},
            # One's own work is in the second figure, so the first one tells whether the machine was quiet.
            **{"load_before": before, "load_after": os.getloadavg()[0], "machine": machine()},
            "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        }
        (options.results / f"{part}.json").write_text(json.dumps(found | {"about": about}, indent=1))
    report.write(options.results, options.docs)


if __name__ == "__main__":
    main()
