"""What a mapped row costs: its requests to Airflow, and what each of its two processes loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time import comms

from airflow_provider_apimart.emulator.server import Emulator

#: The stand-in for the supervisor speaks as Airflow's own does since then.
pytestmark = pytest.mark.skipif(
    not hasattr(comms, "GetTaskStateStore"), reason="before Airflow 3.3 there is no task state store"
)
#: The benchmark's own worker, whose trigger does not wait for its first event.
WORKER = """
from benchmarks.measurements import worker

events_of = worker.events_of

def at_once(*given):
    from airflow_provider_apimart.triggers import veo
    veo.FIRST_EVENT_SECONDS = 0.0
    return events_of(*given)

worker.events_of = at_once
worker.main()
"""
DAG_FILE = """
from airflow.sdk import DAG
from airflow_provider_apimart.operators.veo import VeoGenerateOperator

with DAG("bench", schedule=None):
    VeoGenerateOperator.partial(
        task_id="make", output_path={output!r}, duration=4, poll_interval=1, retries=3
    ).expand(prompt=["a fox"])
"""
#: What Airflow itself asks for, whatever the operator is.
AIRFLOWS = {"SetRenderedFields", "DeferTask", "SetXCom return_value", "SucceedTask"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("worker")
    with Emulator(job_seconds=0.05) as emulator:
        connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
        asked = {"folder": f"{folder}/airflow", "dag": DAG_FILE.format(output=f"{folder}/out/"), "rows": 1}
        done = subprocess.run(
            [sys.executable, "-c", WORKER, json.dumps(asked | {"connections": {"apimart_default": connection}})],
            capture_output=True,
            text=True,
            env=os.environ,
            cwd=Path(__file__).parents[2],
        )
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(list((folder / "out").glob("*.mp4"))) == 1
    return [part for (part,) in json.loads(done.stdout)]


def asked_for(part: dict[str, Any]) -> list[str]:
    """Return what the operator itself asks Airflow for."""
    kinds = [request.rpartition("_")[0] if "note" in request else request for request in part["requests"]]
    return [kind for kind in kinds if kind not in AIRFLOWS]


def test_paying_asks_airflow_for_little(parts: list[dict[str, Any]]) -> None:
    asked = asked_for(parts[0])
    # On a machine that stands still for half a second the record is read a second time before it is replaced.
    assert asked.count("GetTaskStateStore") in (1, 2)
    assert [kind for kind in asked if kind != "GetTaskStateStore"] == [
        "GetConnection",
        "MaskSecret",
        # The intent before the paid call, and the id after it.
        "SetTaskStateStore",
        "SetTaskStateStore",
        "SetXCom apimart_note",
    ]


def test_landing_asks_airflow_for_little(parts: list[dict[str, Any]]) -> None:
    assert asked_for(parts[1]) == [
        "GetTaskStateStore",
        "GetConnection",
        "MaskSecret",
        # Whose record it is by now, and that it has landed.
        "GetTaskStateStore",
        "SetTaskStateStore",
        "SetXCom apimart_note",
        "SetXCom _link_VeoVideoLink",
    ]


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (0, ("generation.landing", "publishing")),
        (1, ("triggers", "generation.waiting.poller", "publishing")),
    ],
    ids=["pays", "lands"],
)
def test_a_process_loads_what_it_does(parts: list[dict[str, Any]], part: int, names: tuple[str, ...]) -> None:
    rooms = tuple(f"airflow_provider_apimart.{name}" for name in names)
    loaded = parts[part]["modules"]
    assert [name for name in loaded if name.startswith(rooms)] == []


def test_no_other_providers_clients_are_loaded_for_a_local_folder(parts: list[dict[str, Any]]) -> None:
    loaded = {name.partition(".")[0] for part in parts for name in part["modules"]}
    heavy = {"aiohttp", "av", "boto3", "botocore", "c2pa", "jsonschema", "pandas", "PIL", "pyarrow", "requests", "s3fs"}
    assert loaded & heavy == set()
    assert [name for part in parts for name in part["modules"] if name.startswith("airflow.providers.amazon")] == []
