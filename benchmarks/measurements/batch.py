"""How fast a batch is, what it holds in memory and what it writes:
``python -m benchmarks.measurements.batch --rows 10000``.

It uses a server in a process of its own (``benchmarks/servers/apimart.py``) and real sockets, and lands the videos on
the local disk. The rows go through the operator itself, in the worker (``deferrable=False``), so the peak memory is
that of the task's whole process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--rows", type=int, default=1000)
    parse.add_argument("--in-flight", type=int, default=100)
    parse.add_argument("--requests-per-minute", type=float, default=None, help="what the operator is told")
    parse.add_argument("--job-seconds", type=float, default=4.0)
    parse.add_argument("--per-minute", type=int, default=0, help="the server's limit")
    parse.add_argument("--failing-permille", type=int, default=0)
    parse.add_argument("--dropped-permille", type=int, default=0)
    parse.add_argument("--prompt-length", type=int, default=80)
    parse.add_argument("--quiet", action="store_true", help="one line of JSON only")
    return parse


def best_seconds(options: argparse.Namespace, stats: dict[str, Any]) -> float:
    """Return the minimum that the limits on slots and requests allow (one submission and one poll per generation)."""
    slots = stats["generations"] * options.job_seconds / min(options.in_flight, stats["generations"])
    per_minute = options.per_minute or options.requests_per_minute
    requests = 2 * stats["generations"] + stats["requests"].get("dropped", 0)
    # This is the steady rate. A sliding window that starts empty would let one minute's requests pass at once.
    gated = requests / per_minute * 60 if per_minute else 0.0
    return max(slots, gated, options.job_seconds)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run one batch and return what was measured."""
    flags = ("job-seconds", "per-minute", "failing-permille", "dropped-permille")
    arguments = [f"--{flag}={getattr(options, flag.replace('-', '_'))}" for flag in flags]
    server = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.servers.apimart", *arguments], stdout=subprocess.PIPE, text=True
    )
    folder = Path(tempfile.mkdtemp(prefix="apimart-benchmark-"))
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        if not url.startswith("http://127.0.0.1:"):
            raise RuntimeError("the server did not start")
        connection = {"conn_type": "apimart", "host": url, "password": "benchmark"}
        os.environ["AIRFLOW_CONN_APIMART_DEFAULT"] = json.dumps(connection)
        os.environ.setdefault("AIRFLOW_HOME", str(folder / "airflow"))
        from airflow.sdk import DAG

        from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        table = folder / "prompts.jsonl"
        with table.open("w") as file:
            for number in range(options.rows):
                prompt = f"row {number}: ".ljust(options.prompt_length, "x")
                print(json.dumps({"prompt": prompt, "duration": 4, "sku": f"S-{number}"}), file=file)
        with DAG("benchmark", schedule=None):
            task = VeoGenerateBatchOperator(
                task_id="batch",
                table=str(table),
                output_path=f"{folder}/out/",
                max_in_flight=options.in_flight,
                requests_per_minute=options.requests_per_minute,
                deferrable=False,
                retries=3,
            )
        names = {"dag_id": "benchmark", "run_id": "run", "task_id": "batch", "map_index": -1}
        ti = SimpleNamespace(**names, try_number=1, max_tries=3)
        began = time.monotonic()
        context: Any = {"ti": ti, "task": task}
        result = task.execute(context)
        seconds = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_SELF)
        stats = httpx.get(f"{url}/stats", trust_env=False).json()
        journal = sum(path.stat().st_size for path in folder.rglob("journal/*"))
        plan = sum(path.stat().st_size for path in folder.rglob("plan-*/*"))
        best = best_seconds(options, stats)
        return {
            **{"rows": options.rows, "in_flight": options.in_flight, "per_minute": options.per_minute or None},
            **{"seconds": round(seconds, 1), "best_seconds": round(best, 1), "ratio": round(seconds / best, 3)},
            **{"peak_mb": used.ru_maxrss // 1024, "before_mb": before // 1024},
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            **{"journal_bytes_per_row": journal // options.rows, "plan_bytes_per_row": plan // options.rows},
            **{"landed": result["landed"], "paid_more_than_once": stats["paid_more_than_once"]},
            "requests": stats["requests"],
        }
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run and print."""
    options = parser().parse_args()
    if not options.quiet:
        logging.basicConfig(level=logging.WARNING)
    print(json.dumps(run(options)), flush=True)


if __name__ == "__main__":
    main()
