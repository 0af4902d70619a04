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
        "fastapi",
        "uvicorn",
        "aiohttp",
        "requests",
        "sqlite3",
        "s3fs",
    }
    assert heavy == set()


def test_discovery_loads_nothing_of_airflow() -> None:
    code = "import sys, airflow_provider_apimart as p; p.get_provider_info(); print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "False"
