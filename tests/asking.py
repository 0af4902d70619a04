"""A person in front of a real Airflow: waits until they are asked, and answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from airflow_provider_apimart.emulator.server import EmulatorProcess
from dev.local_airflow import LocalAirflow

#: The id of the runs in which somebody is asked.
RUN = "approval"
#: Airflow 3.3 waits without a triggerer.
WAITING = ("awaiting_input", "deferred")
#: As a deferral has to last (see ``emulator_process``).
LEAST_WAIT_SECONDS = 12


def wait_for_question(airflow: LocalAirflow, dag_id: str, task_id: str, map_index: int = -1, takes: int = 1) -> None:
    """Wait until the person is asked."""

    def asked() -> bool:
        # (A mapped task instance is not there before the task is expanded.)
        states = {(each["task_id"], each["map_index"]): each["state"] for each in airflow.task_instances(dag_id, RUN)}
        if states.get((task_id, map_index)) not in WAITING:
            return False
        told = airflow.xcom(dag_id, RUN, task_id, key="approval", map_index=map_index)
        return told is not None and told["state"] == "asked" and told.get("takes", 1) == takes

    wait_until(asked)


def wait_until(true: Callable[[], bool], seconds: float = 240) -> None:
    """Wait until something is true."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"still not, after {seconds:g} s"
        time.sleep(0.5)


def answer(airflow: LocalAirflow, dag_id: str, task_id: str, option: str, map_index: int = -1, **fields: Any) -> None:
    """Answer as Airflow's own page does, through its API; see :func:`answer_by`."""
    path = f"dags/{dag_id}/dagRuns/{RUN}/taskInstances/{quote(task_id)}/{map_index}/hitlDetails"
    body = {"chosen_options": [option], "params_input": fields}
    answer_by(lambda: airflow.api("PATCH", path, body), airflow, dag_id, task_id, map_index)


def answer_by(
    press: Callable[[], object], airflow: LocalAirflow, dag_id: str, task_id: str, map_index: int = -1
) -> None:
    """Answer as a person does: not at once, and again if asked again.

    If the answer comes before the scheduler has read that the task has begun to wait, Airflow takes the task for failed
    (3.3.2); its retry asks again.

    :param press: gives the answer.
    """

    def told() -> dict[str, Any]:
        found = airflow.xcom(dag_id, RUN, task_id, key="approval", map_index=map_index)
        return found or {"state": "not yet", "told_at": ""}

    for _ in range(3):
        asked = told()
        wait_until(lambda asked=asked: age(asked["told_at"]) > LEAST_WAIT_SECONDS)
        press()
        wait_until(lambda asked=asked: told()["told_at"] > asked["told_at"])
        now = told()
        if now["state"] != "asked" or now.get("takes") != asked.get("takes"):
            return
        wait_for_question(airflow, dag_id, task_id, map_index, now.get("takes", 1))
    raise AssertionError(f"{dag_id}.{task_id}[{map_index}] asks again and again")


def age(told_at: str) -> float:
    """Return how long ago something was told, in seconds."""
    return (datetime.now(UTC) - datetime.fromisoformat(told_at)).total_seconds()


def posted(emulator: EmulatorProcess, kind: str) -> list[dict[str, Any]]:
    """Return the messages of one DAG that had an effect at the receiver."""
    messages = [message["content"] for message in emulator.publishing()["webhook"]]
    return [content for content in messages if content.get("type") == kind]
