"""A whole publication over a real socket. The oracle counts how often a video became visible to others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import InvalidParameterError
from airflow_provider_apimart.publishing.decide import Action
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostDiffersError,
    PostRefusedError,
    PostRejectedError,
    TargetLimitError,
    VideoChangedError,
)
from tests.publishing.targets.youtube.fake import FakeYouTube, Lost, fail, lose, refuse
from tests.publishing.targets.youtube.lives import DATA, PNG, Killed, Life

PIECE = 256 * 1024


@pytest.fixture
def fake() -> Iterator[FakeYouTube]:
    with FakeYouTube() as fake:
        yield fake


@pytest.fixture
def life(fake: FakeYouTube, tmp_path: Path) -> Life:
    return Life(fake, tmp_path)


def test_a_post_is_published_in_the_fewest_requests(fake: FakeYouTube, life: Life) -> None:
    fake.processed = False
    waiting = life.advance()
    assert waiting.decision.action is Action.WAIT
    assert fake.published == []
    assert life.states == ["intent", "session", "armed", "drafted"]
    ranges = [call.headers["content-range"] for call in fake.calls if call.kind == "session"]
    assert ranges == [f"bytes 0-{2 * PIECE - 1}/{len(DATA)}", f"bytes {2 * PIECE}-{len(DATA) - 1}/{len(DATA)}"]
    assert fake.uploads[0].data == DATA
    fake.processed = True
    fake.calls.clear()
    standing = life.advance()
    assert standing.record.url == "https://www.youtube.com/watch?v=vid1"
    assert fake.kinds() == ["token", "channel", "videos", "videos", "update", "videos"]
    assert fake.published == ["vid1"]
    (video,) = fake.videos.values()
    assert video["status"]["containsSyntheticMedia"] is True
    assert video["status"]["embeddable"] is True
    # YouTube keeps the file's name here, so the marker's tag has gone.
    assert video["snippet"]["tags"] == ["see", "ein tag"]
    assert life.advance().decision.action is Action.KEEP
    assert fake.published == ["vid1"]


def test_the_record_holds_no_secret(fake: FakeYouTube, life: Life) -> None:
    for number in range(1, 9):
        life.kill_at = (number, "after")
        try:
            life.until_kept(1)
        except (AssertionError, Killed):
            pass
        assert life.record
        assert not any(secret in life.record for secret in ("session-", "access-", "client-secret", "refresh-secret"))


KINDS = ("token", "channel", "start", "session", "videos", "update")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [lose, fail])
@pytest.mark.parametrize("nth", [0, 1])
def test_an_answer_that_is_lost_or_a_lie(
    fake: FakeYouTube, life: Life, kind: str, when: str, fault: Any, nth: int
) -> None:
    getattr(fake, when)[kind] = [*[None] * nth, fault]
    life.until_kept()
    assert fake.published == ["vid1"]
    assert len(fake.videos) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("save", range(1, 7))
@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_a_death_at_each_save(fake: FakeYouTube, life: Life, save: int, when: str, gone: bool, listed: bool) -> None:
    """Also with a session that is gone afterwards, and a list that does not show the video yet."""
    life.kill_at = (save, when)
    with pytest.raises((Killed, AssertionError)):
        life.until_kept(1)
    for upload in fake.uploads:
        upload.gone = gone
    fake.listed = listed
    life.until_kept()
    assert len(fake.published) == 1
    assert len(fake.public) == 1
    # At most one private video is left over: where neither the session nor the list knew of it.
    assert len(fake.videos) <= (2 if gone and not listed else 1)


def test_an_upload_is_resumed_where_it_stands(fake: FakeYouTube, life: Life) -> None:
    def cut(call: Any, answer: Any) -> Any:
        fake.uploads[0].data += call.body[:100_000]
        raise Lost

    fake.before["session"] = [cut]
    life.until_kept()
    ranges = [call.headers["content-range"] for call in fake.calls if call.kind == "session"]
    # From an odd byte on, only a last piece keeps Google's rule: pieces before it are multiples of 256 KiB.
    assert ranges[1:] == [f"bytes */{len(DATA)}", f"bytes 100000-{len(DATA) - 1}/{len(DATA)}"]
    assert fake.uploads[0].data == DATA


def test_a_session_that_takes_less_than_it_was_sent(fake: FakeYouTube, life: Life) -> None:
    def short(call: Any, answer: Any) -> Any:
        del fake.uploads[0].data[300_000:]
        return 308, None, {"Range": "bytes=0-299999"}

    fake.after["session"] = [short]
    life.until_kept()
    assert fake.uploads[0].data == DATA
    assert fake.published == ["vid1"]


def test_an_expired_session_in_the_body_starts_anew(fake: FakeYouTube, life: Life) -> None:
    def expire(call: Any, answer: Any) -> Any:
        fake.uploads[0].gone = True
        return None

    fake.before["session"] = [expire]
    life.until_kept()
    assert [len(upload.data) for upload in fake.uploads] == [0, len(DATA)]
    assert fake.published == ["vid1"]


def test_an_access_token_that_expires_in_mid_upload(fake: FakeYouTube, life: Life) -> None:
    def expire(call: Any, answer: Any) -> Any:
        fake.tokens.clear()
        return 401, None

    fake.before["session"] = [expire]
    life.until_kept()
    assert fake.grants == 2
    assert len(fake.uploads) == 1
    assert fake.published == ["vid1"]


def test_retry_after_of_a_308_is_waited_for(fake: FakeYouTube, life: Life) -> None:
    fake.after["session"] = [lambda call, answer: (308, None, {"Range": "bytes=0-524287", "Retry-After": "17"})]
    life.until_kept()
    assert life.slept == [17]


def test_a_lost_record_finds_the_public_video_by_its_marker(fake: FakeYouTube, life: Life) -> None:
    life.until_kept()
    life.record, life.trusted = "", False
    life.until_kept()
    assert fake.published == ["vid1"]
    assert len(fake.uploads) == 1


def test_the_tag_finds_it_where_the_name_is_not_kept(fake: FakeYouTube, life: Life) -> None:
    fake.keeps_names = False
    life.until_kept()
    (video,) = fake.videos.values()
    assert [tag[:4] for tag in video["snippet"]["tags"]] == ["see", "ein ", "apm-"]
    life.record, life.trusted = "", False
    life.until_kept()
    assert fake.published == ["vid1"]
    assert len(fake.videos) == 1


# --- limits and credentials ------------------------------------------------------------------------------------------


def test_a_quota_parks_until_midnight_pacific(fake: FakeYouTube, life: Life) -> None:
    fake.before["start"] = [refuse(403, "quotaExceeded")]
    standing = life.advance()
    assert standing.until == datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
    life.time = standing.until
    life.until_kept()
    assert fake.published == ["vid1"]


def test_a_channels_limit_parks_for_a_day(fake: FakeYouTube, life: Life) -> None:
    fake.before["start"] = [refuse(400, "uploadLimitExceeded")]
    assert life.advance().until == life.time + timedelta(hours=24)
    assert life.until_kept().record.post_id == "vid1"


def test_a_quota_before_anything_is_recorded_is_the_callers(fake: FakeYouTube, life: Life) -> None:
    fake.before["channel"] = [refuse(403, "quotaExceeded")]
    with pytest.raises(TargetLimitError):
        life.advance()
    assert life.record == ""


def test_a_quota_at_the_commit_leaves_a_draft(fake: FakeYouTube, life: Life) -> None:
    fake.before["update"] = [refuse(403, "quotaExceeded")]
    standing = life.advance()
    assert standing.decision.action is Action.WAIT
    assert json.loads(life.record)["state"] == "drafted"
    life.until_kept()
    assert fake.published == ["vid1"]


def test_a_date_that_passes_while_a_quota_is_waited_for_is_no_new_mistake(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, publish_at="2026-11-26T18:00:00Z")
    fake.before["start"] = [refuse(403, "quotaExceeded")]
    life.advance()
    life.time += timedelta(days=1)
    standing = life.until_kept()
    assert fake.published == ["vid1"]
    assert standing.record.public_since == life.time
    # A repost is a new post, and its date has passed.
    life.clear_epoch, life.on_clear = 1, "repost"
    with pytest.raises(InvalidParameterError, match="is in the past"):
        life.advance()


@pytest.mark.parametrize(
    ("kind", "fault", "text"),
    [
        ("channel", refuse(403, "insufficientPermissions"), "youtube.upload alone"),
        ("channel", lambda call, answer: (200, {"items": []}), "no YouTube channel"),
        ("update", refuse(403, "insufficientPermissions"), "youtube.upload alone"),
        ("start", refuse(403, "forbidden"), "forbidden"),
    ],
)
def test_credentials_that_do_not_suffice(fake: FakeYouTube, life: Life, kind: str, fault: Any, text: str) -> None:
    fake.before[kind] = [fault]
    with pytest.raises(CredentialsError, match=text):
        life.advance()
    assert fake.published == []
    life.until_kept()
    assert fake.published == ["vid1"]


def test_a_dead_grant_loses_nothing(fake: FakeYouTube, life: Life) -> None:
    fake.processed = False
    life.advance()
    fake.grant_error = "invalid_grant"
    with pytest.raises(CredentialsError, match="7 days"):
        life.advance()
    fake.grant_error, fake.processed = "", True
    life.until_kept()
    assert fake.published == ["vid1"]
    assert len(fake.uploads) == 1


# --- what YouTube does with it ---------------------------------------------------------------------------------------


def test_a_rejected_video_fails_for_good(fake: FakeYouTube, life: Life) -> None:
    fake.processed = False
    life.advance()
    fake.videos["vid1"]["status"] |= {"uploadStatus": "rejected", "rejectionReason": "duplicate"}
    for _ in range(2):
        with pytest.raises(PostRejectedError, match="duplicate"):
            life.advance()
    assert len(fake.uploads) == 1


@pytest.mark.parametrize(
    ("meddled", "text"),
    [
        ({"containsSyntheticMedia": False}, "contains_synthetic_media=False: True was asked for"),
        ({"privacyStatus": "private"}, "privacy_status='private': 'public' was asked for"),
        ({"selfDeclaredMadeForKids": True}, "made_for_kids=True: False was asked for"),
    ],
)
def test_what_is_read_back_has_to_be_what_was_asked(
    fake: FakeYouTube, life: Life, meddled: dict[str, Any], text: str
) -> None:
    fake.meddle = lambda video: video["status"].update(meddled)
    with pytest.raises(PostDiffersError) as caught:
        life.until_kept()
    assert text in str(caught.value)
    assert len(fake.uploads) == 1


def test_a_date_that_is_dropped_is_told(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, publish_at="2026-11-26T18:00:00+01:00")
    fake.meddle = lambda video: video["status"].pop("publishAt")
    with pytest.raises(PostDiffersError, match="2026-11-26T17:00:00Z was asked for"):
        life.until_kept()


def test_a_scheduled_video_is_kept_before_and_after_its_time(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, publish_at="2026-11-26T18:00:00+01:00")
    standing = life.until_kept()
    assert standing.record.public_since == datetime(2026, 11, 26, 17, 0, tzinfo=UTC)
    (video,) = fake.videos.values()
    assert video["status"]["publishAt"] == "2026-11-26T17:00:00Z"
    assert fake.published == []
    life.time = standing.record.public_since + timedelta(minutes=1)
    life.until_kept()
    del video["status"]["publishAt"]
    video["status"]["privacyStatus"] = "public"
    life.until_kept()
    assert fake.kinds().count("update") == 1


def test_a_commit_of_a_date_whose_answer_is_lost_until_the_date_has_passed(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, publish_at="2026-11-26T18:00:00+01:00")
    life.kill_at = (6, "before")
    with pytest.raises(Killed):
        life.advance()
    assert json.loads(life.record)["state"] == "committing"
    (video,) = fake.videos.values()
    del video["status"]["publishAt"]
    video["status"]["privacyStatus"] = "public"
    life.time = datetime(2026, 11, 26, 17, 0, 30, tzinfo=UTC)
    life.until_kept()
    assert fake.kinds().count("update") == 1


@pytest.mark.parametrize("privacy", ["unlisted", "private"])
def test_other_privacies(fake: FakeYouTube, tmp_path: Path, privacy: str) -> None:
    life = Life(fake, tmp_path, privacy_status=privacy)
    life.until_kept()
    (video,) = fake.videos.values()
    assert video["status"]["privacyStatus"] == privacy
    life.until_kept()
    assert fake.kinds().count("update") == 1


def test_a_text_that_is_changed_before_the_commit_is_published_as_it_is_now(fake: FakeYouTube, life: Life) -> None:
    fake.processed = False
    life.advance()
    life.content["title"] = "Ein Abend am See"
    fake.processed = True
    life.until_kept()
    (video,) = fake.videos.values()
    assert video["snippet"]["title"] == "Ein Abend am See"


def test_a_draft_that_is_not_known_at_once(fake: FakeYouTube, life: Life) -> None:
    fake.after["videos"] = [lambda call, answer: (200, {"items": []})]
    assert life.advance().decision.action is Action.WAIT
    life.until_kept()
    assert fake.published == ["vid1"]


def test_a_draft_that_was_deleted_is_not_posted_again(fake: FakeYouTube, life: Life) -> None:
    fake.processed = False
    life.advance()
    fake.videos.clear()
    life.time += timedelta(hours=1)
    with pytest.raises(PostRefusedError):
        life.advance()
    assert len(fake.uploads) == 1


def test_another_file_is_never_armed(fake: FakeYouTube, life: Life) -> None:
    life.path.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(VideoChangedError):
        life.advance()
    assert fake.videos == {}
    assert "armed" not in life.states


# --- extras ----------------------------------------------------------------------------------------------------------


def test_extras_come_after_and_once(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, thumbnail="/a.png", playlist_id="PL1")
    assert life.until_kept().warnings == ()
    life.until_kept()
    assert fake.thumbnails == {"vid1": PNG}
    assert fake.playlist == ["vid1"]
    assert fake.kinds().count("thumbnail") == 1
    assert fake.kinds().index("update") < fake.kinds().index("thumbnail")


def test_a_thumbnail_that_is_refused_fails_nothing(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, thumbnail="/a.png", playlist_id="PL1")
    fake.before["thumbnail"] = [refuse(403, "forbidden")]
    (warning,) = life.until_kept().warnings
    assert "thumbnail: YouTube refused the thumbnail: forbidden" in warning
    assert fake.playlist == ["vid1"]


def test_a_playlist_entry_whose_answer_is_lost_is_not_made_twice(fake: FakeYouTube, tmp_path: Path) -> None:
    life = Life(fake, tmp_path, playlist_id="PL1")
    fake.after["entry"] = [lose]
    assert len(life.until_kept().warnings) == 1
    assert life.until_kept().warnings == ()
    assert fake.playlist == ["vid1"]
