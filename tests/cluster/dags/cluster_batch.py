"""A batch for the cluster: each run its own prompts, so that every generation can be told whose it is."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT", "/nonexistent")
ROWS = int(os.environ.get("APIMART_CLUSTER_ROWS", "6"))

with DAG(
    "cluster_batch", schedule=None, default_args={"retries": 8, "retry_delay": timedelta(seconds=2)}, max_active_runs=99
):

    @task
    def rows(**context: Any) -> list[dict[str, Any]]:
        """Return the table of this run."""
        return [{"prompt": f"cluster_batch {context['run_id']} row {number}"} for number in range(ROWS)]

    VeoGenerateBatchOperator(
        task_id="make",
        requests=rows(),
        defaults={"duration": 4, "model": "veo3.1-fast-official"},
        output_path=f"{ROOT}/batch/{{{{ run_id }}}}/",
        max_in_flight=4,
    )
