"""A whole table in one form: what is ticked can be published, everything else cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch.manifest import write_manifest
from airflow_provider_apimart.hooks.manifest import posts, read_manifest
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.operators.approval import VideoSheetApprovalOperator
from airflow_provider_apimart.operators.approval.table import rows_of
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.videos import resolve
from tests.operators.approval.conftest import STORES
from tests.operators.approval.desk import ADA, Desk, decisions
from tests.operators.approval.test_crashes import Killed, Steps
from tests.operators.conftest import Tries
from tests.operators.single import make as make_generate

At = Callable[..., Desk]
TICK, NONE = "Approve the ticked ones", "Reject all"


@pytest.fixture
def table(emulator: Emulator, no_waiting: list[float], tmp_path: Path) -> list[dict[str, Any]]:
    """What three generate tasks have returned, the second with two videos."""
    rows = []
    for number, samples in ((1, 1), (2, 2), (3, 1)):
        operator = make_generate(
            tmp_path, task_id=f"make_{number}", prompt=f"product {number}", sample_count=samples, labels={"sku": number}
        )
        rows.append(json.loads(json.dumps(operator.execute(Tries().next(operator)))))
    return rows


@pytest.fixture(params=STORES, ids=lambda kept: "task state store" if kept else "beside the video")
def desk(request: pytest.FixtureRequest, table: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> At:
    """Returns the desk of a sheet of the table."""

    def at(**arguments: Any) -> Desk:
        values = {"task_id": "sheet", "videos": table, **arguments}
        return Desk(lambda: VideoSheetApprovalOperator(**values), monkeypatch, store=request.param)

    return at


def manifest_of(table: list[dict[str, Any]], folder: Path) -> str:
    """Write the manifest of a batch with these rows, and one that came to nothing."""
    rows = [
        {
            "row": number,
            "outcome": "landed" if result else "failed",
            "labels": {"sku": number},
            "request": {"prompt": f"product {number}", "model": "veo3.1-fast"},
            "generation_id": result.get("generation_id"),
            "videos": result.get("videos", []),
            "cost_usd": result.get("cost_usd"),
            "error": None if result else "refused",
        }
        for number, result in enumerate([*table, {}], start=1)
    ]
    path = folder / "manifest.jsonl"
    write_manifest(file_of(str(path), "videos"), rows, "jsonl")
    return str(path)


def paths(table: list[dict[str, Any]]) -> list[str]:
    return [video["path"] for row in table for video in row["videos"]]


def said(table: list[dict[str, Any]]) -> list[list[str]]:
    return [[line["decision"] for line in decisions(path)] for path in paths(table)]


def test_what_is_ticked_is_approved_and_all_others_are_rejected(desk: At, table: list[dict[str, Any]]) -> None:
    one = desk()
    assert one.begin() == "asked"
    assert one.last["options"] == [TICK, NONE]
    assert [name for name in one.last["params"] if name.startswith("video_")] == [f"video_{n}" for n in range(1, 5)]
    assert "product 2" in one.last["body"] and one.told["state"] == "asked"
    found = one.answer(TICK, video_1=True, video_3=True, video_2=False, reason="the good ones")
    assert [[video["path"] for video in row["videos"]] for row in found] == [[paths(table)[0]], [paths(table)[2]]]
    assert [row["row"] for row in found] == [1, 2] and [row["labels"] for row in found] == [{}, {}]
    assert all(row["decision"] == "approved" and row["by"] == ADA and row["reason"] == "the good ones" for row in found)
    # Each entry is what a publish operator takes.
    assert [resolve(json.loads(json.dumps(row))).video.uri for row in found] == [paths(table)[0], paths(table)[2]]
    assert said(table) == [["approved"], ["rejected"], ["approved"], ["rejected"]]
    assert one.told["ticked"] == [1, 3]
    assert [video["decision"] for video in one.told["videos"]] == ["approved", "rejected", "approved", "rejected"]


@pytest.mark.parametrize(("on_reject", "ends"), [("skip", "skipped"), ("fail", "failed")])
def test_reject_all_ends_the_task(desk: At, table: list[dict[str, Any]], on_reject: str, ends: str) -> None:
    one = desk(on_reject=on_reject)
    one.begin()
    found = one.answer(NONE, video_1=True)
    assert found.startswith(f"{ends}: None of 4 videos is published: rejected by Ada")
    assert said(table) == [["rejected"]] * 4 and "return_value" not in one.xcoms


def test_without_an_answer_none_is_published(desk: At, table: list[dict[str, Any]]) -> None:
    one = desk(response_timeout=timedelta(hours=1))
    one.begin()
    assert one.last["defaults"] == [NONE] and "it is not published" in one.last["body"]
    assert "nobody answered until" in one.resume({"error": "too late", "error_type": "timeout"})
    assert said(table) == [["timeout"]] * 4


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "no video is ticked"),
        ({"video_1": False}, "no video is ticked"),
        ({"video_9": True}, "no video is ticked"),
        ({"video_1": True, "video_2": "yes"}, "video 2 is neither"),
        ({"video_1": 1}, "video 1 is neither"),
    ],
)
def test_an_answer_that_cannot_be_used_decides_nothing(
    desk: At, table: list[dict[str, Any]], fields: dict[str, Any], why: str
) -> None:
    one = desk()
    one.begin()
    assert one.answer(TICK, **fields) == "asked"
    assert why in one.told["note"] and why in one.last["body"] and "Nothing was decided" in one.told["note"]
    assert said(table) == [[]] * 4
    assert len(one.answer(TICK, video_4=True)) == 1


def test_nobody_cannot_approve(desk: At, table: list[dict[str, Any]]) -> None:
    one = desk()
    one.begin()
    assert one.answer(TICK, by=None, video_1=True) == "asked"
    assert "only a person can approve" in one.told["note"] and said(table) == [[]] * 4


def test_a_clear_asks_anew_and_the_last_word_counts(desk: At, table: list[dict[str, Any]]) -> None:
    one = desk()
    one.begin()
    assert len(one.answer(TICK, video_1=True)) == 1
    assert one.clear() == "asked"
    assert len(one.answer(TICK, video_2=True)) == 1
    assert said(table) == [["approved", "rejected"], ["rejected", "approved"], ["rejected"] * 2, ["rejected"] * 2]


def test_a_manifest_gets_a_decided_one_beside_it(desk: At, table: list[dict[str, Any]], tmp_path: Path) -> None:
    path = manifest_of(table, tmp_path)
    one = desk(videos={"manifest": path, "rows": 4})
    one.begin()
    found = one.answer(TICK, video_1=True, video_3=True)
    assert [(row["row"], row["labels"]) for row in found] == [(1, {"sku": 1}), (2, {"sku": 2})]
    decided = one.told["manifest"]
    assert decided == str(tmp_path / "manifest.decided.jsonl")
    lines = list(read_manifest(decided))
    assert [[each["decision"] for each in line["decisions"]] for line in lines] == [
        ["approved"],
        ["rejected", "approved"],
        ["rejected"],
    ]
    assert lines[0]["decisions"][0]["by"] == ADA
    # Only what was approved is handed on to the publish operators, each row's single approved video without a choice.
    (parcel,) = posts(decided, caption="{labels[sku]}")
    assert [(row["video"]["path"], row["caption"]) for row in parcel] == [(paths(table)[0], 1), (paths(table)[2], 2)]
    with pytest.raises(InvalidVeoArgument, match="give the batch's own"):
        VideoSheetApprovalOperator(task_id="again", videos=decided)


def test_a_table_with_a_video_made_anew_is_asked_about_anew(desk: At, table: list[dict[str, Any]]) -> None:
    one = desk()
    one.begin()
    one.answer(TICK, video_1=True)
    replaced(table, 0)
    assert one.begin() == "asked"


def replaced(table: list[dict[str, Any]], row: int) -> None:
    """Put another video in the place of a row's."""
    path = Path(table[row]["videos"][0]["path"]).with_name("made-anew.mp4")
    path.write_bytes(b"made anew")
    table[row] = {"videos": [{"path": str(path)}]}


def test_ticks_on_a_video_that_was_made_anew_meanwhile_decide_nothing(desk: At, table: list[dict[str, Any]]) -> None:
    one = desk()
    one.begin()
    before = paths(table)
    replaced(table, 0)
    assert one.answer(TICK, video_1=True) == "asked"
    assert "is about another table" in one.told["note"]
    assert [decisions(path) for path in {*before, *paths(table)}] == [[]] * 5
    # Airflow's form leads to the new one, which is in the same place.
    (row,) = one.answer(TICK, video_1=True)
    assert row["videos"][0]["path"] == paths(table)[0]


def test_a_video_that_is_in_the_table_twice_can_be_asked_about_again(desk: At, table: list[dict[str, Any]]) -> None:
    table.append(table[0])
    one = desk()
    one.begin()
    assert one.begin() == "asked"


@pytest.mark.parametrize("when", ["answer", "retry", "clear"])
@pytest.mark.parametrize("change", ["order", "fewer", "more"])
def test_the_boxes_of_a_form_never_become_those_of_other_rows(
    desk: At, table: list[dict[str, Any]], when: str, change: str
) -> None:
    one = desk()
    one.begin()
    before = paths(table)
    if change == "order":
        table.reverse()
    elif change == "fewer":
        del table[0]
    else:
        table.insert(0, table[2])
    # Airflow goes on showing the first form.
    found = {"answer": lambda: one.answer(TICK, video_1=True), "retry": one.begin, "clear": one.clear}[when]()
    assert found.startswith("failed: ") and "Start a new DAG run" in found
    assert [decisions(path) for path in before] == [[]] * 4


@pytest.mark.parametrize("store", STORES, ids=lambda kept: "state store" if kept else "beside")
def test_killed_at_every_step(
    table: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: bool
) -> None:
    path = manifest_of(table, tmp_path)

    def life(kill: int | None) -> tuple[Any, list[str], Desk]:
        for sidecar in tmp_path.rglob("*.decision.json"):
            sidecar.unlink()
        with monkeypatch.context() as patch:
            steps = Steps(patch)
            steps.kill = kill
            values = {"task_id": f"sheet_{kill}", "videos": path}
            desk = Desk(lambda: VideoSheetApprovalOperator(**values), patch, store=store)
            step: Callable[[], Any] = desk.begin
            for _ in range(9):
                try:
                    found = step()
                except Killed:
                    step = desk.begin
                    continue
                if found != "asked":
                    return found, steps.crossed, desk
                step = lambda: desk.answer(TICK, video_1=True, video_4=True)  # noqa: E731
            raise AssertionError("it does not end")

    _, steps, _ = life(None)
    assert {step.split()[1] for step in steps} >= {"save", "load", "file", "xcom", "asked"}
    for kill in range(len(steps)):
        found, crossed, desk = life(kill)
        assert [row["row"] for row in found] == [1, 3], crossed[kill]
        last = [words[-1] for words in said(table)]
        assert last == ["approved", "rejected", "rejected", "approved"], crossed[kill]
        assert len(list(read_manifest(desk.told["manifest"]))) == 3


@pytest.mark.parametrize(
    ("videos", "why"),
    [
        ([], "0 videos"),
        (["/data/a.mp4"] * 51, "51 videos"),
        ("/data/a.mp4", "a list of 1 to 50"),
        (7, "a list of 1 to 50"),
        (["relative.mp4"], r"videos\[0\]"),
        ([{"videos": []}], r"videos\[0\]"),
        ("{not json", "a list of 1 to 50"),
    ],
)
def test_wrong_tables_are_refused_when_the_dag_is_parsed(videos: Any, why: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=why):
        VideoSheetApprovalOperator(task_id="sheet", videos=videos)


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such manifest"):
        list(rows_of(str(tmp_path / "gone.jsonl")))
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("hello\n")
    with pytest.raises(ConfigurationError, match="is no manifest of a batch"):
        list(rows_of(str(wrong)))
