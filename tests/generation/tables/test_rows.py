"""Records become rows: all of them checked, all that is wrong told at once, and keys that do not move with the rows."""

from __future__ import annotations

import pickle
import random
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.tables.rows import (
    BadRecord,
    Columns,
    EmptyTableError,
    Row,
    TableError,
    read_rows,
)

NAN = float("nan")


def rows(*records: Mapping[str, Any] | BadRecord, **options: Any) -> list[Row]:
    return read_rows(records, **options)


def refused(*records: Mapping[str, Any] | BadRecord, **options: Any) -> TableError:
    with pytest.raises(TableError) as caught:
        read_rows(records, **options)
    return caught.value


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [None, "", "  ", "\t", NAN, Decimal("NaN")])
@pytest.mark.parametrize("column", [name for name in VeoRequest.FIELDS if name != "prompt"])
def test_empty_cells_mean_not_set(empty: Any, column: str) -> None:
    (row,) = rows({"prompt": "a cat", column: empty})
    assert row.request == VeoRequest(prompt="a cat")
    assert column not in row.request.model_fields_set


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("duration", "4", 4),
        ("duration", 4.0, 4),
        ("duration", "8.0", 8),
        ("duration", Decimal("6"), 6),
        ("seed", 4294967295.0, 4294967295),
        ("sample_count", Decimal("2.00"), 2),
        ("generate_audio", 1, True),
        ("generate_audio", 0, False),
        ("generate_audio", "TRUE", True),
        ("generate_audio", "0.0", False),
        ("generate_audio", "f", False),
        ("generate_audio", "no", False),
        ("enhance_prompt", 1, True),
        ("extra_body", '{"style": "film"}', {"style": "film"}),
        ("extra_body", {"style": "film"}, {"style": "film"}),
    ],
)
def test_what_can_only_mean_one_thing_is_taken_as_that(column: str, cell: Any, value: Any) -> None:
    (row,) = rows({"prompt": "a cat", column: cell})
    assert getattr(row.request, column) == value


@pytest.mark.parametrize(
    ("column", "cell", "text"),
    [
        ("duration", 4.5, "allowed: 4, 6 or 8"),
        ("duration", "soon", "allowed: 4, 6 or 8"),
        ("duration", True, "allowed: 4, 6 or 8"),
        ("duration", float("inf"), "allowed: 4, 6 or 8"),
        ("seed", -1, "from 0 to 4294967295"),
        ("seed", 1e300, "from 0 to 4294967295"),
        ("generate_audio", 2, "allowed: True or False"),
        ("generate_audio", "perhaps", "allowed: True or False"),
        ("aspect_ratio", "4:3", "allowed: 16:9 or 9:16"),
        ("extra_body", "{style}", "allowed: a JSON object"),
        ("extra_body", "[1]", "allowed: a dict"),
        ("prompt", 5, "text is needed"),
        ("prompt", b"\xff", "text is needed"),
        ("prompt", "\ud800", "valid Unicode"),
    ],
)
def test_bad_cells_are_told_with_row_column_value_and_what_is_allowed(column: str, cell: Any, text: str) -> None:
    error = refused({"prompt": "fine"}, {"prompt": "a cat", column: cell})
    (problem,) = error.problems
    assert (problem.row, problem.problem.field) == (2, column)
    assert text in problem.problem.allowed
    assert f"row 2: {column}=" in str(error)
    assert "Nothing was submitted" in str(error)


def test_labels_are_plain_json() -> None:
    (row,) = rows(
        {
            "prompt": "a cat",
            "sku": 12,
            "day": date(2026, 1, 2),
            "price": Decimal("9.90"),
            "count": Decimal("3"),
            "exact": Decimal("0.12345678901234567890"),
            "nothing": NAN,
            "wait": timedelta(minutes=1),
            "tags": ("a", {"b": None}),
            "raw": b"\xff",
            "broken": "\ud800",
            "huge": float("inf"),
        }
    )
    assert row.labels == {
        "sku": 12,
        "day": "2026-01-02",
        "price": 9.9,
        "count": 3,
        "exact": "0.12345678901234567890",
        "nothing": None,
        "wait": 60.0,
        "tags": ["a", {"b": None}],
        "raw": "\\xff",
        "broken": "?",
        "huge": "inf",
    }


@pytest.mark.parametrize(
    "prompt",
    ["x" * 20_000, "🎬" * 20_000, "a\nb\tc \u200d 🏳️\u200d🌈", "{{ not_rendered }}"],
    ids=["x", "emoji", "lines", "jinja"],
)
def test_prompts_arrive_as_they_are(prompt: str) -> None:
    assert rows({"prompt": prompt})[0].request.prompt == prompt


# --- all that is wrong ----------------------------------------------------------------------------------------------


def test_all_errors_of_all_rows_come_at_once() -> None:
    error = refused(
        {"prompt": "a", "duration": 5, "seed": -1},
        {"prompt": "b", "duration": 4},
        {"prompt": None, "duration": 5},
        BadRecord("{", "allowed: one JSON object a line"),
        {"prompt": "c", "duration": 5, "resize_mode": "pad"},
        {"prompt": "d", "model": "veo3.1-lite", "seed": 4},
    )
    assert [(problem.row, problem.problem.field) for problem in error.problems] == [
        (1, "duration"),
        (1, "seed"),
        (3, "prompt"),
        (3, "duration"),
        (4, "record"),
        (5, "duration"),
        (5, "resize_mode"),
        (6, "seed"),
    ]
    assert "5 of 6 rows have wrong values" in str(error)
    # The same mistake in several rows is one line with all of their numbers.
    assert "rows 1, 3, 5: duration=5: allowed: 4, 6 or 8" in str(error)


def test_a_mistake_in_ten_thousand_rows_is_one_line() -> None:
    error = refused(*({"prompt": "a", "duration": 5} for _ in range(10_000)))
    assert len(error.problems) == 10_000
    assert "rows 1-10000: duration=5" in str(error)
    assert len(str(error)) < 500


def test_many_different_mistakes_are_told_to_a_limit_that_names_the_rows_left() -> None:
    error = refused(*({"prompt": "a", "seed": -1 - number} for number in range(1_200)))
    assert len(error.problems) == 1_200
    assert "row 1000: seed=-1000" in str(error)
    assert "rows 1001-1200: 200 further problems" in str(error)


def test_problems_carry_the_name_that_the_table_has_for_a_column() -> None:
    error = refused({"text": "a", "secs": 5}, columns=Columns({"text": "prompt", "secs": "duration"}))
    assert "row 1: secs=5: allowed: 4, 6 or 8" in str(error)


def test_error_survives_a_pickle() -> None:
    error = refused({"prompt": "a", "duration": 5})
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems, again.terminal) == (str(error), error.problems, True)


def test_empty_table_is_a_clear_error() -> None:
    with pytest.raises(EmptyTableError, match=r"prompts\.csv has no rows\. Nothing was submitted"):
        read_rows([], name="prompts.csv")


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_are_taken_in_any_case_and_renamed() -> None:
    (row,) = rows(
        {"PROMPT": "a cat", " Duration ": 4, "model": "Kettle X1", "SKU": 7},
        columns=Columns({"model": "product"}),
    )
    assert (row.request.prompt, row.request.duration, row.request.model) == ("a cat", 4, "veo3.1-fast-official")
    assert row.labels == {"product": "Kettle X1", "SKU": 7}


@pytest.mark.parametrize(
    ("record", "columns", "text"),
    [
        ({"prompt": "a", "Prompt": "b"}, {}, "'prompt' and 'Prompt' are both 'prompt'"),
        ({"prompt": "a", "text": "b"}, {"text": "prompt"}, "are both 'prompt'"),
        ({"prompt": "a"}, {"text": "prompt"}, "has no column 'text'; it has 'prompt'"),
        ({"text": "a"}, {"text": "promt"}, "did you mean 'prompt'"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(record: dict[str, Any], columns: dict[str, str], text: str) -> None:
    with pytest.raises(TableError, match=text):
        read_rows([record], columns=Columns(columns))


def test_labels_that_are_somewhat_like_a_parameter_are_found() -> None:
    columns = Columns({"seeds": "seeds"})
    rows({"prompt": "a", "prompt_id": 4, "models": "x", "seeds": 2, "sku": 1}, columns=columns)
    assert columns.slips == {"models": "model"}


def test_defaults_fill_what_a_row_does_not_set_and_are_checked_with_it() -> None:
    first, second = rows({"prompt": "a", "duration": 6}, {"prompt": "b", "duration": ""}, defaults={"duration": 4})
    assert (first.request.duration, second.request.duration) == (6, 4)
    assert "row 1: duration=5" in str(refused({"prompt": "a"}, defaults={"duration": 5}))
    assert "no such parameter: 'durations'" in str(refused({"prompt": "a"}, defaults={"durations": 5}))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_stay_with_the_request_when_rows_move() -> None:
    table = [{"prompt": f"prompt {number % 7}", "duration": 4, "sku": number} for number in range(20)]
    before = {(row.request.prompt, row.key) for row in rows(*table)}
    moved = [{"prompt": "inserted"}, *random.Random(4).sample(table, len(table))]
    after = {(row.request.prompt, row.key) for row in rows(*moved)}
    assert before < after
    assert len(before) == 20


def test_labels_and_spelling_do_not_change_a_key() -> None:
    (one,) = rows({"prompt": "a", "duration": "4.0", "sku": 1})
    (other,) = rows({"Prompt": "a", "DURATION": 4, "sku": 2, "seed": None})
    assert one.key == other.key


def test_duplicates_are_rows_of_their_own() -> None:
    table = rows({"prompt": "a", "sku": 1}, {"prompt": "b"}, {"prompt": "a", "sku": 2})
    assert len({row.key for row in table}) == 3
    assert [row.number for row in table if row.repeats] == [3]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["prompt", "duration", "seed", "extra_body", "generate_audio", "sku", "resolution"]),
            st.one_of(
                st.none(),
                st.text(max_size=20),
                st.floats(),
                st.integers(),
                st.booleans(),
                st.decimals(allow_nan=True),
                st.binary(max_size=4),
                st.lists(st.integers(), max_size=2),
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_table_gives_all_its_rows_or_one_error(table: list[dict[str, Any]]) -> None:
    try:
        found = read_rows(table)
    except TableError as error:
        assert str(error)
    else:
        assert [row.number for row in found] == list(range(1, len(table) + 1))
        assert len({row.key for row in found}) == len(table)
