"""A table of prompts, one mapped task a row: for up to about a thousand rows that one wants to see in the grid.

All rows are read and checked before one is paid for. The pool keeps to what the account may have running at once; it
has to count deferred tasks, because a video is waited for in the triggerer:

    airflow pools set apimart 10 "generations of the APIMart account" --include-deferred

(`make up` makes it.)
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_provider_apimart.hooks.tables import prompt_rows
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from airflow_provider_apimart.sensors.apimart import ApimartBalanceSensor

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
# Any path that ObjectStoragePath takes would do, such as s3://aws_default@bucket/{{ ds }}.parquet.
TABLE = str(Path(__file__).parent / "prompts.csv")

with DAG("example_prompt_table", schedule=None, catchup=False, tags=["apimart", "example"]):
    rows = task(task_id="rows", retries=2)(prompt_rows)(
        TABLE,
        columns={"text": "prompt", "seconds": "duration"},
        # For rows that do not set them. Here and not in partial(), so that they are checked with the rows.
        defaults={"model": "veo3.1-fast-official", "duration": 4},
    )

    funds = ApimartBalanceSensor(task_id="funds", min_usd=1.00)

    generate = VeoGenerateOperator.partial(
        task_id="generate",
        pool="apimart",
        # The column `sku` is no parameter, so it travels as a label; it names the row in the grid.
        map_index_template="{{ task.labels.sku }}",
        output_path=f"{OUTPUT_ROOT}/table/{{{{ run_id }}}}/",
        max_cost_usd=1.00,
        retries=3,
    ).expand_kwargs(rows)

    funds >> generate
