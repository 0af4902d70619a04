"""One try of a batch's task, in a process that may be killed: ``python -m benchmarks.measurements.batch_child '{…}'``.

It prints two lines of JSON: what the process was like before the task, and what the task found and used.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from types import SimpleNamespace
from typing import Any


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    with open("/proc/self/status") as file:
        # (``ru_maxrss`` counts what the process was before it became this program, too.)
        kilobytes = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return round(kilobytes / 1024, 1)


def main() -> None:
    """Carry out the operator as a worker does."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    # Airflow logs to standard output.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from airflow.sdk import DAG

    imported = peak_mb()
    from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator

    with DAG("benchmark", schedule=None):
        task = VeoGenerateBatchOperator(task_id="batch", deferrable=False, retries=3, **asked["arguments"])
    print(
        json.dumps({"airflow_mb": imported, "before_mb": peak_mb(), "cpu_before": time.process_time()}),
        file=told,
        flush=True,
    )
    names = {"dag_id": "benchmark", "run_id": "run", "task_id": "batch", "map_index": -1}
    context: Any = {"ti": SimpleNamespace(**names, try_number=asked["try_number"], max_tries=3), "task": task}
    began = time.monotonic()
    result = task.execute(context)
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        **{"result": result, "seconds": time.monotonic() - began, "peak_mb": peak_mb()},
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }
    print(json.dumps(found), file=told, flush=True)


if __name__ == "__main__":
    main()
