"""A batch that outlives a killed triggerer, and one that fails by its policy."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT", "/nonexistent")

with DAG("batch_killed", schedule=None):
    VeoGenerateBatchOperator(
        task_id="make",
        requests=[{"prompt": f"batch row {number}", "sku": f"S-{number}"} for number in range(30)],
        defaults={"duration": 4},
        output_path=f"{ROOT}/batch_killed/",
        max_in_flight=12,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )

with DAG("batch_rejected", schedule=None):
    VeoGenerateBatchOperator(
        task_id="make",
        requests=[{"prompt": "a fine one of the batch"}, {"prompt": "[[reject]] somebody of the batch"}],
        defaults={"duration": 4},
        output_path=f"{ROOT}/batch_rejected/",
        retries=2,
        retry_delay=timedelta(seconds=1),
    )

with DAG("batch_tried_out", schedule=None):
    # For `airflow dags test`, which drops what a deferral was told to keep.
    VeoGenerateBatchOperator.partial(
        task_id="make",
        defaults={"duration": 4},
        output_path=f"{ROOT}/batch_tried_out/",
    ).expand(requests=[[{"prompt": "tried out one"}, {"prompt": "tried out two"}], [{"prompt": "tried out three"}]])

with DAG("batch_out_of_time", schedule=None):
    VeoGenerateBatchOperator(
        task_id="make",
        requests=[{"prompt": f"out of time {number}"} for number in range(6)],
        defaults={"duration": 4},
        output_path=f"{ROOT}/batch_out_of_time/",
        max_in_flight=2,
        execution_timeout=timedelta(seconds=25),
        retries=8,
        retry_delay=timedelta(seconds=1),
    )
