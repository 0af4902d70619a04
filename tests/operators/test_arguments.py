"""Wrong values are refused where they are written: literals when the DAG is parsed, before anything is paid."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task, task_group

from airflow_provider_apimart._compat import AirflowFailException, ObjectStoragePath
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument, is_template
from airflow_provider_apimart.operators.veo import VeoGenerateBatchOperator, VeoGenerateOperator

WRONG: list[tuple[str, Any, str]] = [
    ("prompt", "", "must not be empty"),
    ("prompt", None, "text is needed"),
    ("prompt", 7, "text is needed"),
    ("prompt", "None", "found nothing"),
    ("model", "", "must not be empty"),
    ("negative_prompt", 5, "text is needed"),
    ("duration", 5, "allowed: 4, 6 or 8"),
    ("duration", 8.0, "allowed: 4, 6 or 8"),
    ("duration", "eight", "allowed: 4, 6 or 8"),
    ("duration", True, "allowed: 4, 6 or 8"),
    ("aspect_ratio", "1:1", "allowed: 16:9 or 9:16"),
    ("resolution", "480p", "allowed: 720p, 1080p or 4K"),
    ("first_frame_image", "data:image/png;base64,AAAA", "no longer takes data: URIs"),
    ("first_frame_image", "https:///frame.png", "has no host"),
    ("last_frame_image", "https://example.com/end.png", "needs first_frame_image"),
    ("seed", -1, "0 to 4294967295"),
    ("seed", 4294967296, "0 to 4294967295"),
    ("sample_count", 0, "1 to 4"),
    ("sample_count", 5, "1 to 4"),
    ("generate_audio", "yes", "True or False"),
    ("generate_audio", 1, "True or False"),
    ("person_generation", "dont_allow", "allow_adult or disallow"),
    ("resize_mode", "stretch", "pad or crop"),
    ("resize_mode", "pad", "only with first_frame_image"),
    ("enhance_prompt", False, "allowed: True, or leave it out"),
    ("labels", ["x"], "a dict with text keys"),
    ("labels", "sku=1", "a dict with text keys"),
    ("labels", {1: "a"}, "a dict with text keys"),
    ("extra_body", ["x"], "a dict"),
    ("extra_body", {"prompt": "again"}, "without model and prompt"),
    ("output_path", "", "allowed: a path"),
    ("output_path", "videos/clip.mp4", "has to be absolute"),
    ("output_path", "~/videos/", "has to be absolute"),
    ("output_path", 5, "allowed: a path"),
    ("output_path", ["/data/clip.mp4"], "allowed: a path"),
    ("apimart_conn_id", "", "the id of an Airflow connection"),
    ("apimart_conn_id", None, "the id of an Airflow connection"),
    ("apimart_conn_id", 5, "the id of an Airflow connection"),
    ("timeout", 0, "1 or more"),
    ("timeout", "soon", "1 or more"),
    ("timeout", float("nan"), "1 or more"),
    ("timeout", timedelta(0), "1 or more"),
    ("poll_interval", 0.1, "1 or more"),
    ("poll_interval", True, "1 or more"),
    ("on_clear", "anew", "'reuse' or 'regenerate'"),
    ("on_unknown_submit", "pray", "'resend' or 'fail'"),
    ("deferrable", "yes", "True or False"),
    ("deferrable", 1, "True or False"),
    ("max_cost_usd", -1, "0 or more"),
    ("max_cost_usd", "cheap", "0 or more"),
    ("max_cost_usd", float("nan"), "0 or more"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG, ids=[f"{name}={value!r}" for name, value, _ in WRONG])
def test_wrong_literal_is_refused_at_parse_time(name: str, value: Any, allowed: str) -> None:
    arguments = {"prompt": "a cat", name: value}
    with pytest.raises(InvalidVeoArgument) as caught:
        VeoGenerateOperator(task_id="make", **arguments)
    text = str(caught.value)
    assert "VeoGenerateOperator 'make'" in text
    assert f"{name}={value!r}" in text
    assert allowed in text
    assert "Nothing was submitted" in text
    # On a worker (a mapped task) the same error ends the task without a retry.
    assert isinstance(caught.value, AirflowFailException)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as caught:
        VeoGenerateOperator(task_id="make", prompt="a cat", duration=3, seed=-5, on_clear="no", timeout=-1)
    for name in ("duration=3", "seed=-5", "on_clear='no'", "timeout=-1"):
        assert name in str(caught.value)


LATE_BY_NATURE: dict[str, Callable[[DAG], Any]] = {
    "a template": lambda dag: "{{ params.x }}",
    "another task's output": lambda dag: task(lambda: None, task_id="first")(),  # type: ignore[arg-type, type-var]
    "a DAG's param": lambda dag: dag.param("x", None),
}


@pytest.mark.parametrize("late", LATE_BY_NATURE)
@pytest.mark.parametrize("name", VeoGenerateOperator.template_fields)
def test_whatever_can_be_late_passes_the_parse(name: str, late: str) -> None:
    with DAG("a_dag", schedule=None) as dag:
        operator = VeoGenerateOperator(task_id="make", **{"prompt": "a cat", name: LATE_BY_NATURE[late](dag)})
    assert is_template(getattr(operator, name))


@pytest.mark.parametrize("late", LATE_BY_NATURE)
@pytest.mark.parametrize("name", VeoGenerateBatchOperator.template_fields)
def test_whatever_can_be_late_in_a_batch_passes_the_parse(name: str, late: str) -> None:
    sources = {"requests": "requests", "table": "table", "sql": "sql", "sql_conn_id": "sql_conn_id"}
    values: dict[str, Any] = {"output_path": "/videos/"}
    values |= {"sql": "SELECT 1", "sql_conn_id": "db"} if name.startswith("sql") else {}
    if name not in sources and not name.startswith("sql"):
        values["requests"] = [{"prompt": "a cat"}]
    argument = name.removesuffix("_only")
    with DAG("a_dag", schedule=None) as dag:
        operator = VeoGenerateBatchOperator(task_id="make", **{**values, argument: LATE_BY_NATURE[late](dag)})
    assert is_template(getattr(operator, name))


def test_a_mapped_task_groups_argument_passes_the_parse() -> None:
    with DAG("a_dag", schedule=None) as dag:

        @task_group
        def days(day: str, limit: str) -> None:
            VeoGenerateOperator(task_id="one", prompt="a cat", output_path=day, timeout=limit)
            VeoGenerateBatchOperator(task_id="many", table=day, output_path=day, state_path=day, max_in_flight=limit)

        days.expand(day=["/a/", "/b/"], limit=["5", "6"])
    assert {"days.one", "days.many"} <= set(dag.task_dict)


def test_what_cannot_be_late_says_so() -> None:
    for kind, more in (
        (VeoGenerateOperator, {"prompt": "a"}),
        (VeoGenerateBatchOperator, {"requests": [], "output_path": "/a/"}),
    ):
        with pytest.raises(
            InvalidVeoArgument, match=r"deferrable='{{ params.x }}': is not templated; allowed: True or False"
        ):
            kind(task_id="make", deferrable="{{ params.x }}", **more)


@pytest.mark.parametrize("name", ["output_path", "state_path"])
def test_a_wrong_folder_of_a_batch_is_named_by_its_own_argument(name: str) -> None:
    values = {"output_path": "/videos/", name: "videos/"}
    with pytest.raises(InvalidVeoArgument, match=f"{name}='videos/'"):
        VeoGenerateBatchOperator(task_id="make", requests=[], **values)


def test_rules_across_fields_wait_for_templates() -> None:
    VeoGenerateOperator(
        task_id="make",
        prompt="a cat",
        first_frame_image="{{ params.first }}",
        last_frame_image="/end.png",
        resize_mode="pad",
    )
    VeoGenerateOperator(task_id="make", prompt="a cat", model="{{ params.model }}", duration=10, resolution="8K")


def test_another_tasks_output_passes_the_parse() -> None:
    with DAG("a_dag", schedule=None):

        @task
        def row() -> dict[str, Any]:
            return {}

        operator = VeoGenerateOperator(task_id="make", prompt=row()["prompt"], seed=row()["seed"], duration=4)
    assert is_template(operator.prompt)
    assert len(operator.upstream_task_ids) == 2


def test_expand_and_expand_kwargs_are_taken() -> None:
    with DAG("a_dag", schedule=None):
        VeoGenerateOperator.partial(task_id="a", duration=4).expand(prompt=["one", "two"])
        VeoGenerateOperator.partial(task_id="b").expand_kwargs([{"prompt": "one", "seed": 1}, {"prompt": "two"}])


def test_defaults_are_the_documented_ones() -> None:
    operator = VeoGenerateOperator(task_id="make", prompt="a cat")
    assert operator.deferrable is True
    assert operator.apimart_conn_id == "apimart_default"
    assert (operator.on_clear, operator.on_unknown_submit) == ("reuse", None)
    assert (operator.poll_interval, operator.output_path, operator.max_cost_usd) == (None, None, None)


@pytest.mark.parametrize(
    "output",
    [
        Path("videos/clip.mp4"),
        Path("videos"),
        ObjectStoragePath("videos/clip.mp4"),
        "file://videos/",
        "FILE://videos/clip.mp4",
        "local://videos/clip.mp4",
        "file://./clip.mp4",
    ],
    ids=repr,
)
def test_relative_output_is_refused_in_whatever_shape(output: Any) -> None:
    if isinstance(output, ObjectStoragePath) and str(output).startswith("/"):
        pytest.skip("in Airflow 3.1 such a path is absolute at once")
    with pytest.raises(InvalidVeoArgument, match=r"output_path=.*has to be absolute"):
        VeoGenerateOperator(task_id="make", prompt="a cat", output_path=output)
    for name in ("output_path", "state_path"):
        with pytest.raises(InvalidVeoArgument, match=f"{name}=.*has to be absolute"):
            VeoGenerateBatchOperator(task_id="table", requests=[], **{"output_path": "/out/", name: output})


@pytest.mark.parametrize(
    "output",
    [
        Path("/v"),
        "file:///v/",
        "file://conn@/v/",
        "s3://b/v/",
        ObjectStoragePath("/v"),
        ObjectStoragePath("memory://b/v"),
    ],
    ids=repr,
)
def test_absolute_output_is_taken_in_whatever_shape(output: Any) -> None:
    assert not is_template(output)
    VeoGenerateOperator(task_id="make", prompt="a cat", output_path=output)


def test_path_objects_are_templates_where_airflow_renders_them() -> None:
    assert is_template(ObjectStoragePath("memory://b/{{ ds }}"))
    VeoGenerateOperator(task_id="make", prompt="a cat", output_path=ObjectStoragePath("memory://b/{{ ds }}"))
    with pytest.raises(InvalidVeoArgument, match="does not render a PosixPath: write text"):
        VeoGenerateOperator(task_id="make", prompt="a cat", output_path=Path("/data/{{ ds }}"))
