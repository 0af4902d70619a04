"""``make up``: a complete Airflow with the emulator, the connections and the example DAGs, until Ctrl-C.

Everything is in ``.airflow`` of the repository and stays there for the next time. The user's own Airflow home is not
touched. The connections are in the database and not in the environment, so that they can be seen and edited in the UI.
"""

from __future__ import annotations

import secrets
import sys
import time

import httpx

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.airflow_api import AirflowApiError
from dev.local_airflow import LocalAirflow, free_ports
from dev.stage import (
    EXAMPLE_DAGS,
    JOB_SECONDS,
    POOL,
    POOL_SLOTS,
    REPO,
    connections,
    end_on_signals,
    make_prompts,
    port_or_zero,
)

HOME = REPO / ".airflow"
AIRFLOW_PORT = 8080
EMULATOR_PORT = 8808


def put_connections(airflow: LocalAirflow, emulator: EmulatorProcess) -> None:
    """Create the connections of the examples. A connection that the user has pointed elsewhere is not changed."""
    for name, fields in connections(emulator, make_prompts(HOME / "prompts.sqlite")).items():
        body = {"connection_id": name, **fields}
        try:
            present = airflow.api("GET", f"connections/{name}")
        except AirflowApiError as error:
            if error.status != 404:
                raise
            airflow.api("POST", "connections", body)
        else:
            if str(present["host"]).startswith(("http://127.0.0.1:", str(HOME))):
                airflow.api("PATCH", f"connections/{name}", body)


def serve(emulator: EmulatorProcess) -> None:
    """Run Airflow until a component does not stay up or Ctrl-C is pressed."""
    login = ("admin", secrets.token_urlsafe(9))
    airflow = LocalAirflow(
        HOME,
        EXAMPLE_DAGS,
        env={"APIMART_OUTPUT_ROOT": str(HOME / "videos")},
        config={"core.test_connection": "Enabled"},
        login=login,
        port=port_or_zero(AIRFLOW_PORT) or free_ports(1)[0],
    )
    print("Starting Airflow (about 20 s) ...", flush=True)
    with airflow:
        put_connections(airflow, emulator)
        airflow.put_pool(POOL, POOL_SLOTS)
        print(
            f"\n  Airflow   {airflow.url}   login {login[0]} / {login[1]}\n"
            f"  Gallery   {airflow.url}/plugin/apimart-videos   all videos, and the spend by day (Browse > Videos)\n"
            f"  Emulator  {emulator.base_url}/   videos, costs and requests\n"
            f"  Files     {HOME / 'videos'}\n\n"
            f"Trigger a DAG in Airflow's pages. A video takes {JOB_SECONDS:.0f} s.\n"
            'A task has the tab "Video", a run the tab "Run videos". Ctrl-C ends everything.',
            flush=True,
        )
        while True:
            airflow.tend()
            time.sleep(1)


def main() -> int:
    """Serve; return the exit code."""
    end_on_signals()
    HOME.mkdir(exist_ok=True)
    try:
        with EmulatorProcess(
            HOME / "emulator.sqlite", port=port_or_zero(EMULATOR_PORT), job_seconds=JOB_SECONDS
        ) as emulator:
            serve(emulator)
    except KeyboardInterrupt:
        print("\nEnded; nothing is left running.")
        return 0
    except (RuntimeError, httpx.HTTPError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
