"""OpenLineage's own listener, switched on, takes what the operators tell and sends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator

RUN = """
import sys
from pathlib import Path

from airflow.sdk import DAG, Asset
from airflow.utils.db import initdb

from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator
from tests.operators.dag_test_run import shrink_waits

folder = Path(sys.argv[1])
with DAG("told", schedule=None) as dag:
    single = VeoGenerateOperator.partial(
        task_id="single", duration=4, output_path=f"{folder}/single/", outlets=[Asset("library")]
    ).expand(prompt=["a cat", "a dog"])
    table = VeoGenerateBatchOperator(
        task_id="table", table=f"{folder}/prompts.csv", output_path=f"{folder}/table/"
    )

if __name__ == "__main__":
    initdb()
    shrink_waits()
    run = dag.test()
    sys.exit(run.state != "success")
"""


@dataclass(frozen=True)
class Events:
    """What OpenLineage's client has written."""

    sent: list[dict[str, Any]]
    folder: Path
    api_key: str
    base_url: str


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    folder = tmp_path_factory.mktemp("openlineage")
    (folder / "dags").mkdir()
    (folder / "dags" / "told.py").write_text(RUN)
    (folder / "prompts.csv").write_text("prompt,duration\nrow 0,4\nrow 1,4\n")
    transport = {"type": "file", "log_file_path": str(folder / "events.jsonl"), "append": True}
    with Emulator(job_seconds=0.05) as emulator:
        connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
        done = subprocess.run(
            [sys.executable, str(folder / "dags" / "told.py"), str(folder)],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
                "AIRFLOW_HOME": str(folder),
                "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
                "AIRFLOW__OPENLINEAGE__DISABLED": "False",
                "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
                "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(connection),
            },
        )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    sent = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return Events(sent, folder, emulator.api_key, emulator.base_url)


def told(events: Events, name: str) -> list[dict[str, Any]]:
    """Return the last event of each run of a task."""
    return [each for each in events.sent if each["job"]["name"] == f"told.{name}" and each["eventType"] == "COMPLETE"]


def test_a_mapped_and_deferred_generation(events: Events) -> None:
    found = told(events, "single")
    assert len(found) == len({each["run"]["runId"] for each in found}) == 2
    for each in found:
        (video,) = each["outputs"]
        path = Path(video["name"])
        assert (video["namespace"], path.parent) == ("file", events.folder / "single")
        assert video["outputFacets"]["outputStatistics"]["size"] == path.stat().st_size
        facet = each["run"]["facets"]["apimart_generation"]
        assert facet["generationIds"] == [path.stem] and facet["costUsd"] > 0


def test_a_table_goes_in_and_videos_come_out(events: Events) -> None:
    (found,) = told(events, "table")
    assert [(one["namespace"], one["name"]) for one in found["inputs"]] == [("file", f"{events.folder}/prompts.csv")]
    manifest, videos = found["outputs"]
    assert (
        manifest["outputFacets"]["outputStatistics"]["rowCount"]
        == len(Path(manifest["name"]).read_text().split("\n")) - 1
    )
    files = list((events.folder / "table").glob("*.mp4"))
    assert videos["name"] == str(events.folder / "table")
    assert videos["outputFacets"]["outputStatistics"]["fileCount"] == len(files) == 2
    facet = found["run"]["facets"]["apimart_generation"]
    assert sorted(facet["generationIds"]) == sorted(file.stem for file in files)


def test_no_event_holds_the_key_or_a_link(events: Events) -> None:
    text = json.dumps(events.sent)
    assert events.api_key not in text and events.base_url not in text
