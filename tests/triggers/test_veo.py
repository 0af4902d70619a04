"""The wait: what is stored, what ends it, and what does not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.triggers import veo
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait; keep what would have been waited."""
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await real(0)

    monkeypatch.setattr(veo.asyncio, "sleep", sleep)
    return waited


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator) -> Emulator:
    return apimart_emulator_conn


def submit(emulator: Emulator, prompt: str = "a cat") -> str:
    with ApimartClient(Settings(emulator.api_key, emulator.base_url)) as client:
        return client.submit({"model": "veo3.1-fast-official", "prompt": prompt}, f"key-{time.time_ns()}").generation_id


def trigger(generation_id: str, **arguments: Any) -> VeoGenerationTrigger:
    now = time.time()
    values = {"submitted_at": now, "deadline": now + 600, "median_seconds": 75.0, **arguments}
    return VeoGenerationTrigger(generation_id=generation_id, **values)


def first_event(waiting: VeoGenerationTrigger) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        async for event in waiting.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(run())


def test_stored_form_is_plain_json_without_a_secret_and_builds_the_same(emulator: Emulator) -> None:
    waiting = trigger("task_1", poll_interval=7.0)
    path, kwargs = waiting.serialize()
    text = json.dumps(kwargs)
    assert path == "airflow_provider_apimart.triggers.veo.VeoGenerationTrigger"
    assert emulator.api_key not in text
    assert VeoGenerationTrigger(**json.loads(text)).serialize() == (path, kwargs)


def test_final_word_comes_with_the_event(emulator: Emulator, waits: list[float]) -> None:
    generation_id = submit(emulator)
    event = first_event(trigger(generation_id))
    assert (event["version"], event["reason"], event["generation_id"]) == (1, "finished", generation_id)
    json.dumps(event)
    view = Generation.model_validate(event["generation"])
    assert view.videos
    assert view.generation_id == generation_id


def test_first_event_comes_no_sooner_than_twelve_seconds_after_the_deferral(
    emulator: Emulator, waits: list[float]
) -> None:
    # Submitted long ago: no reason to wait before the first poll, but the event has to.
    long_ago = time.time() - 500
    first_event(trigger(submit(emulator), submitted_at=long_ago, deadline=long_ago + 1000))
    assert waits[0] == 0
    assert waits[-1] == pytest.approx(12, abs=1)


@pytest.mark.parametrize("kind", ["broken_json", "html", "drop_before", "oversize", "redirect"])
def test_no_answer_is_a_verdict(
    emulator: Emulator, waits: list[float], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", kind, times=3)
    assert first_event(trigger(generation_id))["reason"] == "finished"
    said = capsys.readouterr().out
    assert "That ends nothing" in said
    assert emulator.api_key not in said


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_no_status_is_a_verdict(emulator: Emulator, waits: list[float], status: int) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", "status", status=status, times=2)
    assert first_event(trigger(generation_id))["reason"] == "finished"
    assert len(emulator.requests("task")) == 3


def test_retry_after_is_honoured(emulator: Emulator, waits: list[float]) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", "status", status=429, retry_after=37, times=1)
    first_event(trigger(generation_id))
    assert any(33 <= each <= 41 for each in waits)


def test_deadline_ends_the_wait_with_a_last_poll(
    emulator: Emulator, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", "status", status=503, times=-1)
    passed = time.time() - 100
    event = first_event(trigger(generation_id, submitted_at=passed - 500, deadline=passed))
    assert (event["reason"], event["generation"]) == ("deadline", None)
    assert len(emulator.requests("task")) == 1


def test_finished_at_the_deadline_is_finished(emulator: Emulator, waits: list[float]) -> None:
    generation_id = submit(emulator)
    passed = time.time() - 100
    assert first_event(trigger(generation_id, submitted_at=passed - 9, deadline=passed))["reason"] == "finished"


def test_a_rotated_key_is_looked_up_again(
    emulator: Emulator, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = submit(emulator)
    wrong = {"conn_type": "apimart", "password": "an-old-key-of-ours", "host": emulator.base_url}
    right = {**wrong, "password": emulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(wrong))
    polls = 0
    real = VeoGenerationTrigger._poll

    async def poll(self: VeoGenerationTrigger, watch: Any) -> Any:
        nonlocal polls
        polls += 1
        if polls == 3:
            monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(right))
        return await real(self, watch)

    monkeypatch.setattr(VeoGenerationTrigger, "_poll", poll)
    assert first_event(trigger(generation_id))["reason"] == "finished"


def test_a_missing_connection_waits_for_it_to_come_back(
    emulator: Emulator, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = submit(emulator)
    connection = os.environ["AIRFLOW_CONN_APIMART_DEFAULT"]
    monkeypatch.delenv("AIRFLOW_CONN_APIMART_DEFAULT")
    polls = 0
    real = VeoGenerationTrigger._poll

    async def poll(self: VeoGenerationTrigger, watch: Any) -> Any:
        nonlocal polls
        polls += 1
        if polls == 2:
            monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", connection)
        return await real(self, watch)

    monkeypatch.setattr(VeoGenerationTrigger, "_poll", poll)
    assert first_event(trigger(generation_id))["reason"] == "finished"


def test_cancelling_closes_the_connections(emulator: Emulator) -> None:
    generation_id = submit(emulator)
    waiting = trigger(generation_id, submitted_at=time.time() - 100)
    emulator.fault("task", "status", status=503, times=-1)

    async def run() -> None:
        async def consume() -> None:
            async for _ in waiting.run():
                raise AssertionError("no event was due")

        task = asyncio.create_task(consume())
        for _ in range(500):
            if emulator.requests("task"):
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert waiting._client is None


def test_on_kill_says_where_the_money_is(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(trigger("task_1").on_kill())
    said = capsys.readouterr().out
    assert "task_1" in said
    assert "no cancel" in said


def test_nothing_is_submitted_by_a_trigger(emulator: Emulator, waits: list[float]) -> None:
    generation_id = submit(emulator)
    first_event(trigger(generation_id))
    first_event(trigger(generation_id))
    assert emulator.state()["posts"] == 1
