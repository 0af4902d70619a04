"""The audit of a cluster's DAGs sees what is wrong with a batch, with a rendition and with what was published."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from dev.airflow_api import AirflowApi
from dev.cluster.audit import BATCH_DAG, MARKETING_DAG, _published, audit_cluster
from dev.crash_audit import Audit
from dev.crash_storage import LocalFolder
from dev.stage import EXAMPLE_DAGS
from tests.operators.conftest import Tries

RUN, ROWS = "cluster-01", 2


class Api:
    """One run of the batch, as Airflow's API tells it."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.state = "success"

    def task_instance(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        return {"task_id": task_id, "state": self.state, "try_number": 1}

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        return self.result


def land(root: Path, names: list[str]) -> dict[str, Any]:
    operator = VeoGenerateBatchOperator(
        task_id="make",
        requests=[{"prompt": name} for name in names],
        defaults={"duration": 4, "model": "veo3.1-fast-official"},
        output_path=f"{root}/",
        deferrable=False,
    )
    return cast(dict[str, Any], operator.execute(cast(Any, Tries().next(operator))))


def rewrite(api: Api, change: Callable[[dict[str, Any]], object]) -> None:
    path = Path(api.result["manifest"])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines[0])
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def video(root: Path) -> Path:
    return sorted(root.glob("*.mp4"))[0]


DEFECTS: dict[str, Callable[[Api, Path], object]] = {
    "the batch ended as failed": lambda api, root: setattr(api, "state", "failed"),
    "the manifest says": lambda api, root: rewrite(api, lambda line: line.update(outcome="parked")),
    "is nobody's": lambda api, root: (root / "left.part").touch(),
    "is not what the emulator serves": lambda api, root: video(root).write_bytes(b"other bytes"),
    "disagree on": lambda api, root: rewrite(api, lambda line: line["videos"][0].update(sha256="0" * 64)),
    "nobody asked for it": lambda api, root: land(root.parent / "elsewhere", ["not asked for"]),
    "or its sidecar is missing": lambda api, root: video(root).unlink(),
}


@pytest.mark.parametrize("problem", ["", *DEFECTS])
def test_a_batch(
    apimart_emulator_conn: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    for name in ("FIRST_POLL_SECONDS", "MIN_INTERVAL_SECONDS"):
        monkeypatch.setattr(f"airflow_provider_apimart.generation.waiting.schedule.{name}", 0.02)
    root = tmp_path / "videos"
    api = Api(land(root, [f"{BATCH_DAG} {RUN} row {number}" for number in range(ROWS)]))
    if problem:
        DEFECTS[problem](api, root)
    found = audit_cluster(
        cast(AirflowApi, api), apimart_emulator_conn, [(BATCH_DAG, RUN)], LocalFolder(root), batch_rows=ROWS
    )
    if problem:
        assert any(problem in each for each in found.problems), found.problems
    else:
        assert found.problems == []
        assert (found.asked, found.paid, found.landed, found.tasks) == (ROWS, ROWS, ROWS, 1)


def posted() -> dict[str, list[dict[str, Any]]]:
    with (EXAMPLE_DAGS / "products.csv").open(newline="", encoding="utf-8") as file:
        products = [row["product"] for row in csv.DictReader(file)]
    return {
        "youtube": [{"snippet": {"title": product}} for product in products],
        "webhook": [{"content": {"title": product}} for product in products],
    }


@pytest.mark.parametrize(("service", "where"), [("youtube", "on the channel"), ("webhook", "told to the CMS")])
def test_a_post_that_is_missing_or_there_twice(service: str, where: str) -> None:
    for change in (lambda posts: posts.pop(), lambda posts: posts.append(posts[0])):
        found, state = Audit(), posted()
        _published(found, state)
        assert found.problems == []
        change(state[service])
        _published(found, state)
        assert [problem.partition(":")[0] for problem in found.problems] == [where]


class Marketing:
    """A marketing run whose renditions are there, and whose generations are not."""

    def __init__(self, output: dict[str, str]) -> None:
        self.output = output

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return [{"task_id": "generate", "map_index": 0, "state": "failed", "try_number": 4}]

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
        return {"outputs": {"youtube": self.output}} if task_id == "renditions" else None


def test_a_marketing_run(apimart_emulator_conn: Emulator, tmp_path: Path) -> None:
    rendition = tmp_path / "rendition.mp4"
    rendition.write_bytes(b"a rendition")
    output = {"path": rendition.as_uri(), "sha256": hashlib.sha256(b"a rendition").hexdigest()}

    def problems() -> str:
        api = cast(AirflowApi, Marketing(output))
        runs = [(MARKETING_DAG, RUN)]
        return "\n".join(audit_cluster(api, apimart_emulator_conn, runs, LocalFolder(tmp_path), 0).problems)

    seen = problems()
    assert "generate[0]: ended as failed" in seen
    assert "paid for 0 times" in seen
    assert "rendition.mp4" not in seen
    rendition.write_bytes(b"damaged")
    assert "rendition.mp4 is missing or another one" in problems()
