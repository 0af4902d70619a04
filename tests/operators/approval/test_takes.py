"""Another take is paid for once, under a key of its own, within the budget, and then the person is asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.budget import Budget
from tests.operators.approval.desk import Desk, decisions

At = Callable[..., Desk]


def take(one: Desk) -> Any:
    """Ask for another take, and wait for it."""
    found = one.answer("Another take")
    return one.take() if found == "take under way" else found


def paths(one: Desk) -> list[str]:
    return [video["path"] for video in one.told["videos"]]


def test_one_more_is_paid_for_and_the_person_chooses(desk: At, emulator: Emulator, generated: dict[str, Any]) -> None:
    one = desk(max_takes=3, title="A cat")
    one.begin()
    assert one.form is not None and one.form["options"] == ["Approve", "Reject", "Another take"]
    assert one.form["params"]["video"]["schema"]["enum"] == ["the newest", "1", "2", "3"]
    assert one.answer("Another take") == "take under way"
    assert one.told["state"] == "take_under_way"
    first, second = generated["videos"][0]["path"], None
    # Until somebody approves it, the first one is not to be published.
    assert [line["decision"] for line in decisions(first)] == ["another_take"]
    assert one.take() == "asked"
    assert emulator.state()["paid"] == 2
    first, second = paths(one)
    sidecar = json.loads(Path(f"{second}.json").read_text())
    assert sidecar["seed"] == 42 and sidecar["labels"] == {"sku": "A-1"}
    assert sidecar["airflow"]["task_id"] == "approve" and sidecar["airflow"]["row"].startswith("take 2 of ")
    assert sidecar["idempotency_key"] != json.loads(Path(f"{first}.json").read_text())["idempotency_key"]
    found = one.answer("Approve")
    assert found["chosen"] == 2 and found["takes"] == 2 and found["videos"][0]["path"] == second
    assert [line["decision"] for line in decisions(second)] == ["approved"]
    assert [line["decision"] for line in decisions(first)] == ["another_take", "another_take"]


def test_an_earlier_take_can_be_chosen(desk: At, generated: dict[str, Any]) -> None:
    one = desk(max_takes=2)
    one.begin()
    take(one)
    found = one.answer("Approve", video="1")
    assert found["chosen"] == 1 and found["videos"][0]["path"] == generated["videos"][0]["path"]
    assert decisions(paths(one)[0])[-1]["decision"] == "approved"
    assert decisions(paths(one)[1])[-1]["decision"] == "another_take"


def test_a_rejection_rejects_all_takes(desk: At) -> None:
    one = desk(max_takes=2)
    one.begin()
    take(one)
    assert one.answer("Reject").startswith("skipped")
    assert [decisions(path)[-1]["decision"] for path in paths(one)] == ["rejected", "rejected"]


def test_without_max_takes_there_is_no_such_option(desk: At) -> None:
    one = desk()
    one.begin()
    assert one.form is not None and one.form["options"] == ["Approve", "Reject"]
    assert "Another take" not in one.form["body"]
    # The API checks options against the form. Who gets round it is refused here.
    event = {"chosen_options": ["Another take"], "params_input": {}, "responded_by_user": {"id": "7", "name": "Ada"}}
    assert one.resume(event) == "asked"
    assert "max_takes=1. Nothing was paid" in one.told["note"]


def test_there_are_no_more_than_max_takes(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=2)
    one.begin()
    take(one)
    assert take(one) == "asked"
    assert "there are 2, and max_takes=2. Nothing was paid" in one.told["note"]
    assert emulator.state()["paid"] == 2


def test_a_take_over_the_budget_is_refused_before_it_is_paid(
    desk: At, emulator: Emulator, generated: dict[str, Any]
) -> None:
    cost = generated["cost_usd"]
    one = desk(max_takes=5, max_cost_usd=round(cost * 2.5, 4))
    one.begin()
    assert take(one) == "asked" and one.told["note"] == ""
    assert take(one) == "asked"
    note = one.told["note"]
    assert "the takes so far cost" in note and "max_cost_usd" in note and note.endswith("Nothing was paid")
    assert emulator.state()["paid"] == 2
    assert one.answer("Approve")["takes"] == 2


def test_takes_are_paid_from_a_budget_and_the_person_is_told_when_it_is_used_up(
    desk: At, emulator: Emulator, generated: dict[str, Any], tmp_path: Path
) -> None:
    budget = Budget(round(generated["cost_usd"] * 1.5, 4), "month", str(tmp_path / "budgets"), on_exhausted="wait")
    one = desk(max_takes=5, budget=budget)
    one.begin()
    assert take(one) == "asked" and one.told["note"] == ""
    assert take(one) == "asked"
    note = one.told["note"]
    assert "came to nothing" in note and "USD left" in note and "The budget resets at" in note
    assert emulator.state()["paid"] == 2
    assert one.answer("Approve")["takes"] == 2


def test_without_a_seed_none_is_sent(emulator: Emulator, desk: At, generated: dict[str, Any]) -> None:
    path = Path(f"{generated['videos'][0]['path']}.json")
    sidecar = json.loads(path.read_text())
    del sidecar["request"]["seed"]
    path.write_text(json.dumps(sidecar))
    one = desk(max_takes=2)
    one.begin()
    take(one)
    assert json.loads(Path(f"{paths(one)[1]}.json").read_text())["seed"] is None
    assert emulator.state()["paid"] == 2


def test_without_a_known_request_another_take_is_refused_with_the_way_out(
    desk: At, emulator: Emulator, generated: dict[str, Any]
) -> None:
    Path(f"{generated['videos'][0]['path']}.json").unlink()
    one = desk(max_takes=2)
    one.begin()
    assert take(one) == "asked"
    assert "no sidecar lies beside it" in one.told["note"] and "veo={...}" in one.told["note"]
    assert emulator.state()["paid"] == 1
    two = desk(max_takes=2, veo={"prompt": "another cat", "duration": 4})
    two.begin()
    take(two)
    assert emulator.state()["paid"] == 2


def test_a_take_that_fails_is_not_charged_and_the_person_is_asked(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=3)
    one.begin()
    emulator.fault("submit", "task_fails", times=1)
    assert take(one) == "asked"
    assert "take 2 came to nothing" in one.told["note"]
    # The same take once more: another generation, since the first one was not made.
    assert take(one) == "asked" and one.told["note"] == ""
    assert one.told["takes"] == 2
    assert emulator.state()["paid"] == 2


def test_an_empty_balance_is_told_and_nothing_is_paid(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=3)
    one.begin()
    emulator.fault("submit", "status", status=402, times=1)
    assert take(one) == "asked"
    assert "take 2 came to nothing" in one.told["note"]
    assert take(one) == "asked" and one.told["note"] == ""
    assert emulator.state()["paid"] == 2


def test_a_retry_while_a_take_is_under_way_goes_on_with_it(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=2)
    one.begin()
    assert one.answer("Another take") == "take under way"
    found = one.begin()
    assert found in ("asked", "take under way")
    if found == "take under way":
        one.take()
    assert emulator.state()["paid"] == 2 and one.told["takes"] == 2


def test_a_clear_keeps_the_takes_and_pays_nothing(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=2)
    one.begin()
    take(one)
    one.answer("Reject")
    assert one.clear() == "asked"
    assert len(paths(one)) == 2
    assert take(one) == "asked" and "max_takes=2" in one.told["note"]
    assert emulator.state()["paid"] == 2


def test_a_lost_case_pays_for_no_take_twice(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=2)
    one.begin()
    take(one)
    # Airflow may one day wipe the state store on a clear.
    one.tries.store.values.clear()
    for file in Path(paths(one)[0]).parent.rglob("*.approval.json"):
        file.unlink()
    assert one.clear() == "asked"
    assert len(paths(one)) == 1
    take(one)
    assert len(paths(one)) == 2
    assert emulator.state()["paid"] == 2


def test_two_videos_of_one_task_pay_under_keys_of_their_own(
    desk: At, emulator: Emulator, generated: dict[str, Any], tmp_path: Path
) -> None:
    one = desk(max_takes=2)
    one.begin()
    take(one)
    other = tmp_path / "other" / "clip.mp4"
    other.parent.mkdir()
    other.write_bytes(b"other")
    generated["videos"] = [{"path": str(other)}]
    two = desk(max_takes=2, veo={"prompt": "a cat", "duration": 4, "seed": 41})
    two.tries = one.tries
    two.begin()
    take(two)
    assert emulator.state()["paid"] == 3


# --- what changes while a take is pending -----------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["veo", "sidecar", "no sidecar"])
@pytest.mark.parametrize("moment", ["deferred", "retried", "lost answer"])
def test_a_pending_take_is_the_one_that_was_asked_for(
    desk: At, emulator: Emulator, generated: dict[str, Any], change: str, moment: str
) -> None:
    veo = {"prompt": "a cat", "duration": 4, "seed": 7}
    one = desk(max_takes=2, **({"veo": veo} if change == "veo" else {}))
    one.begin()
    if moment == "lost answer":
        emulator.fault("submit", "drop_after", times=20)
        with pytest.raises(ApimartError):
            one.answer("Another take")
        emulator.clear_faults()
    else:
        assert one.answer("Another take") == "take under way"
    sidecar = Path(f"{generated['videos'][0]['path']}.json")
    if change == "veo":
        one.make = desk(max_takes=2, veo={**veo, "prompt": "a dog"}).make
    elif change == "sidecar":
        content = json.loads(sidecar.read_text())
        content["request"]["prompt"] = "a dog"
        sidecar.write_text(json.dumps(content))
    else:
        sidecar.unlink()
    found = one.take() if moment == "deferred" else one.begin()
    if found == "take under way":
        found = one.take()
    assert found == "asked" and one.told["note"] == "" and one.told["takes"] == 2
    assert emulator.state()["paid"] == 2
    assert json.loads(Path(f"{paths(one)[1]}.json").read_text())["request"]["prompt"] != "a dog"


@pytest.mark.parametrize("paid", [False, True], ids=["not paid yet", "paid for"])
def test_a_lower_max_takes_stops_a_take_that_is_not_paid_for(desk: At, emulator: Emulator, paid: bool) -> None:
    one = desk(max_takes=3)
    one.begin()
    if paid:
        assert one.answer("Another take") == "take under way"
    else:
        emulator.fault("submit", "status", status=429, times=20)
        with pytest.raises(ApimartError):
            one.answer("Another take")
        emulator.clear_faults()
    one.make = desk(max_takes=1).make
    found = one.begin()
    if found == "take under way":
        found = one.take()
    assert found == "asked"
    assert one.told["takes"] == (2 if paid else 1)
    assert ("max_takes=1. Nothing was paid" in one.told["note"]) is not paid
    assert emulator.state()["paid"] == 1 + paid


def test_a_case_of_a_version_that_kept_no_request_goes_on(
    desk: At, emulator: Emulator, generated: dict[str, Any]
) -> None:
    one = desk(max_takes=2)
    one.begin()
    assert one.answer("Another take") == "take under way"
    for kept in one.tries.store.values.values():
        if kept.get("pending"):
            del kept["pending"]["request"]
    for file in Path(generated["videos"][0]["path"]).parent.rglob("*.approval.json"):
        case = json.loads(file.read_text())
        del case["pending"]["request"]
        file.write_text(json.dumps(case))
    assert one.take() == "asked"
    assert one.told["takes"] == 2 and emulator.state()["paid"] == 2


def test_a_request_that_cannot_be_kept_is_refused_before_it_is_paid(desk: At, emulator: Emulator) -> None:
    one = desk(max_takes=2, veo={"prompt": "a cat " * 8000, "duration": 4})
    one.begin()
    assert one.answer("Another take") == "asked"
    assert "too long to be kept" in one.told["note"] and "Nothing was paid" in one.told["note"]
    assert emulator.state()["paid"] == 1
