"""``@task.veo``: what the function returns is what is paid for, in every try and after the deferral."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG, task

from airflow_provider_apimart import get_provider_info
from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.decorators.veo import VeoDecoratedOperator, veo_task
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from tests.airflow_at_hand import HAS_STATE_STORE
from tests.operators.conftest import Tries
from tests.operators.test_veo import run_trigger


@pytest.fixture
def emulator(apimart_emulator_conn: Emulator) -> Emulator:
    return apimart_emulator_conn


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between polls."""
    monkeypatch.setattr("airflow_provider_apimart.operators.tries.time.sleep", lambda seconds: None)


@pytest.fixture
def tries() -> Tries:
    return Tries()


def decorated(function: Any, *op_args: Any, **arguments: Any) -> VeoDecoratedOperator:
    values = {"task_id": "make", "duration": 4, "deferrable": False, **arguments}
    return VeoDecoratedOperator(python_callable=function, op_args=op_args, **values)


def body(emulator: Emulator) -> dict[str, Any]:
    (generation,) = emulator.state()["generations"]
    return {name: value for name, value in generation["body"].items() if name != "model"}


def test_it_is_registered() -> None:
    (entry,) = get_provider_info()["task-decorators"]
    assert entry["name"] == "veo"
    module, _, name = entry["class-name"].rpartition(".")
    assert (module, name) == (veo_task.__module__, veo_task.__name__)


@pytest.mark.parametrize(
    ("returned", "sent"),
    [
        ("a cat", {"prompt": "a cat", "duration": 4}),
        ({"prompt": "a cat", "seed": 3}, {"prompt": "a cat", "duration": 4, "seed": 3}),
        ({"prompt": "a cat", "duration": 6}, {"prompt": "a cat", "duration": 6}),
        (VeoRequest(prompt="a cat", duration=8), {"prompt": "a cat", "duration": 8}),
        ("{{ ds }} is not rendered", {"prompt": "{{ ds }} is not rendered", "duration": 4}),
    ],
)
def test_text_dicts_and_requests_are_generated(emulator: Emulator, tries: Tries, returned: Any, sent: Any) -> None:
    operator = decorated(lambda: returned)
    assert operator.execute(tries.next(operator))["status"] == "completed"
    assert body(emulator) == sent


def test_arguments_and_context_reach_the_function(emulator: Emulator, tries: Tries) -> None:
    def prompt(animal: str, ti: Any = None) -> str:
        return f"{animal} of {ti.task_id}"

    operator = decorated(prompt, "a cat")
    operator.execute(tries.next(operator))
    assert body(emulator)["prompt"] == "a cat of make"


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, "prompt=None"),
        ("  ", "must not be empty"),
        (5, "text is needed"),
        ({"seed": 3}, "prompt=None"),
        ({"prompt": "a", "durations": 4}, "durations=4: no such parameter"),
        ({"prompt": "a", "duration": 5}, "duration=5: allowed: 4, 6 or 8"),
    ],
)
def test_what_cannot_be_generated_is_refused_without_a_retry(
    emulator: Emulator, tries: Tries, returned: Any, text: str
) -> None:
    operator = decorated(lambda: returned)
    with pytest.raises(AirflowFailException, match=text):
        operator.execute(tries.next(operator))
    assert emulator.state()["requests"] == []
    assert tries.store.values == {}


def test_prompt_survives_the_deferral(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def prompt() -> str:
        calls.append(1)
        return f"call {len(calls)}"

    operator = decorated(prompt, deferrable=True, output_path=f"{tmp_path}/")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    assert operator.prompt == "call 1"
    event = run_trigger(deferred.value.trigger, monkeypatch)

    resumed = decorated(prompt, deferrable=True, output_path=f"{tmp_path}/")
    tries.number -= 1
    kwargs = json.loads(json.dumps(deferred.value.kwargs))
    result = resumed.resume_execution(deferred.value.method_name, {**kwargs, "event": event}, tries.next(resumed))
    assert (calls, resumed.prompt) == ([1], "call 1")
    sidecar = json.loads(Path(result["videos"][0]["path"] + ".json").read_text())
    assert sidecar["request"]["prompt"] == "call 1"


@pytest.mark.skipif(not HAS_STATE_STORE, reason="needs Airflow 3.3's task state store")
def test_a_function_that_changes_its_mind_does_not_pay_twice(emulator: Emulator, tries: Tries) -> None:
    calls: list[int] = []

    def prompt() -> str:
        calls.append(1)
        return f"call {len(calls)}"

    emulator.fault("submit", "drop_after", times=-1)
    operator = decorated(prompt)
    operator.poll_interval = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_provider_apimart.client.client.time.sleep", lambda seconds: None)
        with pytest.raises(Exception, match="under the same key"):
            operator.execute(tries.next(operator))
    emulator.clear_faults()
    retried = decorated(prompt)
    retried.execute(tries.next(retried))
    assert (calls, body(emulator)["prompt"], emulator.state()["paid"]) == ([1], "call 1", 1)

    # A clear asks the function anew.
    tries.clear()
    cleared = decorated(prompt)
    cleared.execute(tries.next(cleared))
    assert (calls, emulator.state()["paid"]) == ([1, 1], 2)


@pytest.mark.skipif(not HAS_STATE_STORE, reason="needs Airflow 3.3's task state store")
def test_a_prompt_that_the_store_cannot_hold_is_generated_all_the_same(emulator: Emulator, tries: Tries) -> None:
    operator = decorated(lambda: "🎬" * 20_000)
    operator.execute(tries.next(operator))
    assert len(body(emulator)["prompt"]) == 20_000


def test_async_functions_are_refused_when_the_dag_is_parsed() -> None:
    async def prompt() -> str:
        return "a cat"

    with pytest.raises(InvalidVeoArgument, match="this one is async"):
        decorated(prompt)


def test_bad_literals_are_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(InvalidVeoArgument, match="duration=5"):
        decorated(lambda: "a", duration=5)


def test_in_a_dag_it_maps_and_is_one_xcom() -> None:
    with DAG("a_dag", schedule=None) as dag:

        @task.veo(duration=4)
        def clip(product: str) -> dict[str, Any]:
            return {"prompt": product}

        clip.expand(product=["a", "b"])
        clip.override(task_id="single")("c")
    single = dag.get_task("single")
    assert isinstance(single, VeoDecoratedOperator) and single.multiple_outputs is False
    mapped = dag.get_task("clip")
    assert mapped.is_mapped and mapped.operator_class is VeoDecoratedOperator


def test_several_xcoms_are_pushed_only_where_the_author_says_so() -> None:
    with DAG("a_dag", schedule=None) as dag:

        @veo_task(task_id="one")
        def one() -> dict[str, Any]:
            return {"prompt": "a cat"}

        @veo_task(task_id="several", multiple_outputs=True)
        def several() -> str:
            return "a cat"

        one()
        several()
    assert [dag.task_dict[name].multiple_outputs for name in ("one", "several")] == [False, True]


def test_a_structured_prompt_from_a_function_is_sent_as_json_text(emulator: Emulator, tries: Tries) -> None:
    operator = decorated(lambda: {"prompt": {"style": "{{ neon }}", "shot": "wide"}})
    operator.execute(tries.next(operator))
    assert body(emulator)["prompt"] == '{"shot": "wide", "style": "{{ neon }}"}'


def test_a_function_that_returns_nothing_useful_pays_nothing(emulator: Emulator, tries: Tries) -> None:
    for returned in ("None", None, "", {"prompt": "null"}):
        operator = decorated(lambda returned=returned: returned)
        with pytest.raises(InvalidVeoArgument, match="prompt="):
            operator.execute(tries.next(operator))
    assert emulator.state()["generations"] == []
