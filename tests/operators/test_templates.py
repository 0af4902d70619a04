"""What the DAG's author writes is a template; data never is, whatever way it takes into a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup, task, task_group
from airflow.sdk.definitions.xcom_arg import PlainXComArg

from airflow_provider_apimart.decorators.veo import veo_task
from airflow_provider_apimart.generation.table import read_rows
from airflow_provider_apimart.hooks.tables import rows_as_kwargs
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator

#: What rendering would give away or change.
CANARIES = [
    "{{ conn.warehouse.password }}",
    "{{ var.value.secret }}",
    "{{ ds }}",
    "a {{brand}} mug",
    "{# a note #} a mug",
    "{% raw %}",
    '{"scene": {"style": "{{ neon }}"}}',
    "half a {{ template",
    '"Welcome" "home"',
    "1_000",
]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let every other task's output be one value."""

    def give(value: Any) -> None:
        monkeypatch.setattr(PlainXComArg, "resolve", lambda self, *args, **kwargs: json.loads(json.dumps(value)))
        monkeypatch.setattr("airflow.sdk.definitions.xcom_arg.get_task_map_length", lambda *args: len(value))

    return give


def rendered(dag: DAG, task_id: str = "make", map_index: int = 0) -> Any:
    """Render a task as a worker does, and return the operator that would be executed."""
    operator: Any = dag.task_dict[task_id]
    run = SimpleNamespace(conf={}, run_id="a_run")
    ti = SimpleNamespace(
        map_index=map_index if hasattr(operator, "partial_kwargs") else -1, task=operator, run_id="a_run"
    )
    context: Any = {
        **{
            "ti": ti,
            "task_instance": ti,
            "dag": dag,
            "task": operator,
            "dag_run": run,
            "params": {"n": 4, "none": None},
        },
        **{"ds": "2026-01-01", "word": "kettle", "conn": {"warehouse": {"password": "hunter2"}}},
        **{"var": {"value": {"secret": "hunter2"}}, "logical_date": datetime(2026, 1, 1, tzinfo=UTC)},
    }
    operator.render_template_fields(context)
    return context["task"]


def a_dag(**options: Any) -> DAG:
    return DAG("a_dag", schedule=None, **options)


@task
def rows() -> list[dict[str, Any]]:
    """Return a table; its value is the test's."""
    return []


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("text", CANARIES)
def test_a_row_of_expand_kwargs_arrives_as_it_stands(given: Callable[[Any], None], text: str, native: bool) -> None:
    given([{"prompt": text, "negative_prompt": text, "extra_body": {"x": [text]}, "labels": {"sku": text, text: 1}}])
    with a_dag(render_template_as_native_obj=native) as dag:
        VeoGenerateOperator.partial(task_id="make", output_path="/videos/{{ ds }}/").expand_kwargs(rows())
    made = rendered(dag)
    assert (made.prompt, made.negative_prompt) == (text, text)
    assert made.extra_body == {"x": [text]}
    assert made.labels == {"sku": text, text: 1}
    assert made.output_path == "/videos/2026-01-01/"


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("text", CANARIES)
def test_other_ways_of_mapping_and_other_tasks_outputs(given: Callable[[Any], None], text: str, native: bool) -> None:
    given([text])
    with a_dag(render_template_as_native_obj=native) as dag:
        VeoGenerateOperator.partial(task_id="make", labels={"day": "{{ ds }}"}).expand(prompt=rows())
    made = rendered(dag)
    assert (made.prompt, made.labels) == (text, {"day": "2026-01-01"})

    given(text)
    with a_dag(render_template_as_native_obj=native) as dag:
        VeoGenerateOperator(task_id="make", prompt=rows(), labels={"from": rows(), "day": "{{ ds }}"})
    made = rendered(dag)
    assert (made.prompt, made.labels) == (text, {"from": text, "day": "2026-01-01"})


@pytest.mark.parametrize("text", CANARIES)
def test_the_argument_of_a_mapped_task_group(given: Callable[[Any], None], text: str) -> None:
    given([{"text": text}])
    with a_dag() as dag:

        @task_group
        def clips(text: str) -> None:
            VeoGenerateOperator(task_id="make", prompt=text, negative_prompt="{{ word }}")

        clips.expand_kwargs(rows())
    operator: Any = dag.task_dict["clips.make"]
    ti = SimpleNamespace(map_index=0, task=operator, run_id="a_run")
    operator.render_template_fields({"ti": ti, "word": "kettle"})
    assert (operator.prompt, operator.negative_prompt) == (text, "kettle")


@pytest.mark.parametrize("text", CANARIES)
def test_what_a_function_gets_and_returns(given: Callable[[Any], None], text: str) -> None:
    given([{"product": text}])
    with a_dag() as dag:

        @veo_task(task_id="make", labels={"day": "{{ ds }}"})
        def clip(product: str, style: str) -> str:
            return f"{product}, {style}"

        clip.partial(style="{{ word }}").expand_kwargs(rows())
    made = rendered(dag)
    assert made.op_kwargs == {"product": text, "style": "kettle"}
    assert made.labels == {"day": "2026-01-01"}


@pytest.mark.parametrize("text", CANARIES)
def test_a_table_that_is_read_in_the_dag_file(text: str) -> None:
    table = rows_as_kwargs(read_rows([{"prompt": text, "sku": text}]))
    with a_dag() as dag:
        VeoGenerateOperator.partial(task_id="make", output_path="/videos/{{ ds }}/").expand_kwargs(table)
    made = rendered(dag)
    assert (made.prompt, made.labels, made.output_path) == (text, {"sku": text}, "/videos/2026-01-01/")
    assert type(made.prompt) is str


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("text", [*CANARIES, "a query.sql"])
def test_the_rows_of_a_batch_are_data_and_the_rest_is_templated(text: str, native: bool) -> None:
    with a_dag(render_template_as_native_obj=native) as dag:
        VeoGenerateBatchOperator(
            task_id="make",
            requests=[{"prompt": text, "sku": text}],
            defaults={"negative_prompt": "{{ word }}.sql"},
            output_path="/videos/{{ ds }}/",
            max_in_flight="{{ params.n }}",
        )
    made = rendered(dag)
    assert made.requests == [{"prompt": text, "sku": text}]
    assert made.defaults == {"negative_prompt": "kettle.sql"}
    assert (made.output_path, str(made.max_in_flight)) == ("/videos/2026-01-01/", "4")


def test_outputs_of_other_tasks_within_the_rows_of_a_batch(given: Callable[[Any], None]) -> None:
    given("{{ ds }}")
    with a_dag() as dag:
        batch = VeoGenerateBatchOperator(task_id="make", requests=[{"prompt": rows()}], output_path="/videos/")
    assert batch.upstream_task_ids == {"rows"}
    assert rendered(dag).requests == [{"prompt": "{{ ds }}"}]


def test_what_the_author_writes_in_the_dag_file_is_a_template_everywhere() -> None:
    with a_dag() as dag:
        VeoGenerateOperator(task_id="one", prompt="a {{ word }}", labels={"day": "{{ ds }}"}, timeout="{{ params.n }}0")
        VeoGenerateOperator.partial(task_id="make", negative_prompt="{{ word }}").expand_kwargs(
            [{"prompt": "a {{ word }}"}]
        )
        VeoGenerateOperator.partial(task_id="expanded").expand(prompt=["a {{ word }}"])
    one = rendered(dag, "one")
    assert (one.prompt, one.labels, one.timeout) == ("a kettle", {"day": "2026-01-01"}, "40")
    assert (rendered(dag).prompt, rendered(dag).negative_prompt) == ("a kettle", "kettle")
    assert rendered(dag, "expanded").prompt == "a kettle"


@pytest.mark.parametrize("where", ["dag", "group"])
def test_default_args_stay_templates_beside_data(given: Callable[[Any], None], where: str) -> None:
    given([{"prompt": "{{ ds }}"}])
    places: dict[str, Any] = {where: {"default_args": {"output_path": "/videos/{{ ds }}/"}}}
    with a_dag(**places.get("dag", {})) as dag, TaskGroup("group", **places.get("group", {})):
        VeoGenerateOperator.partial(task_id="make").expand_kwargs(rows())
    made = rendered(dag, "group.make")
    assert (made.prompt, made.output_path) == ("{{ ds }}", "/videos/2026-01-01/")


def test_raw_is_how_braces_are_written_in_a_dag_file() -> None:
    with a_dag() as dag:
        VeoGenerateOperator(task_id="make", prompt="{% raw %}a {{brand}} mug{% endraw %} of {{ word }}")
    assert rendered(dag).prompt == "a {{brand}} mug of kettle"


@pytest.mark.parametrize("text", ['"Welcome" "home"', "1_000", "['a', 'cat']", "{'a': 1}"])
def test_text_stays_text_where_the_dag_renders_native_objects(text: str) -> None:
    with a_dag(render_template_as_native_obj=True) as dag:
        VeoGenerateOperator(
            task_id="make",
            prompt=text,
            negative_prompt="{{ params.n }}",
            extra_body="{{ {'a': params.n} }}",
            labels={"note": "1_000", "n": "{{ params.n }}"},
        )
    made = rendered(dag)
    assert (made.prompt, made.negative_prompt) == (text, "4")
    assert made.extra_body == {"a": 4}
    assert made.labels == {"note": "1_000", "n": 4}


def test_a_task_group_of_the_dag_is_no_way_around(given: Callable[[Any], None]) -> None:
    given([{"prompt": "{{ ds }}"}])
    with a_dag() as dag, TaskGroup("group"):
        VeoGenerateOperator.partial(task_id="make").expand_kwargs(rows())
    assert rendered(dag, "group.make").prompt == "{{ ds }}"


def test_a_functions_arguments_are_native_where_the_dag_says_so_but_plain_text_is_not_evaluated() -> None:
    with a_dag(render_template_as_native_obj=True) as dag:

        @veo_task(task_id="make")
        def clip(count: int, text: str) -> str:
            return f"{count} {text}"

        clip("{{ params.n }}", text='"Welcome" "home"')
    made = rendered(dag)
    assert (made.op_args, made.op_kwargs) == ((4,), {"text": '"Welcome" "home"'})
