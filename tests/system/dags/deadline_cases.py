"""Waits that end before the generation does, by whoever's hand. The emulator's jobs take 15 s."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT", "/nonexistent")
# By the second try the generation is finished.
NEXT_TRY = {"retries": 1, "retry_delay": timedelta(seconds=12)}


def case(name: str, dagrun_timeout: timedelta | None = None, **arguments: Any) -> None:
    """One DAG whose only task makes one video."""
    with DAG(f"deadline_{name}", schedule=None, dagrun_timeout=dagrun_timeout):
        VeoGenerateOperator(
            task_id="make", prompt=f"deadline: {name}", duration=4, output_path=f"{ROOT}/deadlines/", **arguments
        )


case("own_deferred", timeout=5, **NEXT_TRY)
case("own_in_worker", timeout=5, deferrable=False, **NEXT_TRY)
# Long enough for a busy worker to submit in; the rare polls come after it, and after the hands of the others.
LIMIT = {"execution_timeout": timedelta(seconds=20), "poll_interval": 60, **NEXT_TRY}
case("execution_deferred", **LIMIT)
case("execution_in_worker", deferrable=False, **LIMIT)
case("dagrun", dagrun_timeout=timedelta(seconds=35), poll_interval=90)
case("marked_failed", poll_interval=60)
case("marked_success", poll_interval=60)
case("cleared", poll_interval=30)
case("deleted", poll_interval=30)
