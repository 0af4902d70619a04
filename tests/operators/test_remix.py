"""The operator that extends a video: paid for once, landed, and refused before it costs where it cannot work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import AirflowFailException
from airflow_provider_apimart.client.errors import OutcomeUnknownError
from airflow_provider_apimart.emulator.server import Emulator
from airflow_provider_apimart.operators import veo
from airflow_provider_apimart.operators.arguments import InvalidVeoArgument
from airflow_provider_apimart.operators.remix import VeoRemixOperator
from tests.operators.conftest import Tries
from tests.operators.single import make, run_trigger

pytestmark = pytest.mark.usefixtures("no_waiting")


def remix(source: Any, tmp_path: Path | None = None, **arguments: Any) -> VeoRemixOperator:
    values = {"task_id": "extend", "prompt": "it goes on", "deferrable": False, **arguments}
    if tmp_path is not None:
        values.setdefault("output_path", f"{tmp_path}/")
    return VeoRemixOperator(source=source, **values)


@pytest.fixture
def source(emulator: Emulator) -> dict[str, Any]:
    """What the task that generated a video has returned."""
    operator = make(model="veo3.1-fast", duration=8, task_id="source")
    return operator.execute(Tries().next(operator))


def test_users_find_it_beside_the_other_operators() -> None:
    assert veo.VeoRemixOperator is VeoRemixOperator


def test_a_result_is_extended_and_landed(
    emulator: Emulator, tries: Tries, tmp_path: Path, source: dict[str, Any]
) -> None:
    operator = remix(source, tmp_path, resolution="1080p", labels={"sku": 7})
    result = operator.execute(tries.next(operator))
    assert list(result) == list(source)
    (video,) = result["videos"]
    assert result["model"] == "veo3.1-fast" and result["cost_usd"] == 0.14
    assert (video["duration_seconds"], video["width"]) == (15.0, 1920)
    assert result["mismatches"] == []
    (request,) = emulator.requests("remix")
    assert request["path"] == f"/v1/videos/{source['generation_id']}/remix"
    sidecar = json.loads(Path(f"{video['path']}.json").read_text())
    assert sidecar["request"]["source"] == source["generation_id"] and sidecar["labels"] == {"sku": 7}


def test_deferred_path_returns_the_same(
    emulator: Emulator, tries: Tries, tmp_path: Path, source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = remix(source, tmp_path, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(tries.next(operator))
    assert emulator.api_key not in json.dumps([deferred.value.trigger.serialize(), deferred.value.kwargs], default=str)
    event = run_trigger(deferred.value.trigger, monkeypatch)
    resumed = remix("{{ what it renders to now }}", tmp_path, deferrable=True)
    tries.number -= 1
    kwargs = json.loads(json.dumps(deferred.value.kwargs))
    result = resumed.resume_execution(deferred.value.method_name, {**kwargs, "event": event}, tries.next(resumed))
    assert list(result) == list(source)
    assert Path(result["videos"][0]["path"]).is_file()
    assert emulator.state()["paid"] == 2


def test_retries_and_clears_pay_once(emulator: Emulator, tries: Tries, tmp_path: Path, source: dict[str, Any]) -> None:
    first = remix(source, tmp_path)
    one = first.execute(tries.next(first))
    tries.clear()
    again = remix(source, tmp_path)
    assert again.execute(tries.next(again))["generation_id"] == one["generation_id"]
    assert len(emulator.requests("remix")) == 1


def test_another_source_is_another_remix(
    emulator: Emulator, tries: Tries, tmp_path: Path, source: dict[str, Any]
) -> None:
    other = make(model="veo3.1-fast", duration=8, task_id="other")
    second = other.execute(Tries().next(other))
    for one in (source, second):
        operator = remix(one, tmp_path)
        operator.execute(tries.next(operator))
    keys = [request["headers"]["idempotency-key"] for request in emulator.requests("remix")]
    assert len(set(keys)) == 2


@pytest.mark.parametrize(("choice", "sent"), [("resend", 2), ("fail", 1)])
def test_a_lost_answer(
    emulator: Emulator,
    tries: Tries,
    source: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    sent: int,
) -> None:
    monkeypatch.setattr("airflow_provider_apimart.client.client.time.sleep", lambda seconds: None)
    emulator.fault("remix", "drop_after")
    operator = remix(source, on_unknown_submit=choice)
    if choice == "resend":
        operator.execute(tries.next(operator))
    else:
        with pytest.raises(OutcomeUnknownError):
            operator.execute(tries.next(operator))
    assert len(emulator.requests("remix")) == sent
    assert emulator.state()["paid"] == 2


def test_a_bare_id_needs_the_model(emulator: Emulator, tries: Tries, source: dict[str, Any]) -> None:
    with pytest.raises(InvalidVeoArgument, match="model=None"):
        remix(source["generation_id"])
    operator = remix(source["generation_id"], model="veo3.1-fast-ext")
    assert operator.execute(tries.next(operator))["status"] == "completed"


def test_json_text_of_a_template(emulator: Emulator, tries: Tries, source: dict[str, Any]) -> None:
    operator = remix("{{ later | tojson }}")
    operator.source = json.dumps(source)
    assert operator.execute(tries.next(operator))["status"] == "completed"


def test_another_model_is_refused_before_it_costs(emulator: Emulator, tries: Tries) -> None:
    official = make(task_id="source")
    result = official.execute(Tries().next(official))
    with pytest.raises(InvalidVeoArgument, match=r"model='veo3\.1-fast-official'.*veo3\.1-quality"):
        remix(result)
    operator = remix("{{ later }}")
    operator.source = result
    with pytest.raises(InvalidVeoArgument, match="Nothing was submitted"):
        operator.execute(tries.next(operator))
    assert emulator.requests("remix") == []


def test_budget(emulator: Emulator, tries: Tries, source: dict[str, Any]) -> None:
    operator = remix(source, max_cost_usd=0.1)
    with pytest.raises(InvalidVeoArgument, match=r"max_cost_usd=0\.1: .*0\.14 USD"):
        operator.execute(tries.next(operator))
    assert emulator.requests("remix") == []
    operator = remix(source, max_cost_usd=0.14)
    operator.execute(tries.next(operator))


def test_a_source_that_apimart_refuses_fails_for_good_and_costs_nothing(emulator: Emulator, tries: Tries) -> None:
    operator = remix("task_nobody_knows", model="veo3.1-fast")
    with pytest.raises(AirflowFailException, match=r"invalid task id.*[Nn]othing was charged"):
        operator.execute(tries.next(operator))
    assert emulator.state()["paid"] == 0


def test_all_literals_are_checked_at_once() -> None:
    with pytest.raises(InvalidVeoArgument) as error:
        remix({"model": "veo3.1-fast"}, raw="maybe", resolution="8k", timeout=0)
    assert [name in str(error.value) for name in ("source=None", "raw=", "resolution=", "timeout=")] == [True] * 4
