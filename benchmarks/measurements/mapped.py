"""(h) What a mapped row costs in the worker: the CPU of its two processes, and its requests to Airflow.

Each contestant's operator is mapped over some rows. Airflow's own task runner carries out both parts of each task, in
a forked process each (``worker.py``), against a server on loopback; the triggers wait in between. *Nothing* is an
operator that defers and does nothing else: what Airflow itself costs. Each request of a task is an HTTP request of its
supervisor to the API server, which reads or writes the database; that work is Airflow's, and comes on top of the CPU
seconds that are measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.measurements.figures import median

NOTHING = """
import asyncio
from airflow.sdk import DAG, BaseOperator
from airflow.triggers.temporal import TimeDeltaTrigger
from datetime import timedelta

class Nothing(BaseOperator):
    template_fields = ("prompt",)

    def __init__(self, *, prompt, **kwargs):
        super().__init__(**kwargs)
        self.prompt = prompt

    def execute(self, context):
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="execute_complete")

    def execute_complete(self, context, event=None):
        return {"prompt": self.prompt}

with DAG("bench", schedule=None):
    Nothing.partial(task_id="make").expand(prompt=PROMPTS)
"""
OURS = """
from airflow.sdk import DAG
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

with DAG("bench", schedule=None):
    VeoGenerateOperator.partial(
        task_id="make", output_path=OUT, duration=4, apimart_conn_id="bench_apimart", poll_interval=1, retries=3
    ).expand(prompt=PROMPTS)
"""
DBT = """
from airflow.sdk import DAG
from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator

params_of, conn_of = DbtCloudHook.get_request_url_params, DbtCloudHook.get_conn

def params(*args, **kwargs):
    address, more = params_of(*args, **kwargs)
    return address.replace("https://", "http://", 1), more

def conn(self, *args, **kwargs):
    session = conn_of(self, *args, **kwargs)
    self.base_url = self.base_url.replace("https://", "http://", 1)
    return session

# Our server speaks no TLS; this spares it the handshakes.
DbtCloudHook.get_request_url_params, DbtCloudHook.get_conn = staticmethod(params), conn

with DAG("bench", schedule=None):
    DbtCloudRunJobOperator.partial(
        task_id="make", dbt_cloud_conn_id="bench_dbt", account_id=1, check_interval=1, deferrable=True, retries=3
    ).expand(job_id=[number + 1 for number in range(len(PROMPTS))])
"""


@dataclass(frozen=True)
class Row:
    """One contestant.

    :param dag: its DAG file; ``PROMPTS`` and ``OUT`` are set before it.
    :param connections: its connection, given the server's URL.
    """

    operator: str
    dag: str
    connections: Callable[[str], dict[str, Any]]


ROWS = {
    "nothing": Row("an operator that only defers", NOTHING, lambda url: {}),
    "ours": Row(
        "VeoGenerateOperator",
        OURS,
        lambda url: {"bench_apimart": {"conn_type": "apimart", "host": url, "password": "benchmark"}},
    ),
    "dbt-cloud": Row(
        "DbtCloudRunJobOperator",
        DBT,
        lambda url: {
            "bench_dbt": {"conn_type": "dbt_cloud", "host": f"{url.removeprefix('http://')}/dbt", "password": "x"}
        },
    ),
}


@contextmanager
def server() -> Iterator[str]:
    """Run the server, and return its address."""
    command = [sys.executable, "-m", "benchmarks.servers.apimart", "--job-seconds=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
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


def measure(who: str, url: str, rows: int) -> list[list[dict[str, Any]]]:
    """Carry out one contestant's rows in a worker, and return what it says of each part of each."""
    row = ROWS[who]
    with tempfile.TemporaryDirectory(prefix="apimart-mapped-") as folder:
        prompts = [f"row {number} of {os.path.basename(folder)}" for number in range(rows)]
        dag = f"PROMPTS, OUT = {prompts!r}, {folder + '/out/'!r}\n{row.dag}"
        asked = {"folder": f"{folder}/airflow", "dag": dag, "rows": rows, "connections": row.connections(url)}
        command = [sys.executable, "-m", "benchmarks.measurements.worker", json.dumps(asked)]
        # Installed packages are compiled; a checkout is by its first import, if that may write.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, env=env, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{who}: {done.stderr[-3000:]}")
    found: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all contestants in turn, round after round, so that other load on the machine affects all of them."""
    found: dict[str, list[list[list[dict[str, Any]]]]] = {who: [] for who in ROWS}
    with server() as url:
        for each in range(options.mapped_rounds + 1):
            for who in ROWS:
                parts = measure(who, url, options.mapped_rows)
                if each:  # The first round reads the files into the machine's cache.
                    found[who].append(parts)
    lines = [line_of(who, found) for who in ROWS]
    for line in lines:
        first, second = line["parts"]
        print(
            f"  {line['row']}: {line['cpu_seconds']:.3f} s of CPU a row ({first:.3f} + {second:.3f}), "
            f"{line['requests']} requests ({line['own_requests']} of its own), {line['modules']} modules; "
            f"its own part, ours to it: {line['ours_to_this']}",
            flush=True,
        )
    return {"lines": lines, "rounds": options.mapped_rounds, "rows": options.mapped_rows}


def line_of(who: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return one line: medians of the rounds, and our part as a share of this one's."""
    rounds = found[who]
    base = [cpu_of(parts) for parts in found["nothing"]]
    own = [sum(cpu_of(parts)) - sum(least) for parts, least in zip(rounds, base, strict=True)]
    mine = [sum(cpu_of(parts)) - sum(least) for parts, least in zip(found["ours"], base, strict=True)]
    first, second = (median([cpu_of(parts)[place] for parts in rounds]) for place in (0, 1))
    asked, least = (Counter(requests_of(each[-1])) for each in (rounds, found["nothing"]))
    return {
        "row": who,
        "operator": ROWS[who].operator,
        "cpu_seconds": median([sum(cpu_of(parts)) for parts in rounds]),
        "parts": [first, second],
        "own_seconds": median(own),
        "requests": asked.total(),
        "own_requests": asked.total() - least.total(),
        "kinds": dict(asked),
        "modules": sum(len(part[0]["modules"]) for part in rounds[-1]),
        "ours_to_this": None if who == "nothing" else round(median([a / b for a, b in zip(mine, own, strict=True)]), 2),
    }


def cpu_of(parts: list[list[dict[str, Any]]]) -> list[float]:
    """Return the CPU seconds of each part of a row: the median over the rows."""
    return [median([row["cpu_seconds"] for row in part]) for part in parts]


def requests_of(parts: list[list[dict[str, Any]]]) -> list[str]:
    """Return the requests of a row: those of the last row, which are those of every row."""
    # (The key of a note names the hour.)
    return [
        request.rsplit("_", 1)[0] if "note" in request else request
        for part in parts
        for request in part[-1]["requests"]
    ]
