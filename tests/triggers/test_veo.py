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
from airflow_provider_apimart.generation.waiting.poller import here
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger
from tests.triggers.clock import Clock, clock_for


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Do not wait: time passes only while nothing is asked."""
    return clock_for(monkeypatch)


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


def first_event(waiting: VeoGenerationTrigger, clock: Clock) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        async for event in waiting.run():
            return dict(event.payload)
        raise AssertionError("no event")

    found: dict[str, Any] = clock.run(run)
    return found


@pytest.mark.parametrize("more", [{}, {"kind": "veo3.1-fast/720p/audio"}])
def test_stored_form_is_plain_json_without_a_secret_and_builds_the_same(
    emulator: Emulator, more: dict[str, str]
) -> None:
    waiting = trigger("task_1", poll_interval=7.0, **more)
    path, kwargs = waiting.serialize()
    text = json.dumps(kwargs)
    assert path == "airflow_provider_apimart.triggers.veo.VeoGenerationTrigger"
    assert emulator.api_key not in text
    assert VeoGenerationTrigger(**json.loads(text)).serialize() == (path, kwargs)
    assert ("kind" in kwargs) == bool(more), "an older triggerer does not know it"


def test_final_word_comes_with_the_event(emulator: Emulator, waits: Clock) -> None:
    generation_id = submit(emulator)
    event = first_event(trigger(generation_id), waits)
    assert (event["version"], event["reason"], event["generation_id"]) == (1, "finished", generation_id)
    json.dumps(event)
    view = Generation.model_validate(event["generation"])
    assert view.videos
    assert view.generation_id == generation_id


def test_first_event_comes_no_sooner_than_twelve_seconds_after_the_deferral(emulator: Emulator, waits: Clock) -> None:
    # Submitted long ago: no reason to wait before the first poll, but the event has to.
    long_ago = time.time() - 500
    first_event(trigger(submit(emulator), submitted_at=long_ago, deadline=long_ago + 1000), waits)
    assert waits.asked[0] < 1
    assert waits.passed == pytest.approx(12, abs=0.5)


@pytest.mark.parametrize("kind", ["broken_json", "html", "drop_before", "oversize", "redirect"])
def test_no_answer_is_a_verdict(
    emulator: Emulator, waits: Clock, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", kind, times=3)
    assert first_event(trigger(generation_id), waits)["reason"] == "finished"
    said = capsys.readouterr().out
    assert "The wait goes on" in said
    assert emulator.api_key not in said


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_no_status_is_a_verdict(emulator: Emulator, waits: Clock, status: int) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", "status", status=status, times=2)
    assert first_event(trigger(generation_id), waits)["reason"] == "finished"
    assert len(emulator.requests("task")) == 3


def test_retry_after_is_honoured(emulator: Emulator, waits: Clock) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", "status", status=429, retry_after=37, times=1)
    first_event(trigger(generation_id), waits)
    assert 37 <= waits.asked[1] - waits.asked[0] <= 41


def test_deadline_ends_the_wait_with_a_last_poll(
    emulator: Emulator, waits: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = submit(emulator)
    emulator.fault("task", "status", status=503, times=-1)
    passed = time.time() - 100
    event = first_event(trigger(generation_id, submitted_at=passed - 500, deadline=passed), waits)
    assert (event["reason"], event["generation"]) == ("deadline", None)
    assert len(emulator.requests("task")) == 1


def test_finished_at_the_deadline_is_finished(emulator: Emulator, waits: Clock) -> None:
    generation_id = submit(emulator)
    passed = time.time() - 100
    assert first_event(trigger(generation_id, submitted_at=passed - 9, deadline=passed), waits)["reason"] == "finished"


def test_a_rotated_key_is_looked_up_again(
    emulator: Emulator, waits: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generation_id = submit(emulator)
    wrong = {"conn_type": "apimart", "password": "an-old-key-of-ours", "host": emulator.base_url}
    right = {**wrong, "password": emulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(wrong))
    waits.at(100, lambda: monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(right)))
    assert first_event(trigger(generation_id), waits)["reason"] == "finished"
    said = capsys.readouterr().out
    assert "an-old-key-of-ours" not in said and emulator.api_key not in said


def test_a_missing_connection_waits_for_it_to_come_back(
    emulator: Emulator, waits: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation_id = submit(emulator)
    connection = os.environ["AIRFLOW_CONN_APIMART_DEFAULT"]
    monkeypatch.delenv("AIRFLOW_CONN_APIMART_DEFAULT")
    waits.at(100, lambda: monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", connection))
    assert first_event(trigger(generation_id), waits)["reason"] == "finished"


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

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert here()._active == {}

    asyncio.run(run())


def test_on_kill_says_where_the_money_is(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(trigger("task_1").on_kill())
    said = capsys.readouterr().out
    assert "task_1" in said
    assert "no cancel" in said


def test_nothing_is_submitted_by_a_trigger(emulator: Emulator, waits: Clock) -> None:
    generation_id = submit(emulator)
    first_event(trigger(generation_id), waits)
    first_event(trigger(generation_id), waits)
    assert emulator.state()["posts"] == 1
