"""Waiting for money: what is enough, what ends the wait, and what does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_apimart._compat import AirflowException, AirflowFailException
from airflow_provider_apimart.client.models import Balance
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.pricing.funds import Funds
from airflow_provider_apimart.generation.waiting.account import RequestLane
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.sensors.apimart import ApimartBalanceSensor
from airflow_provider_apimart.triggers import balance
from airflow_provider_apimart.triggers.balance import ApimartBalanceTrigger


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator behind ``apimart_default`` whose account holds 5 dollars."""
    with Emulator(balance_usd=5) as emulator:
        connect(monkeypatch, emulator)
        yield emulator


def connect(monkeypatch: pytest.MonkeyPatch, emulator: Emulator, key: str | None = None) -> None:
    connection = {"conn_type": "apimart", "password": key or emulator.api_key, "host": emulator.base_url}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait; keep what would have been waited."""
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await real(0)

    # The module's own name only: the emulator of this process sleeps, too.
    monkeypatch.setattr(balance, "asyncio", SimpleNamespace(sleep=sleep))
    return waited


def sensor(min_usd: Any, **arguments: Any) -> ApimartBalanceSensor:
    return ApimartBalanceSensor(task_id="funds", min_usd=min_usd, **arguments)


def first_event(trigger: ApimartBalanceTrigger) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(run())


def funds(account: float | None, key: float | None) -> Funds:
    return Funds(*(Balance(remaining_usd=usd, used_usd=0, unlimited=usd is None) for usd in (account, key)))


@pytest.mark.parametrize(
    ("account", "key", "enough"),
    [
        (5.0, None, True),
        (None, 5.0, True),
        (4.99, None, False),
        (9.0, 4.99, False),
        (None, None, True),
        (5.0, 5.0, True),
    ],
)
def test_account_and_key_both_have_to_cover_it(account: float | None, key: float | None, enough: bool) -> None:
    sensed = sensor("5")
    assert funds(account, key).cover(sensed._needed()) is enough


def test_what_apimart_does_not_say_covers_nothing() -> None:
    unknown = Balance(remaining_usd=None, used_usd=None)
    assert not Funds(unknown, Balance(remaining_usd=9, used_usd=0)).cover(sensor(1)._needed())


@pytest.mark.parametrize("deferrable", [True, False])
def test_enough_ends_at_once_with_what_there_is(poor: Emulator, deferrable: bool) -> None:
    assert sensor("5.00", deferrable=deferrable).execute({})["account_usd"] == 5.0


def test_too_little_defers_and_the_trigger_fires_when_a_rotated_key_has_enough(
    poor: Emulator, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = sensor(20, poke_interval=30, timeout=600)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute({})
    path, kwargs = deferred.value.trigger.serialize()
    assert path == "airflow_provider_apimart.triggers.balance.ApimartBalanceTrigger"
    assert poor.api_key not in json.dumps(kwargs)
    assert deferred.value.timeout.total_seconds() == 600

    trigger = ApimartBalanceTrigger(**json.loads(json.dumps(kwargs)))
    asked: list[dict[str, Any] | None] = []
    ask = trigger._ask

    with Emulator(balance_usd=30) as rich:

        async def ask_and_rotate(lane: RequestLane) -> dict[str, Any] | None:
            asked.append(await ask(lane))
            if len(asked) == 2:
                poor.fault("balance", "status", status=401, times=-1)
                connect(monkeypatch, rich)
            return asked[-1]

        monkeypatch.setattr(trigger, "_ask", ask_and_rotate)
        event = first_event(trigger)
    # The third question is refused, and the connection looked up again.
    assert asked[:3] == [None, None, None] and len(asked) == 4
    assert waits[:4] == [30, 30, 30, 30]
    # The first event comes no sooner than 12 s after the deferral.
    assert 0 < waits[4] <= 12
    assert waiting.execute_complete({}, event)["account_usd"] == 30.0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "html"},
        {"kind": "drop_before"},
        {"kind": "status", "status": 429},
    ],
)
def test_errors_that_pass_do_not_end_the_wait(poor: Emulator, waits: list[float], fault: dict[str, Any]) -> None:
    poor.fault("balance", **fault, times=1)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(1).execute({})
    poor.fault("balance", **fault, times=2)
    assert first_event(deferred.value.trigger)["reason"] == "enough"
    assert len(waits) == 4


def test_an_empty_account_that_answers_402_is_waited_for(poor: Emulator, waits: list[float]) -> None:
    poor.fault("balance", "status", status=402, times=2)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(1).execute({})
    assert first_event(deferred.value.trigger)["funds"]["account_usd"] == 5.0


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
def test_airflows_own_arguments_mean_the_same_in_both_paths(poor: Emulator, flag: str, deferrable: bool) -> None:
    poor.fault("balance", "status", status=401, times=-1)
    with pytest.raises(AirflowSkipException, match=flag):
        sensor(1, deferrable=deferrable, **{flag: True}).execute({})


@pytest.mark.parametrize("flag", ["soft_fail", "never_fail"])
def test_a_trouble_that_the_trigger_tells_is_skipped_as_well(flag: str) -> None:
    event = {"event": {"reason": "hopeless", "funds": None, "message": "the key is wrong"}}
    with pytest.raises(AirflowSkipException) as skipped:
        sensor(1, **{flag: True}).resume_execution("execute_complete", event, {})
    assert "the key is wrong" in str(skipped.value.__cause__)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, AirflowSensorTimeout),
        ({"never_fail": True}, AirflowSensorTimeout),
        ({"soft_fail": True}, AirflowSkipException),
    ],
)
def test_running_out_of_time_ends_both_paths_alike(
    poor: Emulator, arguments: dict[str, bool], expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        sensor(20, deferrable=False, poke_interval=0, timeout=0, **arguments).execute({})
    with pytest.raises(expected):
        sensor(20, **arguments).resume_execution("__fail__", {"error": "Trigger timeout"}, {})


def test_execution_timeout_ends_a_deferred_wait(poor: Emulator) -> None:
    limit = timedelta(minutes=5)
    waiting = sensor(20, execution_timeout=limit, soft_fail=True)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute({})
    assert deferred.value.timeout == limit
    with pytest.raises(AirflowTaskTimeout, match="execution_timeout=0:05:00 has passed"):
        waiting.resume_execution("__fail__", {"error": "Trigger timeout"}, {})


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"never_fail": True}, AirflowSkipException),
        ({"soft_fail": True}, AirflowSkipException),
        ({}, InvalidVeoArgument),
    ],
)
def test_a_bad_value_ends_both_paths_alike(
    poor: Emulator, arguments: dict[str, bool], expected: type[Exception], deferrable: bool
) -> None:
    waiting = sensor("{{ a_template }}", deferrable=deferrable, **arguments)
    waiting.min_usd = "nothing"
    with pytest.raises(expected):
        waiting.execute({})


@pytest.mark.parametrize("deferrable", [True, False])
def test_silent_fail_goes_on_asking(poor: Emulator, monkeypatch: pytest.MonkeyPatch, deferrable: bool) -> None:
    waiting = sensor(1, deferrable=deferrable, silent_fail=True, poke_interval=0)
    ask, broken = waiting._ask, iter([RuntimeError("a bug")])

    def stumble() -> Any:
        for error in broken:
            raise error
        return ask()

    monkeypatch.setattr(waiting, "_ask", stumble)
    assert waiting.execute({})["account_usd"] == 5.0


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403, "code": "insufficient_user_quota", "message": "user quota is not enough"},
        {"status": 401, "message": "token quota exhausted"},
    ],
)
def test_a_quota_that_is_used_up_is_waited_for(poor: Emulator, waits: list[float], fault: dict[str, Any]) -> None:
    poor.fault("balance", "status", times=2, **fault)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(1).execute({})
    assert first_event(deferred.value.trigger)["funds"]["account_usd"] == 5.0


def test_a_wrong_key_fails_for_good_at_once_and_in_the_trigger(
    poor: Emulator, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        sensor(20).execute({})
    connect(monkeypatch, poor, key="sk-not-a-key")
    event = first_event(deferred.value.trigger)
    assert event["reason"] == "hopeless"
    for act in (lambda: sensor(20).execute_complete({}, event), lambda: sensor(20).execute({})):
        with pytest.raises(AirflowFailException, match=r"Correct the connection.*Nothing was charged") as caught:
            act()
        assert "sk-not-a-key" not in str(caught.value)


def test_an_event_of_another_version_fails_the_try() -> None:
    with pytest.raises(AirflowException, match="cannot be read"):
        sensor(1).execute_complete({}, {"reason": "enough"})


@pytest.mark.parametrize("value", [-1, "much", None, float("nan"), True])
def test_bad_amounts_are_refused_when_the_dag_is_parsed(value: Any) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"min_usd=.*an amount in USD"):
        sensor(value)


def test_a_template_is_read_when_it_is_rendered(poor: Emulator) -> None:
    waiting = sensor("{{ ti.xcom_pull('bill') }}")
    waiting.min_usd = "4.5"
    assert waiting.execute({})["account_usd"] == 5.0
