"""The command that fills the gallery's index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart import cli
from airflow_provider_apimart.ui.index import tables
from airflow_provider_apimart.ui.sources.views import Place
from tests.ui.airflow_db import Rows
from tests.ui.index.test_backfill import RESULT, earlier_runs, found


def test_it_fills_the_index(engine: Any, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.metadata.drop_all(engine)
    earlier_runs(rows, tmp_path)
    assert cli.main(["index"]) == 0
    told = "4 tasks looked at: 3 generations are new or changed in the index; 1 batches, 3 of their rows read.\n"
    assert capsys.readouterr().out == told
    assert len(found(engine)) == 6
    assert cli.main(["index"]) == 0
    assert "0 generations are new" in capsys.readouterr().out


def test_a_missing_manifest_is_told(engine: Any, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    rows.task(
        Place("mine", "r", "b"), operator="VeoGenerateBatchOperator", return_value={"manifest": "/no/manifest-b.jsonl"}
    )
    assert cli.main(["index"]) == 1
    assert "mine / r / b: The manifest is not there any more." in capsys.readouterr().err


def test_retention_and_forgetting(
    engine: Any, rows: Rows, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, day in enumerate(["2020-01-01", "2020-06-01", "2100-01-01"]):
        told = {**RESULT, "submitted_at": f"{day}T00:00:00Z", "generation_id": f"g{index}"}
        rows.task(Place("mine", "r", "make", index), return_value=told)
    assert cli.main(["index"]) == 0
    assert cli.main(["index", "--forget-before", "2020-03-01"]) == 0
    assert "1 generations taken out" in capsys.readouterr().out
    monkeypatch.setenv("AIRFLOW__APIMART__INDEX_RETENTION_DAYS", "30")
    assert cli.main(["index"]) == 0
    assert "2 generations older than 30 days taken out" in capsys.readouterr().out
    assert [row[1] for row in found(engine)] == [2]


def test_a_rebuild_begins_with_an_empty_index(engine: Any, rows: Rows, tmp_path: Path) -> None:
    earlier_runs(rows, tmp_path)
    assert cli.main(["index"]) == 0
    rows.remove()
    assert cli.main(["index"]) == 0 and len(found(engine)) == 6
    assert cli.main(["index", "--rebuild"]) == 0 and found(engine) == []


@pytest.mark.parametrize("wrong", [["--since", "yesterday"], ["--forget-before", "2026-13-01"]])
def test_a_wrong_day_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["index", *wrong])
    assert ended.value.code == 2 and "allowed: YYYY-MM-DD" in capsys.readouterr().err


def test_a_database_that_cannot_be_used_is_told(
    engine: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(_: Any) -> None:
        raise tables.IndexUnavailableError("the user of that database may not make its tables")

    monkeypatch.setattr(tables, "make_ready", denied)
    assert cli.main(["index"]) == 2
    assert "may not make its tables" in capsys.readouterr().err
