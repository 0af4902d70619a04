"""A person at Airflow's desk: what an approval needs of Airflow, and the life of one task from question to end.

``Desk`` answers as Airflow's API does: it keeps the first form of a task instance for good, and a new question takes
the last answer away. Every part of the task's life gets a new operator, as a new process would.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_apimart._compat import AirflowFailException, AirflowSkipException
from airflow_provider_apimart.operators.approval.asking import AskingOperator
from tests.operators.conftest import FakeTaskInstance, Tries
from tests.operators.single import run_trigger

try:
    from airflow.sdk.exceptions import TaskAwaitingInput
except ImportError:  # before Airflow 3.3

    class TaskAwaitingInput(BaseException):  # type: ignore[no-redef]
        """Never raised there."""


ADA = {"id": "7", "name": "Ada"}
HITL = "airflow.providers.standard.operators.hitl"


class Ti(FakeTaskInstance):
    """A task instance with XComs."""

    id = "00000000-0000-0000-0000-000000000001"

    def __init__(self, task_id: str, try_number: int, max_tries: int, xcoms: dict[str, Any]) -> None:
        super().__init__(task_id, try_number, max_tries)
        self.xcoms = xcoms

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep JSON, as Airflow does."""
        self.xcoms[key] = json.loads(json.dumps(value))


class Desk:
    """One task instance.

    :param make: returns a new operator.
    """

    def __init__(self, make: Callable[[], AskingOperator], monkeypatch: pytest.MonkeyPatch, *, store: bool) -> None:
        self.make, self.monkeypatch, self.store = make, monkeypatch, store
        self.tries = Tries()
        self.xcoms: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.form: dict[str, Any] | None = None
        self.deferral: Any = None
        self.context: dict[str, Any] = {}
        self.operator: AskingOperator | None = None
        monkeypatch.setattr(f"{HITL}.upsert_hitl_detail", self._upsert)

    def _upsert(self, **detail: Any) -> None:
        self.asked.append(json.loads(json.dumps(detail)))
        self.form = self.form or self.asked[-1]

    @property
    def last(self) -> dict[str, Any]:
        """What was asked last."""
        return self.asked[-1]

    @property
    def told(self) -> dict[str, Any]:
        """The XCom about how it stands."""
        return dict(self.xcoms["approval"])

    def begin(self) -> Any:
        """Run the next try."""
        self.xcoms.clear()
        self.operator = self.make()
        self.context = self.tries.next(self.operator, store=self.store)
        self.context = self._with_xcoms(self.context)
        return self._part(lambda operator: operator.execute(self.context), self.operator)

    def clear(self) -> Any:
        """Clear the task, and run it."""
        self.tries.clear()
        return self.begin()

    def answer(self, option: str, by: dict[str, str] | None = ADA, **params: Any) -> Any:
        """Answer, and run what comes next."""
        assert self.form is not None
        assert option in self.form["options"]
        event = {
            "chosen_options": [option],
            "params_input": params,
            "responded_at": datetime.now(UTC),
            "responded_by_user": by,
        }
        return self.resume(event)

    def resume(self, event: Any) -> Any:
        """Resume with an event of Airflow's."""
        return self._part(lambda operator: operator.execute_complete(self.context, event))

    def take(self, event: Any = None) -> Any:
        """Let the triggerer wait for the take that is under way, and resume."""
        deferral = self.deferral
        assert deferral.method_name == "take_complete"
        told = event or run_trigger(deferral.trigger, self.monkeypatch)
        kwargs = json.loads(json.dumps(deferral.kwargs))
        return self._part(lambda operator: operator.take_complete(self.context, event=told, **kwargs))

    def _part(self, run: Callable[[AskingOperator], Any], operator: AskingOperator | None = None) -> Any:
        self.operator = operator or self.make()
        self.context["task"] = self.operator
        try:
            return run(self.operator)
        except TaskAwaitingInput:
            return "asked"
        except TaskDeferred as deferral:
            if deferral.method_name == "execute_complete":
                return "asked"
            self.deferral = deferral
            return "take under way"
        except AirflowSkipException as error:
            return f"skipped: {error}"
        except AirflowFailException as error:
            return f"failed: {error}"

    def _with_xcoms(self, context: dict[str, Any]) -> dict[str, Any]:
        ti = context["ti"]
        ti = Ti(ti.task_id, ti.try_number, ti.max_tries, self.xcoms)
        return {**context, "ti": ti, "task_instance": ti}


def decisions(path: str) -> list[dict[str, Any]]:
    """Return what is written beside a video."""
    file = Path(f"{path}.decision.json")
    return list(json.loads(file.read_text())["decisions"]) if file.exists() else []
