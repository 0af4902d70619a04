"""Mapped and batch side by side in a real Airflow:
``python -m benchmarks.full_airflow.airflow_runs --rows 100 --kind mapped``.

A whole Airflow (scheduler, dag processor, triggerer, API, LocalExecutor, SQLite) and ``benchmarks/servers/apimart.py``
on this machine. It measures the wall time from the run's start to its end, the CPU seconds of all of Airflow, the
triggerer's peak memory, and what the run added to the metadata database.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from dev.local_airflow import LocalAirflow
from dev.processes import pids_of_session

DAG_FILE = """
from airflow.sdk import DAG, task
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator

ROWS, OUT, IN_FLIGHT = {rows}, {out!r}, {in_flight}

with DAG("mapped", schedule=None):

    @task
    def rows():
        return [{{"prompt": f"row {{number}}", "duration": 4}} for number in range(ROWS)]

    VeoGenerateOperator.partial(task_id="make", output_path=OUT, pool="bench", retries=3).expand_kwargs(rows())

with DAG("batch", schedule=None):
    VeoGenerateBatchOperator(
        task_id="make",
        table={table!r},
        output_path=OUT,
        max_in_flight=IN_FLIGHT,
        retries=3,
    )
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--rows", type=int, default=10)
    parse.add_argument("--kind", choices=("mapped", "batch"), default="batch")
    parse.add_argument("--in-flight", type=int, default=50)
    parse.add_argument("--job-seconds", type=float, default=15.0)
    return parse


def usage(airflow: LocalAirflow) -> tuple[float, dict[str, int]]:
    """Return the CPU seconds of all components, ended children included, and each one's resident bytes."""
    seconds, held = 0.0, dict[str, int]()
    for name, child in airflow.processes.children.items():
        for pid in pids_of_session(child.pid):
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
                held[name] = held.get(name, 0) + process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
    return seconds, held


def database_bytes(airflow: LocalAirflow) -> int:
    """Return the size of the metadata database, including its write-ahead log."""
    return sum(path.stat().st_size for path in airflow.home.glob("airflow.db*"))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run once and return what was measured."""
    command = [sys.executable, "-m", "benchmarks.servers.apimart", f"--job-seconds={options.job_seconds}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        if not url.startswith("http://127.0.0.1:"):
            raise RuntimeError("the server did not start")
        with tempfile.TemporaryDirectory(prefix="apimart-benchmark-") as name:
            return _measure(options, url, Path(name))
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


def _measure(options: argparse.Namespace, url: str, folder: Path) -> dict[str, Any]:
    dags = folder / "dags"
    dags.mkdir()
    table = folder / "prompts.jsonl"
    with table.open("w") as file:
        for number in range(options.rows):
            print(json.dumps({"prompt": f"row {number}", "duration": 4}), file=file)
    text = DAG_FILE.format(rows=options.rows, table=str(table), out=f"{folder}/out/", in_flight=options.in_flight)
    (dags / "bench.py").write_text(text)
    connection = {"conn_type": "apimart", "host": url, "password": "benchmark"}
    config = {"core.max_active_tasks_per_dag": "2000", "core.parallelism": "8"}
    env = {"AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection)}
    with LocalAirflow(folder / "airflow", dags, env=env, config=config) as airflow:
        airflow.put_pool("bench", options.in_flight)
        airflow.wait_dag(options.kind)
        before, size = usage(airflow)[0], database_bytes(airflow)
        began = time.monotonic()
        airflow.trigger(options.kind, run_id="bench")
        peak = 0
        while (state := airflow.dag_run(options.kind, "bench")["state"]) in ("queued", "running"):
            peak = max(peak, usage(airflow)[1].get("triggerer", 0))
            time.sleep(1)
        seconds = time.monotonic() - began
        stats = httpx.get(f"{url}/stats", trust_env=False).json()
        return {
            **{"kind": options.kind, "rows": options.rows, "state": state, "seconds": round(seconds, 1)},
            "best_seconds": max(1.0, options.rows / options.in_flight) * options.job_seconds,
            "airflow_cpu_seconds": round(usage(airflow)[0] - before, 1),
            "triggerer_peak_mb": peak // 2**20,
            "database_kb": (database_bytes(airflow) - size) // 1024,
            **{"landed": len(list((folder / "out").glob("*.mp4"))), "generations": stats["generations"]},
            "paid_more_than_once": stats["paid_more_than_once"],
        }


if __name__ == "__main__":
    print(json.dumps(run(parser().parse_args())), flush=True)
