"""After a deferral Airflow has rendered every argument anew: what counts is what was kept when it was paid for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk.execution_time.timeout import timeout

from airflow_provider_apimart._compat import AirflowFailException, TaskDeferralTimeout
from airflow_provider_apimart.client.errors import GenerationParkedError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch.engine.engine import Engine
from airflow_provider_apimart.operators.arguments import UnusableArgument
from airflow_provider_apimart.operators.batch.end import BatchIncompleteError
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.batches import batch, first_event, lines, paid, prompts, run
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

pytestmark = pytest.mark.usefixtures("no_waiting", "quick")


def deferral_of(operator: Any, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    return caught.value


def resume(operator: Any, context: Any, deferral: TaskDeferred, event: Any) -> Any:
    """Resume as a worker does, with what Airflow has stored."""
    return operator.execute_complete(context, event=event, **json.loads(json.dumps(deferral.kwargs)))


def event_of(deferral: TaskDeferred) -> dict[str, Any]:
    _, stored = deferral.trigger.serialize()
    event = asyncio.run(first_event(VeoBatchTrigger(**json.loads(json.dumps(stored)))))
    return dict(json.loads(json.dumps(event)))


# --- one generation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [402, 401, 403, 503])
def test_an_event_that_cannot_be_read_and_no_answer_leave_it_to_the_next_try(
    emulator: Emulator, tries: Tries, tmp_path: Path, status: int
) -> None:
    context = tries.next(operator := make(tmp_path, deferrable=True))
    deferral = deferral_of(operator, context)
    emulator.fault("task", "status", status=status, times=-1)
    with pytest.raises(GenerationParkedError, match=r"nothing is paid again.*re-attaches"):
        resume(operator, context, deferral, {"of": "another version"})


def test_no_answer_for_want_of_money_asks_for_a_top_up(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    context = tries.next(operator := make(tmp_path, deferrable=True))
    deferral = deferral_of(operator, context)
    emulator.top_up(-100)
    with pytest.raises(GenerationParkedError, match=r"holds too little.*top up.*nothing is paid again.*re-attaches"):
        resume(operator, context, deferral, {"of": "another version"})


@pytest.mark.parametrize("now", ["None", "", "elsewhere/", None, 7])
def test_a_video_lands_where_it_was_to_go_when_it_was_paid_for(
    emulator: Emulator,
    tries: Tries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    now: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    context = tries.next(first := make(tmp_path / "videos", deferrable=True, labels={"sku": 1}))
    deferral = deferral_of(first, context)
    event = run_trigger(deferral.trigger, monkeypatch)
    again = make(tmp_path / "videos", deferrable=True)
    again.output_path, again.labels, again.apimart_conn_id = now, "[broken", "nobody"
    (video,) = resume(again, context, deferral, event)["videos"]
    assert f"It goes on with that, not with {now!r}, which it renders to now" in capsys.readouterr().out
    assert Path(video["path"]).parent == tmp_path / "videos"
    assert json.loads(Path(f"{video['path']}.json").read_text())["labels"] == {"sku": 1}
    assert not [each for each in tmp_path.iterdir() if each.name != "videos"]
    assert emulator.state()["paid"] == 1


def test_nothing_is_said_where_nothing_has_changed(
    emulator: Emulator,
    tries: Tries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operator = make(deferrable=True, output_path=tmp_path / "videos")
    context = tries.next(operator)
    deferral = deferral_of(operator, context)
    event = run_trigger(deferral.trigger, monkeypatch)
    resume(make(deferrable=True, output_path=tmp_path / "videos"), context, deferral, event)
    assert "renders to now" not in capsys.readouterr().out


def test_a_retry_lands_where_it_says_itself_and_the_record_says_so_too(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tries.next(first := make(tmp_path / "wrong", deferrable=True))
    deferral_of(first, context)
    # The question with which a retry begins finds it unfinished.
    emulator.fault("task", "task_status", value="processing", times=1)
    context = tries.next(second := make(tmp_path / "right", deferrable=True))
    deferral = deferral_of(second, context)
    event = run_trigger(deferral.trigger, monkeypatch)
    (video,) = resume(make(tmp_path / "right", deferrable=True), context, deferral, event)["videos"]
    assert Path(video["path"]).parent == tmp_path / "right"
    assert not list((tmp_path / "wrong").glob("*.mp4"))
    assert emulator.state()["paid"] == 1


def test_where_airflow_forgot_what_was_kept_a_wrong_place_is_refused_and_the_next_try_lands(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tries.next(operator := make(tmp_path, deferrable=True))
    event = run_trigger(deferral_of(operator, context).trigger, monkeypatch)
    wrong = make(tmp_path, deferrable=True)
    wrong.output_path = "None"
    with pytest.raises(UnusableArgument, match=r"output_path='None'.*paid for and stays known") as caught:
        wrong.execute_complete(context, event=event)
    assert not isinstance(caught.value, AirflowFailException)
    right = make(tmp_path, deferrable=False)
    assert Path(right.execute(tries.next(right))["videos"][0]["path"]).exists()
    assert emulator.state()["paid"] == 1


def test_a_deferral_of_the_release_before_is_resumed(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tries.next(operator := make(tmp_path, deferrable=True))
    deferral = deferral_of(operator, context)
    event = run_trigger(deferral.trigger, monkeypatch)
    kwargs = json.loads(json.dumps(deferral.kwargs))
    # 0.1.0 kept no labels.
    assert kwargs.pop("labels") == {}
    result = make(tmp_path, deferrable=True, labels={"a": 1}).execute_complete(context, event=event, **kwargs)
    assert json.loads(Path(f"{result['videos'][0]['path']}.json").read_text())["labels"] == {"a": 1}


# --- a batch ----------------------------------------------------------------------------------------------------------


def test_a_batch_without_its_kwargs_finds_its_plan_and_writes_its_manifest(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = batch(tmp_path, prompts(3), deferrable=True)
    context = tries.next(operator, store=False)
    event = event_of(deferral_of(operator, context))
    # As `dags test` does: the event is there, the kwargs are not.
    result = batch(tmp_path, prompts(3), deferrable=True).execute_complete(context, event=event)  # type: ignore[arg-type]
    assert result["landed"] == 3 == len(lines(result))
    assert set(paid(emulator).values()) == {1}


def test_a_batch_whose_plan_nobody_names_fails_for_now(tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(1))
    with pytest.raises(BatchIncompleteError, match=r"Airflow forgot which plan.*without paying again"):
        operator.execute_complete(tries.next(operator), event={"reason": "ended"})  # type: ignore[arg-type]


@pytest.mark.parametrize("now", ["None", "elsewhere/", None])
def test_a_manifest_lies_beside_its_videos(
    emulator: Emulator, tries: Tries, tmp_path: Path, capsys: pytest.CaptureFixture[str], now: Any
) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True)
    context = tries.next(operator, store=False)
    deferral = deferral_of(operator, context)
    event = event_of(deferral)
    again = batch(tmp_path, prompts(2), deferrable=True)
    again.output_path, again.manifest_format, again.apimart_conn_id = now, "xls", "nobody"
    result = resume(again, context, deferral, event)
    assert Path(result["manifest"]).parent == tmp_path / "out"
    assert result["landed"] == 2
    assert f"It goes on with that, not with {now!r}, which it renders to now" in capsys.readouterr().out


def test_a_batch_trigger_of_the_release_before_is_run(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True)
    context = tries.next(operator, store=False)
    deferral = deferral_of(operator, context)
    _, stored = deferral.trigger.serialize()
    # What 0.1.0 stored, and what it kept in the deferral.
    old = {name: stored[name] for name in ("plan_uri", "output_path", "apimart_conn_id", "rows")}
    event = asyncio.run(first_event(VeoBatchTrigger(**old)))
    kept = {name: deferral.kwargs[name] for name in ("plan_uri", "began")}  # type: ignore[index]
    assert operator.execute_complete(context, event=event, **kept)["landed"] == 2  # type: ignore[arg-type]


def test_without_a_limit_an_older_triggerer_can_run_the_trigger(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True)
    _, stored = deferral_of(operator, tries.next(operator, store=False)).trigger.serialize()
    assert set(stored) == {"plan_uri", "output_path", "apimart_conn_id", "rows"}


def test_execution_timeout_limits_the_deferred_wait(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True, execution_timeout=timedelta(minutes=5))
    before = time.time()
    deferral = deferral_of(operator, tries.next(operator, store=False))
    _, stored = deferral.trigger.serialize()
    assert before + 300 <= stored["deadline"] <= time.time() + 300
    assert deferral.timeout == timedelta(minutes=20)


def test_a_batch_whose_time_is_over_fails_for_now_and_the_next_try_pays_for_what_is_left(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = batch(tmp_path, prompts(3), deferrable=True, execution_timeout=timedelta(minutes=5))
    context = tries.next(operator, store=False)
    deferral = deferral_of(operator, context)
    _, stored = deferral.trigger.serialize()
    late = VeoBatchTrigger(**{**stored, "deadline": time.time() - 1})
    event = json.loads(json.dumps(asyncio.run(first_event(late))))
    assert event["stop"]["kind"] == "deadline"
    with pytest.raises(
        BatchIncompleteError, match=r"execution_timeout has passed.*3 rows are left.*The next try"
    ) as caught:
        resume(operator, context, deferral, event)
    assert not isinstance(caught.value, AirflowFailException)
    assert emulator.state()["generations"] == []
    second = batch(tmp_path, prompts(3))
    assert second.execute(tries.next(second, store=False))["landed"] == 3
    assert set(paid(emulator).values()) == {1}


def test_a_batch_without_a_limit_is_not_deferred_for_ever(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True, timeout=600)
    deferral = deferral_of(operator, tries.next(operator, store=False))
    # A triggerer of an older version knows no such argument.
    assert "deadline" not in deferral.trigger.serialize()[1]
    assert deferral.timeout is not None
    assert timedelta(days=1) < deferral.timeout < timedelta(days=2)


def test_a_triggerer_that_never_came_is_told_with_the_money(
    tries: Tries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = batch(tmp_path, prompts(2), deferrable=True)
    with pytest.raises(TaskDeferralTimeout):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, tries.next(operator))  # type: ignore[arg-type]
    assert "the next try, or a clear, goes on from the journal without paying again" in capsys.readouterr().out


# --- a later try of one generation ------------------------------------------------------------------------------------


def goes_on(operator: Any, again: Any, context: Any, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a try that finds the generation still at work, through the triggerer where it defers."""
    emulator.fault("task", "task_status", value="processing", times=1)
    try:
        return operator.execute(context)
    except TaskDeferred as deferral:
        return resume(again, context, deferral, run_trigger(deferral.trigger, monkeypatch))


@pytest.mark.skipif(not HAS_STATE_STORE, reason="before Airflow 3.3 the record is beside the output")
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_later_try_whose_template_finds_nothing_does_not_lose_the_video(
    emulator: Emulator,
    tries: Tries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    deferrable: bool,
) -> None:
    first = make(tmp_path / "videos", deferrable=True)
    deferral_of(first, tries.next(first))
    second, again = (make(deferrable=deferrable, output_path=None) for _ in range(2))
    result = goes_on(second, again, tries.next(second), emulator, monkeypatch)
    assert Path(result["videos"][0]["path"]).parent == tmp_path / "videos"
    assert "not with None, which it renders to now" in capsys.readouterr().out


def test_a_later_try_goes_on_with_its_own_connection(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(tmp_path, deferrable=True)
    deferral_of(first, tries.next(first))
    # The connection was renamed meanwhile.
    monkeypatch.setenv("AIRFLOW_CONN_RENAMED", os.environ["AIRFLOW_CONN_APIMART_DEFAULT"])
    monkeypatch.delenv("AIRFLOW_CONN_APIMART_DEFAULT")
    second, again = (make(tmp_path, deferrable=True, apimart_conn_id="renamed") for _ in range(2))
    result = goes_on(second, again, tries.next(second), emulator, monkeypatch)
    assert Path(result["videos"][0]["path"]).is_file()
    assert emulator.state()["paid"] == 1


# --- a batch that does not defer --------------------------------------------------------------------------------------


def test_the_sync_path_ends_too_where_nobody_hears_airflows_interruption(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = batch(tmp_path, prompts(2), execution_timeout=timedelta(microseconds=1))
    with pytest.raises(BatchIncompleteError, match="execution_timeout has passed"):
        run(operator, tries)
    assert emulator.requests("submit") == []
    assert run(batch(tmp_path, prompts(2)), tries)["landed"] == 2


def test_airflows_interruption_of_the_worker_leaves_a_journal_that_is_gone_on_with(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("task", "task_status", value="processing", times=-1)
    operator = batch(tmp_path, prompts(6), max_in_flight=4, execution_timeout=timedelta(hours=1))
    launch = Engine._launch

    def interrupted(engine: Engine) -> None:
        if len(engine.state.polls) == 4:
            signal.raise_signal(signal.SIGALRM)
        launch(engine)

    monkeypatch.setattr(Engine, "_launch", interrupted)
    with pytest.raises(BaseException, match="Timeout") as caught, timeout(3600):
        run(operator, tries)
    assert type(caught.value).__name__ == "AirflowTaskTimeout"
    monkeypatch.setattr(Engine, "_launch", launch)
    emulator.clear_faults()
    result = run(operator, tries)
    assert result["landed"] == 6
    assert len(emulator.requests("submit")) == 6, "what was submitted is known, and not sent again"
    assert set(paid(emulator).values()) == {1}
