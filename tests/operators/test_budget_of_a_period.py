"""``budget=``: what an operator passes on, and what a person reads when it is used up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG

from airflow_provider_apimart._compat import AirflowFailException, AirflowSkipException, ObjectStoragePath
from airflow_provider_apimart.decorators.veo import veo_task
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator
from airflow_provider_apimart.operators.budget import SPREAD_SECONDS, Budget
from airflow_provider_apimart.operators.media.storyboards import storyboard
from airflow_provider_apimart.operators.remix import VeoRemixOperator
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries
from tests.operators.single import make

pytestmark = pytest.mark.usefixtures("no_waiting")


def a_cat() -> str:
    return "a cat"


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
        AirflowFailException, match=r"or more, then clear the task\. Nothing was (submitted|charged)[^.]*\.$"
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


@pytest.mark.parametrize("value", [20, "20 a day", {"usd": 20}])
def test_anything_else_is_refused_when_the_dag_is_parsed(value: Any) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"budget=.*a Budget, such as"):
        make(budget=value)


@pytest.mark.parametrize("folder", ["/mnt/budgets/", ObjectStoragePath("file:///mnt/budgets")])
def test_a_dag_with_it_is_serialized_always_in_the_same_way(folder: Any) -> None:
    """Airflow compares what it stores: a text that changes with each parse would make a new version of the DAG."""
    from airflow.serialization import serialized_objects

    # (Its name before Airflow 3.2 was the other one.)
    serialization = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG

    def told() -> str:
        budget = Budget(20, "day", folder)
        with DAG("budget_mapped", schedule=None, default_args={"budget": budget}) as dag:
            VeoGenerateOperator.partial(task_id="a", budget=budget).expand(prompt=["one", "two"])
            VeoGenerateOperator.partial(task_id="b").expand(prompt=["one", "two"])
            VeoGenerateOperator(task_id="c", prompt="a cat")
            VeoGenerateBatchOperator(task_id="d", requests=[{"prompt": "a cat"}], output_path="/mnt/videos/")
            veo_task(budget=budget)(a_cat)()
        value = serialization.to_dict(dag)
        assert len(serialization.from_dict(json.loads(json.dumps(value))).task_ids) == 5
        return str(value)

    assert told() == told() and "0x" not in told()


@pytest.mark.parametrize("budget_in", ["partial", "default_args"])
def test_mapped_tasks_pay_from_it(emulator: Emulator, tmp_path: Path, budget_in: str) -> None:
    budget = of_a_day(tmp_path, usd=0.6)
    fixed: dict[str, Any] = {"budget": budget} if budget_in == "partial" else {}
    with DAG("mapped", schedule=None, default_args={"budget": budget}):
        mapped = VeoGenerateOperator.partial(task_id="a", deferrable=False, duration=4, **fixed).expand(
            prompt=["one", "two", "three"]
        )
    refused = 0
    for number, prompt in enumerate(("one", "two", "three")):
        operator = mapped.unmap({"prompt": prompt})
        context = Tries().next(operator)
        context["ti"].map_index = number
        try:
            operator.execute(context)
        except AirflowFailException as error:
            refused += "left" in str(error)
    assert (refused, emulator.state()["paid"]) == (1, 2)


def test_the_decorator_pays_from_it(emulator: Emulator, tmp_path: Path) -> None:
    with DAG("decorated", schedule=None):
        made = veo_task(budget=of_a_day(tmp_path, usd=0.1), deferrable=False)(a_cat)()
    operator = made.operator
    with pytest.raises(AirflowFailException, match=r"has 0\.10 USD left"):
        operator.execute(Tries().next(operator))
    assert emulator.requests("submit") == []


def test_another_limit_the_next_day_is_the_one_that_counts(emulator: Emulator, tmp_path: Path) -> None:
    """Limits are not kept in the ledger: each task brings its own."""
    for usd, paid in ((0.3, 1), (0.3, 1), (0.6, 2), (0.3, 2)):
        operator = make(tmp_path, task_id=f"at_{usd}_{paid}", budget=of_a_day(tmp_path, usd=usd))
        tries = Tries()
        with contextlib.suppress(AirflowFailException):
            operator.execute(tries.next(operator))
        assert emulator.state()["paid"] == paid


def test_the_ledger_tells_who_asked_and_neither_prompt_nor_key(emulator: Emulator, tmp_path: Path) -> None:
    operator = make(tmp_path, prompt="a very secret campaign", budget=of_a_day(tmp_path))
    operator.execute(Tries().next(operator))
    files = [path for path in (tmp_path / "budgets").rglob("*") if path.is_file() and path.suffix == ".json"]
    assert len(files) == 2
    for path in files:
        text = path.read_text() + path.name
        assert "a_dag" in text and "make" in text
        assert "secret" not in text and emulator.api_key not in text and "airflow-veo-" not in text


def test_a_folder_that_cannot_be_used_keeps_no_paid_video_back(
    emulator: Emulator, tries: Tries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("media", "status", status=404, times=-1)
    operator = make(tmp_path, budget=of_a_day(tmp_path))
    with pytest.raises(Exception, match="paid for"):
        operator.execute(tries.next(operator))
    emulator.clear_faults()
    operator = make(tmp_path, budget=Budget(1, "day", "nosuch://bucket/budgets/"))
    assert operator.execute(tries.next(operator))["status"] == "completed"
    assert "counts by its estimate" in caplog.text
    other = make(tmp_path, task_id="other", budget=Budget(1, "day", "nosuch://bucket/budgets/"))
    with pytest.raises(Exception, match="nosuch"):
        other.execute(Tries().next(other))
    assert emulator.state()["paid"] == 1


# --- on_exhausted ---------------------------------------------------------------------------------------------------


def poor(folder: Path, on_exhausted: Any, usd: float = 0.3) -> Budget:
    return Budget(usd, "day", f"{folder}/budgets", "poor", on_exhausted=on_exhausted)


def used_up(folder: Path) -> None:
    operator = make(folder, task_id="earlier", budget=poor(folder, "fail"))
    operator.execute(Tries().next(operator))


def test_skip_skips_the_task_and_pays_nothing(emulator: Emulator, tmp_path: Path) -> None:
    used_up(tmp_path)
    operator = make(tmp_path, budget=poor(tmp_path, "skip"))
    with pytest.raises(AirflowSkipException, match=r"has 0\.044 USD left.*Nothing was submitted"):
        operator.execute(Tries().next(operator))
    assert emulator.state()["paid"] == 1


@pytest.mark.parametrize("kind", ["operator", "decorator"])
def test_wait_waits_for_the_next_day_and_then_pays(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    used_up(tmp_path)
    budget = poor(tmp_path, "wait")
    if kind == "operator":
        operator: Any = make(tmp_path, budget=budget, deferrable=True)
    else:
        with DAG("decorated", schedule=None):
            operator = veo_task(budget=budget, duration=4)(a_cat)().operator
    tries = Tries()
    context = tries.next(operator)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(context)
    assert deferral.value.method_name == "execute_after_reset"
    path, values = deferral.value.trigger.serialize()
    assert path == "airflow_provider_apimart.triggers.budget.BudgetResetTrigger"
    reset = budget.period_at(datetime.now(UTC)).resets_at.timestamp()
    assert reset <= values["moment"] <= reset + SPREAD_SECONDS
    assert emulator.state()["paid"] == 1
    # Too early: the same again.
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute_after_reset(context, event={"reason": "reset"})
    assert deferral.value.method_name == "execute_after_reset"
    at = Budget.period_at
    monkeypatch.setattr(Budget, "period_at", lambda self, moment: at(self, moment + timedelta(days=1)))
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute_after_reset(context, event={"reason": "reset"})
    assert deferral.value.method_name == "execute_complete"
    assert emulator.state()["paid"] == 2


@pytest.mark.parametrize("on_exhausted", ["skip", "wait"])
def test_what_costs_more_than_the_whole_budget_fails_in_any_case(
    emulator: Emulator, tmp_path: Path, on_exhausted: Any
) -> None:
    operator = make(tmp_path, budget=poor(tmp_path, on_exhausted, usd=0.1), deferrable=True)
    with pytest.raises(AirflowFailException, match=r"more than the whole budget\. To go on, raise usd .* to 0\.256"):
        operator.execute(Tries().next(operator))


def test_a_wait_needs_a_triggerer(tmp_path: Path) -> None:
    with pytest.raises(InvalidVeoArgument, match=r"budget=.*needs deferrable=True"):
        make(tmp_path, budget=poor(tmp_path, "wait"), deferrable=False)


def test_the_trigger_waits_until_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_apimart.triggers import budget as trigger_module

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(trigger_module.asyncio, "sleep", sleep)
    monkeypatch.setattr(trigger_module.time, "time", lambda: 1000.0)

    async def event_of(moment: float) -> Any:
        _, values = trigger_module.BudgetResetTrigger(moment=moment).serialize()
        return [event.payload async for event in trigger_module.BudgetResetTrigger(**values).run()]

    assert asyncio.run(event_of(4600.0)) == asyncio.run(event_of(1001.0)) == [{"reason": "reset"}]
    assert slept == [3600.0, trigger_module.FIRST_EVENT_SECONDS]
