"""Models that end: from the start or at run time, refused or accepted and failed, and relays without a channel."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.emulator import running_emulator, server
from airflow_provider_apimart.emulator.__main__ import parser
from airflow_provider_apimart.emulator.server import EmulatorProcess
from airflow_provider_apimart.emulator.state.settings import EmulatorSettings
from tests.emulator.conftest import EXT, OFFICIAL, connect, task_id

MODEL = OFFICIAL["model"]


def names(api) -> list[str]:
    return [one["id"] for one in api.get("/v1/models").json()["data"]]


def test_a_retired_model_is_refused_and_not_listed(submit, emulator, api):
    emulator.retire(MODEL)
    for _ in range(3):
        response = submit()
        assert response.status_code == 404
        assert response.json()["error"]["message"] == f"The model {MODEL} is no longer available"
    assert MODEL not in names(api) and EXT["model"] in names(api)
    assert api.get(f"/v1/models/{MODEL}/schema").status_code == 404
    assert submit(EXT).status_code == 200
    assert len(emulator.state()["generations"]) == 1


def test_it_can_end_after_so_many_submissions(submit, emulator, api):
    emulator.retire(MODEL, after=2)
    assert [submit().status_code for _ in range(2)] == [200, 200]
    assert MODEL not in names(api) and submit().status_code == 404
    emulator.clear_faults()
    assert MODEL in names(api) and submit().status_code == 200


def test_what_was_submitted_before_is_replayed_and_goes_on(submit, emulator, api):
    first = task_id(submit(key="k"))
    emulator.retire(MODEL)
    again = submit(key="k")
    assert task_id(again) == first and again.headers["idempotency-replayed"] == "true"
    assert api.get(f"/v1/tasks/{first}").json()["data"]["status"] == "completed"


def test_a_model_that_ended_behind_the_relay_fails_and_costs_nothing(submit, emulator, api):
    emulator.retire(MODEL, "fails")
    task = api.get(f"/v1/tasks/{task_id(submit())}").json()["data"]
    assert (task["status"], task["cost"], task["error"]["code"]) == ("failed", 0.0, "fail_to_fetch_task")
    assert '"code": 404' in task["error"]["message"] and "is no longer available" in task["error"]["message"]
    assert MODEL in names(api) and emulator.state()["bill_usd"] == 0


def test_a_running_generation_can_lose_its_model():
    with running_emulator(job_seconds=60) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        found = task_id(api.post("/v1/videos/generations", json=OFFICIAL))
        emulator.fault("task", "fail_to_fetch_task", model=EXT["model"])
        assert api.get(f"/v1/tasks/{found}").json()["data"]["status"] == "pending"
        emulator.fault("task", "fail_to_fetch_task", model=MODEL)
        assert api.get(f"/v1/tasks/{found}").json()["data"]["error"]["code"] == "fail_to_fetch_task"


def test_a_relay_without_a_channel(submit, emulator, api):
    emulator.retire(MODEL, "no_channel")
    response = submit()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_not_found"
    assert f"No available channel for model {MODEL}" in response.json()["error"]["message"]
    assert MODEL in names(api)


def test_how_a_model_ends_is_one_of_three(emulator):
    with pytest.raises(ValueError, match="allowed: refused, fails, no_channel"):
        emulator.retire(MODEL, "somehow")


def test_from_the_start_and_through_a_reset():
    options = {"retired_models": (MODEL, f"{EXT['model']}=fails")}
    with running_emulator(**options) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        emulator.reset()
        assert MODEL not in names(api) and api.post("/v1/videos/generations", json=OFFICIAL).status_code == 404
        found = task_id(api.post("/v1/videos/generations", json=EXT))
        assert api.get(f"/v1/tasks/{found}").json()["data"]["error"]["code"] == "fail_to_fetch_task"


def test_the_command_line_names_them():
    settings = EmulatorSettings(retired_models=("a", "b=fails"))
    assert parser().parse_args(server.arguments(settings)).retired_models == ["a", "b=fails"]


def test_an_end_outlives_a_kill():
    with EmulatorProcess() as emulator:
        emulator.retire(MODEL)
        emulator.kill()
        emulator.start()
        with connect(emulator.base_url, emulator.api_key) as api:
            assert api.post("/v1/videos/generations", json=OFFICIAL).status_code == 404
