"""Cells: words for "no value", values with spaces around them, numbers of numpy's, and conditions on a cell."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from airflow_provider_apimart.client.null_words import is_null_word
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.tables.cells import is_empty, label, matches, parameter, plain
from airflow_provider_apimart.generation.tables.rows import TableError, read_rows

NULLS = [
    "null",
    "None",
    "NaN",
    "N/A",
    "n/a",
    "#N/A",
    "NULL",
    "NA",
    "nil",
    "undefined",
    "<NA>",
    "\\N",
    " none ",
    "(null)",
]
DAMAGE = ["#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#ERROR!", "#BEZUG!", "#\u00a1REF!", "\ufffd", "\ufffd\ufffd \ufffd"]
UNSEEN = ["", "  ", "\x1a", "\x00", "\u200b", "\ufeff", " \u200b\u2060\xa0 "]
PROMPTS = [
    "None of them moves",
    "nan bread on a table",
    "N/A!",
    "a \ufffd cat",
    "#sunset",
    "#REF! in neon letters",
    "0",
    "-",
    "null and void",
    "a\u200bcat",
]


@pytest.mark.parametrize("text", [*NULLS, *DAMAGE, *UNSEEN, "{}", " [] ", '""'])
def test_what_says_nothing_is_no_prompt(text: str) -> None:
    assert is_null_word(text)
    with pytest.raises(TableError, match="row 1: prompt="):
        read_rows([{"prompt": text, "sku": 1}])


@pytest.mark.parametrize("text", PROMPTS)
def test_what_only_contains_such_a_word_is_a_prompt(text: str) -> None:
    assert not is_null_word(text)
    assert read_rows([{"prompt": text}])[0].request.prompt == text


@pytest.mark.parametrize("text", [*NULLS, *UNSEEN])
@pytest.mark.parametrize("column", [name for name in VeoRequest.FIELDS if name != "prompt"])
def test_elsewhere_it_means_not_set(text: str, column: str) -> None:
    (row,) = read_rows([{"prompt": "a cat", column: text}])
    assert column not in row.request.model_fields_set


@pytest.mark.parametrize("text", DAMAGE)
@pytest.mark.parametrize("column", ["negative_prompt", "duration", "aspect_ratio", "first_frame_image", "extra_body"])
def test_but_a_broken_value_is_refused(text: str, column: str) -> None:
    with pytest.raises(TableError, match=f"row 1: {column}=.*a spreadsheet's error"):
        read_rows([{"prompt": "a cat", column: text}])


def test_the_text_of_a_prompt_that_means_nothing_is_shown() -> None:
    with pytest.raises(TableError, match="rows 1-2: prompt='N/A': is needed, and this says that there is none"):
        read_rows([{"prompt": "N/A"}, {"prompt": "N/A"}])


def test_labels_keep_such_words() -> None:
    for text in [*NULLS, *DAMAGE, *UNSEEN]:
        assert label(text) == text


@pytest.mark.parametrize("around", [" {}", "{} ", "\t{}\r", "\u200b{}\ufeff", "\xa0{}"])
def test_values_are_taken_without_what_is_around_them(around: str) -> None:
    cells = {
        "model": "veo3.1-fast",
        "aspect_ratio": "9:16",
        "resolution": "1080P",
        "duration": "8",
        "first_frame_image": "https://example.com/a.png",
        "extra_body": '{"style": "film"}',
    }
    record = {"prompt": " a  cat ", **{name: around.format(cell) for name, cell in cells.items()}}
    (row,) = read_rows([record])
    found = row.request.model_dump(exclude_unset=True)
    assert found == {
        "prompt": " a  cat ",
        **cells,
        "resolution": "1080p",
        "duration": 8,
        "extra_body": {"style": "film"},
    }


def test_official_values_too() -> None:
    (row,) = read_rows([{"prompt": "a", "seed": " 7\u200b", "sample_count": "\u200b2", "generate_audio": " yes\xa0"}])
    assert (row.request.seed, row.request.sample_count, row.request.generate_audio) == (7, 2, True)


def test_bytes_are_text_in_utf8_for_prompts_and_for_labels() -> None:
    (row,) = read_rows([{"prompt": "ein süßer Hund".encode(), "duration": b"4", "sku": "Ä".encode(), "raw": b"\xff"}])
    assert (row.request.prompt, row.request.duration) == ("ein süßer Hund", 4)
    assert row.labels == {"sku": "Ä", "raw": "\\xff"}
    with pytest.raises(TableError, match="text is needed"):
        read_rows([{"prompt": b"caf\xe9"}])


def test_a_json_key_that_comes_twice_is_refused() -> None:
    with pytest.raises(TableError, match="the key 'style' comes twice"):
        read_rows([{"prompt": "a", "extra_body": '{"style": "film", "style": "ink"}'}])


@pytest.mark.parametrize(
    ("cell", "wanted", "found"),
    [
        (None, None, True),
        ("", None, True),
        ("N/A", None, True),
        ("x", None, False),
        ("draft", "draft", True),
        (" draft ", "draft", True),
        ("Draft", "draft", False),
        ("false", False, True),
        ("0", False, True),
        (0, False, True),
        ("no", True, False),
        (True, "yes", True),
        ("0.00", 0, True),
        (Decimal("4"), 4, True),
        ("four", 4, False),
        (None, "draft", False),
        ("", 0, False),
        (b"draft", "draft", True),
    ],
)
def test_conditions_on_a_cell(cell: Any, wanted: Any, found: bool) -> None:
    assert matches(cell, wanted) is found


# --- numpy and pandas ------------------------------------------------------------------------------------------------


def test_scalars_of_numpy_are_what_they_hold() -> None:
    numpy = pytest.importorskip("numpy")
    record = {
        "prompt": numpy.str_("a cat"),
        "duration": numpy.int64(4),
        "seed": numpy.float32(7),
        "sample_count": numpy.uint8(2),
        "generate_audio": numpy.bool_(True),
        "negative_prompt": numpy.float64("nan"),
        "price": numpy.float32(0.5),
        "flag": numpy.bool_(False),
        "day": numpy.datetime64("2026-01-02T03:04:05.123456789"),
        "never": numpy.datetime64("NaT", "ns"),
        "tags": numpy.array([1, 2]),
        "wide": numpy.longdouble(2),
        "inner": {"a": numpy.int8(1)},
    }
    (row,) = read_rows([record])
    found = row.request.model_dump(exclude_unset=True)
    assert found == {"prompt": "a cat", "duration": 4, "seed": 7, "sample_count": 2, "generate_audio": True}
    assert row.labels == {
        "price": 0.5,
        "flag": False,
        "day": "2026-01-02T03:04:05.123456789",
        "never": None,
        "tags": [1, 2],
        "wide": 2.0,
        "inner": {"a": 1},
    }
    assert {type(value) for value in row.labels.values()} <= {float, bool, str, type(None), list, dict}
    assert all(type(value) in (str, int, bool) for value in found.values())
    with pytest.raises(TableError, match="allowed: 4, 6 or 8"):
        read_rows([{"prompt": "a", "duration": numpy.int64(5)}])


def test_what_pandas_has_for_nothing_is_nothing() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "prompt": ["a", "b"],
            "duration": pandas.array([4, None], dtype="Int64"),
            "seed": [1.0, None],
            "generate_audio": pandas.array([True, None], dtype="boolean"),
            "day": pandas.to_datetime(["2026-01-02", None]),
        }
    )
    for records in (frame.to_dict("records"), [row.to_dict() for _, row in frame.iterrows()]):
        first, second = read_rows(records)
        assert first.request.model_dump(exclude_unset=True) == {
            "prompt": "a",
            "duration": 4,
            "seed": 1,
            "generate_audio": True,
        }
        assert second.request.model_dump(exclude_unset=True) == {"prompt": "b"}
        assert [first.labels, second.labels] == [{"day": "2026-01-02T00:00:00"}, {"day": None}]
    assert is_empty(pandas.NA) and is_empty(pandas.NaT)
    assert label(pandas.Timestamp("2026-01-02T03:04:05.123456789")) == "2026-01-02T03:04:05.123456789"


def test_other_values_stay_what_they_are() -> None:
    for value in (None, 1, 1.5, True, "text", b"\xff", Decimal("1.0"), [1], {"a": 1}):
        assert plain(value) is value
    assert parameter("prompt", " a cat ") == " a cat "
