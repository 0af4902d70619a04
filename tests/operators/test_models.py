"""Models at the operators: rules from APIMart's schema, a model that is gone and its fallback, alone and in a batch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_apimart.client.model_rules import DEFAULT_MODEL
from airflow_provider_apimart.client.retry import RetryPolicy
from airflow_provider_apimart.decorators.veo import veo_task
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.generation.catalogue.schemas import SCHEMAS
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.veo import VeoGenerateOperator
from tests.operators import batches
from tests.operators.batches import lines, prompts
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

OTHER = "veo3.1-quality-official"


@pytest.fixture(autouse=True)
def at_once(quick: None, no_waiting: list[float]) -> None:
    SCHEMAS.clear()


def finish(operator: VeoGenerateOperator, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One try, through the triggerer as often as it defers."""
    context: Any = tries.next(operator, store=True)

    def work() -> dict[str, Any]:
        return operator.execute(context)

    step = work
    for _ in range(3):
        try:
            return step()
        except TaskDeferred as deferral:
            event = run_trigger(deferral.trigger, monkeypatch)
            kwargs = json.loads(json.dumps(deferral.kwargs))

            def resumed(event: Any = event, kwargs: Any = kwargs) -> dict[str, Any]:
                return operator.execute_complete(context, event=event, **kwargs)

            step = resumed
    raise AssertionError("it defers without an end")


def execute(operator: VeoGenerateOperator, tries: Tries) -> dict[str, Any]:
    """One try that does not defer."""
    return operator.execute(tries.next(operator, store=True))  # type: ignore[arg-type]


def paid(emulator: Emulator) -> list[str]:
    return [one["model"] for one in emulator.state()["generations"] if one["charged_usd"]]


# --- one generation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("how", ["refused", "fails"])
def test_the_fallback_is_told_everywhere(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, deferrable: bool
) -> None:
    emulator.retire(DEFAULT_MODEL, how)
    operator = make(tmp_path, fallback_model=OTHER, deferrable=deferrable)
    result = finish(operator, tries, monkeypatch)
    assert (result["model"], result["fallback_from"]) == (OTHER, DEFAULT_MODEL)
    assert list(result)[-1] == "fallback_from" and paid(emulator) == [OTHER]
    (video,) = result["videos"]
    sidecar = json.loads(Path(f"{video['path']}.json").read_text())
    assert (sidecar["model"], sidecar["fallback_from"]) == (OTHER, DEFAULT_MODEL)
    assert sidecar["request"]["model"] == OTHER
    # A clear keeps it.
    again = finish(make(tmp_path, fallback_model=OTHER, deferrable=deferrable), tries, monkeypatch)
    assert again["generation_id"] == result["generation_id"] and paid(emulator) == [OTHER]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("how", ["refused", "fails"])
def test_without_a_fallback_the_task_fails_for_good_and_says_how_to_switch(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, deferrable: bool
) -> None:
    emulator.retire(DEFAULT_MODEL, how)
    for _ in range(2):
        with pytest.raises(AirflowFailException) as caught:
            finish(make(tmp_path, deferrable=deferrable), tries, monkeypatch)
        text = str(caught.value)
        assert "is no longer available" in text and "{{ var.value.veo_model }}" in text and OTHER in text
        assert "not charged" in text or "Nothing was charged" in text
    generations = emulator.state()["generations"]
    assert len(generations) == (1 if how == "fails" else 0) and paid(emulator) == []


def test_a_relay_without_a_channel_is_retried(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.retire(DEFAULT_MODEL, "no_channel")
    monkeypatch.setattr("airflow_provider_apimart.client.client.RetryPolicy", lambda: RetryPolicy(attempts=1))
    with pytest.raises(Exception, match="A later try asks again, at no cost") as caught:
        execute(make(tmp_path, retries=2), tries)
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"fallback_model": DEFAULT_MODEL}, "another model"),
        ({"model": "veo3.1-fast", "fallback_model": "veo3.1-fast-ext", "duration": 8}, "another model"),
        ({"fallback_model": "veo3.1-lite"}, "with fallback_model='veo3.1-lite'"),
        ({"fallback_model": OTHER, "seed": -1}, "seed=-1"),
        ({"fallback_model": "two words"}, "fallback_model='two words'"),
        ({"rules": "strict"}, "allowed: 'table' or 'schema'"),
    ],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidVeoArgument, match=text):
        make(None, **arguments)


def test_templated_models_are_checked_when_they_are_rendered(emulator: Emulator, tries: Tries) -> None:
    operator = make(None, model="{{ params.model }}", fallback_model="{{ params.other }}")
    operator.model, operator.fallback_model = DEFAULT_MODEL, DEFAULT_MODEL
    with pytest.raises(InvalidVeoArgument, match="another model"):
        execute(operator, tries)
    assert emulator.requests("submit") == []


def test_a_limit_has_to_cover_the_fallback(emulator: Emulator, tries: Tries) -> None:
    operator = make(None, fallback_model=OTHER, max_cost_usd=0.3)
    with pytest.raises(InvalidVeoArgument, match=rf"\({OTHER}\) costs about 0.64 USD"):
        execute(operator, tries)
    assert emulator.requests("submit") == []


def test_the_decorator_takes_them(emulator: Emulator, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG

    emulator.retire(DEFAULT_MODEL)
    with DAG(dag_id="a_dag", schedule=None):

        @veo_task(fallback_model=OTHER, rules="schema", duration=4)
        def clip() -> str:
            return "a cat"

        operator: Any = clip().operator
    result = finish(operator, tries, monkeypatch)
    assert (result["model"], result["fallback_from"]) == (OTHER, DEFAULT_MODEL)


# --- rules="schema" -----------------------------------------------------------------------------------------------

SCHEMA = {
    "object": "model.input_schema",
    "input_schema": {
        "type": "object",
        "properties": {"duration": {"enum": [5, 10]}, "resolution": {"enum": ["720p", "8K"]}, "fps": {"maximum": 60}},
        "required": ["model", "prompt"],
        "additionalProperties": True,
    },
}


@pytest.fixture
def veo4(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model that the provider does not know and APIMart does. Returns the paths that are asked."""
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.client.protocol import Reply

    asked: list[str] = []
    original = ApimartClient._send_once

    def send_once(client: ApimartClient, call: Any) -> Any:
        asked.append(call.path)
        if call.path == "/v1/models/veo4/schema":
            return call.read(Reply(200, {}, json.dumps(SCHEMA).encode()))
        return original(client, call)

    monkeypatch.setattr(ApimartClient, "_send_once", send_once)
    return asked


def test_a_request_is_checked_against_apimarts_schema_before_it_is_paid_for(
    emulator: Emulator, tries: Tries, veo4: list[str]
) -> None:
    operator = make(None, model="veo4", rules="schema", resolution="9K", extra_body={"fps": 90})
    with pytest.raises(InvalidVeoArgument) as caught:
        execute(operator, tries)
    source = r"(APIMart's schema of model 'veo4')"
    assert f"duration=4: allowed: 5, 10 {source}" in str(caught.value)
    assert f"resolution='9K': allowed: 720p, 8K {source}" in str(caught.value)
    assert f"extra_body.fps=90: allowed: 60 or less {source}" in str(caught.value)
    assert emulator.requests("submit") == []


def test_the_table_is_the_default_and_asks_nothing(emulator: Emulator, tries: Tries, veo4: list[str]) -> None:
    with pytest.raises(AirflowFailException, match="unsupported model"):
        execute(make(None, model="veo4"), tries)
    assert not any("schema" in path for path in veo4)


def test_a_schema_that_cannot_be_had_refuses_nothing(
    emulator: Emulator, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    for fault in ({"kind": "status", "status": 500}, {"kind": "html"}, {"kind": "broken_json"}):
        SCHEMAS.clear()
        emulator.fault("models", **fault)
        with pytest.raises(AirflowFailException, match="unsupported model: veo4"):
            execute(make(None, model="veo4", rules="schema"), tries)
    assert caplog.text.count("could not be had") == 3


def test_a_paid_generation_is_landed_whatever_a_schema_says(
    emulator: Emulator, tries: Tries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = make(tmp_path, rules="schema", deferrable=True)
    with pytest.raises(TaskDeferred):
        operator.execute(tries.next(operator, store=True))
    monkeypatch.setattr(
        "airflow_provider_apimart.generation.catalogue.schemas.schema_problems",
        lambda *_: pytest.fail("nothing is paid for"),
    )
    assert finish(make(tmp_path, rules="schema", deferrable=False), tries, monkeypatch)["videos"]


def test_a_table_asks_once_for_each_model(emulator: Emulator, tries: Tries, tmp_path: Path, veo4: list[str]) -> None:
    rows = [{"prompt": f"row {n}", "model": "veo4", "duration": 5 if n % 2 else 7} for n in range(20)]
    operator = batches.batch(tmp_path, rows, rules="schema")
    with pytest.raises(AirflowFailException) as caught:
        batches.run(operator, tries)
    assert "rows 1, 3, 5" in str(caught.value) and "duration=7: allowed: 5, 10 (APIMart's schema" in str(caught.value)
    assert veo4.count("/v1/models/veo4/schema") == 1 and emulator.requests("submit") == []


# --- a batch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("how", ["refused", "fails"])
def test_a_batch_goes_on_with_the_fallback(
    emulator: Emulator, tries: Tries, tmp_path: Path, how: str, deferrable: bool
) -> None:
    emulator.retire(DEFAULT_MODEL, how, after=3)
    operator = batches.batch(
        tmp_path, prompts(8), fallback_model=OTHER, deferrable=deferrable, max_in_flight=2, max_cost_usd=10
    )
    result = batches.run(operator, tries)
    assert result["landed"] == 8 and result["fallbacks"] == 5 and list(result)[-1] == "fallbacks"
    found = [(line["request"]["model"], line["fallback_from"]) for line in lines(result)]
    assert found.count((OTHER, DEFAULT_MODEL)) == 5 and found.count((DEFAULT_MODEL, None)) == 3
    assert sorted(paid(emulator)) == [DEFAULT_MODEL] * 3 + [OTHER] * 5
    costs = {line["request"]["model"]: (line["cost_usd"], line["estimated_cost_usd"]) for line in lines(result)}
    assert costs == {DEFAULT_MODEL: (0.256, 0.256), OTHER: (0.64, 0.64)}
    sidecars = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.mp4.json")]
    assert sum(one.get("fallback_from") == DEFAULT_MODEL for one in sidecars) == 5
    # Nothing is asked or paid again.
    posts = len(emulator.requests("submit"))
    assert batches.run(operator, tries)["landed"] == 8 and len(emulator.requests("submit")) == posts


def test_a_batch_without_a_fallback_says_what_the_account_has(emulator: Emulator, tries: Tries, tmp_path: Path) -> None:
    emulator.retire(DEFAULT_MODEL, after=3)
    with pytest.raises(AirflowFailException) as caught:
        batches.run(batches.batch(tmp_path, prompts(8), max_in_flight=2), tries)
    text = str(caught.value)
    assert f"APIMart no longer has {DEFAULT_MODEL!r} (5 rows, not charged)" in text
    assert "{{ var.value.veo_model }}" in text and "5 model_gone" in text and paid(emulator) == [DEFAULT_MODEL] * 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fallback_model": DEFAULT_MODEL}, "than that of every row"),
        ({"fallback_model": "veo3.1-lite"}, "with fallback_model='veo3.1-lite'"),
        ({"fallback_model": OTHER, "max_cost_usd": 1}, "could not be used to the end"),
    ],
)
def test_a_fallback_that_does_not_fit_is_refused_before_anything_is_paid(
    emulator: Emulator, tries: Tries, tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(AirflowFailException, match=text):
        batches.run(batches.batch(tmp_path, prompts(2), **options), tries)
    assert emulator.requests("submit") == []


def test_rows_of_the_fallbacks_own_model_have_none(
    emulator: Emulator, tries: Tries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    emulator.retire(DEFAULT_MODEL)
    rows = [{"prompt": "one"}, {"prompt": "two", "model": OTHER}]
    result = batches.run(batches.batch(tmp_path, rows, fallback_model=OTHER), tries)
    assert [line["fallback_from"] for line in lines(result)] == [DEFAULT_MODEL, None]
    assert "about 1.28 USD to come" in caplog.text


def test_a_fallback_that_is_not_known_is_told(
    emulator: Emulator, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    execute(make(None, fallback_model="veo4-fast"), tries)
    assert "fallback_model: model='veo4-fast' is not known to this version" in caplog.text
