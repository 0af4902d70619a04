"""A generation is paid for once: frames, stores that fail, forgotten keys, zombies, and what is left
without idempotency.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import Charge
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.purchase.decide import KEY_LIFE, Action
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.purchase.kept import keep, settle
from airflow_provider_apimart.generation.purchase.purchase import Obtained
from airflow_provider_apimart.generation.purchase.record import (
    NoRecordStore,
    Record,
    RecordState,
    UnreadableRecordError,
)
from airflow_provider_apimart.generation.purchase.uploading import UPLOAD_LIFE
from tests.generation.purchase.buying import (
    FAIL,
    FRAME,
    HOME,
    ONCE,
    PRICE,
    REGENERATE,
    Script,
    Store,
    bill,
    obtain,
    wait,
)
from tests.generation.records import record as known_record
from tests.generation.records import view

# --- local frames -------------------------------------------------------------------------------------------------


def test_a_resend_names_the_upload_that_the_intent_has_recorded(emulator: Emulator) -> None:
    emulator.fault("submit", "drop_after", times=1)
    store = Store()
    with pytest.raises(errors.OutcomeUnknownError):
        obtain(emulator, store, frame=FRAME, retry=ONCE)
    obtain(emulator, store, frame=FRAME)
    assert len(emulator.requests("upload")) == 1
    first, second = emulator.requests("submit")
    assert first["body"] == second["body"]
    assert first["body"]["first_frame_image"] == store.record.uploads["first_frame_image"]
    assert bill(emulator) == (1, PRICE)


def test_a_crash_between_the_upload_and_the_intent_costs_nothing(emulator: Emulator) -> None:
    def crash(record: Record) -> None:
        raise KeyboardInterrupt

    store = Store(crash)
    with pytest.raises(KeyboardInterrupt):
        obtain(emulator, store, frame=FRAME)
    store.on_save = lambda record: None
    obtain(emulator, store, frame=FRAME)
    assert len(emulator.requests("upload")) == 2
    assert bill(emulator) == (1, PRICE)


@pytest.mark.parametrize("fault", [{"kind": "drop_after"}, {"kind": "status", "status": 500}])
def test_a_failed_upload_is_known_to_cost_nothing(emulator: Emulator, fault: dict[str, Any]) -> None:
    emulator.fault("upload", **fault)
    store = Store()
    with pytest.raises(errors.ApimartError) as caught:
        obtain(emulator, store, frame=FRAME)
    assert caught.value.charge is Charge.NO
    assert store.text is None and emulator.requests("submit") == []


def test_an_upload_is_used_again_only_while_it_lives(emulator: Emulator) -> None:
    """Its age counts from the upload, however often a refused submission was tried since."""
    store = Store()
    for hours in (0, 40, 80):
        emulator.fault("submit", "status", status=429, times=1)
        with pytest.raises(errors.RateLimitError):
            obtain(emulator, store, frame=FRAME, retry=ONCE)
        assert store.record.uploaded_at is not None
        store.change(uploaded_at=store.record.uploaded_at - timedelta(hours=40))
        assert len(emulator.requests("upload")) == (1 if hours < 80 else 2)
    assert timedelta(hours=40) < UPLOAD_LIFE < timedelta(hours=72)


def test_without_a_store_a_lost_answer_with_a_frame_stops_instead_of_paying_again(emulator: Emulator) -> None:
    """The URL of the first upload died with its try, so the body cannot be repeated: a person has to look."""
    emulator.fault("submit", "drop_after", times=1)
    with pytest.raises(errors.OutcomeUnknownError):
        obtain(emulator, NoRecordStore("nowhere"), frame=FRAME, retry=ONCE)
    for _ in range(2):
        with pytest.raises(errors.IdempotencyKeyReusedError) as caught:
            obtain(emulator, NoRecordStore("nowhere"), frame=FRAME)
        assert caught.value.terminal
    assert bill(emulator) == (1, PRICE)


def test_another_image_is_another_request(emulator: Emulator) -> None:
    store = Store()
    first = obtain(emulator, store, frame=FRAME).record
    other = LocalImage(FRAME.field, FRAME.path, FRAME.content + b"!", FRAME.content_type)
    second = obtain(emulator, store, frame=other).record
    assert second.idempotency_key != first.idempotency_key
    assert second.uploads != first.uploads


# --- stores that fail ---------------------------------------------------------------------------------------------


def fail(*_: Any) -> None:
    raise OSError("the store is out of reach")


def test_a_record_that_cannot_be_loaded_is_not_taken_for_none(emulator: Emulator) -> None:
    store = Store()
    store.on_load = fail
    with pytest.raises(OSError):
        obtain(emulator, store)
    assert emulator.requests("submit") == []


def test_an_intent_that_cannot_be_saved_is_not_paid_for(emulator: Emulator) -> None:
    with pytest.raises(OSError):
        obtain(emulator, Store(fail))
    assert emulator.requests("submit") == []


def test_an_id_that_cannot_be_saved_does_not_stop_the_try(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    def fail_on_id(record: Record) -> None:
        if record.state is RecordState.SUBMITTED:
            fail()

    store = Store(fail_on_id)
    obtained = obtain(emulator, store)
    assert obtained.record.generation_id and obtained.decision.action is Action.WAIT
    assert any(obtained.record.generation_id in one.getMessage() for one in caplog.records if one.levelname == "ERROR")
    assert store.record.state is RecordState.INTENT
    assert obtain(emulator, store).record.generation_id == obtained.record.generation_id
    assert bill(emulator) == (1, PRICE)


def test_a_refusal_that_cannot_be_saved_is_still_the_refusal(emulator: Emulator) -> None:
    def fail_on_refusal(record: Record) -> None:
        if record.state is RecordState.REFUSED:
            fail()

    emulator.fault("submit", "status", status=402)
    store = Store(fail_on_refusal)
    with pytest.raises(errors.InsufficientBalanceError):
        obtain(emulator, store)
    assert store.record.state is RecordState.INTENT


@pytest.mark.parametrize("text", ["{", '{"version": 2, "state": "submitted"}', "null", '"x"'])
def test_a_record_that_cannot_be_read_is_not_paid_over(emulator: Emulator, text: str) -> None:
    store = Store()
    store.text = text
    with pytest.raises(UnreadableRecordError):
        obtain(emulator, store)
    assert emulator.requests("submit") == []


# --- time and accounts --------------------------------------------------------------------------------------------


def test_a_key_that_apimart_has_forgotten_is_not_sent_again(emulator: Emulator) -> None:
    emulator.fault("submit", "drop_after", times=1)
    store = Store()
    with pytest.raises(errors.OutcomeUnknownError):
        obtain(emulator, store, retry=ONCE)
    store.change(intent_at=datetime.now(UTC) - KEY_LIFE)
    assert obtain(emulator, store).decision.action is Action.REFUSE
    assert len(emulator.requests("submit")) == 1


def test_a_resend_under_another_api_key_would_be_no_replay(emulator: Emulator) -> None:
    emulator.fault("submit", "drop_after", times=1)
    store = Store()
    with pytest.raises(errors.OutcomeUnknownError):
        obtain(emulator, store, retry=ONCE)
    rotated = obtain(emulator, store, key="sk-rotated")
    assert rotated.decision.action is Action.REFUSE and "another API key" in str(rotated.decision.error)
    assert obtain(emulator, store).record.generation_id is not None
    assert bill(emulator) == (1, PRICE)


def test_a_resend_that_is_the_first_one_starts_its_time_now(emulator: Emulator) -> None:
    """The worker died between the intent and the POST, hours ago: the wait has not been going on since then."""

    def crash_after_intent(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    store = Store()
    with pytest.raises(KeyboardInterrupt):
        obtain(None, store, transport=Script(crash_after_intent))
    store.change(intent_at=datetime.now(UTC) - timedelta(hours=5), account=None)
    record = obtain(emulator, store).record
    assert record.submitted_at is not None and datetime.now(UTC) - record.submitted_at < timedelta(minutes=1)


def test_an_id_too_long_to_be_kept_is_no_id() -> None:
    script = Script(lambda request: httpx.Response(200, json={"data": [{"task_id": "x" * 10_000}]}))
    store = Store()
    with pytest.raises(errors.ResponseError):
        obtain(None, store, transport=script, retry=ONCE)
    assert store.record.state is RecordState.INTENT


# --- two tries at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [Store, lambda: NoRecordStore("nowhere")])
def test_a_zombie_and_its_retry_pay_for_one_generation(emulator: Emulator, store: Any) -> None:
    shared = store()
    start = threading.Barrier(4)
    found: list[str | None] = []

    def run() -> None:
        start.wait()
        found.append(obtain(emulator, shared if isinstance(shared, Store) else store()).record.generation_id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert bill(emulator) == (1, PRICE)


def test_a_zombie_that_pays_during_the_upload_is_joined(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both upload the frame, so their bodies differ: the later one must take up the record of the earlier."""
    store, upload = Store(), ApimartClient.upload_image
    zombies: list[Obtained] = []

    def upload_image(client: ApimartClient, *args: Any) -> Any:
        done = upload(client, *args)
        if not zombies:
            zombies.append(None)  # type: ignore[arg-type]
            zombies[0] = obtain(emulator, store, frame=FRAME)
        return done

    monkeypatch.setattr(ApimartClient, "upload_image", upload_image)
    mine = obtain(emulator, store, frame=FRAME)
    assert mine.record.generation_id == zombies[0].record.generation_id
    assert len(emulator.requests("submit")) == 1
    assert bill(emulator) == (1, PRICE)


def test_an_old_try_does_not_cover_what_a_newer_one_has_paid_for(emulator: Emulator) -> None:
    store = Store()
    old = obtain(emulator, store).record
    newer = obtain(emulator, store, identity=Identity(HOME.dag_id, HOME.run_id, HOME.task_id, clear_epoch=1),
                   policy=REGENERATE).record  # fmt: skip
    decision, settled = settle(store, old, view("completed", generation_id=old.generation_id))
    assert decision.action is Action.LAND and settled.generation_id == old.generation_id
    assert store.record == newer
    keep(store, newer.but(cost_usd=1.0))
    assert store.record.cost_usd == 1.0


# --- if APIMart does not honour the key ---------------------------------------------------------------------------


@pytest.fixture
def deaf() -> Iterator[Emulator]:
    with Emulator(ignore_idempotency=True) as emulator:
        yield emulator


def test_without_idempotency_at_apimart_tries_that_know_the_id_still_pay_once(deaf: Emulator) -> None:
    store = Store()
    for _ in range(4):
        wait(deaf, store)
    assert bill(deaf) == (1, PRICE)


def test_the_window_without_idempotency_at_apimart_is_from_the_post_to_the_saved_id(deaf: Emulator) -> None:
    """The one window: the request was carried out and its id did not get into the record. Then a resend pays again."""

    def crash_on_id(record: Record) -> None:
        if record.state is RecordState.SUBMITTED:
            raise KeyboardInterrupt

    store = Store(crash_on_id)
    with pytest.raises(KeyboardInterrupt):
        obtain(deaf, store)
    store.on_save = lambda record: None
    obtain(deaf, store)
    assert bill(deaf) == (2, 2 * PRICE)


def test_fail_closes_that_window_for_one_try_after_the_other(deaf: Emulator) -> None:
    def crash_on_id(record: Record) -> None:
        if record.state is RecordState.SUBMITTED:
            raise KeyboardInterrupt

    store = Store(crash_on_id)
    with pytest.raises(KeyboardInterrupt):
        obtain(deaf, store, policy=FAIL)
    store.on_save = lambda record: None
    assert obtain(deaf, store, policy=FAIL).decision.action is Action.REFUSE
    deaf.fault("submit", "drop_after", times=1)
    other = Store()
    with pytest.raises(errors.OutcomeUnknownError):
        obtain(deaf, other, policy=FAIL, prompt="a cat")
    assert obtain(deaf, other, policy=FAIL, prompt="a cat").decision.action is Action.REFUSE
    assert bill(deaf) == (2, 2 * PRICE), "one for each of the two requests"


# --- secrets ------------------------------------------------------------------------------------------------------


def test_the_record_holds_neither_the_key_nor_the_url_of_a_video(emulator: Emulator) -> None:
    texts: list[str] = []
    store = Store(lambda record: texts.append(record.model_dump_json()))
    action, record = wait(emulator, store, frame=FRAME, key="sk-very-secret")
    store.save(record.but(state=RecordState.LANDED, landed=known_record("landed").landed))
    assert action is Action.LAND and len(texts) == 4
    (url,) = emulator.state()["generations"][0]["urls"]
    assert not any("sk-very-secret" in text or url in text or "/media/" in text for text in texts)
