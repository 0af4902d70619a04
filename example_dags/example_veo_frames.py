"""From a first frame to a last frame. The frames are files here; they are checked, then uploaded through the API."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
# Any path that ObjectStoragePath takes would do, such as s3://aws_default@bucket/frame.png; so would a public URL.
FRAMES = Path(__file__).parent / "frames"

with DAG("example_veo_frames", schedule=None, catchup=False, tags=["apimart", "example"]):
    VeoGenerateOperator(
        task_id="dawn_to_dusk",
        prompt="smooth cinematic transition from the first frame to the last frame",
        first_frame_image=str(FRAMES / "dawn.png"),
        last_frame_image=str(FRAMES / "dusk.png"),
        resize_mode="crop",
        duration=4,
        output_path=f"{OUTPUT_ROOT}/frames/",
        retries=2,
    )
