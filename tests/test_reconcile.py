"""Generations that were paid for and left behind are listed with their cost, landed, and never paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart import cli
from airflow_provider_apimart.client.errors import GenerationParkedError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators import veo
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    # The command says "server" for its own process; here that would outlive the test.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    return apimart_emulator_conn


def park(output: str, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, **arguments: Any) -> None:
    """Leave a paid generation behind, with its record beside ``output``."""
    operator = VeoGenerateOperator(
        task_id="make", duration=4, deferrable=False, output_path=output, **{"prompt": "a cat", **arguments}
    )
    with monkeypatch.context() as patch:
        patch.setattr(VeoGenerateOperator, "_wait", lambda *_: None)
        patch.setattr(veo.time, "sleep", lambda seconds: None)
        with pytest.raises(GenerationParkedError):
            operator.execute(Tries().next(operator, store=False))


def reconcile(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["reconcile", "--no-database", *arguments])
    return code, capsys.readouterr().out


def test_lists_then_lands_what_was_parked(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (generation,) = emulator.state()["generations"]

    code, said = reconcile(capsys, "--folder", str(tmp_path))
    assert code == 1
    assert generation["generation_id"] in said
    assert "completed, 0.256 USD" in said
    assert "a_dag / a_run / make: not landed" in said

    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert code == 0
    path = tmp_path / f"{generation['generation_id']}.mp4"
    assert f"landed {path}" in said
    assert path.is_file()
    sidecar = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert sidecar["airflow"] == {"dag_id": "a_dag", "run_id": "a_run", "task_id": "make", "map_index": -1}

    assert reconcile(capsys, "--folder", str(tmp_path)) == (
        0,
        "0 paid or doubtful generations are not in storage; 0 left.\n",
    )
    assert emulator.state()["posts"] == 1


def test_the_task_keeps_what_reconcile_has_landed(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    reconcile(capsys, "--folder", str(tmp_path), "--land")
    fetched = len(emulator.requests("media"))
    operator = VeoGenerateOperator(
        task_id="make", prompt="a cat", duration=4, deferrable=False, output_path=f"{tmp_path}/"
    )
    result = operator.execute(Tries().next(operator, store=False))
    assert Path(result["videos"][0]["path"]).is_file()
    assert emulator.state()["posts"] == 1
    assert len(emulator.requests("media")) == fetched


def test_superseded_generation_is_landed_beside_the_newer_one(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "clip.mp4")
    park(output, monkeypatch, emulator, prompt="the first")
    park(output, monkeypatch, emulator, prompt="the second")
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land")
    assert code == 0
    assert "superseded" in said
    first, second = (
        each["generation_id"] for each in sorted(emulator.state()["generations"], key=lambda g: g["created"])
    )
    assert json.loads((tmp_path / "clip.mp4.json").read_text())["generation_id"] == second
    assert (tmp_path / f"clip-{first}.mp4").is_file()


def test_unknown_outcome_is_told_with_its_key(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (path,) = (tmp_path / ".apimart-records").glob("*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "state": "intent", "generation_id": None}))
    code, said = reconcile(capsys, "--folder", str(tmp_path), "--land", "--json")
    assert code == 1
    (finding,) = [json.loads(line) for line in said.splitlines()]
    assert finding["generation_id"] is None
    assert record["idempotency_key"] in finding["note"]
    assert emulator.api_key not in said


def test_damaged_record_is_told_not_skipped(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    park(f"{tmp_path}/", monkeypatch, emulator)
    (path,) = (tmp_path / ".apimart-records").glob("*.json")
    path.write_text("{")
    code, said = reconcile(capsys, "--folder", str(tmp_path))
    assert code == 1
    assert "cannot be read" in said


def test_output_must_be_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["reconcile", "--output", "/tmp/clip.mp4"])
    assert "must be a folder" in capsys.readouterr().err
