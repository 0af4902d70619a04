"""The target's steps, against answers that are written down."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRejectedError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Reply
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.record import PostRecord, PostState
from airflow_provider_apimart.publishing.target import Draft, Drafted, DraftState, NotFound, Published, Session
from airflow_provider_apimart.publishing.targets.youtube.target import LOOK_UP_PAGES, YouTubeTarget
from tests.publishing.targets.youtube.driving import (
    MARKER,
    NOW,
    VIDEO,
    a_post,
    body_of,
    drive,
    items,
    refused,
    reply,
)
from tests.publishing.targets.youtube.test_resources import DATED, LATER, a_video

PNG, JPEG = b"\x89PNG\r\n\x1a\n....", b"\xff\xd8\xff\xe0...."
FILES = {"/a.png": PNG, "/a.jpg": JPEG, "/text.png": b"hello"}
CHANNEL = {
    "id": "UC1",
    "status": {"longUploadsStatus": "disallowed"},
    "contentDetails": {"relatedPlaylists": {"uploads": "UU1"}},
}
RECORD = PostRecord(
    state=PostState.COMMITTING,
    target="youtube",
    account="UC1",
    marker=MARKER,
    video_uri=VIDEO.uri,
    video_sha256=VIDEO.sha256,
    video_bytes=VIDEO.bytes,
    content_digest="",
    intent_at=NOW,
    draft_id="vid1",
)


def target(**more: Any) -> YouTubeTarget:
    return YouTubeTarget(read_file=lambda path, limit: FILES.get(path), now=lambda: NOW, **more)


# --- before ----------------------------------------------------------------------------------------------------------


def test_a_post_as_it_should_be_has_no_problems() -> None:
    assert target().problems(a_post(thumbnail="/a.png")) == []
    assert target().problems(a_post(thumbnail="/a.jpg")) == []


def test_the_thumbnail_is_read_before_anything_is_sent() -> None:
    assert [str(each) for each in target().problems(a_post(thumbnail="/none.png"))] == [
        "thumbnail='/none.png': does not exist, or is larger than 50 MB"
    ]
    assert "neither a JPEG nor a PNG" in str(target().problems(a_post(thumbnail="/text.png"))[0])


def test_file_and_fields_are_told_together() -> None:
    problems = target().problems(a_post(VideoFile("a.mp4", 0, ""), title=""))
    assert [problem.field for problem in problems] == ["video", "title"]


def test_account_is_the_channel() -> None:
    found, (request,) = drive(target().account(), items(CHANNEL))
    assert found == "UC1"
    assert request.params == {"part": "snippet,status", "mine": "true"}


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (items(), CredentialsError, "has no YouTube channel"),
        (refused(401, "youtubeSignupRequired"), CredentialsError, "has no YouTube channel"),
        (refused(403, "insufficientPermissions"), CredentialsError, "youtube.upload alone"),
        (refused(403, "quotaExceeded"), TargetLimitError, "midnight Pacific"),
        (items({}), TargetUnavailableError, "names none"),
        (reply(200, b"<html>"), TargetUnavailableError, "cannot be read"),
    ],
)
def test_account_that_cannot_post(answer: Reply, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        drive(target().account(), answer)


def test_start_masks_the_session_and_says_whether_to_notify() -> None:
    masked: list[str] = []
    one = target(on_secret=masked.append)
    url = "https://www.googleapis.com/upload?upload_id=AB%2FC"
    session, (request,) = drive(one.start(a_post(notify_subscribers=False), MARKER), reply(200, location=url))
    assert session == Session(url)
    assert masked == [url, "AB/C"]
    assert request.params["notifySubscribers"] == "false"
    assert request.params["part"] == "snippet,status"
    assert request.headers["Slug"] == f"{MARKER}.mp4"
    assert body_of(request)["status"]["privacyStatus"] == "private"


def test_a_long_video_of_an_unverified_channel_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    one = target()
    drive(one.account(), items(CHANNEL))
    for seconds, warnings in ((900.0, 0), (901.0, 1)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            video = VideoFile("a.mp4", 5, "", duration_seconds=seconds)
            drive(one.start(a_post(video), MARKER), reply(200, location="/upload?upload_id=1"))
        assert len(caplog.records) == warnings


# --- look-up ---------------------------------------------------------------------------------------------------------


def entries(*ids: str, token: str = "") -> Reply:
    return items(*({"contentDetails": {"videoId": each}} for each in ids), token=token)


def another(
    video_id: str, privacy: str = "private", tag: str = MARKER, name: str = "", **status: Any
) -> dict[str, Any]:
    video = {**a_video(privacy, **status), "id": video_id, "fileDetails": {"fileName": name}}
    video["snippet"] = {"tags": [tag]}
    return video


def test_look_up_reads_the_channels_uploads() -> None:
    found, (channel, listed, videos) = drive(
        target().look_up(MARKER), items(CHANNEL), entries("v2", "v1"), items(another("v2", tag="x"), another("v1"))
    )
    assert found == Drafted("v1")
    assert channel.url.endswith("/youtube/v3/channels")
    assert listed.params == {"part": "contentDetails", "playlistId": "UU1", "maxResults": "50"}
    assert videos.params == {"part": "snippet,status,fileDetails", "id": "v2,v1", "maxResults": "50"}


def test_look_up_knows_the_files_name_too() -> None:
    one = another("v1", tag="x", name=f"{MARKER}.mp4")
    assert drive(target().look_up(MARKER), items(CHANNEL), entries("v1"), items(one))[0] == Drafted("v1")


def test_an_equal_title_is_no_evidence() -> None:
    one = {**a_video(), "snippet": {**a_video()["snippet"], "tags": []}}
    assert drive(target().look_up(MARKER), items(CHANNEL), entries("v1"), items(one))[0] == NotFound()


def test_of_several_the_visible_one_is_the_post() -> None:
    replies = [
        items(CHANNEL),
        entries("v4", "v3", token="T"),
        items(another("v4"), another("v3", upload="deleted")),
        entries("v2", token="U"),
        items(another("v2", "public")),
    ]
    found, sent = drive(target().look_up(MARKER), *replies)
    assert found == Drafted("v2")
    assert sent[3].params["pageToken"] == "T"


def test_look_up_ends_after_the_newest_pages() -> None:
    pages = [each for _ in range(LOOK_UP_PAGES) for each in (entries("v", token="T"), items(another("v", tag="x")))]
    assert drive(target().look_up(MARKER), items(CHANNEL), *pages)[0] == NotFound()


def test_a_channel_without_uploads_holds_nothing() -> None:
    empty = refused(404, "playlistNotFound")
    assert drive(target().look_up(MARKER), items(CHANNEL), empty)[0] == NotFound()
    assert drive(target().look_up(MARKER), items(CHANNEL), entries())[0] == NotFound()


def test_a_list_that_fails_is_no_absence() -> None:
    with pytest.raises(TargetUnavailableError):
        drive(target().look_up(MARKER), items(CHANNEL), reply(503))
    with pytest.raises(PostRejectedError):
        drive(target().look_up(MARKER), items(CHANNEL), refused(404, "notFound"))


# --- asking and publishing -------------------------------------------------------------------------------------------


def test_ask_compares_with_what_was_asked() -> None:
    found, (request,) = drive(target().ask("vid1", None, a_post()), items(a_video("public")))
    assert found == Draft(DraftState.PUBLIC, post_id="vid1", url="https://www.youtube.com/watch?v=vid1")
    assert request.params["part"] == "snippet,status,processingDetails"
    assert request.params["id"] == "vid1"
    assert drive(target().ask("vid1", None, None), items())[0] == Draft(DraftState.GONE)


def test_commit_reads_and_sends_all_back() -> None:
    found, (read, put) = drive(target().commit(RECORD, a_post(), None), items(a_video()), reply(200, {"id": "vid1"}))
    assert found == Published("vid1", "https://www.youtube.com/watch?v=vid1", None)
    assert read.method == "GET" and read.params["part"] == "snippet,status,fileDetails"
    assert (put.method, put.params) == ("PUT", {"part": "snippet,status"})
    assert body_of(put)["status"]["privacyStatus"] == "public"
    assert body_of(put)["status"]["embeddable"] is True


def test_commit_schedules() -> None:
    found, (_, put) = drive(target().commit(RECORD, a_post(**DATED), None), items(a_video()), reply(200, {}))
    assert found.public_at == LATER
    assert body_of(put)["status"]["publishAt"] == "2026-11-26T17:00:00Z"


def test_a_date_that_has_passed_meanwhile_means_now(caplog: pytest.LogCaptureFixture) -> None:
    late = a_post(publish_at="2026-11-26T11:59:00Z")
    found, (_, put) = drive(target().commit(RECORD, late, None), items(a_video()), reply(200, {}))
    assert found.public_at is None
    assert body_of(put)["status"]["privacyStatus"] == "public"
    assert "has passed meanwhile" in caplog.text


def test_commit_never_hides_what_is_visible() -> None:
    asked = a_post(privacy_status="private")
    found, sent = drive(target().commit(RECORD, asked, None), items(a_video("public")))
    assert (found.post_id, len(sent)) == ("vid1", 1)


@pytest.mark.parametrize("answer", [reply(503), items(), TargetUnavailableError("no answer")])
def test_nothing_is_done_if_the_read_before_fails(answer: Any) -> None:
    with pytest.raises(TargetUnavailableError) as caught:
        drive(target().commit(RECORD, a_post(), None), answer)
    assert caught.value.nothing_done


@pytest.mark.parametrize("answer", [reply(503), TargetUnavailableError("no answer")])
def test_the_put_itself_may_have_been_carried_out(answer: Any) -> None:
    with pytest.raises(TargetUnavailableError) as caught:
        drive(target().commit(RECORD, a_post(), None), items(a_video()), answer)
    assert not caught.value.nothing_done


# --- extras ----------------------------------------------------------------------------------------------------------


def test_no_extras_without_being_asked() -> None:
    assert target().extras(a_post()) == {}


def test_thumbnail() -> None:
    extra = target().extras(a_post(thumbnail="/a.jpg"))["thumbnail"]
    _, (request,) = drive(extra("vid1"), reply(200, {}))
    assert (request.method, request.content) == ("POST", JPEG)
    assert request.url.endswith("/upload/youtube/v3/thumbnails/set")
    assert request.params["videoId"] == "vid1"
    assert request.headers == {"Content-Type": "image/jpeg"}


def test_thumbnail_of_an_unverified_channel_is_an_error_of_its_own() -> None:
    extra = target().extras(a_post(thumbnail="/a.jpg"))["thumbnail"]
    with pytest.raises(CredentialsError, match="forbidden"):
        drive(extra("vid1"), refused(403, "forbidden"))


def test_playlist_is_asked_before_it_is_added_to() -> None:
    extra = target().extras(a_post(playlist_id="PL1"))["playlist"]
    _, (asked, added) = drive(extra("vid1"), items(), reply(200, {}))
    assert asked.params["playlistId"] == "PL1" and asked.params["videoId"] == "vid1"
    assert body_of(added)["snippet"] == {
        "playlistId": "PL1",
        "resourceId": {"kind": "youtube#video", "videoId": "vid1"},
    }
    assert len(drive(extra("vid1"), items({"id": "entry"}))[1]) == 1
