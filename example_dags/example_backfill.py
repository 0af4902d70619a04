"""A DAG over dates: each day's prompts come from a database, and a backfill makes the videos of any range of days.

    airflow backfill create --dag-id example_backfill --from-date 2026-01-01 --to-date 2026-01-05 --max-active-runs 2

It can be cut at any moment and run again with `--reprocess-behavior failed`: what is paid for is gone on with, what is
landed is kept, and only what is missing is paid for. Days without rows are skipped.

The connection `apimart_prompts` is an SQLite file here (`make up` makes it from prompts_by_day.csv); it can be any
database that Airflow has a common-sql hook for.
"""

from __future__ import annotations

import os
from pathlib import Path

import pendulum
from airflow.sdk import DAG, task

from airflow_provider_apimart.hooks.tables import prompt_rows
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")

with DAG(
    "example_backfill",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["apimart", "example"],
):
    rows = task(task_id="rows", retries=2)(prompt_rows)(
        sql="SELECT sku, prompt, duration FROM prompts WHERE day = '{{ ds }}' ORDER BY sku",
        sql_conn_id="apimart_prompts",
        allow_empty=True,
    )

    VeoGenerateOperator.partial(
        task_id="generate",
        pool="apimart",
        map_index_template="{{ task.labels.sku }}",
        output_path=f"{OUTPUT_ROOT}/backfill/{{{{ ds }}}}/",
        retries=3,
        retry_delay=pendulum.duration(seconds=10),
    ).expand_kwargs(rows)
