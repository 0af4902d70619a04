"""What the tests of the operator for one generation share."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.operators.veo import VeoGenerateOperator


def make(tmp_path: Path | None = None, **arguments: Any) -> VeoGenerateOperator:
    values = {"task_id": "make", "prompt": "a cat", "duration": 4, "deferrable": False, **arguments}
    if tmp_path is not None:
        values.setdefault("output_path", f"{tmp_path}/")
    return VeoGenerateOperator(**values)


def run_trigger(trigger: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a trigger as the triggerer does: rebuilt from what Airflow stores."""
    monkeypatch.setattr("airflow_provider_apimart.triggers.veo.FIRST_EVENT_SECONDS", 0.0)
    monkeypatch.setattr("airflow_provider_apimart.generation.waiting.schedule.FIRST_POLL_SECONDS", 0.0)
    path, kwargs = trigger.serialize()
    rebuilt = type(trigger)(**json.loads(json.dumps(kwargs)))
    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"

    async def first_event() -> dict[str, Any]:
        async for event in rebuilt.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(first_event())
