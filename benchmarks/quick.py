"""``make bench-quick``: a few small measurements beside the peers, and their ratios beside the committed ones.

It takes under five minutes once the peers are installed. It is a report and never a gate: ratios within one run are
fairly steady from machine to machine, but a busy machine moves them, so the load is printed with them. ``--keep``
writes this run's ratios to ``benchmarks/quick.json``, which is committed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import __main__ as bench
from benchmarks.reports.scale_section import cheapest

COMMITTED = Path(__file__).with_name("quick.json")
SIZE = 500
#: The parts with their small settings.
SETTINGS = (
    *("--sizes", str(SIZE), "--seconds", "12", "--contestants", "ours", "dbt-cloud", "fivetran"),
    *("--megabytes", "10", "--rates", "0", "--rounds", "5", "--clip-megabytes", "2"),
    *("--operators", "100", "--import-rounds", "3", "--parse-rounds", "2"),
)
PARTS = ("question", "scale", "landing", "joining", "imports")


def ratios(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return what is compared, by name; below 1 ours needs less, but for throughput, where above 1 ours is faster.

    :param found: the parts' results.
    """
    told: dict[str, float] = {}
    if "question" in found:
        for line in found["question"]["lines"]:
            if line["row"] != "ours":
                told[f"one question: CPU, ours to {line['row']}"] = line["ours_to_this"]
    if "scale" in found:
        lines = found["scale"]["lines"]
        least = cheapest(lines)
        lag = [line["lag"]["p99"] for line in lines if "lag" in line and not line["row"].startswith("ours")]
        for line in lines:
            if line["row"] == "ours" and line.get("cpu_ms_per_poll") and least and lag:
                told[f"{SIZE} triggers: CPU a poll, ours to the cheapest peer's"] = line["cpu_ms_per_poll"] / least
                told[f"{SIZE} triggers: loop lag p99, ours to the least of the peers'"] = line["lag"]["p99"] / min(lag)
    for line in found.get("landing", {}).get("lines", ()):
        for name, ratio in line["ratios"].items():
            told[f"landing {line['megabytes']} MB, {line['storage']}: throughput, ours to {name}"] = ratio
    for line in found.get("joining", {}).get("lines", ()):
        told[f"joining {line['megabytes']:.0f} MB: time, ours to cp"] = line["ratio"]
    for line in found.get("imports", {}).get("lines", ()):
        if line["row"] != "ours":
            told[f"import: time, ours to {line['row']}"] = line["ours_to_this"]
            for count, each in line["parse"].items():
                told[f"DAG file of {count}: time, ours to {line['row']}"] = each["ours_to_this"]
    return told


def report(now: Mapping[str, float], before: Mapping[str, float]) -> str:
    """Return the table of ratios, now and as committed."""
    width = max(map(len, now), default=0)
    lines = [f"{'ratio':{width}}     now  committed"]
    for name, ratio in now.items():
        known = before.get(name)
        change = "" if not known else f"  {(ratio / known - 1) * 100:+.0f} %"
        lines.append(f"{name:{width}}  {ratio:6.2f}  {f'{known:9.2f}' if known else '        -'}{change}")
    lines += [f"{name:{width}}       -  {known:9.2f}" for name, known in before.items() if name not in now]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the ratios beside the committed ones."""
    parse = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parse.add_argument("--keep", action="store_true", help="write this run's ratios as those to compare with")
    parse.add_argument("parts", nargs="*", metavar="part", help=f"of: {', '.join(PARTS)}")
    chosen = parse.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parse.error(f"there is no part {min(unknown)!r}: {', '.join(PARTS)}")
    options = bench.parser().parse_args(SETTINGS)
    os.environ["AIRFLOW_HOME"] = str((options.results.parent / "airflow").resolve())
    load, began, found = os.getloadavg()[0], time.monotonic(), {}
    for part in PARTS:
        if part in (chosen.parts or PARTS):
            print(f"[{bench.elapsed(began)}] {part} ...", flush=True)
            found[part] = bench.PARTS[part](options)
    now = ratios(found)
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {"ratios": {}}
    before = {name: each for name, each in committed["ratios"].items() if not chosen.parts or name in now}
    print(f"\n{report(now, before)}")
    print(f"\nLoad of the machine before: {load:.1f}; took {bench.elapsed(began)}.")
    if "about" in committed:
        on = committed["about"]
        print(f"Committed: {on['date']}, {on['model']}, Python {on['python']}, load {on['load_before']:.1f}.")
    if chosen.keep:
        date = time.strftime("%Y-%m-%d", time.gmtime())
        about = bench.machine() | {"date": date, "load_before": load}
        kept = {
            "about": about,
            "ratios": {**committed["ratios"], **{name: round(each, 3) for name, each in now.items()}},
        }
        COMMITTED.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"Written to {COMMITTED.name}.")


if __name__ == "__main__":
    main()
