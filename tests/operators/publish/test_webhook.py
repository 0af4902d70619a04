"""The webhook operator against a real socket: one message for each post, whatever happens to the answers."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from tests.operators.conftest import Tries
from tests.receiver import Answer, Receiver


def make(video: Any, **arguments: Any) -> WebhookPublishOperator:
    return WebhookPublishOperator(**{"task_id": "post", "video": video, "include_url": False, **arguments})


def test_a_video_is_handed_over_once(receiver: Receiver, landed: dict[str, Any], tries: Tries) -> None:
    operator = make(landed)
    found = operator.execute(tries.next(operator))
    ((message_id, message),) = receiver.effects.items()
    assert found["state"] == "delivered" and found["post_id"] == message_id
    assert message["data"]["video"]["sha256"] == landed["videos"][0]["sha256"]
    assert message["data"]["post_id"] == message_id
    operator.execute(tries.next(operator))
    assert len(receiver.attempts) == 1
    (line,) = json.loads(Path(f"{landed['videos'][0]['path']}.posts.json").read_text())["posts"]
    assert line["post"] == message_id


def run_trigger(trigger: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a trigger as the triggerer does: rebuilt from what Airflow stores."""
    monkeypatch.setattr("airflow_provider_apimart.triggers.publish.FIRST_EVENT_SECONDS", 0.0)
    path, kwargs = trigger.serialize()
    rebuilt = type(trigger)(**json.loads(json.dumps(kwargs)))
    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"

    async def first_event() -> dict[str, Any]:
        async for event in rebuilt.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(first_event())


def test_a_long_retry_after_is_waited_for_in_the_triggerer(
    receiver: Receiver, landed: dict[str, Any], tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [Answer(429, {"Retry-After": "300"})]
    operator = make(landed)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(tries.next(operator))
    waited = deferral.value
    assert waited.trigger.ask_at - time.time() == pytest.approx(300, abs=5)
    waited.trigger.ask_at = time.time()
    event = run_trigger(waited.trigger, monkeypatch)
    assert event["reason"] == "time"
    kept = json.loads(json.dumps(waited.kwargs))
    # Its templates render to something else now.
    again = make(landed, payload={"type": "other"})
    again.video = {**landed, "videos": []}
    tries.number -= 1
    found = again.execute_complete(tries.next(again), event, **kept)
    first, second = receiver.attempts
    assert first.body == second.body and first.headers["webhook-id"] == second.headers["webhook-id"]
    assert found["state"] == "delivered" and len(receiver.effects) == 1
