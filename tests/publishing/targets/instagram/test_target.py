"""One Reel for each post, whatever happens to the answers. The public sees ``meta.posts``."""

from __future__ import annotations

import itertools
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import ConfigurationError, InvalidParameterError
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostDiffersError,
    PostRefusedError,
    PostRejectedError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.record import PostState
from tests.publishing.targets.instagram.meta import (
    BYTES,
    FB_TOKEN,
    IG_TOKEN,
    LINK,
    USER,
    Desk,
    Fault,
    Meta,
)


@pytest.fixture
def meta() -> Meta:
    return Meta()


@pytest.fixture
def desk(tmp_path: Path, meta: Meta) -> Desk:
    return Desk(tmp_path, meta)


def test_a_video_becomes_a_reel_once(desk: Desk, meta: Meta, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    meta.polls = 2
    assert desk.advance().decision.action == "wait"
    record = desk.finish().record
    (media,) = meta.posts
    assert record.post_id == media and record.url == f"https://www.instagram.com/reel/{media}/"
    assert record.account == USER and record.state is PostState.PUBLIC
    (container,) = meta.containers.values()
    assert container.fields == {
        "media_type": "REELS",
        "caption": "A day at the lake #calm",
        "share_to_feed": True,
        "is_ai_generated": True,
        "video_url": LINK,
    }
    # Another try reads it back, and posts nothing.
    assert desk.finish().record.post_id == media
    assert meta.count("publish") == 1 and meta.count("create") == 1
    assert meta.count("limit") == 2  # before the container, before publishing
    for secret in (IG_TOKEN, LINK, "5ecre7"):
        assert secret not in caplog.text and secret not in (desk.store.text or "")


def test_the_id_is_saved_before_the_page_is_read(desk: Desk, meta: Meta) -> None:
    meta.faults["page"] = [Fault(False, (400, 100, 33))] * 10
    standing = desk.finish()
    assert standing.record.post_id in meta.posts and standing.record.url is None
    assert "does not know" in standing.warnings[0]
    # It is read by the next try, and nothing is posted.
    meta.faults.clear()
    assert desk.finish().record.url and meta.count("publish") == 1


def test_a_page_that_fails_at_first_is_asked_for_again(desk: Desk, meta: Meta) -> None:
    meta.faults["page"] = [Fault(False, (400, 100, 33))]
    standing = desk.finish()
    assert standing.record.url and not standing.warnings


LOST = [
    Fault(True),
    Fault(False),
    Fault(True, (500, 2, None)),
    Fault(False, (500, 2, None)),
    Fault(True, (400, -1, 2207001)),
    Fault(False, (400, 24, 2207008)),
    Fault(True, (400, 24, 2207008)),
    Fault(True, (400, 100, 33)),
    Fault(False, (400, 100, 33)),
    Fault(False, (400, 9007, 2207027)),
    Fault(True, (400, 1, None)),
]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{'done' if fault.effect else 'not'}-{fault.error}")
@pytest.mark.parametrize("route", ["create", "publish"])
def test_an_answer_is_lost(desk: Desk, meta: Meta, route: str, fault: Fault) -> None:
    meta.faults[route] = [fault]
    record = desk.finish().record
    assert len(meta.posts) == 1
    done = route == "publish" and fault.effect
    assert record.post_id == (f"container:{record.draft_id}" if done else next(iter(meta.posts)))
    assert desk.finish().record.post_id == record.post_id and len(meta.posts) == 1


def test_a_publishing_call_without_an_answer_is_not_repeated_at_once(desk: Desk, meta: Meta) -> None:
    meta.faults["publish"] = [Fault(False)]
    standing = desk.advance()
    assert standing.record.state is PostState.COMMITTING and standing.until is not None
    assert meta.count("publish") == 1
    assert standing.until - (standing.record.committing_at or standing.until) == timedelta(seconds=60)
    desk.clock.time = standing.until
    desk.finish()
    assert meta.count("publish") == 2 and len(meta.posts) == 1


@pytest.mark.parametrize("error", [(500, 2, None), (400, -1, 2207001), (400, 24, 2207008), (400, 100, 33)])
def test_an_error_of_the_publishing_call_is_no_proof_that_nothing_was_done(
    desk: Desk, meta: Meta, error: tuple[int, int, int | None]
) -> None:
    meta.faults["publish"] = [Fault(False, error)]
    desk.advance()
    saved = desk.store.saved
    assert PostState.DRAFTED not in saved[saved.index(PostState.COMMITTING) :]


def test_each_publishing_call_without_an_answer_has_its_own_minute(desk: Desk, meta: Meta) -> None:
    meta.faults["publish"] = [Fault(False)] * 2
    first = desk.advance().until
    assert first is not None
    desk.clock.time = first + timedelta(hours=1)
    second = desk.advance().until
    assert second is not None and second - desk.clock() > timedelta(seconds=50)
    assert meta.count("publish") == 2


def test_a_container_is_never_published_again_before_it_was_asked(desk: Desk, meta: Meta) -> None:
    meta.faults["publish"] = [Fault(False)] * 3
    meta.faults["status"] = []
    desk.finish()
    routes = [route for route, _ in meta.requests if route in ("publish", "status")]
    for before, after in itertools.pairwise(routes):
        assert (before, after) != ("publish", "publish")


@pytest.mark.parametrize("dies_after", ["intent", "drafted", "committing", "public"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not-kept"])
def test_a_process_dies_at_a_save(desk: Desk, meta: Meta, dies_after: str, kept: bool) -> None:
    """The line before a save and the line after it: the record holds all that the next try knows."""

    class Died(BaseException):
        pass

    save, died = desk.store.save, []

    def dying(record: Any) -> None:
        if record.state == dies_after and not died:
            died.append(record)
            if kept:
                save(record)
            raise Died
        save(record)

    desk.store.save = dying  # type: ignore[method-assign]
    with pytest.raises(Died):
        desk.finish()
    record = desk.finish().record
    assert len(meta.posts) == 1 and record.state is PostState.PUBLIC
    if dies_after == "public" and not kept:
        assert record.post_id == f"container:{record.draft_id}"


def test_the_daily_limit_is_waited_for_before_the_container_and_before_publishing(desk: Desk, meta: Meta) -> None:
    meta.used = 50
    standing = desk.advance()
    assert standing.decision.action == "wait" and "50 of 50" in standing.decision.reason
    assert standing.until == desk.clock() + timedelta(hours=1)
    assert not meta.containers
    meta.used, meta.polls = 0, 1
    desk.advance()
    meta.used = 50
    assert desk.advance().record.state is PostState.DRAFTED
    assert not meta.count("publish")
    meta.used = 49
    desk.finish()
    assert len(meta.posts) == 1


@pytest.mark.parametrize("oldest", [0.1, 1.0, 7.0, 20.0, 23.9])
def test_the_time_when_there_is_room_again_is_found_out(desk: Desk, meta: Meta, oldest: float) -> None:
    """Two posts are allowed: room comes when the oldest of the two is 24 hours old."""
    now = desk.clock().timestamp()
    meta.total, meta.published = 2, [now - oldest * 3600, now - 0.05 * 3600]
    standing = desk.advance()
    assert standing.until is not None and not meta.containers
    late = (standing.until - desk.clock()).total_seconds() / 3600 - (24 - oldest)
    assert 0 <= late <= 0.75
    assert "has room again at" in standing.decision.reason
    assert meta.count("limit") == 7


def test_an_api_that_counts_24_hours_whatever_is_asked(desk: Desk, meta: Meta) -> None:
    meta.used = 50
    standing = desk.advance()
    assert standing.until == desk.clock() + timedelta(hours=1) and "asked again at" in standing.decision.reason
    assert meta.count("limit") == 2


def test_the_daily_limit_comes_as_an_error(desk: Desk, meta: Meta) -> None:
    meta.faults["publish"] = [Fault(False, (400, 9, 2207042))]
    standing = desk.advance()
    assert standing.record.state is PostState.DRAFTED and standing.until == desk.clock() + timedelta(hours=1)
    desk.finish()
    assert len(meta.posts) == 1


def test_a_limit_that_cannot_be_read_keeps_nothing_from_going_on(desk: Desk, meta: Meta) -> None:
    meta.faults["limit"] = [Fault(False, (500, 1, None))] * 2
    desk.finish()
    assert len(meta.posts) == 1


def test_too_many_calls_wait_as_long_as_meta_says(desk: Desk, meta: Meta) -> None:
    usage = json.dumps({USER: [{"type": "instagram", "estimated_time_to_regain_access": 19}]})
    meta.faults["status"] = [Fault(False, (400, 80002, None), headers={"x-business-use-case-usage": usage})]
    standing = desk.advance()
    assert standing.until == desk.clock() + timedelta(minutes=19)
    desk.finish()
    assert len(meta.posts) == 1


def test_a_container_that_has_expired_is_made_anew(desk: Desk, meta: Meta) -> None:
    meta.polls = 1
    desk.advance()
    (first,) = meta.containers.values()
    first.status, first.polls = "EXPIRED", 0
    record = desk.finish().record
    assert len(meta.posts) == 1 and meta.count("create") == 2
    assert [each.draft_id for each in record.previous] == [next(iter(meta.containers))]
    # A fresh link for a fresh container: the first one may be dead.
    assert desk.links >= 2


def test_a_container_that_a_new_one_mends(desk: Desk, meta: Meta) -> None:
    meta.errors = [2207053, 2207003]
    desk.finish()
    assert len(meta.posts) == 1 and meta.count("create") == 3


def test_a_file_that_instagram_does_not_take(desk: Desk, meta: Meta) -> None:
    meta.errors = [2207026]
    with pytest.raises(PostRejectedError, match="2207026"):
        desk.finish()
    with pytest.raises(PostRejectedError, match="video format"):
        desk.finish()
    assert not meta.posts and meta.count("create") == 1


def test_a_storage_that_meta_cannot_reach_ends_with_the_cause(desk: Desk, meta: Meta) -> None:
    meta.errors = [2207052] * 9
    with pytest.raises(PostRejectedError, match="reachable from the internet"):
        desk.finish()
    assert meta.count("create") == 5


def test_an_expired_container_after_a_publishing_call_is_an_honest_stop(desk: Desk, meta: Meta) -> None:
    meta.faults["publish"] = [Fault(False)]
    desk.advance()
    (container,) = meta.containers.values()
    container.status = "EXPIRED"
    with pytest.raises(PostRefusedError, match="Nothing was posted"):
        desk.finish()
    assert not meta.posts and meta.count("create") == 1


def test_a_read_that_fails_is_no_verdict(desk: Desk, meta: Meta) -> None:
    meta.faults["status"] = [Fault(False, (400, 100, 33))] * 4
    desk.finish()
    assert len(meta.posts) == 1 and meta.count("create") == 1
    again = Desk(Path(desk.post.video.uri).parent, meta)
    meta.faults["status"] = [Fault(False, (400, 100, 33))] * 99
    with pytest.raises(TargetUnavailableError, match="while all is well"):
        again.advance()
    assert again.store.load().state is PostState.DRAFTED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("subcode", "cause"), [(463, "expired"), (460, "password"), (467, "revoked"), (458, "removed the app")]
)
@pytest.mark.parametrize("route", ["account", "create", "status", "publish"])
def test_a_void_token_says_why_and_loses_nothing(desk: Desk, meta: Meta, route: str, subcode: int, cause: str) -> None:
    meta.faults[route] = [Fault(False, (400, 190, subcode))]
    with pytest.raises(CredentialsError, match=cause) as caught:
        desk.finish()
    assert caught.value.terminal and IG_TOKEN not in str(caught.value)
    desk.finish()
    assert len(meta.posts) == 1


def test_a_missing_permission_names_it(desk: Desk, meta: Meta) -> None:
    meta.faults["create"] = [Fault(False, (403, 200, None))]
    with pytest.raises(CredentialsError, match="instagram_business_content_publish"):
        desk.finish()


def test_a_personal_account_is_refused(desk: Desk, meta: Meta) -> None:
    meta.account_type = "PERSONAL"
    with pytest.raises(CredentialsError, match="professional account"):
        desk.advance()
    assert not meta.containers


def test_the_token_of_another_account_is_refused(desk: Desk, meta: Meta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.publishing.targets.instagram.meta.USER", "17841400000000002")
    target = desk.target()
    steps = target.account()
    next(steps)
    from airflow_provider_apimart.publishing.exchange import Reply

    body = json.dumps({"user_id": USER, "username": "lake", "account_type": "BUSINESS"}).encode()
    with pytest.raises(CredentialsError, match="login names the account 17841400000000002"):
        steps.send(Reply(200, {}, body))


def test_a_label_that_was_dropped_is_told(desk: Desk, meta: Meta) -> None:
    meta.label = False
    with pytest.raises(PostDiffersError, match="is_ai_generated"):
        desk.finish()
    assert len(meta.posts) == 1
    with pytest.raises(PostDiffersError):
        desk.finish()
    assert meta.count("publish") == 1


def test_an_api_that_does_not_know_the_label_tells_the_page(desk: Desk, meta: Meta) -> None:
    meta.label = None
    assert desk.finish().record.url


def test_the_texts_are_checked_before_anything_is_sent(tmp_path: Path, meta: Meta) -> None:
    desk = Desk(tmp_path, meta, caption="x" * 2201, collaborators=["@me"])
    with pytest.raises(InvalidParameterError) as caught:
        desk.advance()
    assert "caption" in str(caught.value) and "collaborators" in str(caught.value)
    assert not meta.requests


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sending(tmp_path: Path, meta: Meta) -> Desk:
    desk = Desk(tmp_path, meta, FB_TOKEN)
    desk.way = "bytes"
    return desk


def test_the_bytes_are_sent_where_meta_cannot_fetch(sending: Desk, meta: Meta) -> None:
    record = sending.finish().record
    (container,) = meta.containers.values()
    assert container.received == BYTES and container.fields["upload_type"] == "resumable"
    assert record.post_id in meta.posts
    (upload,) = (request for route, request in meta.requests if route == "upload")
    assert upload.url.host == "rupload.facebook.com"
    assert FB_TOKEN not in (sending.store.text or "")


def test_an_upload_that_was_cut_is_resumed_in_the_next_try(sending: Desk, meta: Meta) -> None:
    meta.faults["upload"] = [Fault(True, cut=1000)]
    record = sending.finish().record
    assert meta.containers[record.draft_id or ""].received == BYTES
    offsets = [request.headers["offset"] for route, request in meta.requests if route == "upload"]
    assert offsets == ["0", "1000"] and meta.count("create") == 1


def test_the_answer_of_a_whole_upload_is_lost(sending: Desk, meta: Meta) -> None:
    meta.faults["upload"] = [Fault(True)]
    sending.finish()
    assert meta.count("upload") == 1 and len(meta.posts) == 1


def test_the_way_is_chosen_by_what_is_possible(tmp_path: Path, meta: Meta) -> None:
    desk = Desk(tmp_path, meta, FB_TOKEN)
    desk.link = lambda: "http://minio:9000/videos/clip.mp4?sig=1"  # type: ignore[method-assign]
    desk.finish()
    (container,) = meta.containers.values()
    assert container.received == BYTES


@pytest.mark.parametrize(
    "link",
    [
        "http://videos.example.com/clip.mp4?sig=5ecre7",
        "https://10.0.0.7/clip.mp4?sig=5ecre7",
        "https://minio/clip.mp4?sig=5ecre7",
        None,
    ],
)
def test_neither_way_is_possible(desk: Desk, meta: Meta, link: str | None) -> None:
    def made() -> str:
        if link is None:
            raise ConfigurationError("/data/clip.mp4: this storage cannot make a signed link to a file")
        return link

    desk.link = made  # type: ignore[method-assign]
    with pytest.raises(InvalidParameterError, match="Facebook Login") as caught:
        desk.advance()
    assert "5ecre7" not in str(caught.value) and not meta.requests
    desk.way = "bytes"
    with pytest.raises(InvalidParameterError, match="Instagram Login"):
        desk.advance()


def test_a_file_that_changed_is_not_posted(desk: Desk, meta: Meta) -> None:
    from airflow_provider_apimart.publishing.errors import VideoChangedError

    Path(desk.post.video.uri).write_bytes(b"x" * len(BYTES))
    with pytest.raises(VideoChangedError):
        desk.advance()
    assert not meta.containers


def test_a_published_container_grows_old(desk: Desk, meta: Meta) -> None:
    meta.faults["publish"] = [Fault(True)]
    record = desk.finish().record
    for status in ("EXPIRED", "ERROR", "FINISHED"):
        meta.containers[record.draft_id or ""].status = status
        desk.clock.sleep(86_400)
        standing = desk.finish()
        assert standing.record.post_id == f"container:{record.draft_id}" and not standing.warnings
    assert meta.count("publish") == 1


@pytest.mark.parametrize("fault", [Fault(True), Fault(False)], ids=["done", "not-done"])
def test_a_record_that_is_lost_ends_in_a_stop_and_no_second_reel(desk: Desk, meta: Meta, fault: Fault) -> None:
    meta.faults["publish"] = [fault]
    desk.advance()
    desk.store.text = None
    with pytest.raises(PostRefusedError, match=f"look at the account {USER}"):
        desk.advance(lost=True)
    assert len(meta.posts) == fault.effect and meta.count("create") == 1
