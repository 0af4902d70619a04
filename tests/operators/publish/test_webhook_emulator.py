"""From the prompt to the emulator's receiver, with its faults: one effect each, and the same bytes every time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.publishing.webhook import SECRET
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.waiting import worker
from airflow_provider_apimart.hooks.webhook import SignedWebhookHook
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries
from tests.operators.publish.conftest import make


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    url = f"{apimart_emulator_conn.base_url}/webhook-receiver/shop"
    connection = {"conn_type": "signed_webhook", "host": url, "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", json.dumps(connection))
    return apimart_emulator_conn


def test_from_the_prompt_to_the_receiver(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "time", SimpleNamespace(time=time.time, sleep=lambda _: None))
    generate = VeoGenerateOperator(
        task_id="make", prompt="a cat", duration=4, deferrable=False, output_path=f"{tmp_path}/"
    )
    generated = generate.execute(Tries().next(generate))
    operator = make(generated)
    found = operator.execute(Tries().next(operator))
    (post,) = emulator.posts("webhook")
    (message,) = emulator.publishing()["webhook"]
    assert message["id"] == found["post_id"] and post["service"] == "webhook"
    assert message["content"]["data"]["video"]["generation_id"] == generated["generation_id"]


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "drop_before"}],
        [{"kind": "drop_after"}],
        [{"kind": "drop_after", "times": 3}],
        [{"kind": "status", "status": 503}],
        [{"kind": "status", "status": 503, "executed": True}],
        [{"kind": "status", "status": 429, "retry_after": "1"}, {"kind": "drop_after"}],
        [{"kind": "broken"}],
    ],
    ids=str,
)
def test_faults_change_nothing(
    emulator: Emulator, landed: dict[str, Any], no_waiting: list[float], faults: list[dict[str, Any]]
) -> None:
    for fault in faults:
        emulator.publish_fault("webhook", step="delivery", **fault)
    operator = make(landed)
    found = operator.execute(Tries().next(operator))
    assert len(emulator.posts("webhook")) == 1
    (message,) = emulator.publishing()["webhook"]
    assert message["id"] == found["post_id"] and message["different_bodies"] == 0


@pytest.mark.parametrize(
    ("condition", "said"), [("gone", "410 Gone"), ("clock_ahead", "does not accept the signature")]
)
def test_what_no_retry_mends_fails_for_good_and_goes_on_when_it_is_mended(
    emulator: Emulator, landed: dict[str, Any], tries: Tries, condition: str, said: str
) -> None:
    emulator.publish_fault("webhook", condition)
    operator = make(landed)
    with pytest.raises(AirflowFailException, match=said):
        operator.execute(tries.next(operator))
    assert not emulator.posts("webhook")
    emulator.clear_publish_faults()
    operator.execute(tries.next(operator))
    assert len(emulator.posts("webhook")) == 1


def test_the_connection_is_found_good(emulator: Emulator) -> None:
    ok, text = SignedWebhookHook().test_connection()
    assert ok, text
    assert not emulator.posts("webhook")
