"""A generation is paid for once: every answer to the paid call, changed inputs and clears, against the emulator."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import Charge
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.purchase import kept
from airflow_provider_apimart.generation.purchase.decide import Action, Policy
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.record import NoRecordStore, Record, RecordState
from tests.generation.purchase.buying import (
    FAIL,
    HOME,
    ONCE,
    PRICE,
    REGENERATE,
    Script,
    Store,
    bill,
    obtain,
    purchase,
    wait,
)
from tests.generation.records import record as known_record

# --- the good ways ------------------------------------------------------------------------------------------------


def test_fresh(emulator: Emulator) -> None:
    store = Store()
    obtained = obtain(emulator, store)
    assert obtained.decision.action is Action.WAIT
    assert store.saved == ["intent", "submitted"]
    assert store.record == obtained.record
    assert bill(emulator) == (1, PRICE)


def test_a_record_that_was_read_just_now_is_not_read_again(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FRESH_SECONDS", 3600.0)
    store, loads = Store(), list[None]()
    store.on_load = lambda: loads.append(None)
    obtain(emulator, store)
    assert len(loads) == 1
    monkeypatch.setattr(kept, "FRESH_SECONDS", 0.0)
    obtain(emulator, other := Store())
    assert other.saved == store.saved


@pytest.mark.parametrize("fresh_seconds", [0.0, 3600.0])
def test_another_try_that_saves_between_reading_and_saving_pays_for_the_same_generation(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fresh_seconds: float
) -> None:
    monkeypatch.setattr(kept, "FRESH_SECONDS", fresh_seconds)
    store, others = Store(), list[str | None]()

    def meanwhile(request: VeoRequest) -> None:
        others.append(obtain(emulator, store).record.generation_id)

    found = obtain(emulator, store, approve=meanwhile)
    assert [found.record.generation_id] == others
    assert store.record.state is RecordState.SUBMITTED
    assert bill(emulator) == (1, PRICE)


def test_who_does_not_resend_looks_again_before_an_intent_replaces_what_another_try_has_learnt(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "FRESH_SECONDS", 3600.0)
    store, policy = Store(), Policy(on_unknown_submit="fail")

    def meanwhile(request: VeoRequest) -> None:
        obtain(emulator, store, policy=policy)

    found = obtain(emulator, store, policy=policy, approve=meanwhile)
    assert found.decision.action in (Action.WAIT, Action.LAND)
    # Only the other try's.
    assert store.saved == ["intent", "submitted"]
    assert bill(emulator) == (1, PRICE)


def test_every_later_try_only_asks(emulator: Emulator) -> None:
    store = Store()
    first = obtain(emulator, store).record
    for _ in range(3):
        again = obtain(emulator, store)
        assert again.decision.action is Action.LAND
        assert again.record == first
    assert len(emulator.requests("submit")) == 1


def test_landed_and_whole_is_kept_and_nothing_else_is_asked(emulator: Emulator) -> None:
    store = Store()
    wait(emulator, store)
    store.change(state=RecordState.LANDED, landed=known_record("landed").landed)
    with purchase(emulator, store) as one:
        assert one.obtain(lambda record: True).decision.action is Action.KEEP
        assert one.obtain(lambda record: False).decision.action is Action.LAND


def test_the_files_of_another_request_are_not_looked_at(emulator: Emulator) -> None:
    store = Store()
    wait(emulator, store)
    store.change(state=RecordState.LANDED, landed=known_record("landed").landed)

    def looked(record: Record) -> bool:
        raise AssertionError("they may be large, or out of reach")

    with purchase(emulator, store, prompt="a cat") as one:
        one.obtain(looked)


def test_no_answer_about_a_known_generation_is_no_verdict(emulator: Emulator) -> None:
    store = Store()
    obtain(emulator, store)
    for status in (400, 401, 402, 404, 429, 500):
        emulator.clear_faults()
        emulator.fault("task", "status", status=status, times=-1)
        assert obtain(emulator, store).decision.action is Action.WAIT
    assert bill(emulator) == (1, PRICE)


# --- answers that say nothing of the money ------------------------------------------------------------------------

UNKNOWN = {
    "drop_after": {"kind": "drop_after"},
    "drop_before": {"kind": "drop_before"},
    "500": {"kind": "status", "status": 500, "executed": True},
    "502 html": {"kind": "html", "executed": True},
    "503": {"kind": "status", "status": 503},
    "504 not done": {"kind": "status", "status": 504},
    "broken JSON": {"kind": "broken_json"},
    "no id": {"kind": "no_task_id"},
    "cut": {"kind": "cut"},
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_outcome_is_sent_again_identically(emulator: Emulator, name: str) -> None:
    emulator.fault("submit", times=1, **UNKNOWN[name])
    store = Store()
    with pytest.raises(errors.ApimartError) as caught:
        obtain(emulator, store, retry=ONCE)
    assert caught.value.charge is Charge.UNKNOWN and not caught.value.terminal
    assert store.record.state is RecordState.INTENT

    assert obtain(emulator, store).record.generation_id is not None
    sent = emulator.requests("submit")
    assert len(sent) == 2
    assert len({(one["headers"]["idempotency-key"], json.dumps(one["body"])) for one in sent}) == 1
    assert bill(emulator) == (1, PRICE)


@pytest.mark.parametrize("name", UNKNOWN)
def test_the_client_itself_sends_it_again_within_the_try(emulator: Emulator, name: str) -> None:
    emulator.fault("submit", times=1, **UNKNOWN[name])
    assert obtain(emulator, Store()).record.generation_id is not None
    assert bill(emulator) == (1, PRICE)


@pytest.mark.parametrize("name", UNKNOWN)
def test_who_does_not_trust_the_replay_stops_instead(emulator: Emulator, name: str) -> None:
    emulator.fault("submit", times=1, **UNKNOWN[name])
    store = Store()
    with pytest.raises(errors.ApimartError):
        obtain(emulator, store, policy=FAIL)
    refused = obtain(emulator, store, policy=FAIL)
    assert refused.decision.action is Action.REFUSE
    assert store.record.idempotency_key in str(refused.decision.error)
    assert len(emulator.requests("submit")) == 1


def test_an_indeterminate_outcome_stops_and_never_pays_again(emulator: Emulator) -> None:
    emulator.fault("submit", "idempotency_indeterminate", executed=True)
    store = Store()
    for _ in range(3):
        with pytest.raises(errors.IdempotencyIndeterminateError) as caught:
            obtain(emulator, store)
        assert caught.value.terminal
    assert store.record.state is RecordState.INTENT
    assert bill(emulator) == (1, PRICE)


@pytest.mark.parametrize("kind", ["idempotency_in_progress", "idempotency_key_reused"])
def test_a_conflict_leaves_the_outcome_unknown(emulator: Emulator, kind: str) -> None:
    """Nothing was done now; what the key's first request did is another matter."""
    emulator.fault("submit", kind, times=1, retry_after="0")
    store = Store()
    with pytest.raises(errors.ApiStatusError):
        obtain(emulator, store, retry=ONCE)
    assert store.record.state is RecordState.INTENT
    assert obtain(emulator, store).record.generation_id is not None
    assert bill(emulator) == (1, PRICE)


def test_a_refusal_after_an_unknown_outcome_leaves_the_doubt(emulator: Emulator) -> None:
    store = Store()
    emulator.faults(
        {"route": "submit", "kind": "drop_after"}, {"route": "submit", "kind": "status", "status": 402, "times": 2}
    )
    with pytest.raises(errors.InsufficientBalanceError) as caught:
        obtain(emulator, store)
    assert caught.value.charge is Charge.UNKNOWN
    assert store.record.state is RecordState.INTENT
    with pytest.raises(errors.InsufficientBalanceError):
        obtain(emulator, store)
    assert store.record.state is RecordState.INTENT
    assert obtain(emulator, store).record.generation_id is not None
    assert bill(emulator) == (1, PRICE)


# --- refusals: nothing was done -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 429}, errors.RateLimitError),
        ({"kind": "idempotency_unavailable"}, errors.IdempotencyUnavailableError),
        ({"kind": "status", "status": 401}, errors.AuthenticationError),
        ({"kind": "build_request_failed"}, errors.BadRequestError),
        ({"kind": "envelope_error"}, errors.InsufficientBalanceError),
    ],
)
def test_a_refusal_is_written_down_and_the_same_key_is_used_again(
    emulator: Emulator, fault: dict[str, Any], error: type[errors.ApimartError]
) -> None:
    emulator.fault("submit", times=1, **fault)
    store = Store()
    with pytest.raises(error):
        obtain(emulator, store, retry=ONCE)
    assert store.record.state is RecordState.REFUSED and store.record.note
    first = store.record.idempotency_key
    obtain(emulator, store)
    assert store.record.idempotency_key == first and store.record.number == 1
    assert store.record.previous == ()
    assert bill(emulator) == (1, PRICE)


def test_402_then_a_top_up(emulator: Emulator) -> None:
    with Emulator(balance_usd=Decimal("0.1")) as poor:
        store = Store()
        with pytest.raises(errors.InsufficientBalanceError):
            obtain(poor, store)
        assert store.record.state is RecordState.REFUSED
        assert bill(poor) == (0, 0)
    # The same account, with money: the record says another host, and a refusal does not care.
    assert obtain(emulator, store).decision.action is Action.WAIT
    assert bill(emulator) == (1, PRICE)


def test_a_refusal_does_not_cover_what_another_try_has_paid_for(emulator: Emulator) -> None:
    """A zombie pays under the same key while this try is being refused."""
    store = Store()

    def answer(request: httpx.Request) -> httpx.Response:
        store.change(state=RecordState.SUBMITTED, generation_id="task_zombie")
        return httpx.Response(429, json={"error": {"message": "slow down"}})

    with pytest.raises(errors.RateLimitError):
        obtain(None, store, transport=Script(answer), retry=ONCE)
    assert store.record.generation_id == "task_zombie" and store.record.state is RecordState.SUBMITTED


# --- how it ends at APIMart ---------------------------------------------------------------------------------------


def test_failed_then_the_next_number(emulator: Emulator) -> None:
    emulator.fault("submit", "task_fails", times=2)
    store = Store()
    keys = []
    for number in (1, 2):
        action, record = wait(emulator, store)
        assert (action, record.state, record.number) == (Action.FAIL, RecordState.FAILED, number)
        keys.append(record.idempotency_key)
    action, record = wait(emulator, store)
    assert (action, record.number) == (Action.LAND, 3)
    assert len({*keys, record.idempotency_key}) == 3
    assert bill(emulator) == (3, PRICE)


def test_a_failure_that_nobody_waited_for_frees_the_next_number_too(emulator: Emulator) -> None:
    emulator.fault("submit", "task_fails", times=1)
    store = Store()
    obtain(emulator, store)
    assert obtain(emulator, store).record.number == 2
    assert bill(emulator) == (2, PRICE)


def test_rejected_is_for_good(emulator: Emulator) -> None:
    emulator.fault("submit", "content_rejected", times=1)
    store = Store()
    assert wait(emulator, store)[1].state is RecordState.REJECTED
    for _ in range(2):
        again = obtain(emulator, store)
        assert again.decision.action is Action.REFUSE
        assert isinstance(again.decision.error, errors.ContentRejectedError)
    assert bill(emulator) == (1, 0)


def test_completed_without_a_video_is_for_good_and_a_clear_asks_again(emulator: Emulator) -> None:
    emulator.fault("submit", "completes_empty", times=1, message="no output")
    store = Store()
    assert wait(emulator, store)[0] is Action.FAIL
    assert store.record.state is RecordState.SUBMITTED
    asked = len(emulator.requests("task"))
    assert obtain(emulator, store).decision.action is Action.WAIT
    assert len(emulator.requests("task")) == asked + 1
    assert isinstance(wait(emulator, store), tuple)
    assert len(emulator.requests("submit")) == 1


# --- changed inputs and clears ------------------------------------------------------------------------------------


def test_a_changed_prompt_pays_and_says_what_was_paid_before(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    first = obtain(emulator, store).record
    caplog.clear()
    second = obtain(emulator, store, prompt="a cat").record
    assert second.number == 1 and second.idempotency_key != first.idempotency_key
    (previous,) = second.previous
    assert (previous.generation_id, previous.state) == (first.generation_id, RecordState.SUBMITTED)
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert str(first.generation_id) in warning and "paid for" in warning
    assert bill(emulator) == (2, 2 * PRICE)


def test_a_to_b_to_a_finds_the_first_one_again(emulator: Emulator) -> None:
    store = Store()
    first = obtain(emulator, store).record
    second = obtain(emulator, store, prompt="a cat").record
    again = obtain(emulator, store).record
    assert again.generation_id == first.generation_id
    assert [one.generation_id for one in again.previous] == [first.generation_id, second.generation_id]
    assert bill(emulator) == (2, 2 * PRICE)


def test_reuse_survives_any_clear_even_without_the_record(emulator: Emulator) -> None:
    first = obtain(emulator, Store()).record
    cleared = Identity(HOME.dag_id, HOME.run_id, HOME.task_id, clear_epoch=4)
    again = obtain(emulator, Store(), identity=cleared)
    assert again.record.generation_id == first.generation_id
    assert again.decision.action is Action.LAND
    assert bill(emulator) == (1, PRICE)


def test_regenerate_pays_once_for_each_clear(emulator: Emulator) -> None:
    store, ids = Store(), []
    for epoch in (0, 0, 2, 2, 5):
        identity = Identity(HOME.dag_id, HOME.run_id, HOME.task_id, clear_epoch=epoch)
        ids.append(obtain(emulator, store, identity=identity, policy=REGENERATE).record.generation_id)
    assert ids[0] == ids[1] and ids[2] == ids[3]
    assert len(set(ids)) == 3
    late = Identity(HOME.dag_id, HOME.run_id, HOME.task_id, clear_epoch=2)
    assert obtain(emulator, store, identity=late, policy=REGENERATE).record.generation_id == ids[-1]
    assert bill(emulator) == (3, 3 * PRICE)


# --- without a store ----------------------------------------------------------------------------------------------


def test_without_a_store_the_key_finds_the_generation(emulator: Emulator) -> None:
    first = obtain(emulator, NoRecordStore("nowhere")).record
    again = obtain(emulator, NoRecordStore("nowhere"))
    assert again.record.generation_id == first.generation_id
    # The deadline counts from APIMart's time of creation, not from this try.
    assert again.record.submitted_at == again.view.created_at if again.view else False
    assert bill(emulator) == (1, PRICE)


def test_without_a_store_failed_generations_are_walked_over_by_replays(emulator: Emulator) -> None:
    emulator.fault("submit", "task_fails", times=1 + 2 + 3)  # Replays meet the fault, too.
    for number in (1, 2, 3, 4, 4):
        assert obtain(emulator, NoRecordStore("nowhere")).record.number == number
    assert bill(emulator) == (4, PRICE)


# --- a result that comes with the answer and has no id --------------------------------------------------------------


def test_a_synchronous_result_is_landed_and_found_again_by_its_key(emulator: Emulator) -> None:
    emulator.fault("submit", "shape", value="sync_result")
    store = Store()
    first = obtain(emulator, store)
    assert first.decision.action is Action.LAND
    assert first.view is not None and first.view.videos
    assert store.record.generation_id == store.record.idempotency_key
    # A try that died before it landed the video: only a replay gives the result again.
    again = obtain(emulator, store)
    assert again.decision.action is Action.LAND
    assert again.view is not None and again.view.videos == first.view.videos
    assert bill(emulator) == (1, PRICE)
    assert [request["path"] for request in emulator.requests("task")] == []


@pytest.mark.parametrize("changes", [{"intent_at": datetime.now(UTC) - timedelta(days=2)}, {"account": "another"}])
def test_a_synchronous_result_is_not_paid_for_again_once_its_key_means_nothing(
    emulator: Emulator, changes: dict[str, Any]
) -> None:
    emulator.fault("submit", "shape", value="sync_result")
    store = Store()
    obtain(emulator, store)
    store.change(**changes)
    assert obtain(emulator, store).decision.action is Action.WAIT
    assert len(emulator.requests("submit")) == 1


def test_a_synchronous_result_is_not_asked_for_again_by_who_does_not_trust_the_replay(emulator: Emulator) -> None:
    emulator.fault("submit", "shape", value="sync_result")
    store, policy = Store(), Policy(on_unknown_submit="fail")
    assert obtain(emulator, store, policy=policy).decision.action is Action.LAND
    assert obtain(emulator, store, policy=policy).decision.action is Action.WAIT
    assert len(emulator.requests("submit")) == 1


def test_a_replay_that_names_an_id_instead_of_the_result_is_remembered() -> None:
    result = {"object": "generation.result", "status": "completed", "result": {"video_url": "https://a.b/c.mp4"}}
    answers = [{"data": result}, {"data": [{"task_id": "task_2"}]}]
    script = Script(lambda request: httpx.Response(200, json=answers.pop(0)))
    store = Store()
    assert obtain(None, store, transport=script).decision.action is Action.LAND
    again = obtain(None, store, transport=script)
    assert again.decision.action is Action.WAIT
    assert store.record.generation_id == again.record.generation_id == "task_2"
    assert len(script.posts()) == 2
