"""Waiting for a generation that something else has submitted: what ends the wait, and what does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.models import VeoRequest
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.sensors.veo import VeoGenerationSensor
from airflow_provider_apimart.triggers import veo as trigger_module
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator behind ``apimart_default``, whose jobs end when they are told to."""
    with Emulator(job_seconds=3600) as running:
        connection = {"conn_type": "apimart", "password": running.api_key, "host": running.base_url}
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
        yield running


def submitted(emulator: Emulator) -> str:
    """Submit a generation as a script of somebody else would, and return its id."""
    with ApimartClient(Settings(emulator.api_key, emulator.base_url)) as client:
        return client.submit(VeoRequest(prompt="a cat", duration=4).body(), "a-script").generation_id


def sensor(generation_id: Any, **arguments: Any) -> VeoGenerationSensor:
    return VeoGenerationSensor(task_id="wait", generation_id=generation_id, **arguments)


def first_event(trigger: VeoGenerationTrigger, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)

    async def run() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(run())


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_generation_that_has_ended_is_returned_as_the_operator_returns_it(
    emulator: Emulator, deferrable: bool
) -> None:
    wanted = submitted(emulator)
    emulator.finish(wanted)
    found = sensor(wanted, deferrable=deferrable).execute({})
    assert found["generation_id"] == wanted and found["status"] == "completed"
    assert found["cost_usd"] == pytest.approx(0.256)
    (video,) = found["videos"]
    assert video["url"].startswith(emulator.base_url) and video["path"] is None and video["sha256"] is None
    assert set(found) == {
        *("generation_id", "status", "model", "cost_usd", "submitted_at", "completed_at"),
        *("videos", "mismatches", "fallback_from"),
    }
    assert emulator.state()["paid"] == 1, "the script's own"


def test_it_defers_and_ends_with_what_the_trigger_has_seen(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = submitted(emulator)
    waiting = sensor(wanted, timeout=600, poke_interval=1)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute({})
    _, kwargs = deferred.value.trigger.serialize()
    assert emulator.api_key not in json.dumps(kwargs)
    assert kwargs["deadline"] - kwargs["submitted_at"] == 600
    assert deferred.value.timeout > timedelta(seconds=600), "Airflow's own timeout comes after the trigger's deadline"
    emulator.finish(wanted)
    event = first_event(VeoGenerationTrigger(**json.loads(json.dumps(kwargs))), monkeypatch)
    assert waiting.execute_complete({}, event)["generation_id"] == wanted


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 401},
        {"kind": "status", "status": 402},
        {"kind": "status", "status": 404},
        {"kind": "html"},
        {"kind": "drop_before"},
    ],
)
def test_an_error_is_no_verdict(emulator: Emulator, fault: dict[str, Any]) -> None:
    wanted = submitted(emulator)
    emulator.finish(wanted)
    emulator.fault("task", **fault, times=1)
    waiting = sensor(wanted, deferrable=False, poke_interval=0)
    assert waiting.execute({})["generation_id"] == wanted


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(("soft_fail", "ends"), [(False, AirflowFailException), (True, AirflowSkipException)])
def test_a_failed_generation_fails_for_good(
    emulator: Emulator, deferrable: bool, soft_fail: bool, ends: type[Exception]
) -> None:
    wanted = submitted(emulator)
    emulator.finish(wanted, "failed")
    with pytest.raises(ends) as caught:
        sensor(wanted, deferrable=deferrable, soft_fail=soft_fail).execute({})
    if not soft_fail:
        assert wanted in str(caught.value)
        assert "It was not charged. This sensor submits nothing" in str(caught.value)


@pytest.mark.parametrize(("soft_fail", "ends"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_time_that_runs_out_ends_both_paths_alike(emulator: Emulator, soft_fail: bool, ends: type[Exception]) -> None:
    wanted = submitted(emulator)
    with pytest.raises(ends):
        sensor(wanted, deferrable=False, poke_interval=0, timeout=0, soft_fail=soft_fail).execute({})
    event = {"generation_id": wanted, "reason": "deadline", "generation": None, "last_word": "HTTP 503"}
    waiting = sensor(wanted, soft_fail=soft_fail)
    with pytest.raises(ends) as caught:
        waiting.resume_execution("execute_complete", {"event": event}, {})
    if not soft_fail:
        assert "what was seen last: HTTP 503" in str(caught.value) and wanted in str(caught.value)


def test_an_event_of_another_version_leads_to_a_question(emulator: Emulator) -> None:
    wanted = submitted(emulator)
    with pytest.raises(AirflowSensorTimeout, match="has not ended yet"):
        sensor(wanted).execute_complete({}, {"what": "is this"})
    emulator.finish(wanted)
    assert sensor(wanted).execute_complete({}, None)["generation_id"] == wanted
    other = {"generation_id": "task_other", "reason": "deadline", "generation": None}
    assert sensor(wanted).execute_complete({}, {**other, "reason": "finished"})["generation_id"] == wanted


@pytest.mark.parametrize("value", ["", "  ", None, 7, "None", "x" * 100_000])
def test_what_is_no_id_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"generation_id=.*APIMart's id of a generation"):
        sensor(value)


def test_a_template_is_checked_when_it_is_rendered(emulator: Emulator) -> None:
    waiting = sensor("{{ ti.xcom_pull('script') }}")
    waiting.generation_id = "None"
    with pytest.raises(InvalidVeoArgument):
        waiting.execute({})


def test_a_connection_that_cannot_be_used_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps({"conn_type": "apimart"}))
    with pytest.raises(AirflowFailException, match=r"no API key.*the generation goes on"):
        sensor("task_1").execute({})
