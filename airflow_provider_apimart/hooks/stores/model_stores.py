"""Keeps one record (a pydantic model) in Airflow's task state store, in an object in storage or in an Airflow Variable.

What the generations' records (:mod:`.record_stores`) and the posts' (:mod:`.post_stores`) have in common. A ``load``
that fails raises: "no record" would mean "nothing was paid" or "nothing was posted".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.storage.files import Target, commit_bytes, exclusive, read_small

M = TypeVar("M", bound=BaseModel)

#: Reads a record from an object or its JSON text; the second argument says where it lies, for messages.
Reader = Callable[[Any, str], M]

RECORD_FOLDER = ".apimart-records"
#: Far above the size of any record, because a record that is too large to read would look like "nothing was done".
MAX_RECORD_BYTES = 64 * 1024 * 1024
#: A variable that is always there, for Airflow before 3.3.
WITNESS = "apimart_post:witness"


class RecordUnavailableError(ApimartError):
    """The place where a record is kept does not answer. Nothing was sent."""

    charge = Charge.NO


class TaskStateModelStore(Generic[M]):
    """A record in Airflow's task state store, which outlives retries, crashes and clears (Airflow 3.3 and later).

    The record is kept as long as the DAG run. If it expired earlier, a late clear would do everything again.
    """

    durable = True

    def __init__(self, accessor: Any, key: str, read: Reader[M]) -> None:
        self._accessor = accessor
        self._key = key
        self._read = read
        self.description = f"Airflow's task state store (key {key})"

    def load(self) -> M | None:
        """Return the record of this task instance."""
        data = self._accessor.get(self._key)
        return None if data is None else self._read(data, self.description)

    def save(self, record: M) -> None:
        """Keep the record of this task instance."""
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        self._accessor.set(self._key, record.model_dump(mode="json"), retention=NEVER_EXPIRE)


class ObjectModelStore(Generic[M]):
    """A record as a small JSON object in the user's storage."""

    durable = True

    def __init__(self, target: Target, read: Reader[M]) -> None:
        self.target = target
        self._read = read
        self.description = target.uri

    def load(self) -> M | None:
        """Return the record in the object."""
        data = read_small(self.target, MAX_RECORD_BYTES)
        return None if data is None else self._read(data, self.description)

    def save(self, record: M) -> None:
        """Keep the record."""
        with exclusive(self.target):
            self._write(record)

    def replace(self, old: M | None, new: M) -> bool:
        """Replace ``old`` (``None``: no record) by ``new`` if ``old`` is still there.

        On a local disk this is certain. Elsewhere a write between the check and the replacement can be lost.
        """
        with exclusive(self.target):
            if self.load() != old:
                return False
            self._write(new)
            return True

    def _write(self, record: M) -> None:
        commit_bytes(self.target, record.model_dump_json(indent=1).encode())


class RowModelStore(Generic[M]):
    """A record in a row of Airflow's task state store, used outside a task by ``reconcile`` on Airflow 3.3."""

    durable = True

    def __init__(self, row_id: int, description: str, read: Reader[M]) -> None:
        self._row_id = row_id
        self._read = read
        self.description = description

    def load(self) -> M | None:
        """Return the record of this row."""
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.utils.session import create_session

        with create_session() as session:
            row = session.get(TaskStateStoreModel, self._row_id)
            return None if row is None else self._read(json.loads(row.value), self.description)

    def save(self, record: M) -> None:
        """Keep the record in this row. If the row was deleted with its DAG run, nothing is kept."""
        from airflow.models.task_state_store import TaskStateStoreModel
        from airflow.utils.session import create_session

        with create_session() as session:
            row = session.get(TaskStateStoreModel, self._row_id)
            if row is not None:
                row.value = json.dumps(record.model_dump(mode="json"))
                row.updated_at = datetime.now(UTC)

    def replace(self, old: M, new: M) -> bool:
        """Replace ``old`` by ``new`` if ``old`` is still in the row.

        One conditional statement does both, so no write between them is lost.
        """
        from airflow.models.task_state_store import TaskStateStoreModel as Row
        from airflow.utils.session import create_session
        from sqlalchemy import select, update

        with create_session() as session:
            text = session.scalar(select(Row.value).where(Row.id == self._row_id))
            if text is None or self._read(text, self.description) != old:
                return False
            value = json.dumps(new.model_dump(mode="json"))
            changed = session.execute(
                update(Row)
                .where(Row.id == self._row_id, Row.value == text)
                .values(value=value, updated_at=datetime.now(UTC))
                .execution_options(synchronize_session=False)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]


class VariableModelStore(Generic[M]):
    """A record in an Airflow Variable, which outlives DAG runs.

    "There is no such variable" has to be certain, and from Airflow it is not: ``Variable.get`` on the worker, and the
    API server itself, say so as well when their database does not answer. So the supervisor is asked without
    ``Variable.get``, and its "no" has to be confirmed: by the list of names, which Airflow 3.3 reads without that
    detour, or, before 3.3, by another variable that is found between two of these answers.
    """

    durable = True

    def __init__(self, key: str, read: Reader[M], about: str) -> None:
        self._key = key
        self._read = read
        self._about = about
        self.description = f"the Airflow Variable {key}"

    def load(self) -> M | None:
        """Return the record in the variable.

        :raises RecordUnavailableError: if Airflow does not say for certain whether there is one.
        """
        text = self._value(self._key)
        if text is None:
            self._confirm_absence()
            return None
        return self._read(text, self.description)

    def save(self, record: M) -> None:
        """Keep the record in the variable."""
        self._put(self._key, record.model_dump_json(), self._about)

    def _confirm_absence(self) -> None:
        from airflow.sdk.execution_time import comms

        if hasattr(comms, "GetVariableKeys"):
            answer = self._ask(comms.GetVariableKeys(prefix=self._key, limit=1))
            if not isinstance(answer, comms.VariableKeysResult):
                raise self._unavailable(f"{answer}")
            if self._key in answer.keys:
                raise self._unavailable("it lists the variable, but does not give it")
            return
        if self._value(WITNESS) is None:
            self._put(WITNESS, "found", "Shows that variables can be read: see the docs of the provider of APIMart.")
            if self._value(WITNESS) is None:
                raise self._unavailable("it does not give a variable that was just written")
        if self._value(self._key) is not None:
            raise self._unavailable("it gives the variable at one time and not at another")

    def _value(self, key: str) -> str | None:
        """Return a variable's text, or ``None`` if Airflow says that there is none."""
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

        answer = self._ask(GetVariable(key=key))
        if isinstance(answer, VariableResult):
            return answer.value
        if isinstance(answer, ErrorResponse) and answer.error is ErrorType.VARIABLE_NOT_FOUND:
            return None
        raise self._unavailable(f"{answer}")

    def _put(self, key: str, text: str, about: str) -> None:
        from airflow.sdk.execution_time.comms import ErrorResponse, PutVariable

        answer = self._ask(PutVariable(key=key, value=text, description=about))
        if isinstance(answer, ErrorResponse):
            raise self._unavailable(f"{answer}")

    def _ask(self, message: Any) -> Any:
        from airflow.sdk.execution_time import task_runner

        try:
            return task_runner.SUPERVISOR_COMMS.send(message)
        except Exception as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error

    def _unavailable(self, why: str) -> RecordUnavailableError:
        return RecordUnavailableError(
            f"{self.description} holds what is known about this post, and Airflow does not answer ({why})"
        )
