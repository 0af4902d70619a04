"""A role on S3 that may write and read under its prefix and nothing else, from the request to the landed video."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.landing import delivery
from airflow_provider_apimart.generation.landing.delivery import deliver
from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator
from airflow_provider_apimart.storage import permissions
from tests.operators.conftest import Tries
from tests.operators.films import Run, film
from tests.operators.single import make
from tests.storage.object_store import BUCKET, Policy, Store, policy, store

__all__ = ["policy", "store"]


@pytest.fixture
def output(store: Store, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> str:
    extra = {"endpoint_url": store.endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    # Airflow keeps a connection's file system for as long as the process lives: each server has a name of its own.
    name = f"aws_{store.endpoint.rpartition(':')[2]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    return f"s3://{name}@{BUCKET}/out/"


@pytest.mark.parametrize("kept", [True, False], ids=["task state store", "record beside the video"])
@pytest.mark.parametrize("name", ["", "clip.mp4"])
def test_put_and_get_on_a_prefix_are_enough(
    emulator: Emulator, tries: Tries, no_waiting: list[float], store: Store, output: str, name: str, kept: bool
) -> None:
    operator = make(output_path=output + name)
    (video,) = operator.execute(tries.next(operator, store=kept))["videos"]
    key = video["path"].partition(f"@{BUCKET}/")[2]
    assert store.client.head_object(Bucket=BUCKET, Key=key)["ContentType"] == "video/mp4"
    assert store.client.head_object(Bucket=BUCKET, Key=f"{key}.json")["ContentType"] == "application/json"
    again = operator.execute(tries.next(operator, store=kept))
    assert again["videos"][0]["sha256"] == video["sha256"] and emulator.state()["paid"] == 1


def test_place_that_cannot_be_used_is_refused_before_anything_is_paid(
    emulator: Emulator, tries: Tries, policy: Policy, output: str
) -> None:
    policy.denied.add("PutObject")
    operator = make(output_path=output)
    with pytest.raises(AirflowFailException, match="s3:PutObject"):
        operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == 0


def test_permission_that_is_lost_after_the_payment_loses_no_video(
    emulator: Emulator,
    tries: Tries,
    no_waiting: list[float],
    policy: Policy,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = {"PutObject", "GetObject", "HeadObject", "CreateMultipartUpload"}

    def forbidden(**arguments: Any) -> Any:
        policy.denied |= lost
        permissions._passed.clear()
        return deliver(**arguments)

    operator = make(output_path=output)
    with monkeypatch.context() as patched:
        patched.setattr(delivery, "deliver", forbidden)
        with pytest.raises(LandingError, match="s3:PutObject"):
            operator.execute(tries.next(operator, store=True))
    with pytest.raises(AirflowFailException, match=r"is paid for .* and stays known"):
        operator.execute(tries.next(operator, store=True))
    policy.denied -= lost
    assert operator.execute(tries.next(operator, store=True))["videos"][0]["path"].startswith(output)
    assert emulator.state()["paid"] == 1


def test_batch_says_that_its_journal_has_to_be_listed(emulator: Emulator, tries: Tries, output: str) -> None:
    operator = VeoGenerateBatchOperator(
        task_id="table", requests=[{"prompt": "a cat"}], output_path=output, deferrable=False
    )
    with pytest.raises(AirflowFailException, match=r"output_path '.*forbids listing.*s3:ListBucket"):
        operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == 0


def test_batch_whose_state_is_elsewhere_lands_without_listing(
    emulator: Emulator, tries: Tries, quick: None, store: Store, output: str, tmp_path: Any
) -> None:
    operator = VeoGenerateBatchOperator(
        task_id="table",
        requests=[{"prompt": "a cat", "duration": 4}],
        output_path=output,
        state_path=f"{tmp_path}/",
        deferrable=False,
    )
    result = operator.execute(tries.next(operator))
    assert result["landed"] == 1 and emulator.state()["paid"] == 1
    assert store.client.head_object(Bucket=BUCKET, Key=result["manifest"].split(f"{BUCKET}/")[1])


def test_a_storyboard_on_s3_goes_on_from_what_lies_there(
    emulator: Emulator, no_waiting: list[float], store: Store, output: str
) -> None:
    run = Run(film(["one", "two"], output.rstrip("/"), duration=4))
    joined = run.run_all()
    frame = run.xcoms["storyboard.frame_1"]
    bodies = [each["body"] for each in emulator.requests("submit")]
    stored = store.client.get_object(Bucket=BUCKET, Key=frame["path"].partition(f"@{BUCKET}/")[2])["Body"].read()
    assert httpx.get(bodies[1]["first_frame_image"], trust_env=False).content == stored
    head = store.client.head_object(Bucket=BUCKET, Key=joined["path"].partition(f"@{BUCKET}/")[2])
    assert head["ContentLength"] == joined["bytes"] and joined["duration_seconds"] == pytest.approx(8, abs=0.05)
    # Again with nothing but what lies there.
    again = [run.run(name, cleared=1) for name in ("plan", "shot_1", "frame_1", "shot_2", "join")][-1]
    assert again == joined and emulator.state()["paid"] == 2
