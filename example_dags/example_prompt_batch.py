"""A table of prompts in one task, however long it is; what it has landed is published by mapped tasks.

``generate`` keeps at most twenty generations running and lands each video as it comes. Its XCom is small: the path of
the manifest and the counts. ``finish`` decodes every landed video, makes a poster of it, and contact sheets of all; it
needs the extra ``media``, pays for nothing, and writes a manifest of its own, in which a video that fails its check is
not "landed". ``landed`` reads that one and hands the good videos on in parcels, since Airflow maps over 1,024 at most.
A retry of any of them pays for nothing: ``generate`` goes on with the rows that are missing, ``finish`` makes what is
missing, and the CMS tells by the generation's id what it knows already.

For a video a task in the grid, up to about a thousand rows, see ``example_prompt_table``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import DAG, task

from airflow_provider_apimart.hooks.manifest import parcels
from airflow_provider_apimart.operators.media import VideoBatchOperator
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
TABLE = str(Path(__file__).parent / "prompts.csv")

with DAG("example_prompt_batch", schedule=None, catchup=False, tags=["apimart", "example"]):
    generate = VeoGenerateBatchOperator(
        task_id="generate",
        table=TABLE,
        columns={"text": "prompt", "seconds": "duration"},
        defaults={"model": "veo3.1-fast-official", "duration": 4},
        output_path=f"{OUTPUT_ROOT}/batch/{{{{ run_id }}}}/",
        max_in_flight=20,
        # Refused before anything is paid if the list price of all rows is higher.
        max_cost_usd=5.00,
        # One row in twenty may fail without the others' publication being held up.
        max_failed_share=0.05,
        retries=3,
        retry_delay=pendulum.duration(minutes=1),
    )

    finish = VideoBatchOperator(
        task_id="finish",
        manifest=generate.output,
        check="default",
        poster_width=640,
        max_failed_share=0.05,
        retries=3,
        retry_delay=pendulum.duration(minutes=1),
    )

    @task
    def landed(result: Any) -> list[list[dict[str, Any]]]:
        """Read the manifest; a hundred good rows in each parcel."""
        return parcels(result["manifest"], size=100)

    @task(retries=3)
    def publish(rows: list[dict[str, Any]]) -> int:
        """Post each video of a parcel to the CMS."""
        hook = HttpHook(method="POST", http_conn_id="apimart_cms")
        for row in rows:
            video = row["videos"][0]
            document = {
                "title": row["labels"]["sku"],
                "generation_id": row["generation_id"],
                "cost_usd": row["cost_usd"],
                **{name: video[name] for name in ("path", "sha256", "bytes", "duration_seconds")},
            }
            hook.run("/cms/videos", data=json.dumps(document), headers={"Content-Type": "application/json"})
        return len(rows)

    publish.expand(rows=landed(finish.output))
