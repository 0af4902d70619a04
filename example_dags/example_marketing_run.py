"""A weekly marketing run: a table of products becomes videos, scheduled on a YouTube channel and told to a CMS.

``generate`` is mapped over the table: one task instance a product, all of them waiting in the triggerer without a
worker slot, and checks what has landed. ``renditions`` brings each video into the shape of two channels, with a caption
and an end card. ``schedule`` uploads the one for YouTube, privately, and sets the date on which YouTube makes it
public. ``announce`` sends a signed message about each video to the CMS. Any of them can be killed, retried or cleared:
a video is paid for once and posted once.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.media import VideoRenditionOperator
from airflow_provider_apimart.operators.publish import WebhookPublishOperator, YouTubePublishOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
TABLE = Path(__file__).parent / "products.csv"
#: The campaign's own time zone: 18 o'clock stays 18 o'clock when the clocks change.
CAMPAIGN_TIMEZONE, CAMPAIGN_HOUR = "Europe/Berlin", 18
#: The clips are 720p, and enlarging them adds nothing. Whatever shape a clip has, it fills the screen of its channel.
SHAPES = [
    {"preset": "youtube", "width": 1280, "height": 720, "fit": "blur", "effort": "veryfast"},
    {"preset": "reels", "width": 720, "height": 1280, "fit": "blur", "effort": "veryfast"},
]
RETRIES = {"retries": 3, "retry_delay": pendulum.duration(seconds=30)}

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
    def looks(table: list[dict[str, str]], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Say what is drawn over each video, and after it."""
        return [
            {
                "video": result,
                "captions": {"text": row["prompt"].split(",")[0]},
                "end_card": {"text": f"{row['product']}\nshop.example.com", "seconds": 1.5},
            }
            for row, result in zip(table, results, strict=True)
        ]

    @task
    def videos(table: list[dict[str, str]], made: list[dict[str, Any]], **context: Any) -> list[dict[str, Any]]:
        """Say what is posted: one video a day, from a week after the run."""
        first = publication(context["dag_run"].run_after)
        return [
            {
                "video": renditions["outputs"]["youtube"],
                "title": row["product"],
                "description": row["prompt"],
                "tags": ["made with ai", row["product"].lower()],
                "publish_at": first.add(days=number).isoformat(),
            }
            for number, (row, renditions) in enumerate(zip(table, made, strict=True))
        ]

    @task
    def messages(
        table: list[dict[str, str]], results: list[dict[str, Any]], made: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Say what the CMS is told. A place such as ``{"$video": "sha256"}`` is filled in by the operator."""
        return [
            {
                "video": result,
                "payload": {
                    "type": "video.ready",
                    "title": row["product"],
                    "cost_usd": result["cost_usd"],
                    "post_id": {"$post": "id"},
                    "renditions": {name: output["path"] for name, output in renditions["outputs"].items()},
                    **{name: {"$video": name} for name in ("generation_id", "path", "sha256", "duration_seconds")},
                },
            }
            for row, result, renditions in zip(table, results, made, strict=True)
        ]

    def publication(run_after: pendulum.DateTime) -> pendulum.DateTime:
        """Return when the first video of a run goes public: a week after it, at the campaign's hour."""
        local = pendulum.instance(run_after).in_timezone(CAMPAIGN_TIMEZONE)
        return local.add(days=7).at(CAMPAIGN_HOUR)

    table = products()
    generate = VeoGenerateOperator.partial(
        task_id="generate",
        model="veo3.1-fast-official",
        # A video that is black, frozen or not what was asked for goes no further. It is paid for, and kept.
        check="default",
        output_path=f"{OUTPUT_ROOT}/marketing/{{{{ run_id }}}}/",
        map_index_template="{{ task.prompt.split(':')[0] }}",
        **RETRIES,
    ).expand_kwargs(requests(table))

    renditions = VideoRenditionOperator.partial(
        task_id="renditions",
        shapes=SHAPES,
        loudness=-14,
        **RETRIES,
    ).expand_kwargs(looks(table, generate.output))

    YouTubePublishOperator.partial(
        task_id="schedule",
        privacy_status="public",
        map_index_template="{{ task.title }}",
        **RETRIES,
    ).expand_kwargs(videos(table, renditions.output))

    # The videos lie on a local disk here, which signs no links; in S3, GCS or Azure, leave include_url out.
    WebhookPublishOperator.partial(task_id="announce", include_url=False, **RETRIES).expand_kwargs(
        messages(table, generate.output, renditions.output)
    )
