"""Tables from files and databases: the same rows from each, and clear words for what cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.generation.tables.rows import EmptyTableError, TableError
from airflow_provider_apimart.hooks import tables
from airflow_provider_apimart.hooks.rows import table_files
from airflow_provider_apimart.hooks.tables import prompt_rows, read_table, rows_as_kwargs

TABLE: list[dict[str, Any]] = [
    {"sku": "K-1", "prompt": 'a "quoted" cat, with commas\nand a second line', "duration": 4, "generate_audio": True},
    {"sku": "K-2", "prompt": "a dog 🐕", "duration": None, "generate_audio": False},
    {"sku": "K-3", "prompt": "x" * 20_000, "duration": 8, "generate_audio": None},
]


def write_csv(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(TABLE[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(TABLE)
    return path


def write_jsonl(path: Path, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in TABLE) + "\n\n", encoding=encoding)
    return path


def write_parquet(path: Path) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(TABLE), path)
    return path


def write_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE prompts (sku TEXT, PROMPT TEXT, duration REAL, generate_audio INTEGER)")
        database.executemany("INSERT INTO prompts VALUES (:sku, :prompt, :duration, :generate_audio)", TABLE)
    monkeypatch.setenv("AIRFLOW_CONN_PROMPTS", json.dumps({"conn_type": "sqlite", "host": str(path)}))


def requests(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (row.number, row.request.prompt, row.request.duration, row.request.generate_audio, row.labels, row.key)
        for row in rows
    ]


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[Any, ...]]:
    found = requests(read_table(str(write_jsonl(tmp_path / "expected.jsonl"))))
    assert [row[:4] for row in found] == [
        (number, row["prompt"], row["duration"], row["generate_audio"]) for number, row in enumerate(TABLE, start=1)
    ]
    assert [row[4] for row in found] == [{"sku": row["sku"]} for row in TABLE]
    return found


def test_every_format_gives_the_same_rows(tmp_path: Path, expected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = tmp_path / "table.csv.gz"
    zipped.write_bytes(gzip.compress(write_csv(tmp_path / "a.csv").read_bytes()))
    paths = [
        tmp_path / "a.csv",
        write_csv(tmp_path / "bom.csv", encoding="utf-8-sig"),
        write_csv(tmp_path / "tabs.tsv", delimiter="\t"),
        write_jsonl(tmp_path / "bom.ndjson", encoding="utf-8-sig"),
        write_parquet(tmp_path / "a.parquet"),
        zipped,
    ]
    for path in paths:
        assert requests(read_table(str(path))) == expected, path
        assert requests(read_table(f"file://{path}")) == expected, path
    assert requests(read_table(str(write_csv(tmp_path / "b.csv", delimiter=";")), delimiter=";")) == expected
    assert requests(read_table(str(write_csv(tmp_path / "noname")), format="csv")) == expected
    write_database(tmp_path / "prompts.sqlite", monkeypatch)
    assert requests(read_table(sql="SELECT * FROM prompts ORDER BY sku", sql_conn_id="prompts")) == expected


def test_sql_takes_parameters_and_refuses_what_is_no_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_database(tmp_path / "prompts.sqlite", monkeypatch)
    (row,) = read_table(
        sql="SELECT sku, prompt FROM prompts WHERE sku = ?", sql_conn_id="prompts", sql_parameters=("K-2",)
    )
    assert row.labels == {"sku": "K-2"}
    with pytest.raises(EmptyTableError, match="the query to 'prompts' has no rows"):
        read_table(sql="SELECT * FROM prompts WHERE sku = 'K-9'", sql_conn_id="prompts")
    with pytest.raises(TableError, match="several columns named 'sku'"):
        read_table(sql="SELECT a.*, b.sku FROM prompts a, prompts b", sql_conn_id="prompts")
    with pytest.raises(ConfigurationError, match="a SELECT is needed"):
        read_table(sql="DELETE FROM prompts WHERE 0", sql_conn_id="prompts")
    with pytest.raises(ConfigurationError, match="sql_conn_id='nope': there is no such Airflow connection"):
        read_table(sql="SELECT 1", sql_conn_id="nope")
    monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps({"conn_type": "http", "host": "127.0.0.1"}))
    with pytest.raises(ConfigurationError, match="HttpHook is no database hook"):
        read_table(sql="SELECT 1", sql_conn_id="web")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("s3://nope@bucket/a.csv", "^s3://nope@bucket/a.csv: there is no Airflow connection 'nope'"),
        ("s3://me:canary-4711@bucket/a.csv", r"^s3://\*\*\*@bucket/a.csv: .*never a user and a password"),
        ("nosuch://bucket/a.csv", "^nosuch://bucket/a.csv: this storage cannot be used"),
    ],
)
def test_a_storage_that_is_not_there_is_no_trouble_that_passes(
    path: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        read_table(path)
    assert "canary-4711" not in f"{caught.value}{caplog.text}"
    with pytest.raises(AirflowFailException, match=text):
        prompt_rows(path)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", b"", "is empty: not even a header"),
        ("a.csv", b"\n\n", "is empty: not even a header"),
        ("a.csv", b"\xef\xbb\xbf", "is empty: not even a header"),
        ("a.csv", b"prompt,duration\n", "has no rows"),
        ("a.jsonl", b"", "has no rows"),
        ("a.csv", b"prompt,prompt\na,b\n", "several columns named 'prompt'"),
        ("a.csv", b"prompt,,seed\na,b,1\n", "columns without a name; give each a name. Nothing"),
        ("a.csv", b",prompt,seed\n0,b,1\n", "columns without a name.*pandas' index: write the file with index=False"),
        ("a.csv", b"prompt,seed\na cat, on a mat,4\n", "row 1: record=.*2 cells, as in the header; here are 3"),
        ("a.csv", b'prompt,seed\n"a cat,4\n', "no CSV from here on"),
        ("a.csv", b'prompt,seed\na,1\n"a" cat,4\n', "row 2: .*no CSV from here on"),
        ("a.csv", "prompt\nein süßer Hund\n".encode("latin-1"), "is not UTF-8"),
        ("a.csv", "prompt\na cat\n".encode("utf-16"), "is not UTF-8"),
        ("a.csv", "prompt\na cat\n".encode("utf-16-le"), "is not UTF-8 but UTF-16 without a byte order mark"),
        ("a.csv", b"prompt;seed\na;4\n", "no column 'prompt'; it has 'prompt;seed'.*say delimiter=';'"),
        ("a.csv", b"prompt;seed\na, b;4\n", "no column 'prompt'; it has 'prompt;seed'.*say delimiter=';'"),
        ("a.csv", b"PK\x03\x04 and [Content_Types].xml", "is an Excel workbook; save the sheet as CSV"),
        ("a.csv.gz", gzip.compress(b"PK\x03\x04 prompts.csv", mtime=0), "is a ZIP archive"),
        ("a.csv.gz", gzip.compress(b"prompt\na cat\n" * 99, mtime=0)[:-20], "cannot be read: EOFError"),
        ("a.csv.gz", b"\x1f\x8b\x08\x00" + b"\x00" * 6 + b"\xff" * 99, "cannot be read: error"),
        ("a.csv", b'[{"prompt": "a"}]', "is JSON; say format='jsonl'"),
        ("a.csv", b"prompt,sku\na,1\nhalf of b", "row 2: .*line 3: allowed: 2 cells"),
        ("a.tsv", b'prompt\tsku\n"a\t1\nb\t2\nc"\t3\n', "line 2: a quote .*to line 4.*say quoting=False"),
        ("a.parquet", b"PK\x03\x04 prompts.csv", "is a ZIP archive"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": \n[1]\n', "row 2: .*one JSON object a line"),
        ("a.jsonl", b'[{"prompt": "a"}]', "one JSON object a line"),
        ("a.parquet", b"PAR1 or not", "is no Parquet file"),
        ("a.parquet", b"", "is no Parquet file"),
        ("a.csv.gz", b"prompt\na\n", "cannot be read: BadGzipFile"),
    ],
)
def test_files_that_cannot_be_taken(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=f"(?s){text}") as caught:
        read_table(str(path))
    assert "Nothing was submitted" in str(caught.value)


def test_what_is_asked_wrongly_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read: FileNotFoundError"):
        read_table(str(tmp_path / "not_there.csv"))
    with pytest.raises(ConfigurationError, match="what kind of table is this"):
        read_table(str(tmp_path / "table.xlsx"))
    for arguments in ({}, {"sql": "SELECT 1"}, {"path": "a.csv", "sql": "SELECT 1", "sql_conn_id": "x"}):
        with pytest.raises(ConfigurationError, match="either path, or sql and sql_conn_id"):
            read_table(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="one character, for CSV"):
        read_table(str(tmp_path / "table.jsonl"), delimiter=";")
    with pytest.raises(ConfigurationError, match="quoting=False: allowed: True or False, for CSV"):
        read_table(str(tmp_path / "table.jsonl"), quoting=False)
    with pytest.raises(ConfigurationError, match=r"^format='xlsx': allowed: csv, tsv, jsonl, parquet"):
        read_table(str(tmp_path / "table.csv"), format="xlsx")  # type: ignore[arg-type]


def test_gzip_is_read_under_any_name(tmp_path: Path, expected: list[Any]) -> None:
    for write, name in ((write_csv, "a.csv"), (write_jsonl, "a.jsonl"), (write_parquet, "a.parquet")):
        path = write(tmp_path / name)
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        assert requests(read_table(str(path))) == expected


def test_storages_that_cannot_go_back_are_read(
    tmp_path: Path, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneWay(io.RawIOBase):
        """Like an HTTP answer: some bytes at a time, from the start to the end."""

        def __init__(self, data: bytes) -> None:
            self._rest = io.BytesIO(data)

        def read(self, size: int | None = -1) -> bytes:
            return self._rest.read(min(size if size and size > 0 else 7_000, 7_000))

    write_csv(tmp_path / "a.csv")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    monkeypatch.setattr(tables.ObjectStoragePath, "open", lambda self, mode: OneWay(Path(str(self)).read_bytes()))
    for name in ("a.csv", "a.csv.gz"):
        assert requests(read_table(str(tmp_path / name))) == expected


def test_a_line_without_an_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "MAX_LINE", 1_000)
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "x" * 1_001)
    with pytest.raises(TableError, match="a line of more than 1,000 characters"):
        read_table(str(path))


def test_rows_can_be_skipped_and_quotes_be_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('Title\tBody\nKettle\t"a" kettle\n\t"x\nLamp\t"b"\n')
    options: dict[str, Any] = {"columns": {"Body": "prompt"}, "skip_if": {"Title": None}, "quoting": False}
    assert [(row.number, row.request.prompt) for row in read_table(str(path), **options)] == [
        (1, '"a" kettle'),
        (3, '"b"'),
    ]
    assert [row["prompt"] for row in prompt_rows(str(path), **options)] == ['"a" kettle', '"b"']
    options["skip_if"] = {"Title": ["Kettle", "Lamp", None]}
    assert prompt_rows(str(path), **options, allow_empty=True) == []


def test_parquet_that_can_never_be_read_is_no_outage(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    data = bytearray(path.read_bytes())
    data[20:80] = b"\xff" * 60
    path.write_bytes(data)
    with pytest.raises(AirflowFailException, match=r"a\.parquet is damaged"):
        prompt_rows(str(path))


def test_log_tells_of_slips_and_duplicates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,models\na,4\nb,4\na,8\n")
    with caplog.at_level(logging.INFO):
        read_table(str(path))
    assert "3 rows, all of them checked" in caplog.text
    assert "Did you mean 'model'?" in caplog.text
    assert "1 rows ask for the same as an earlier one" in caplog.text and "rows 3" in caplog.text


def test_kwargs_hold_what_a_row_sets_and_its_labels(tmp_path: Path) -> None:
    first, second, _ = prompt_rows(str(write_csv(tmp_path / "a.csv")), defaults={"model": "veo3.1-quality-official"})
    assert first == {
        "prompt": TABLE[0]["prompt"],
        "model": "veo3.1-quality-official",
        "duration": 4,
        "generate_audio": True,
        "labels": {"sku": "K-1"},
    }
    assert "duration" not in second


def test_more_rows_than_airflow_maps_over_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt\n" + "".join(f"prompt {number}\n" for number in range(1_025)))
    with pytest.raises(AirflowFailException, match=r"1,025 rows, .* over 1,024 [\s\S]*in parts"):
        prompt_rows(str(path))
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2000")
    assert len(rows_as_kwargs(read_table(str(path)))) == 1_025


def test_task_helper_fails_for_good_and_can_let_a_table_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,duration\na,5\n")
    with pytest.raises(AirflowFailException, match="row 1: duration='5': allowed: 4, 6 or 8"):
        prompt_rows(str(path))
    path.write_text("prompt,duration\n")
    assert prompt_rows(str(path), allow_empty=True) == []
    with pytest.raises(AirflowFailException, match="has no rows"):
        prompt_rows(str(path))


def test_ten_thousand_rows_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("prompt,duration,seed,sku\n")
        file.writelines(f"prompt number {number} about a cat,4,{number},K-{number}\n" for number in range(10_000))
    tracemalloc.start()
    try:
        rows = read_table(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len({row.key for row in rows}) == 10_000
    assert peak < 40 * 1024 * 1024
