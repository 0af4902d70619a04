"""An account below APIMart's floor: until it is topped up, every request is a 402, polls of paid generations too."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import GenerationParkedError
from airflow_provider_apimart.emulator.server import Emulator
from tests.operators.batches import batch, paid, prompts, run
from tests.operators.conftest import Tries
from tests.operators.single import make


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An account that holds enough for one generation, and for no question after it."""
    with Emulator(balance_usd=Decimal("0.30")) as emulator:
        connect(monkeypatch, emulator)
        yield emulator


def connect(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    connection = {"conn_type": "apimart", "password": emulator.api_key, "host": emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))


def no_waiting(monkeypatch: pytest.MonkeyPatch, on_wait: Any) -> list[float]:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        on_wait(len(waits))

    monkeypatch.setattr(time, "sleep", sleep)
    return waits


def test_a_wait_goes_on_says_why_and_lands_after_the_top_up(
    poor: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = no_waiting(monkeypatch, lambda number: poor.top_up(1) if number == 20 else None)
    operator = make(tmp_path)
    result = operator.execute(tries.next(operator))
    assert Path(result["videos"][0]["path"]).is_file()
    assert poor.state()["paid"] == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "answers no question" in line]
    generation = result["generation_id"]
    assert "while the account holds too little (0.044 USD, 0.05 USD are required): top up at apimart.ai" in lines[0]
    assert f"Generation {generation} is paid for and goes on there. The wait goes on; polling again in" in lines[0]
    # The 1st, 2nd, 4th, 8th and 16th time, at most a minute apart.
    assert len(lines) == 5
    assert max(waits) <= 66


def test_the_deadline_parks_and_tells_of_the_402(poor: Emulator, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [time.time()]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    no_waiting(monkeypatch, lambda number: clock.__setitem__(0, clock[0] + 60))
    operator = make(timeout=600)
    with pytest.raises(GenerationParkedError, match=r"insufficient balance \(current: 0\.044000 USD"):
        operator.execute(tries.next(operator, store=True))
    poor.top_up(1)
    assert operator.execute(tries.next(operator, store=True))["status"] == "completed"
    assert len(poor.requests("submit")) == 1


def test_a_new_generation_is_refused_without_a_charge(
    tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(balance_usd=Decimal("0.0136")) as emulator:
        connect(monkeypatch, emulator)
        operator = make(tmp_path)
        with pytest.raises(AirflowFailException) as caught:
            operator.execute(tries.next(operator))
        assert "the account holds 0.01 USD" in str(caught.value)
        assert "Nothing was charged" in str(caught.value)
        emulator.top_up(1)
        operator.execute(tries.next(operator))
        assert emulator.state()["paid"] == 1


def top_up_when_refused(emulator: Emulator) -> None:
    """Top up as soon as a submission and a poll have been refused, however slow this machine is."""
    wait = threading.Event()
    for _ in range(600):
        if all(any(one["status"] == 402 for one in emulator.requests(route)) for route in ("submit", "task")):
            emulator.top_up(0.05)
            return
        wait.wait(0.1)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_batch_stops_paying_and_brings_home_what_is_paid(
    tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.triggers.batch.FIRST_EVENT_SECONDS", 0.0)
    # Two rows use it up to below the floor.
    with Emulator(balance_usd=Decimal("0.55")) as emulator:
        connect(monkeypatch, emulator)
        operator = batch(tmp_path, prompts(5), poll_interval=1, deferrable=deferrable)
        rescue = threading.Thread(target=top_up_when_refused, args=(emulator,), daemon=True)
        rescue.start()
        with pytest.raises(AirflowFailException) as caught:
            run(operator, tries)
        rescue.join()
        assert "insufficient balance" in str(caught.value)
        assert sum(paid(emulator).values()) == 2
        assert len(list((tmp_path / "out").glob("*.mp4"))) == 2
        refused = [one for one in emulator.requests("task") if one["status"] == 402]
        assert refused
        emulator.top_up(5)
        result = run(operator, tries)
        assert result["landed"] + result["reused"] == 5
        assert sorted(paid(emulator).values()) == [1] * 5
