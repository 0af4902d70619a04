"""Submission: both response versions, what is refused, and what it costs."""

from __future__ import annotations

import re
from decimal import Decimal

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator, running_emulator
from tests.emulator.conftest import EXT, OFFICIAL, connect, task, task_id

VERSION = {"X-APIMart-Response-Version": "2026-07-27"}


def test_default_envelope(submit):
    response = submit()
    assert response.status_code == 200
    assert response.json() == {
        "code": 200,
        "data": [{"status": "submitted", "task_id": response.json()["data"][0]["task_id"]}],
    }
    assert re.fullmatch(r"task_[0-9A-HJKMNP-TV-Z]{26}", task_id(response))
    assert "x-apimart-response-version" not in response.headers
    assert response.headers["x-oneapi-request-id"]


def test_versioned_envelope(submit, api):
    response = submit(**VERSION)
    assert response.status_code == 202
    body = response.json()
    assert body["code"] == 202
    assert body["request_id"].startswith("req_")
    assert body["data"]["object"] == "generation.task"
    assert body["data"]["status"] == "pending"
    assert response.headers["x-apimart-response-version"] == "2026-07-27"
    assert api.get(body["data"]["poll_url"]).json()["data"]["id"] == body["data"]["id"]


def test_keys(emulator: Emulator):
    with connect(emulator.base_url, "bad-key") as client:
        wrong = client.post("/v1/videos/generations", json=OFFICIAL)
    assert wrong.status_code == 401
    error = wrong.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("", "", "apimart_error")
    assert re.fullmatch(r"invalid API key \(request id: \w+\)", error["message"])
    missing = httpx.post(f"{emulator.base_url}/v1/videos/generations", json=OFFICIAL, trust_env=False)
    assert missing.status_code == 401
    assert missing.json()["error"]["message"].startswith("API key is required")
    assert emulator.state()["generations"] == []


def test_any_key_lets_all_but_bad_ones_in():
    with running_emulator(any_key=True) as emulator:
        with connect(emulator.base_url, "sk-whatever") as client:
            assert client.get("/v1/balance").status_code == 200
        with connect(emulator.base_url, "bad-key") as client:
            assert client.get("/v1/balance").status_code == 401


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"duration": "8"}, "invalid duration"),
        ({"duration": 5}, "invalid duration"),
        ({"duration": True}, "invalid duration"),
        ({"duration": 8.0}, "invalid duration"),
        ({"enhance_prompt": False}, "invalid enhance_prompt"),
        ({"aspect_ratio": "3:5"}, "invalid aspect_ratio"),
        ({"resolution": "8K"}, "invalid resolution"),
        ({"seed": -1}, "invalid seed"),
        ({"seed": 2**32}, "invalid seed"),
        ({"sample_count": 5}, "invalid sample_count"),
        ({"generate_audio": "true"}, "invalid generate_audio"),
        ({"person_generation": "dont_allow"}, "invalid person_generation"),
        ({"resize_mode": "stretch"}, "invalid resize_mode"),
        ({"negative_prompt": 1}, "invalid negative_prompt"),
        ({"prompt": ""}, "prompt is required"),
        ({"prompt": None}, "prompt is required"),
        ({"model": "sora-9"}, "unsupported model"),
        ({"model": None}, "model is required"),
        (
            {"first_frame_image": "data:image/png;base64,AAAA"},
            "Invalid format for first_frame_image. Only http/https URLs or asset:// private asset URLs are supported.",
        ),
        ({"last_frame_image": "/tmp/x.png"}, "Invalid format for last_frame_image."),
    ],
)
def test_official_refusals(submit, emulator, change, text):
    response = submit({**OFFICIAL, **change})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["type"]) == (400, "invalid_request_error")
    assert text in error["message"]
    assert emulator.state()["generations"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"duration": 4},
        {"resolution": "8K"},
        {"generation_type": "other"},
        {"model": "veo3.1-quality", "generation_type": "reference"},
        {"image_urls": ["https://a/1.png"] * 4},
        {"image_urls": "https://a/1.png"},
        {"image_urls": ["data:image/png;base64,AAAA"]},
        {"enable_gif": True, "resolution": "1080p"},
        {"official_fallback": 1},
    ],
)
def test_ext_refusals(submit, change):
    assert submit({**EXT, **change}).status_code == 400


def test_every_documented_parameter_is_taken(submit):
    full = {
        **OFFICIAL,
        "model": "veo3.1-quality-official",
        "negative_prompt": "blurry",
        "duration": 8,
        "aspect_ratio": "9:16",
        "resolution": "4K",
        "first_frame_image": "https://example.com/a.png",
        "last_frame_image": "asset://b",
        "seed": 4294967295,
        "sample_count": 1,
        "generate_audio": True,
        "person_generation": "disallow",
        "resize_mode": "crop",
        "enhance_prompt": True,
        "unknown_field": {"is": "ignored"},
    }
    assert submit(full).status_code == 200
    ext = {**EXT, "model": "veo3.1-lite-ext", "duration": 8, "resolution": "4k", "generation_type": "frame"}
    assert submit({**ext, "image_urls": ["https://a/1.png"], "official_fallback": False}).status_code == 200


def test_not_json(api):
    response = api.post("/v1/videos/generations", content=b"{", headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert api.post("/v1/videos/generations", json=[1]).status_code == 400
    assert api.post("/v1/videos/generations", content=b'{"prompt": NaN}').status_code == 400


@pytest.mark.parametrize(
    ("body", "usd"),
    [
        (OFFICIAL, "0.256"),
        ({**OFFICIAL, "duration": 8, "generate_audio": True}, "0.64"),
        ({**OFFICIAL, "model": "veo3.1-quality-official", "duration": 8, "generate_audio": True}, "2.56"),
        (EXT, "0.14"),
        ({**EXT, "model": "veo3.1-lite-ext"}, "0.07"),
        ({**EXT, "model": "veo3.1-quality", "resolution": "4k"}, "1.5"),
    ],
)
def test_prices(submit, api, emulator, body, usd):
    data = task(api, task_id(submit(body)))
    assert Decimal(str(data["cost"])) == Decimal(usd)
    assert Decimal(str(data["credits_cost"])) == Decimal(usd) * 10
    left = api.get("/v1/balance").json()
    assert left["remain_balance"] == pytest.approx(100 - float(usd))
    assert left["used_balance"] == pytest.approx(float(usd))
    assert emulator.state()["bill_usd"] == pytest.approx(float(usd))


def test_money_is_reserved_then_settled_or_given_back():
    with running_emulator(job_seconds=600) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        kept = task_id(api.post("/v1/videos/generations", json=EXT))
        lost = task_id(api.post("/v1/videos/generations", json=EXT))
        before = api.get("/v1/user/balance").json()
        assert (before["remain_balance"], before["used_balance"]) == (99.72, 0)
        emulator.finish(kept)
        emulator.finish(lost, outcome="failed")
        after = api.get("/v1/user/balance").json()
        assert (after["remain_balance"], after["used_balance"]) == (99.86, 0.14)
        told = emulator.state()
        assert (told["paid"], told["bill_usd"], told["reserved_usd"]) == (1, 0.14, 0)


def test_402_when_the_money_does_not_reach():
    with running_emulator(balance_usd=Decimal("0.20")) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        assert api.post("/v1/videos/generations", json=EXT).status_code == 200
        refused = api.post("/v1/videos/generations", json=EXT)
        assert refused.status_code == 402
        assert (refused.json()["error"]["code"], refused.json()["error"]["type"]) == (402, "payment_required")
        assert len(emulator.state()["generations"]) == 1


def test_key_quota_and_account_are_two_things():
    options = {"balance_usd": Decimal(10), "key_quota_usd": Decimal("0.2"), "api_keys": ("one", "two")}
    with running_emulator(**options) as emulator:
        with connect(emulator.base_url, "one") as one:
            assert one.post("/v1/videos/generations", json=EXT).status_code == 200
            assert one.post("/v1/videos/generations", json=EXT).status_code == 402
            assert one.get("/balance").json()["remain_balance"] == 0.06
            assert one.get("/user/balance").json()["remain_balance"] == 9.86
        with connect(emulator.base_url, "two") as two:
            assert two.get("/v1/balance").json()["remain_balance"] == 0.2


def test_unlimited_key():
    with running_emulator(unlimited_key=True) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        shown = api.get("/v1/balance").json()
        assert (shown["remain_balance"], shown["remain_credits"], shown["unlimited_quota"]) == (-1, -1, True)
        assert api.get("/v1/user/balance").json()["remain_balance"] == 100


def test_below_the_floor_everything_is_a_402_until_somebody_tops_up():
    with running_emulator(balance_usd=Decimal("0.15")) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        task_id = api.post("/v1/videos/generations", json=EXT).json()["data"][0]["task_id"]
        paths = (
            f"/v1/tasks/{task_id}",
            "/v1/models",
            "/v1/models/veo3.1-fast/schema",
            "/v1/balance",
            "/v1/user/balance",
        )
        text = "[token_id=90701] insufficient balance (current: 0.010000 USD, required: 0.050000 USD)"
        for answer in (*(api.get(path) for path in paths), api.post("/v1/videos/generations", json=EXT)):
            assert (answer.status_code, answer.json()) == (402, {"error": {"message": text}})
        assert api.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert api.get("/api/pricing/models/all").status_code == 200
        assert emulator.top_up(0.04) == 0.05
        assert api.get(f"/v1/tasks/{task_id}").status_code == 200
        assert api.get("/v1/user/balance").json()["remain_balance"] == 0.05
        emulator.reset()
        assert api.get("/v1/user/balance").json()["remain_balance"] == 0.15


def test_the_floor_can_be_switched_off():
    options = {"balance_usd": Decimal(0), "balance_floor_usd": Decimal(0)}
    with running_emulator(**options) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        assert api.get("/v1/balance").json()["remain_balance"] == 0
        assert api.post("/v1/videos/generations", json=EXT).status_code == 402
        with pytest.raises(ValueError, match="an amount"):
            emulator.top_up("much")
