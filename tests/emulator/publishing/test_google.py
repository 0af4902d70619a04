"""The emulated YouTube, judged by Google's unmodified client and by its discovery document."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.publishing.youtube import CHANNEL, PIECE, UPLOADS
from tests.emulator.publishing.conftest import GRANT
from tests.emulator.publishing.test_youtube import BODY, DATA, SHA256, update, uploaded


def document() -> dict[str, Any]:
    place = resources.files("googleapiclient") / "discovery_cache" / "documents" / "youtube.v3.json"
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def test_googles_own_client_uploads_lists_and_publishes(emulator: Emulator, tmp_path: Path) -> None:
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build_from_document
    from googleapiclient.http import MediaFileUpload

    path = tmp_path / "clip.mp4"
    path.write_bytes(DATA)
    credentials = Credentials(  # type: ignore[no-untyped-call]
        None,
        token_uri=f"{emulator.base_url}/token",
        **{name: GRANT[name] for name in ("client_id", "client_secret", "refresh_token")},
    )
    here = {**document(), "rootUrl": f"{emulator.base_url}/"}
    with build_from_document(here, credentials=credentials) as service:
        media = MediaFileUpload(str(path), mimetype="video/mp4", chunksize=PIECE, resumable=True)
        request = service.videos().insert(part="snippet,status", body=BODY, media_body=media)
        progress, answer = [], None
        while answer is None:
            status, answer = request.next_chunk()
            progress += [status.resumable_progress] if status else []
        assert progress == [PIECE, 2 * PIECE]
        body = {"id": answer["id"], "snippet": BODY["snippet"], "status": {"privacyStatus": "unlisted"}}
        service.videos().update(part="snippet,status", body=body).execute()
        (found,) = service.videos().list(part="snippet,status", id=answer["id"]).execute()["items"]
        assert found["status"]["privacyStatus"] == "unlisted"
        assert service.channels().list(part="contentDetails", mine=True).execute()["items"][0]["id"] == CHANNEL
        assert len(service.playlistItems().list(part="contentDetails", playlistId=UPLOADS).execute()["items"]) == 1
        picture = tmp_path / "cover.png"
        picture.write_bytes(b"\x89PNG" + bytes(1000))
        service.thumbnails().set(videoId=answer["id"], media_body=str(picture)).execute()
        assert emulator.publishing()["youtube"][0]["thumbnail_bytes"] == 1004
        service.videos().delete(id=answer["id"]).execute()
        assert service.videos().list(part="id", id=answer["id"]).execute()["items"] == []
    assert [post["sha256"] for post in emulator.posts()] == [SHA256]


def agrees(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> list[str]:
    """Return where ``value`` has a property or a type that Google's document does not name."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema.get("type")
    kinds = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "array": list, "object": dict}
    if kind in kinds and not isinstance(value, kinds[kind]):
        return [f"{where}: {value!r} is no {kind}"]
    if schema.get("enum") and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if kind == "array":
        return [wrong for each in value for wrong in agrees(each, schema["items"], schemas, f"{where}[]")]
    if kind != "object" or "properties" not in schema:
        return []
    unknown = [f"{where}.{name} is not in the document" for name in value if name not in schema["properties"]]
    return unknown + [
        wrong
        for name, each in value.items()
        if name in schema["properties"]
        for wrong in agrees(each, schema["properties"][name], schemas, f"{where}.{name}")
    ]


def test_every_answer_agrees_with_googles_document(youtube: httpx.Client, emulator: Emulator) -> None:
    schemas = document()["schemas"]
    made = uploaded(youtube)
    parts = "snippet,status,processingDetails,fileDetails,contentDetails"
    query = {"part": parts, "id": made["id"]}
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    scheduled = update(youtube, made["id"], publishAt=later).json()
    assert scheduled["status"]["publishAt"] == later
    ended = []
    for condition in ("processing_fails", "duplicate"):
        emulator.publish_fault("youtube", condition)
        ended.append(youtube.get("/youtube/v3/videos", params=query).json())
        emulator.clear_publish_faults()
    assert [one["items"][0]["status"]["uploadStatus"] for one in ended] == ["failed", "rejected"]
    entry = {"snippet": {"playlistId": "PL1", "resourceId": {"kind": "youtube#video", "videoId": made["id"]}}}
    answers = {
        "Video": [made, scheduled, update(youtube, made["id"], privacyStatus="public").json()],
        "VideoListResponse": [*ended, youtube.get("/youtube/v3/videos", params=query).json()],
        "ChannelListResponse": [
            youtube.get("/youtube/v3/channels", params={"part": "snippet,status,contentDetails", "mine": "true"}).json()
        ],
        "PlaylistItemListResponse": [
            youtube.get("/youtube/v3/playlistItems", params={"part": part, "playlistId": UPLOADS}).json()
            for part in ("id", "snippet,contentDetails")
        ],
        "PlaylistItem": [youtube.post("/youtube/v3/playlistItems", params={"part": "snippet"}, json=entry).json()],
        "VideoCategoryListResponse": [youtube.get("/youtube/v3/videoCategories", params={"part": "snippet"}).json()],
        "ThumbnailSetResponse": [
            youtube.post(
                "/upload/youtube/v3/thumbnails/set", params={"videoId": made["id"]}, content=b"\xff\xd8\xff\xe0"
            ).json()
        ],
    }
    wrong = [
        each for name, found in answers.items() for one in found for each in agrees(one, schemas[name], schemas, name)
    ]
    assert wrong == []
