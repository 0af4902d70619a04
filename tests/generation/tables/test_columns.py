"""Columns: which are parameters, which are labels, and which are asked back."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.tables.columns import Columns, Header
from airflow_provider_apimart.generation.tables.rows import Row, TableError, read_rows


def rows(*records: Any, columns: dict[str, str] | None = None, **options: Any) -> list[Row]:
    return read_rows(records, columns=Columns(columns or {}), **options)


def refused(*records: Any, **options: Any) -> str:
    with pytest.raises(TableError) as caught:
        rows(*records, **options)
    assert "Nothing was submitted" in str(caught.value)
    return str(caught.value)


def spellings(name: str) -> list[str]:
    words = name.split("_")
    return [
        name.upper(),
        " ".join(words).title(),
        "-".join(words),
        words[0] + "".join(map(str.title, words[1:])),
        "".join(map(str.title, words)),
        f"\ufeff{name}",
        f" {name}\u200b ",
        f"{name[:2]}\u200d{name[2:]}",
    ]


@pytest.mark.parametrize("name", VeoRequest.FIELDS)
def test_a_name_is_a_parameters_in_any_spelling(name: str) -> None:
    for spelling in spellings(name):
        assert Columns().of(spelling) == (name, True), spelling


def test_both_spellings_are_refused_by_name() -> None:
    text = refused({"prompt": "a", "Aspect Ratio": "9:16", "aspectRatio": "16:9"})
    assert "the columns 'Aspect Ratio' and 'aspectRatio' are both 'aspect_ratio'" in text


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("seconds", "duration"),
        ("Secs", "duration"),
        ("durationSeconds", "duration"),
        ("duration_seconds", "duration"),
        ("Duration (s)", "duration"),
        ("durations", "duration"),
        ("duartion", "duration"),
        ("ratio", "aspect_ratio"),
        ("aspect_ration", "aspect_ratio"),
        ("resolutoin", "resolution"),
        ("negativ_prompt", "negative_prompt"),
        ("generate_audios", "generate_audio"),
        ("first_frame", "first_frame_image"),
        ("first_frame_image_url", "first_frame_image"),
        ("number_of_videos", "sample_count"),
    ],
)
def test_a_name_that_is_nearly_right_is_asked_back_once(column: str, meant: str) -> None:
    records = [{"prompt": "a", column: None}] * 3
    text = refused(*records)
    assert text.count(f"did you mean {meant!r}?") == 1
    assert f"columns={{{column!r}: {meant!r}}}" in text
    assert f"columns={{{column!r}: {column!r}}} to keep it as a label" in text
    assert len(rows(*records, columns={column: meant})) == 3
    assert rows({"prompt": "a", column: 1}, columns={column: column})[0].labels == {column: 1}
    assert rows({"prompt": "a", column: 1}, columns={column: "x"})[0].labels == {"x": 1}


def test_all_such_names_are_asked_back_together() -> None:
    text = refused({"prompt": "a", "seconds": 4, "ratio": "9:16"})
    assert "columns={'seconds': 'duration', 'ratio': 'aspect_ratio'}" in text


def test_a_parameter_that_is_there_is_not_asked_for() -> None:
    (row,) = rows({"prompt": "a", "prompts": 3, "duration": 4, "seconds": 3.98})
    assert (row.request.duration, row.labels) == (4, {"prompts": 3, "seconds": 3.98})


@pytest.mark.parametrize(
    "column",
    "sku prompt_id models mode id title category image caption need length size quality language enhanced_prompt "
    "negative samples text model_name duration_ms seeds count style audience personalisation".split(),
)
def test_other_names_are_labels(column: str) -> None:
    assert rows({"prompt": "a", column: "x"})[0].labels == {column: "x"}
    assert rows({"prompt": "a", "other": "x"}, columns={"other": column})[0].labels == {column: "x"}


def test_names_of_labels_lose_what_nobody_sees_and_nothing_else() -> None:
    family = "\U0001f469\u200d\U0001f467"
    (row,) = rows({"\ufeffprompt": "a", "s\u200bku": 1, family: 2, "my Label": 3})
    assert row.labels == {"sku": 1, family: 2, "my Label": 3}
    assert rows({"te\u200bxt": "a"}, columns={"text": "prompt"})[0].request.prompt == "a"


def test_columns_that_are_no_text_are_named_as_text() -> None:
    assert rows({"prompt": "a", 7: "x"})[0].labels == {"7": "x"}


@pytest.mark.parametrize(
    ("names", "guess"),
    [
        (("ref", "text"), "text"),
        (("sku", "Description"), "Description"),
        (("sku", "words"), "sku"),
    ],
)
@pytest.mark.parametrize("with_header", [True, False])
def test_a_missing_prompt_is_told_once_with_the_columns_there_are(
    names: tuple[str, ...], guess: str, with_header: bool
) -> None:
    records = [dict.fromkeys(names, "x")] * 100
    text = refused(*([Header(names)] if with_header else []), *records, name="prompts.csv")
    assert text == (
        f"prompts.csv has no column 'prompt'; it has {', '.join(map(repr, names))}. "
        f"Say which one is the prompt: columns={{{guess!r}: 'prompt'}}. Nothing was submitted"
    )


def test_a_prompt_written_wrongly_is_asked_back() -> None:
    text = refused(Header(("promt", "sku")), {"promt": "a", "sku": 1})
    assert "has no column 'prompt'; it has 'promt', 'sku'; the column 'promt' is no parameter" in text
    assert "columns={'promt': 'prompt'}" in text


def test_a_default_prompt_needs_no_column() -> None:
    (row,) = rows(Header(("sku",)), {"sku": 1}, defaults={"prompt": "a cat"})
    assert row.request.prompt == "a cat"


def test_a_table_with_a_header_and_no_row_is_empty_whatever_its_columns() -> None:
    assert "has no rows" in refused(Header(("text",)))


def test_a_hundred_columns_are_not_all_named() -> None:
    assert "and 70 more" in refused(dict.fromkeys((f"c{number}" for number in range(100)), "x"))


def test_a_new_name_that_is_a_slip_is_refused() -> None:
    assert "columns={'text': 'promt'}: no such parameter; did you mean 'prompt'?" in refused(
        {"text": "a"}, columns={"text": "promt"}
    )
    (row,) = rows({"text": "a", "format": "9:16"}, columns={"text": "Prompt", "format": "Aspect Ratio"})
    assert (row.request.prompt, row.request.aspect_ratio) == ("a", "9:16")


# --- rows that are none ----------------------------------------------------------------------------------------------


def test_rows_are_skipped_by_what_their_cells_hold() -> None:
    table = [
        {"Title": "Kettle", "Body": "a kettle", "Status": "active"},
        {"Title": "", "Body": "", "Status": ""},
        {"Title": None, "Body": "", "Status": None},
        {"Title": "Lamp", "Body": "N/A", "Status": "draft"},
        {"Title": "Cup", "Body": "a cup", "Status": "active"},
    ]
    found = rows(*table, columns={"Body": "prompt"}, skip_if={"Title": None, "Status": ["draft", "archived"]})
    assert [(row.number, row.request.prompt) for row in found] == [(1, "a kettle"), (5, "a cup")]
    # By the name that a column is given as well.
    found = rows(*table, columns={"Body": "prompt"}, skip_if={"prompt": None})
    assert [row.number for row in found] == [1, 5]


def test_skipping_everything_leaves_an_empty_table() -> None:
    assert "has no rows: skip_if leaves out all 2 of them" in refused(*[{"prompt": "a", "x": 1}] * 2, skip_if={"x": 1})


@pytest.mark.parametrize("with_header", [True, False])
def test_a_column_to_skip_by_has_to_be_there(with_header: bool) -> None:
    header = [Header(("prompt",))] if with_header else []
    assert "skip_if: no column 'Titel'; it has 'prompt'" in refused(*header, {"prompt": "a"}, skip_if={"Titel": None})


def test_conditions_are_data_and_never_code() -> None:
    (row,) = rows({"prompt": "a", "x": "__import__('os')"}, skip_if={"x": "{{ 1 }}"})
    assert row.number == 1


# --- joined files ----------------------------------------------------------------------------------------------------

HEADER = Header(("prompt", "sku"))


def test_a_header_in_the_middle_is_no_row() -> None:
    found = rows(
        HEADER, {"prompt": "a", "sku": "1"}, {"prompt": "\ufeffprompt", "sku": "sku"}, {"prompt": "b", "sku": ""}
    )
    assert [(row.number, row.request.prompt) for row in found] == [(1, "a"), (2, "b")]


def test_a_header_in_another_case_is_no_row_either() -> None:
    found = rows(HEADER, {"prompt": "a", "sku": "1"}, {"prompt": "Prompt", "sku": "SKU"}, {"prompt": "b", "sku": ""})
    assert [row.request.prompt for row in found] == ["a", "b"]
    header, columns = Header(("text", "sku")), {"text": "prompt"}
    assert "another header" in refused(header, {"text": "Prompt", "sku": "ref"}, columns=columns)


@pytest.mark.parametrize("again", [("sku", "prompt"), ("prompt", "ref"), ("Prompt", "ref")])
def test_another_header_in_the_middle_is_refused(again: tuple[str, str]) -> None:
    text = refused(HEADER, {"prompt": "a", "sku": "1"}, dict(zip(HEADER.names, again, strict=True)))
    assert "row 2: record=" in text and "another header" in text
    header, columns = Header(("text", "sku")), {"text": "prompt"}
    assert "another header" in refused(header, {"text": "text", "sku": "ref"}, columns=columns)


def test_where_there_is_no_header_none_is_repeated() -> None:
    assert rows({"prompt": "prompt"})[0].request.prompt == "prompt"


def test_conditions_have_to_be_a_dict() -> None:
    assert "skip_if='sku': allowed: a dict" in refused({"prompt": "a"}, skip_if="sku")
