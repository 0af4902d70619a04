"""Uploads, the catalogue, prices, the page, and the CMS of the example."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.apimart import unpublished_routes
from airflow_provider_apimart.emulator.apimart.side_routes import MAX_UPLOAD_BYTES
from tests.emulator.conftest import EXT, OFFICIAL, task_id

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40


@pytest.mark.parametrize(
    ("data", "kind", "ending"),
    [
        (PNG, "image/png", "png"),
        (b"\xff\xd8\xff\xe0" + b"0" * 9, "image/jpeg", "jpg"),
        (b"GIF89a" + b"0" * 9, "image/gif", "gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", "webp"),
    ],
)
def test_upload(api, plain, data, kind, ending):
    response = api.post("/v1/uploads/images", files={"file": ("my.bin", data, "text/plain")})
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {"url", "filename", "content_type", "bytes", "created_at"}
    assert (answer["filename"], answer["content_type"], answer["bytes"]) == ("my.bin", kind, len(data))
    assert answer["url"].endswith(f".{ending}")
    served = plain.get(answer["url"])
    assert (served.content, served.headers["content-type"]) == (data, kind)
    assert plain.get(answer["url"].replace("/f/image/", "/f/image/x")).status_code == 403


def test_upload_refusals(api, emulator):
    missing = {"message": "missing or invalid file field: http: no such file", "type": "invalid_request_error"}
    for response in (
        api.post("/v1/uploads/images", files={"image": ("a.png", PNG)}),
        api.post("/v1/uploads/images", json={}),
        api.post("/v1/uploads/images", data={"file": "text"}),
    ):
        assert (response.status_code, response.json()) == (400, {"error": missing})
    wrong = api.post("/v1/uploads/images", files={"file": ("a.pdf", b"%PDF-1.4")})
    text = "unsupported image type: application/pdf, allowed: jpeg, png, gif, webp"
    assert (wrong.status_code, wrong.json()["error"]["message"]) == (400, text)
    large = api.post("/v1/uploads/images", files={"file": ("a.png", PNG + b"0" * MAX_UPLOAD_BYTES)})
    text = f"file size {MAX_UPLOAD_BYTES + len(PNG)} exceeds maximum 20971520 bytes"
    assert (large.status_code, large.json()["error"]["message"]) == (413, text)
    assert "code" not in large.json()["error"]
    emulator.fault("upload", "status", status=429)
    assert api.post("/v1/uploads/images", files={"file": ("a.png", PNG)}).json()["error"]["code"] == 429


def test_balances_have_the_recorded_fields(api):
    fields = {"success", "remain_balance", "remain_credits", "used_balance", "used_credits", "unlimited_quota"}
    for path in ("/v1/balance", "/balance", "/v1/user/balance", "/user/balance"):
        shown = api.get(path).json()
        assert set(shown) == fields
        assert (shown["remain_balance"], shown["remain_credits"]) == (100, 1000)


def test_catalogue(api):
    listed = api.get("/v1/models").json()["data"]
    names = {model["id"] for model in listed}
    assert {"veo3.1-fast-official", "veo3.1-quality-official", "veo3.1-lite", "veo3.1-fast-ext"} <= names
    assert api.get("/v1/models/veo3.1-lite").json()["id"] == "veo3.1-lite"
    one = api.get("/v1/models/veo3.1-fast-official/schema").json()
    assert (
        one
        == api.get("/v1/model-schema", params={"model": "veo3.1-fast-official", "operation": "video_generation"}).json()
    )
    assert one["idempotency"]["retention_seconds"] == 86400
    properties = one["input_schema"]["properties"]
    documented = "model prompt negative_prompt duration aspect_ratio resolution first_frame_image last_frame_image seed"
    documented += " sample_count generate_audio person_generation resize_mode enhance_prompt"
    assert set(properties) == set(documented.split())
    docs = api.get("/v1/model-docs", params={"model": "veo3.1-fast-official"}).json()
    assert docs["cache_ttl_seconds"] == 604800
    assert "`generate_audio`" in docs["markdown"]
    assert api.get("/v1/models/none/schema").status_code == 404
    assert api.get("/v1/model-schema", params={"model": "veo3.1-lite", "operation": "x"}).status_code == 400


def test_prices_are_public(emulator: Emulator, plain):
    listed = plain.get(f"{emulator.base_url}/api/pricing/models/all").json()["data"]["models"]["video"]
    entries = {entry["id"]: entry["fixed_prices"] for entry in listed}
    assert entries["veo3.1-fast-official"]["unit"] == "usd_per_second"
    fast = {item["key"]: item["after_discount"] for item in entries["veo3.1-fast-official"]["items"]}
    assert fast == {
        **{"default": 0.064, "audio": 0.08, "720P": 0.064, "720P-audio": 0.08},
        **{"1080P": 0.08, "1080P-audio": 0.096, "4K": 0.2, "4K-audio": 0.24},
    }
    assert entries["veo3.1-lite"]["unit"] == "usd_per_call"
    lite = {item["key"]: item["after_discount"] for item in entries["veo3.1-lite"]["items"]}
    assert lite == {"default": 0.07, "4K": 0.57, "extend": 0.07, "EXTEND-4K": 0.57}
    one = plain.get(f"{emulator.base_url}/api/pricing/model", params={"model": "veo3.1-lite"}).json()
    assert (one["success"], one["data"]["resolution_prices"]["4K"]) == (True, 0.57)
    assert (one["data"]["paid_price"], one["data"]["resolution_paid_prices"]["4K"]) == (0.07, 0.57)
    market = plain.get(f"{emulator.base_url}/api/marketplace/models", params={"page": 2, "page_size": 5}).json()["data"]
    assert (market["total"], [model["id"] for model in market["models"]]) == (8, [6, 7, 8])
    unknown = plain.get(f"{emulator.base_url}/api/pricing/model", params={"model": "x"}).json()
    assert (unknown["success"], unknown["data"]["model_price"]) == (True, 0)


def test_unknown_routes(api, plain, emulator):
    response = api.get("/v1/images/generations/x")
    assert (response.status_code, response.json()["error"]["code"]) == (404, 404)
    assert plain.get(f"{emulator.base_url}/nothing").status_code == 404
    for path in ("/v1/tasks/task_X", "/v1/models", "/v1/user/balance", "/v1/model-docs", "/v1/model-schema"):
        assert plain.get(f"{emulator.base_url}{path}").status_code == 401


def test_cms_takes_each_sample_once(emulator, plain):
    url = f"{emulator.base_url}/cms/videos"
    first = plain.post(url, json={"generation_id": "g", "sample": 0, "title": "t"})
    again = plain.post(url, json={"generation_id": "g", "sample": 0, "title": "t2"})
    other = plain.post(url, json={"generation_id": "g", "sample": 1})
    loose = [plain.post(url, json={"title": "no id"}) for _ in range(2)]
    assert [r.status_code for r in (first, again, other, *loose)] == [201, 200, 201, 201, 201]
    assert again.json() == first.json()
    assert len(plain.get(url).json()) == 4
    assert emulator.state()["cms"][0]["title"] == "t"
    assert plain.post(url, content=b"[").status_code == 400


def test_page(submit, api, plain, emulator):
    empty = plain.get(emulator.base_url).text
    assert "No generation yet" in empty
    one = task_id(submit({**EXT, "prompt": '<script>alert("1")</script>'}))
    submit({**EXT, "prompt": "[[reject]]"})
    page = plain.get(emulator.base_url).text
    assert one in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<video controls" in page
    assert "blocked by safety review" in page
    assert "0.1400 USD" in page
    emulator.expire()
    assert "<video controls" not in plain.get(emulator.base_url).text


def test_control_refusals(emulator):
    with pytest.raises(ValueError, match="no such generation"):
        emulator.expire("task_nope")
    with pytest.raises(ValueError, match="unknown outcome"):
        emulator.finish(outcome="exploded")
    assert httpx.post(f"{emulator.base_url}/_emulator/finish", content=b"{", trust_env=False).status_code == 400


def test_reset_forgets(submit, emulator, api):
    submit(OFFICIAL, key="k")
    emulator.fault("task", "drop_before")
    emulator.reset()
    told = emulator.state()
    assert (told["generations"], told["faults"], told["requests"], told["bill_usd"]) == ([], [], [], 0)
    assert "idempotency-replayed" not in submit(OFFICIAL, key="k").headers


@pytest.mark.parametrize(("method", "path"), unpublished_routes.ROUTES)
def test_routes_that_exist_without_a_page(api, plain, emulator, method, path):
    """Probes without a key got a 401 from them, not the 404 of a route that does not exist."""
    absent = plain.request(method, f"{emulator.base_url}{path}")
    assert (absent.status_code, absent.json()["error"]["type"]) == (401, "apimart_error")
    known = api.request(method, path, json={} if method == "POST" else None)
    assert (known.status_code, known.json()["error"]["type"]) == (501, "not_emulated")


def test_expanded_models_have_category_tags_and_parameters(api):
    plain_ids = [model["id"] for model in api.get("/v1/models").json()["data"]]
    expanded = api.get("/v1/models", params={"expand": "true"}).json()["data"]
    assert [model["id"] for model in expanded] == plain_ids
    one = next(model for model in expanded if model["id"] == "veo3.1-fast-official")
    assert one["category"] == "video" and "text-to-video" in one["capabilities"]
    assert one["parameters"] == api.get(f"/v1/models/{one['id']}/schema").json()["input_schema"]
    assert "parameters" not in api.get("/v1/models", params={"expand": "false"}).json()["data"][0]


ORIGIN = {"Origin": "https://dashboard.example"}


@pytest.mark.parametrize("path", ["/v1/balance", "/balance", "/v1/user/balance", "/user/balance"])
def test_browsers_may_read_the_balance(api, plain, emulator, path):
    ask = {**ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    preflight = plain.options(f"{emulator.base_url}{path}", headers=ask)
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "GET" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    answer = api.get(path, headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    # A page must be able to read the refusal, too.
    refused = plain.get(f"{emulator.base_url}{path}", headers=ORIGIN)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert "access-control-allow-origin" not in api.get(path).headers


def test_other_routes_and_the_media_host_have_no_cors(api, plain, emulator, submit):
    generation = task_id(submit())
    url = api.get(f"/v1/tasks/{generation}").json()["data"]["result"]["videos"][0]["url"][0]
    for path in (f"{emulator.base_url}/v1/models", url):
        answer = api.get(path, headers=ORIGIN)
        assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    ask = {**ORIGIN, "Access-Control-Request-Method": "POST"}
    assert plain.options(f"{emulator.base_url}/v1/videos/generations", headers=ask).status_code == 405


@pytest.mark.parametrize("body", [OFFICIAL, EXT])
@pytest.mark.parametrize("size", ["4k", "4K", "720P", "1080p"])
def test_sizes_are_read_in_either_case(submit, emulator, body, size):
    task_id(submit({**body, "resolution": size}))
    assert emulator.state()["generations"][-1]["resolution"] == size.lower()
    wrong = submit({**body, "resolution": "8K"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "resolution")
