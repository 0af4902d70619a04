"""Whole publications against the emulated YouTube: each of its faults and conditions. Its own posts are the oracle."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.emulator.fixtures import (  # noqa: F401 - fixtures are found by their names
    apimart_emulator,
    apimart_emulator_options,
    apimart_emulator_server,
)
from airflow_provider_apimart.emulator.publishing.youtube import CHANNEL, CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN
from airflow_provider_apimart.publishing.decide import Action
from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostDiffersError,
    PostRejectedError,
    TargetLimitError,
)
from airflow_provider_apimart.publishing.targets.youtube.oauth import OAuthClient
from tests.publishing.targets.youtube.lives import DATA, Life


@pytest.fixture
def emulator(apimart_emulator: Emulator) -> Emulator:  # noqa: F811
    return apimart_emulator


def at(emulator: Emulator, folder: Path, **changes: Any) -> Life:
    life = Life(emulator.base_url, folder, **changes)
    life.client = OAuthClient(CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, f"{emulator.base_url}/token")
    # The emulator's clock is the real one.
    life.time = datetime.now(UTC)
    return life


def check(emulator: Emulator, orphans: int = 0) -> None:
    """Check that one video became visible once, with the file's bytes, and how many private ones are left over."""
    assert len(emulator.posts("youtube")) == 1
    videos = emulator.publishing()["youtube"]
    assert len(videos) == 1 + orphans
    assert {video["sha256"] for video in videos} == {hashlib.sha256(DATA).hexdigest()}


def test_a_video_is_published_with_its_thumbnail_and_in_its_playlist(emulator: Emulator, tmp_path: Path) -> None:
    standing = at(emulator, tmp_path, thumbnail="/a.png", playlist_id="PL1").until_kept()
    check(emulator)
    assert standing.record.account == CHANNEL
    assert standing.warnings == ()
    state = emulator.publishing()
    (video,) = state["youtube"]
    assert video["status"]["containsSyntheticMedia"] is True
    assert video["snippet"]["tags"] == ["see", "ein tag"]
    assert state["playlists"] == {"PL1": [standing.record.post_id]}


STEPS = ("token", "channels", "start", "upload", "ask", "videos", "update")
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("drop_before", {}),
    ("drop_after", {}),
    ("status", {"status": 503}),
    ("status", {"status": 503, "executed": True}),
    ("status", {"status": 500, "reason": "internalError", "executed": True}),
    ("status", {"status": 429, "reason": "rateLimitExceeded", "retry_after": "2"}),
    ("status", {"status": 401, "reason": "authError"}),
    ("broken", {}),
]
#: A token endpoint that says 401 means the client, and ends the try for good.
CASES = [
    (step, kind, options)
    for step in STEPS
    for kind, options in FAULTS
    if not (step == "token" and options.get("status") == 401)
]


@pytest.mark.parametrize(("step", "kind", "options"), CASES)
@pytest.mark.parametrize("after", [0, 1])
def test_an_answer_that_is_lost_or_wrong(
    emulator: Emulator, tmp_path: Path, step: str, kind: str, options: dict[str, Any], after: int
) -> None:
    emulator.publish_fault("youtube", kind, step, after=after, **options)
    if step == "ask":
        # Nothing asks a session unless an upload breaks.
        emulator.publish_fault("youtube", "drop_before", "upload", times=after + 1)
    at(emulator, tmp_path).until_kept()
    check(emulator)


@pytest.mark.parametrize("kind", ["cut", "short"])
@pytest.mark.parametrize("size", [0, 1, 262_144, 300_001, 524_287])
def test_an_upload_of_which_only_a_part_arrives(emulator: Emulator, tmp_path: Path, kind: str, size: int) -> None:
    emulator.publish_fault("youtube", kind, "upload", bytes=size)
    at(emulator, tmp_path).until_kept()
    check(emulator)


@pytest.mark.parametrize("never_listed", [False, True])
def test_the_last_answer_is_lost_and_the_session_is_gone(
    emulator: Emulator, tmp_path: Path, never_listed: bool
) -> None:
    emulator.publish_fault("youtube", "drop_after", "upload", after=1)
    emulator.publish_fault("youtube", "status", "ask", times=-1, status=404, reason="notFound")
    if never_listed:
        emulator.publish_fault("youtube", "never_listed")
    at(emulator, tmp_path).until_kept()
    check(emulator, orphans=1 if never_listed else 0)


def test_a_session_that_never_says_how_much_it_has(emulator: Emulator, tmp_path: Path) -> None:
    emulator.publish_fault("youtube", "no_range")
    life = at(emulator, tmp_path)
    for _ in range(3):
        try:
            life.advance()
        except Exception:
            life.time += timedelta(minutes=1)
    emulator.clear_publish_faults()
    life.until_kept()
    check(emulator)


def test_a_lost_record_adopts_the_post(emulator: Emulator, tmp_path: Path) -> None:
    for no_file_name in (False, True):
        emulator.reset()
        if no_file_name:
            emulator.publish_fault("youtube", "no_file_name")
        life = at(emulator, tmp_path)
        life.until_kept()
        life.record, life.trusted = "", False
        life.until_kept()
        check(emulator)


@pytest.mark.parametrize("condition", ["label_dropped", "locked_private"])
def test_what_youtube_changes_is_told(emulator: Emulator, tmp_path: Path, condition: str) -> None:
    emulator.publish_fault("youtube", condition)
    with pytest.raises(PostDiffersError, match="was asked for"):
        at(emulator, tmp_path).until_kept()
    assert len(emulator.publishing()["youtube"]) == 1


def test_a_date_that_is_kept_and_one_that_is_dropped(emulator: Emulator, tmp_path: Path) -> None:
    when = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    standing = at(emulator, tmp_path, publish_at=when).until_kept()
    assert standing.record.public_since and standing.record.public_since > datetime.now(UTC)
    assert emulator.posts("youtube") == []
    emulator.reset()
    emulator.publish_fault("youtube", "publish_at_dropped")
    with pytest.raises(PostDiffersError, match="publish_at"):
        at(emulator, tmp_path, publish_at=when).until_kept()


@pytest.mark.parametrize(
    ("condition", "text"), [("duplicate", "rejected: duplicate"), ("processing_fails", "failed: conversion")]
)
def test_a_file_that_youtube_refuses(emulator: Emulator, tmp_path: Path, condition: str, text: str) -> None:
    emulator.publish_fault("youtube", condition)
    with pytest.raises(PostRejectedError, match=text):
        at(emulator, tmp_path).until_kept()
    assert emulator.posts("youtube") == []


@pytest.mark.parametrize(
    ("condition", "text"), [("invalid_grant", "7 days"), ("upload_scope_only", "youtube.upload alone")]
)
def test_credentials_that_are_mended_later(emulator: Emulator, tmp_path: Path, condition: str, text: str) -> None:
    emulator.publish_fault("youtube", condition)
    life = at(emulator, tmp_path)
    with pytest.raises(CredentialsError, match=text):
        life.advance()
    emulator.clear_publish_faults()
    life.until_kept()
    check(emulator)


def test_quotas(emulator: Emulator, tmp_path: Path) -> None:
    life = at(emulator, tmp_path)
    emulator.publish_fault("youtube", "quota")
    with pytest.raises(TargetLimitError, match="midnight Pacific"):
        life.advance()
    emulator.clear_publish_faults()
    emulator.publish_fault("youtube", "upload_limit")
    assert life.advance().decision.action is Action.WAIT
    emulator.clear_publish_faults()
    life.until_kept()
    check(emulator)


def test_a_video_that_is_not_known_at_first(emulator: Emulator, tmp_path: Path) -> None:
    emulator.publish_fault("youtube", "unknown_at_first", seconds=3600)
    life = at(emulator, tmp_path)
    assert life.advance().decision.action is Action.WAIT
    emulator.clear_publish_faults()
    life.until_kept()
    check(emulator)
