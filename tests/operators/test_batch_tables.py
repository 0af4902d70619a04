"""The batch operator's tables: an empty one, rows to skip, and errors that name the operator's own arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.manifest import parcels, read_manifest
from tests.operators.batches import batch, lines, paid, run
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("quick")


def refused(tmp_path: Path, tries: Tries, **options: Any) -> str:
    with pytest.raises(AirflowFailException) as caught:
        run(batch(tmp_path, **options), tries)
    return str(caught.value)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("manifest_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("source", ["requests", "table", "skipped"])
def test_an_empty_table_may_be_allowed(
    emulator: Emulator, tries: Tries, tmp_path: Path, deferrable: bool, manifest_format: str, source: str
) -> None:
    table = tmp_path / "a.csv"
    table.write_text("prompt,sku\n" + ("a,1\n" if source == "skipped" else ""))
    options: dict[str, Any] = {"requests": {"rows": []}}.get(source, {"table": str(table), "skip_if": {"sku": 1}})
    options |= {"deferrable": deferrable, "manifest_format": manifest_format}
    assert "has no rows" in refused(tmp_path, tries, **options)
    result = run(batch(tmp_path, allow_empty=True, max_cost_usd=1, **options), tries)
    assert {name: result[name] for name in ("rows", "landed", "reused", "failed", "left", "cost_usd", "outcomes")} == {
        **dict.fromkeys(("rows", "landed", "reused", "failed", "left"), 0),
        **{"cost_usd": 0.0, "outcomes": {}},
    }
    assert list(read_manifest(result["manifest"])) == [] == parcels(result["manifest"])
    assert emulator.requests("submit") == []
    assert run(batch(tmp_path, allow_empty=True, dry_run=True, **options), tries)["rows"] == 0


def test_a_wrong_table_is_no_empty_one(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("text\na\n")
    assert "no column 'prompt'" in refused(tmp_path, tries, table=str(table), allow_empty=True)


def test_rows_to_skip_are_in_no_manifest_and_are_not_paid(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "Title": "Kettle"}, {"prompt": "b", "Title": ""}, {"prompt": "c", "Title": "Lamp"}]
    result = run(batch(tmp_path, rows, skip_if={"Title": None}), tries)
    assert [(line["row"], line["outcome"]) for line in lines(result)] == [(1, "landed"), (3, "landed")]
    assert set(paid(emulator)) == {"a", "c"}


def test_errors_name_the_operators_own_arguments(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("prompt;sku\na, b;1\n")
    assert "Then say table_delimiter=';'" in refused(tmp_path, tries, table=str(table))
    table.write_text('prompt,sku\n"a,1\nb,2\nc",3\n')
    assert "table_quoting=False" in refused(tmp_path, tries, table=str(table))
    table.write_bytes(b"PAR1\x15\x04")
    assert "say table_format='parquet'" in refused(tmp_path, tries, table=str(table))
    assert "or table_format= csv" in refused(tmp_path, tries, table=str(tmp_path / "a.json"))
    assert emulator.requests("submit") == []


def test_quotes_can_be_characters(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text('prompt\tsku\n"Hello, says the cat\t1\nbye"\t2\n')
    result = run(batch(tmp_path, table=str(table), table_quoting=False), tries)
    assert set(paid(emulator)) == {'"Hello, says the cat', 'bye"'}
    assert result["landed"] == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"table_format": "xlsx"}, "table_format='xlsx': allowed: 'csv' or 'tsv' or 'jsonl' or 'parquet' or None"),
        ({"table_delimiter": ";;"}, "table_delimiter=';;': allowed: one character"),
        ({"table_quoting": "no"}, "table_quoting='no': allowed: True or False or None"),
        ({"allow_empty": "yes"}, "allow_empty='yes': allowed: True or False"),
        ({"skip_if": "sku"}, "skip_if='sku': allowed: a dict"),
    ],
)
def test_wrong_arguments_fail_when_the_dag_is_read(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text):
        batch(tmp_path, table="a.csv", **options)


def test_a_data_frame_says_what_to_write(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    class Frame:
        def to_dict(self, orient: str) -> list[dict[str, Any]]:
            raise NotImplementedError

    assert "df.to_dict('records')" in refused(tmp_path, tries, rows=Frame())


def test_scalars_of_numpy_are_rows_as_others_are(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"prompt": ["a", "b"], "duration": [4, 6], "seed": [1.0, None], "price": [0.5, None]})
    rows = [row.to_dict() for _, row in frame.iterrows()]
    found = lines(run(batch(tmp_path, [*rows, {"prompt": "c", "duration": frame["duration"].iloc[0]}]), tries))
    assert [line["request"]["duration"] for line in found] == [4, 6, 4]
    assert [json.dumps(line["labels"]) for line in found] == ['{"price": 0.5}', '{"price": null}', "{}"]
