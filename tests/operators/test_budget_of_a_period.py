"""``budget=``: what an operator passes on, and what a person reads when it is used up."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator
from airflow_provider_apimart.operators.budget import Budget
from airflow_provider_apimart.operators.media.storyboards import storyboard
from airflow_provider_apimart.operators.remix import VeoRemixOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries
from tests.operators.single import make

pytestmark = pytest.mark.usefixtures("no_waiting")


def of_a_day(folder: Path, usd: float = 0.3, name: str | None = None) -> Budget:
    return Budget(usd, "day", f"{folder}/budgets", name)


def test_the_second_task_of_the_dag_is_refused_for_good(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make(tmp_path, task_id="a", budget=of_a_day(tmp_path)), make(tmp_path, budget=of_a_day(tmp_path))
    with caplog.at_level(logging.INFO):
        first.execute(Tries().next(first))
    assert "Budget 'a_dag' (0.3 USD per day, " in caplog.text
    assert "0.256 USD spent or reserved, this request (about 0.256 USD" in caplog.text
    with pytest.raises(AirflowFailException, match=r"has 0\.044 USD left.*resets at.*Nothing was (submitted|charged)"):
        second.execute(Tries().next(second))
    assert emulator.state()["paid"] == 1


def test_the_refusal_does_not_promise_a_retry(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, budget=of_a_day(tmp_path, usd=0.01))
    with pytest.raises(
        AirflowFailException, match=r"clear it after the reset\. Nothing was (submitted|charged)[^.]*\.$"
    ):
        operator.execute(tries.next(operator))


def test_what_is_paid_lands_although_the_budget_is_used_up(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.fault("media", "status", status=404, times=-1)
    operator = make(tmp_path, budget=of_a_day(tmp_path))
    with pytest.raises(Exception, match="paid for"):
        operator.execute(tries.next(operator))
    emulator.clear_faults()
    for _ in range(2):
        operator = make(tmp_path, budget=of_a_day(tmp_path, usd=0.01))
        assert operator.execute(tries.next(operator))["status"] == "completed"
        tries.clear()
    assert emulator.state()["paid"] == 1


def test_a_name_is_shared_and_another_name_is_not(emulator: Emulator, tmp_path: Path) -> None:
    for name in ("ads", "shorts"):
        operator = make(tmp_path, task_id=name, budget=of_a_day(tmp_path, name=name))
        operator.execute(Tries().next(operator))
    late = make(tmp_path, budget=of_a_day(tmp_path, name="ads"))
    with pytest.raises(AirflowFailException, match="Budget 'ads'"):
        late.execute(Tries().next(late))
    assert emulator.state()["paid"] == 2


def test_a_dag_gives_it_to_all_its_tasks(tmp_path: Path) -> None:
    budget = of_a_day(tmp_path)
    with DAG("budget_of_all", schedule=None, default_args={"budget": budget}):
        task = VeoGenerateOperator(task_id="a", prompt="a cat")
        remix = VeoRemixOperator(task_id="b", source="task_1", prompt="on", model="veo3.1-fast")
    assert task.budget == remix.budget == budget


def test_each_shot_of_a_storyboard_pays_from_it(tmp_path: Path) -> None:
    budget = of_a_day(tmp_path)
    with DAG("budget_of_a_film", schedule=None):
        film = storyboard([{"prompt": "one"}, {"prompt": "two"}], output_path=f"{tmp_path}/", budget=budget)
    assert [shot.budget for shot in film.shots] == [budget, budget]


def test_a_batch_says_that_it_keeps_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"budget=.*a batch keeps no Budget.*max_cost_usd"):
        VeoGenerateBatchOperator(
            task_id="b", requests=[{"prompt": "a"}], output_path=f"{tmp_path}/", budget=of_a_day(tmp_path)
        )


@pytest.mark.parametrize("value", [20, "20 a day", {"usd": 20}])
def test_anything_else_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"budget=.*a Budget, such as"):
        make(budget=value)


def test_a_mapped_task_is_serialized_with_it(tmp_path: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("budget_mapped", schedule=None) as dag:
        VeoGenerateOperator.partial(task_id="a", budget=of_a_day(tmp_path)).expand(prompt=["one", "two"])
    told = str(DagSerialization.to_dict(dag))
    assert told == str(DagSerialization.to_dict(dag)) and "0x" not in told
