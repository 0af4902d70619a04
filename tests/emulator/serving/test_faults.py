"""Each kind of scripted fault, over a real socket."""

from __future__ import annotations

import io

import av
import httpx
import pytest

from airflow_provider_apimart.emulator import running_emulator
from airflow_provider_apimart.emulator.state.faults import KINDS
from tests.emulator.conftest import EXT, OFFICIAL, connect, task, task_id, video_url


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "payment_required"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (502, "bad_gateway"),
        (503, "service_unavailable"),
    ],
)
def test_status_in_the_documented_shape(submit, emulator, status, kind):
    emulator.fault("submit", "status", status=status, retry_after=3)
    response = submit()
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["type"]) == (status, kind)
    assert response.headers["retry-after"] == "3"
    assert emulator.state()["generations"] == []
    assert submit().status_code == 200


def test_status_says_what_the_script_says(submit, emulator):
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    emulator.fault(
        "submit", "status", status=400, code="get_channel_failed", type="apimart_error", message="m", retry_after=date
    )
    response = submit()
    assert response.json() == {"error": {"code": "get_channel_failed", "message": "m", "type": "apimart_error"}}
    assert response.headers["retry-after"] == date


def test_status_after_the_work_was_done(submit, emulator):
    emulator.fault("submit", "status", status=502, executed=True)
    assert submit(key="k").status_code == 502
    assert len(emulator.state()["generations"]) == 1
    assert submit(key="k").headers["idempotency-replayed"] == "true"


def test_422_is_an_upstream_fault(submit, emulator):
    emulator.fault("submit", "status", status=422)
    assert submit().json()["error"]["code"] == "bad_response_status_code"


def test_masked_validation(submit, emulator):
    emulator.fault("submit", "build_request_failed", message="invalid size: 3:5, allowed: 16:9")
    response = submit()
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "build_request_failed: invalid size: 3:5, allowed: 16:9"


def test_errors_inside_a_200(submit, api, emulator):
    emulator.fault("submit", "envelope_error", code=402, message="m")
    assert (submit().json()) == {"code": 402, "message": "m"}
    emulator.fault("balance", "success_false", message="token not found")
    response = api.get("/v1/balance")
    assert (response.status_code, response.json()) == (200, {"success": False, "message": "token not found"})


def test_html_and_redirect(submit, emulator, api):
    emulator.fault("submit", "html", status=503, retry_after=1)
    response = submit()
    assert (response.status_code, response.headers["content-type"]) == (503, "text/html")
    assert response.text.startswith("<html>")
    emulator.fault("task", "redirect", location="http://elsewhere.invalid/x")
    response = api.get("/v1/tasks/task_X")
    assert (response.status_code, response.headers["location"]) == (302, "http://elsewhere.invalid/x")


@pytest.mark.parametrize(("kind", "made"), [("drop_before", 0), ("drop_after", 1)])
def test_drops(submit, emulator, kind, made):
    emulator.fault("submit", kind)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        submit(key="k")
    assert len(emulator.state()["generations"]) == made
    (logged,) = emulator.requests("submit")
    assert (logged["status"], logged["fault"]) == (None, kind)
    assert submit(key="k").status_code == 200
    assert len(emulator.state()["generations"]) == 1


@pytest.mark.parametrize("executed", [False, True])
def test_a_client_that_gave_up_still_pays(emulator, executed):
    emulator.fault("submit", "stall", seconds=0.4, executed=executed)
    with connect(emulator.base_url, emulator.api_key) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            impatient.post("/v1/videos/generations", json=EXT, headers={"Idempotency-Key": "k"}, timeout=0.15)
    while emulator.requests("submit")[0]["seconds"] is None:
        pass
    assert emulator.state()["bill_usd"] == 0.14
    with connect(emulator.base_url, emulator.api_key) as api:
        again = api.post("/v1/videos/generations", json=EXT, headers={"Idempotency-Key": "k"})
        assert again.headers["idempotency-replayed"] == "true"


def test_stalled_poll(submit, api, emulator):
    one = task_id(submit())
    emulator.fault("task", "stall", seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        api.get(f"/v1/tasks/{one}", timeout=0.1)
    assert task(api, one)["status"] == "completed"


def test_broken_json(submit, api, emulator):
    emulator.fault("submit", "broken_json")
    response = submit(key="k")
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"."):
        response.json()
    assert len(emulator.state()["generations"]) == 1


def test_oversize(api, emulator):
    emulator.fault("balance", "oversize", bytes=1_000_000)
    assert len(api.get("/v1/balance").content) == 1_000_000


def test_cut_media(submit, api, plain, emulator):
    url = video_url(api, task_id(submit()))
    whole = plain.get(url).content
    emulator.fault("media", "cut", bytes=1000)
    received = b""
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)), plain.stream("GET", url) as response:
        assert int(response.headers["content-length"]) == len(whole)
        for chunk in response.iter_raw():
            received += chunk
    assert received == whole[:1000]
    rest = plain.get(url, headers={"Range": "bytes=1000-", "If-Range": response.headers["etag"]})
    assert received + rest.content == whole


def test_short_media_that_looks_whole(submit, api, plain, emulator):
    url = video_url(api, task_id(submit()))
    whole = plain.get(url).content
    emulator.fault("media", "wrong_length", bytes=5000)
    short = plain.get(url)
    assert (short.status_code, short.content) == (200, whole[:-5000])


def test_not_a_video(submit, api, plain, emulator):
    url = video_url(api, task_id(submit()))
    emulator.fault("media", "not_a_video")
    response = plain.get(url)
    assert response.headers["content-type"] == "video/mp4"
    with pytest.raises(av.FFmpegError):
        av.open(io.BytesIO(response.content))


def test_slow(api, emulator):
    emulator.fault("balance", "slow", seconds=0.1)
    assert api.get("/v1/balance").json()["success"] is True


def test_media_errors_are_xml(submit, api, plain, emulator):
    url = video_url(api, task_id(submit()))
    emulator.fault("media", "status", status=403)
    emulator.fault("media", "status", status=503, retry_after=1)
    for status in (403, 503):
        response = plain.get(url)
        assert (response.status_code, response.headers["content-type"]) == (status, "application/xml")
    emulator.fault("media", "expire_url")
    assert [plain.get(url).status_code for _ in range(2)] == [403, 403]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("task_fails", "failed"),
        ("content_rejected", "failed"),
        ("completes_empty", "completed"),
        ("task_cancelled", "cancelled"),
    ],
)
def test_ends_scripted_at_submission(submit, api, emulator, kind, status):
    emulator.fault("submit", kind, message="because", code="c", type="t")
    data = task(api, task_id(submit()))
    assert data["status"] == status
    if kind == "completes_empty":
        assert (data["error_message"], data["result"]) == ("because", {"videos": []})
    else:
        assert data["error"].items() >= {"message": "because", "code": "c", "type": "t"}.items()


def test_ends_scripted_while_polling():
    with running_emulator(job_seconds=600) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        one = task_id(api.post("/v1/videos/generations", json=EXT))
        emulator.fault("task", "task_fails", after=1)
        assert task(api, one)["status"] == "pending"
        assert task(api, one)["status"] == "failed"
        assert task(api, one)["status"] == "failed"
        assert emulator.state()["bill_usd"] == 0


def test_odd_status(submit, api, emulator):
    one = task_id(submit())
    emulator.fault("task", "task_status", value="in_progress")
    assert task(api, one)["status"] == "in_progress"


def test_no_task_id(submit, emulator):
    emulator.fault("submit", "no_task_id", times=2)
    assert submit().json() == {"code": 200, "data": [{"status": "submitted"}]}
    versioned = submit(**{"X-APIMart-Response-Version": "2026-07-27"})
    assert (versioned.status_code, versioned.json()) == (202, {"code": 202, "data": {}})
    assert len(emulator.state()["generations"]) == 2


def test_other_shapes_of_a_task(submit, api, emulator):
    one = task_id(submit())
    failed = task_id(submit({**EXT, "prompt": "[[fail]]"}))

    def shaped(value, generation_id=one):
        emulator.fault("task", "shape", value=value)
        return api.get(f"/v1/tasks/{generation_id}").json()

    url = video_url(api, one)
    assert shaped("url_string")["data"]["result"]["videos"][0]["url"] == url
    assert shaped("result_url")["data"]["result"] == {"url": [url]}
    assert shaped("video_url")["data"]["result"] == {"video_url": url}
    assert shaped("cost_string")["data"]["cost"] == "0.256"
    assert shaped("data_list")["data"][0]["id"] == one
    assert shaped("unwrapped")["id"] == one
    assert "expires_at" not in shaped("no_expires_at")["data"]["result"]["videos"][0]
    assert "result" not in shaped("no_result")["data"]
    assert isinstance(shaped("error_string", failed)["data"]["error"], str)


def test_other_shapes_of_a_submission(submit, emulator):
    emulator.fault("submit", "shape", value="data_object")
    assert submit().json()["data"]["task_id"].startswith("task_")
    emulator.fault("submit", "shape", value="top_level")
    assert submit().json()["task_id"].startswith("task_")


def test_how_often_and_for_whom(submit, api, emulator):
    emulator.fault("submit", "status", status=500, times=-1, prompt_contains="cat")
    emulator.fault("*", "status", status=429, after=1, times=1)
    assert submit({**EXT, "prompt": "a cat"}).status_code == 500
    assert submit({**EXT, "prompt": "a cat"}).status_code == 500
    one = task_id(submit())
    assert api.get(f"/v1/tasks/{one}").status_code == 429
    assert api.get(f"/v1/tasks/{one}").status_code == 200
    left = {
        fault["kind"] + str(fault["status"]): (fault["hits"], fault["remaining"])
        for fault in emulator.state()["faults"]
    }
    assert left == {"status500": (2, -1), "status429": (1, 0)}
    emulator.clear_faults()
    assert submit({**EXT, "prompt": "a cat"}).status_code == 200


def test_one_generation_only(submit, api, plain, emulator):
    one, two = task_id(submit()), task_id(submit())
    emulator.fault("task", "status", status=500, generation_id=two, times=-1)
    emulator.fault("media", "status", status=500, prompt_contains="golden", times=1)
    url = video_url(api, one)
    assert api.get(f"/v1/tasks/{two}").status_code == 500
    assert [plain.get(url).status_code for _ in range(2)] == [500, 200]


def test_a_wrong_script_is_refused_whole(emulator):
    for wrong in (
        {"route": "nowhere", "kind": "status"},
        {"route": "submit", "kind": "explode"},
        {"route": "submit", "kind": "status", "statsu": 500},
        {"route": "submit", "kind": "status", "status": "500"},
        {"route": "task", "kind": "shape", "value": "round"},
    ):
        with pytest.raises(ValueError, match=r"unknown|must be"):
            emulator.faults({"route": "submit", "kind": "status"}, wrong)
    assert emulator.state()["faults"] == []


def test_every_kind_is_taken(emulator):
    emulator.faults(*({"route": "*", "kind": kind, "value": "url_string"} for kind in KINDS))
    assert [fault["kind"] for fault in emulator.state()["faults"]] == list(KINDS)


def test_latency(plain):
    with running_emulator(latency_ms=30) as emulator, connect(emulator.base_url, emulator.api_key) as api:
        api.post("/v1/videos/generations", json=OFFICIAL)
        assert emulator.requests("submit")[0]["seconds"] >= 0.03
