"""What the crash matrix asks for: each task its own prompt, so that every generation can be told whose it is."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT", "/nonexistent")
FRAME = os.environ.get("APIMART_CRASH_FRAME")
DEFERRED, IN_WORKER = 4, 2
# Enough for most; who uses them up is cleared once, as a user would.
DEFAULTS = {"retries": 8, "retry_delay": timedelta(seconds=2)}

with DAG("crash", schedule=None, default_args=DEFAULTS, max_active_runs=100, max_active_tasks=100):
    common = {"duration": 4, "model": "veo3.1-fast-official"}
    VeoGenerateOperator.partial(
        task_id="deferred",
        prompt="crash {{ run_id }} deferred {{ ti.map_index }}",
        output_path=f"{ROOT}/{{{{ run_id }}}}/",
        **common,
    ).expand(seed=list(range(DEFERRED)))
    VeoGenerateOperator.partial(
        task_id="in_worker",
        prompt="crash {{ run_id }} in_worker {{ ti.map_index }}",
        deferrable=False,
        poll_interval=2,
        first_frame_image=FRAME,
        output_path=f"{ROOT}/{{{{ run_id }}}}/in-worker-{{{{ ti.map_index }}}}.mp4",
        **common,
    ).expand(seed=list(range(IN_WORKER)))
