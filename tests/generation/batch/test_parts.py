"""The pieces of the engine: what lines say together, the rate limiter, the pace, progress, the plan and the journal."""

from __future__ import annotations

import itertools
import json
import os
import random
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import Price
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.batch import draft
from airflow_provider_apimart.generation.batch import journal as journal_module
from airflow_provider_apimart.generation.batch.bill import Bill, money
from airflow_provider_apimart.generation.batch.draft import write_plan
from airflow_provider_apimart.generation.batch.engine.error_verdicts import after_submission, wait_after
from airflow_provider_apimart.generation.batch.engine.progress import Progress, spoken
from airflow_provider_apimart.generation.batch.journal import JournalWriter, journal_files, read_journal
from airflow_provider_apimart.generation.batch.plan import Rules, read_plan, slot_of
from airflow_provider_apimart.generation.batch.states import Ledger, Outcome
from airflow_provider_apimart.generation.pricing.prices import PriceList
from airflow_provider_apimart.generation.purchase.record import UnreadableRecordError
from airflow_provider_apimart.storage.files import Target
from tests.generation.batch.engine.simulated import IDENTITY, local, planned

LIFE: list[dict[str, Any]] = [
    {"row": "a", "state": "intent", "number": 1, "at": 1.0, "intent_at": 1.0, "account": "me"},
    {"row": "a", "state": "submitted", "number": 1, "at": 2.0, "generation_id": "t1", "submitted_at": 1.5},
    {"row": "a", "state": "failed", "number": 1, "at": 9.0, "generation_id": "t1", "note": "upstream"},
    {"row": "a", "state": "intent", "number": 2, "at": 10.0, "intent_at": 10.0, "account": "me"},
    {"row": "a", "state": "submitted", "number": 2, "at": 11.0, "generation_id": "t2", "submitted_at": 10.5},
    {"row": "a", "state": "submitted", "number": 2, "at": 70.0, "generation_id": "t2", "outcome": "parked"},
    {"row": "a", "state": "landed", "number": 2, "at": 90.0, "generation_id": "t2", "cost_usd": 0.5, "landed": [{}]},
]


@pytest.mark.parametrize("length", range(1, len(LIFE) + 1))
def test_lines_say_the_same_in_any_order_and_twice(length: int) -> None:
    lines = LIFE[:length]
    expected = Ledger().fold(lines).rows["a"]
    for order in itertools.islice(itertools.permutations(lines), 0, None, 7):
        assert Ledger().fold([*order, *order[:2]]).rows["a"] == expected


def test_what_lines_say_together() -> None:
    outcomes = [Ledger().fold(LIFE[:length]).rows["a"].row_outcome for length in range(1, len(LIFE) + 1)]
    assert outcomes == ["unknown", "parked", "failed", "unknown", "parked", "parked", "landed"]
    row = Ledger().fold(LIFE).rows["a"]
    assert (row.generation_id, row.intent_at, row.submitted_at, row.cost_usd) == ("t2", 10.0, 10.5, 0.5)


def test_a_row_that_was_lost_is_to_be_fetched_until_it_has_landed_again() -> None:
    lost = {"row": "a", "state": "landed", "number": 2, "at": 100.0, "lost": True}
    row = Ledger().fold([lost, *LIFE]).rows["a"]
    assert (row.lost, row.generation_id, row.row_outcome) == (True, "t2", Outcome.UNLANDED)
    again = {**LIFE[-1], "at": 110.0}
    assert Ledger().fold([again, lost, *LIFE]).rows["a"].row_outcome is Outcome.LANDED


def test_nothing_was_done_and_about_to_be_sent_take_turns() -> None:
    refused = {"row": "a", "state": "refused", "number": 1, "at": 5.0}
    assert Ledger().fold([LIFE[0], refused]).rows["a"].row_outcome is Outcome.LEFT
    assert Ledger().fold([refused, {**LIFE[0], "at": 5.0}]).rows["a"].row_outcome is Outcome.UNKNOWN


def test_ten_thousand_landed_rows_fit_into_a_little_memory(tmp_path: Path) -> None:
    count = 1000
    writer = JournalWriter(local(tmp_path / "journal"), "test")
    video = {"bytes": 812345, "duration_seconds": 4.0, "width": 1280, "height": 720, "has_audio": False}
    for number in range(count):
        slot, name = f"{number:024x}", f"task_{number:026d}"
        intent = {"row": slot, "state": "intent", "number": 1, "at": 1.5e9 + number, "account": "a" * 16}
        landed = [{"path": f"/data/videos/2026-01-01/{name}.mp4", "sha256": f"{number:064x}", **video}]
        end = {"row": slot, "state": "landed", "number": 1, "at": 1.6e9 + number, "generation_id": name}
        writer.add([intent, {**end, "submitted_at": 1.5e9 + number, "completed_at": 1.6e9, "landed": landed}])
    writer.close()
    tracemalloc.start()
    try:
        ledger = Ledger().fold(read_journal(local(tmp_path / "journal")))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ledger.rows) == count
    assert held / count < 1100
    # The journal's file is not held as well.
    assert (peak - held) / count < 150
    row = ledger.rows[f"{7:024x}"]
    assert row.landed == [{"path": f"/data/videos/2026-01-01/task_{7:026d}.mp4", "sha256": f"{7:064x}", **video}]


# --- journal ---------------------------------------------------------------------------------------------------------


def test_each_writer_has_a_file_of_its_own_and_half_a_line_counts_for_nothing(tmp_path: Path) -> None:
    folder = local(tmp_path / "journal", folder=False)
    one, two = JournalWriter(folder, "worker"), JournalWriter(folder, "trigger")
    for writer in (one, two):
        writer.add(LIFE[:2])
        writer.add([])
        writer.add(LIFE[2:3])
        writer.close()
    files = journal_files(folder)
    assert len(files) == 2
    with open(files[0].path, "ab") as file:
        file.write(b'{"row": "a", "state": "inte')
    assert sorted(line["at"] for line in read_journal(folder)) == [1.0, 1.0, 2.0, 2.0, 9.0, 9.0]


def test_after_half_a_line_the_writer_begins_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = local(tmp_path / "journal", folder=False)
    writer = JournalWriter(folder, "worker")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
    with pytest.raises(errors.LandingError, match="10 of"):
        writer.add(LIFE[:1])
    monkeypatch.setattr(os, "write", write)
    writer.add(LIFE[:1])
    writer.close()
    assert [line["at"] for line in read_journal(folder)] == [1.0]
    assert len(journal_files(folder)) == 2


def test_a_line_that_nobody_can_read_pays_for_nothing(tmp_path: Path) -> None:
    folder = local(tmp_path / "journal", folder=False)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "worker-1.jsonl").write_text('{"row": "a", "state"\n' + json.dumps(LIFE[0]) + "\n")
    with pytest.raises(UnreadableRecordError, match="nothing was submitted"):
        list(read_journal(folder))


def test_elsewhere_each_group_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    folder = Target(fs, "/batch/journal", "memory://batch/journal")
    writer = JournalWriter(folder, "trigger")
    for line in LIFE:
        writer.add([line])
    assert len(journal_files(folder)) == len(LIFE)
    monkeypatch.setattr(journal_module, "READERS", 2)
    assert sorted(line["at"] for line in read_journal(folder)) == [line["at"] for line in LIFE]
    fs.rm("/batch", recursive=True)


def test_no_journal_yet(tmp_path: Path) -> None:
    assert list(read_journal(local(tmp_path / "none", folder=False))) == []


# --- plan ------------------------------------------------------------------------------------------------------------


def plan_of(folder: Path, prompts: list[str]) -> Any:
    return write_plan(
        local(folder),
        planned(prompts),
        identity=IDENTITY,
        rules=Rules(requests_per_minute=500),
        output_uri="/out/",
        apimart_conn_id="apimart_default",
        median_seconds=75.0,
    )


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    prompts = [f"row {number} \u2028\x85 \U0001f600\r\n" for number in range(450)] + ["x" * 20_000] * 300
    plan = plan_of(tmp_path, prompts)
    again = read_plan(plan.folder)
    assert again.index == plan.index
    assert sum(plan.index.chunks) == 750 and len(plan.index.chunks) > 3
    rows = list(again.rows())
    assert [row.request.prompt for row in rows] == prompts
    for position in random.Random(1).sample(range(750), 50):
        assert again.row(position) == rows[position]
        assert slot_of(rows[position].key, rows[position].fingerprint) == again.index.slots[position]
    assert len(again._held) <= 4


def test_a_plan_is_the_same_whether_it_fits_into_memory_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [f"row {number}" for number in range(450)]
    plan = plan_of(tmp_path / "one", prompts)
    monkeypatch.setattr(draft, "SPOOL_BYTES", 1)
    again = plan_of(tmp_path / "other", prompts)
    assert plan.folder.name == again.folder.name
    assert list(again.rows()) == list(plan.rows())


def test_the_same_table_has_the_same_plan_and_another_one_its_own(tmp_path: Path) -> None:
    one, same, other = (plan_of(tmp_path, prompts).folder.path for prompts in (["a", "b"], ["a", "b"], ["a", "c"]))
    assert one == same != other


# --- progress --------------------------------------------------------------------------------------------


def test_progress_as_people_read_it() -> None:
    progress = Progress(10_000, started=0.0)
    progress.ended(Outcome.REUSED)
    for number in range(411):
        progress.ended(Outcome.LANDED, number * 1.2)
    for _ in range(3):
        progress.ended(Outcome.FAILED, 490.0)
    progress.running, progress.spent_usd = 50, 211.4
    text = progress.line(500.0)
    assert text == "412/10,000 done, 3 failed, 50 running, $211.40 so far, about 3 h 15 min left"
    assert progress.due(501.0) == pytest.approx(29.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (3000, "50 min"), (3600, "1 h"), (11_400, "3 h 10 min")],
)
def test_spoken_times(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


# --- errors and bills ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "doubtful", "expected"),
    [
        (errors.RateLimitError("x"), False, "pause"),
        (errors.ServerError("x"), True, "again"),
        (errors.ChannelUnavailableError("x"), False, "again"),
        (errors.IdempotencyInProgressError("x"), True, "again"),
        (errors.BadRequestError("x"), False, "refused"),
        (errors.BadRequestError("x"), True, "unknown"),
        (errors.IdempotencyIndeterminateError("x"), True, "unknown"),
        (errors.IdempotencyKeyReusedError("x"), False, "unknown"),
        (errors.InsufficientBalanceError("x"), False, "stop left"),
        (errors.InsufficientBalanceError("x"), True, "stop unknown"),
        (errors.AuthenticationError("x"), False, "stop left"),
        (errors.RedirectError("x"), False, "stop left"),
    ],
)
def test_what_an_error_of_the_paid_call_means(error: errors.ApimartError, doubtful: bool, expected: str) -> None:
    verdict = after_submission(error, doubtful=doubtful, failures=1, given_up=False, resend_unknown=True)
    if verdict.pause:
        found = "pause"
    elif verdict.again_after is not None:
        found = "again"
    else:
        found = f"stop {verdict.outcome}" if verdict.stop else str(verdict.outcome)
    assert found == expected


def test_a_bill_is_grouped_and_names_what_it_goes_by() -> None:
    bill = Bill(PriceList())
    for _ in range(3):
        bill.add(VeoRequest(prompt="a", duration=4))
    bill.add(VeoRequest(prompt="a", model="veo3.1-lite"))
    bill.add(VeoRequest(prompt="a", model="veo9"))
    lines = list(bill.lines())
    assert lines[0].startswith("3 x veo3.1-fast-official at 0.256 USD (1 x 4 s x 0.064 USD/s without audio) = 0.77 USD")
    assert "1 x veo9: no price is known" in lines
    assert lines[-1].startswith("5 rows: about 0.84 USD (prices from the provider's own list")
    assert money(bill.usd) == "0.838"


def test_a_bill_names_every_list_that_it_goes_by() -> None:
    prices = [Price(model="veo3.1-lite", unit="usd_per_call", key="default", usd=0.2)]
    bill = Bill(PriceList(prices, "APIMart's price list", date(2027, 3, 1)))
    for model in ("veo3.1-lite", "veo3.1-fast"):
        bill.add(VeoRequest(prompt="a", model=model))
    *_, last = bill.lines()
    assert last == (
        "2 rows: about 0.34 USD (prices from APIMart's price list; the provider's own list of 2026-10, 5 months old: "
        "check apimart.ai/pricing, since APIMart's price list does not tell this one)"
    )


@pytest.mark.parametrize("asked", [None, 0.0])
def test_a_server_that_asks_for_no_wait_is_asked_less_and_less_often(asked: float | None) -> None:
    error = errors.ServerError("oops", status=503, retry_after_seconds=asked)
    assert [wait_after(error, failures) for failures in (1, 2, 3, 20)] == [0.5, 1.0, 2.0, 60.0]


@pytest.mark.parametrize(("asked", "wait"), [(0.01, 0.5), (7.0, 7.0), (1e6, 300.0)])
def test_what_the_server_asks_is_waited_for(asked: float, wait: float) -> None:
    assert wait_after(errors.ServerError("oops", status=503, retry_after_seconds=asked), 3) == wait
