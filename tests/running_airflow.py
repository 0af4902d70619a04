"""One emulator and one Airflow for system and browser tests: starting them costs more than most tests do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow
from dev.stage import EXAMPLE_DAGS, POOL, POOL_SLOTS, connections_env, make_prompts

_HERE = Path(__file__).parent
DAGS = (_HERE / "system" / "dags", _HERE / "ui" / "browser" / "dags")
#: The key: looked for wherever Airflow writes.
SECRET = "sk-system-test-9f3b7c1e5a"


@pytest.fixture(scope="session")
def emulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """An emulator whose jobs end a while after the 12 s that a deferral must last."""
    state = tmp_path_factory.mktemp("emulator") / "state.sqlite"
    with EmulatorProcess(state, job_seconds=15, api_keys=(SECRET,)) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def output_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the DAGs of the tests land their videos."""
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="session")
def local_airflow(
    emulator_process: EmulatorProcess, output_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """A whole Airflow with the example DAGs, the DAGs of the tests and a connection to the emulator."""
    prompts = make_prompts(tmp_path_factory.mktemp("prompts") / "prompts.sqlite")
    env = {**connections_env(emulator_process, prompts), "APIMART_OUTPUT_ROOT": str(output_root)}
    # The example with a deadline misses it: a job of the emulator takes longer.
    env["APIMART_DEADLINE_SECONDS"] = "5"
    folder = tmp_path_factory.mktemp("dags")
    shutil.copytree(EXAMPLE_DAGS, folder, dirs_exist_ok=True)
    for dags in DAGS:
        shutil.copytree(dags, folder, dirs_exist_ok=True)
    # No file of the tests changes while it runs. Parsing all of them every few seconds would take a core until the end.
    config = {"dag_processor.min_file_process_interval": "600"}
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), folder, env=env, config=config) as airflow:
        airflow.put_pool(POOL, POOL_SLOTS)
        yield airflow
