"""Videos that are posted whenever some have landed: one DAG makes them, an asset's events start the other.

Each task instance of ``generate`` adds one event to the asset; its ``extra`` holds the paths, the checksums, the
generation's id and what it cost. Airflow starts one run for several events, can keep an event for a later run, and
sends a cleared task's event again. So ``landed`` looks at the events of the last days, whatever started it, an hourly
run takes what was kept, and a video's checksum is its ``post_key``: however often it is told of, it is posted once.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, task

from airflow_provider_apimart.hooks.posts import posts_of
from airflow_provider_apimart.operators.publish import YouTubePublishOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

try:
    from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable
except ImportError:  # before Airflow 3.2
    from airflow.timetables.assets import AssetOrTimeSchedule  # type: ignore[assignment]
    from airflow.timetables.trigger import CronTriggerTimetable  # type: ignore[assignment]

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
#: One asset for all videos of a kind. An asset for each video would fill Airflow's list of assets for ever.
CLIPS = Asset("apimart-clips")
LOOK_BACK = timedelta(days=2)
HOURLY = CronTriggerTimetable("@hourly", timezone="UTC")
RETRIES = {"retries": 3, "retry_delay": pendulum.duration(seconds=30)}

with DAG("example_asset_videos", schedule=None, catchup=False, tags=["apimart", "example"]):
    VeoGenerateOperator.partial(
        task_id="generate",
        duration=4,
        output_path=f"{OUTPUT_ROOT}/clips/",
        outlets=[CLIPS],
        **RETRIES,
    ).expand(prompt=["a paper boat on a rainy street, macro", "a paper plane over a wheat field, golden hour"])

with DAG(
    "example_asset_publishing",
    schedule=AssetOrTimeSchedule(timetable=HOURLY, assets=[CLIPS]),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["apimart", "example"],
):

    @task(inlets=[CLIPS])
    def landed(**context: Any) -> list[dict[str, Any]]:
        """Return what to post: each video of the last days that was not posted yet."""
        since = context["dag_run"].run_after - LOOK_BACK
        found = {}
        for event in context["inlet_events"][CLIPS].after(since.isoformat()):
            for video in (event.extra or {}).get("videos", ()):
                if not posts_of(video["path"]):
                    found[video["sha256"]] = {
                        "video": {**video, "generation_id": event.extra["generation_id"]},
                        "post_key": video["sha256"],
                        "title": event.extra["prompt"][:100],
                    }
        return list(found.values())

    # Private: somebody looks at them in YouTube Studio first.
    YouTubePublishOperator.partial(
        task_id="post",
        privacy_status="private",
        map_index_template="{{ task.title }}",
        outlets=[Asset("apimart-posts")],
        **RETRIES,
    ).expand_kwargs(landed())
