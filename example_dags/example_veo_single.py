"""One prompt, one video, landed in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")

with DAG("example_veo_single", schedule=None, catchup=False, tags=["apimart", "example"]):
    VeoGenerateOperator(
        task_id="golden_retriever",
        prompt="a golden retriever running on the beach, sunset, cinematic",
        duration=4,
        output_path=f"{OUTPUT_ROOT}/single/",
        retries=2,
    )
