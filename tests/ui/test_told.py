"""What tasks have told in Airflow's database, for the bill audit, and nothing that others told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_apimart import cli
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.reports.notes import key_of_hour
from airflow_provider_apimart.hooks.reports.told import told_by_tasks
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import NOW, Rows

RESULT = {"generation_id": "task_1", "status": "completed", "cost_usd": 0.2, "model": "veo3.1-fast"}


def test_notes_and_results_are_told(rows: Rows) -> None:
    rows.task(Place("ads", "r", "result", 2), return_value=RESULT)
    rows.task(Place("ads", "r", "other"), operator="BashOperator", return_value=RESULT)
    rows.task(Place("ads", "r", "noted"), operator="OurVeo", state="failed")
    rows.xcom(Place("ads", "r", "noted"), key_of_hour(NOW), {"generation_id": "task_2"}, NOW)
    rows.task(Place("ads", "r", "text"), return_value=json.dumps(RESULT))
    rows.task(Place("ads", "r", "junk"), return_value="{not json")
    rows.task(Place("ads", "r", "list"), return_value=[1])
    told = {where: value.get("generation_id") for where, value in told_by_tasks(["VeoGenerateOperator"], NOW)}
    assert told == {
        "ads / r / result [2]": "task_1",
        "ads / r / noted": "task_2",
        "ads / r / text": "task_1",
        "ads / r / junk": None,
        "ads / r / list": None,
    }
    assert list(told_by_tasks(["VeoGenerateOperator"], NOW + timedelta(seconds=1))) == []


def test_the_audit_reads_them(
    rows: Rows,
    apimart_emulator_conn: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    with ApimartHook().get_conn() as client:
        ids = [client.submit(VeoRequest(prompt=name, duration=4).body(), name).generation_id for name in ("a", "b")]
        costs = [client.generation(one).cost_usd for one in ids]
    now = datetime.now(UTC)
    told = {"model": "veo3.1-fast-official", "completed_at": now.isoformat(), "cost_usd": costs[0]}
    place = rows.task(Place("ads", "r", "make"))
    rows.xcom(place, "return_value", {**told, "generation_id": ids[0], "status": "completed"}, now)
    manifest = tmp_path / "manifest-ads-all-r.jsonl"
    line = {**told, "row": 1, "outcome": "landed", "generation_id": ids[1], "request": {"model": told["model"]}}
    manifest.write_text(json.dumps(line) + "\n")
    place = rows.task(Place("ads", "r", "all"), operator="VeoGenerateBatchOperator", state="failed")
    rows.xcom(place, key_of_hour(now), {"kind": "batch", "manifest": str(manifest)}, now)
    days = ["--from", str(now.date() - timedelta(days=1)), "--to", str(now.date() + timedelta(days=1))]
    assert cli.main(["audit", *days]) == 0
    assert "(2)" in capsys.readouterr().out
    manifest.unlink()
    assert cli.main(["audit", *days]) == 2
    assert "1 billed that no record tells of" in capsys.readouterr().out
