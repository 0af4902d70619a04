"""A budget for a day: two of these three videos fit into 0.60 USD, and the third is refused before it is paid for.

Which one it is depends on which task comes last. Clear it tomorrow, or raise ``usd``: nothing is paid for twice.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_apimart.operators.budget import Budget
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")

with DAG(
    "example_budget",
    schedule=None,
    catchup=False,
    tags=["apimart", "example"],
    # For all tasks of this DAG that pay, and for all its runs of a day. Any folder that all workers reach will do.
    default_args={"budget": Budget(usd=0.60, per="day", folder=f"{OUTPUT_ROOT}/budgets/")},
):
    VeoGenerateOperator.partial(
        task_id="generate",
        duration=4,
        output_path=f"{OUTPUT_ROOT}/budget/{{{{ run_id }}}}/",
        retries=3,
    ).expand(prompt=["a lighthouse in a storm", "a lighthouse at dawn", "a lighthouse in the snow"])
