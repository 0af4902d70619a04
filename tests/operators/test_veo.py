"""One try after the other against the emulator, as Airflow would run them, without Airflow's processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import AirflowFailException, TaskDeferralTimeout
from airflow_provider_apimart.client import errors
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.localfs import part_file
from airflow_provider_apimart.operators import veo
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import HAS_STATE_STORE, Tries

KEYS = ["generation_id", "status", "model", "cost_usd", "submitted_at", "completed_at", "videos"]
VIDEO_KEYS = [
    "url",
    "expires_at",
    "path",
    "bytes",
    "sha256",
    "duration_seconds",
    "width",
    "height",
    "has_audio",
]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not wait between polls; keep what would have been waited."""
    waits: list[float] = []
    monkeypatch.setattr(veo.time, "sleep", waits.append)
    return waits


def make(tmp_path: Path | None = None, **arguments: Any) -> VeoGenerateOperator:
    values = {"task_id": "make", "prompt": "a cat", "duration": 4, "deferrable": False, **arguments}
    if tmp_path is not None:
        values.setdefault("output_path", f"{tmp_path}/")
    return VeoGenerateOperator(**values)


def run_trigger(trigger: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a trigger as the triggerer does: rebuilt from what Airflow stores."""
    monkeypatch.setattr("airflow_provider_apimart.triggers.veo.FIRST_EVENT_SECONDS", 0.0)
    monkeypatch.setattr("airflow_provider_apimart.generation.schedule.FIRST_POLL_SECONDS", 0.0)
    path, kwargs = trigger.serialize()
    rebuilt = type(trigger)(**json.loads(json.dumps(kwargs)))
    assert path == f"{type(trigger).__module__}.{type(trigger).__qualname__}"

    async def first_event() -> dict[str, Any]:
        async for event in rebuilt.run():
            return dict(event.payload)
        raise AssertionError("no event")

    return asyncio.run(first_event())


# --- the good path ---------------------------------------------------------------------------------------------------


def test_sync_path_lands_and_returns_the_documented_keys(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    result = operator.execute(tries.next(operator))
    assert list(result) == KEYS
    assert list(result["videos"][0]) == VIDEO_KEYS
    json.dumps(result)
    assert Path(result["videos"][0]["path"]).name == f"{result['generation_id']}.mp4"
    assert result["submitted_at"].endswith("Z") and result["completed_at"].endswith("Z")
    assert result["cost_usd"] == pytest.approx(0.256)
    assert operator.video_url == result["videos"][0]["url"]
    assert emulator.state()["paid"] == 1


def test_without_output_path_nothing_is_landed(emulator: Emulator, tries: Tries) -> None:
    operator = make()
    (video,) = operator.execute(tries.next(operator))["videos"]
    assert video["url"]
    assert [video[name] for name in VIDEO_KEYS[2:]] == [None] * 7


def test_deferred_path_returns_the_same(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = make(tmp_path, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    stored = json.dumps([deferred.value.trigger.serialize(), deferred.value.kwargs], default=str)
    assert emulator.api_key not in stored
    assert "http" not in stored
    event = run_trigger(deferred.value.trigger, monkeypatch)

    # Another process resumes: a new operator object, the same try.
    resumed = make(tmp_path, deferrable=True)
    tries.number -= 1
    kwargs = json.loads(json.dumps(deferred.value.kwargs))
    result = resumed.resume_execution(deferred.value.method_name, {**kwargs, "event": event}, tries.next(resumed))

    assert list(result) == KEYS
    assert Path(result["videos"][0]["path"]).is_file()
    assert emulator.state()["paid"] == 1
    assert isinstance(deferred.value.timeout, timedelta)


@pytest.mark.parametrize("kept", [True, False])
def test_dags_test_drops_what_the_deferral_kept_and_the_video_is_landed_all_the_same(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    operator = make(tmp_path, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    event = run_trigger(deferred.value.trigger, monkeypatch)
    if not kept:
        tries.store.values.clear()
        for record in tmp_path.glob(".apimart-records/*"):
            record.unlink()

    resumed = make(tmp_path, deferrable=True)
    tries.number -= 1
    result = resumed.resume_execution(deferred.value.method_name, {"event": event}, tries.next(resumed))

    assert list(result) == KEYS
    assert result["generation_id"] == operator.generation_id
    assert Path(result["videos"][0]["path"]).is_file()
    assert emulator.state()["paid"] == 1


def test_a_wait_of_which_airflow_forgot_everything_says_so_and_pays_nothing(emulator: Emulator, tries: Tries) -> None:
    operator = make(deferrable=True)
    with pytest.raises(errors.GenerationParkedError, match=r"forgot which generation.*console"):
        operator.execute_complete(tries.next(operator), {"version": 1})
    assert emulator.state()["posts"] == 0


def test_all_samples_are_landed(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(output_path=str(tmp_path / "clip.mp4"), sample_count=3)
    videos = operator.execute(tries.next(operator))["videos"]
    assert [Path(video["path"]).name for video in videos] == ["clip-1.mp4", "clip-2.mp4", "clip-3.mp4"]


def test_sidecar_says_how_it_was_made(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(output_path=str(tmp_path / "clip.mp4"), seed="12", negative_prompt="text")
    result = operator.execute(tries.next(operator))
    sidecar = json.loads((tmp_path / "clip.mp4.json").read_text())
    assert sidecar["request"] == {
        "prompt": "a cat",
        "model": "veo3.1-fast-official",
        "negative_prompt": "text",
        "duration": 4,
        "seed": 12,
    }
    assert sidecar["airflow"] == {
        "dag_id": "a_dag",
        "run_id": "a_run",
        "task_id": "make",
        "map_index": -1,
        "try_number": 1,
    }
    assert (sidecar["generation_id"], sidecar["cost_usd"]) == (result["generation_id"], result["cost_usd"])
    assert emulator.api_key not in json.dumps(sidecar)
    assert result["videos"][0]["url"] not in json.dumps(sidecar)


def test_local_frames_are_uploaded_and_named_in_the_body(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    frames = Path(__file__).parents[2] / "example_dags" / "frames"
    operator = make(
        tmp_path, first_frame_image=str(frames / "dawn.png"), last_frame_image=f"file://{frames / 'dusk.png'}"
    )
    operator.execute(tries.next(operator))
    (generation,) = emulator.state()["generations"]
    body = generation["body"]
    assert body["first_frame_image"].startswith(emulator.base_url)
    assert body["last_frame_image"].startswith(emulator.base_url)
    assert body["first_frame_image"] != body["last_frame_image"]


# --- what later tries do ---------------------------------------------------------------------------------------------


def test_a_retry_after_success_pays_and_fetches_nothing(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    first = operator.execute(tries.next(operator))
    fetched = len(emulator.requests("media"))
    assert operator.execute(tries.next(operator)) == first
    assert emulator.state()["posts"] == 1
    assert len(emulator.requests("media")) == fetched


def test_a_damaged_file_is_fetched_again_not_paid(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    first = operator.execute(tries.next(operator))
    path = Path(first["videos"][0]["path"])
    path.write_bytes(path.read_bytes()[:-10])
    assert operator.execute(tries.next(operator)) == first
    assert path.stat().st_size == first["videos"][0]["bytes"]
    assert emulator.state()["posts"] == 1


def test_gone_file_and_expired_url_are_refused_with_the_way_out(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    operator = make(tmp_path)
    first = operator.execute(tries.next(operator))
    Path(first["videos"][0]["path"]).unlink()
    emulator.expire()
    with pytest.raises(AirflowFailException, match="regenerate"):
        operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1


def test_a_changed_prompt_is_a_new_generation(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    first = make(tmp_path)
    second = make(tmp_path, prompt="a dog")
    one = first.execute(tries.next(first))
    two = second.execute(tries.next(second))
    assert one["generation_id"] != two["generation_id"]
    assert emulator.state()["paid"] == 2


@pytest.mark.parametrize(("on_clear", "paid"), [("reuse", 1), ("regenerate", 2)])
def test_clear(emulator: Emulator, tries: Tries, tmp_path: Path, on_clear: str, paid: int) -> None:
    operator = make(tmp_path, on_clear=on_clear, retries=2)
    operator.execute(tries.next(operator))
    tries.clear()
    operator.execute(tries.next(operator))
    operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == paid


@pytest.mark.skipif(not HAS_STATE_STORE, reason="the task state store came with Airflow 3.3")
def test_a_change_to_regenerate_needs_a_clear_of_its_own(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    reuse, regenerate = (make(tmp_path, on_clear=on_clear, retries=2) for on_clear in ("reuse", "regenerate"))
    reuse.execute(tries.next(reuse))
    tries.clear()
    reuse.execute(tries.next(reuse))
    regenerate.execute(tries.next(regenerate))
    assert emulator.state()["paid"] == 1
    tries.clear()
    regenerate.execute(tries.next(regenerate))
    assert emulator.state()["paid"] == 2


def test_an_edit_of_retries_is_no_clear(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    before, after = (make(tmp_path, on_clear="regenerate", retries=retries) for retries in (4, 0))
    before.execute(tries.next(before))
    context = tries.next(before)
    context["task"] = after
    after.execute(context)
    assert emulator.state()["paid"] == 1


def test_without_a_store_a_retry_finds_the_generation_by_its_key(
    emulator: Emulator, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    operator = make()
    first = operator.execute(tries.next(operator, store=False))
    second = operator.execute(tries.next(operator, store=False))
    assert first["generation_id"] == second["generation_id"]
    assert emulator.state()["paid"] == 1
    assert "no record outlives this try" in caplog.text


def test_before_3_3_the_record_is_beside_the_output(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path)
    operator.execute(tries.next(operator, store=False))
    (record,) = (tmp_path / ".apimart-records").glob("*.json")
    assert json.loads(record.read_text())["state"] == "landed"
    operator.execute(tries.next(operator, store=False))
    assert emulator.state()["posts"] == 1


@pytest.mark.skipif(not HAS_STATE_STORE, reason="the task state store came with Airflow 3.3")
def test_record_is_kept_for_the_life_of_the_run(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    from airflow.sdk import NEVER_EXPIRE

    operator = make(tmp_path)
    operator.execute(tries.next(operator))
    assert tries.store.retentions and all(each is NEVER_EXPIRE for each in tries.store.retentions)
    text = json.dumps(tries.store.values)
    assert emulator.api_key not in text
    assert "/media/" not in text


# --- errors ----------------------------------------------------------------------------------------------------------


def test_rejected_content_fails_for_good(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, prompt="[[reject]] someone famous")
    with pytest.raises(AirflowFailException, match="not charged"):
        operator.execute(tries.next(operator))
    with pytest.raises(AirflowFailException, match="change the prompt"):
        operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1
    assert operator.help_url and operator.help_url.startswith("https://")


def test_completed_without_a_video_is_a_failure_that_says_so(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, prompt="[[empty]]")
    with pytest.raises(AirflowFailException, match=r"without a video|refused the content"):
        operator.execute(tries.next(operator))
    with pytest.raises(AirflowFailException):
        operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1


def test_failed_generation_is_an_ordinary_failure(emulator: Emulator, tries: Tries) -> None:
    operator = make(prompt="[[fail]]")
    with pytest.raises(errors.GenerationFailedError, match="The next try submits a new one"):
        operator.execute(tries.next(operator))


@pytest.mark.parametrize(
    ("status", "text", "for_good"),
    [
        (400, "Correct the request", True),
        (401, "API key", True),
        (402, "Top up", True),
        (403, "Check what the key may do", True),
        (429, "Nothing was charged", False),
        (500, "under the same key", False),
        (503, "under the same key", False),
    ],
)
def test_api_errors_say_what_to_do(
    emulator: Emulator, tries: Tries, status: int, text: str, for_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.client.client.time.sleep", lambda seconds: None)
    emulator.fault("submit", "status", status=status, times=-1)
    operator = make()
    with pytest.raises(AirflowFailException if for_good else errors.ApimartError, match=text) as caught:
        operator.execute(tries.next(operator))
    assert isinstance(caught.value, AirflowFailException) is for_good
    assert emulator.api_key not in str(caught.value)
    assert str(caught.value).count(f"HTTP {status}") == 1
    emulator.clear_faults()
    operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == 1


def test_402_says_what_is_missing(tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(balance_usd=0.1) as poor:
        connection = {"conn_type": "apimart", "password": poor.api_key, "host": poor.base_url}
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
        operator = make()
        with pytest.raises(AirflowFailException) as caught:
            operator.execute(tries.next(operator))
    assert "the request costs about 0.256 USD" in str(caught.value)
    assert "the account holds 0.10 USD" in str(caught.value)
    assert "Nothing was charged" in str(caught.value)


def test_missing_connection_is_told_plainly(tries: Tries) -> None:
    operator = make(apimart_conn_id="not_there")
    with pytest.raises(AirflowFailException, match=r"apimart_conn_id='not_there': there is no.*Nothing was charged"):
        operator.execute(tries.next(operator))


def test_price_over_the_limit_is_refused_before_anything_is_sent(emulator: Emulator, tries: Tries) -> None:
    operator = make(max_cost_usd="0.20")
    with pytest.raises(AirflowFailException, match=r"costs about 0\.256 USD"):
        operator.execute(tries.next(operator))
    unknown = make(model="veo9", max_cost_usd=5)
    with pytest.raises(AirflowFailException, match="price of veo9 is not known"):
        unknown.execute(tries.next(unknown))
    assert {request["path"] for request in emulator.state()["requests"]} == {"/api/pricing/models/all"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (lambda path: {"output_path": str(path)}, "trailing|folder|directory"),
        (lambda path: {"output_path": "nosuch://bucket/x/"}, "output_path='nosuch://bucket/x/'"),
        (lambda path: {"first_frame_image": str(path / "missing.png")}, "first_frame_image="),
        (lambda path: {"first_frame_image": __file__}, "told by the content"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path, arguments: Callable[[Path], dict[str, Any]], text: str
) -> None:
    operator = make(**arguments(tmp_path))
    with pytest.raises(AirflowFailException, match=text):
        operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 0


def test_unknown_model_is_passed_on_with_a_warning(
    emulator: Emulator, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    operator = make(model="veo4-preview", duration=17, extra_body={"camera": "dolly"})
    with caplog.at_level(logging.WARNING), pytest.raises(AirflowFailException):
        # The emulator knows no such model and says so, as the API would.
        operator.execute(tries.next(operator))
    (sent,) = emulator.requests("submit")
    assert sent["method"] == "POST"


# --- the deadline and the end of a wait ------------------------------------------------------------------------------


def test_deadline_parks_and_the_next_try_goes_on(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("task", "status", status=503, times=-1)
    operator = make(tmp_path, timeout=60, poll_interval=1)
    # The operator's own clock, a second further at each look; the emulator in this process keeps the real one.
    ticks = itertools.count(time.time())
    monkeypatch.setattr(veo, "time", SimpleNamespace(time=lambda: next(ticks), sleep=lambda seconds: None))
    with pytest.raises(errors.GenerationParkedError, match="re-attaches"):
        operator.execute(tries.next(operator))
    assert 10 < len(emulator.requests("task")) < 100
    emulator.clear_faults()
    operator.execute(tries.next(operator))
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
    monkeypatch.setattr(veo, "time", SimpleNamespace(time=lambda: time.time() + passed[-1]))
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
    monkeypatch.setattr("airflow_provider_apimart.generation.localfs._create_anonymous", lambda folder, part: None)
    with part_file(str(tmp_path / "clip.mp4")) as part:
        assert [each.suffix for each in tmp_path.iterdir()] == [".part"]
        make().on_kill()
        assert list(tmp_path.iterdir()) == []
        # It is still a file, until the process ends.
        part.file.write(b"more")
    assert list(tmp_path.iterdir()) == []
