"""The deadline of one generation, and who else ends its wait: what is said, and what the next try does."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import TaskDeferralTimeout
from airflow_provider_apimart.client import errors
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.waiting import worker
from airflow_provider_apimart.operators import tries as steps
from airflow_provider_apimart.operators import waiting
from airflow_provider_apimart.storage.localfs import part_file
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_deadline_parks_and_the_next_try_goes_on(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("task", "status", status=503, times=-1)
    operator = make(tmp_path, timeout=60, poll_interval=1)
    # The operator's own clock, a second further at each look; the emulator in this process keeps the real one.
    ticks = itertools.count(time.time())
    for module in (steps, waiting, worker):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: next(ticks), sleep=lambda seconds: None))
    with pytest.raises(errors.GenerationParkedError, match="re-attaches"):
        operator.execute(tries.next(operator))
    assert 10 < len(emulator.requests("task")) < 100
    emulator.clear_faults()
    operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_deadline_shows_a_status_that_is_not_known(
    emulator: Emulator, tries: Tries, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    emulator.fault("task", "task_status", value="expired", times=-1)
    operator = make(deferrable=deferrable, timeout=3)
    context = tries.next(operator)
    with pytest.raises(errors.GenerationParkedError, match=r"'expired', which is not known, though a video is listed"):
        if deferrable:
            with pytest.raises(TaskDeferred) as deferred:
                operator.execute(context)
            event = run_trigger(deferred.value.trigger, monkeypatch)
            operator.execute_complete(context, event, **deferred.value.kwargs)
        else:
            ticks = itertools.count(time.time())
            clock = SimpleNamespace(time=lambda: next(ticks), sleep=lambda seconds: None)
            for module in (steps, waiting, worker):
                monkeypatch.setattr(module, "time", clock)
            operator.execute(context)
    assert emulator.state()["posts"] == 1


def test_a_wait_says_where_the_money_is_before_anybody_can_end_it(
    emulator: Emulator, tries: Tries, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = make(deferrable=True)
    for how in ("was submitted. Whatever", "was submitted before. Whatever"):
        with pytest.raises(TaskDeferred):
            operator.execute(tries.next(operator))
        said = capsys.readouterr().out
        assert f"generation {operator.generation_id}" in said and how in said and "no cancel" in said
        emulator.fault("task", "task_status", value="processing")


def test_deadline_event_parks(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    event = {"version": 1, "reason": "deadline", "generation": None, "generation_id": "x", "failures": 0}
    with pytest.raises(errors.GenerationParkedError, match="parked"):
        operator.execute_complete(tries.next(operator), event, **deferred.value.kwargs)


@pytest.mark.parametrize(("timeout", "limit", "seconds"), [(600, 60, 60), (60, 600, 60), (60, None, 60)])
def test_the_shorter_of_timeout_and_execution_timeout_ends_a_deferred_wait(
    emulator: Emulator, tries: Tries, timeout: int, limit: int | None, seconds: int
) -> None:
    operator = make(
        deferrable=True, timeout=timeout, execution_timeout=None if limit is None else timedelta(seconds=limit)
    )
    began = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    deadline = deferred.value.trigger.serialize()[1]["deadline"]
    assert began + seconds <= deadline <= time.time() + seconds


def test_execution_timeout_counts_from_each_try_and_timeout_from_the_submission(
    emulator: Emulator, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("task", "task_status", value="processing", times=-1)
    operator = make(deferrable=True, timeout=600, execution_timeout=timedelta(seconds=60))
    began, passed = time.time(), [0.0]
    for module in (steps, waiting):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: time.time() + passed[-1]))
    deadlines = []
    for seconds in (0.0, 300.0, 570.0):
        passed.append(seconds)
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(tries.next(operator))
        deadlines.append(deferred.value.trigger.serialize()[1]["deadline"] - began)
    assert deadlines == pytest.approx([60, 360, 600], abs=20)
    assert len(emulator.state()["generations"]) == 1


def test_execution_timeout_parks_and_is_named(emulator: Emulator, tries: Tries) -> None:
    operator = make(deferrable=True, execution_timeout=timedelta(seconds=60))
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    event = {"version": 1, "reason": "deadline", "generation": None, "generation_id": "x", "failures": 0}
    with pytest.raises(errors.GenerationParkedError, match=r"parked.*What passed was execution_timeout=0:01:00"):
        operator.execute_complete(tries.next(operator), event, **deferred.value.kwargs)


@pytest.mark.parametrize(
    "event", [None, {}, {"version": 99, "hello": "world"}, "text", {"generation": {"status": "?"}}]
)
def test_an_event_of_another_version_is_asked_about_not_believed(
    emulator: Emulator, tries: Tries, tmp_path: Path, event: Any
) -> None:
    operator = make(tmp_path, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    result = operator.execute_complete(tries.next(operator), event, **deferred.value.kwargs)
    assert Path(result["videos"][0]["path"]).is_file()


def test_airflows_own_timeout_says_where_the_money_is(tries: Tries, capsys: pytest.CaptureFixture[str]) -> None:
    operator = make(deferrable=True)
    with pytest.raises(TaskDeferralTimeout):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, tries.next(operator))
    assert "re-attaches to it without paying again" in capsys.readouterr().out


def test_on_kill_says_that_the_generation_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    operator = make()
    operator.on_kill()
    assert capsys.readouterr().out == ""
    operator.generation_id = "task_1"
    operator.on_kill()
    said = capsys.readouterr().out
    assert "task_1" in said
    assert "no cancel" in said


def test_on_kill_leaves_no_part_of_a_download_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a system where a file under way has to have a name.
    monkeypatch.setattr("airflow_provider_apimart.storage.localfs._create_anonymous", lambda folder, part: None)
    with part_file(str(tmp_path / "clip.mp4")) as part:
        assert [each.suffix for each in tmp_path.iterdir()] == [".part"]
        make().on_kill()
        assert list(tmp_path.iterdir()) == []
        # It is still a file, until the process ends.
        part.file.write(b"more")
    assert list(tmp_path.iterdir()) == []
