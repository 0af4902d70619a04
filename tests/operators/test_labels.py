"""Labels and names are plain before the payment: nothing that comes after it can fail by them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.hooks.reports import notes
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument, label_problems
from airflow_provider_apimart.operators.labels import Labels, check_name, labels_of
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators.conftest import Tries
from tests.operators.single import make

pytestmark = pytest.mark.usefixtures("no_waiting")

ODD: dict[str, Any] = {
    "surrogate": "cut \ud83d",
    "key \ud83d": 1,
    "nested": {(1, 2): {"a \udc00": [float("inf"), float("nan"), Decimal("9.90")]}},
    "day": date(2026, 1, 1),
    "at": datetime(2026, 1, 1, tzinfo=UTC),
    "set": {"one"},
    "bytes": b"\xff",
    "object": object,
}


def test_whatever_labels_hold_the_sidecar_is_written(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, labels=ODD)
    (video,) = operator.execute(tries.next(operator))["videos"]
    labels = json.loads(Path(f"{video['path']}.json").read_text())["labels"]
    assert labels == json.loads(json.dumps(labels_of(ODD)))
    assert labels["surrogate"] == "cut ?" and labels["key ?"] == 1
    assert labels["nested"] == {"(1, 2)": {"a ?": ["inf", None, 9.9]}}
    assert labels["day"] == "2026-01-01"


@pytest.mark.parametrize("labels", [{"sku": None}, '{"sku": 1}'], ids=str)
def test_an_empty_label_and_labels_as_text_fail_no_paid_generation(
    emulator: Emulator, tries: Tries, tmp_path: Path, labels: Any
) -> None:
    operator = make(tmp_path, labels=labels)
    assert operator.execute(tries.next(operator))["videos"]
    assert emulator.state()["paid"] == 1


def test_a_note_that_cannot_be_written_fails_no_paid_generation(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("it cannot be written")

    monkeypatch.setattr(notes, "of_generation", broken)
    operator = make(tmp_path)
    assert operator.execute(tries.next(operator))["videos"]
    assert emulator.state()["paid"] == 1


def test_labels_that_cannot_be_told_are_refused_before_anything_is_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path
) -> None:
    # Late values are not looked at while the DAG is parsed.
    for late in (["a"], 7, "not JSON", {1: "a"}):
        operator = make(tmp_path, labels={"a": "b"})
        operator.labels = late  # type: ignore[assignment]
        with pytest.raises(InvalidVeoArgument, match="labels="):
            operator.execute(tries.next(operator))
    assert emulator.state()["generations"] == []


def test_labels_without_an_end_are_refused() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    (problem,) = label_problems("labels", circle)
    assert "nested too deeply" in str(problem)


def test_labels_that_cannot_be_written_are_refused() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    for label in (Mute(), 10**5_000):
        (problem,) = label_problems("labels", {"a": label})
        assert "cannot be written" in str(problem)


def test_labels_are_large_and_still_land_and_are_found_again(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    operator = make(tmp_path, labels={"text": "x" * 1_200_000})
    first = operator.execute(tries.next(operator))
    assert operator.execute(tries.next(operator))["videos"][0]["path"] == first["videos"][0]["path"]
    assert emulator.state()["paid"] == 1


def test_more_than_the_sidecar_can_hold_is_refused() -> None:
    with pytest.raises(InvalidVeoArgument, match="allowed: up to 4 MiB of JSON"):
        make(labels={"text": "x" * 5_000_000})


def rendered(template: str | None, labels: Any) -> tuple[VeoGenerateOperator, dict[str, Any]]:
    with DAG("a_dag", schedule=None) as dag:
        operator = VeoGenerateOperator(task_id="make", prompt="a cat", labels=labels, map_index_template=template)
    context: dict[str, Any] = {"task": operator, "dag": dag, "map_index_template": template}
    operator.render_template_fields(context)  # type: ignore[arg-type]
    return operator, context


@pytest.mark.parametrize("labels", [None, {}, {"other": 1}, '{"other": 1}', ""])
def test_a_label_that_a_row_lacks_is_blank_in_the_name(labels: Any) -> None:
    operator, context = rendered("{{ task.labels.sku }}", labels)
    assert isinstance(operator.labels, Labels)
    check_name(operator, context)
    assert operator.get_dag().get_template_env().from_string("<{{ task.labels.sku }}>").render(context) == "<>"


@pytest.mark.parametrize(
    "template", ["{{ task.nothing.sku }}", "{{ brand }}", "{{ task.labels.sku", "{{ 1 / 0 }}", "{{ 'x' * 251 }}"]
)
def test_a_name_that_would_fail_after_the_landing_is_refused_before_the_payment(
    emulator: Emulator, tries: Tries, template: str
) -> None:
    operator, context = rendered(template, {"sku": 1})
    with pytest.raises(InvalidVeoArgument, match=r"map_index_template=.*(cannot be rendered|251 char).*Nothing was"):
        operator.execute({**tries.next(operator), **context})
    assert emulator.state()["generations"] == []


@pytest.mark.parametrize(
    "template", [None, "{{ task.prompt[:40] }}", "{{ task.generation_id[:4] }} {{ task.video_url }}"]
)
def test_a_name_may_use_what_the_task_knows_at_its_end(template: str | None) -> None:
    operator, context = rendered(template, {"sku": 1})
    check_name(operator, context)
    assert operator.generation_id is None
