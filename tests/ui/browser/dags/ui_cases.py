"""What the browser tests look at. Who may read one Dag alone may read ``mine`` (OneDagAuthManager)."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.approval import VideoApprovalOperator
from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator
from airflow_provider_apimart.operators.media import VideoPosterOperator
from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT", "/nonexistent")
HOSTILE = "<script>document.title = 'taken over'</script><img src=x onerror=\"document.title = 'taken over'\">"
ROWS = 30

with DAG("mine", schedule=None):

    @task
    def plain() -> None:
        """Do nothing with videos."""

    plain() >> VeoGenerateOperator.partial(task_id="make", duration=4, output_path=f"{ROOT}/mine/").expand(
        prompt=["A red sneaker splashes through neon puddles at night", HOSTILE]
    )

with DAG("theirs", schedule=None):
    VeoGenerateBatchOperator(
        task_id="table",
        requests=[{"prompt": f"product number {number}", "sku": f"S-{number}"} for number in range(ROWS)],
        defaults={"duration": 4},
        output_path=f"{ROOT}/theirs/",
        max_in_flight=ROWS,
    )
    VeoGenerateOperator(task_id="refused", prompt="[[reject]] a famous person", output_path=f"{ROOT}/theirs/")

for dag_id, takes in (("asked_again", 2), ("asked_once", 1)):
    with DAG(dag_id, schedule=None):
        made = VeoGenerateOperator(
            task_id="make", prompt=dag_id.replace("_", " "), duration=4, output_path=f"{ROOT}/asked/"
        )
        poster = VideoPosterOperator(task_id="poster", video=made.output)
        decided = VideoApprovalOperator(
            task_id="approve",
            video=made.output,
            title="A title",
            max_takes=takes,
            retries=2,
            retry_delay=timedelta(seconds=1),
        )
        poster >> decided
        WebhookPublishOperator(
            task_id="publish",
            video=decided.output,
            include_url=False,
            require_approval=True,
            payload={"type": dag_id.replace("_", " "), "sha256": {"$video": "sha256"}},
        )
