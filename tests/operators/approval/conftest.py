"""A generated video, and the desk where a person decides about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.approval import VideoApprovalOperator
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.approval.desk import Desk
from tests.operators.conftest import Tries
from tests.operators.single import make as make_generate

STORES = [True, False] if HAS_STATE_STORE else [False]


@pytest.fixture
def generated(emulator: Emulator, no_waiting: list[float], tmp_path: Path) -> dict[str, Any]:
    """What a generate task has returned: a video that cost money, with its sidecar."""
    operator = make_generate(tmp_path, seed=41, labels={"sku": "A-1"})
    tries = Tries()
    return json.loads(json.dumps(operator.execute(tries.next(operator))))  # type: ignore[no-any-return]


@pytest.fixture(params=STORES, ids=lambda kept: "task state store" if kept else "beside the video")
def desk(
    request: pytest.FixtureRequest, generated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Desk]:
    """Returns the desk of an approval of the generated video."""

    def at(**arguments: Any) -> Desk:
        values = {"task_id": "approve", "video": generated, **arguments}
        return Desk(lambda: VideoApprovalOperator(**values), monkeypatch, store=request.param)

    return at
