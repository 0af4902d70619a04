"""What to do after a lost answer: the task's own word, else the connection's, else "resend"."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.emulator.server import Emulator
from tests.operators.batches import batch, prompts, run
from tests.operators.conftest import Tries
from tests.operators.single import make

CASES = [
    ("", None, "resend"),
    ("resend", None, "resend"),
    ("fail", None, "fail"),
    ("fail", "resend", "resend"),
    ("resend", "fail", "fail"),
]


def connect(monkeypatch: pytest.MonkeyPatch, emulator: Emulator, choice: str) -> None:
    connection = {
        "conn_type": "apimart",
        "password": emulator.api_key,
        "host": emulator.base_url,
        "extra": json.dumps({"on_unknown_submit": choice}),
    }
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))


@pytest.mark.parametrize(("connection", "task", "effect"), CASES)
def test_single(
    emulator: Emulator, tries: Tries, monkeypatch: pytest.MonkeyPatch, connection: str, task: str | None, effect: str
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.client.client.time.sleep", lambda seconds: None)
    connect(monkeypatch, emulator, connection)
    emulator.fault("submit", "drop_after")
    operator = make(on_unknown_submit=task)
    if effect == "resend":
        assert operator.execute(tries.next(operator))["status"] == "completed"
    else:
        with pytest.raises(ApimartError):
            operator.execute(tries.next(operator))
    assert len(emulator.requests("submit")) == (2 if effect == "resend" else 1)
    assert emulator.state()["paid"] == 1


@pytest.mark.parametrize(("connection", "task", "effect"), CASES)
def test_batch(
    emulator: Emulator,
    tries: Tries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    connection: str,
    task: str | None,
    effect: str,
) -> None:
    connect(monkeypatch, emulator, connection)
    emulator.fault("submit", "drop_after")
    operator = batch(tmp_path, prompts(2), on_unknown_submit=task, max_failed_share=1.0)
    result = run(operator, tries)
    assert result["landed"] == (2 if effect == "resend" else 1)
    assert len(emulator.requests("submit")) == (3 if effect == "resend" else 2)
    assert emulator.state()["paid"] == 2
