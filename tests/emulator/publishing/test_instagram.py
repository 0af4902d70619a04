"""The emulated Instagram: containers, publications, limits, and what can go wrong."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.publishing.instagram import DAILY_POSTS, USER

DATA = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 400
ROOT = "/v25.0"


def create(graph: httpx.Client, **fields: Any) -> httpx.Response:
    values = {"media_type": "REELS", "caption": "A dog", "is_ai_generated": True, "upload_type": "resumable", **fields}
    return graph.post(f"{ROOT}/{USER}/media", json=values)


def send(graph: httpx.Client, container: str, data: bytes = DATA, offset: int = 0) -> httpx.Response:
    headers = {"offset": str(offset), "file_size": str(len(DATA))}
    return graph.post(f"/ig-api-upload/v25.0/{container}", content=data, headers=headers)


def ready(graph: httpx.Client) -> str:
    container = str(create(graph).json()["id"])
    assert send(graph, container).json()["success"] is True
    return container


def status(graph: httpx.Client, container: str) -> str:
    return str(graph.get(f"{ROOT}/{container}", params={"fields": "status_code"}).json()["status_code"])


def publish(graph: httpx.Client, container: str) -> httpx.Response:
    return graph.post(f"{ROOT}/{USER}/media_publish", json={"creation_id": container})


def error(answer: httpx.Response) -> tuple[int, int | None]:
    found = answer.json()["error"]
    return found["code"], found.get("error_subcode")


def test_from_bytes_to_a_reel(graph: httpx.Client, emulator: Emulator) -> None:
    container = ready(graph)
    assert status(graph, container) == "FINISHED"
    media = publish(graph, container).json()["id"]
    assert status(graph, container) == "PUBLISHED"
    seen = graph.get(f"{ROOT}/{media}", params={"fields": "permalink,is_ai_generated"}).json()
    assert seen == {"permalink": f"https://www.instagram.com/reel/{media}/", "is_ai_generated": True, "id": media}
    (post,) = emulator.posts("instagram")
    assert (post["sha256"], post["bytes"], post["title"]) == (hashlib.sha256(DATA).hexdigest(), len(DATA), "A dog")


def test_the_video_is_really_fetched(graph: httpx.Client, emulator: Emulator) -> None:
    answer = httpx.post(
        f"{emulator.base_url}/v1/videos/generations",
        json={"model": "veo3.1-fast", "prompt": "a dog"},
        headers={"Authorization": f"Bearer {emulator.api_key}"},
    )
    (url,) = next(
        one["urls"]
        for one in emulator.state()["generations"]
        if one["generation_id"] == answer.json()["data"][0]["task_id"]
    )
    container = str(create(graph, upload_type=None, video_url=url).json()["id"])
    for _ in range(500):
        if status(graph, container) != "IN_PROGRESS":
            break
        threading.Event().wait(0.02)
    publish(graph, container)
    assert emulator.posts("instagram")[0]["sha256"] == hashlib.sha256(httpx.get(url).content).hexdigest()


def test_a_video_that_cannot_be_fetched(graph: httpx.Client) -> None:
    container = str(create(graph, upload_type=None, video_url="http://127.0.0.1:9/clip.mp4").json()["id"])
    for _ in range(500):
        if status(graph, container) != "IN_PROGRESS":
            break
        threading.Event().wait(0.02)
    told = graph.get(f"{ROOT}/{container}", params={"fields": "status"}).json()["status"]
    assert told == "Error: Media upload has failed with error code 2207052"


def test_an_upload_that_breaks_off_goes_on_where_it_stood(graph: httpx.Client, emulator: Emulator) -> None:
    container = str(create(graph).json()["id"])
    emulator.publish_fault("instagram", "short", "upload", bytes=1000)
    assert send(graph, container).status_code == 412
    fields = {"fields": "video_status"}
    phase = graph.get(f"{ROOT}/{container}", params=fields).json()["video_status"]["uploading_phase"]
    assert phase == {"status": "in_progress", "bytes_transferred": 1000}
    assert send(graph, container, DATA[1000:], 1000).status_code == 200


def test_not_ready_not_twice_not_unknown(graph: httpx.Client, emulator: Emulator) -> None:
    container = str(create(graph).json()["id"])
    assert error(publish(graph, container)) == (9007, 2207027)
    send(graph, container)
    publish(graph, container)
    assert error(publish(graph, container)) == (9007, 2207028)
    emulator.publish_fault("instagram", "publishes_twice")
    assert publish(graph, container).status_code == 200
    assert len(emulator.posts()) == 2
    assert error(publish(graph, "1790000000000000")) == (100, 33)


def test_the_limit_of_a_day(graph: httpx.Client) -> None:
    for number in range(DAILY_POSTS):
        asked = graph.get(f"{ROOT}/{USER}/content_publishing_limit", params={"fields": "quota_usage,config"}).json()
        assert asked["data"][0]["quota_usage"] == number
        assert publish(graph, ready(graph)).status_code == 200
    assert error(publish(graph, ready(graph))) == (9, 2207042)


@pytest.mark.parametrize(
    ("condition", "found"),
    [("container_fails", "ERROR"), ("container_expires", "EXPIRED")],
)
def test_containers_that_end(graph: httpx.Client, emulator: Emulator, condition: str, found: str) -> None:
    container = ready(graph)
    emulator.publish_fault("instagram", condition)
    assert status(graph, container) == found
    assert publish(graph, container).status_code == 400
    assert emulator.posts() == []


def test_reads_tokens_and_accounts_fail_on_demand(graph: httpx.Client, emulator: Emulator) -> None:
    container = ready(graph)
    emulator.publish_fault("instagram", "reads_fail")
    assert error(graph.get(f"{ROOT}/{container}", params={"fields": "status_code"})) == (100, 33)
    emulator.publish_fault("instagram", "personal_account")
    assert error(create(graph)) == (10, 2207050)
    emulator.publish_fault("instagram", "token_expired")
    assert error(create(graph)) == (190, 463)
    graph.headers["Authorization"] = "Bearer another"
    emulator.clear_publish_faults()
    assert error(create(graph)) == (190, None)


@pytest.mark.parametrize("executed", [False, True])
def test_a_lost_publication(graph: httpx.Client, emulator: Emulator, executed: bool) -> None:
    container = ready(graph)
    emulator.publish_fault("instagram", "status", "publish", status=500, code=-1, subcode=2207001, executed=executed)
    assert error(publish(graph, container)) == (-1, 2207001)
    assert len(emulator.posts()) == executed
    assert status(graph, container) == ("PUBLISHED" if executed else "FINISHED")
