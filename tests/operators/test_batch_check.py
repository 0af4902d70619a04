"""``check=`` of a batch: every landed row is checked, its outcome says so, and no try pays for it again."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.media import videos as emulated
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.manifest import landed_rows, posts
from airflow_provider_apimart.media import checking, extra
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.batch.end import BatchIncompleteError
from tests.operators.batches import batch, lines, run
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("quick")
OFF = dict.fromkeys(("black", "frozen", "silent", "clipped", "loudness", "faststart", "audio_track"), "off")
ROWS = [{"prompt": "one"}, {"prompt": "wrong"}, {"prompt": "three"}]


@pytest.fixture(autouse=True)
def some_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver 4 s where the prompt says "wrong", whatever is asked for."""
    made = emulated.make_video

    def other(spec: emulated.VideoSpec, path: Path) -> None:
        made(dataclasses.replace(spec, seconds=4) if "wrong" in spec.prompt else spec, path)

    monkeypatch.setattr(emulated, "make_video", other)


def checked(folder: Path, verdict: str = "fail", **options: Any) -> Any:
    values = {"defaults": {"duration": 6}, "check": {**OFF, "duration": verdict}, **options}
    return batch(folder, ROWS, **values)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_row_that_fails_is_paid_for_once_and_left_out(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    with pytest.raises(AirflowFailException) as failure:
        run(checked(tmp_path, deferrable=deferrable), tries)
    text = str(failure.value)
    assert "2 of 3 rows have their videos (2 landed, 1 check_failed)" in text
    assert "1 rows fail their check" in text and "not paid for again by any try" in text
    assert "row 2 check_failed" in text and "wanted: 6 s, as asked" in text
    (manifest,) = (tmp_path / "out").glob("manifest-*.jsonl")
    found = lines({"manifest": str(manifest)})
    assert [line["outcome"] for line in found] == ["landed", "check_failed", "landed"]
    assert found[0]["check"] == {"verdict": "ok", "text": ""}
    assert found[1]["check"]["verdict"] == "fail" and "duration: 4" in found[1]["error"]
    # It is where it landed, with its cost; what reads the manifest next leaves it out.
    assert Path(found[1]["videos"][0]["path"]).exists() and found[1]["cost_usd"] > 0
    assert [line["row"] for line in landed_rows(str(manifest))] == [1, 3]
    assert len(posts(str(manifest))[0]) == 2

    # Cleared: nothing is paid for, and nothing decoded again. What was decided otherwise passes.
    tries.clear()
    monkeypatch.setattr(checking, "run_isolated", None)
    with pytest.raises(AirflowFailException, match="1 rows fail their check"):
        run(checked(tmp_path, deferrable=deferrable), tries)
    tries.clear()
    assert run(checked(tmp_path, "warn", deferrable=deferrable), tries)["outcomes"] == {"landed": 3}
    assert emulator.state()["paid"] == 3


def test_a_share_of_them_may_fail(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    result = run(checked(tmp_path, max_failed_share=0.4), tries)
    assert (result["failed"], result["outcomes"]) == (1, {"check_failed": 1, "landed": 2})


def test_a_row_that_is_skipped_fails_nothing(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    result = run(checked(tmp_path, "skip", manifest_format="parquet"), tries)
    assert (result["failed"], result["outcomes"]) == (0, {"check_skipped": 1, "landed": 2})
    assert [line["row"] for line in landed_rows(result["manifest"])] == [1, 3]


def test_identical_rows_share_the_verdict_and_the_price(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    rows = [{"prompt": "wrong"}, {"prompt": "wrong"}]
    operator = checked(tmp_path, max_failed_share=1.0)
    operator.requests, operator.reuse = rows, "always"
    found = lines(run(operator, tries))
    assert [line["outcome"] for line in found] == ["check_failed", "check_failed"]
    assert found[0]["cost_usd"] > 0 and found[1]["cost_usd"] == 0
    assert emulator.state()["paid"] == 1


def test_a_row_that_cannot_be_checked_now_is_checked_by_the_next_try(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_processes(*_: Any, **__: Any) -> Any:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_apimart.media.child.subprocess.Popen", out_of_processes)
        with pytest.raises(BatchIncompleteError, match=r"3 landed rows could not be checked this time.*Resource"):
            run(checked(tmp_path, "warn"), tries)
    assert run(checked(tmp_path, "warn"), tries)["landed"] == 3
    assert emulator.state()["paid"] == 3


class Death(BaseException):
    """The process ends here."""


def test_a_death_while_rows_are_checked_costs_nothing(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Death

    with monkeypatch.context() as patch:
        patch.setattr(checking, "keep_check", die)
        with pytest.raises(Death):
            run(checked(tmp_path, "warn"), tries)
    assert run(checked(tmp_path, "warn"), tries)["landed"] == 3
    assert emulator.state()["paid"] == 3


def test_a_missing_extra_is_refused_before_anything_is_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name, *a: None if name == "av" else found(name, *a))
    with pytest.raises(AirflowFailException, match="check= needs av on the worker"):
        run(checked(tmp_path), tries)
    assert emulator.state()["paid"] == 0


def test_what_is_no_check_is_refused_when_the_dag_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"check\['blackness'\]='fail': no such rule"):
        batch(tmp_path, ROWS, check={"blackness": "fail"})
