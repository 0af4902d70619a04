"""Generations that go wrong, are retried, cleared and mapped: what the examples do not show."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.veo import VeoGenerateOperator

ROOT = os.environ.get("APIMART_OUTPUT_ROOT", "/nonexistent")
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}

with DAG("veo_rejected", schedule=None):
    VeoGenerateOperator(task_id="make", prompt="[[reject]] a famous person", output_path=f"{ROOT}/cases/", **RETRIES)

with DAG("veo_fails_once", schedule=None):
    VeoGenerateOperator(task_id="make", prompt="fails once", duration=4, output_path=f"{ROOT}/cases/", **RETRIES)

with DAG("veo_parity", schedule=None):
    for deferrable in (True, False):
        VeoGenerateOperator(
            task_id="deferred" if deferrable else "in_worker",
            prompt="the same from both paths",
            duration=4,
            deferrable=deferrable,
            output_path=f"{ROOT}/cases/",
            **RETRIES,
        )

with DAG("veo_mapped_bad_row", schedule=None):
    VeoGenerateOperator.partial(task_id="make", output_path=f"{ROOT}/cases/", **RETRIES).expand_kwargs(
        [{"prompt": "a good row", "duration": 4}, {"prompt": "a bad row", "duration": 5}]
    )

#: Cells that would give a secret away, or be changed, if they were rendered.
CELLS = ("{{ conn.apimart_default.password }} as a neon sign", "a mug that says {{brand}} {# small #}", '"1" "000"')

with DAG("veo_data", schedule=None, render_template_as_native_obj=True):

    @task
    def rows() -> list[dict[str, object]]:
        """Return a table of strangers' texts, only one of which has a label."""
        return [{"prompt": text, "labels": {"sku": text} if index else {}} for index, text in enumerate(CELLS)]

    @task
    def products() -> list[dict[str, str]]:
        """Return what a function's prompt is made of."""
        return [{"product": f"{text}, twice"} for text in CELLS]

    @task.veo(duration=4, output_path=f"{ROOT}/data/", **RETRIES)
    def clip(product: str) -> str:
        """Write the prompt."""
        return product

    VeoGenerateOperator.partial(
        task_id="make",
        duration="{{ 2 + 2 }}",
        output_path=f"{ROOT}/data/{{{{ run_id }}}}/",
        map_index_template="row <{{ task.labels.sku }}>",
        **RETRIES,
    ).expand_kwargs(rows())
    clip.expand_kwargs(products())

with DAG("veo_templated_bad", schedule=None):
    VeoGenerateOperator(
        task_id="make",
        prompt="{{ dag_run.conf.get('prompt', 'templated') }}",
        duration="{{ dag_run.conf.get('duration', 8) }}",
        seed="{{ dag_run.conf.get('seed', 1) }}",
        output_path=f"{ROOT}/cases/",
        **RETRIES,
    )

with DAG("veo_cleared", schedule=None):
    VeoGenerateOperator(
        task_id="make", prompt="cleared afterwards", duration=4, output_path=f"{ROOT}/cases/", **RETRIES
    )

with DAG("veo_cleared_regenerate", schedule=None):
    VeoGenerateOperator(
        task_id="make",
        prompt="cleared afterwards, anew",
        duration=4,
        on_clear="regenerate",
        output_path=f"{ROOT}/cases/regenerated.mp4",
        **RETRIES,
    )

with DAG("veo_marked_failed", schedule=None):
    VeoGenerateOperator(task_id="make", prompt="marked failed", duration=4, output_path=f"{ROOT}/cases/", **RETRIES)

with DAG("veo_parked", schedule=None):
    # The emulator's jobs take 15 s, so the first two tries park and a later one finds it done.
    VeoGenerateOperator(
        task_id="make",
        prompt="parked",
        duration=4,
        timeout=4,
        retries=4,
        retry_delay=timedelta(seconds=4),
        output_path=f"{ROOT}/cases/",
    )

with DAG("veo_left_behind", schedule=None):
    # Parked with no try left: what `airflow-provider-apimart reconcile` is for.
    VeoGenerateOperator(
        task_id="make", prompt="left behind", duration=4, timeout=2, retries=0, output_path=f"{ROOT}/left/"
    )
