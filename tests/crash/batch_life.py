"""Lives a batch of three rows again and again, killed with SIGKILL at another boundary each time.

Run as ``python -m tests.crash.batch_life FOLDER`` with how many boundaries to skip over as standard input; leaves
``results.json``. A process of its own, with Airflow loaded once and no threads, because children are forked from it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_apimart.generation.batch import group_commit
from airflow_provider_apimart.generation.pricing.budget import Budget
from airflow_provider_apimart.generation.pricing.ledger_files import Sums
from airflow_provider_apimart.generation.waiting import schedule
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from airflow_provider_apimart.triggers import batch as trigger_module
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger
from tests.crash.boundaries import Boundaries, Point, share_certificates
from tests.crash.children import forked, prepare_to_fork, shared_out
from tests.crash.life import PNG

ROWS = 3
WORKERS = 2
BUDGET_USD = 0.8


def shrink_waits() -> None:
    schedule.FIRST_POLL_SECONDS = schedule.MIN_INTERVAL_SECONDS = 0.02
    schedule.LEAST_SECONDS = schedule.MAX_EARLY_INTERVAL_SECONDS = 0.02
    group_commit.PATIENCE_SECONDS = 0.005
    trigger_module.FIRST_EVENT_SECONDS = 0.0


def one_try(folder: Path, name: str, number: int, deferrable: bool) -> None:
    """Run one try to its end, the trigger in this process too, and write down its XCom."""
    frame = folder / "frame.png"
    frame.write_bytes(PNG)
    rows: list[dict[str, Any]] = [{"prompt": f"{name} row {row}", "duration": 4} for row in range(ROWS)]
    rows[0]["first_frame_image"] = str(frame)
    with DAG(dag_id=f"crash_{name}", schedule=None):
        operator = VeoGenerateBatchOperator(
            task_id="videos",
            requests=rows,
            output_path=str(folder / "out"),
            max_in_flight=2,
            deferrable=deferrable,
            retries=8,
            # There is room for these rows and no other.
            budget=Budget(BUDGET_USD, "month", str(folder / "budget")),
        )
    names = {"dag_id": f"crash_{name}", "run_id": "manual__2026-01-01", "task_id": "videos", "map_index": -1}
    context: Any = {"ti": SimpleNamespace(**names, try_number=number, max_tries=8), "task": operator}
    try:
        result = operator.execute(context)
    except TaskDeferred as deferral:
        kwargs: Any = deferral.kwargs
        event = asyncio.run(first_event(VeoBatchTrigger(**deferral.trigger.serialize()[1])))
        result = operator.execute_complete(context, event=event, **kwargs)
    (folder / "xcom.json").write_text(json.dumps(result))


async def first_event(trigger: VeoBatchTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def life(folder: Path, name: str, kill: Point | None, deferrable: bool) -> dict[str, Any]:
    """Run tries until one gets through; the first is killed."""
    folder.mkdir(parents=True)
    crossed: list[Point] = []
    codes = []
    for number in range(1, 6):

        def child(number: int = number) -> None:
            boundaries = Boundaries("batch", kill if number == 1 else None)
            os.fdatasync = boundaries._around("fdatasync", os.fdatasync)
            boundaries.install(str(folder / "out"))
            one_try(folder, name, number, deferrable)
            (folder / "trace.json").write_text(json.dumps([asdict(point) for point in boundaries.crossed]))

        codes.append(forked(child))
        if codes[-1] == 0:
            crossed = [Point(**one) for one in json.loads((folder / "trace.json").read_text())]
            break
    fs = LocalFileSystem()
    files = sorted(path.name for path in (folder / "out").iterdir() if not path.name.startswith(".apimart"))
    spent = [float(Sums.of_files(fs.ls(str(month), detail=True)).total) for month in (folder / "budget").glob("*/*")]
    xcom = json.loads((folder / "xcom.json").read_text()) if codes[-1] == 0 else None
    lines = [json.loads(text) for text in Path(xcom["manifest"]).read_text().splitlines()] if xcom else []
    return {
        **{"name": name, "kill": asdict(kill) if kill else None, "codes": codes, "xcom": xcom, "lines": lines},
        **{"spent": spent, "files": files, "crossed": [asdict(point) for point in crossed] if kill is None else []},
    }


def main(folder: Path) -> None:
    step = int(sys.stdin.read() or "1")
    share_certificates()
    shrink_waits()
    # What is imported on the way need not be imported in each child.
    (folder / "warm").mkdir()
    one_try(folder / "warm", "warm", 1, deferrable=True)
    prepare_to_fork()
    probe = life(folder / "probe", "probe", None, deferrable=True)
    points = [Point(**one) for one in probe["crossed"]]
    # Each boundary's first time, and every so many of all.
    chosen = [point for number, point in enumerate(points) if point.occurrence == 0 or number % step == 0]

    def live(job: tuple[int, Point]) -> dict[str, Any]:
        number, point = job
        name = f"kill{number}"
        return life(folder / name, name, point, deferrable=number % 2 == 0)

    results = [probe, *shared_out(folder, list(enumerate(chosen)), live, WORKERS)]
    Path(folder, "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
