"""A batch that defers on a disk of the worker's own: the triggerer says why it cannot go on, and nothing is paid."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.batch.end import BatchIncompleteError
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger
from tests.operators.batches import batch, first_event, lines, prompts, run
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("quick")
FRAME = Path(__file__).parents[2] / "example_dags" / "frames" / "dawn.png"


def resume(operator: Any, tries: Tries, away: Path, *, back: bool = True) -> dict[str, Any]:
    """Defer, and let the triggerer run where ``away`` does not exist."""
    context: Any = tries.next(operator, store=False)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    elsewhere = away.with_name("the-workers-own-disk")
    shutil.move(away, elsewhere)
    event = asyncio.run(first_event(VeoBatchTrigger(**deferred.value.trigger.serialize()[1])))
    if back:
        shutil.move(elsewhere, away)
    return dict(operator.execute_complete(context, event=json.loads(json.dumps(event)), **deferred.value.kwargs))


WHY = r"is local to the machine of the worker.*object storage, a volume that all of them share, or deferrable=False"


def test_plan_on_the_workers_own_disk(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    with pytest.raises(
        BatchIncompleteError,
        match=rf"the batch's plan .*index\.json is not on this machine.*{WHY}.*Nothing was submitted",
    ):
        resume(batch(tmp_path, prompts(2), deferrable=True), tries, tmp_path / "out")
    assert emulator.state()["paid"] == 0


def test_videos_on_the_workers_own_disk_with_a_state_that_both_can_read(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True, state_path=f"{tmp_path}/shared/")
    with pytest.raises(BatchIncompleteError, match=rf"the folder of output_path .* is not on this machine.*{WHY}"):
        resume(operator, tries, tmp_path / "out")
    assert emulator.state()["paid"] == 0


def test_frames_on_the_workers_own_disk(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    frame = shutil.copy(FRAME, tmp_path / "frames")
    operator = batch(tmp_path, [{"prompt": "a cat", "first_frame_image": str(frame)}], deferrable=True)
    with pytest.raises(BatchIncompleteError, match=rf"frame.*dawn\.png is not on this machine.*{WHY}"):
        resume(operator, tries, tmp_path / "frames")
    assert emulator.state()["paid"] == 0
    # Where the disk is there, the next try goes on.
    assert run(batch(tmp_path, [{"prompt": "a cat", "first_frame_image": str(frame)}]), tries)["landed"] == 1


def test_end_on_another_worker(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(1), deferrable=True)
    with pytest.raises(BatchIncompleteError, match=rf"is not on this machine.*{WHY}"):
        resume(operator, tries, tmp_path / "out", back=False)
    assert emulator.state()["paid"] == 0


def test_shared_disk_is_no_trouble(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    result = run(batch(tmp_path, prompts(2), deferrable=True), tries)
    assert [line["outcome"] for line in lines(result)] == ["landed", "landed"]
