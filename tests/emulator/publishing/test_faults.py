"""What scripts of faults are taken, what they count, and how time is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.publishing.faults import PublishFaults, read_fault
from tests.emulator.publishing.test_instagram import error, publish, ready, status
from tests.emulator.publishing.test_youtube import update, uploaded, video


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"step": "update", "kind": "cut"}, "youtube upload"),
        ({"step": "update", "kind": "lose"}, "youtube ask"),
        ({"step": "upload", "kind": "cut", "bytes": "many"}, "bytes must be int"),
        ({"step": "upload", "kind": "status", "times": True}, "times must be int"),
        ({"step": "upload", "kind": "status", "status": "503"}, "status must be int"),
        ({"step": "upload", "kind": "status", "executed": 1}, "executed must be bool"),
    ],
)
def test_a_wrong_fault_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_fault({"service": "youtube", **values})


def test_the_first_fault_that_fits_is_met_as_often_as_it_says() -> None:
    faults = PublishFaults()
    for kind, more in (("drop_before", {"times": 1}), ("drop_after", {"times": 2, "after": 1})):
        faults.add(read_fault({"service": "youtube", "kind": kind, "step": "update", **more}))
    met = [faults.take("youtube", "update") for _ in range(5)]
    assert [fault and fault.kind for fault in met] == ["drop_before", None, "drop_after", "drop_after", None]
    assert faults.take("youtube", "upload") is None
    assert faults.requests() == {"youtube": {"update": 5, "upload": 1}, "instagram": {}, "webhook": {}}


def test_requests_and_quota_are_counted(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    video(youtube, made["id"])
    update(youtube, made["id"])
    told = emulator.publishing()
    assert told["requests"]["youtube"] == {"token": 1, "start": 1, "upload": 1, "videos": 1, "update": 1}
    assert told["quota"] == {"inserts": 1, "units": 51}
    emulator.reset()
    assert emulator.publishing()["requests"]["youtube"] == {}


def test_time_can_be_moved(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert update(youtube, made["id"], publishAt=tomorrow).status_code == 200
    assert emulator.posts() == []
    emulator.advance_publishing(86_401)
    assert [post["id"] for post in emulator.posts()] == [made["id"]]
    # The access token lives an hour.
    assert update(youtube, made["id"]).status_code == 401
    with pytest.raises(ValueError, match="from 0 to"):
        emulator.advance_publishing(-1)


def test_a_container_lives_for_a_day_and_the_limit_is_of_a_day(graph: httpx.Client, emulator: Emulator) -> None:
    publish(graph, ready(graph))
    container = ready(graph)
    query = {"fields": "quota_usage"}
    place = "/v25.0/me/content_publishing_limit"
    assert graph.get(place, params=query).json()["data"][0]["quota_usage"] == 1
    emulator.advance_publishing(86_401)
    assert status(graph, container) == "EXPIRED"
    assert error(publish(graph, container)) == (100, 2207020)
    assert graph.get(place, params=query).json()["data"][0]["quota_usage"] == 0


@pytest.mark.parametrize("transient", [False, True])
def test_an_error_says_of_itself_whether_it_passes(graph: httpx.Client, emulator: Emulator, transient: bool) -> None:
    emulator.publish_fault("instagram", "status", "publish", status=400, code=2, transient=transient)
    told = publish(graph, ready(graph)).json()["error"]
    assert (told["code"], told["is_transient"]) == (2, transient)
    assert told["fbtrace_id"]


def test_the_page_shows_counts_and_the_quota_of_the_day(youtube: httpx.Client) -> None:
    update(youtube, uploaded(youtube)["id"], privacyStatus="unlisted")
    page = youtube.get("/channel").text
    assert "1 unlisted" in page and "1 of 100 uploads, 50 of 10000 units" in page
    assert '<a href="/channel">' in youtube.get("/").text
