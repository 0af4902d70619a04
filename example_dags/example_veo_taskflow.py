"""``@task.veo``: a function writes the prompt, or the whole request; mapped over whatever an earlier task returns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")

with DAG("example_veo_taskflow", schedule=None, catchup=False, tags=["apimart", "example"]):

    @task
    def seasons() -> list[str]:
        """Return what to make videos of."""
        return ["spring", "autumn"]

    @task.veo(
        duration=4,
        output_path=f"{OUTPUT_ROOT}/taskflow/",
        map_index_template="{{ task.op_kwargs['season'] }}",
        retries=2,
    )
    def forest(season: str) -> str:
        """Write the prompt of a season."""
        return f"a forest in {season}, slow aerial shot, soft light"

    @task.veo(duration=4, output_path=f"{OUTPUT_ROOT}/taskflow/", retries=2)
    def closing_shot(opening: list[dict[str, Any]]) -> dict[str, Any]:
        """Write a whole request, from what was made before."""
        return {
            "prompt": f"the credits of a film in {len(opening)} parts, letters of leaves",
            "aspect_ratio": "9:16",
            "seed": 4,
        }

    closing_shot(forest.expand(season=seasons()))
