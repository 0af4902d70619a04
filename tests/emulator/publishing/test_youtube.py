"""The emulated YouTube: Google's protocol to the letter, its quota, its clock, and everything that can go wrong."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.emulator import Emulator, running_emulator
from airflow_provider_apimart.emulator.publishing.youtube import CHANNEL, PIECE, UPLOADS
from tests.emulator.conftest import TLS
from tests.emulator.publishing.conftest import GRANT

DATA = bytes(range(256)) * 2048 + b"the end"
SHA256 = hashlib.sha256(DATA).hexdigest()
BODY: dict[str, Any] = {
    "snippet": {"title": "A dog", "description": "On the beach", "tags": ["dog"], "categoryId": "22"},
    "status": {"privacyStatus": "private", "containsSyntheticMedia": True, "selfDeclaredMadeForKids": False},
}


def start(client: httpx.Client, body: dict[str, Any] | None = None, size: int = len(DATA)) -> httpx.Response:
    headers = {"X-Upload-Content-Length": str(size), "X-Upload-Content-Type": "video/*", "Slug": "apm-1.mp4"}
    params = {"uploadType": "resumable", "part": "snippet,status"}
    return client.post("/upload/youtube/v3/videos", params=params, json=body or BODY, headers=headers)


def put(client: httpx.Client, place: str, first: int, data: bytes, size: int = len(DATA)) -> httpx.Response:
    return client.put(place, content=data, headers={"Content-Range": f"bytes {first}-{first + len(data) - 1}/{size}"})


def ask(client: httpx.Client, place: str, size: int = len(DATA)) -> httpx.Response:
    return client.put(place, headers={"Content-Range": f"bytes */{size}", "Content-Length": "0"})


def uploaded(client: httpx.Client, body: dict[str, Any] | None = None) -> dict[str, Any]:
    made = put(client, start(client, body).headers["location"], 0, DATA)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def video(client: httpx.Client, video_id: str, part: str = "snippet,status,fileDetails") -> dict[str, Any]:
    (found,) = client.get("/youtube/v3/videos", params={"part": part, "id": video_id}).json()["items"]
    return dict(found)


def update(client: httpx.Client, video_id: str, **status: Any) -> httpx.Response:
    body = {"id": video_id, "snippet": BODY["snippet"], "status": {**BODY["status"], **status}}
    return client.put("/youtube/v3/videos", params={"part": "snippet,status"}, json=body)


# --- the protocol ----------------------------------------------------------------------------------------------------


def test_in_one_piece(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    assert video(youtube, made["id"])["fileDetails"] == {"fileSize": str(len(DATA)), "fileName": "apm-1.mp4"}
    (kept,) = emulator.publishing()["youtube"]
    assert (kept["sha256"], kept["bytes"], kept["published"]) == (SHA256, len(DATA), [])
    assert emulator.posts() == []


def test_in_pieces_asked_in_between_and_after(youtube: httpx.Client) -> None:
    place = start(youtube).headers["location"]
    assert (ask(youtube, place).status_code, ask(youtube, place).headers.get("range")) == (308, None)
    first = put(youtube, place, 0, DATA[:PIECE])
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{PIECE - 1}")
    assert ask(youtube, place).headers["range"] == f"bytes=0-{PIECE - 1}"
    made = put(youtube, place, PIECE, DATA[PIECE:])
    assert made.status_code == 201
    # A completed session repeats its answer.
    assert ask(youtube, place).json()["id"] == put(youtube, place, 0, DATA).json()["id"] == made.json()["id"]


@pytest.mark.parametrize("first", [1, PIECE - 1, PIECE + 1])
def test_a_wrong_first_byte_stores_nothing(youtube: httpx.Client, first: int) -> None:
    place = start(youtube).headers["location"]
    put(youtube, place, 0, DATA[:PIECE])
    put(youtube, place, first, DATA[first:])
    assert ask(youtube, place).headers["range"] == f"bytes=0-{PIECE - 1}"


def test_a_piece_that_is_no_multiple_is_refused(youtube: httpx.Client) -> None:
    place = start(youtube).headers["location"]
    assert put(youtube, place, 0, DATA[:1000]).status_code == 400
    assert ask(youtube, place, len(DATA) + 1).status_code == 400


def test_the_sessions_url_is_enough_and_a_wrong_one_is_404(youtube: httpx.Client, emulator: Emulator) -> None:
    place = start(youtube).headers["location"]
    with httpx.Client(trust_env=False, verify=TLS) as nobody:
        assert put(nobody, place, 0, DATA).status_code == 201
        assert ask(nobody, f"{place}x").status_code == 404


@pytest.mark.parametrize(
    ("part", "values", "reason", "location"),
    [
        ("snippet", {"title": ""}, "invalidTitle", "body.snippet.title"),
        ("snippet", {"title": "x" * 101}, "invalidTitle", "body.snippet.title"),
        ("snippet", {"title": "I <3 dogs"}, "invalidTitle", "body.snippet.title"),
        ("snippet", {"description": "ä" * 2501}, "invalidDescription", "body.snippet.description"),
        ("snippet", {"tags": ["x" * 501]}, "invalidTags", "body.snippet.tags"),
        ("snippet", {"categoryId": "999"}, "invalidCategoryId", "body.snippet.categoryId"),
        ("status", {"privacyStatus": "secret"}, "invalidVideoMetadata", "body.status.privacyStatus"),
        ("status", {"publishAt": "tomorrow"}, "invalidPublishAt", "body.status.publishAt"),
        ("status", {"publishAt": "2030-01-01T00:00:00"}, "invalidPublishAt", "body.status.publishAt"),
        (
            "status",
            {"publishAt": "2030-01-01T00:00:00Z", "privacyStatus": "public"},
            "invalidPublishAt",
            "body.status.publishAt",
        ),
    ],
)
def test_wrong_metadata_is_refused_before_any_byte(
    youtube: httpx.Client, part: str, values: dict[str, Any], reason: str, location: str
) -> None:
    refused = start(youtube, {**BODY, part: {**BODY[part], **values}})
    (error,) = refused.json()["error"]["errors"]
    assert (refused.status_code, error["reason"], error["location"]) == (400, reason, location)


# --- what others see -------------------------------------------------------------------------------------------------


def test_publishing_once_and_again(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    for _ in range(3):
        assert update(youtube, made["id"], privacyStatus="public").status_code == 200
    (post,) = emulator.posts("youtube")
    assert (post["id"], post["sha256"], post["title"]) == (made["id"], SHA256, "A dog")


def test_an_update_deletes_what_it_leaves_out(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    body = {"id": made["id"], "snippet": {"title": "B", "categoryId": "22"}, "status": {}}
    changed = youtube.put("/youtube/v3/videos", params={"part": "snippet,status"}, json=body).json()
    assert "containsSyntheticMedia" not in changed["status"]
    assert "description" not in changed["snippet"]
    # As Google says: the default is public.
    assert changed["status"]["privacyStatus"] == "public"
    assert len(emulator.posts()) == 1


def test_a_date_is_kept_and_the_clock_publishes(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    soon = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
    assert update(youtube, made["id"], publishAt=soon).json()["status"]["publishAt"] == soon
    assert emulator.posts() == []
    threading.Event().wait(0.6)
    assert [post["id"] for post in emulator.posts()] == [made["id"]]
    assert video(youtube, made["id"])["status"]["privacyStatus"] == "public"
    assert update(youtube, made["id"], publishAt=soon).json()["error"]["errors"][0]["reason"] == "invalidPublishAt"


def test_a_date_in_the_past_publishes_at_once(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    assert update(youtube, made["id"], publishAt="2020-01-01T00:00:00Z").status_code == 200
    assert len(emulator.posts()) == 1


def test_the_list_of_uploads_and_playlists(youtube: httpx.Client) -> None:
    ids = [uploaded(youtube)["id"] for _ in range(3)]
    (channel,) = youtube.get("/youtube/v3/channels", params={"part": "contentDetails", "mine": "true"}).json()["items"]
    assert (channel["id"], channel["contentDetails"]["relatedPlaylists"]["uploads"]) == (CHANNEL, UPLOADS)
    query = {"part": "contentDetails", "playlistId": UPLOADS, "maxResults": "2"}
    page = youtube.get("/youtube/v3/playlistItems", params=query).json()
    rest = youtube.get("/youtube/v3/playlistItems", params={**query, "pageToken": page["nextPageToken"]}).json()
    found = [item["contentDetails"]["videoId"] for item in (*page["items"], *rest["items"])]
    assert found == ids[::-1]
    entry = {"snippet": {"playlistId": "PL1", "resourceId": {"kind": "youtube#video", "videoId": ids[0]}}}
    assert youtube.post("/youtube/v3/playlistItems", params={"part": "snippet"}, json=entry).status_code == 200
    query = {"part": "id", "playlistId": "PL1", "videoId": ids[1]}
    assert youtube.get("/youtube/v3/playlistItems", params=query).json()["items"] == []


def test_time_passes_until_a_video_is_processed_and_listed() -> None:
    with (
        running_emulator(processing_seconds=0.4, listing_seconds=0.4) as emulator,
        httpx.Client(base_url=emulator.base_url, trust_env=False, verify=TLS) as client,
    ):
        client.headers["Authorization"] = f"Bearer {client.post('/token', data=GRANT).json()['access_token']}"
        made = uploaded(client)
        query = {"part": "contentDetails", "playlistId": UPLOADS}
        assert video(client, made["id"])["status"]["uploadStatus"] == "uploaded"
        assert client.get("/youtube/v3/playlistItems", params=query).json()["items"] == []
        threading.Event().wait(0.45)
        assert video(client, made["id"])["status"]["uploadStatus"] == "processed"
        assert len(client.get("/youtube/v3/playlistItems", params=query).json()["items"]) == 1


# --- tokens and quota ------------------------------------------------------------------------------------------------


def test_tokens(youtube: httpx.Client, emulator: Emulator) -> None:
    wrong = youtube.post("/token", data={**GRANT, "refresh_token": "another"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    assert youtube.post("/token", data={**GRANT, "client_secret": "x"}).json()["error"] == "invalid_client"
    emulator.expire_youtube_tokens()
    refused = youtube.get("/youtube/v3/channels", params={"part": "id", "mine": "true"})
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (401, "authError")


def test_a_day_has_a_hundred_uploads(youtube: httpx.Client) -> None:
    for _ in range(100):
        assert start(youtube).status_code == 200
    refused = start(youtube)
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (403, "quotaExceeded")
    # All else has a quota of its own.
    assert youtube.get("/youtube/v3/channels", params={"part": "id", "mine": "true"}).status_code == 200


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_a_lost_answer_to_the_last_byte(youtube: httpx.Client, emulator: Emulator, kind: str) -> None:
    place = start(youtube).headers["location"]
    emulator.publish_fault("youtube", kind, "upload")
    with pytest.raises(httpx.HTTPError):
        put(youtube, place, 0, DATA)
    assert ask(youtube, place).status_code == (201 if kind == "drop_after" else 308)
    assert len(emulator.publishing()["youtube"]) == (1 if kind == "drop_after" else 0)


def test_a_broken_upload_keeps_what_came(youtube: httpx.Client, emulator: Emulator) -> None:
    place = start(youtube).headers["location"]
    emulator.publish_fault("youtube", "cut", "upload", bytes=300_000)
    with pytest.raises(httpx.HTTPError):
        put(youtube, place, 0, DATA)
    assert ask(youtube, place).headers["range"] == "bytes=0-299999"
    assert put(youtube, place, 300_000, DATA[300_000:]).status_code == 201
    assert emulator.publishing()["youtube"][0]["sha256"] == SHA256


def test_a_piece_that_is_kept_in_part(youtube: httpx.Client, emulator: Emulator) -> None:
    place = start(youtube).headers["location"]
    emulator.publish_fault("youtube", "short", "upload", bytes=1000)
    assert put(youtube, place, 0, DATA[:PIECE]).headers["range"] == "bytes=0-999"


@pytest.mark.parametrize("executed", [False, True])
def test_a_503_before_or_after_the_effect(youtube: httpx.Client, emulator: Emulator, executed: bool) -> None:
    made = uploaded(youtube)
    emulator.publish_fault("youtube", "status", "update", status=503, executed=executed, retry_after="7")
    refused = update(youtube, made["id"], privacyStatus="public")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
    assert len(emulator.posts()) == executed


def test_conditions(youtube: httpx.Client, emulator: Emulator) -> None:
    made = uploaded(youtube)
    place = start(youtube).headers["location"]
    put(youtube, place, 0, DATA[:PIECE])
    for condition in ("no_range", "label_dropped", "publish_at_dropped", "never_listed", "no_file_name"):
        emulator.publish_fault("youtube", condition)
    assert "range" not in ask(youtube, place).headers
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    status = update(youtube, made["id"], publishAt=later).json()["status"]
    assert {"publishAt", "containsSyntheticMedia"} & set(status) == set()
    assert "fileName" not in video(youtube, made["id"])["fileDetails"]
    query = {"part": "contentDetails", "playlistId": UPLOADS}
    assert youtube.get("/youtube/v3/playlistItems", params=query).json()["items"] == []
    emulator.clear_publish_faults()
    emulator.publish_fault("youtube", "locked_private")
    assert update(youtube, made["id"], privacyStatus="public").json()["status"]["privacyStatus"] == "private"
    assert emulator.posts() == []
    emulator.publish_fault("youtube", "sessions_expire")
    assert ask(youtube, place).status_code == 404
    emulator.publish_fault("youtube", "processing_fails")
    assert video(youtube, made["id"])["status"]["failureReason"] == "conversion"
    emulator.clear_publish_faults()
    emulator.publish_fault("youtube", "duplicate")
    assert video(youtube, made["id"])["status"]["rejectionReason"] == "duplicate"
    emulator.publish_fault("youtube", "upload_limit")
    assert start(youtube).json()["error"]["errors"][0]["reason"] == "uploadLimitExceeded"
    emulator.publish_fault("youtube", "upload_scope_only")
    assert update(youtube, made["id"]).json()["error"]["errors"][0]["reason"] == "insufficientPermissions"
    emulator.publish_fault("youtube", "invalid_grant")
    assert youtube.post("/token", data=GRANT).json()["error"] == "invalid_grant"
    emulator.clear_publish_faults()
    emulator.publish_fault("youtube", "unknown_at_first", seconds=600)
    found = youtube.get("/youtube/v3/videos", params={"part": "id", "id": made["id"]})
    assert found.json()["items"] == []


@pytest.mark.parametrize(
    "fault",
    [
        {"service": "tiktok", "kind": "drop_before", "step": "upload"},
        {"service": "youtube", "kind": "drop_before", "step": "publish"},
        {"service": "youtube", "kind": "explode", "step": "upload"},
        {"service": "youtube", "kind": "quota", "step": "upload"},
        {"service": "youtube", "kind": "drop_before", "step": "upload", "color": "red"},
    ],
)
def test_faults_that_do_not_exist_are_refused(plain: httpx.Client, fault: dict[str, Any]) -> None:
    assert plain.post("/_emulator/publishing/faults", json=fault).status_code == 400


def test_the_page_escapes_what_it_shows(youtube: httpx.Client, emulator: Emulator) -> None:
    uploaded(youtube, {**BODY, "snippet": {**BODY["snippet"], "title": "dogs & cats"}})
    page = youtube.get("/channel").text
    assert "dogs &amp; cats" in page and "1 private" in page
