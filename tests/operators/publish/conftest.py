"""A landed video, a receiver, and the pieces of Airflow that a publish operator needs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart.hooks.decisions import record_decision
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.hooks.stores.model_stores import RECORD_FOLDER
from airflow_provider_apimart.hooks.stores.record_stores import POST_SUFFIX
from airflow_provider_apimart.operators.publish import WebhookPublishOperator
from airflow_provider_apimart.publishing.decision import Decision, Person, Verdict
from tests.operators.conftest import Tries
from tests.receiver import Receiver

CONTENT = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 40


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver behind ``webhook_default``."""
    with Receiver() as receiver:
        monkeypatch.setenv("AIRFLOW_CONN_WEBHOOK_DEFAULT", receiver.connection())
        yield receiver


def land(folder: Path, name: str = "gen-1.mp4", content: bytes = CONTENT) -> dict[str, Any]:
    """Put a video and its sidecar into ``folder``, and return the XCom that a generate task would have returned."""
    path = folder / name
    path.write_bytes(content)
    entry = {
        "path": str(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "duration_seconds": 8.0,
        "width": 720,
        "height": 1280,
        "has_audio": True,
    }
    sidecar = {"schema": 1, "generation_id": "gen-1", "video": {**entry, "sample": 1}}
    path.with_name(f"{name}.json").write_text(json.dumps(sidecar))
    return {
        "generation_id": "gen-1",
        "status": "completed",
        "videos": [{"url": "https://cdn.example.com/x.mp4", "expires_at": None, **entry}],
    }


@pytest.fixture
def landed(tmp_path: Path) -> dict[str, Any]:
    """A generate task's XCom whose video is in storage."""
    return land(tmp_path)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait in the worker; keep what would have been waited."""
    from airflow_provider_apimart.operators.publish import base

    waits: list[float] = []
    # Only the operator's own: servers of the tests live in this process.
    monkeypatch.setattr(base, "time", SimpleNamespace(time=time.time, sleep=waits.append))
    return waits


def lose_records(tries: Tries, landed: dict[str, Any]) -> None:
    """Lose what is known of the post: in the task state store, and beside the video where there is no such store."""
    tries.store.values.clear()
    folder = Path(landed["videos"][0]["path"]).parent / RECORD_FOLDER
    for record in folder.glob(f"*{POST_SUFFIX}"):
        record.unlink()


def make(video: Any, **arguments: Any) -> WebhookPublishOperator:
    """Return a task that posts ``video`` without a link."""
    return WebhookPublishOperator(**{"task_id": "post", "video": video, "include_url": False, **arguments})


def deferred(execute: Callable[[], Any]) -> Any:
    """Return the deferral that ``execute`` ends in."""
    with pytest.raises(TaskDeferred) as deferral:
        execute()
    return deferral.value


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


def decide(landed: dict[str, Any], verdict: str, **more: Any) -> None:
    """Write what a person decided beside a landed video."""
    video = landed["videos"][0]
    values = {
        "decision": Verdict(verdict),
        "by": Person(id="7", name="Ada"),
        "at": datetime.now(UTC),
        "video_sha256": video["sha256"],
        "dag_id": "ads",
        "run_id": "monday",
        "task_id": "approve",
        **more,
    }
    record_decision(file_of(video["path"], "video"), Decision(**values))
