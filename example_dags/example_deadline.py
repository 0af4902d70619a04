"""Somebody is told when videos are late.

The alert belongs to the DAG run: Airflow's triggerer sends it if the run has not ended an hour after it was queued,
whatever it waits for: a model that is slow, a rate limit, a person's approval. The run itself goes on.

This notifier posts JSON to the connection ``apimart_cms``. Any other that can be awaited (``async_notify``) will do,
such as ``SmtpNotifier``.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.providers.http.notifications import HttpNotifier
from airflow.sdk import DAG

# From Airflow 3.2 on, airflow.sdk has them, too.
from airflow.sdk.definitions.deadline import (  # type: ignore[attr-defined]
    AsyncCallback,
    DeadlineAlert,
    DeadlineReference,
)

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

OUTPUT_ROOT = os.environ.get("APIMART_OUTPUT_ROOT") or str(Path.home() / "apimart-videos")
#: An hour. Set APIMART_DEADLINE_SECONDS to see it sooner.
DEADLINE = timedelta(seconds=int(os.environ.get("APIMART_DEADLINE_SECONDS") or 3600))

late = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT,
    interval=DEADLINE,
    callback=AsyncCallback(
        HttpNotifier,
        kwargs={
            "http_conn_id": "apimart_cms",
            "endpoint": "/cms/videos",
            # The run comes as Airflow's API shows it: dag_run_id, not run_id.
            "json": {"late": "{{ dag_run.dag_id }}", "run": "{{ dag_run.dag_run_id }}", "state": "{{ dag_run.state }}"},
        },
    ),
)

with DAG("example_deadline", schedule=None, catchup=False, deadline=late, tags=["apimart", "example"]):
    VeoGenerateOperator(
        task_id="generate",
        prompt="a lighthouse in a storm, waves breaking, night",
        duration=4,
        output_path=f"{OUTPUT_ROOT}/deadline/",
        retries=2,
    )
