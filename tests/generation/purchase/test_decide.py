"""The table of decide.py, row by row, and its safety over everything that can be asked of it."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE, Action, Decision, Policy, decide, judge
from airflow_provider_apimart.generation.purchase.record import Record, RecordState
from tests.generation.records import NOW, record, view

SUBMIT, RESEND, WAIT, LAND = Action.SUBMIT, Action.RESEND, Action.WAIT, Action.LAND
KEEP, FAIL, REFUSE = Action.KEEP, Action.FAIL, Action.REFUSE
REGENERATE = Policy(on_clear="regenerate")


def ask(known: Record | None, saw: str | None = None, policy: Policy | None = None, **values: Any) -> Decision:
    defaults: dict[str, Any] = {"fingerprint": "same", "clear_epoch": 0, "now": NOW, "account": "aa"}
    seen = None if saw is None else view(saw)
    return decide(known, view=seen, policy=policy or Policy(), **{**defaults, **values})


@pytest.mark.parametrize(
    ("known", "saw", "options", "action", "number", "error"),
    [
        pytest.param(None, None, {}, SUBMIT, 1, None, id="nothing is recorded"),
        pytest.param(record(number=3), "completed", {"fingerprint": "x"}, SUBMIT, 1, None, id="another request"),
        pytest.param(
            record(number=3), "completed", {"policy": REGENERATE, "clear_epoch": 2}, SUBMIT, 1, None, id="regenerate"
        ),
        pytest.param(record(), "running", {"clear_epoch": 2}, WAIT, None, None, id="cleared, reuse"),
        pytest.param(
            record("intent"),
            None,
            {"policy": Policy(on_unknown_submit="fail")},
            REFUSE,
            None,
            errors.GenerationRefusedError,
            id="intent, fail",
        ),
        pytest.param(
            record("intent", intent_at=NOW - KEY_LIFE), None, {}, REFUSE, None, errors.GenerationRefusedError, id="old"
        ),
        pytest.param(
            record("intent", account="bb"), None, {}, REFUSE, None, errors.GenerationRefusedError, id="another account"
        ),
        pytest.param(record("intent", number=4, epoch=2), None, {}, RESEND, 4, None, id="intent"),
        pytest.param(
            record("intent", intent_at=NOW - KEY_LIFE + timedelta(seconds=1)),
            None,
            {},
            RESEND,
            1,
            None,
            id="just alive",
        ),
        pytest.param(record("refused", number=2), None, {}, SUBMIT, 2, None, id="refused"),
        pytest.param(record(), None, {}, WAIT, None, None, id="no answer"),
        pytest.param(record(), "running", {}, WAIT, None, None, id="not finished"),
        pytest.param(record(), "completed", {}, LAND, None, None, id="completed"),
        pytest.param(record(), "empty", {}, WAIT, None, None, id="empty"),
        pytest.param(record(), "rejected", {}, FAIL, None, errors.ContentRejectedError, id="rejected now"),
        pytest.param(record(number=2), "failed", {}, SUBMIT, 3, None, id="failed now"),
        pytest.param(record("failed", number=2), None, {}, SUBMIT, 3, None, id="failed"),
        pytest.param(record("rejected"), None, {}, REFUSE, None, errors.ContentRejectedError, id="rejected"),
        pytest.param(record("landed"), "completed", {"files_whole": True}, KEEP, None, None, id="landed, whole"),
        pytest.param(record("landed"), None, {"files_whole": True}, KEEP, None, None, id="landed, whole, no answer"),
        pytest.param(record("landed"), "completed", {}, LAND, None, None, id="landed, gone"),
        pytest.param(record("landed"), None, {}, WAIT, None, None, id="landed, gone, no answer"),
        pytest.param(
            record("landed"), "expired", {}, REFUSE, None, errors.GenerationRefusedError, id="landed, gone, expired"
        ),
    ],
)
def test_each_row_of_the_table(
    known: Record | None,
    saw: str | None,
    options: dict[str, Any],
    action: Action,
    number: int | None,
    error: type[Exception] | None,
) -> None:
    decision = ask(known, saw, **options)
    assert decision.action is action
    assert number is None or decision.number == number
    assert type(decision.error) is (error or type(None))
    assert decision.reason


def test_a_resend_keeps_the_epoch_and_the_number_of_the_intent() -> None:
    decision = ask(record("intent", epoch=7, number=5), policy=REGENERATE, clear_epoch=7)
    assert (decision.action, decision.epoch, decision.number) == (RESEND, 7, 5)


def test_with_reuse_the_clear_counter_stays_out_of_the_key() -> None:
    assert ask(None, clear_epoch=5).epoch == 0
    assert ask(None, clear_epoch=5, policy=REGENERATE).epoch == 5


def test_a_clear_that_was_gone_on_with_is_no_clear_any_more() -> None:
    gone_on = record(epoch=0, clear_epoch=4)
    assert ask(gone_on, "running", REGENERATE, clear_epoch=4).action is WAIT
    assert ask(gone_on, "running", REGENERATE, clear_epoch=5).action is SUBMIT


def test_an_older_epoch_is_no_clear() -> None:
    """A try that outlived its clear, or ``retries`` raised in the DAG file, must not pay."""
    assert ask(record(epoch=3), "running", REGENERATE, clear_epoch=2).action is WAIT


def test_a_rejection_that_was_billed_does_not_claim_otherwise() -> None:
    billed = ask(record("rejected", cost_usd=0.64, note="prohibited use policy"))
    assert billed.action is REFUSE
    assert "billed with 0.64 USD" in str(billed.error) and "not charged" not in str(billed.error)


# --- judge: the try that has waited -------------------------------------------------------------------------------


def test_a_failure_ends_the_try_that_saw_it() -> None:
    decision = judge(record(), view("failed"))
    assert decision.action is FAIL
    assert isinstance(decision.error, errors.GenerationFailedError) and not decision.error.terminal
    assert "task_1" in str(decision.error) and "no capacity" in str(decision.error)
    assert "not charged" in str(decision.error) and "next try submits a new one" in str(decision.error)


def test_a_completed_one_without_a_video_says_first_that_a_clear_asks_again() -> None:
    decision = judge(record(), view("empty"))
    assert decision.action is FAIL
    assert isinstance(decision.error, errors.EmptyResultError) and decision.error.terminal
    text = str(decision.error)
    assert "task_1" in text and "billed with 0.64 USD" in text
    assert -1 < text.index("A clear asks again without paying") < text.index("support") < text.index("regenerate")


def test_a_text_beside_a_completed_one_does_not_make_it_a_refusal() -> None:
    """It may have been billed, and its video may still come: the record has to go on asking."""
    data = {"status": "completed", "error_message": "The prompt may violate the Prohibited Use Policy", "result": {}}
    told = Generation.read(data, "task_1")
    for seen in (told, told.model_copy(update={"rejected": True})):
        assert isinstance(judge(record(), seen).error, errors.EmptyResultError)


def test_a_refusal_promises_nothing_and_says_how_to_try_again() -> None:
    message = "Try rephrasing the prompt. Support codes: 29310472."
    now = judge(record(), view("rejected", error_message=message))
    later = ask(record("rejected", note=message))
    for decision in (now, later):
        text = str(decision.error)
        assert "29310472 (Google's support code stands for: celebrity). Rejected" in text
        assert "change the prompt" in text and 'on_clear="regenerate"' in text
        assert "would be refused again" not in text


@pytest.mark.parametrize("saw", ["completed", "expired"])
def test_what_is_completed_is_landed(saw: str) -> None:
    assert judge(record(), view(saw)).action is LAND


def test_a_model_that_is_gone_is_asked_for_again_only_if_that_costs_nothing() -> None:
    refused = record("model_gone", generation_id=None, epoch=2, number=3)
    assert (ask(refused).action, ask(refused).epoch, ask(refused).number) == (SUBMIT, 2, 3)
    for decision in (ask(record("model_gone")), judge(record(), view("gone"))):
        assert isinstance(decision.error, errors.GenerationModelGoneError) and decision.error.terminal
        assert "not charged" in str(decision.error) and "fallback_model=" in str(decision.error)


@pytest.mark.parametrize("saw", ["failed", "rejected", "empty", "gone"])
def test_whatever_is_said_of_a_landed_generation_does_not_free_another(saw: str) -> None:
    decision = judge(record("landed"), view(saw))
    assert decision.action is REFUSE and decision.error is not None and decision.error.terminal
    assert "task_1" in str(decision.error) and "Nothing was paid again" in str(decision.error)


# --- everything ---------------------------------------------------------------------------------------------------

VIEWS = (None, "running", "completed", "expired", "empty", "rejected", "failed", "gone")
AGES = (timedelta(0), KEY_LIFE - timedelta(seconds=1), KEY_LIFE, timedelta(days=40), timedelta(minutes=-5))
EVERYTHING = list(
    itertools.product(
        (None, *RecordState),
        VIEWS,
        ("same", "other"),
        ("reuse", "regenerate"),
        (-1, 0, 1),
        ("resend", "fail"),
        AGES,
        (True, False),
        (None, "aa", "bb"),
    )
)


def test_nothing_that_can_be_asked_pays_without_a_reason() -> None:
    seen: set[Action] = set()
    for state, saw, fingerprint, on_clear, later, on_unknown, age, whole, account in EVERYTHING:
        known = state and record(state, epoch=3, number=2, intent_at=NOW - age, account=account)
        policy = Policy(on_clear=on_clear, on_unknown_submit=on_unknown)  # type: ignore[arg-type]
        case = (state, saw, fingerprint, on_clear, later, on_unknown, age, whole, account)
        decision = ask(known, saw, policy, fingerprint=fingerprint, clear_epoch=3 + later, files_whole=whole)
        seen.add(decision.action)
        check_money(decision, known, case)
        if decision.action in (FAIL, REFUSE):
            check_text(decision, known, case)
        else:
            assert decision.error is None, case
    assert len(EVERYTHING) == 46_080
    assert seen == set(Action)


def check_money(decision: Decision, known: Record | None, case: tuple[Any, ...]) -> None:
    _, saw, fingerprint, on_clear, later, on_unknown, age, whole, account = case
    regenerated = on_clear == "regenerate" and later > 0
    new_request = known is None or fingerprint == "other" or regenerated
    if decision.action is SUBMIT:
        if new_request:
            assert decision.number == 1, case
            assert decision.epoch == (3 + later if on_clear == "regenerate" else 0), case
            return
        assert known is not None and decision.epoch == known.epoch, case
        failed = known.state is RecordState.FAILED or (known.state is RecordState.SUBMITTED and saw == "failed")
        gone = known.state is RecordState.MODEL_GONE and known.generation_id is None
        refused = known.state is RecordState.REFUSED or gone
        assert (failed and decision.number == known.number + 1) or (refused and decision.number == known.number), case
    elif decision.action is RESEND:
        assert known is not None and known.state is RecordState.INTENT and not new_request, case
        assert (decision.epoch, decision.number) == (known.epoch, known.number), case
        assert on_unknown == "resend" and age < KEY_LIFE and account in (None, "aa"), case
    else:
        assert known is not None, case
        if decision.action is KEEP:
            assert known.state is RecordState.LANDED and whole, case
        if decision.action is LAND:
            assert saw in ("completed", "expired"), case


def check_text(decision: Decision, known: Record | None, case: tuple[Any, ...]) -> None:
    """What happened, to which generation, what became of the money, and what to do next."""
    error = decision.error
    assert error is not None and known is not None and error.terminal, case
    text = str(error)
    assert (known.generation_id or known.idempotency_key) in text, text
    assert any(word in text for word in ("charged", "billed", "pay twice", "paid again")), text
    assert any(word in text for word in ("change the prompt", "on_clear=", "look in APIMart's console")), text
    assert "None" not in text, text
