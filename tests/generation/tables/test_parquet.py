"""Parquet: labels of types that Python lacks, damage and outages told apart, and files that unpack to gigabytes."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from airflow_provider_apimart.generation.tables import parquet as table_parquet
from airflow_provider_apimart.generation.tables.columns import Header
from airflow_provider_apimart.generation.tables.parquet import StorageFault, parquet_records
from airflow_provider_apimart.generation.tables.rows import TableError, read_rows
from tests.generation.landing.test_memory import megabytes

MOMENT = 1_730_982_834_123_456_789


def stored(columns: dict[str, Any], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file, **options)
    file.seek(0)
    return file


def records(file: Any) -> list[Any]:
    header, *found = parquet_records(file, "a.parquet")
    assert isinstance(header, Header)
    return found


def refused(file: Any) -> str:
    with pytest.raises(TableError) as caught:
        records(file)
    assert "Nothing was submitted" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "label"),
    [
        ([MOMENT], pyarrow.timestamp("ns"), "2024-11-07T12:33:54.123456789"),
        ([MOMENT], pyarrow.timestamp("ns", "Europe/Berlin"), "2024-11-07T13:33:54.123456789+01:00"),
        ([MOMENT // 1000], pyarrow.timestamp("us", "Mars/Phobos"), "2024-11-07T12:33:54.123456+00:00"),
        ([MOMENT // 1000], pyarrow.timestamp("us"), "2024-11-07T12:33:54.123456"),
        ([6_000_000], pyarrow.date32(), "18397-06-11"),
        ([600_000_000_000_000_000], pyarrow.timestamp("us"), "20983-03-30T10:40:00.000000"),
        ([9_000_000_000_000_000_000], pyarrow.timestamp("ms"), "9000000000000000000"),
        ([3_600_000_000_001], pyarrow.time64("ns"), "01:00:00.000000001"),
        ([3_600_000_000_001], pyarrow.duration("ns"), 3600.000000001),
        ([[MOMENT]], pyarrow.list_(pyarrow.timestamp("ns")), ["2024-11-07T12:33:54.123456789"]),
        ([{"at": MOMENT}], pyarrow.struct([("at", pyarrow.timestamp("ns"))]), {"at": "2024-11-07T12:33:54.123456789"}),
        (
            [[("at", MOMENT)]],
            pyarrow.map_(pyarrow.string(), pyarrow.timestamp("ns")),
            [["at", "2024-11-07T12:33:54.123456789"]],
        ),
        ([b"\xc3\xa4"], pyarrow.binary(), "ä"),
        ([[("k", "v")]], pyarrow.map_(pyarrow.string(), pyarrow.string()), [["k", "v"]]),
        ([None], pyarrow.timestamp("ns"), None),
    ],
)
def test_labels_that_python_has_no_value_for_are_text(values: list[Any], kind: Any, label: Any) -> None:
    file = stored({"prompt": ["a cat"], "label": pyarrow.array(values, kind)})
    (row,) = read_rows(parquet_records(file, "a.parquet"))
    assert row.labels == {"label": label}


def test_dates_as_spark_writes_them_are_those_dates() -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC).replace(tzinfo=None)
    table = {"prompt": ["a"], "at": pyarrow.array([MOMENT], pyarrow.timestamp("ns"))}
    (row,) = read_rows(parquet_records(stored(table, use_deprecated_int96_timestamps=True), "a.parquet"))
    assert row.labels == {"at": "2024-11-07T12:33:54.123456"}
    table = {"prompt": ["a"], "at": pyarrow.array([far], pyarrow.timestamp("us"))}
    (row,) = read_rows(parquet_records(stored(table, use_deprecated_int96_timestamps=True), "a.parquet"))
    assert row.labels == {"at": "9999-12-31T00:00:00"}


def test_bytes_and_dictionaries_are_prompts_as_well_as_labels() -> None:
    text = ["ein süßer Hund", "a cat"]
    for prompts in (
        pyarrow.array([one.encode() for one in text]),
        pyarrow.array(text).dictionary_encode(),
        pyarrow.array(text, pyarrow.large_string()),
    ):
        rows = read_rows(parquet_records(stored({"prompt": prompts, "label": prompts}), "a.parquet"))
        assert [row.request.prompt for row in rows] == text == [row.labels["label"] for row in rows]


def test_many_row_groups_keep_their_order() -> None:
    names = [f"cat {number}" for number in range(5_000)]
    found = records(stored({"prompt": names, "n": list(range(5_000))}, row_group_size=700))
    assert found == [{"prompt": name, "n": number} for number, name in enumerate(names)]
    assert records(stored({"prompt": pyarrow.array([], pyarrow.string())})) == []


# --- damage and outages ----------------------------------------------------------------------------------------------


def damaged() -> bytearray:
    names = [f"A cat number {number}" for number in range(5_000)]
    return bytearray(stored({"prompt": names}, row_group_size=500).getvalue())


def test_damage_is_told_as_damage() -> None:
    data = damaged()
    data[2000:2200] = bytes(byte ^ 255 for byte in data[2000:2200])
    assert "a.parquet is damaged" in refused(io.BytesIO(data))
    assert "a.parquet is no Parquet file" in refused(io.BytesIO(damaged()[:-50]))
    assert "a.parquet is no Parquet file" in refused(io.BytesIO(b""))


def test_no_damage_whatever_is_taken_for_an_outage() -> None:
    whole = damaged()
    for start in range(4, len(whole) - 8, len(whole) // 60):
        data = bytearray(whole)
        data[start : start + 8] = bytes(byte ^ 255 for byte in data[start : start + 8])
        try:
            assert len(records(io.BytesIO(data))) == 5_000
        except TableError:
            continue


@pytest.mark.parametrize(
    "error", [OSError("Corrupt is what the store says"), ConnectionResetError(), RuntimeError("x")]
)
@pytest.mark.parametrize("reads", [0, 2, 5])
def test_an_outage_of_the_storage_is_none_of_the_files(error: Exception, reads: int) -> None:
    class Store(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1) -> bytes:
            Store.count += 1
            if Store.count > reads:
                raise error
            return super().read(size)

    with pytest.raises(StorageFault) as caught:
        records(Store(damaged()))
    assert caught.value.__cause__ is error


# --- files that unpack to too much -----------------------------------------------------------------------------------


def test_a_cell_that_is_too_large_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parquet, "MAX_CELL", 1024 * 1024)
    large = "x" * (2 * 1024 * 1024)
    for prompts in ([large, "a"], ["a"] * 100 + [large], [large] * 100):
        assert "a cell of the column 'prompt' has" in refused(stored({"prompt": prompts}))
    assert "a cell of the column 'tags' has" in refused(stored({"prompt": ["a"] * 3, "tags": [[large], [], None]}))
    assert "a cell of the column 'meta' has" in refused(stored({"prompt": ["a"] * 3, "meta": [{"text": large}] * 3}))
    assert len(records(stored({"prompt": ["x" * 1024 * 1024] * 3}))) == 3


def test_lists_of_too_many_values_are_refused_before_they_are_unpacked() -> None:
    values = pyarrow.repeat(pyarrow.scalar(7, pyarrow.int8()), 20_000_000)
    lists = pyarrow.ListArray.from_arrays(pyarrow.array([0, 10_000_000, 20_000_000], pyarrow.int32()), values)
    file = stored({"prompt": ["a", "b"], "tags": lists})
    assert len(file.getvalue()) < 200_000
    assert "tags.list.element' has 76 MiB on average; allowed: 4 MiB" in refused(file)


def test_a_row_group_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_parquet, "MAX_CHUNK", 100_000)
    names = [f"a cat in the year {number}, on a table" for number in range(20_000)]
    said = refused(stored({"prompt": names}))
    assert "the column 'prompt' unpacks to 1 MiB in its row group 0" in said and "smaller row groups" in said
    assert len(records(stored({"prompt": names}, row_group_size=1_000))) == 20_000


READ = """
from airflow_provider_apimart.generation.tables.rows import TableError
from airflow_provider_apimart.generation.tables.parquet import parquet_records

def read(path):
    with open(path, "rb") as file:
        try:
            return sum(1 for record in parquet_records(file, path))
        except TableError:
            return 0

read(sys.argv[1])
before = reset()
read(sys.argv[2])
print(held("VmHWM:") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak anew")
@pytest.mark.parametrize(
    ("cell", "rows", "limit"), [(80, 2, 20), (3, 3_000, 60)], ids=["two cells of 80 MB", "the same 3 MB 3,000 times"]
)
def test_little_is_held_of_a_file_that_unpacks_to_gigabytes(tmp_path: Path, cell: int, rows: int, limit: int) -> None:
    small, bomb = tmp_path / "small.parquet", tmp_path / "bomb.parquet"
    small.write_bytes(stored({"prompt": ["a"]}).getvalue())
    text = pyarrow.array(["x" * (cell * 1024 * 1024)], pyarrow.large_string())
    indices = pyarrow.repeat(pyarrow.scalar(0, pyarrow.int32()), rows)
    parquet.write_table(
        pyarrow.table({"prompt": pyarrow.DictionaryArray.from_arrays(indices, text)}), bomb, compression="zstd"
    )
    assert bomb.stat().st_size < 1024 * 1024
    assert megabytes(READ, str(small), str(bomb)) < limit
