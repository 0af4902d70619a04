"""What a cluster's runs should have made, and whether it is there: the part of the audit that knows their DAGs."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.emulator.control.client import EmulatorControl
from dev.airflow_api import AirflowApi
from dev.crash_audit import Audit, Wanted, check, crash_cases, price_of_clip
from dev.crash_runs import RunKey
from dev.crash_storage import Storage
from dev.stage import EXAMPLE_DAGS

#: What is kept beside a video: its sidecar, what was made of it, and where it was posted.
BESIDE = (".json", ".media.json", ".posts.json")
CRASH_DAG, BATCH_DAG, MARKETING_DAG = "crash", "cluster_batch", "example_marketing_run"


def audit_cluster(
    api: AirflowApi, emulator: EmulatorControl, runs: list[RunKey], storage: Storage, batch_rows: int
) -> Audit:
    """Check everything that the runs should have made, in the store, on the bill and at the publishing services."""
    found = Audit()
    wanted = crash_cases(api, CRASH_DAG, [run_id for dag_id, run_id in runs if dag_id == CRASH_DAG], found)
    others: set[str] = set()
    for dag_id, run_id in runs:
        if dag_id == BATCH_DAG:
            wanted += _batch(api, run_id, batch_rows, found, storage, others)
        elif dag_id == MARKETING_DAG:
            wanted += _marketing(api, run_id, found, storage, others)
    check(found, emulator.state(), wanted, storage, others)
    if any(dag_id == MARKETING_DAG for dag_id, _ in runs):
        _published(found, emulator.publishing())
    return found


def _batch(api: AirflowApi, run_id: str, rows: int, found: Audit, storage: Storage, others: set[str]) -> list[Wanted]:
    price = price_of_clip()
    prompts = [f"{BATCH_DAG} {run_id} row {number}" for number in range(rows)]
    task = api.task_instance(BATCH_DAG, run_id, "make")
    found.tasks += 1
    found.tries += int(task["try_number"])
    if task["state"] != "success":
        return [Wanted(prompt, price, problem=f"the batch ended as {task['state']}") for prompt in prompts]
    name = storage.name(api.xcom(BATCH_DAG, run_id, "make")["manifest"])
    others.add(name)
    manifest = storage.read(name) or b""
    lines = {line["request"]["prompt"]: line for line in map(json.loads, manifest.splitlines())}
    return [
        Wanted(prompt, price, lines[prompt])
        if prompt in lines and lines[prompt]["outcome"] == "landed"
        else Wanted(prompt, price, problem=f"the manifest says {lines.get(prompt)}")
        for prompt in prompts
    ]


def _marketing(api: AirflowApi, run_id: str, found: Audit, storage: Storage, others: set[str]) -> list[Wanted]:
    wanted = []
    tasks = api.task_instances(MARKETING_DAG, run_id)
    found.tasks += len(tasks)
    found.tries += sum(int(task["try_number"]) for task in tasks)
    found.problems += [
        f"{MARKETING_DAG} {run_id} {task['task_id']}[{task['map_index']}]: ended as {task['state']}"
        for task in tasks
        if task["state"] != "success"
    ]
    for number, row in enumerate(_products()):
        prompt = f"{row['product']}: {row['prompt']}"
        price = price_of_clip(generate_audio=row["generate_audio"] == "true")
        value = api.xcom(MARKETING_DAG, run_id, "generate", map_index=number)
        wanted.append(Wanted(prompt, price, value, problem="" if value else "no XCom"))
        others |= {storage.name(video["path"]) + end for video in (value or {"videos": []})["videos"] for end in BESIDE}
        made = api.xcom(MARKETING_DAG, run_id, "renditions", map_index=number) or {"outputs": {}}
        for output in made["outputs"].values():
            name = storage.name(output["path"])
            others |= {name, *(name + end for end in BESIDE)}
            data = storage.read(name)
            if data is None or hashlib.sha256(data).hexdigest() != output["sha256"]:
                found.problems.append(f"{prompt}: the rendition {name} is missing or another one")
    return wanted


def _published(found: Audit, state: Mapping[str, Any]) -> None:
    products = [row["product"] for row in _products()]
    titles = Counter(video["snippet"]["title"] for video in state["youtube"])
    told = Counter(message["content"]["title"] for message in state["webhook"])
    for where, seen in (("on the channel", titles), ("told to the CMS", told)):
        if seen != Counter(products):
            found.problems.append(f"{where}: {dict(seen)}, not each of {products} once")
    found.notes.append(f"posted     {titles.total()} videos on the channel, {told.total()} messages to the CMS")


def _products() -> list[dict[str, str]]:
    with (EXAMPLE_DAGS / "products.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
