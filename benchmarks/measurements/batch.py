"""How fast a batch is, what it holds in memory and what it writes, also when it is killed:
``python -m benchmarks.measurements.batch --rows 10000 --kills 2``.

It uses a server in a process of its own (``benchmarks/servers/apimart.py``) and real sockets, and lands the videos on
the local disk. The rows go through the operator itself, in the worker (``deferrable=False``), so the peak memory is
that of the task's whole process. A try that is killed (SIGKILL) is followed by the next one at once, as a retry without
a delay. The time counts from the first process's start to the last one's end, with each start of Python and Airflow.
At the end every row is counted: paid for once, and landed whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

#: How often the server is asked how far the batch has come.
LOOK_SECONDS = 0.5


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--rows", type=int, default=1000)
    parse.add_argument("--kills", type=int, default=0, help="of the task's process, evenly over the rows")
    parse.add_argument("--in-flight", type=int, default=100)
    parse.add_argument("--requests-per-minute", type=float, default=None, help="what the operator is told")
    parse.add_argument("--job-seconds", type=float, default=4.0)
    parse.add_argument("--per-minute", type=int, default=0, help="the server's limit")
    parse.add_argument("--failing-permille", type=int, default=0)
    parse.add_argument("--dropped-permille", type=int, default=0)
    parse.add_argument("--prompt-length", type=int, default=80)
    return parse


def best_seconds(options: argparse.Namespace, stats: dict[str, Any]) -> float:
    """Return the minimum that the limits on slots and requests allow (one submission and one poll per generation)."""
    slots = stats["generations"] * options.job_seconds / min(options.in_flight, stats["generations"])
    per_minute = options.per_minute or options.requests_per_minute
    requests = 2 * stats["generations"] + stats["requests"].get("dropped", 0)
    # This is the steady rate. A sliding window that starts empty would let one minute's requests pass at once.
    gated = requests / per_minute * 60 if per_minute else 0.0
    return max(slots, gated, options.job_seconds)


@contextmanager
def server(options: argparse.Namespace) -> Iterator[str]:
    """Run the server, and return its address."""
    flags = ("job-seconds", "per-minute", "failing-permille", "dropped-permille")
    arguments = [f"--{flag}={getattr(options, flag.replace('-', '_'))}" for flag in flags]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.servers.apimart", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url.startswith("http://127.0.0.1:"):
            raise RuntimeError("the server did not start")
        yield url
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def write_table(path: Path, options: argparse.Namespace) -> None:
    """Write the prompts."""
    with path.open("w") as file:
        for number in range(options.rows):
            prompt = f"row {number}: ".ljust(options.prompt_length, "x")
            print(json.dumps({"prompt": prompt, "duration": 4, "sku": f"S-{number}"}), file=file)


class Try:
    """One process of the task."""

    def __init__(self, folder: Path, url: str, options: argparse.Namespace, number: int) -> None:
        arguments = {
            "table": str(folder / "prompts.jsonl"),
            "output_path": f"{folder}/out/",
            "max_in_flight": options.in_flight,
            "requests_per_minute": options.requests_per_minute,
        }
        connection = {"conn_type": "apimart", "host": url, "password": "benchmark"}
        env = os.environ | {
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        asked = json.dumps({"arguments": arguments, "try_number": number})
        self._url = url
        self._began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.measurements.batch_child", asked],
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("APIMART_BENCH_LOG") else subprocess.DEVNULL,
            text=True,
            env=env,
        )

    def run(self, until: float | None) -> dict[str, Any]:
        """Wait for its end, and return what is known of it.

        :param until: kill it when so many generations have been paid for; ``None`` lets it end.
        """
        if self._process.stdout is None:
            raise AssertionError("its output is read")
        first = self._process.stdout.readline()
        if not first:
            raise RuntimeError("the task did not start")
        started = time.monotonic() - self._began
        try:
            while until is not None and not self._has_ended():
                time.sleep(LOOK_SECONDS)
                if stats(self._url)["generations"] >= until:
                    os.kill(self._process.pid, signal.SIGKILL)
                    break
            rest = self._process.stdout.read()
        finally:
            # Not by Popen's own methods: they would reap it if it has ended.
            os.kill(self._process.pid, signal.SIGKILL)
            _, _, used = os.wait4(self._process.pid, 0)
            self._process.returncode = 0
            self._process.stdout.close()
        found = json.loads(rest) if rest.strip() else {"cpu_seconds": used.ru_utime + used.ru_stime}
        # What was killed cannot say its peak; the kernel's figure is good enough if this process was smaller.
        peak = {"peak_mb": round(used.ru_maxrss / 1024, 1), **found}
        return json.loads(first) | peak | {"start_seconds": started, "killed": not rest.strip()}

    def _has_ended(self) -> bool:
        # It is looked at and not reaped: only the reaping tells what it has used.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stats(url: str) -> dict[str, Any]:
    """Return what the server has counted."""
    found: dict[str, Any] = httpx.get(f"{url}/stats", trust_env=False, timeout=30).json()
    return found


def landed_whole(folder: Path, manifest: str, video: bytes) -> int:
    """Return how many rows of the manifest have their video in storage, byte for byte."""
    digest, whole, paths = hashlib.sha256(video).hexdigest(), 0, set[str]()
    for line in map(json.loads, Path(manifest).open()):
        found = Path(line["path"] or folder).resolve()
        if line["outcome"] == "landed" and found.is_file() and str(found) not in paths:
            paths.add(str(found))
            whole += hashlib.sha256(found.read_bytes()).hexdigest() == digest
    return whole


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run one batch and return what was measured."""
    folder = Path(tempfile.mkdtemp(prefix="apimart-benchmark-"))
    try:
        with server(options) as url:
            write_table(folder / "prompts.jsonl", options)
            marks = [options.rows * number / (options.kills + 1) for number in range(1, options.kills + 1)]
            began, tries = time.monotonic(), list[dict[str, Any]]()
            for number, until in enumerate([*marks, None], 1):
                tries.append(Try(folder, url, options, number).run(until))
            seconds, told = time.monotonic() - began, stats(url)
            result = tries[-1]["result"]
            video = httpx.get(f"{url}/media/any.mp4", trust_env=False).content
            whole = landed_whole(folder, result["manifest"], video)
            return figures(options, seconds, told, tries, folder) | {"landed_whole": whole}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def figures(
    options: argparse.Namespace, seconds: float, told: dict[str, Any], tries: list[dict[str, Any]], folder: Path
) -> dict[str, Any]:
    """Return what is printed."""
    journal = sum(path.stat().st_size for path in folder.rglob("journal/*"))
    plan = sum(path.stat().st_size for path in folder.rglob("plan-*/*"))
    best, starts = best_seconds(options, told), sum(each["start_seconds"] for each in tries)
    return {
        **{"rows": options.rows, "in_flight": options.in_flight, "per_minute": options.per_minute or None},
        **{"kills": sum(each["killed"] for each in tries), "seconds": round(seconds, 1)},
        **{"best_seconds": round(best, 1), "ratio": round(seconds / best, 3)},
        # Python and Airflow start in each try, whatever the operator is.
        **{"starts_seconds": round(starts, 1), "ratio_without_starts": round((seconds - starts) / best, 3)},
        **{"peak_mb": max(each["peak_mb"] for each in tries), "peaks_mb": [each["peak_mb"] for each in tries]},
        **{"airflow_mb": tries[-1]["airflow_mb"], "before_mb": tries[-1]["before_mb"]},
        "cpu_seconds": round(sum(each["cpu_seconds"] for each in tries), 1),
        **{"journal_bytes_per_row": journal // options.rows, "plan_bytes_per_row": plan // options.rows},
        **{"landed": tries[-1]["result"]["landed"], "paid_rows": told["paid_rows"]},
        **{"paid_more_than_once": told["paid_more_than_once"], "requests": told["requests"]},
    }


def main() -> None:
    """Run and print."""
    print(json.dumps(run(parser().parse_args())), flush=True)


if __name__ == "__main__":
    main()
