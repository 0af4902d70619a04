"""A model that is gone: what is paid, what a later try does, and the fallback at every boundary that a try crosses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.errors import Charge
from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.emulator import Emulator
from airflow_provider_apimart.generation.purchase.decide import Action, Policy
from airflow_provider_apimart.generation.purchase.record import NoRecordStore, Record, RecordState
from tests.generation.purchase.buying import FRAME, ONCE, REGENERATE, Script, Store, obtain, purchase
from tests.generation.purchase.buying import HOME as HERE

OTHER = "veo3.1-quality-official"
OTHER_PRICE = 0.64


def try_once(emulator: Emulator, store: Any, **options: Any) -> Record:
    """One try up to a video: obtain, and while the generation's model is gone, obtain again, as the operator does."""
    with purchase(emulator, store, **options) as one:
        obtained = one.obtain()
        if obtained.decision.error is not None:
            raise obtained.decision.error
        final = one.client.generation(obtained.record.generation_id or "")
        if final.model_gone:
            obtained = one.obtain()
            if obtained.decision.error is not None:
                raise obtained.decision.error
            final = one.client.generation(obtained.record.generation_id or "")
        assert final.videos
        return obtained.record


def paid(emulator: Emulator) -> list[tuple[str, float]]:
    return [(one["model"], one["charged_usd"]) for one in emulator.state()["generations"] if one["charged_usd"]]


# --- without a fallback -------------------------------------------------------------------------------------------


def test_a_refused_model_is_told_with_what_the_account_has(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL)
    store = Store()
    with pytest.raises(errors.ModelGoneError) as caught:
        obtain(emulator, store)
    text = caught.value.advice
    assert "The account has veo3.1-fast, " in text and OTHER in text and f"{DEFAULT_MODEL}," not in text
    assert 'model="{{ var.value.veo_model }}"' in text
    assert caught.value.terminal and caught.value.charge is Charge.NO
    assert store.record.state is RecordState.MODEL_GONE and store.record.generation_id is None
    assert len(emulator.requests("submit")) == 1 and paid(emulator) == []


def test_a_cleared_task_asks_again_under_the_same_key_at_no_cost(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL)
    store = Store()
    for _ in range(2):
        with pytest.raises(errors.ModelGoneError):
            obtain(emulator, store)
    emulator.clear_faults()
    try_once(emulator, store)
    assert len({one["headers"]["idempotency-key"] for one in emulator.requests("submit")}) == 1
    assert [model for model, _ in paid(emulator)] == [DEFAULT_MODEL]


def test_a_generation_that_lost_its_model_is_not_followed_by_another_payment(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL, "fails")
    store = Store()
    with purchase(emulator, store) as one:
        one.obtain()
    for _ in range(3):
        with purchase(emulator, store) as one:
            obtained = one.obtain()
        assert isinstance(obtained.decision.error, errors.GenerationModelGoneError)
        assert obtained.decision.action in (Action.FAIL, Action.REFUSE)
    assert len(emulator.requests("submit")) == 1
    with purchase(emulator, store, policy=REGENERATE, identity=cleared(1)) as one:
        assert one.obtain().decision.action is Action.WAIT
    assert len(emulator.requests("submit")) == 2


def cleared(epoch: int) -> Any:
    return type(HERE)(HERE.dag_id, HERE.run_id, HERE.task_id, clear_epoch=epoch)


def test_a_failed_fetch_alone_is_an_ordinary_failure(emulator: Emulator) -> None:
    emulator.fault("submit", "task_fails", code="fail_to_fetch_task", message="upstream timeout")
    store = Store()
    obtain(emulator, store)
    obtain(emulator, store)
    assert store.record.number == 2


# --- no channel ---------------------------------------------------------------------------------------------------


def test_no_channel_for_a_listed_model_can_pass(emulator: Emulator) -> None:
    emulator.fault("submit", "no_channel", times=1)
    store = Store()
    obtain(emulator, store)
    assert len(emulator.requests("submit")) == 2


@pytest.mark.parametrize("fallback", [None, OTHER])
def test_no_channel_is_left_to_airflows_retries_until_the_last(emulator: Emulator, fallback: str | None) -> None:
    emulator.retire(DEFAULT_MODEL, "no_channel")
    store = Store()
    for _ in range(2):
        with pytest.raises(errors.NoChannelError) as caught:
            obtain(emulator, store, fallback=fallback, retry=ONCE)
        assert not caught.value.terminal and caught.value.charge is Charge.NO
        assert store.record.state is RecordState.REFUSED
    assert paid(emulator) == []
    if fallback:
        record = try_once(emulator, store, fallback=fallback, retry=ONCE, at_last=True)
        assert record.model == OTHER and record.fallback_from == DEFAULT_MODEL
        assert [model for model, _ in paid(emulator)] == [OTHER]


def answers(models: httpx.Response, submit: httpx.Response) -> Script:
    return Script(lambda request: models if request.url.path == "/v1/models" else submit)


NO_CHANNEL = {
    "error": {
        "code": "model_not_found",
        "message": "No available channel for model x under group default (distributor)",
    }
}


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        ({"data": [{"id": "veo4"}, {"id": "sora"}]}, errors.ModelGoneError),
        ({"data": [{"id": DEFAULT_MODEL}]}, errors.NoChannelError),
        ({"data": []}, errors.NoChannelError),
        ({"error": {"message": "no"}}, errors.NoChannelError),
    ],
)
def test_no_channel_and_not_listed_is_gone(listed: Any, kind: type[errors.ApimartError]) -> None:
    transport = answers(httpx.Response(200, json=listed), httpx.Response(503, json=NO_CHANNEL))
    with pytest.raises(errors.ApimartError) as caught:
        obtain(None, Store(), transport=transport, retry=ONCE)
    assert type(caught.value) is kind


def test_the_page_of_a_proxy_is_no_verdict() -> None:
    page = httpx.Response(404, html="<html>The model veo3.1 is no longer available</html>")
    with pytest.raises(errors.NotFoundError):
        obtain(None, Store(), transport=answers(page, page), fallback=OTHER)


def test_the_models_named_are_few(emulator: Emulator) -> None:
    many = {"data": [{"id": f"m{n:04d}{'x' * 500}"} for n in range(500)] + [{"id": "veo9"}]}
    gone = httpx.Response(404, json={"error": {"message": "model veo is no longer available"}})
    with pytest.raises(errors.ModelGoneError) as caught:
        obtain(None, Store(), transport=answers(httpx.Response(200, json=many), gone))
    assert len(caught.value.advice) < 2000 and "The account has veo9, m0000" in caught.value.advice


# --- with a fallback ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "fails"])
@pytest.mark.parametrize("frame", [None, FRAME])
def test_the_fallback_takes_the_place_of_a_model_that_is_gone(
    emulator: Emulator, how: str, frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.retire(DEFAULT_MODEL, how)
    store = Store()
    record = try_once(emulator, store, fallback=OTHER, frame=frame)
    assert (record.model, record.fallback_from) == (OTHER, DEFAULT_MODEL)
    assert paid(emulator) == [(OTHER, OTHER_PRICE)]
    (earlier,) = store.record.previous
    assert (earlier.model, earlier.state) == (DEFAULT_MODEL, RecordState.MODEL_GONE)
    assert earlier.idempotency_key != record.idempotency_key
    assert "not made and not charged" in caplog.text and "which is paid for" in caplog.text
    # A later try goes on with it, and does not ask for the model that is gone.
    asked = len(emulator.requests("submit"))
    assert try_once(emulator, store, fallback=OTHER, frame=frame).generation_id == record.generation_id
    assert len(emulator.requests("submit")) == asked


def test_a_fallback_that_is_gone_too_is_the_end(emulator: Emulator) -> None:
    for model in (DEFAULT_MODEL, OTHER):
        emulator.retire(model)
    with pytest.raises(errors.ModelGoneError) as caught:
        obtain(emulator, Store(), fallback=OTHER)
    assert f"{OTHER} is no longer" in str(caught.value)


def test_a_clear_for_a_new_generation_asks_for_the_wanted_model_first(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL)
    store = Store()
    try_once(emulator, store, fallback=OTHER, policy=REGENERATE)
    emulator.clear_faults()
    record = try_once(emulator, store, fallback=OTHER, policy=REGENERATE, identity=cleared(1))
    assert record.model == DEFAULT_MODEL and record.fallback_from is None


def test_a_failed_fallback_is_tried_anew_and_the_wanted_model_is_not(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL)
    store = Store()
    emulator.fault("submit", "task_fails", model=OTHER)
    obtain(emulator, store, fallback=OTHER)
    record = try_once(emulator, store, fallback=OTHER)
    assert (record.model, record.number, record.fallback_from) == (OTHER, 2, DEFAULT_MODEL)
    assert len([one for one in emulator.requests("submit") if one["body"]["model"] == DEFAULT_MODEL]) == 1


def test_the_fallback_is_approved_before_anything_is_paid(emulator: Emulator) -> None:
    def approve(request: Any) -> None:
        if request.model == OTHER:
            raise errors.InvalidParameterError(())

    with pytest.raises(errors.InvalidParameterError):
        obtain(emulator, Store(), fallback=OTHER, approve=approve)
    assert emulator.requests("submit") == []


def test_after_a_lost_answer_the_fallback_is_not_paid_for(emulator: Emulator) -> None:
    """The first submission may have been carried out. That the model is gone by now does not settle that."""
    emulator.fault("submit", "drop_before", times=1)
    emulator.retire(DEFAULT_MODEL)
    store = Store()
    for retry in (None, ONCE):
        with pytest.raises(errors.ModelGoneError) as caught:
            obtain(emulator, store, fallback=OTHER, **({"retry": retry} if retry else {}))
        assert caught.value.charge is Charge.UNKNOWN and "fallback_model is not used" in caught.value.advice
    assert store.record.state is RecordState.INTENT and paid(emulator) == []
    record = try_once(emulator, store, fallback=OTHER, policy=REGENERATE, identity=cleared(1))
    assert record.model == OTHER and len(paid(emulator)) == 1


def test_without_a_record_the_keys_alone_find_the_fallback_again(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL, "fails")
    first = try_once(emulator, NoRecordStore("nowhere"), fallback=OTHER)
    again = try_once(emulator, NoRecordStore("nowhere"), fallback=OTHER)
    assert first.generation_id == again.generation_id and len(paid(emulator)) == 1


def test_another_try_that_got_further_is_not_overtaken(emulator: Emulator) -> None:
    """While this try was being refused, its zombie's submission under the same key was accepted."""
    store = Store()

    with purchase(emulator, store, fallback=OTHER) as one:
        original = one.client.submit

        def submit(*args: Any, **kwargs: Any) -> Any:
            one.client.submit = original  # type: ignore[method-assign]
            obtain(emulator, Store())
            store.change(state=RecordState.SUBMITTED, generation_id=emulator.state()["generations"][0]["generation_id"])
            raise errors.ModelGoneError("The model is no longer available", status=404)

        one.client.submit = submit  # type: ignore[method-assign]
        obtained = one.obtain()
    assert obtained.record.model == DEFAULT_MODEL and [model for model, _ in paid(emulator)] == [DEFAULT_MODEL]


# --- every boundary -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


class Boundaries:
    """Counts the boundaries that a try crosses, and ends it at one of them."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.crossed: list[str] = []

    def cross(self, label: str) -> None:
        self.crossed.append(label)
        if len(self.crossed) - 1 == self.at:
            raise Killed(label)


class Watched(Store):
    """A store whose every load and save is a boundary."""

    def __init__(self, boundaries: Boundaries) -> None:
        super().__init__()
        self.boundaries = boundaries

    def load(self) -> Record | None:
        found = super().load()
        self.boundaries.cross("after load")
        return found

    def save(self, record: Record) -> None:
        self.boundaries.cross(f"before save {record.model} {record.state}")
        super().save(record)
        self.boundaries.cross(f"after save {record.model} {record.state}")


class Wire(httpx.BaseTransport):
    """The real network, with a boundary before each request is sent and after each is answered."""

    def __init__(self, boundaries: Boundaries) -> None:
        self.boundaries = boundaries
        self.inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.boundaries.cross(f"before {request.method} {request.url.path}")
        response = self.inner.handle_request(request)
        response.read()
        self.boundaries.cross(f"after {request.method} {request.url.path} {response.status_code}")
        return response

    def close(self) -> None:
        self.inner.close()


def live(emulator: Emulator, how: str, at: int | None, tries: int = 4) -> tuple[Record | None, list[str], Watched]:
    """Live a task whose model is gone, killed at one boundary of its first try."""
    emulator.reset()
    emulator.retire(DEFAULT_MODEL, how)
    boundaries = Boundaries(at)
    store = Watched(boundaries)
    for _ in range(tries):
        wire = Wire(boundaries)
        try:
            return try_once(emulator, store, fallback=OTHER, transport=wire), boundaries.crossed, store
        except Killed:
            boundaries.at = None
        except errors.ModelGoneError as error:
            assert error.charge is Charge.UNKNOWN
            return None, boundaries.crossed, store
        finally:
            wire.close()
    raise AssertionError("no try came to an end")


@pytest.mark.parametrize("how", ["refused", "fails"])
def test_killed_at_any_boundary_one_generation_is_paid_for(emulator: Emulator, how: str) -> None:
    _, whole, _ = live(emulator, how, None)
    assert any(f"before save {OTHER} intent" in label for label in whole) and len(whole) > 15
    stopped = []
    for at in range(len(whole)):
        record, _, store = live(emulator, how, at)
        generations = emulator.state()["generations"]
        made = [one for one in generations if one["charged_usd"] > 0]
        if record is None:
            # The refusal was lost with the process. The record cannot tell it from an accepted submission.
            stopped.append(whole[at])
            assert made == [] and store.record.state is RecordState.INTENT, whole[at]
            continue
        assert [(one["model"], one["charged_usd"]) for one in made] == [(OTHER, OTHER_PRICE)], whole[at]
        assert record.fallback_from == DEFAULT_MODEL and record.generation_id == made[0]["generation_id"], whole[at]
        assert len({one["idempotency_key"] for one in generations}) == len(generations), whole[at]
        assert DEFAULT_MODEL in {one.model for one in store.record.previous}, whole[at]
    # Only between the intent and the record of its refusal, and nowhere else.
    first = next(n for n, label in enumerate(whole) if label.startswith(f"after save {DEFAULT_MODEL} intent"))
    last = next(n for n, label in enumerate(whole) if label.startswith(f"before save {DEFAULT_MODEL} model_gone"))
    window = set(whole[first : last + 1])
    assert set(stopped) <= window and (how == "refused") == bool(stopped)


def test_two_tries_at_once_share_the_fallback(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL)
    one, other = Store(), Store()
    first, second = (try_once(emulator, store, fallback=OTHER) for store in (one, other))
    assert first.generation_id == second.generation_id and len(paid(emulator)) == 1


def test_changed_inputs_ask_for_the_wanted_model_again(emulator: Emulator) -> None:
    emulator.retire(DEFAULT_MODEL)
    store = Store()
    try_once(emulator, store, fallback=OTHER)
    emulator.clear_faults()
    record = try_once(emulator, store, fallback=OTHER, prompt="a cat", policy=Policy())
    assert record.model == DEFAULT_MODEL and [one.model for one in record.previous] == [DEFAULT_MODEL, OTHER]
