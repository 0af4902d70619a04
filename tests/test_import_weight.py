"""Importing the provider is no heavier than importing Airflow's HTTP provider, counted in modules and not in
seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

COUNT = """
import importlib, json, sys
import airflow.sdk
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded_by(module: str) -> list[str]:
    """Return the modules that importing ``module`` loads on top of ``airflow.sdk``."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, module], capture_output=True, text=True, env=os.environ, check=True
    )
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


@pytest.mark.parametrize("name", ["veo", "publish.webhook"])
def test_operator_loads_fewer_modules_than_the_http_provider(name: str) -> None:
    ours = loaded_by(f"airflow_provider_apimart.operators.{name}")
    http = loaded_by("airflow.providers.http.operators.http")
    assert len(ours) < len(http)
    heavy = {name.partition(".")[0] for name in ours} & {
        "av",
        "boto3",
        "c2pa",
        "jsonschema",
        "pandas",
        "PIL",
        "pyarrow",
        "fastapi",
        "uvicorn",
        "aiohttp",
        "requests",
        "sqlite3",
        "s3fs",
    }
    assert heavy == set()


def test_reading_a_dag_file_loads_nothing_that_pays_waits_lands_or_posts() -> None:
    """Every worker process reads it, and so does the DAG processor, again and again."""
    rooms = (
        "client.client",
        "client.models",
        "generation.landing",
        "generation.purchase",
        "generation.waiting",
        "hooks.reports",
        "hooks.stores",
        "operators.tries",
        "publishing",
        "storage.files",
        "triggers",
    )
    steps = tuple(f"airflow_provider_apimart.{name}" for name in rooms)
    assert [name for name in loaded_by("airflow_provider_apimart.operators.veo") if name.startswith(steps)] == []


def test_discovery_loads_nothing_of_airflow() -> None:
    code = "import sys, airflow_provider_apimart as p; p.get_provider_info(); print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "False"


def test_plugin_loads_next_to_nothing() -> None:
    """Every worker process loads it."""
    ours = loaded_by("airflow_provider_apimart.ui.plugin")
    plugins = loaded_by("airflow.plugins_manager")
    assert set(ours) - set(plugins) == {
        "airflow_provider_apimart.ui",
        "airflow_provider_apimart.ui.plugin",
    }
    assert not {name.partition(".")[0] for name in ours} & {"fastapi", "starlette", "sqlite3", "httpx", "fsspec"}
