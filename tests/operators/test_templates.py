"""What the DAG's author writes is a template; data never is, whatever way it takes into a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup, task, task_group
from airflow.sdk.definitions._internal.templater import Templater
from airflow.sdk.definitions.xcom_arg import PlainXComArg

from airflow_provider_apimart.decorators.veo import veo_task
from airflow_provider_apimart.generation.tables.rows import read_rows
from airflow_provider_apimart.hooks.tables import read_table, rows_as_kwargs
from airflow_provider_apimart.operators.batch import arguments as batch_arguments
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


# --- what Airflow's versions and a DAG's own settings change ----------------------------------------------------------


@pytest.fixture(params=["this Airflow", "Airflow 3.1 and 3.2"])
def templater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow render as it does, and as it did: what a template rendered to was set only if it was something."""

    def render(self: Any, parent: Any, fields: Any, context: Any, env: Any, seen: set[int]) -> None:
        for name in fields:
            found = self.render_template(getattr(parent, name), context, env, seen)
            if found:
                setattr(parent, name, found)

    if request.param != "this Airflow":
        monkeypatch.setattr(Templater, "_do_render_template_fields", render)


@pytest.mark.usefixtures("templater")
def test_what_renders_to_nothing_is_not_sent_as_the_template_that_it_was(given: Callable[[Any], None]) -> None:
    given(False)
    with a_dag() as dag:
        VeoGenerateOperator(
            task_id="make",
            prompt="{{ params.none or '' }}",
            negative_prompt="{{ params.none or '' }}",
            generate_audio=PlainXComArg(rows().operator),
        )
    made = rendered(dag)
    assert (made.prompt, made.negative_prompt, made.generate_audio) == ("", None, False)


@pytest.mark.usefixtures("templater")
def test_blank_is_not_set_and_the_default_holds() -> None:
    blank = "{{ params.none or '' }}"
    optional = ("timeout", "poll_interval", "on_clear", "on_unknown_submit", "on_mismatch", "max_cost_usd", "labels")
    of_batch = ("state_path", "max_in_flight", "reuse", "dry_run", "allow_empty", "max_failed_share", "skip_if")
    of_batch = (*of_batch, "manifest_format", "on_row_failure", "requests_per_minute", "columns", "defaults")
    with a_dag() as dag:
        VeoGenerateOperator(task_id="make", prompt="a cat", seed=blank, **dict.fromkeys(optional, blank))
        VeoGenerateBatchOperator(
            task_id="batch", requests=[{"prompt": "a cat"}], output_path="/videos/", **dict.fromkeys(of_batch, blank)
        )
        VeoGenerateOperator(task_id="lost", prompt="a cat", output_path=blank)
    made, batch = rendered(dag), rendered(dag, "batch")
    assert made._checked_request().seed is None
    assert (made.on_clear, made.on_unknown_submit, made.on_mismatch) == ("reuse", None, "warn")
    assert batch_arguments.late_problems(batch) == []
    assert (batch.max_in_flight, batch.reuse, batch.manifest_format) == (20, "run", "jsonl")
    with pytest.raises(ValueError, match="output_path"):
        rendered(dag, "lost")._checked_request()


def test_a_path_object_is_left_alone_by_an_airflow_that_takes_its_resolve_for_its_own(tmp_path: Path) -> None:
    with a_dag() as dag:
        VeoGenerateOperator(task_id="make", prompt="a cat", output_path=tmp_path / "new" / "clip.mp4")
    made: Any = dag.task_dict["make"]
    # Without Airflow's own rendering behind it: 3.1 would call path.resolve(context), which raises.
    assert made.render_template(made.output_path, {}, None, set()) is made.output_path


def test_other_delimiters_are_known_where_the_dag_is_parsed(given: Callable[[Any], None]) -> None:
    given([{"prompt": "[[ ds ]]"}])
    delimiters = {"variable_start_string": "[[", "variable_end_string": "]]"}
    with a_dag(jinja_environment_kwargs=delimiters) as dag:
        VeoGenerateOperator(task_id="make", prompt="{{ ds }} [[ ds ]]", duration="[[ params.n ]]", timeout="[[ 60 ]]")
        VeoGenerateOperator.partial(task_id="mapped", output_path="/videos/[[ ds ]]/").expand_kwargs(rows())
    made, mapped = rendered(dag), rendered(dag, "mapped")
    assert (made.prompt, made.duration, made.timeout) == ("{{ ds }} 2026-01-01", "4", "60")
    assert (mapped.prompt, mapped.output_path) == ("[[ ds ]]", "/videos/2026-01-01/")


def test_a_subclass_may_have_templates_of_its_own(given: Callable[[Any], None], tmp_path: Path) -> None:
    class House(VeoGenerateOperator):
        template_ext = (".j2",)

        def __init__(self, *, output_path: str = "/videos/{{ ds }}/", **kwargs: Any) -> None:
            super().__init__(output_path=output_path, **kwargs)

    given([{"prompt": "clip.j2"}])
    (tmp_path / "clip.j2").write_text("a {{ word }}")
    with a_dag(template_searchpath=[str(tmp_path)]) as dag:
        House(task_id="make", prompt="clip.j2")
        House.partial(task_id="mapped").expand_kwargs(rows())
        VeoGenerateOperator(task_id="plain", prompt="clip.j2")
    assert rendered(dag).prompt == "a kettle"
    mapped = rendered(dag, "mapped")
    assert (mapped.prompt, mapped.output_path) == ("clip.j2", "/videos/2026-01-01/")
    assert rendered(dag, "plain").prompt == "clip.j2"


def test_an_object_with_template_fields_of_its_own_among_a_functions_arguments() -> None:
    class Brief:
        template_fields = ("text",)
        text = "a {{ word }}"

    with a_dag() as dag:

        @veo_task(task_id="make")
        def clip(brief: Brief) -> str:
            return brief.text

        clip(Brief())
    assert rendered(dag).op_args[0].text == "a kettle"


def test_text_within_an_object_keeps_its_type_where_the_dag_renders_native_objects() -> None:
    with a_dag(render_template_as_native_obj=True) as dag:
        VeoGenerateOperator(
            task_id="make",
            prompt="a cat",
            labels={"sku": "{{ '1_000' }}", "n": "{{ params.n }}"},
            extra_body="{'a': {{ params.n }}}",
        )

        @veo_task(task_id="function")
        def clip(text: str) -> str:
            return text

        clip('{{ \'"Welcome" "home"\' }}')
    made = rendered(dag)
    assert (made.labels, made.extra_body) == ({"sku": "1_000", "n": 4}, {"a": 4})
    assert rendered(dag, "function").op_args == ('"Welcome" "home"',)


@pytest.mark.parametrize("text", CANARIES)
def test_a_row_of_a_table_that_is_read_in_the_dag_file_is_data_without_expand_kwargs(text: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": text, "sku": text, "extra_body": {"a": [text]}}))
    (row,) = read_table(str(file))
    assert [row] == list(read_rows([{"prompt": text, "sku": text, "extra_body": {"a": [text]}}]))
    with a_dag() as dag:
        VeoGenerateOperator(
            task_id="make", prompt=row.request.prompt, extra_body=row.request.extra_body, labels=row.labels
        )
    made = rendered(dag)
    assert (made.prompt, made.labels, made.extra_body) == (text, {"sku": text}, {"a": [text]})


def test_one_of_several_sources_may_render_to_nothing() -> None:
    with a_dag() as dag:
        VeoGenerateBatchOperator(
            task_id="make",
            table="{{ params.none or '' }}",
            sql="SELECT '{{ ds }}' AS prompt",
            sql_conn_id="warehouse",
            output_path="/videos/",
        )
        VeoGenerateBatchOperator(task_id="both", table="/a.csv", sql="{{ ds }}", sql_conn_id="db", output_path="/v/")
    assert batch_arguments.late_problems(rendered(dag)) == []
    with pytest.raises(ValueError, match="exactly one of"):
        rendered(dag, "both").execute({})


def test_what_airflow_calls_to_render_an_argument_passes_the_parse() -> None:
    VeoGenerateOperator(task_id="make", prompt=lambda context, jinja_env: f"a {context['word']}")
