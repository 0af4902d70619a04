"""An approval task's page: the question, every take, and who decided what."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import Rows
from tests.ui.conftest import Client

PLACE = Place("mine", "manual__2026-11-26T14:00:00+00:00", "approve", 2)
OPERATOR = "VideoApprovalOperator"
CONTENT = b"\x00\x00\x00\x18ftypmp42"


def url(route: str, *more: object) -> str:
    ids = (PLACE.dag_id, PLACE.run_id, PLACE.task_id, PLACE.map_index, *more)
    return f"/apimart/{route}/" + "/".join(quote(str(each), safe="") for each in ids)


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    """What the task pushes while it waits: two takes, of which the first has two videos."""
    videos = []
    for n, take in enumerate((1, 1, 2), start=1):
        path = tmp_path / f"take-{n}.mp4"
        path.write_bytes(CONTENT + bytes([n]))
        videos.append({"n": n, "take": take, "path": str(path), "generation_id": f"task_{take}", "cost_usd": 0.4})
    return {
        "version": 1,
        "state": "asked",
        "note": "Take 2 is ready.",
        "asked_at": "2026-11-26T14:00:00Z",
        "takes": 2,
        "max_takes": 3,
        "prompt": "a cat",
        "videos": videos,
        "decision": None,
        "chosen": None,
    }


def decided(asked: dict[str, Any], word: str, **more: Any) -> dict[str, Any]:
    decision = {"decision": word, "by": {"id": "7", "name": "Kim"}, "at": "2026-11-26T15:00:00Z", "changes": {}, **more}
    return {**asked, "state": "decided", "note": "", "decision": decision, "chosen": 3 if word == "approved" else None}


def test_a_question_shows_all_takes_and_what_they_cost(client: Client, rows: Rows, asked: dict[str, Any]) -> None:
    rows.task(PLACE, operator=OPERATOR, state="awaiting_input", approval=asked)
    browser = client("admin")
    found = browser.get(url("api/task")).json()
    assert (found["kind"], found["outcome"], found["prompt"], found["clear"]) == ("approval", "running", "a cat", None)
    assert found["cost_usd"] == pytest.approx(0.8)
    assert [video["n"] for video in found["videos"]] == [1, 2, 3]
    assert found["approval"]["decision"] is None
    assert (found["approval"]["state"], found["approval"]["note"]) == ("asked", "Take 2 is ready.")
    assert (found["approval"]["takes"], found["approval"]["max_takes"]) == (2, 3)
    assert browser.get(url("video", 3)).content == CONTENT + bytes([3])
    assert browser.get(url("video", 4)).status_code == 404


def test_a_decision_says_who_when_and_what_was_changed(client: Client, rows: Rows, asked: dict[str, Any]) -> None:
    told = decided(asked, "approved", changes={"title": "Run"}, reason=None)
    chosen = {"decision": "approved", "videos": [asked["videos"][2]]}
    rows.task(PLACE, operator=OPERATOR, approval=told, return_value=chosen)
    found = client("admin").get(url("api/task")).json()
    assert (found["outcome"], found["generation_id"], len(found["videos"])) == ("completed", "task_2", 3)
    approval = found["approval"]
    assert (approval["decision"], approval["by"], approval["chosen"]) == ("approved", "Kim", 3)
    assert (approval["at"], approval["changes"]) == ("2026-11-26T15:00:00Z", {"title": "Run"})


@pytest.mark.parametrize(("word", "state"), [("rejected", "skipped"), ("rejected", "failed"), ("timeout", "skipped")])
def test_no_is_an_answer_and_no_failure(
    client: Client, rows: Rows, asked: dict[str, Any], word: str, state: str
) -> None:
    rows.task(PLACE, operator=OPERATOR, state=state, approval=decided(asked, word, reason="too dark"))
    found = client("admin").get(url("api/task")).json()
    assert (found["outcome"], found["error"]) == ("completed", None)
    assert (found["approval"]["decision"], found["approval"]["reason"]) == (word, "too dark")


def test_clearing_while_a_take_is_paid_for_may_pay(client: Client, rows: Rows, asked: dict[str, Any]) -> None:
    rows.task(PLACE, operator=OPERATOR, state="failed", approval={**asked, "state": "take_under_way"})
    assert client("admin").get(url("api/task")).json()["clear"] == {"pays": None}


def test_an_xcom_of_that_name_of_another_task_is_not_believed(
    client: Client, rows: Rows, asked: dict[str, Any]
) -> None:
    rows.task(PLACE, operator="PythonOperator", approval=asked)
    assert client("admin").get(url("api/task")).json() == {"kind": "none"}
    assert client("admin").get(url("video", 1)).status_code == 404


@pytest.mark.parametrize("broken", [{"videos": 3}, {"videos": [3, {}]}, {"decision": "x", "videos": []}, [], "no"])
def test_what_cannot_be_read_is_left_out(client: Client, rows: Rows, broken: Any) -> None:
    rows.task(PLACE, operator=OPERATOR, state="awaiting_input", approval=broken)
    answer = client("admin").get(url("api/task"))
    assert answer.status_code == 200
    assert answer.json()["kind"] == "approval"


def test_who_may_not_read_the_dag_sees_no_question(client: Client, rows: Rows, asked: dict[str, Any]) -> None:
    rows.task(PLACE, operator=OPERATOR, state="awaiting_input", approval=asked)
    for user, status in (("none", 403), (None, 401)):
        for path in (url("api/task"), url("video", 1), url("poster", 1)):
            assert client(user).get(path).status_code == status, (user, path)
