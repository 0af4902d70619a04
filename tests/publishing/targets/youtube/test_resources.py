"""What a video resource means for a post, and what is sent back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_apimart.publishing.target import DraftState
from airflow_provider_apimart.publishing.targets.youtube.resources import draft_of, insert_body, stamp, update_body
from tests.publishing.targets.youtube.driving import MARKER, NOW, content

LATER = NOW + timedelta(hours=5)
TERMINATED = "processing terminated: no reason given"
#: Asked for: scheduled.
DATED = {"publish_at": stamp(LATER)}


def a_video(privacy: str = "private", upload: str = "processed", **more: Any) -> dict[str, Any]:
    snippet = {
        "title": "Ein Tag am See",
        "description": "Ruhe.",
        "categoryId": "22",
        "tags": ["see", "ein tag", MARKER],
    }
    status = {
        "uploadStatus": upload,
        "privacyStatus": privacy,
        "containsSyntheticMedia": True,
        "selfDeclaredMadeForKids": False,
        "madeForKids": False,
        "embeddable": True,
        "license": "youtube",
        **more,
    }
    return {"id": "vid1", "snippet": snippet, "status": status}


def seen(video: dict[str, Any], post_id: str | None = None, now: Any = NOW, **asked: Any) -> tuple[str, list[str]]:
    draft = draft_of(video, post_id, content(**asked), now, "https://u")
    return draft.state.value, [problem.field for problem in draft.differs]


@pytest.mark.parametrize(
    ("video", "asked", "state"),
    [
        # Not published yet, as far as this side knows.
        (a_video(upload="uploaded"), {}, "processing"),
        (a_video(), {}, "ready"),
        (a_video(), DATED, "ready"),
        (a_video(), {"privacy_status": "unlisted"}, "ready"),
        (a_video(), {"privacy_status": "private"}, "ready"),
        (a_video("public"), {}, "public"),
        (a_video("unlisted"), {"privacy_status": "unlisted"}, "public"),
        (a_video(publishAt=stamp(LATER)), DATED, "public"),
        # Visible, but not as asked: the update may be repeated.
        (a_video("unlisted"), {}, "ready"),
        (a_video("public", containsSyntheticMedia=False), {}, "ready"),
        (a_video("public"), {"title": "Another"}, "ready"),
        (a_video(publishAt=stamp(LATER + timedelta(hours=1))), DATED, "ready"),
    ],
)
def test_state_before_the_commit_is_known(video: dict[str, Any], asked: dict[str, Any], state: str) -> None:
    assert seen(video, **asked) == (state, [])


def test_more_visible_than_asked_is_never_hidden_again_by_an_update() -> None:
    assert seen(a_video("public"), privacy_status="private") == ("public", ["privacy_status"])
    assert seen(a_video("unlisted"), privacy_status="private") == ("public", ["privacy_status"])
    assert seen(a_video("public"), **DATED) == ("public", ["privacy_status"])
    assert seen(a_video("unlisted"), **DATED) == ("public", ["privacy_status"])


@pytest.mark.parametrize(
    ("video", "asked", "differs"),
    [
        (a_video("public"), {}, []),
        (a_video("public"), {"title": "Edited in Studio since"}, []),
        (a_video("private"), {"privacy_status": "private"}, []),
        (a_video("private"), {}, ["privacy_status"]),
        (a_video("unlisted"), {}, ["privacy_status"]),
        (a_video("public", containsSyntheticMedia=False), {}, ["contains_synthetic_media"]),
        (a_video("public", containsSyntheticMedia=None), {}, ["contains_synthetic_media"]),
        (a_video("public", selfDeclaredMadeForKids=True), {}, ["made_for_kids"]),
        (a_video("private", publishAt=stamp(LATER)), {"privacy_status": "private"}, ["publish_at"]),
        (a_video(publishAt=stamp(LATER)), DATED, []),
        (a_video(publishAt=LATER.isoformat()), DATED, []),
        (a_video(), DATED, ["publish_at"]),
        (a_video(publishAt=stamp(LATER + timedelta(hours=1))), DATED, ["publish_at"]),
    ],
)
def test_a_post_is_compared_with_what_was_asked(
    video: dict[str, Any], asked: dict[str, Any], differs: list[str]
) -> None:
    assert seen(video, "vid1", **asked) == ("public", differs)


@pytest.mark.parametrize(
    ("after", "video", "differs"),
    [
        (-3, a_video("public"), ["privacy_status"]),
        (-1, a_video("public"), []),
        (1, a_video("public"), []),
        (1, a_video(publishAt=stamp(LATER)), []),
        (1, a_video("unlisted"), ["privacy_status"]),
        (20, a_video(publishAt=stamp(LATER)), ["privacy_status"]),
        (20, a_video("public"), []),
    ],
)
def test_a_scheduled_post_around_its_time(after: int, video: dict[str, Any], differs: list[str]) -> None:
    assert seen(video, "vid1", LATER + timedelta(minutes=after), **DATED)[1] == differs


@pytest.mark.parametrize("after", [-1, 1, 20])
def test_a_lost_commit_of_a_scheduled_post_that_has_gone_public_is_found_so(after: int) -> None:
    assert seen(a_video("public"), None, LATER + timedelta(minutes=after), **DATED) == ("public", [])


def test_a_missed_schedule_is_committed_again() -> None:
    assert seen(a_video(publishAt=stamp(LATER)), None, LATER + timedelta(minutes=20), **DATED)[0] == "ready"


@pytest.mark.parametrize(
    ("status", "processing", "state", "reason"),
    [
        ({"uploadStatus": "rejected", "rejectionReason": "duplicate"}, {}, "failed", "rejected: duplicate"),
        ({"uploadStatus": "failed", "failureReason": "codec"}, {}, "failed", "failed: codec"),
        ({"uploadStatus": "failed"}, {}, "failed", "failed: no reason given"),
        ({"uploadStatus": "deleted"}, {}, "gone", None),
        (
            {"uploadStatus": "uploaded"},
            {"processingStatus": "failed", "processingFailureReason": "transcodeFailed"},
            "failed",
            "processing failed: transcodeFailed",
        ),
        ({"uploadStatus": "uploaded"}, {"processingStatus": "terminated"}, "failed", TERMINATED),
        ({}, {}, "processing", None),
    ],
)  # fmt: skip
def test_what_youtube_did_with_the_file(
    status: dict[str, Any], processing: dict[str, Any], state: str, reason: str | None
) -> None:
    video = {"id": "vid1", "status": {"privacyStatus": "private", **status}, "processingDetails": processing}
    draft = draft_of(video, None, content(), NOW, "u")
    assert (draft.state, draft.reason) == (state, reason)


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        ({"partsTotal": "100", "partsProcessed": "40"}, "40% processed"),
        ({"partsTotal": "0", "partsProcessed": "0"}, "processing"),
        ({}, "processing"),
    ],
)
def test_progress(progress: dict[str, str], told: str) -> None:
    details = {"processingStatus": "processing", "processingProgress": progress}
    video = {**a_video(upload="uploaded"), "processingDetails": details}
    assert draft_of(video, None, content(), NOW, "u").progress == told


@pytest.mark.parametrize(
    ("video", "state"),
    [
        (a_video(upload="uploaded"), DraftState.PROCESSING),
        (a_video(), DraftState.READY),
        (a_video("unlisted"), DraftState.PUBLIC),
        (a_video(publishAt=stamp(LATER)), DraftState.PUBLIC),
    ],
)
def test_a_trigger_asks_without_the_texts(video: dict[str, Any], state: DraftState) -> None:
    assert draft_of(video, None, None, NOW, "u").state is state


def test_a_new_video_is_private_and_has_no_date() -> None:
    body = insert_body(content(**DATED), MARKER)
    assert body["status"] == {
        "privacyStatus": "private",
        "selfDeclaredMadeForKids": False,
        "containsSyntheticMedia": True,
    }
    assert body["snippet"]["tags"] == ["see", "ein tag", MARKER]
    assert "defaultLanguage" not in body["snippet"]
    assert insert_body(content(default_language="de", tags=None), MARKER)["snippet"] == {
        "title": "Ein Tag am See",
        "description": "Ruhe.",
        "categoryId": "22",
        "defaultLanguage": "de",
        "tags": [MARKER],
    }


def test_an_update_sends_back_all_that_it_does_not_change() -> None:
    video = a_video(upload="processed", rejectionReason=None, somethingNew={"a": 1})
    video["snippet"] |= {"defaultAudioLanguage": "de", "channelId": "UC1", "localized": {}, "thumbnails": {}}
    body = update_body(video, content(title="New"), MARKER, NOW)
    assert body["id"] == "vid1"
    assert body["status"] == {
        "privacyStatus": "public",
        "containsSyntheticMedia": True,
        "selfDeclaredMadeForKids": False,
        "embeddable": True,
        "license": "youtube",
        "somethingNew": {"a": 1},
    }
    assert body["snippet"] == {
        "title": "New",
        "description": "Ruhe.",
        "categoryId": "22",
        "defaultAudioLanguage": "de",
        "tags": ["see", "ein tag", MARKER],
    }


def test_the_tag_goes_if_youtube_has_kept_the_files_name() -> None:
    video = {**a_video(), "fileDetails": {"fileName": f"{MARKER}.mp4"}}
    assert update_body(video, content(), MARKER, NOW)["snippet"]["tags"] == ["see", "ein tag"]
    video["fileDetails"] = {"fileName": f"{MARKER}0.mp4"}
    assert MARKER in update_body(video, content(), MARKER, NOW)["snippet"]["tags"]


def test_a_date_is_set_in_the_update_unless_it_has_passed() -> None:
    dated = update_body(a_video(), content(publish_at="2026-11-26T18:00:00+01:00"), MARKER, NOW)["status"]
    assert (dated["privacyStatus"], dated["publishAt"]) == ("private", "2026-11-26T17:00:00Z")
    passed = update_body(a_video(publishAt=stamp(LATER)), content(**DATED), MARKER, LATER)["status"]
    assert passed["privacyStatus"] == "public"
    assert "publishAt" not in passed
