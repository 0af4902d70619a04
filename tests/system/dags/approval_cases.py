"""DAGs of the system tests of approvals: in a mapped group, for a whole table, with another take, without an answer."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task_group

from airflow_provider_apimart.operators.approval import VideoApprovalOperator, VideoSheetApprovalOperator
from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}
PROMPTS = ["approval: a red kite", "approval: a blue kite"]

with DAG("approval_group", schedule=None, tags=["system"]):

    @task_group
    def one(prompt: str) -> None:
        """A video, a person, a post."""
        generate = VeoGenerateOperator(
            task_id="generate", prompt=prompt, duration=4, output_path=f"{ROOT}/approval/group/"
        )
        approve = VideoApprovalOperator(
            task_id="approve", video=generate.output, title=prompt, caption="kites", **RETRIES
        )
        WebhookPublishOperator(
            task_id="publish",
            video=approve.output,
            include_url=False,
            require_approval=True,
            payload={
                "type": "group",
                "title": "{{ ti.xcom_pull(task_ids='one.approve', map_indexes=ti.map_index)['title'] }}",
            },
        )
        # Who forgets the approval, and takes the video from the task that made it, publishes nothing either.
        careless = WebhookPublishOperator(
            task_id="careless",
            video=generate.output,
            include_url=False,
            payload={"type": "careless"},
            trigger_rule="all_done",
        )
        approve >> careless

    one.expand(prompt=PROMPTS)

with DAG("approval_sheet", schedule=None, tags=["system"]):
    videos = VeoGenerateOperator.partial(task_id="generate", duration=4, output_path=f"{ROOT}/approval/sheet/").expand(
        prompt=["approval: a green kite", "approval: a grey kite", "approval: a golden kite"]
    )
    sheet = VideoSheetApprovalOperator(task_id="approve", videos=videos.output, **RETRIES)
    WebhookPublishOperator.partial(
        task_id="publish", include_url=False, require_approval=True, payload={"type": "sheet"}
    ).expand(video=sheet.output)

with DAG("approval_takes", schedule=None, tags=["system"]):
    video = VeoGenerateOperator(
        task_id="generate", prompt="approval: a | `kite` <b>", duration=4, seed=7, output_path=f"{ROOT}/approval/takes/"
    )
    decided = VideoApprovalOperator(
        task_id="approve", video=video.output, title="A kite", description="It flies.", max_takes=2, **RETRIES
    )
    WebhookPublishOperator(
        task_id="publish",
        video=decided.output,
        include_url=False,
        payload={"type": "takes", "sha256": {"$video": "sha256"}},
    )

with DAG("approval_timeout", schedule=None, tags=["system"]):
    late = VeoGenerateOperator(
        task_id="generate", prompt="approval: a late kite", duration=4, output_path=f"{ROOT}/approval/timeout/"
    )
    unanswered = VideoApprovalOperator(
        task_id="approve", video=late.output, on_reject="fail", response_timeout=timedelta(seconds=20), retries=2
    )
    WebhookPublishOperator(task_id="publish", video=unanswered.output, include_url=False, payload={"type": "timeout"})
