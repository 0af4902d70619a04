"""The channel's state without routes, and with a clock that the test moves."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_apimart.emulator.publishing.world import World
from airflow_provider_apimart.emulator.publishing.youtube import UPLOADS, Channel, Upload, Video
from airflow_provider_apimart.emulator.publishing.youtube_project import (
    CLIENT_ID,
    CLIENT_SECRET,
    MAX_INSERTS,
    REFRESH_TOKEN,
)
from airflow_provider_apimart.emulator.publishing.youtube_rules import Problem

PARTS = frozenset({"snippet", "status"})
SNIPPET = {"title": "A dog", "categoryId": "22"}
PRIVATE = {"snippet": SNIPPET, "status": {"privacyStatus": "private"}}


class Clock:
    def __init__(self, moment: str) -> None:
        self.set(moment)

    def set(self, moment: str) -> None:
        self.seconds = datetime.fromisoformat(moment).timestamp()

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock("2026-10-31T20:00:00+00:00")


@pytest.fixture
def world(clock: Clock) -> World:
    return World(processing_seconds=60, listing_seconds=30, token_seconds=3600, now=clock)


@pytest.fixture
def channel(world: World) -> Channel:
    return world.youtube


def session(channel: Channel, body: dict[str, Any] | None = None, size: int | None = 8) -> Upload:
    return channel.session(channel.start(body or PRIVATE, PARTS, size, "a.mp4"), None)


def made(channel: Channel, body: dict[str, Any] | None = None) -> Video:
    upload = session(channel, body)
    channel.store(upload, 0, b"12345678")
    assert upload.video is not None
    return upload.video


def reason(problem: pytest.ExceptionInfo[Problem]) -> str:
    return problem.value.reason


@pytest.mark.parametrize(
    ("spent", "still_that_day", "next_day"),
    [
        # Midnight Pacific is 07:00 UTC in summer and 08:00 in winter; the clocks change on 1 November.
        ("2026-10-31T20:00:00+00:00", "2026-11-01T06:59:59+00:00", "2026-11-01T07:00:00+00:00"),
        ("2026-11-01T20:00:00+00:00", "2026-11-02T07:59:59+00:00", "2026-11-02T08:00:00+00:00"),
    ],
)
def test_the_quota_begins_anew_at_midnight_pacific(
    channel: Channel, clock: Clock, spent: str, still_that_day: str, next_day: str
) -> None:
    clock.set(spent)
    for _ in range(MAX_INSERTS):
        channel.project.spend("inserts", 1)
    clock.set(still_that_day)
    with pytest.raises(Problem) as refused:
        channel.project.spend("inserts", 1)
    assert reason(refused) == "quotaExceeded"
    clock.set(next_day)
    channel.project.spend("inserts", 1)
    assert channel.project.used() == {"inserts": 1, "units": 0}


def test_an_access_token_ends_at_its_time(channel: Channel, clock: Clock) -> None:
    token, seconds = channel.project.grant(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN)
    clock.seconds += seconds - 1
    channel.project.check_token(token)
    clock.seconds += 1
    with pytest.raises(Problem) as refused:
        channel.project.check_token(token)
    assert (refused.value.status, reason(refused)) == (401, "authError")


def test_a_date_comes_although_nobody_looks(channel: Channel, clock: Clock, world: World) -> None:
    date = "2026-11-01T09:00:00+09:00"
    video = made(channel, {"snippet": SNIPPET, "status": {"privacyStatus": "private", "publishAt": date}})
    clock.seconds += 3 * 86_400
    (post,) = world.posts()
    assert (post["id"], post["at"]) == (video.id, datetime.fromisoformat(date).timestamp())


def test_a_date_in_the_past_is_now(channel: Channel, clock: Clock, world: World) -> None:
    video = made(channel)
    clock.seconds += 100
    channel.update(
        {"id": video.id, "status": {"privacyStatus": "private", "publishAt": "2020-01-01T00:00:00Z"}},
        frozenset({"status"}),
    )
    assert [post["at"] for post in world.posts()] == [clock.seconds]


def test_what_was_public_and_is_deleted_stays_counted(channel: Channel, world: World) -> None:
    video = made(channel, {"snippet": SNIPPET, "status": {"privacyStatus": "public"}})
    channel.add("PL1", video.id)
    channel.delete(video.id)
    assert (channel.all(), channel.playlist("PL1")) == ([], [])
    assert [post["id"] for post in world.posts()] == [video.id]
    with pytest.raises(Problem) as refused:
        channel.known(video.id)
    assert reason(refused) == "videoNotFound"


def test_processing_and_listing_take_their_time(channel: Channel, clock: Clock) -> None:
    video = made(channel)
    assert channel.playlist(UPLOADS) == []
    clock.seconds += 30
    assert channel.playlist(UPLOADS) == [video.id]
    assert channel.resource(video, PARTS)["status"]["uploadStatus"] == "uploaded"
    clock.seconds += 30
    assert channel.resource(video, PARTS)["status"]["uploadStatus"] == "processed"


def test_bytes_of_two_senders_never_mix(channel: Channel) -> None:
    upload = session(channel)
    channel.store(upload, 0, b"1234")
    channel.store(upload, 0, b"abcd")  # a second sender, from the beginning
    channel.store(upload, 5, b"678")  # one that leaves a byte out
    assert upload.stored == 4
    channel.store(upload, 4, b"5678")
    channel.store(upload, 8, b"9")
    assert upload.video is not None
    assert (upload.video.sha256, upload.video.size) == (hashlib.sha256(b"12345678").hexdigest(), 8)
    assert len(channel.videos) == 1


def test_a_size_that_is_told_late(channel: Channel) -> None:
    upload_id = channel.start(PRIVATE, PARTS, None, "a.mp4")
    channel.store(channel.session(upload_id, None), 0, b"12345678")
    assert channel.videos == {}
    with pytest.raises(Problem):
        channel.session(upload_id, 7)
    assert channel.session(upload_id, 8).video is not None
    with pytest.raises(Problem):
        channel.session(upload_id, 9)


def test_only_the_named_parts_count(channel: Channel) -> None:
    labelled = {"snippet": SNIPPET, "status": {"privacyStatus": "private", "containsSyntheticMedia": True}}
    video = made(channel, labelled)
    channel.update({"id": video.id, "snippet": {"title": "B", "categoryId": "1"}}, frozenset({"snippet"}))
    assert (video.snippet["title"], video.status["containsSyntheticMedia"]) == ("B", True)
    channel.update({"id": video.id, "status": {"privacyStatus": "unlisted"}}, frozenset({"status"}))
    assert video.snippet["title"] == "B"
    assert "containsSyntheticMedia" not in video.status
    # A part that an insert does not name is as if it were not there, and then the default is public.
    upload = channel.session(channel.start(labelled, frozenset({"snippet"}), 8, "a.mp4"), None)
    channel.store(upload, 0, b"12345678")
    assert upload.video is not None
    assert upload.video.status["privacyStatus"] == "public"


def test_conditions_hold_for_inserts_too(channel: Channel, world: World) -> None:
    from airflow_provider_apimart.emulator.publishing.faults import read_fault

    for kind in ("locked_private", "label_dropped"):
        world.faults.add(read_fault({"service": "youtube", "kind": kind}))
    wanted = {"privacyStatus": "public", "containsSyntheticMedia": True, "uploadStatus": "processed"}
    status = made(channel, {"snippet": SNIPPET, "status": wanted}).status
    assert status == {"privacyStatus": "private", "embeddable": True, "license": "youtube"}
    assert world.posts() == []


def test_time_is_moved_for_all_but_the_receiver(world: World, clock: Clock) -> None:
    world.advance(86_400)
    assert world.now() == world.youtube.now() == world.instagram.now() == clock.seconds + 86_400
    assert world.webhook.now() == clock.seconds
    world.reset()
    assert world.now() == clock.seconds
