"""A video in S3: streamed in parts, or by a link that dies soon; the browser never sees the connection's key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from airflow_provider_apimart.ui.sources import storage
from airflow_provider_apimart.ui.sources.views import Place
from tests.storage.object_store import BUCKET, Policy, Store, policy, store
from tests.ui.airflow_db import Rows
from tests.ui.conftest import Client

__all__ = ["policy", "store"]

BODY = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 5000
URL = "/apimart/video/mine/r/t/-1/1"


@pytest.fixture
def video(store: Store, policy: Policy, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    extra = {"endpoint_url": store.endpoint, "region_name": "us-east-1"}
    connection = {"conn_type": "aws", "login": "AKIAEXAMPLE", "password": "top-secret-key", "extra": extra}
    # Airflow keeps a connection's file system for as long as the process lives: each server has a name of its own.
    name = f"aws_{store.endpoint.rpartition(':')[2]}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    store.client.put_object(Bucket=BUCKET, Key="out/clip.mp4", Body=BODY)
    told = {"kind": "generation", "outcome": "completed", "generation_id": "g"}
    path = f"s3://{name}@{BUCKET}/out/clip.mp4"
    rows.task(Place("mine", "r", "t"), apimart_note_2026112613={**told, "videos": [{"path": path}]})
    yield
    storage._known.clear()


@pytest.mark.usefixtures("video")
def test_it_is_streamed_in_parts(client: Client) -> None:
    browser = client("one")
    answer = browser.get(URL, headers={"Range": "bytes=100-299"})
    assert (answer.status_code, answer.content) == (206, BODY[100:300])
    assert answer.headers["content-range"] == f"bytes 100-299/{len(BODY)}"
    assert browser.get(URL).content == BODY
    assert browser.get(URL, headers={"Range": f"bytes={len(BODY)}-"}).status_code == 416


@pytest.mark.usefixtures("video")
@pytest.mark.parametrize("delivery", ["redirect", "auto"])
def test_it_is_reached_by_a_link_that_dies(client: Client, monkeypatch: pytest.MonkeyPatch, delivery: str) -> None:
    monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_DELIVERY", delivery)
    monkeypatch.setenv("AIRFLOW__APIMART__VIDEO_LINK_SECONDS", "60")
    for user, status in [(None, 401), ("none", 403)]:
        assert client(user).get(URL).status_code == status
    answer = client("one").get(URL, headers={"Range": "bytes=0-"})
    assert answer.status_code == 307 and answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    link = answer.headers["location"]
    assert "top-secret-key" not in link + answer.text
    asked = parse_qs(urlsplit(link).query)
    assert asked.get("X-Amz-Expires") == ["60"] or "Expires" in asked
    assert httpx.get(link, headers={"Range": "bytes=100-299"}).content == BODY[100:300]


@pytest.mark.usefixtures("video")
def test_a_storage_that_refuses_is_told_without_its_words(client: Client, policy: Policy) -> None:
    policy.denied |= {"GetObject", "HeadObject"}
    answer = client("one").get(URL)
    assert answer.status_code in (404, 504)
    assert "top-secret-key" not in answer.text and "AKIA" not in answer.text
