"""The bill beside what tasks have written down: each generation once, on its day, and no difference explained away."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_apimart.client.usage import Usage
from airflow_provider_apimart.generation.audit.comparison import Audit, compare
from airflow_provider_apimart.generation.audit.entries import Entry, Standing, each_once, of_line, of_record, of_told
from airflow_provider_apimart.generation.purchase.record import Previous, Record, RecordState

DAY = date(2026, 11, 25)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
FAST = "veo3.1-fast"


def entry(name: str, **values: Any) -> Entry:
    given = {"model": FAST, "standing": Standing.BILLED, "at": NOON, "usd": Decimal("0.14"), "where": "a / b / c"}
    return Entry(id=name, **{**given, **values})


def billed(usd: str, requests: int, model: str = FAST, day: date = DAY) -> Usage:
    return Usage(day=day, model=model, usd=Decimal(usd), requests=requests)


def audit(bill: list[Usage], *entries: Entry) -> Audit:
    return compare(bill, each_once(entries), DAY, DAY)


def test_a_bill_of_what_was_asked_for_agrees() -> None:
    found = audit([billed("0.28", 2)], entry("one"), entry("two"))
    assert found.differing() == []
    (line,) = found.lines
    assert (line.known, line.known_usd, line.difference_usd) == (2, Decimal("0.28"), 0)


@pytest.mark.parametrize(
    ("bill", "difference"),
    [
        ([billed("0.42", 3)], "0.14"),  # one more than anybody knows of
        ([billed("0.14", 1)], "-0.14"),  # one is not on it
        ([], "-0.28"),
        ([billed("0.31", 2)], "0.03"),  # another price
        ([billed("0.28", 1)], "0"),  # the same money for another number
    ],
)
def test_a_difference_in_number_or_money_is_told(bill: list[Usage], difference: str) -> None:
    (line,) = audit(bill, entry("one"), entry("two")).differing()
    assert line.difference_usd == Decimal(difference)


def test_rounding_is_no_difference() -> None:
    assert audit([billed("0.285", 2)], entry("one"), entry("two")).differing() == []
    assert audit([billed("0.285", 2)], entry("one"), entry("two")).differing(Decimal("0.001"))


def test_without_a_known_cost_the_number_counts() -> None:
    assert audit([billed("0.28", 2)], entry("one"), entry("two", usd=None)).differing() == []
    assert len(audit([billed("0.28", 2)], entry("one", usd=None)).differing()) == 1


def test_what_is_open_is_told_and_not_counted() -> None:
    found = audit([billed("0.28", 2)], entry("one"), entry("two", standing=Standing.OPEN, usd=None))
    (line,) = found.differing()
    assert [one.id for one in line.open] == ["two"] and line.known == 1


def test_what_was_not_charged_is_not_on_the_bill() -> None:
    assert audit([], entry("one", standing=Standing.FREE, usd=None)).lines == ()


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (datetime(2026, 11, 25, tzinfo=UTC), True),
        (datetime(2026, 11, 25, 23, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 26, tzinfo=UTC), False),
        (datetime.fromisoformat("2026-11-26T08:59:00+09:00"), True),
        (None, False),
    ],
)
def test_days_are_those_of_utc(at: datetime | None, counts: bool) -> None:
    assert bool(audit([], entry("one", at=at)).lines) is counts


def test_other_models_are_told_apart() -> None:
    bill = [billed("0.14", 1), billed("1", 2, "gpt-image-2"), billed("2", 3, "gpt-image-2"), billed("9", 1, "VEO9")]
    found = audit(bill, entry("one"))
    assert {name: (one.usd, one.requests) for name, one in found.others.items()} == {"gpt-image-2": (Decimal(3), 5)}
    # A Veo model that nobody has asked for is what an audit is for.
    assert [(line.model, line.billed) for line in found.differing()] == [("VEO9", 1)]


# --- what is known ----------------------------------------------------------------------------------------------------


def record(state: RecordState = RecordState.LANDED, **values: Any) -> Record:
    given: dict[str, Any] = {
        "state": state,
        "fingerprint": "f",
        "idempotency_key": "key-1",
        "epoch": 0,
        "number": 1,
        "model": FAST,
        "account": "mark",
        "intent_at": NOON,
        "generation_id": "task_1",
        "asked_by": {"dag_id": "a", "run_id": "b", "task_id": "c", "map_index": 3},
        **values,
    }
    return Record(**given)


@pytest.mark.parametrize(
    ("values", "standing"),
    [
        ({"state": RecordState.LANDED}, Standing.BILLED),
        ({"state": RecordState.SUBMITTED}, Standing.OPEN),
        ({"state": RecordState.SUBMITTED, "completed_at": NOON}, Standing.BILLED),
        ({"state": RecordState.INTENT, "generation_id": None}, Standing.OPEN),
        ({"state": RecordState.REFUSED}, Standing.FREE),
        ({"state": RecordState.FAILED, "completed_at": NOON}, Standing.FREE),
        ({"state": RecordState.REJECTED}, Standing.FREE),
        ({"state": RecordState.MODEL_GONE}, Standing.FREE),
    ],
)
def test_a_record_says_whether_it_was_billed(values: dict[str, Any], standing: Standing) -> None:
    (found,) = of_record(record(**values))
    assert found.standing is standing
    assert found.where == "a / b / c [3]" and found.account == "mark"
    assert found.id == ("key-1" if values["state"] is RecordState.INTENT else "task_1")


def test_a_record_tells_of_the_generations_before_it() -> None:
    before = Previous(
        generation_id="task_0", idempotency_key="key-0", state=RecordState.LANDED, model=FAST, submitted_at=NOON
    )
    failed = before.model_copy(update={"generation_id": "task_f", "state": RecordState.FAILED})
    found = list(of_record(record(cost_usd=0.14, previous=(before, failed))))
    assert [(one.id, one.standing, one.usd) for one in found] == [
        ("task_1", Standing.BILLED, Decimal("0.14")),
        ("task_0", Standing.BILLED, None),
        ("task_f", Standing.FREE, None),
    ]


LINE = {
    "row": 7,
    "outcome": "landed",
    "generation_id": "task_1",
    "request": {"model": FAST},
    "cost_usd": 0.14,
    "completed_at": "2026-11-25T12:00:00Z",
}


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        ({}, Standing.BILLED),
        ({"outcome": "check_failed"}, Standing.BILLED),
        ({"outcome": "unlanded"}, Standing.BILLED),
        ({"outcome": "parked"}, Standing.OPEN),
        ({"outcome": "unknown", "generation_id": None, "idempotency_key": "k"}, Standing.OPEN),
        ({"outcome": "empty"}, Standing.OPEN),
        ({"outcome": "failed"}, Standing.FREE),
        ({"outcome": "a later version's"}, Standing.FREE),
    ],
)
def test_a_row_of_a_manifest_says_whether_it_was_billed(change: dict[str, Any], standing: Standing) -> None:
    found = of_line({**LINE, **change}, "/m.jsonl")
    assert found is not None and found.standing is standing
    assert (found.model, found.at, found.where) == (FAST, NOON, "/m.jsonl, row 7")


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"generation_id": 7},
        {**LINE, "generation_id": None},
        {"outcome": "left", "generation_id": None, "idempotency_key": None},
    ],
)
def test_a_row_without_a_generation_is_none(line: dict[str, Any]) -> None:
    assert of_line(line, "/m.jsonl") is None


@pytest.mark.parametrize("junk", [True, "much", "NaN", "Infinity", [], {}, None])
def test_what_is_no_cost_is_not_known(junk: Any) -> None:
    found = of_line({**LINE, "cost_usd": junk, "completed_at": junk, "request": junk}, "/m.jsonl")
    assert found is not None and (found.usd, found.at, found.model) == (None, None, "")


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        ({"status": "completed"}, Standing.BILLED),
        ({"outcome": "completed"}, Standing.BILLED),
        ({"outcome": "running"}, Standing.OPEN),
        ({"outcome": "parked"}, Standing.OPEN),
        ({"outcome": "failed"}, Standing.FREE),
        ({}, Standing.FREE),
    ],
)
def test_a_note_or_a_result_says_whether_it_was_billed(told: dict[str, Any], standing: Standing) -> None:
    found = of_told({"generation_id": "task_1", "model": FAST, "cost_usd": 0.14, **told}, "a / b / c")
    assert found is not None and found.standing is standing
    assert of_told({**told, "generation_id": None}, "a") is None


def test_a_generation_that_several_tell_of_counts_once() -> None:
    note = entry("one", standing=Standing.OPEN, usd=None, at=None)
    kept = entry("one", account="mark", model="")
    twin = entry("one", usd=Decimal(0))
    for order in ((note, kept, twin), (twin, kept, note), (kept, twin, note)):
        (found,) = each_once(order)
        assert (found.standing, found.usd, found.account, found.model) == (
            Standing.BILLED,
            Decimal("0.14"),
            "mark",
            FAST,
        )
