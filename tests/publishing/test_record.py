"""The record: small, versioned, without a secret in the clear; one that cannot be read is never 'none'."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import PostParkedError
from airflow_provider_apimart.publishing.record import (
    MAX_PREVIOUS,
    PostRecord,
    PostState,
    PreviousPost,
    UnreadablePostError,
    read_post_record,
)
from airflow_provider_apimart.publishing.sealing import Seal
from tests.publishing.world import DATA, KINDS, Kind, Life, World

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def record(**changes: Any) -> PostRecord:
    found = PostRecord(
        state=PostState.DRAFTED,
        target="youtube",
        account="UC1",
        marker="apm-0123456789abcdef",
        video_uri="s3://b/clip.mp4",
        video_sha256="a" * 64,
        video_bytes=10,
        content_digest="c" * 64,
        intent_at=NOW,
        draft_id="d1",
        asked_by={"dag_id": "d", "run_id": "2026", "task_id": "t", "map_index": 3},
    )
    return found.but(**changes)


def test_it_survives_both_ways_of_keeping_it() -> None:
    kept = record(previous=record(state=PostState.ARMED).as_previous(), done=("thumbnail",))
    assert read_post_record(kept.model_dump_json(), "a file") == kept
    assert read_post_record(kept.model_dump(mode="json"), "a store") == kept
    assert kept.version == 1


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "null",
        "[]",
        {},
        record().model_dump(mode="json") | {"version": 2},
        record().model_dump(mode="json") | {"state": "somewhere"},
        record().model_dump(mode="json") | {"intent_at": "2026-11-26T12:00:00"},
        record().model_dump_json()[:-10],
    ],
)
def test_what_cannot_be_read_is_refused_and_not_shown(data: Any) -> None:
    with pytest.raises(UnreadablePostError) as caught:
        read_post_record(data, "the store")
    text = str(caught.value)
    assert "the store" in text and "The video may be public" in text and "s3://" not in text


def test_what_a_later_version_adds_is_no_reason_to_stop() -> None:
    assert read_post_record(record().model_dump(mode="json") | {"mood": "good"}, "a store") == record()


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_it_at_any_time(tmp_path: Path, kind: Kind) -> None:
    path, seen = tmp_path / "clip.mp4", list[str]()
    path.write_bytes(DATA)
    shelf: list[str] = []
    life = Life(World(kind), path, shelf, title="A secret link", at=lambda name: seen.extend(shelf))
    life.end()
    assert seen and all("network.example/session" not in text and "A secret link" not in text for text in seen)


def test_it_stays_small(tmp_path: Path) -> None:
    full = record(
        previous=tuple(
            PreviousPost(state=PostState.PUBLIC, marker=f"apm-{n:016}", draft_id="d" * 64, url="https://h/" + "u" * 200)
            for n in range(MAX_PREVIOUS)
        ),
        sealed=Seal("s").close("x" * 20_000),
        note="n" * 1000,
        video_uri="s3://bucket/" + "v" * 1024,
    )
    assert len(full.as_previous()) == MAX_PREVIOUS and full.as_previous()[-1].draft_id == "d1"
    assert len(full.model_dump_json()) < 64 * 1024


def test_a_session_that_no_record_should_hold_is_not_used(tmp_path: Path) -> None:
    class Verbose(World):
        def _start(self, what: Any, body: bytes) -> Any:
            return {"session": "https://network.example/" + "s" * 100_000}

    path, shelf = tmp_path / "clip.mp4", list[str]()
    path.write_bytes(DATA)
    with pytest.raises(PostParkedError, match="a session of 100024 characters") as caught:
        Life(Verbose("upload"), path, shelf).advance()
    assert "sss" not in str(caught.value)
    assert json.loads(shelf[0])["state"] == "intent"


# --- two tries -------------------------------------------------------------------------------------------------------


def test_what_is_public_wins_over_another_draft_of_the_same_post() -> None:
    public = record(state=PostState.PUBLIC, post_id="p1")
    other = record(state=PostState.DRAFTED, draft_id="d2", clear_epoch=4)
    kept = public.beside(other)
    assert (kept.state, kept.post_id, kept.clear_epoch) == (PostState.PUBLIC, "p1", 4)
    assert [left.draft_id for left in kept.previous] == ["d2"]


def test_what_another_try_has_done_for_the_same_post_is_kept() -> None:
    public = record(state=PostState.PUBLIC, post_id="p1")
    kept = public.beside(public.but(url="https://h/p1", done=("thumbnail",)))
    assert (kept.url, kept.done, kept.previous) == ("https://h/p1", ("thumbnail",), ())


def test_a_repost_goes_on_and_remembers_what_is_public() -> None:
    public = record(state=PostState.PUBLIC, post_id="p1")
    repost = record(state=PostState.INTENT, epoch=1, marker="apm-1", draft_id=None)
    stale = record(state=PostState.COMMITTING).as_previous()
    kept = public.beside(repost.but(previous=stale))
    assert (kept.state, kept.epoch) == (PostState.INTENT, 1)
    assert [(left.state, left.post_id) for left in kept.previous] == [(PostState.PUBLIC, "p1")]
