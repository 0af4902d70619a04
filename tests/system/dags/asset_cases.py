"""Assets: a task that fails once, and one whose video becomes an asset of its own."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetAlias

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ["APIMART_OUTPUT_ROOT"]

with DAG("asset_retried", schedule=None):
    VeoGenerateOperator(
        task_id="make",
        prompt="asset: breaks down at first",
        duration=4,
        output_path=f"{OUTPUT_ROOT}/asset_retried/",
        outlets=[Asset("case-library"), AssetAlias("case-clips")],
        retries=1,
        retry_delay=timedelta(seconds=1),
    )
