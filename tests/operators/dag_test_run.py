"""One ``dag.test()`` of a DAG with everything that this provider can defer, in a process and an Airflow of its own.

Run as ``python -m tests.operators.dag_test_run FOLDER``, where ``FOLDER/dags`` is the dags folder; leaves
``results.json``: the state of each task and what it returned. ``dag.test()`` drops the kwargs of a deferral.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DAG_FILE = """
import json
from pathlib import Path

from airflow.sdk import DAG, task, task_group

from airflow_provider_apimart.operators.media import storyboard
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator
from airflow_provider_apimart.sensors.apimart import ApimartBalanceSensor

FOLDER = Path(__file__).parents[1]


def rows(name):
    return [{"prompt": f"{name} {number}", "duration": 4, "sku": f"{name}-{number}"} for number in range(2)]


with DAG("everything", schedule=None) as dag:
    ApimartBalanceSensor(task_id="balance", min_usd=1, poke_interval=1)
    VeoGenerateOperator(task_id="single", prompt="single", duration=4, output_path=f"{FOLDER}/single/")

    @task.veo(task_id="decorated", duration=4, output_path=f"{FOLDER}/decorated/")
    def decorated():
        return "decorated"

    decorated()
    VeoGenerateBatchOperator(task_id="batch", requests=rows("batch"), output_path=f"{FOLDER}/{{{{ run_id }}}}/")
    VeoGenerateBatchOperator(
        task_id="sync", requests=rows("sync"), output_path=f"{FOLDER}/sync", deferrable=False
    )
    VeoGenerateBatchOperator.partial(task_id="mapped", output_path=f"{FOLDER}/mapped/").expand(
        requests=[rows("mapped-a"), rows("mapped-b")]
    )

    @task
    def products():
        return [{"opening": f"{name} opens", "ending": f"{name} {{{{ ends }}}}"} for name in ("kettle", "lamp")]

    @task_group
    def film(opening, ending):
        storyboard([opening, ending], output_path=f"{FOLDER}/films/", duration=4, max_cost_usd="{{ 2 }}")

    film.expand_kwargs(products())
"""


def shrink_waits() -> None:
    from airflow_provider_apimart.generation.batch import group_commit
    from airflow_provider_apimart.generation.waiting import schedule
    from airflow_provider_apimart.publishing import publish as publication
    from airflow_provider_apimart.triggers import balance, batch, publish, veo

    schedule.FIRST_POLL_SECONDS, group_commit.PATIENCE_SECONDS = 0.05, 0.01
    # So that a second is long enough for a deferral.
    publication.MAX_BACKOFF_SECONDS = 0.5
    for module in (balance, batch, publish, veo):
        module.FIRST_EVENT_SECONDS = 0.0


def main(folder: Path) -> None:
    from airflow.utils.db import initdb

    initdb()
    shrink_waits()
    sys.path.insert(0, str(folder / "dags"))
    dag: Any = __import__("everything").dag
    run = dag.test()
    results = {}
    for ti in run.get_task_instances():
        name = ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
        ti.task = dag.get_task(ti.task_id)
        result = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index)
        results[name] = {"state": str(ti.state), "result": result}
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
