"""The trigger of a post: it asks, and decides nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import CredentialsError, TargetLimitError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange, NoCredentials
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.target import Draft, DraftState
from airflow_provider_apimart.triggers import publish
from airflow_provider_apimart.triggers.publish import PublishTrigger

#: The connections that were read.
read: list[Any] = []


class Target:
    """Tells what the test says, question by question."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []

    def ask(self, draft_id: str, post_id: str | None, post: Any) -> Exchange[Draft]:
        yield from ()
        self.asked.append((draft_id, post_id))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Draft(answer)


class Clock:
    """Virtual time: sleeping moves it, and nothing waits."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.sleeps: list[float] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    # Only the trigger's: servers of other tests live in this process.
    monkeypatch.setattr(publish, "time", SimpleNamespace(time=clock.time))
    own = SimpleNamespace(sleep=clock.sleep, get_running_loop=asyncio.get_running_loop)
    monkeypatch.setattr(publish, "asyncio", own)
    yield clock


def run(monkeypatch: pytest.MonkeyPatch, target: Target, **arguments: Any) -> dict[str, Any]:
    from airflow_provider_apimart.hooks.publishers import Publisher

    class Hook:
        async def apublisher(self) -> Publisher:
            read.append(self)
            return Publisher(target, NoCredentials(), Seal("secret"))  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "hook_for", lambda name, conn_id: Hook())
    values = {"target": "youtube", "conn_id": "youtube_default", "draft_id": "d1", "seen": "processing", **arguments}
    trigger = PublishTrigger(**json.loads(json.dumps(PublishTrigger(**values).serialize()[1])))

    async def first_event() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(first_event())


def test_it_fires_when_the_draft_is_no_longer_as_it_was_seen(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    target = Target(DraftState.PROCESSING, DraftState.PROCESSING, DraftState.READY)
    event = run(monkeypatch, target, deadline=clock.now + 3600, post_id="p1")
    assert event == {"version": 1, "reason": "changed", "state": "ready"}
    assert target.asked == [("d1", "p1")] * 3


@pytest.mark.parametrize(
    "error",
    [
        TargetUnavailableError("503"),
        CredentialsError("a 401 while asking is no verdict"),
        TargetLimitError("quota", until=datetime.fromtimestamp(1_800_000_300, UTC)),
        OSError("the connection cannot be read"),
    ],
)
def test_an_error_is_no_verdict(monkeypatch: pytest.MonkeyPatch, clock: Clock, error: Exception) -> None:
    target = Target(error, error, DraftState.FAILED)
    event = run(monkeypatch, target, deadline=clock.now + 3600)
    assert (event["reason"], event["state"]) == ("changed", "failed")
    if isinstance(error, TargetLimitError):
        assert clock.sleeps[1] >= 280


def test_the_connection_is_read_again_after_an_error_and_after_a_while(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def reads(*answers: Any) -> int:
        read.clear()
        run(monkeypatch, Target(*answers, DraftState.READY), deadline=clock.now + 9000, poll_interval=100)
        return len(read)

    assert reads(*[DraftState.PROCESSING] * 5) == 1
    assert reads(*[DraftState.PROCESSING] * 12) == 2
    assert reads(TargetUnavailableError("503"), DraftState.PROCESSING) == 2


def test_a_receiver_that_asks_for_time_gets_it(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    run(
        monkeypatch,
        Target(TargetUnavailableError("503", retry_after_seconds=500), DraftState.READY),
        deadline=clock.now + 3600,
    )
    assert clock.sleeps[1] == 500


def test_the_deadline_is_absolute(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    deadline = clock.now + 100
    event = run(monkeypatch, Target(*[DraftState.PROCESSING] * 99), deadline=deadline, poll_interval=30)
    assert event == {"version": 1, "reason": "deadline", "state": "processing"}
    assert clock.now >= deadline and clock.now - deadline < 13
    event = run(monkeypatch, Target(), deadline=clock.now - 1)
    assert event["reason"] == "deadline"


def test_a_time_is_waited_for_without_a_question(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    target, began = Target(), clock.now
    event = run(monkeypatch, target, deadline=began + 3600, ask_at=began + 600, seen=None, draft_id=None)
    assert event["reason"] == "time" and not target.asked
    assert clock.sleeps[0] == 600
    event = run(monkeypatch, target, deadline=clock.now + 10, ask_at=clock.now + 600)
    assert event["reason"] == "deadline"


def test_no_event_comes_before_twelve_seconds(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    run(monkeypatch, Target(DraftState.READY), deadline=clock.now + 3600, poll_interval=1)
    assert sum(clock.sleeps[1:]) == pytest.approx(publish.FIRST_EVENT_SECONDS, abs=1)


def test_what_is_stored_is_plain_and_short() -> None:
    trigger = PublishTrigger(target="webhook", conn_id="c", deadline=1.0, draft_id="d")
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_apimart.triggers.publish.PublishTrigger"
    assert set(kwargs) == {
        "target", "conn_id", "deadline", "draft_id", "post_id", "seen", "ask_at", "poll_interval",
    }  # fmt: skip


def test_a_kill_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(PublishTrigger(target="webhook", conn_id="c", deadline=time.time(), draft_id="d7").on_kill())
    said = capsys.readouterr().out
    assert "d7" in said and "nothing is posted twice" in said
