"""The contestants: ours and the peers, each through its own trigger class, and what is replaced for each.

Each provider's own hook looks up its connection, answered by ``AIRFLOW_CONN_...`` in the environment. In a triggerer
the lookup would be a request to the supervisor. It would cost every contestant more, most of all those with a
synchronous lookup.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.servers.status import Job

WEEK = 7 * 86400.0


@dataclass(frozen=True)
class Contestant:
    """One trigger class.

    :param distribution: what to install for it; its version goes into the table.
    :param trigger: the class's name in the table.
    :param default_seconds: the default poll interval of its operator; ``None``: adaptive.
    :param make: makes a trigger for a job, given the seconds between polls (``None``: its own default).
    :param succeeded: says whether the payload of its event means that the job is done.
    :param connection: the Airflow connection, given the server's URL.
    :param conn_id: the connection's id.
    :param replaced: what was replaced, for the docs.
    :param prepare: makes the replacement, given the server's URL.
    :param storms: polls again at once when it is refused, and so leaves no capacity of the machine to others that run
        in parallel.
    """

    distribution: str
    trigger: str
    default_seconds: float | None
    make: Callable[[Job, float | None], Any]
    succeeded: Callable[[Any], bool]
    conn_id: str = ""
    connection: Callable[[str], dict[str, Any]] = lambda url: {}
    replaced: str = "nothing"
    prepare: Callable[[str], None] = lambda url: None
    storms: bool = False

    @property
    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version(self.distribution) if self.distribution else ""

    def environment(self, url: str) -> dict[str, str]:
        """Return the environment that answers its connection lookups."""
        if not self.conn_id:
            return {}
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(self.connection(url))}


def _base(job: Job, seconds: float | None) -> Any:
    import asyncio

    from airflow.triggers.base import BaseTrigger, TriggerEvent

    class SleepTrigger(BaseTrigger):
        """Polls nothing: it shows the cost of Airflow's own part."""

        def serialize(self) -> tuple[str, dict[str, Any]]:
            return ("", {})

        async def run(self) -> Any:
            await asyncio.sleep(max(0.0, job.ends - time.time()))
            yield TriggerEvent(True)

    return SleepTrigger()


def _ours(job: Job, seconds: float | None) -> Any:
    from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger

    return VeoGenerationTrigger(
        generation_id=str(job.number),
        submitted_at=job.created,
        deadline=job.created + WEEK,
        poll_interval=seconds,
        apimart_conn_id="bench_apimart",
    )


def _openai(job: Job, seconds: float | None) -> Any:
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    return OpenAIBatchTrigger("bench_openai", str(job.number), poll_interval=seconds or 60, timeout=WEEK)


def _airbyte(job: Job, seconds: float | None) -> Any:
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

    end = time.time() + WEEK
    return AirbyteSyncTrigger(job.number, "bench_airbyte", end_time=end, poll_interval=seconds or 60)


def _dbt(job: Job, seconds: float | None) -> Any:
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    end = time.time() + WEEK
    return DbtCloudRunJobTrigger("bench_dbt", job.number, end_time=end, poll_interval=seconds or 60, account_id=1)


def _dbt_without_tls(url: str) -> None:
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook

    original = DbtCloudHook.get_request_url_params

    def plain(*args: Any, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        address, params = original(*args, **kwargs)
        return address.replace("https://", "http://", 1), params

    DbtCloudHook.get_request_url_params = staticmethod(plain)


def _fivetran(job: Job, seconds: float | None) -> Any:
    import pendulum
    from fivetran_provider_async.triggers import FivetranTrigger

    return FivetranTrigger(
        task_id="bench",
        connector_id=str(job.number),
        fivetran_conn_id="bench_fivetran",
        previous_completed_at=pendulum.from_timestamp(job.created),
        poke_interval=seconds or 15,
    )


def _fivetran_here(url: str) -> None:
    from fivetran_provider_async.hooks import FivetranHook

    FivetranHook.api_protocol = "http"
    FivetranHook.api_host = url.removeprefix("http://") + "/fivetran"


def _http(job: Job, seconds: float | None) -> Any:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(f"http/{job.number}", http_conn_id="bench_http", poke_interval=seconds or 60)


def _apimart_connection(url: str) -> dict[str, Any]:
    return {"conn_type": "apimart", "host": f"{url}/apimart", "password": "benchmark"}


def _status_success(payload: Any) -> bool:
    return bool(payload["status"] == "success")


OURS = Contestant(
    "airflow-provider-apimart",
    "VeoGenerationTrigger",
    None,
    _ours,
    lambda payload: bool(payload["reason"] == "finished"),
    "bench_apimart",
    _apimart_connection,
)

#: In the order of the tables.
CONTESTANTS: dict[str, Contestant] = {
    "base": Contestant("", "a trigger that sleeps", None, _base, bool),
    "ours": OURS,
    "openai": Contestant(
        "apache-airflow-providers-openai",
        "OpenAIBatchTrigger",
        60,
        _openai,
        _status_success,
        "bench_openai",
        lambda url: {"conn_type": "openai", "host": f"{url}/openai", "password": "benchmark"},
    ),
    "airbyte": Contestant(
        "apache-airflow-providers-airbyte",
        "AirbyteSyncTrigger",
        60,
        _airbyte,
        _status_success,
        "bench_airbyte",
        lambda url: {"conn_type": "airbyte", "host": f"{url}/airbyte"},
    ),
    "dbt-cloud": Contestant(
        "apache-airflow-providers-dbt-cloud",
        "DbtCloudRunJobTrigger",
        60,
        _dbt,
        _status_success,
        "bench_dbt",
        lambda url: {"conn_type": "dbt_cloud", "host": url.removeprefix("http://") + "/dbt", "password": "benchmark"},
        "`https` in its URLs by `http` (spares it the TLS handshakes)",
        _dbt_without_tls,
    ),
    "fivetran": Contestant(
        "airflow-provider-fivetran-async",
        "FivetranTrigger",
        15,
        _fivetran,
        _status_success,
        "bench_fivetran",
        lambda url: {"conn_type": "fivetran", "login": "benchmark", "password": "benchmark"},
        "its fixed host and `https` by the server's and `http` (spares it the TLS handshakes)",
        _fivetran_here,
    ),
    "http": Contestant(
        "apache-airflow-providers-http",
        "HttpSensorTrigger",
        60,
        _http,
        bool,
        "bench_http",
        lambda url: {"conn_type": "http", "host": url},
        storms=True,
    ),
}
