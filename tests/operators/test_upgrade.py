"""What 0.1.0 stored when it deferred, as its own code wrote it, is resumed: nothing is paid for again."""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.batches import first_event, lines
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("no_waiting", "quick")
STORED = (Path(__file__).parent / "deferrals_0_1_0.json").read_text()


def stored(kind: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STORED.replace("/FOLDER", str(folder)))[kind]
    return found


def event_of(found: dict[str, Any]) -> Any:
    """Run the trigger as the triggerer does: from its stored class path and kwargs."""
    module, _, name = found["trigger"].rpartition(".")
    return json.loads(
        json.dumps(asyncio.run(first_event(getattr(import_module(module), name)(**found["trigger_kwargs"]))))
    )


@pytest.mark.skipif(not HAS_STATE_STORE, reason="the record lies in the task state store, which came with Airflow 3.3")
def test_one_generation(emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_apimart.triggers.veo.FIRST_EVENT_SECONDS", 0.0)
    found = stored("single", tmp_path)
    client: ApimartClient
    with ApimartHook().get_conn() as client:
        request = VeoRequest.checked(found["kwargs"]["request"])
        made = client.submit(request.body(), found["kwargs"]["record"]["idempotency_key"]).generation_id
    text = json.dumps(found).replace(found["trigger_kwargs"]["generation_id"], made)
    found = json.loads(text)
    operator = VeoGenerateOperator(
        task_id="make", prompt="a cat", duration=4, output_path=f"{tmp_path}/out/", labels={"sku": "K1"}
    )
    context: Any = tries.next(operator)
    tries.store.values.update(found["store"])
    result = getattr(operator, found["method"])(context, event=event_of(found), **found["kwargs"])
    (video,) = result["videos"]
    assert Path(video["path"]) == tmp_path / "out" / f"{made}.mp4"
    assert json.loads(Path(f"{video['path']}.json").read_text())["labels"] == {"sku": "K1"}
    assert len(emulator.state()["generations"]) == 1


def test_a_batch(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    found = stored("batch", tmp_path)
    for name, text in found["files"].items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    operator = VeoGenerateBatchOperator(
        task_id="make", requests=[{"prompt": "a cat", "duration": 4}], output_path=f"{tmp_path}/out/"
    )
    context: Any = tries.next(operator, store=False)
    result = getattr(operator, found["method"])(context, event=event_of(found), **found["kwargs"])
    assert (result["landed"], len(lines(result))) == (1, 1)
    assert len(emulator.state()["generations"]) == 1
