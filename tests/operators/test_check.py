"""``check=``: what has landed is checked, a failed check is told, and no try pays for another video by itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import AirflowFailException, AirflowSkipException
from airflow_provider_apimart.decorators.veo import VeoDecoratedOperator
from airflow_provider_apimart.emulator.media import videos as emulated
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.media import checking, extra
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

pytestmark = pytest.mark.usefixtures("no_waiting")
#: Only what the emulator's videos keep or break for sure.
OFF = dict.fromkeys(("black", "frozen", "silent", "clipped", "loudness", "faststart", "audio_track"), "off")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver 4 s, whatever is asked for."""
    made = emulated.make_video
    monkeypatch.setattr(emulated, "make_video", lambda spec, path: made(dataclasses.replace(spec, seconds=4), path))


def checked(tmp_path: Path, verdict: str = "fail", **arguments: Any) -> VeoGenerateOperator:
    return make(tmp_path, **{"duration": 8, "check": {**OFF, "duration": verdict}, **arguments})


def finish(operator: VeoGenerateOperator, context: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    try:
        return operator.execute(context)
    except TaskDeferred as deferral:
        event = run_trigger(deferral.trigger, monkeypatch)
        kwargs: Any = json.loads(json.dumps(deferral.kwargs))
        return operator.execute_complete(context, event=event, **kwargs)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_good_video_passes(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    operator = checked(tmp_path, duration=4, deferrable=deferrable)
    context = tries.next(operator, store=True)
    (video,) = finish(operator, context, monkeypatch)["videos"]
    (report,) = context["ti"].pushed["check"]
    assert (report["verdict"], report["path"], report["sha256"]) == ("ok", video["path"], video["sha256"])
    kept = {rule["rule"]: rule["verdict"] for rule in report["rules"]}
    assert kept["duration"] == kept["resolution"] == kept["aspect_ratio"] == kept["decode"] == "ok"
    note = json.loads(Path(f"{video['path']}.media.json").read_text())
    assert note["check"]["rules"] == report["rules"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_check_fails_for_good_and_pays_only_if_told_to(
    emulator: Emulator,
    tries: Tries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short: None,
    deferrable: bool,
) -> None:
    operator = checked(tmp_path, deferrable=deferrable)
    context = tries.next(operator, store=True)
    with pytest.raises(AirflowFailException) as failure:
        finish(operator, context, monkeypatch)
    text = str(failure.value)
    assert "duration: 4" in text and "wanted: 8 s, as asked" in text and "no try pays for another one" in text
    assert 'on_clear="regenerate"' in text and ".mp4" in text and "charged with" in text
    assert context["ti"].pushed["check"][0]["verdict"] == "fail"

    # Cleared: the same video, not decoded again, and nothing is paid.
    tries.clear()
    with monkeypatch.context() as patch, pytest.raises(AirflowFailException, match="wanted: 8 s"):
        patch.setattr(checking, "run_isolated", None)
        finish(operator, tries.next(operator, store=True), monkeypatch)
    assert emulator.state()["paid"] == 1

    # The user takes it as it is.
    tries.clear()
    relaxed = checked(tmp_path, "warn", deferrable=deferrable)
    context = tries.next(relaxed, store=True)
    assert finish(relaxed, context, monkeypatch)["videos"][0]["duration_seconds"] == pytest.approx(4, abs=0.1)
    assert context["ti"].pushed["check"][0]["verdict"] == "warn"
    assert emulator.state()["paid"] == 1

    # The user pays for another one.
    tries.clear()
    again = checked(tmp_path, deferrable=deferrable, on_clear="regenerate", duration=4)
    assert finish(again, tries.next(again, store=True), monkeypatch)["videos"][0]["path"] not in text
    assert emulator.state()["paid"] == 2


def test_skip_skips_what_comes_after(emulator: Emulator, tries: Tries, tmp_path: Path, short: None) -> None:
    operator = checked(tmp_path, "skip")
    with pytest.raises(AirflowSkipException, match="its check says skip"):
        operator.execute(tries.next(operator, store=True))


class Death(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("point", ["check_video", "measured"])
def test_a_death_between_landing_and_check_costs_nothing(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(checking, "run_isolated" if point == "check_video" else "keep_check", die)
        with pytest.raises(Death):
            operator = checked(tmp_path, duration=4)
            operator.execute(tries.next(operator, store=True))
    operator = checked(tmp_path, duration=4)
    context = tries.next(operator, store=True)
    operator.execute(context)
    assert context["ti"].pushed["check"][0]["verdict"] == "ok"
    assert emulator.state()["paid"] == 1


def test_a_check_that_cannot_be_made_now_is_made_by_the_next_try(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    operator = checked(tmp_path, duration=4)
    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_apimart.media.child.subprocess.Popen", full)
        with pytest.raises(Exception, match=r"could not be checked.*is paid for") as failure:
            operator.execute(tries.next(operator, store=True))
    assert not isinstance(failure.value, AirflowFailException)
    operator.execute(tries.next(operator, store=True))
    assert emulator.state()["paid"] == 1


def test_a_missing_extra_is_refused_before_anything_is_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(extra.importlib.util, "find_spec", lambda name, *a: None if name == "av" else found(name, *a))
        operator = checked(tmp_path, duration=4)
        with pytest.raises(AirflowFailException, match=r"needs av .*airflow-provider-apimart\[media\]") as failure:
            operator.execute(tries.next(operator, store=True))
        assert "Nothing was charged" in str(failure.value)
        assert emulator.state()["paid"] == 0

    # What is paid for lands all the same, wherever the extra is missing.
    plain = make(tmp_path)
    plain.execute(tries.next(plain, store=True))
    with monkeypatch.context() as patch:
        patch.setattr(extra.importlib.util, "find_spec", lambda name, *a: None if name == "av" else found(name, *a))
        for name in os.listdir(tmp_path):
            if name.endswith(".mp4"):
                (tmp_path / name).unlink()
        operator = checked(tmp_path, duration=4)
        with pytest.raises(AirflowFailException, match="needs av"):
            operator.execute(tries.next(operator, store=True))
    assert [name for name in os.listdir(tmp_path) if name.endswith(".mp4")]
    assert emulator.state()["paid"] == 1


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("strict", "allowed: None, 'default' or a dict"),
        (True, "allowed: None, 'default' or a dict"),
        ({"blackness": "fail"}, r"check\['blackness'\]='fail': no such rule; allowed: decode, complete, duration"),
        ({"black": "error", "frozen": 1}, r"check\['black'\]='error': allowed: fail.*check\['frozen'\]=1"),
        ("{{ params.check }}", "not templated"),
    ],
)
def test_what_is_no_check_is_refused_when_the_dag_is_parsed(tmp_path: Path, check: Any, said: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=said):
        make(tmp_path, check=check)


def test_only_what_lands_can_be_checked() -> None:
    with pytest.raises(InvalidVeoArgument, match="needs output_path"):
        make(check="default")


def test_the_decorator_takes_it(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    operator = VeoDecoratedOperator(
        python_callable=lambda: {"prompt": "a cat", "duration": 8},
        task_id="make",
        output_path=f"{tmp_path}/",
        check={**OFF, "duration": "fail"},
    )
    with pytest.raises(AirflowFailException, match="wanted: 8 s, as asked"):
        finish(operator, tries.next(operator, store=True), monkeypatch)
    assert emulator.state()["paid"] == 1
