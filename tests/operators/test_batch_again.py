"""The batch operator when it is run again, by a retry, a clear or another run: what is paid for, and what is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.batch.engine import error_verdicts
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.batch import tries as batch_module
from airflow_provider_apimart.operators.batch.end import BatchIncompleteError
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator
from tests.client.failure_messages import AUDIO
from tests.operators.batches import PRICE, batch, lines, paid, prompts, run
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("quick")


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


def test_failed_rows_are_tried_again_by_the_next_try(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("submit", "task_fails", prompt_contains="row 1", times=3)
    operator = batch(tmp_path, prompts(3))
    with pytest.raises(BatchIncompleteError, match="row 2 failed"):
        run(operator, tries)
    assert run(operator, tries)["landed"] == 3
    assert set(paid(emulator).values()) == {1}


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 402},
        {"status": 403, "code": "insufficient_user_quota", "message": "user quota is not enough"},
        {"status": 403, "code": "pre_consume_token_quota_failed", "message": "x"},
        {"status": 401, "message": "token quota exhausted"},
    ],
)
def test_an_empty_account_says_what_is_left_and_goes_on_when_topped_up(
    emulator: Emulator, tries: Tries, tmp_path: Path, fault: dict[str, Any]
) -> None:
    emulator.fault("submit", "status", times=-1, after=4, **fault)
    operator = batch(tmp_path, prompts(10), max_in_flight=2)
    with pytest.raises(
        AirflowFailException, match=r"6 rows are left to do, for about 1\.54 USD.*The account holds .*Top up"
    ):
        run(operator, tries)
    emulator.clear_faults()
    assert run(operator, tries)["landed"] == 10
    assert set(paid(emulator).values()) == {1}


def test_the_floor_of_a_402_is_shown_where_the_balance_is_refused_as_well(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    text = "[token_id=90701] insufficient balance (current: 0.013570 USD, required: 0.050000 USD)"
    for route in ("submit", "balance"):
        emulator.fault(route, "status", status=402, message=text, times=-1)
    with pytest.raises(AirflowFailException, match=r"The account, or the key, holds 0\.01 USD.*Top up"):
        run(batch(tmp_path, prompts(2)), tries)


def test_a_filter_on_the_audio_is_no_refusal_of_the_row(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("submit", "task_fails", prompt_contains="row 1", message=AUDIO, times=1)
    result = run(batch(tmp_path, prompts(3)), tries)
    assert result["landed"] == 3
    assert (emulator.state()["posts"], emulator.state()["paid"]) == (4, 3)


def test_a_key_rotated_in_the_middle_stops_none_of_the_requests_that_were_under_way(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_apimart.client import errors
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


def test_results_that_come_with_the_answers_are_landed_and_paid_for_once(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    emulator.fault("submit", "shape", value="sync_result", times=-1)
    emulator.fault("media", "status", status=500, times=8)
    result = run(batch(tmp_path, prompts(3)), tries)
    assert result["landed"] == 3
    assert sorted(paid(emulator).values()) == [1, 1, 1]
    assert emulator.requests("task") == []


def test_results_without_ids_are_not_asked_for_again_by_who_does_not_trust_the_replay(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    emulator.fault("submit", "shape", value="sync_result", times=-1)
    one = batch(tmp_path, prompts(2), on_unknown_submit="fail")
    assert run(one, tries)["landed"] == 2
    for line in lines(run(one, tries)):
        Path(line["path"]).unlink()
    for _ in range(2):
        with pytest.raises(AirflowFailException, match="unlanded"):
            run(one, tries)
        assert {line["outcome"] for line in lines({"manifest": str(next((tmp_path / "out").glob("manifest*")))})} == {
            "unlanded"
        }
    assert sorted(paid(emulator).values()) == [1, 1]


def test_a_lost_video_that_cannot_be_fetched_again_is_not_called_landed(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_verdicts, "LANDING_WAITS", (0.01, 0.01, 0.01))
    one = batch(tmp_path, prompts(1))
    (line,) = lines(run(one, tries))
    Path(line["path"]).unlink()
    emulator.fault("media", "status", status=403, times=-1)
    with pytest.raises(Exception, match="1 unlanded"):
        run(one, tries)
    emulator.clear_faults()
    assert run(one, tries)["landed"] == 1 and Path(line["path"]).exists()
    assert sorted(paid(emulator).values()) == [1]
