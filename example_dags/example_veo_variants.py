"""The same scene with sound, in portrait, and waited for in the worker instead of the triggerer.

The first of them is checked: all its pictures are decoded, and compared with what was asked for. Of a video that passes
a poster and an animated preview are made. Neither pays for anything, whatever it finds. Both need the extra ``media``.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_apimart.operators.media import VideoCheckOperator, VideoPosterOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
SCENE = "a busy coffee shop with people chatting and a barista making latte art"

with DAG("example_veo_variants", schedule=None, catchup=False, tags=["apimart", "example"]):
    with_audio = VeoGenerateOperator(
        task_id="with_audio",
        prompt=SCENE,
        duration=4,
        generate_audio=True,
        output_path=f"{OUTPUT_ROOT}/variants/",
        # Refused before anything is paid if the list price is higher.
        max_cost_usd=1.00,
        retries=2,
    )
    VeoGenerateOperator(
        task_id="portrait",
        prompt=SCENE,
        negative_prompt="blurry, low quality, watermark, text",
        duration=4,
        aspect_ratio="9:16",
        seed=12345,
        output_path=f"{OUTPUT_ROOT}/variants/",
        retries=2,
    )
    VeoGenerateOperator(
        task_id="waited_for_in_the_worker",
        prompt=SCENE,
        duration=4,
        deferrable=False,
        output_path=f"{OUTPUT_ROOT}/variants/",
        retries=2,
    )

    # A broken rule fails this task, and the poster's is not reached; "warn" only tells.
    check = VideoCheckOperator(task_id="check", video=with_audio.output, rules={"loudness": "warn"})
    VideoPosterOperator(task_id="poster", video=check.output, poster_format="webp", preview=True)
