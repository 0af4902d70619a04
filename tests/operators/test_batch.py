"""The batch operator: its arguments, its rows, its manifest, and what it does when it is run again."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.sdk.io import attach
from airflow.triggers.base import BaseTrigger

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.client.models import VeoRequest
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch import draft
from airflow_provider_apimart.generation.batch.draft import write_plan
from airflow_provider_apimart.generation.batch.manifest import Totals, manifest_target
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.batch.steps import Stop, StopKind
from airflow_provider_apimart.generation.poller import here
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators import batch as batch_module
from airflow_provider_apimart.operators.batch_end import BatchIncompleteError, refuse, stop_of
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from airflow_provider_apimart.triggers import batch as trigger_module
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger, VeoGenerationTrigger
from tests.generation.batch.simulated import IDENTITY, local, planned
from tests.operators.conftest import Tries

PRICE = 0.256


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of events is what is tried, not their pace."""
    from airflow_provider_apimart.generation import schedule
    from airflow_provider_apimart.generation.batch import flusher

    monkeypatch.setattr(schedule, "FIRST_POLL_SECONDS", 0.05)
    monkeypatch.setattr(flusher, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(trigger_module, "FIRST_EVENT_SECONDS", 0.0)


def batch(folder: Path, rows: Any = None, **options: Any) -> VeoGenerateBatchOperator:
    with DAG(dag_id="a_dag", schedule=None):
        return VeoGenerateBatchOperator(
            task_id="videos",
            requests=rows,
            defaults={"duration": 4},
            output_path=str(folder / "out"),
            **{"deferrable": False, "retries": 3, **options},
        )


def prompts(count: int, extra: str = "") -> list[dict[str, Any]]:
    return [{"prompt": f"row {number}{extra}", "sku": f"S-{number}"} for number in range(count)]


def run(operator: VeoGenerateBatchOperator, tries: Tries) -> dict[str, Any]:
    """One try, through the triggerer where the operator defers."""
    context: Any = tries.next(operator, store=False)
    try:
        return operator.execute(context)
    except TaskDeferred as deferral:
        kwargs: Any = deferral.kwargs
        path, stored = deferral.trigger.serialize()
        assert path == "airflow_provider_apimart.triggers.veo.VeoBatchTrigger"
        event = asyncio.run(first_event(VeoBatchTrigger(**json.loads(json.dumps(stored)))))
        return operator.execute_complete(context, event=json.loads(json.dumps(event)), **json.loads(json.dumps(kwargs)))


async def first_event(trigger: BaseTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("no event")


def lines(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path(result["manifest"]).read_text().splitlines()]


def paid(emulator: Emulator) -> Counter[str]:
    charged = [one for one in emulator.state()["generations"] if one["status"] != "failed"]
    return Counter(one["prompt"] for one in charged)


@pytest.mark.parametrize("deferrable", [True, False])
def test_every_row_becomes_a_landed_video_and_a_line(
    emulator: Emulator, tries: Tries, tmp_path: Path, deferrable: bool
) -> None:
    result = run(batch(tmp_path, prompts(12), deferrable=deferrable), tries)
    assert (result["rows"], result["landed"], result["failed"], result["left"]) == (12, 12, 0, 0)
    assert result["cost_usd"] == pytest.approx(12 * PRICE)
    assert result["estimated_cost_usd"] == pytest.approx(12 * PRICE)
    found = lines(result)
    assert [line["row"] for line in found] == list(range(1, 13))
    for line in found:
        assert (line["outcome"], line["error"]) == ("landed", None)
        assert line["labels"] == {"sku": f"S-{line['row'] - 1}"}
        assert line["request"]["prompt"] == f"row {line['row'] - 1}"
        assert Path(line["path"]).stat().st_size == line["videos"][0]["bytes"]
        sidecar = json.loads(Path(f"{line['path']}.json").read_text())
        assert sidecar["labels"] == line["labels"]
    assert set(paid(emulator).values()) == {1}
    assert len(json.dumps(result)) < 1000


def test_fifty_rows_of_a_faulty_api(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.faults(
        {"route": "submit", "kind": "drop_after", "times": 2, "after": 4},
        {"route": "submit", "kind": "status", "status": 502, "executed": True, "times": 2, "after": 20},
        {"route": "submit", "kind": "no_task_id", "times": 1, "after": 30},
        {"route": "task", "kind": "status", "status": 429, "retry_after": "1", "times": 1, "after": 10},
        {"route": "task", "kind": "broken_json", "times": 3, "after": 15},
        {"route": "submit", "kind": "task_fails", "prompt_contains": "row 17", "times": 1},
        {"route": "media", "kind": "cut", "times": 2},
    )
    result = run(batch(tmp_path, prompts(50)), tries)
    assert result["landed"] == 50
    assert set(paid(emulator).values()) == {1}
    assert sum(1 for one in emulator.state()["generations"] if one["status"] == "failed") == 1
    bodies: dict[str, set[str]] = {}
    for request in emulator.requests("submit"):
        bodies.setdefault(request["headers"]["idempotency-key"], set()).add(json.dumps(request["body"]))
    assert {len(sent) for sent in bodies.values()} == {1}


def test_run_again_pays_nothing_and_says_the_same(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(6))
    first = run(operator, tries)
    before = lines(first)
    fetched = len(emulator.requests("media"))
    tries.clear()
    assert run(operator, tries) == first
    assert lines(first) == before
    assert len(emulator.state()["generations"]) == 6
    assert len(emulator.requests("media")) == fetched


def test_a_video_that_was_taken_away_is_fetched_again(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(3))
    first = run(operator, tries)
    gone = Path(lines(first)[1]["path"])
    gone.unlink()
    assert run(operator, tries)["landed"] == 3
    assert gone.exists()
    assert len(emulator.state()["generations"]) == 3


def test_regenerate_pays_for_all_of_them_anew(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(3), on_clear="regenerate")
    run(operator, tries)
    run(operator, tries)
    assert len(emulator.state()["generations"]) == 3
    tries.clear()
    assert run(operator, tries)["landed"] == 3
    assert set(paid(emulator).values()) == {2}


def test_reuse_always_pays_for_new_rows_only(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    first = run(batch(tmp_path, prompts(4), reuse="always"), tries)
    assert (first["landed"], first["reused"]) == (4, 0)
    other = Tries()
    wider = batch(tmp_path, [*prompts(6), {"prompt": "row 2", "sku": "again"}], reuse="always")
    context: Any = other.next(wider, store=False)
    context["ti"].run_id = "another_run"
    result = wider.execute(context)
    assert (result["rows"], result["landed"], result["reused"], result["failed"]) == (7, 2, 5, 0)
    assert result["cost_usd"] == pytest.approx(2 * PRICE)
    assert set(paid(emulator).values()) == {1}
    found = lines(result)
    assert found[2]["path"] == found[6]["path"] == lines(first)[2]["path"]
    assert found[6]["labels"] == {"sku": "again"}
    assert [line["row"] for line in found] == list(range(1, 8))


def test_reuse_always_does_not_trust_a_video_that_is_gone(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    first = run(batch(tmp_path, prompts(2), reuse="always"), tries)
    Path(lines(first)[0]["path"]).unlink()
    operator = batch(tmp_path, prompts(2), reuse="always")
    context: Any = Tries().next(operator, store=False)
    context["ti"].run_id = "another_run"
    result = operator.execute(context)
    assert (result["landed"], result["reused"]) == (1, 1)


def test_dry_run_tells_the_bill_and_pays_nothing(
    emulator: Emulator,
    tries: Tries,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [*prompts(3), {"prompt": "longer", "duration": 8, "generate_audio": True}]
    result = run(batch(tmp_path, rows, dry_run=True), tries)
    assert result["estimated_cost_usd"] == pytest.approx(3 * PRICE + 8 * 0.08)
    assert emulator.requests("submit") == []
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().out + caplog.text
    assert "3 x veo3.1-fast-official at 0.256 USD" in said
    assert "4 rows: about 1.41 USD" in said


def test_a_budget_is_refused_before_the_first_post(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"this table costs about 2\.56 USD .*10 x veo3.1-fast-official"):
        run(batch(tmp_path, prompts(10), max_cost_usd=2.50), tries)
    assert emulator.requests("submit") == []
    assert run(batch(tmp_path, prompts(10), max_cost_usd=2.56), tries)["landed"] == 10


def test_bad_rows_are_all_told_and_nothing_is_paid(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    rows = [{"prompt": "fine"}, {"prompt": "", "duration": 5}, {"prompt": "x", "seed": -1}]
    with pytest.raises(AirflowFailException) as caught:
        run(batch(tmp_path, rows), tries)
    text = str(caught.value)
    assert "2 of 3 rows" in text and "duration=5" in text and "seed=-1" in text
    assert emulator.requests("submit") == []


def test_a_frame_that_is_no_image_is_a_bad_row(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    (tmp_path / "frame.png").write_text("not a picture")
    rows = [{"prompt": "fine"}, {"prompt": "framed", "first_frame_image": str(tmp_path / "frame.png")}]
    with pytest.raises(AirflowFailException, match=r"row 2: first_frame_image="):
        run(batch(tmp_path, rows), tries)
    assert emulator.requests("submit") == []


@pytest.mark.parametrize("deferrable", [True, False])
def test_frames_are_uploaded_once_each(emulator: Emulator, tries: Tries, tmp_path: Path, deferrable: bool) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode() * 40)
    rows = [
        {"prompt": f"p{n}", "first_frame_image": str(tmp_path / f"{'one' if n % 2 else 'two'}.png")} for n in range(8)
    ]
    assert run(batch(tmp_path, rows, deferrable=deferrable), tries)["landed"] == 8
    assert len(emulator.requests("upload")) == 2


def test_rejected_rows_fail_for_good_and_the_others_are_there(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, [*prompts(4), {"prompt": "[[reject]] somebody"}])
    with pytest.raises(
        AirflowFailException, match=r"4 of 5 rows have their videos .*row 5 rejected.*correct the table"
    ):
        run(operator, tries)
    (manifest,) = (tmp_path / "out").glob("manifest-*.jsonl")
    found = [json.loads(text) for text in manifest.read_text().splitlines()]
    assert [line["outcome"] for line in found] == ["landed"] * 4 + ["rejected"]
    assert "not charged" in found[4]["error"]
    assert (
        run(batch(tmp_path, [*prompts(4), {"prompt": "[[reject]] somebody"}], max_failed_share=0.2), tries)["failed"]
        == 1
    )


def test_failed_rows_are_tried_again_by_the_next_try(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("submit", "task_fails", prompt_contains="row 1", times=3)
    operator = batch(tmp_path, prompts(3))
    with pytest.raises(BatchIncompleteError, match="row 2 failed"):
        run(operator, tries)
    assert run(operator, tries)["landed"] == 3
    assert set(paid(emulator).values()) == {1}


def test_an_empty_account_says_what_is_left_and_goes_on_when_topped_up(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    emulator.fault("submit", "status", status=402, times=-1, after=4)
    operator = batch(tmp_path, prompts(10), max_in_flight=2)
    with pytest.raises(
        AirflowFailException, match=r"6 rows are left to do, for about 1\.54 USD.*The account holds .*Top up"
    ):
        run(operator, tries)
    emulator.clear_faults()
    assert run(operator, tries)["landed"] == 10
    assert set(paid(emulator).values()) == {1}


def test_parquet_manifest(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    result = run(batch(tmp_path, prompts(3, " \U0001f600"), manifest_format="parquet"), tries)
    with open(result["manifest"], "rb") as file:
        from airflow_provider_apimart.generation.batch.manifest import read_lines

        found = list(read_lines(file, "parquet"))
    assert [line["outcome"] for line in found] == ["landed"] * 3
    assert found[0]["request"]["prompt"] == "row 0 \U0001f600"
    assert found[2]["labels"] == {"sku": "S-2"}


def test_long_prompts_and_a_file(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    long = "\U0001f3ac" + "x" * 20_000
    table.write_text(f'text,sku\n"{long}",A\n"line\nbreak",B\n', encoding="utf-8")
    result = run(batch(tmp_path, table=str(table), columns={"text": "prompt"}), tries)
    assert [line["request"]["prompt"] for line in lines(result)] == [long, "line\nbreak"]


def test_a_table_is_never_held(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "SPOOL_BYTES", 1)
    monkeypatch.setattr(draft, "CHUNK_BYTES", 100_000)
    peaks = []
    for count in (2, 400):
        table = tmp_path / f"{count}.jsonl"
        with table.open("w") as file:
            file.writelines(json.dumps({"prompt": f"{number} ".ljust(20_000, "x")}) + "\n" for number in range(count))
        tracemalloc.start()
        try:
            assert run(batch(tmp_path, table=str(table), dry_run=True), tries)["rows"] == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # The longer one has 8 MB of prompts.
    assert peaks[1] - peaks[0] < 2 * 1024 * 1024


def test_batches_and_single_generations_share_one_client_and_one_limit(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred = []
    for number in range(2):
        with pytest.raises(TaskDeferred) as caught:
            operator = batch(tmp_path / str(number), prompts(3, extra=f" of {number}"), deferrable=True)
            operator.execute(tries.next(operator, store=False))  # type: ignore[arg-type]
        deferred.append(caught.value.trigger)
    with ApimartHook().get_conn() as client:
        answer = client.submit(VeoRequest(prompt="a cat", duration=4).body(), "a-key")
    now = time.time()
    single = VeoGenerationTrigger(
        generation_id=answer.generation_id, submitted_at=now - 60, deadline=now + 60, median_seconds=0.5
    )
    opened = []
    open_client = ApimartHook.aget_conn

    async def counted(hook: ApimartHook) -> AsyncApimartClient:
        opened.append(hook)
        return await open_client(hook)

    monkeypatch.setattr(ApimartHook, "aget_conn", counted)
    monkeypatch.setattr("airflow_provider_apimart.triggers.veo.FIRST_EVENT_SECONDS", 0.0)
    accounts = []

    async def all_at_once() -> list[Any]:
        waits = [asyncio.create_task(first_event(each)) for each in (*deferred, single)]
        await asyncio.sleep(0.3)
        accounts.extend(here()._active.values())
        return await asyncio.gather(*waits)

    events = asyncio.run(all_at_once())
    assert [event["reason"] for event in events] == ["ended", "ended", "finished"]
    assert len(opened) == 1 and len(accounts) == 1, "one client, and one gate in front of it"


def test_the_state_in_airflow_is_small_and_holds_no_secret(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(40), deferrable=True)
    context: Any = tries.next(operator, store=False)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    text = json.dumps([deferred.value.trigger.serialize(), deferred.value.kwargs])
    assert len(text) < 1500
    assert emulator.api_key not in text
    assert emulator.requests("submit") == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"table": "a.csv", "requests": [{}]}, "exactly one of requests, table and sql"),
        ({}, "exactly one of requests, table and sql"),
        ({"sql": "SELECT 1"}, "sql_conn_id"),
        ({"table": "a.csv", "max_in_flight": 0}, "max_in_flight=0"),
        ({"table": "a.csv", "requests_per_minute": -1}, "requests_per_minute=-1"),
        ({"table": "a.csv", "max_failed_share": 2}, "max_failed_share=2"),
        ({"table": "a.csv", "on_row_failure": "ignore"}, "on_row_failure='ignore'"),
        ({"table": "a.csv", "reuse": "never"}, "reuse='never'"),
        ({"table": "a.csv", "dry_run": "perhaps"}, "dry_run='perhaps'"),
        ({"table": "a.csv", "manifest_format": "xlsx"}, "manifest_format='xlsx'"),
    ],
)
def test_wrong_arguments_fail_when_the_dag_is_read(options: dict[str, Any], text: str) -> None:
    with pytest.raises(AirflowFailException, match=text), DAG(dag_id="a_dag", schedule=None):
        VeoGenerateBatchOperator(task_id="videos", output_path="/out", **options)


def test_a_broken_trigger_is_a_failure_that_a_retry_mends(tries: Tries, tmp_path: Path) -> None:
    async def event() -> Any:
        return await first_event(VeoBatchTrigger(plan_uri=str(tmp_path / "none"), output_path=str(tmp_path)))

    with pytest.raises(BatchIncompleteError, match="goes on from there without paying again"):
        stop_of(asyncio.run(event()))


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_storage_that_is_not_local(emulator: Emulator, tries: Tries, deferrable: bool) -> None:
    fs = fsspec.filesystem("memory")
    attach("memory", fs=fs)
    with DAG(dag_id="a_dag", schedule=None):
        operator = VeoGenerateBatchOperator(
            task_id="videos",
            requests=prompts(5),
            defaults={"duration": 4},
            output_path=f"memory://bucket-{deferrable}/out",
            reuse="always",
            deferrable=deferrable,
        )
    result = run(operator, tries)
    assert result["landed"] == 5
    for line in (json.loads(text) for text in fs.cat_file(result["manifest"]).splitlines()):
        assert fs.size(line["path"]) == line["videos"][0]["bytes"]
    assert run(operator, tries) == result
    assert len(emulator.state()["generations"]) == 5
    fs.rm(f"/bucket-{deferrable}", recursive=True)


def test_a_key_rotated_in_the_middle_stops_none_of_the_requests_that_were_under_way(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_apimart.client import errors
    from airflow_provider_apimart.client.client import AsyncApimartClient
    from airflow_provider_apimart.hooks.apimart import ApimartHook

    plain_send, plain_settings = AsyncApimartClient.send, ApimartHook.settings
    rotated, under_way = asyncio.Event(), 0

    def settings(hook: ApimartHook) -> Any:
        found = plain_settings(hook)
        return found if rotated.is_set() else replace(found, api_key="sk-the-old-one")

    async def send(client: Any, call: Any, *, repeat: bool = True) -> Any:
        nonlocal under_way
        if call.what == "submission" and client.settings.api_key == "sk-the-old-one":
            under_way += 1
            if under_way == 4:
                rotated.set()
            await rotated.wait()
            raise errors.AuthenticationError("invalid API key", status=401)
        return await plain_send(client, call, repeat=repeat)

    monkeypatch.setattr(ApimartHook, "settings", settings)
    monkeypatch.setattr(AsyncApimartClient, "send", send)
    result = run(batch(tmp_path, prompts(8), max_in_flight=4), tries)
    assert (result["landed"], result["left"]) == (8, 0)
    assert under_way == 4


def test_reuse_always_finds_the_video_that_was_made_anew_after_one_was_deleted(
    emulator: Emulator, tmp_path: Path
) -> None:
    def of_run(run_id: str) -> dict[str, Any]:
        operator = batch(tmp_path, prompts(2), reuse="always")
        context: Any = Tries().next(operator, store=False)
        context["ti"].run_id = run_id
        return operator.execute(context)

    Path(lines(of_run("run 0"))[0]["path"]).unlink()
    # Whatever the order in which the journals of earlier runs are read: it is paid for once more, not in each run.
    made = [of_run(f"run {number}")["landed"] for number in range(1, 7)]
    assert made == [1, 0, 0, 0, 0, 0]
    assert sum(paid(emulator).values()) == 3


@pytest.mark.parametrize("limit", [3 * PRICE, 4 * PRICE])
def test_what_is_regenerated_counts_anew_and_what_is_not_regenerated_is_not_landed(
    emulator: Emulator, tries: Tries, tmp_path: Path, limit: float
) -> None:
    def operator() -> VeoGenerateBatchOperator:
        return batch(tmp_path, prompts(3), on_clear="regenerate", max_cost_usd=limit)

    run(operator(), tries)
    tries.clear()
    result = run(operator(), tries)
    assert (result["landed"], result["left"]) == (3, 0)
    assert set(paid(emulator).values()) == {2}


def test_a_budget_that_the_regenerated_table_breaks_is_told_before_anything_is_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    run(batch(tmp_path, prompts(3), on_clear="regenerate"), tries)
    tries.clear()
    with pytest.raises(Exception, match=r"this table costs about 0\.77 USD"):
        run(batch(tmp_path, prompts(3), on_clear="regenerate", max_cost_usd=0.5), tries)
    assert set(paid(emulator).values()) == {1}


@pytest.mark.parametrize("outcome", [Outcome.PARKED, Outcome.UNLANDED, Outcome.UNKNOWN])
def test_no_share_forgives_a_video_that_is_paid_for_and_not_landed(outcome: Outcome) -> None:
    totals = Totals(rows=10, outcomes=Counter({Outcome.LANDED: 9, outcome: 1}), owed=1)
    with pytest.raises(BatchIncompleteError, match="1 generations are, or may be, paid for and not landed"):
        refuse(totals, None, "manifest", 0.5, None)
    # Where no try can bring it home it is a failed row like others.
    refuse(Totals(rows=10, outcomes=totals.outcomes, hopeless=1), None, "manifest", 0.5, None)


def test_an_empty_account_does_not_keep_a_retry_from_landing_what_is_paid_for() -> None:
    outcomes = Counter({Outcome.LANDED: 5, Outcome.PARKED: 1, Outcome.LEFT: 4})
    stop = Stop(StopKind.BALANCE, "top up", True)
    with pytest.raises(BatchIncompleteError):
        refuse(Totals(rows=10, outcomes=outcomes, owed=1), stop, "manifest", 0.0, None)
    with pytest.raises(AirflowFailException):
        refuse(Totals(rows=10, outcomes=outcomes), stop, "manifest", 0.0, None)


def test_a_manifest_that_cannot_be_written_does_not_say_that_nothing_was_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise LandingError("no space left")

    operator = batch(tmp_path, prompts(2))
    with monkeypatch.context() as patched:
        patched.setattr(batch_module.manifest, "write_manifest", full)
        with pytest.raises(BatchIncompleteError, match=r"no space left\. Rows may have been paid for") as caught:
            run(operator, tries)
    assert "Nothing was submitted" not in str(caught.value)
    assert run(operator, tries)["landed"] == 2
    assert paid(emulator).total() == 2


def test_two_dags_do_not_share_a_manifest(tmp_path: Path) -> None:
    names = set()
    for dag_id in ("one", "other"):
        plan = write_plan(
            local(tmp_path / "state"),
            planned(["a cat"]),
            identity=replace(IDENTITY, dag_id=dag_id),
            rules=Rules(),
            output_uri="/out/",
            apimart_conn_id="apimart_default",
            median_seconds=75.0,
        )
        names.add(manifest_target(local(tmp_path), plan, "jsonl").path)
    assert len(names) == 2


def test_a_retry_writes_no_row_of_its_plan_again(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = batch(tmp_path, prompts(3))
    run(operator, tries)
    rows = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows-*/*")}
    run(operator, tries)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rows-*/*")} == rows
    assert len(list(tmp_path.rglob("plan-*"))) == 2, "the tries differ in their rules"


def test_a_reused_video_that_is_fetched_again_is_still_not_this_runs_to_pay(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    def make(task_id: str) -> VeoGenerateBatchOperator:
        with DAG(dag_id="a_dag", schedule=None):
            return VeoGenerateBatchOperator(
                task_id=task_id,
                requests=prompts(2),
                output_path=str(tmp_path / "out"),
                reuse="always",
                defaults={"duration": 4},
                deferrable=False,
                retries=3,
            )

    first, second = make("first"), make("second")
    run(first, tries)
    assert run(second, tries)["reused"] == 2
    Path(lines(run(second, tries))[0]["path"]).unlink()
    result = run(second, tries)
    assert (result["reused"], result["cost_usd"]) == (2, 0.0)
    assert paid(emulator).total() == 2


def test_a_share_is_met_by_as_many_rows_as_it_says(tmp_path: Path) -> None:
    # 0.29 * 100 is 28.999999999999996.
    totals = Totals(rows=100, outcomes=Counter({Outcome.LANDED: 71, Outcome.FAILED: 29}))
    refuse(totals, None, "manifest", 0.29, None)
    with pytest.raises(BatchIncompleteError):
        refuse(totals, None, "manifest", 0.28, None)
