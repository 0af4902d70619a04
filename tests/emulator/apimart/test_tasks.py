"""The life of a task, its ends, and its shapes."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.emulator import running_emulator
from airflow_provider_apimart.emulator.apimart.tasks import job_seconds, status_of, task_view
from airflow_provider_apimart.emulator.state.store import Generation
from tests.emulator.conftest import EXT, OFFICIAL, connect, task, task_id

GENERATION = Generation(
    id="task_X",
    key_id="k",
    endpoint="/v1/videos/generations",
    model="veo3.1-fast",
    prompt="p",
    body={},
    spec={"samples": 1},
    cost_micros=140_000,
    created=1000.0,
    finish_at=1100.0,
    outcome="completed",
    error=None,
    ttl=86400,
)


def test_life_follows_from_the_clock():
    seen = [status_of(GENERATION, 1000.0 + second) for second in range(0, 120)]
    assert seen[0] == ("pending", 0)
    assert seen[50] == ("processing", 50)
    assert seen[99] == ("processing", 99)
    assert seen[100] == ("completed", 100)
    assert [progress for _, progress in seen] == sorted(progress for _, progress in seen)
    assert [status for status, _ in seen][:100].count("pending") == 10


def test_processing_says_no_cost_and_no_result():
    view = task_view(GENERATION, 1091.5, ["u"])
    assert view == {"id": "task_X", "status": "processing", "progress": 91, "created": 1000, "estimated_time": 100}


def test_completed_says_what_was_recorded():
    assert task_view(GENERATION, 5000.0, ["u"]) == {
        "id": "task_X",
        "status": "completed",
        "progress": 100,
        "created": 1000,
        "completed": 1100,
        "estimated_time": 100,
        "actual_time": 100,
        "cost": 0.14,
        "credits_cost": 1.4,
        "result": {"videos": [{"url": ["u"], "expires_at": 1100 + 86400}]},
    }


def test_jobs_vary_by_their_id_only():
    spread = {job_seconds(f"task_{n}", 100, vary=True) for n in range(50)}
    assert len(spread) > 10
    assert min(spread) >= 100
    assert max(spread) <= 130
    assert job_seconds("task_1", 100, vary=True) == job_seconds("task_1", 100, vary=True)
    assert job_seconds("task_1", 100, vary=False) == 100


def test_over_the_wire():
    with running_emulator(job_seconds=600) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        one = task_id(api.post("/v1/videos/generations", json=OFFICIAL))
        assert task(api, one)["status"] == "pending"
        assert emulator.finish(one) == [one]
        assert emulator.finish(one) == []
        data = task(api, one)
        assert data["status"] == "completed"
        assert task(api, one) == data
        assert data["result"]["videos"][0]["expires_at"] == data["completed"] + 86400


def test_unknown_and_foreign_ids():
    with running_emulator(api_keys=("one", "two")) as emulator:
        with connect(emulator.base_url, "one") as api:
            mine = task_id(api.post("/v1/videos/generations", json=EXT))
        with connect(emulator.base_url, "two") as api:
            for unknown in (mine, "task_nope"):
                response = api.get(f"/v1/tasks/{unknown}")
                assert response.status_code == 400
                expected = {"code": 400, "message": "invalid task id", "type": "invalid_request_error"}
                assert response.json()["error"] == expected


@pytest.mark.parametrize(
    ("mark", "status", "charged"),
    [
        ("[[fail]]", "failed", 0),
        ("[[reject]]", "failed", 0),
        ("[[empty]]", "completed", 0.14),
        ("[[cancel]]", "cancelled", 0),
    ],
)
def test_marks_in_the_prompt_decide_the_end(submit, api, emulator, mark, status, charged):
    data = task(api, task_id(submit({**EXT, "prompt": f"a dog {mark}"})))
    assert (data["status"], data["cost"]) == (status, charged)
    assert emulator.state()["bill_usd"] == charged
    if mark == "[[empty]]":
        assert data["result"] == {"videos": []}
        assert "Prohibited Use Policy" in data["error_message"]
    else:
        assert "result" not in data
        assert data["error"]["message"]


@pytest.mark.parametrize("language", ["en", "zh", "ja", "ko", "ru", "fr", "de", "id", "pt", "es"])
def test_language_changes_the_message_only(submit, api, language):
    one = task_id(submit({**EXT, "prompt": "[[fail]]"}))
    said = task(api, one, language=f" {language.upper()} ")
    plain = task(api, one, language="zh-CN")
    assert (said["error"]["message"] == plain["error"]["message"]) == (language == "en")
    said["error"]["message"] = plain["error"]["message"]
    assert said == plain


def test_samples(submit, api):
    body = {**OFFICIAL, "sample_count": 3}
    data = task(api, task_id(submit(body)))
    assert [len(video["url"]) for video in data["result"]["videos"]] == [3]
    assert data["cost"] == 0.768
    with running_emulator(split_samples=True) as emulator, connect(emulator.base_url, emulator.api_key) as split:
        data = task(split, task_id(split.post("/v1/videos/generations", json=body)))
        assert [len(video["url"]) for video in data["result"]["videos"]] == [1, 1, 1]


REMIX = {"model": "veo3.1-fast", "prompt": "it goes on"}


class TestRemix:
    def test_makes_a_longer_video(self, submit, api, emulator):
        source = task_id(submit(EXT))
        for raw, seconds in ((False, 15), (True, 7)):
            body = {**REMIX, "raw": raw, "resolution": "1080p", "aspect_ratio": "9:16"}
            made = task_id(api.post(f"/v1/videos/{source}/remix", json=body))
            assert task(api, made)["status"] == "completed"
            assert emulator.state()["generations"][-1]["generation_id"] == made
            assert emulator.state()["generations"][-1]["seconds"] == seconds

    def test_refusals(self, submit, api):
        source, failed = task_id(submit(EXT)), task_id(submit({**EXT, "prompt": "[[fail]]"}))
        official = task_id(submit(OFFICIAL))
        for generation_id, change in (
            ("task_nope", {}),
            (failed, {}),
            (official, {}),
            (official, {"model": "veo3.1-fast-official"}),
            (source, {"model": "veo3.1-quality"}),
            (source, {"prompt": ""}),
            (source, {"raw": "yes"}),
            (source, {"resolution": "8k"}),
        ):
            assert api.post(f"/v1/videos/{generation_id}/remix", json={**REMIX, **change}).status_code == 400

    def test_source_must_have_ended(self):
        with running_emulator(job_seconds=600) as emulator, connect(emulator.base_url, emulator.api_key) as api:
            source = task_id(api.post("/v1/videos/generations", json=EXT))
            assert api.post(f"/v1/videos/{source}/remix", json=REMIX).status_code == 400
