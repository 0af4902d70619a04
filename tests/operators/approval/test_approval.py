"""A person's answer decides whether a video can be published, and nothing else does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.approval import VideoApprovalOperator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.videos import resolve
from tests.operators.approval.desk import ADA, Desk, decisions

At = Callable[..., Desk]


def path_of(generated: dict[str, Any]) -> str:
    return str(generated["videos"][0]["path"])


def test_an_approval_hands_the_video_on_with_the_texts_as_they_were_left(desk: At, generated: dict[str, Any]) -> None:
    one = desk(title="A cat", description="It walks.", caption=None)
    assert one.begin() == "asked"
    assert one.told["state"] == "asked" and "return_value" not in one.xcoms
    found = one.answer("Approve", title="A black cat", description="It walks.", reason="nice")
    video = generated["videos"][0]
    assert found["decision"] == "approved" and found["by"] == ADA
    assert (found["title"], found["description"], found["caption"]) == ("A black cat", "It walks.", None)
    assert found["changes"] == {"title": "A black cat"} and found["reason"] == "nice"
    assert found["cost_usd"] == generated["cost_usd"] and found["generation_id"] == generated["generation_id"]
    assert found["videos"] == [{**video, "url": None, "expires_at": None}]
    assert resolve(json.loads(json.dumps(found))).video.sha256 == video["sha256"]
    (written,) = decisions(path_of(generated))
    assert written["decision"] == "approved" and written["by"] == ADA and written["video_sha256"] == video["sha256"]
    assert written["changes"] == {"title": "A black cat"}
    assert {name: written[name] for name in ("dag_id", "run_id", "task_id", "map_index")} == {
        "dag_id": "a_dag",
        "run_id": "a_run",
        "task_id": "approve",
        "map_index": -1,
    }
    assert one.told["state"] == "decided" and one.told["decision"]["decision"] == "approved"


@pytest.mark.parametrize(("on_reject", "ends"), [("skip", "skipped"), ("fail", "failed")])
def test_a_rejection_ends_the_task_by_raising(desk: At, generated: dict[str, Any], on_reject: str, ends: str) -> None:
    one = desk(on_reject=on_reject)
    one.begin()
    found = one.answer("Reject", reason="wrong logo")
    assert found.startswith(f"{ends}: The video is not published: rejected by Ada (id 7) at ")
    assert "'wrong logo'" in found and path_of(generated) in found
    assert [line["decision"] for line in decisions(path_of(generated))] == ["rejected"]
    assert one.told["decision"]["decision"] == "rejected" and "return_value" not in one.xcoms


@pytest.mark.parametrize(
    "event",
    [
        {"error": "too late", "error_type": "timeout"},
        {"chosen_options": ["Reject"], "params_input": {}, "responded_by_user": None, "timedout": True},
        {"chosen_options": ["Reject"], "params_input": {}, "responded_by_user": None},
    ],
    ids=["error", "default", "default of an older provider"],
)
def test_without_an_answer_in_time_it_is_not_published(desk: At, generated: dict[str, Any], event: Any) -> None:
    one = desk(response_timeout=timedelta(hours=1))
    one.begin()
    assert one.last["defaults"] == ["Reject"]
    assert "Without an answer until " in one.last["body"] and "it is not published" in one.last["body"]
    assert "nobody answered until" in one.resume(event)
    assert [line["decision"] for line in decisions(path_of(generated))] == ["timeout"]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"chosen_options": ["Approve"], "params_input": {"title": 7}}, "title has to be text, not int"),
        ({"chosen_options": ["Approve"], "params_input": {"title": "x" * 301}}, "title has 301 characters"),
        ({"chosen_options": ["Approve"], "params_input": {"video": "2"}}, "there is no video '2'"),
        ({"chosen_options": ["Approve"], "params_input": ["x"]}, "fields are no object"),
        ({"chosen_options": ["Publish!"], "params_input": {}}, "chose no option"),
        ({"chosen_options": [], "params_input": {}}, "chose no option"),
        ({"error": "title is too long", "error_type": "validation"}, "title is too long"),
        ("nonsense", "no answer"),
        (None, "no answer"),
    ],
)
def test_an_answer_that_cannot_be_used_decides_nothing_and_is_asked_for_again(
    desk: At, generated: dict[str, Any], event: Any, why: str
) -> None:
    one = desk(title="A cat")
    one.begin()
    if isinstance(event, dict) and "error" not in event:
        event = {**event, "responded_by_user": ADA}
    assert one.resume(event) == "asked"
    assert why in one.told["note"] and "Nothing was decided" in one.told["note"]
    assert why in one.last["body"]
    assert one.operator is not None and why in one.operator.note
    assert decisions(path_of(generated)) == []
    assert one.answer("Approve")["title"] == "A cat"


def test_nobody_cannot_approve(desk: At, generated: dict[str, Any]) -> None:
    one = desk()
    one.begin()
    assert one.answer("Approve", by=None) == "asked"
    assert "only a person can approve" in one.told["note"]
    assert decisions(path_of(generated)) == []


def test_fields_that_were_not_sent_keep_their_text_and_unknown_ones_are_ignored(desk: At) -> None:
    one = desk(title="A cat", caption="Meow")
    one.begin()
    found = one.answer("Approve", caption=None, stars=99)
    assert (found["title"], found["caption"], found["description"]) == ("A cat", "", None)
    assert found["changes"] == {"caption": ""}


def test_a_retry_after_the_decision_repeats_it_without_asking(desk: At, generated: dict[str, Any]) -> None:
    one = desk(title="A cat")
    one.begin()
    found = one.answer("Approve", title="Another title")
    assert one.begin() == found
    assert len(one.asked) == 1 and len(decisions(path_of(generated))) == 1


def test_a_retry_before_the_decision_asks_again(desk: At) -> None:
    one = desk()
    one.begin()
    assert one.begin() == "asked"
    assert len(one.asked) == 2


def test_a_clear_asks_anew_and_the_last_word_counts(desk: At, generated: dict[str, Any]) -> None:
    one = desk()
    one.begin()
    one.answer("Reject")
    assert one.clear() == "asked"
    assert one.told["decision"] is None
    assert one.answer("Approve")["decision"] == "approved"
    assert [line["decision"] for line in decisions(path_of(generated))] == ["rejected", "approved"]


def test_another_video_is_another_question(desk: At, generated: dict[str, Any]) -> None:
    one = desk()
    one.begin()
    one.answer("Approve")
    path = Path(path_of(generated))
    path.write_bytes(b"another content")
    path.with_name(f"{path.name}.json").unlink()
    generated["videos"][0].update(bytes=None, sha256=None)
    assert one.begin() == "asked"


@pytest.mark.parametrize("option", ["Approve", "Reject", "Another take"])
def test_an_answer_about_a_video_that_was_replaced_meanwhile_decides_nothing(
    desk: At, generated: dict[str, Any], emulator: Emulator, option: str
) -> None:
    paid = emulator.state()["paid"]
    path = Path(path_of(generated))
    one = desk(video=str(path), max_takes=2)
    assert one.begin() == "asked"
    path.write_bytes(b"another content, which nobody has seen")
    path.with_name(f"{path.name}.json").unlink()
    assert one.answer(option) == "asked"
    assert "is about another video" in one.told["note"] and "Nothing was decided" in one.told["note"]
    assert decisions(str(path)) == [] and emulator.state()["paid"] == paid
    # The second answer is about what is shown now.
    assert one.answer("Approve")["video_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_answer_to_a_question_that_nobody_remembers_decides_nothing(desk: At, generated: dict[str, Any]) -> None:
    one = desk()
    one.begin()
    one.tries.store.values.clear()
    for file in Path(path_of(generated)).parent.rglob("*.approval.json"):
        file.unlink()
    assert one.answer("Approve") == "asked"
    assert decisions(path_of(generated)) == []


def test_several_videos_of_a_generation_are_chosen_from(desk: At, generated: dict[str, Any], tmp_path: Path) -> None:
    second = tmp_path / "second.mp4"
    second.write_bytes(b"second")
    both = {**generated, "videos": [*generated["videos"], {"path": str(second)}]}
    one = desk(video=both)
    one.begin()
    assert one.last["params"]["video"]["schema"]["enum"] == ["the newest", "1", "2"]
    assert one.answer("Approve") == "asked"
    assert "choose one by its number (1, 2)" in one.told["note"]
    found = one.answer("Approve", video="2")
    assert found["chosen"] == 2 and found["videos"][0]["path"] == str(second)
    assert [line["decision"] for line in decisions(str(second))] == ["approved"]
    assert [line["decision"] for line in decisions(path_of(generated))] == ["another_take"]
    assert desk(video=both, sample=1).begin() == "asked"


def test_a_case_that_cannot_be_read_is_no_new_case(desk: At, generated: dict[str, Any]) -> None:
    one = desk()
    one.begin()
    for key in list(one.tries.store.values):
        one.tries.store.values[key] = {"version": 2}
    for file in Path(path_of(generated)).parent.rglob("*.approval.json"):
        file.write_text('{"version": 2}')
    assert "cannot be read" in one.begin()
    assert len(one.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"title": "x" * 301}, "title='301 characters'"),
        ({"title": 7}, "title=7"),
        ({"on_reject": "ignore"}, "on_reject='ignore'"),
        ({"max_takes": 0}, "max_takes=0: allowed: a whole number, 1 to 5"),
        ({"max_takes": 6}, "max_takes=6"),
        ({"max_cost_usd": -1}, "max_cost_usd=-1"),
        ({"veo": {"prompt": "x", "duration": 5}}, r"veo\['duration'\]=5"),
        ({"video": "clip.mp4"}, "video='clip.mp4'"),
        ({"video": {"videos": []}}, "has no video"),
        ({"video": "{not json"}, "video='{not json'"),
        ({"output_path": "videos/"}, "output_path='videos/'"),
        ({"timeout": 0}, "timeout=0"),
    ],
)
def test_bad_arguments_are_refused_when_the_dag_is_parsed(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=why):
        VideoApprovalOperator(**{"task_id": "approve", "video": "/data/clip.mp4", **arguments})


@pytest.mark.parametrize("name", ["options", "defaults", "multiple", "params"])
def test_the_form_is_our_own(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name}= cannot be given"):
        VideoApprovalOperator(task_id="approve", video="/data/clip.mp4", **{name: {"x": 1}})


def test_nothing_is_paid_by_asking(desk: At, emulator: Emulator) -> None:
    paid = emulator.state()["paid"]
    one = desk(max_takes=3)
    one.begin()
    one.answer("Approve")
    assert emulator.state()["paid"] == paid == 1
