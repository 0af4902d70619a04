"""CSV and JSON lines as people's tools write them: quotes, spaces, cut rows, and files that are something else."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import pytest

from airflow_provider_apimart.generation.tables.columns import Header
from airflow_provider_apimart.generation.tables.rows import BadRecord, TableError
from airflow_provider_apimart.generation.tables.text_files import csv_records, jsonl_records, what_else


def records(text: str, **options: Any) -> list[Any]:
    header, *found = csv_records(io.StringIO(text, newline=""), **options)
    assert isinstance(header, Header)
    return found


def cells(text: str, **options: Any) -> list[list[str]]:
    found = records(text, **options)
    assert not [one for one in found if isinstance(one, BadRecord)], found
    return [list(one.values()) for one in found]


def bad(text: str, **options: Any) -> str:
    (found,) = [one.allowed for one in records(text, **options) if isinstance(one, BadRecord)]
    return str(found)


def hint(text: str, **options: Any) -> str:
    return next(header.hint for header in csv_records([text], **options) if isinstance(header, Header))


# --- rows ------------------------------------------------------------------------------------------------------------


# Of values that are not all quoted, Python's writer forgets those with a line feed where the line end is another one.
@pytest.mark.parametrize(("end", "quotes"), [("\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL)])
@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_what_a_writer_of_csv_has_written_comes_back(end: str, quotes: Any, delimiter: str) -> None:
    words = ["a cat", 'the "best"', "one, two; three", "line\nend", "1920,1080", " space ", "", "x", '"', "|"]
    choose = random.Random(7)
    table = [[choose.choice(words) for _ in range(4)] for _ in range(300)]
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quotes)
    writer.writerows([["a", "b", "c", "d"], *table])
    expected = [row for row in table if any(cell.strip() for cell in row)]
    assert cells(file.getvalue(), delimiter=delimiter, quoting=True) == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat, red\non a mat, blue",
        "Scene: a cat,\nCamera: slow,\nLight: warm",
        '{"scene": "a cat",\n "light": "warm",\n "fps": 24\n}',
        "first\n\nsecond, third\n",
        "a,b",
        "masterpiece,best quality\nsolo,standing",
        "1girl,solo\nmasterpiece,best quality,8k",
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_prompts_of_several_lines_are_no_merged_rows(prompt: str, place: int) -> None:
    row = ["K1"]
    row.insert(place, prompt)
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["a", "b"], row, ["x", "y"]])
    assert cells(file.getvalue()) == [row, ["x", "y"]]


@pytest.mark.parametrize(
    ("text", "delimiter", "lines"),
    [
        ('prompt\tsku\n"Hello, says the cat\t1\nA dog\t2\nbye, says the cat"\t3\n', "\t", (2, 4)),
        ('prompt,sku\nA cup,0\n"Hello, says the cat,1\nA dog runs, fast,2\nbye, says the cat",3\n', ",", (3, 5)),
        ('sku,prompt\n1,"Hello says the cat\n2,A dog\n3,bye"\n', ",", (2, 4)),
        ('sku;prompt;duration\n1;"Hello;4\n2;bye";8\n', ";", (2, 3)),
    ],
)
def test_a_stray_quote_that_merges_rows_is_refused(text: str, delimiter: str, lines: tuple[int, int]) -> None:
    said = bad(text, delimiter=delimiter, prefix="table_")
    assert said.startswith(f"line {lines[0]}: ") and f"to line {lines[1]}." in said
    assert "table_quoting=False" in said and "table_quoting=True" in said
    plain = cells(text, delimiter=delimiter, quoting=False) if delimiter == "\t" else []
    assert [row[0] for row in plain] == (['"Hello, says the cat', "A dog", 'bye, says the cat"'] if plain else [])
    assert "\n" in "".join(cells(text, delimiter=delimiter, quoting=True)[-1])


def test_where_quotes_have_enclosed_values_a_whole_row_has_to_be_swallowed() -> None:
    good = 'prompt,sku\n"a cat, red",1\n'
    assert cells(good + '"Size 10,20\nend",3\n')[-1] == ["Size 10,20\nend", "3"]
    assert "table_" not in bad(good + '"Hello, says the cat,1\nA dog,2\nbye",3\n')
    assert bad('prompt,sku\n"Size 10,20\nend",3\n').startswith("line 2: a quote")


def test_without_quoting_a_quote_is_a_character() -> None:
    text = 'prompt\tsku\n"GIGGLE" painted\t1\n"Hello"\t2\n"\t3\n'
    assert cells(text, delimiter="\t", quoting=False) == [['"GIGGLE" painted', "1"], ['"Hello"', "2"], ['"', "3"]]


def test_a_quote_that_encloses_nothing_is_a_character_in_tsv() -> None:
    text = 'prompt\tsku\n"GIGGLE" painted\t1\nA dog\t2\n"Oh\t3\n'
    assert cells(text, delimiter="\t") == [['"GIGGLE" painted', "1"], ["A dog", "2"], ['"Oh', "3"]]


def test_what_is_no_csv_names_the_line_and_the_argument() -> None:
    said = bad('prompt,sku\n"two\nlines",1\n"GIGGLE" painted,2\n')
    assert said.startswith("line 4: this is no CSV from here on") and "quoting=False" in said
    assert "quoting" not in bad("prompt,sku\na,b,c\n")


@pytest.mark.parametrize(
    ("text", "line", "count"),
    [
        ("prompt,duration,sku\nA kettle,4,K1\nA lamp st", 3, 1),
        ("prompt,duration,sku\nA kettle,4,K1\nA lamp stand,8\n", 3, 2),
        ("sku,prompt\nK1,A cat\non a mat\nK2,A dog\n", 3, 1),
        ("prompt,sku\nA cat\non a mat,K1\n", 2, 1),
    ],
)
def test_too_few_cells_are_refused_as_too_many_are(text: str, line: int, count: int) -> None:
    said = bad(text)
    assert said.startswith(f"line {line}: allowed: ") and f"here are {count} (a file that was cut off" in said


def test_rows_of_nothing_are_no_rows() -> None:
    text = ",,\nprompt,sku,\na,1,\n,,\n , \u200b,\n\n\x00,\nb,,\n\x1a"
    assert cells(text) == [["a", "1"], ["b", ""]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('prompt, sku\n"a cat, red", "K,1"\na dog, K2\n', [["a cat, red", "K,1"], ["a dog", "K2"]]),
        ('sku,prompt\nK1, "a cat, red"\nK2, a dog\n', [["K1", "a cat, red"], ["K2", " a dog"]]),
        ('sku,prompt\nK1, "a cat,\n red"\nK2,x\n', [["K1", "a cat,\n red"], ["K2", "x"]]),
        ('sku,prompt\nK1, "Hello" says the cat\nK2,x\n', [["K1", ' "Hello" says the cat'], ["K2", "x"]]),
        ('sku,prompt\nK1, "Hello says the cat\nK2,x\n', [["K1", ' "Hello says the cat'], ["K2", "x"]]),
        ("prompt,sku\n two  spaces ,K\n", [[" two  spaces ", "K"]]),
    ],
)
def test_a_space_behind_the_comma(text: str, expected: list[list[str]]) -> None:
    assert cells(text) == expected


def test_the_first_line_of_a_joined_file_is_no_row() -> None:
    # cat a.csv b.csv, where Excel has told the delimiter in both.
    text = "sep=;\r\nprompt;duration\r\na cat;4\r\nsep=;\r\nprompt;duration\r\na dog;6\r\n"
    assert cells(text) == [["a cat", "4"], ["prompt", "duration"], ["a dog", "6"]]
    assert cells("prompt\na cat\nsep=;\n") == [["a cat"], ["sep=;"]]


def test_quotes_behind_backslashes_are_told_as_what_they_are() -> None:
    # Spark's own way, unless it is told otherwise.
    text = bad('prompt,duration\n"a cat, \\"red\\" and happy",4\n')
    assert "line 2" in text
    assert ".option('escape', '\"')" in text
    assert "quoting=False" not in text


def test_two_rows_that_a_quote_has_merged_are_told_by_their_numbers() -> None:
    text = 'id,prompt,n\n0,"ok, fine",1\n1,"Hello there,4\n2,my world",8\n'
    assert "to line 4" in bad(text)
    assert len(records(text, quoting=True)) == 2


def test_two_lines_of_a_value_are_no_rows_where_nothing_but_words_says_so() -> None:
    text = 'prompt,n,tag\n"ok, fine",1,a\n"cat,photo\nrealistic",b,c\n'
    assert cells(text)[1] == ["cat,photo\nrealistic", "b", "c"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_between_quoted_names_is_told(mark: str) -> None:
    with pytest.raises(TableError) as caught:
        records(f'"prompt"{mark}"duration"\n"a cat"{mark}"4"\n')
    assert f"Is the delimiter {mark!r}? Then say delimiter={mark!r}" in str(caught.value)


# --- the header ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_the_line_that_tells_excel_the_delimiter_tells_us(line: str) -> None:
    assert cells(f"{line}prompt;sku\na, b;1\n") == [["a, b", "1"]]
    assert bad(f"{line}prompt;sku\na\n").startswith("line 3: ")
    assert cells(f"{line}prompt|sku\na|1\n", delimiter="|") == [["a", "1"]]


def test_names_lose_what_nobody_sees() -> None:
    assert list(records("pro\u200bmpt\u2060, \ufeffsku \na,1\n")[0]) == ["prompt", "sku"]


@pytest.mark.parametrize(
    ("header", "options", "mark"),
    [
        ("prompt;duration", {}, ";"),
        ("prompt\tduration", {}, "\t"),
        ("prompt|duration|sku", {}, "|"),
        ("prompt,duration", {"usual": "\t"}, ","),
        ("a;b,c;d", {}, ";"),
    ],
)
def test_another_delimiter_in_the_header_is_a_hint(header: str, options: dict[str, Any], mark: str) -> None:
    assert hint(header, **options) == f". Is the delimiter {mark!r}? Then say delimiter={mark!r}"
    assert f"table_delimiter={mark!r}" in hint(header, prefix="table_", **options)


@pytest.mark.parametrize("header", ["prompt", "prompt,duration", "prompt,duration;seconds"])
def test_no_hint_where_there_is_nothing_to_hint_at(header: str) -> None:
    assert hint(header) == ""


# --- JSON lines ------------------------------------------------------------------------------------------------------


def test_a_key_that_comes_twice_is_refused() -> None:
    first, second = jsonl_records(['{"prompt": "a", "prompt": "b"}', '\ufeff{"prompt": "c"}'])
    assert isinstance(first, BadRecord) and "the key 'prompt' comes twice" in first.allowed
    assert second == {"prompt": "c"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[{"prompt": "a"}, {"prompt": "b"}]', "is one JSON array"),
        ('[\n  {"prompt": "a"},\n  {"prompt": "b"}\n]', "is one JSON array"),
        ('{\n  "prompt": "a"\n}\n', "is one JSON document of several lines"),
    ],
)
def test_json_that_is_not_of_lines_is_told_once(text: str, what: str) -> None:
    with pytest.raises(TableError, match=f"a.jsonl {what}; needed is one JSON object a line, as jq -c"):
        list(jsonl_records(text.splitlines(keepends=True), name="a.jsonl"))


# --- something else --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "kind", "said"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", "csv", "an Excel workbook"),
        (b"PK\x03\x04\x14\x00prompts.csv", "csv", "a ZIP archive"),
        (b"PK\x03\x04\x14\x00prompts.csv", "parquet", "a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "csv", "an old Excel workbook"),
        (b"PAR1\x15\x04", "jsonl", "say table_format='parquet'"),
        ("prompt,sku\na,1\n".encode("utf-16"), "csv", "UTF-16"),
        ("prompt,sku\na,1\n".encode("utf-16-le"), "csv", "UTF-16 without a byte order mark"),
        ('{"prompt": "日本"}\n'.encode("utf-16-be"), "jsonl", "UTF-16 without a byte order mark"),
        (b"<!DOCTYPE html><html>", "csv", "a web page"),
        (b'\xef\xbb\xbf[\n {"prompt": "a"}]', "csv", "say table_format='jsonl'"),
        (b'{"prompt": "a"}\n', "tsv", "say table_format='jsonl'"),
        (b"\x28\xb5\x2f\xfd\x04", "jsonl", "Zstandard"),
    ],
)
def test_what_a_file_really_is(head: bytes, kind: str, said: str) -> None:
    assert said in str(what_else(head, kind, "table_"))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PAR1\x15\x04\x00\x00", "parquet"),
        (b"", "csv"),
        (b"PAR1,prompt\n", "csv"),
        (b"[id],prompt\n", "csv"),
        (b"prompt\n\x00", "csv"),
        ("prompt\n日本\n".encode(), "csv"),
        (b'{"prompt": "a"}', "jsonl"),
    ],
)
def test_a_table_is_a_table(head: bytes, kind: str) -> None:
    assert what_else(head, kind) is None
