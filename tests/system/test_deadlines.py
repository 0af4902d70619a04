"""A wait that is ended before the generation is: what the user sees, and what a later try or a clear does.

Whoever ends it (the operator's deadline, Airflow's timeouts, a hand), nothing is paid again and the video lands.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.airflow_api import AirflowApiError
from dev.local_airflow import LocalAirflow
from tests.system.test_generate import check_landed, generations

#: Ended by a deadline; the retry does the rest.
RETRIED = ("own_deferred", "own_in_worker", "execution_deferred", "execution_in_worker")
#: Ended for good, until a user clears the task.
ENDED_FOR_GOOD = {"dagrun": "skipped", "marked_failed": "failed", "marked_success": "success"}
#: The wait goes on, or is taken up again at once.
GOES_ON = ("cleared", "deleted")
RUN = "deadline"


@dataclass(frozen=True)
class Seen:
    """What a user saw of a task whose wait was ended."""

    state: str | None
    run_state: str
    xcom: Any
    log: str


@pytest.fixture(scope="module")
def runs(local_airflow: LocalAirflow, emulator_process: EmulatorProcess) -> dict[str, int]:
    """Start every run and let a hand end the waits that one ends. Returns the statuses of the refused calls."""
    for name in RETRIED[:-1]:
        # However slow this machine is: at the deadline it is not finished. (The last one does not ask before it.)
        emulator_process.fault("task", "task_status", value="processing", prompt_contains=f"deadline: {name}")
    for name in ("dagrun", "marked_failed", "marked_success", *GOES_ON, *RETRIED):
        pressed(lambda name=name: local_airflow.trigger(f"deadline_{name}", run_id=RUN), again=409)
    refused = {}
    for name in ("marked_failed", "marked_success", *GOES_ON):
        dag_id = f"deadline_{name}"
        local_airflow.wait_task(dag_id, RUN, "make", "deferred")
        if name == "cleared":
            pressed(lambda dag_id=dag_id: local_airflow.clear(dag_id, RUN, ["make"]))
        elif name == "deleted":
            with pytest.raises(AirflowApiError) as error:
                pressed(lambda dag_id=dag_id: local_airflow.api("DELETE", f"dags/{dag_id}/dagRuns/{RUN}"))
            refused[name] = error.value.status
        else:
            state = name.removeprefix("marked_")
            pressed(lambda dag_id=dag_id, state=state: local_airflow.mark(dag_id, RUN, "make", state))
    return refused


@pytest.fixture(scope="module")
def seen(local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: dict[str, int]) -> dict[str, Seen]:
    """What was seen of the waits that ended for good; then all of them are cleared, and have ended well."""
    found = {}
    for name, state in ENDED_FOR_GOOD.items():
        dag_id = f"deadline_{name}"
        local_airflow.wait_task(dag_id, RUN, "make", state)
        found[name] = Seen(
            local_airflow.task_instance(dag_id, RUN, "make")["state"],
            local_airflow.wait_run(dag_id, RUN),
            local_airflow.xcom(dag_id, RUN, "make"),
            local_airflow.task_log(dag_id, RUN, "make", 1),
        )
    # A generation that is finished is landed by the try itself, within any dagrun_timeout.
    until = time.monotonic() + 60
    while time.monotonic() < until and any(
        generation["status"] != "completed" for generation in generations(emulator_process, "deadline: ")
    ):
        time.sleep(0.5)
    for name in ENDED_FOR_GOOD:
        pressed(lambda dag_id=f"deadline_{name}": local_airflow.clear(dag_id, RUN, ["make"]))
    for name in ENDED_FOR_GOOD:
        assert local_airflow.wait_run(f"deadline_{name}", RUN) == "success"
    return found


def pressed(button: Callable[[], Any], again: int | None = None) -> None:
    """Press a button as a user does: again, where Airflow's sqlite was busy (it answers 500 then).

    :param again: what is answered the second time, where the first one was carried out all the same.
    """
    until = time.monotonic() + 60
    pressed_before = False
    while True:
        try:
            button()
            return
        except AirflowApiError as error:
            if pressed_before and error.status == again:
                return
            if error.status < 500 or time.monotonic() > until:
                raise
            pressed_before = True
            time.sleep(1)


def paid_once_and_landed(airflow: LocalAirflow, emulator: EmulatorProcess, name: str) -> str:
    """Check the end of a case, and return the id of its one generation."""
    (generation,) = generations(emulator, f"deadline: {name}")
    assert generation["posts"] == 1
    assert generation["charged_usd"] > 0
    result = airflow.xcom(f"deadline_{name}", RUN, "make")
    assert result["generation_id"] == generation["id"]
    check_landed(result)
    return str(generation["id"])


@pytest.mark.parametrize("name", RETRIED)
def test_a_deadline_parks_and_the_retry_lands(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: dict[str, int], name: str
) -> None:
    dag_id = f"deadline_{name}"
    assert local_airflow.wait_run(dag_id, RUN) == "success"
    assert local_airflow.task_instance(dag_id, RUN, "make")["try_number"] == 2
    generation_id = paid_once_and_landed(local_airflow, emulator_process, name)

    log = local_airflow.task_log(dag_id, RUN, "make", 1)
    assert f"Submitted generation {generation_id}" in log
    if name == "execution_in_worker":
        # Airflow's own, in the worker: it calls on_kill, which says the same.
        assert "AirflowTaskTimeout" in log
        assert f"Airflow stopped waiting for generation {generation_id}" in log
    else:
        assert re.search(
            rf"Generation {generation_id} was not finished by its deadline\. (What was .*)?It is parked", log
        )
        assert ("What passed was execution_timeout=0:00:20" in log) is (name == "execution_deferred")
    assert "APIMart has no cancel" in log or "there is no cancel" in log
    assert "re-attaches" in log

    again = local_airflow.task_log(dag_id, RUN, "make", 2)
    assert f"Generation {generation_id} is completed" in again
    assert "Submitted generation" not in again


@pytest.mark.parametrize("name", ENDED_FOR_GOOD)
def test_an_ended_wait_says_where_the_money_is_and_a_clear_lands(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, seen: dict[str, Seen], name: str
) -> None:
    before = seen[name]
    assert before.state == ENDED_FOR_GOOD[name]
    assert before.run_state == ("success" if name == "marked_success" else "failed")
    # Marked as a success it may be; a video it has not.
    assert before.xcom is None

    generation_id = paid_once_and_landed(local_airflow, emulator_process, name)
    # Said when the wait began: no code of ours is sure to run when it ends.
    assert f"generation {generation_id} was submitted. Whatever ends this wait" in before.log
    assert "re-attaches to it without paying again" in before.log
    again = local_airflow.task_log(f"deadline_{name}", RUN, "make", 2)
    assert f"Generation {generation_id} is completed" in again
    assert "Submitted generation" not in again


def test_a_clear_takes_up_the_same_wait_again(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: dict[str, int]
) -> None:
    assert local_airflow.wait_run("deadline_cleared", RUN) == "success"
    assert local_airflow.task_instance("deadline_cleared", RUN, "make")["try_number"] == 2
    generation_id = paid_once_and_landed(local_airflow, emulator_process, "cleared")
    assert f"Submitted generation {generation_id}" in local_airflow.task_log("deadline_cleared", RUN, "make", 1)
    again = local_airflow.task_log("deadline_cleared", RUN, "make", 2)
    assert f"Generation {generation_id} is completed" in again
    assert "Submitted generation" not in again


def test_a_run_that_waits_cannot_be_deleted_and_is_none_the_worse(
    local_airflow: LocalAirflow, emulator_process: EmulatorProcess, runs: dict[str, int]
) -> None:
    assert runs == {"deleted": 409}
    assert local_airflow.wait_run("deadline_deleted", RUN) == "success"
    assert local_airflow.task_instance("deadline_deleted", RUN, "make")["try_number"] == 1
    paid_once_and_landed(local_airflow, emulator_process, "deleted")
