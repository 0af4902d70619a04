"""A weekly marketing run: a table of products becomes landed videos, and each is published to a CMS.

``generate`` is mapped over the table: one task instance a product, all of them waiting in the triggerer without a
worker slot. ``publish`` posts what was landed to a webhook with Airflow's own HTTP provider. A retry of either pays
for nothing: ``generate`` goes on with the generation it has paid for, and the CMS tells by the generation's id what it
knows already.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
TABLE = Path(__file__).parent / "products.csv"

with DAG(
    "example_marketing_run",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["apimart", "example"],
):

    @task
    def products() -> list[dict[str, str]]:
        """Read the table; a warehouse query would do as well."""
        with TABLE.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @task
    def requests(table: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Turn rows into the operator's arguments. Text that is a number or a truth value is taken as one."""
        return [
            {
                "prompt": f"{row['product']}: {row['prompt']}",
                **{name: row[name] for name in ("aspect_ratio", "duration", "generate_audio")},
            }
            for row in table
        ]

    @task
    def announcements(table: list[dict[str, str]], results: list[dict[str, Any]]) -> list[str]:
        """Write what the CMS is told about each landed video."""
        return [
            json.dumps(
                {
                    "title": row["product"],
                    "generation_id": result["generation_id"],
                    "cost_usd": result["cost_usd"],
                    **{name: result["videos"][0][name] for name in ("path", "sha256", "bytes", "duration_seconds")},
                }
            )
            for row, result in zip(table, results, strict=True)
        ]

    table = products()
    generate = VeoGenerateOperator.partial(
        task_id="generate",
        model="veo3.1-fast-official",
        output_path=f"{OUTPUT_ROOT}/marketing/{{{{ run_id }}}}/",
        map_index_template="{{ task.prompt.split(':')[0] }}",
        retries=3,
        retry_delay=pendulum.duration(seconds=30),
    ).expand_kwargs(requests(table))

    HttpOperator.partial(
        task_id="publish",
        http_conn_id="apimart_cms",
        method="POST",
        endpoint="/cms/videos",
        headers={"Content-Type": "application/json"},
        retries=3,
    ).expand(data=announcements(table, generate.output))
