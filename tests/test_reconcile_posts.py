"""``reconcile`` lists drafts, orphans and posts that may be public, and changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart import cli
from airflow_provider_apimart.hooks.stores import post_listing
from airflow_provider_apimart.hooks.stores.post_listing import KeptPost
from airflow_provider_apimart.publishing.leftovers import Leftover, leftovers
from airflow_provider_apimart.publishing.record import PostRecord, PostState, PreviousPost

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def record(state: PostState, **values: Any) -> PostRecord:
    base: dict[str, Any] = {
        "target": "youtube",
        "account": "UC1",
        "marker": "apm-0123456789abcdef",
        "video_uri": "s3://b/clip.mp4",
        "video_sha256": "0" * 64,
        "video_bytes": 1,
        "content_digest": "d",
        "intent_at": NOW,
        "asked_by": {"dag_id": "a_dag", "run_id": "a_run", "task_id": "post", "map_index": -1},
    }
    return PostRecord(state=state, **{**base, **values})


def previous(state: PostState, **values: Any) -> PreviousPost:
    return PreviousPost(state=state, marker="apm-fedcba9876543210", **values)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (PostState.INTENT, []),
        (PostState.SESSION, []),
        (PostState.ARMED, [Leftover.UNKNOWN_DRAFT]),
        (PostState.DRAFTED, [Leftover.DRAFT]),
        (PostState.COMMITTING, [Leftover.UNKNOWN_POST]),
        (PostState.PUBLIC, []),
        (PostState.FAILED, []),
    ],
)
def test_what_a_record_leaves(state: PostState, found: list[Leftover]) -> None:
    assert [one.what for one in leftovers(record(state, draft_id="v1"))] == found
    assert all(one.is_open for one in leftovers(record(state, draft_id="v1")))


def test_what_was_superseded() -> None:
    old = (
        previous(PostState.DRAFTED, draft_id="v1"),
        previous(PostState.PUBLIC, post_id="v2", url="https://example.com/v2"),
        previous(PostState.COMMITTING, draft_id="v3"),
    )
    found = list(leftovers(record(PostState.PUBLIC, previous=old)))
    assert [(one.what, one.name, one.is_open) for one in found] == [
        (Leftover.ORPHAN, "v1", False),
        (Leftover.SUPERSEDED, "v2", False),
        (Leftover.UNKNOWN_POST, "v3", True),
    ]
    assert found[0].marker == "apm-fedcba9876543210"


def keep(folder: Path, name: str, text: str) -> None:
    home = folder / ".apimart-records"
    home.mkdir(exist_ok=True)
    (home / f"{name}.post.json").write_text(text)


def reconcile(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["reconcile", "--no-database", *arguments])
    return code, capsys.readouterr().out


def test_the_command_lists_what_has_to_be_settled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, "a", record(PostState.COMMITTING, draft_id="v1").model_dump_json())
    keep(
        tmp_path,
        "b",
        record(PostState.PUBLIC, previous=(previous(PostState.DRAFTED, draft_id="v2"),)).model_dump_json(),
    )
    keep(tmp_path, "c", record(PostState.DRAFTED, asked_by={"dag_id": "other", "task_id": "t"}).model_dump_json())
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--dag-id", "a_dag")
    assert code == 1
    assert "unknown post at youtube: v1, account UC1, marker apm-0123456789abcdef" in said
    assert "a_dag / a_run / post: look whether it is public; a clear of the task asks, and never posts twice" in said
    assert "v2" not in said and "other" not in said
    assert "1 drafts, or posts of which nobody knows whether they are public." in said
    assert "0 paid or doubtful generations" in said

    code, said = reconcile(capsys, "--folder", str(tmp_path), "--json", "--all")
    lines = [json.loads(line) for line in said.splitlines()]
    assert code == 1
    assert [(line["what"], line["id"], line["open"]) for line in lines] == [
        ("unknown post", "v1", True),
        ("orphan", "v2", False),
        ("draft", None, True),
    ]
    assert {line["kind"] for line in lines} == {"post"}


def test_nothing_left_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, "a", record(PostState.PUBLIC, post_id="v1").model_dump_json())
    assert reconcile(capsys, "--folder", str(tmp_path))[0] == 0


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(tmp_path, "a", '{"version": 9}')
    code, said = reconcile(capsys, "--folder", str(tmp_path))
    assert code == 1
    assert "cannot be read" in said and "The video may be public" in said


def test_busy_tasks_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [KeptPost("here", record(PostState.DRAFTED, draft_id="v1"), busy="deferred")]
    monkeypatch.setattr(post_listing, "posts_in_folder", lambda folder: iter(found))
    assert reconcile(capsys, "--folder", str(tmp_path))[0] == 0
    assert reconcile(capsys, "--folder", str(tmp_path), "--include-busy")[0] == 1
