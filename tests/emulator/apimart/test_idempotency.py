"""The five outcomes of a repeated key, and the switch that makes it mean nothing."""

from __future__ import annotations

import threading

import httpx
import pytest

from airflow_provider_apimart.emulator import running_emulator
from tests.emulator.conftest import EXT, OFFICIAL, connect, task_id


def test_replay(submit, emulator):
    first = submit(key="k1")
    again = submit(dict(reversed(OFFICIAL.items())), key="k1")
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    (generation,) = emulator.state()["generations"]
    assert (generation["posts"], generation["idempotency_key"]) == (2, "k1")
    assert emulator.state()["bill_usd"] == 0.256


def test_versioned_replay(submit):
    version = {"X-APIMart-Response-Version": "2026-07-27"}
    first, again = submit(key="k1", **version), submit(key="k1", **version)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["x-apimart-response-version"] == "2026-07-27"


def test_key_reused_with_another_body_or_version(submit, emulator):
    submit(key="k1")
    for refused in (
        submit({**OFFICIAL, "prompt": "other"}, key="k1"),
        submit(key="k1", **{"X-APIMart-Response-Version": "2026-07-27"}),
    ):
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "idempotency_key_reused"
        assert refused.json()["request_id"].startswith("req_")
    assert len(emulator.state()["generations"]) == 1


def test_a_key_belongs_to_one_api_key_and_endpoint():
    with running_emulator(api_keys=("one", "two")) as emulator:
        ids = set()
        for key in ("one", "two"):
            with connect(emulator.base_url, key) as api:
                ids.add(task_id(api.post("/v1/videos/generations", json=EXT, headers={"Idempotency-Key": "same"})))
        with connect(emulator.base_url, "one") as api:
            body = {"model": "veo3.1-fast", "prompt": "go on"}
            mine = next(one for one in ids if api.get(f"/v1/tasks/{one}").status_code == 200)
            ids.add(task_id(api.post(f"/v1/videos/{mine}/remix", json=body, headers={"Idempotency-Key": "same"})))
        assert len(ids) == 3


def test_in_progress_while_the_first_is_still_worked_on(submit, emulator):
    emulator.fault("submit", "stall", seconds=1)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(submit(key="k1")))
    thread.start()
    while not emulator.requests("submit"):
        pass
    early = submit(key="k1")
    thread.join()
    assert early.status_code == 409
    assert early.json()["error"]["code"] == "idempotency_in_progress"
    assert int(early.headers["retry-after"]) > 0
    late = submit(key="k1")
    assert late.headers["idempotency-replayed"] == "true"
    assert task_id(late) == task_id(answers[0])


@pytest.mark.parametrize("executed", [False, True])
def test_indeterminate_stays_so(submit, emulator, executed):
    emulator.fault("submit", "idempotency_indeterminate", executed=executed)
    for _ in range(2):
        refused = submit(key="k1")
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "idempotency_result_indeterminate"
    assert len(emulator.state()["generations"]) == int(executed)


def test_unavailable_does_nothing(submit, emulator):
    emulator.fault("submit", "idempotency_unavailable", retry_after=2)
    refused = submit(key="k1")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "idempotency_unavailable"
    assert refused.headers["retry-after"] == "2"
    assert emulator.state()["generations"] == []
    assert "idempotency-replayed" not in submit(key="k1").headers


@pytest.mark.parametrize("kind", ["idempotency_in_progress", "idempotency_key_reused"])
def test_the_other_outcomes_can_be_scripted(submit, emulator, kind):
    emulator.fault("submit", kind)
    assert submit(key="k1").json()["error"]["code"] == kind


def test_refused_requests_are_not_remembered(submit):
    assert submit({**OFFICIAL, "duration": "8"}, key="k1").status_code == 400
    assert "idempotency-replayed" not in submit(key="k1").headers


def test_bad_keys(submit):
    assert submit(key="x" * 191).status_code == 200
    for key in ("x" * 192, "a b", ""):
        assert submit(key=key).status_code == 400


def test_ignoring_the_header():
    with running_emulator(ignore_idempotency=True) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        ids = {
            task_id(api.post("/v1/videos/generations", json=EXT, headers={"Idempotency-Key": "k"})) for _ in range(2)
        }
        assert len(ids) == 2
        assert emulator.state()["bill_usd"] == 0.28


def test_forgotten_after_its_time():
    with (
        running_emulator(idempotency_ttl_seconds=0) as emulator,
        connect(emulator.base_url, emulator.api_key) as api,
    ):
        ids = {
            task_id(api.post("/v1/videos/generations", json=EXT, headers={"Idempotency-Key": "k"})) for _ in range(2)
        }
        assert len(ids) == 2
