"""A person approves each video before it is published, edits its title, or asks for another take.

One task group for each product: ``generate`` makes the video and checks it, ``poster`` chooses a picture of it,
``approve`` asks a person (Airflow's *Required Actions*) and waits, ``publish`` puts it on the YouTube channel. A
rejected video is never published, and neither is one that nobody answers about for two days. "Another take" pays for
one new generation, at most once for each product, and never more than 1.00 USD for both.

Further down the same for a whole table in one form: ``finish`` checks all videos and makes their posters, a person
ticks, and what is ticked is announced.
"""

from __future__ import annotations

import csv
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, task, task_group

from airflow_provider_apimart.operators.approval import VideoApprovalOperator, VideoSheetApprovalOperator
from airflow_provider_apimart.operators.media import VideoBatchOperator, VideoPosterOperator
from airflow_provider_apimart.operators.publish import WebhookPublishOperator, YouTubePublishOperator
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
TABLE = Path(__file__).parent / "products.csv"
RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": pendulum.duration(seconds=30)}
#: What the person left in the form's field. It is data: whatever it holds, it is not rendered again.
TITLE = "{{ ti.xcom_pull(task_ids='product.approve', map_indexes=ti.map_index)['title'] }}"

with DAG("example_approval", schedule=None, catchup=False, tags=["apimart", "example"]):

    @task
    def products() -> list[dict[str, str]]:
        """Read the table; a warehouse query would do as well."""
        with TABLE.open(newline="", encoding="utf-8") as file:
            return [{"name": row["product"], "prompt": row["prompt"]} for row in csv.DictReader(file)]

    @task_group
    def product(name: str, prompt: str) -> None:
        """One product: its video, a person, its post."""
        generate = VeoGenerateOperator(
            task_id="generate",
            prompt=prompt,
            model="veo3.1-fast-official",
            duration=4,
            check="default",
            output_path=f"{OUTPUT_ROOT}/approval/{{{{ run_id }}}}/",
            **RETRIES,
        )
        # What the person sees in the form.
        poster = VideoPosterOperator(task_id="poster", video=generate.output, **RETRIES)
        approve = VideoApprovalOperator(
            task_id="approve",
            video=generate.output,
            title=name,
            max_takes=2,
            max_cost_usd=1.00,
            response_timeout=timedelta(days=2),
            **RETRIES,
        )
        poster >> approve
        YouTubePublishOperator(
            task_id="publish",
            video=approve.output,
            title=TITLE,
            privacy_status="public",
            require_approval=True,
            **RETRIES,
        )

    product.expand_kwargs(products())

with DAG("example_approval_sheet", schedule=None, catchup=False, tags=["apimart", "example"]):
    batch = VeoGenerateBatchOperator(
        task_id="generate",
        table=str(TABLE),
        columns={"prompt": "prompt"},
        defaults={"model": "veo3.1-fast-official", "duration": 4},
        output_path=f"{OUTPUT_ROOT}/approval-sheet/{{{{ run_id }}}}/",
        max_cost_usd=5.00,
        **RETRIES,
    )
    finish = VideoBatchOperator(task_id="finish", manifest=batch.output, check="default", **RETRIES)
    sheet = VideoSheetApprovalOperator(
        task_id="approve", videos=finish.output, response_timeout=timedelta(days=2), **RETRIES
    )
    # The videos lie on a local disk here, which signs no links; in S3, GCS or Azure, leave include_url out.
    WebhookPublishOperator.partial(
        task_id="announce",
        payload={
            "type": "video.approved",
            "sha256": {"$video": "sha256"},
            "generation_id": {"$video": "generation_id"},
        },
        include_url=False,
        require_approval=True,
        **RETRIES,
    ).expand(video=sheet.output)
