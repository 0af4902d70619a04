"""How a batch ends: what fails the task, and what its error says."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_apimart.generation.batch.draft import write_plan
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.manifest import Totals, manifest_target
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.operators.batch.end import BatchIncompleteError, refuse, stop_of
from airflow_provider_apimart.triggers.veo import VeoBatchTrigger
from tests.generation.batch.engine.simulated import IDENTITY, local, planned
from tests.operators.batches import first_event
from tests.operators.conftest import Tries

pytestmark = pytest.mark.usefixtures("quick")


def test_a_broken_trigger_is_a_failure_that_a_retry_mends(tries: Tries, tmp_path: Path) -> None:
    async def event() -> Any:
        return await first_event(VeoBatchTrigger(plan_uri=str(tmp_path / "none"), output_path=str(tmp_path)))

    with pytest.raises(BatchIncompleteError, match="goes on from there without paying again"):
        stop_of(asyncio.run(event()))


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


def test_a_share_is_met_by_as_many_rows_as_it_says(tmp_path: Path) -> None:
    # 0.29 * 100 is 28.999999999999996.
    totals = Totals(rows=100, outcomes=Counter({Outcome.LANDED: 71, Outcome.FAILED: 29}))
    refuse(totals, None, "manifest", 0.29, None)
    with pytest.raises(BatchIncompleteError):
        refuse(totals, None, "manifest", 0.28, None)
