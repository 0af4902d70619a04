"""The batch operator: its arguments, its rows, its manifest, and what it does when it is run again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch import waiting
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from airflow_provider_apimart.triggers import batch as trigger_module
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger
from tests.operators.conftest import Tries

PRICE = 0.256


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of events is what is tried, not their pace."""
    from airflow_provider_apimart.generation.batch import flusher, pace

    monkeypatch.setattr(pace, "FIRST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(flusher, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)


def batch(folder: Path, rows: Any = None, **options: Any) -> VeoGenerateBatchOperator:
    with DAG(dag_id="a_dag", schedule=None):
        return VeoGenerateBatchOperator(
            task_id="videos",
            requests=rows,
            defaults={"duration": 4},
            output_path=str(folder / "out"),
            **{"deferrable": False, "retries": 3, **options},
        )


def prompts(count: int, extra: str = "") -> list[dict[str, Any]]:
    return [{"prompt": f"row {number}{extra}", "sku": f"S-{number}"} for number in range(count)]


def run(operator: VeoGenerateBatchOperator, tries: Tries) -> dict[str, Any]:
    """One try, through the triggerer where the operator defers."""
    context: Any = tries.next(operator, store=False)
    try:
        return operator.execute(context)
    except TaskDeferred as deferral:
        kwargs: Any = deferral.kwargs
        path, stored = deferral.trigger.serialize()
        assert path == "airflow_provider_apimart.triggers.veo.VeoBatchTrigger"
        event = asyncio.run(first_event(VeoBatchTrigger(**json.loads(json.dumps(stored)))))
        return operator.execute_complete(context, event=json.loads(json.dumps(event)), **json.loads(json.dumps(kwargs)))


async def first_event(trigger: VeoBatchTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def lines(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path(result["manifest"]).read_text().splitlines()]


def paid(emulator: Emulator) -> Counter[str]:
    charged = [one for one in emulator.state()["generations"] if one["status"] != "failed"]
    return Counter(one["prompt"] for one in charged)


@pytest.mark.parametrize("deferrable", [True, False])
def test_every_row_becomes_a_landed_video_and_a_line(
    emulator: Emulator, tries: Tries, tmp_path: Path, deferrable: bool
) -> None:
    result = run(batch(tmp_path, prompts(12), deferrable=deferrable), tries)
    assert (result["rows"], result["landed"], result["failed"], result["left"]) == (12, 12, 0, 0)
    assert result["cost_usd"] == pytest.approx(12 * PRICE)
    assert result["estimated_cost_usd"] == pytest.approx(12 * PRICE)
    found = lines(result)
    assert [line["row"] for line in found] == list(range(1, 13))
    for line in found:
        assert (line["outcome"], line["error"]) == ("landed", None)
        assert line["labels"] == {"sku": f"S-{line['row'] - 1}"}
        assert line["request"]["prompt"] == f"row {line['row'] - 1}"
        assert Path(line["path"]).stat().st_size == line["videos"][0]["bytes"]
        sidecar = json.loads(Path(f"{line['path']}.json").read_text())
        assert sidecar["labels"] == line["labels"]
    assert set(paid(emulator).values()) == {1}
    assert len(json.dumps(result)) < 1000
    _ = waiting
