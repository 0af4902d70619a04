"""What the tests of the batch operator share."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG
from airflow.triggers.base import BaseTrigger

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger
from tests.operators.conftest import Tries

PRICE = 0.256


def batch(folder: Path, rows: Any = None, **options: Any) -> VeoGenerateBatchOperator:
    with DAG(dag_id="a_dag", schedule=None):
        return VeoGenerateBatchOperator(
            task_id="videos",
            requests=rows,
            output_path=str(folder / "out"),
            **{"defaults": {"duration": 4}, "deferrable": False, "retries": 3, **options},
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


async def first_event(trigger: BaseTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def lines(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path(result["manifest"]).read_text().splitlines()]


def paid(emulator: Emulator) -> Counter[str]:
    charged = [one for one in emulator.state()["generations"] if one["status"] != "failed"]
    return Counter(one["prompt"] for one in charged)
