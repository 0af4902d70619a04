"""Films that are longer than one clip: a film for each product of a table, made of shots that continue one another.

``plan`` checks all shots of a film and what they cost together before the first one is paid for. Each shot then begins
with the last frame of the one before, and ``join`` makes one video of them. Any task can be killed, retried or cleared:
every shot is paid for once. The workers need ``pip install 'airflow-provider-apimart[media]'``.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pendulum
from airflow.sdk import DAG, task, task_group

from airflow_provider_apimart.operators.media import storyboard

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
TABLE = Path(__file__).parent / "products.csv"

with DAG("example_storyboard", schedule=None, catchup=False, tags=["apimart", "example"]):

    @task
    def scripts() -> list[dict[str, str]]:
        """Write what each film shows: two films, of the landscape products of the table."""
        with TABLE.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["aspect_ratio"] == "16:9"]
        return [
            {
                "opening": row["prompt"],
                "ending": f"the camera pulls back slowly until {row['product']} stands alone; plain background",
            }
            for row in rows
        ]

    @task_group
    def film(opening: str, ending: str) -> None:
        storyboard(
            [opening, {"prompt": ending, "negative_prompt": "text, people"}],
            duration=4,
            aspect_ratio="16:9",
            max_cost_usd=5,
            output_path=f"{OUTPUT_ROOT}/films/",
            retries=2,
            retry_delay=pendulum.duration(seconds=10),
        )

    film.expand_kwargs(scripts())
