"""One try against the emulator, as Airflow would run it, without Airflow's processes; and its errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client import errors
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.purchase import settling
from tests.client.failure_messages import AUDIO
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

pytestmark = pytest.mark.usefixtures("no_waiting")
KEYS = ["generation_id", "status", "model", "cost_usd", "submitted_at", "completed_at", "videos", "mismatches"]
KEYS.append("fallback_from")
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


# --- errors ----------------------------------------------------------------------------------------------------------


def test_rejected_content_fails_for_good(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, prompt="[[reject]] someone famous")
    with pytest.raises(AirflowFailException, match="not charged"):
        operator.execute(tries.next(operator))
    with pytest.raises(AirflowFailException, match="change the prompt"):
        operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1
    assert operator.help_url and operator.help_url.startswith("https://")


def test_completed_without_a_video_is_asked_about_for_a_while_and_then_a_failure_that_says_so(
    emulator: Emulator, tries: Tries, tmp_path: Path, no_waiting: list[float]
) -> None:
    operator = make(tmp_path, prompt="[[empty]]")
    for tried in (1, 2):
        with pytest.raises(AirflowFailException, match=r"without a video.*A clear asks again without paying"):
            operator.execute(tries.next(operator))
        assert sum(1 for seconds in no_waiting if seconds >= 3) >= 4 * tried
    assert sum(no_waiting) >= 2 * settling.PATIENCE_SECONDS
    assert emulator.state()["posts"] == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_video_that_comes_after_its_completed_is_landed(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setattr(settling, "FIRST_WAIT_SECONDS", 0.01)
    emulator.fault("task", "shape", value="no_result", times=3)
    operator = make(tmp_path, deferrable=deferrable)
    context = tries.next(operator)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        event = run_trigger(deferred.value.trigger, monkeypatch)
        result = operator.execute_complete(context, event, **deferred.value.kwargs)
    else:
        result = operator.execute(context)
    assert Path(result["videos"][0]["path"]).is_file()
    assert (emulator.state()["posts"], len(emulator.requests("task"))) == (1, 4)


def test_a_failure_that_refuses_nothing_is_submitted_anew_by_the_next_try(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    emulator.fault("submit", "task_fails", message=AUDIO, times=1)
    operator = make(tmp_path)
    with pytest.raises(errors.GenerationFailedError, match="issue with the audio"):
        operator.execute(tries.next(operator))
    assert operator.execute(tries.next(operator))["videos"]
    assert emulator.state()["posts"] == 2 and emulator.state()["paid"] == 1


def test_a_plain_refusal_in_a_failure_is_final(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("submit", "task_fails", message="Try rephrasing the prompt. Support codes: 42237218", times=1)
    operator = make(tmp_path)
    for _ in (1, 2):
        with pytest.raises(AirflowFailException, match=r'change the prompt.*on_clear="regenerate"'):
            operator.execute(tries.next(operator))
    assert emulator.state()["posts"] == 1


@pytest.mark.parametrize("word", ["finished", "Done", "succeed"])
def test_another_word_for_completed_lands_the_video_that_is_listed(
    emulator: Emulator, tries: Tries, tmp_path: Path, word: str
) -> None:
    emulator.fault("task", "task_status", value=word, times=-1)
    assert make(tmp_path).execute(tries.next(make(tmp_path)))["videos"][0]["sha256"]


def test_quota_as_403_is_an_empty_balance(emulator: Emulator, tries: Tries) -> None:
    emulator.fault("submit", "status", status=403, code="insufficient_user_quota", message="no quota", times=-1)
    operator = make()
    with pytest.raises(AirflowFailException, match=r"account holds 100.00 USD.*Top up the account"):
        operator.execute(tries.next(operator))


def test_failed_generation_is_an_ordinary_failure(emulator: Emulator, tries: Tries) -> None:
    operator = make(prompt="[[fail]]")
    with pytest.raises(errors.GenerationFailedError, match="The next try submits a new one"):
        operator.execute(tries.next(operator))


@pytest.mark.parametrize(
    ("status", "text", "for_good"),
    [
        (400, "Correct the request", True),
        (401, r"API Key \(password\) of the connection 'apimart_default', then", True),
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
