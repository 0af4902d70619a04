"""What a record holds, how large it can get, and how an unreadable one is told."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.generation.purchase.record import (
    MAX_ID_LENGTH,
    MAX_MODEL_LENGTH,
    MAX_NOTE_LENGTH,
    MAX_PATH_LENGTH,
    MAX_PREVIOUS,
    MAX_UPLOAD_URL_LENGTH,
    NoRecordStore,
    Previous,
    RecordState,
    UnreadableRecordError,
    clipped,
    note_of,
    read_record,
)
from tests.generation.records import LANDED, NOW, record


def test_it_comes_back_as_it_went() -> None:
    full = record(
        "landed",
        account="aa",
        uploads={"first_frame_image": "https://upload.example/1.png"},
        uploaded_at=NOW,
        completed_at=NOW,
        cost_usd=0.64,
        note="x",
        landed=(LANDED, LANDED),
        previous=(Previous(generation_id=None, idempotency_key="k", state=RecordState.INTENT, model="m"),),
    )
    assert read_record(full.model_dump(mode="json"), "here") == full
    assert read_record(json.dumps(full.model_dump(mode="json")), "here") == full
    assert read_record(full.model_dump_json().encode(), "here") == full


def test_a_record_of_the_first_release_is_read() -> None:
    """Fields that came later have defaults: an upgrade in the middle of a run loses nothing."""
    first = {
        "version": 1,
        "state": "submitted",
        "fingerprint": "f",
        "idempotency_key": "k",
        "epoch": 0,
        "number": 1,
        "model": "veo3.1-fast-official",
        "intent_at": "2026-09-30T12:00:00Z",
        "generation_id": "task_1",
    }
    assert read_record(first, "here").generation_id == "task_1"
    assert read_record({**first, "of_a_later_release": [1]}, "here").generation_id == "task_1"


GOOD: dict[str, Any] = record().model_dump(mode="json")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "not JSON",
        b"\xff\xfe",
        "[]",
        [],
        {},
        7,
        {**GOOD, "version": 2},
        {**GOOD, "state": "paid twice"},
        {**GOOD, "intent_at": "2026-09-30T12:00:00"},
        {**GOOD, "generation_id": {"a": 1}},
        {key: value for key, value in GOOD.items() if key != "idempotency_key"},
    ],
)
def test_what_cannot_be_read_is_not_taken_for_nothing(data: Any) -> None:
    with pytest.raises(UnreadableRecordError) as caught:
        read_record(data, "s3://bucket/record.json")
    text = str(caught.value)
    assert caught.value.terminal
    assert "s3://bucket/record.json" in text and "nothing was submitted" in text
    assert "newer version" in text and "delete the record" in text


def test_no_store_keeps_the_record_for_this_try() -> None:
    store = NoRecordStore("nowhere")
    assert store.load() is None and not store.durable
    store.save(record())
    assert store.load() == record()


def test_a_superseded_record_is_remembered_unless_nothing_was_done() -> None:
    known = record(previous=(Previous(generation_id="task_0", idempotency_key="k", state="failed", model="m"),))
    assert [one.generation_id for one in known.as_previous()] == ["task_0", "task_1"]
    assert [one.generation_id for one in known.but(state=RecordState.REFUSED).as_previous()] == ["task_0"]


def test_the_newest_superseded_ones_are_kept() -> None:
    known = record()
    for n in range(MAX_PREVIOUS + 5):
        known = record(generation_id=f"task_{n}", previous=known.as_previous())
    assert len(known.as_previous()) == MAX_PREVIOUS
    assert known.as_previous()[-1].generation_id == f"task_{MAX_PREVIOUS + 4}"


@given(st.text(max_size=3000), st.integers(10, 2000))
def test_clipped_text_takes_its_room_and_no_more(text: str, limit: int) -> None:
    kept = clipped(text, limit)
    assert len(json.dumps(kept)) - 2 <= limit
    if len(json.dumps(text)) - 2 <= limit:
        assert kept == text


@pytest.mark.parametrize("character", ["x", "🎬", "\x00", "é", '"'])
def test_at_its_largest_it_stays_under_64_kb(character: str) -> None:
    """Every text as long as it is let in, in the spelling that takes the most room, four videos, all superseded."""
    at = datetime(2026, 9, 30, 12, 0, 0, 123456, tzinfo=NOW.tzinfo)
    model = clipped(character * 100_000, MAX_MODEL_LENGTH)
    generation_id = clipped(character * 100_000, MAX_ID_LENGTH)
    previous = Previous(
        generation_id=generation_id, idempotency_key="k" * 76, state="submitted", model=model, submitted_at=at
    )
    worst = record(
        "landed",
        model=model,
        generation_id=generation_id,
        idempotency_key="k" * 76,
        fingerprint="f" * 64,
        output_path=clipped(character * 100_000, MAX_PATH_LENGTH),
        uploads=dict.fromkeys(("first_frame_image", "last_frame_image"), "u" * MAX_UPLOAD_URL_LENGTH),
        note=note_of(character * 1_000_000),
        landed=(LANDED.model_copy(update={"path": "p" * 4096}),) * 4,
        previous=(previous,) * MAX_PREVIOUS,
    )
    assert len(json.dumps(worst.model_dump(mode="json"))) < 65_536
    assert len(worst.model_dump_json(indent=1).encode()) < 65_536


def test_a_note_holds_no_url() -> None:
    noted = note_of("failed at https://media.example/v.mp4?sig=SECRET, see http://x.y/z")
    assert noted == "failed at <url> see <url>"
    assert note_of(None) is None
    assert len(note_of("y" * 10**6) or "") <= MAX_NOTE_LENGTH
