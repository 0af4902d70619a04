"""``dag.test()``: from the prompt to the post, deferred, mapped and under a key. Airflow drops a deferral's kwargs.

The key's record is an Airflow Variable, here a real one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.posts import posts_of
from tests.receiver import SECRET, Answer, Attempt, Receiver

DAG_FILE = """
from pathlib import Path

from airflow.sdk import DAG, Asset, task

from airflow_provider_apimart.hooks.manifest import posts
from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator

FOLDER = Path(__file__).parents[1]

with DAG("everything", schedule=None) as dag:
    generate = VeoGenerateOperator(task_id="single", prompt="single", duration=4, output_path=f"{FOLDER}/single/")
    post = WebhookPublishOperator(
        task_id="post",
        video=generate.output,
        payload={"who": "post", "sum": {"$video": "sha256"}, "run": "{{ run_id }}"},
        include_url=False,
        outlets=[Asset("posts")],
    )
    keyed = WebhookPublishOperator(
        task_id="keyed", video=generate.output, payload={"who": "keyed"}, include_url=False, post_key="campaign 7"
    )
    again = WebhookPublishOperator(
        task_id="again", video=generate.output, payload={"who": "keyed"}, include_url=False, post_key="campaign 7"
    )
    keyed >> again

    @task(inlets=[Asset("posts")])
    def told(inlet_events=None):
        return dict(inlet_events[Asset("posts")][-1].extra)

    post >> told()

    rows = [{"prompt": f"row {number}", "duration": 4, "name": f"{{{{ {number} }}}}"} for number in range(2)]
    batch = VeoGenerateBatchOperator(task_id="batch", requests=rows, output_path=f"{FOLDER}/batch/")

    @task
    def to_post(result):
        (parcel,) = posts(result, payload={"who": "{labels[name]}", "row": "{row}"})
        return parcel

    WebhookPublishOperator.partial(task_id="mapped", include_url=False).expand_kwargs(to_post(batch.output))
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        # The first attempt of each message is put off, so that each task is deferred.
        seen: set[str] = set()

        def put_off(attempt: Attempt) -> None:
            if attempt.headers["webhook-id"] not in seen:
                seen.add(attempt.headers["webhook-id"])
                receiver.answers.append(Answer(429, {"Retry-After": "1"}, effect=False))

        receiver.on_request = put_off
        yield receiver


@pytest.fixture(scope="module")
def output(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("dag_test")
    (folder / "dags").mkdir()
    (folder / "dags" / "everything.py").write_text(DAG_FILE)
    with Emulator(job_seconds=0.05) as emulator:
        apimart = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
        done = subprocess.run(
            [sys.executable, "-m", "tests.operators.dag_test_run", str(folder)],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "AIRFLOW_HOME": str(folder),
                "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
                "AIRFLOW_CONN_APIMART_DEFAULT": json.dumps(apimart),
                "AIRFLOW_CONN_WEBHOOK_DEFAULT": receiver.connection(),
            },
            cwd=Path(__file__).parents[3],
        )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="module")
def results(output: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output[0] / "results.json").read_text())
    return found


def test_everything_ends_well(results: dict[str, Any]) -> None:
    assert {found["state"] for found in results.values()} == {"success"}


def test_each_post_was_deferred_and_made_once(results: dict[str, Any], receiver: Receiver) -> None:
    said = {json.dumps(message["who"]): message for message in receiver.effects.values()}
    assert set(said) == {'"post"', '"keyed"', '"{{ 0 }}"', '"{{ 1 }}"'}
    assert len(receiver.effects) == 4 and len(receiver.attempts) == 8
    assert said['"post"']["sum"] == results["single"]["result"]["videos"][0]["sha256"]
    assert {said[f'"{{{{ {number} }}}}"']["row"] for number in range(2)} == {1, 2}


def test_a_key_spans_tasks(results: dict[str, Any]) -> None:
    assert results["keyed"]["result"] == results["again"]["result"]


def test_later_tasks_see_where_a_video_was_posted(results: dict[str, Any]) -> None:
    video = results["single"]["result"]["videos"][0]["path"]
    assert {post["post"] for post in posts_of(video)} == {
        results[name]["result"]["post_id"] for name in ("post", "keyed")
    }


def test_the_asset_event_says_what_was_posted(results: dict[str, Any]) -> None:
    told, post = results["told"]["result"], results["post"]["result"]
    assert told["sha256"] == post["video"]["sha256"] and told["post_id"] == post["post_id"]
    assert told["state"] == "delivered"


def test_no_secret_is_logged(output: tuple[Path, str]) -> None:
    assert SECRET not in output[1] and SECRET.removeprefix("whsec_") not in output[1]
    assert Receiver.path not in output[1]
