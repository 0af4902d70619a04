"""A video that is not what was asked for: said everywhere, a failure where that is wanted, never paid for twice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import task

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.emulator.media import videos as media
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.hooks.manifest import read_manifest
from tests.operators.batches import batch, lines, run
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

ASKED = {"duration": 8, "generate_audio": True}
FOUND = [
    {"field": "duration", "asked": 8, "delivered": 4.0, "sample": 1, "usd": 0.32},
    {"field": "generate_audio", "asked": True, "delivered": False, "sample": 1, "usd": 0.128},
]


@pytest.fixture
def short_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver 4 s without sound, whatever is asked for and charged."""
    made = media.make_video

    def other(spec: media.VideoSpec, path: Path) -> None:
        # The prompts of the tests say which generations come out right.
        wrong = spec if "right" in spec.prompt else dataclasses.replace(spec, seconds=4, audio=False)
        made(wrong, path)

    monkeypatch.setattr(media, "make_video", other)


def finish(operator: Any, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    context: Any = tries.next(operator, store=True)
    try:
        return dict(operator.execute(context))
    except TaskDeferred as deferral:
        event = run_trigger(deferral.trigger, monkeypatch)
        kwargs: Any = json.loads(json.dumps(deferral.kwargs))
        return dict(operator.execute_complete(context, event=event, **kwargs))


@pytest.mark.parametrize("deferrable", [False, True])
def test_warning_and_the_same_words_in_every_place(
    emulator: Emulator,
    tries: Tries,
    no_waiting: list[float],
    short_and_silent: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mocker: Any,
    deferrable: bool,
) -> None:
    operator = make(tmp_path, deferrable=deferrable, **ASKED)
    told = mocker.spy(report, "mismatch_text")
    log = mocker.patch.object(type(operator), "log")
    result = finish(operator, tries, monkeypatch)
    assert result["mismatches"] == FOUND
    (sidecar,) = tmp_path.glob("*.mp4.json")
    assert json.loads(sidecar.read_text())["mismatches"] == FOUND
    said = told.spy_return
    log.warning.assert_any_call("%s.", said)
    assert "duration: asked 8, delivered 4.0, 0.32 USD too much" in said and "charged with 0.64 USD" in said
    assert result["videos"][0]["path"] in said
    # What was landed before is judged in the same way.
    assert finish(operator, tries, monkeypatch)["mismatches"] == FOUND and emulator.state()["paid"] == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_failure_says_where_the_video_is_and_no_try_pays_again(
    emulator: Emulator,
    tries: Tries,
    no_waiting: list[float],
    short_and_silent: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    deferrable: bool,
) -> None:
    operator = make(tmp_path, on_mismatch="fail", deferrable=deferrable, **ASKED)
    texts = []
    for _ in range(2):
        with pytest.raises(AirflowFailException) as caught:
            finish(operator, tries, monkeypatch)
        texts.append(str(caught.value))
        tries.clear()
    (landed,) = tmp_path.glob("*.mp4")
    assert texts[0] == texts[1]
    for part in (str(landed), "0.64 USD", 'on_clear="regenerate"', 'on_mismatch="warn"', "none of them pays again"):
        assert part in texts[0]
    assert emulator.state()["paid"] == 1
    accepted = make(tmp_path, deferrable=deferrable, **ASKED)
    assert finish(accepted, tries, monkeypatch)["mismatches"] == FOUND and emulator.state()["paid"] == 1
    anew = make(tmp_path, prompt="a cat", on_mismatch="fail", on_clear="regenerate", deferrable=deferrable, **ASKED)
    tries.clear()
    with pytest.raises(AirflowFailException):
        finish(anew, tries, monkeypatch)
    assert emulator.state()["paid"] == 2


def test_what_is_right_is_no_news(
    emulator: Emulator, tries: Tries, no_waiting: list[float], tmp_path: Path, mocker: Any
) -> None:
    operator = make(tmp_path, on_mismatch="fail", **ASKED)
    told = mocker.spy(report, "mismatch_text")
    assert operator.execute(tries.next(operator, store=True))["mismatches"] == []
    told.assert_not_called()


@pytest.mark.parametrize("landing", [True, False])
def test_fewer_videos_than_paid_for(
    emulator: Emulator,
    tries: Tries,
    no_waiting: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    landing: bool,
) -> None:
    read = Generation.read.__func__  # type: ignore[attr-defined]

    def fewer(cls: Any, data: Any, generation_id: str) -> Any:
        view = read(cls, data, generation_id)
        return view.model_copy(update={"videos": view.videos[:1]})

    monkeypatch.setattr(Generation, "read", classmethod(fewer))
    where = {"output_path": f"{tmp_path}/"} if landing else {}
    operator = make(sample_count=3, **where)
    (found,) = operator.execute(tries.next(operator))["mismatches"]
    assert (found["field"], found["asked"], found["delivered"], found["usd"]) == ("sample_count", 3, 1, 0.512)
    with pytest.raises(AirflowFailException, match=str(tmp_path) if landing else "the task has no output_path"):
        strict = make(sample_count=3, on_mismatch="fail", **where)
        strict.execute(tries.next(strict))


def test_decorated_function_has_it_too(
    emulator: Emulator, tries: Tries, no_waiting: list[float], short_and_silent: None, tmp_path: Path
) -> None:
    @task.veo(output_path=f"{tmp_path}/", on_mismatch="fail", deferrable=False, **ASKED)
    def make_it() -> str:
        return "a cat"

    operator = make_it().operator
    with pytest.raises(AirflowFailException, match="not as it was asked for"):
        operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == 1


ROWS = [{"prompt": "right"}, {"prompt": "wrong", "sku": "A"}, {"prompt": "right too"}, {"prompt": "all right"}]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_batch_lists_what_is_not_what_was_asked_for(
    emulator: Emulator,
    tries: Tries,
    quick: None,
    short_and_silent: None,
    tmp_path: Path,
    kind: str,
    deferrable: bool,
) -> None:
    operator = batch(tmp_path, ROWS, defaults=ASKED, manifest_format=kind, deferrable=deferrable)
    result = run(operator, tries)
    assert (result["landed"], result["mismatched"], result["failed"]) == (4, 1, 0)
    assert [line["mismatches"] for line in read_manifest(result["manifest"])] == [[], FOUND, [], []]
    sidecars = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.mp4.json")]
    assert [one["mismatches"] for one in sidecars if "labels" in one] == [FOUND]


@pytest.mark.parametrize("deferrable", [False, True])
def test_batch_fails_for_good_keeps_the_videos_and_pays_for_none_again(
    emulator: Emulator, tries: Tries, quick: None, short_and_silent: None, tmp_path: Path, deferrable: bool
) -> None:
    operator = batch(tmp_path, ROWS, defaults=ASKED, on_mismatch="fail", deferrable=deferrable)
    for _ in range(2):
        with pytest.raises(AirflowFailException, match=r"row 2 \(.*duration: asked 8.*counts 1 landed rows as failed"):
            run(operator, tries)
        tries.clear()
    (manifest,) = (tmp_path / "out").glob("manifest-*.jsonl")
    assert [line["outcome"] for line in lines({"manifest": str(manifest)})] == ["landed"] * 4
    assert emulator.state()["paid"] == 4
    forgiven = batch(tmp_path, ROWS, defaults=ASKED, on_mismatch="fail", max_failed_share=0.25, deferrable=deferrable)
    assert run(forgiven, tries)["mismatched"] == 1 and emulator.state()["paid"] == 4
