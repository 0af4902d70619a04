"""The batch operator: its arguments, its rows, its manifest."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.sdk import DAG
from airflow.sdk.io import attach

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.models import VeoRequest
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch import draft
from airflow_provider_apimart.generation.waiting.poller import here
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger
from tests.operators.batches import PRICE, batch, first_event, lines, paid, prompts, run
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("quick")

#: As short as a PNG with an end can be.
PNG = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IEND" + bytes(4)


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
        (tmp_path / f"{name}.png").write_bytes(PNG + name.encode())
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
    # Nobody ends before all have joined: who opens a client closes it when the last one has gone.
    emulator.fault("task", "task_status", value="processing", times=7)
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
    assert len(opened) == 1 and len(accounts) == 1, "one client, and one rate limiter in front of it"


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
