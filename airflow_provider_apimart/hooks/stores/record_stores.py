"""Where records are kept: Airflow 3.3's task state store, else an object beside ``output_path``, else nowhere.

If records are kept nowhere, the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.record import (
    NoRecordStore,
    Record,
    RecordStore,
    SharedRecordStore,
    read_record,
)
from airflow_provider_apimart.hooks.stores.model_stores import (
    MAX_RECORD_BYTES,
    RECORD_FOLDER,
    ObjectModelStore,
    RowModelStore,
    TaskStateModelStore,
)
from airflow_provider_apimart.storage.files import Target, read_small, storage_errors

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.landing.reconcile import Kept

log = logging.getLogger(__name__)

#: Airflow still works on tasks in these states, so ``reconcile`` leaves their generations to them.
BUSY_STATES = frozenset(
    {"scheduled", "queued", "running", "restarting", "up_for_retry", "up_for_reschedule", "deferred"}
)
STATE_KEY = "apimart_veo_generation"
#: Posts and approvals keep their records in the same folder.
POST_SUFFIX = ".post.json"
APPROVAL_SUFFIX = ".approval.json"


class TaskStateRecordStore(TaskStateModelStore[Record]):
    """The record in Airflow's task state store (Airflow 3.3 and later)."""

    def __init__(self, accessor: Any) -> None:
        super().__init__(accessor, STATE_KEY, read_record)


class ObjectRecordStore(ObjectModelStore[Record]):
    """The record as a small JSON object beside ``output_path``, for Airflow 3.1 and 3.2."""

    def __init__(self, output: Target, identity: Identity) -> None:
        folder = output if output.is_folder else output.sibling("")
        super().__init__(folder.child(RECORD_FOLDER).child(f"{identity.slug}.json"), read_record)

    @classmethod
    def at(cls, target: Target) -> ObjectRecordStore:
        """Return the store of a record that ``reconcile`` has found."""
        store = cls.__new__(cls)
        ObjectModelStore.__init__(store, target, read_record)
        return store


class RowRecordStore(RowModelStore[Record]):
    """The record in a row of Airflow's task state store, used outside a task by ``reconcile`` on Airflow 3.3."""

    def __init__(self, row_id: int, description: str) -> None:
        super().__init__(row_id, description, read_record)


def records_of_airflow(dag_id: str | None = None) -> Iterator[Kept]:
    """Yield the records in Airflow's metadata database (3.3 and later), with the states of their task instances."""
    for row, state in rows_of_airflow(STATE_KEY, dag_id, parts=True):
        place = f"{row.dag_id}/{row.run_id}/{row.task_id}[{row.map_index}]"
        store = RowRecordStore(row.id, f"task state store of {place}")
        busy = str(state) if state in BUSY_STATES else ""
        yield _kept(store, row.value, busy)


def rows_of_airflow(key: str, dag_id: str | None = None, *, parts: bool = False) -> list[tuple[Any, Any]]:
    """Return the rows of the task state store (3.3 and later) with this key, and the states of their task instances.

    :param parts: also the keys that begin with this one and a dot: the further takes of an approval.
    :raises ImportError: before Airflow 3.3.
    """
    from airflow.models.task_state_store import TaskStateStoreModel as Row
    from airflow.models.taskinstance import TaskInstance as TI
    from airflow.utils.session import create_session
    from sqlalchemy import and_, or_, select

    on = and_(
        TI.dag_id == Row.dag_id, TI.run_id == Row.run_id, TI.task_id == Row.task_id, TI.map_index == Row.map_index
    )
    wanted = or_(Row.key == key, Row.key.startswith(f"{key}.", autoescape=True)) if parts else Row.key == key
    query = select(Row, TI.state).join(TI, on, isouter=True).where(wanted).order_by(Row.id)
    if dag_id is not None:
        query = query.where(Row.dag_id == dag_id)
    with create_session() as session:
        found = [(row, state) for row, state in session.execute(query)]
        session.expunge_all()
    return found


def records_in_folder(folder: Target) -> Iterator[Kept]:
    """Yield the records beside an ``output_path`` (Airflow 3.1 and 3.2).

    :raises ConfigurationError: if the folder does not exist.
    :raises LandingError: if its storage does not answer.
    """
    for target in paths_of_records(folder):
        if not target.name.endswith((POST_SUFFIX, APPROVAL_SUFFIX)):
            yield from _kept_in(ObjectRecordStore.at(target))


def paths_of_records(folder: Target) -> list[Target]:
    """Return the places of all records beside an ``output_path``, of generations, posts and approvals.

    :raises ConfigurationError: if the folder does not exist.
    :raises LandingError: if its storage does not answer.
    """
    home = folder if folder.name == RECORD_FOLDER else folder.child(RECORD_FOLDER)
    with storage_errors(folder, "read"):
        if not folder.fs.isdir(folder.path.rstrip("/") or "/"):
            raise ConfigurationError(f"{folder.uri} does not exist, or is no folder")
        try:
            # Not a glob, because the folder's own name may hold a pattern's special characters.
            paths = folder.fs.ls(home.path.rstrip("/"), detail=False)
        except FileNotFoundError:
            paths = []
    names = sorted(str(path).rpartition("/")[2] for path in paths)
    return [home.child(name) for name in names if name.endswith(".json")]


def _kept_in(store: ObjectRecordStore) -> Iterator[Kept]:
    from airflow_provider_apimart.generation.landing.reconcile import Kept

    try:
        data = read_small(store.target, MAX_RECORD_BYTES)
    except ApimartError as error:
        yield Kept(store, None, problem=str(error))
        return
    if data is not None:
        yield _kept(store, data)


def _kept(store: SharedRecordStore, data: Any, busy: str = "") -> Kept:
    # Loaded here: who looks for records that were left behind needs it, and no task does.
    from airflow_provider_apimart.generation.landing.reconcile import Kept

    try:
        return Kept(store, read_record(data, store.description), busy)
    except ApimartError as error:
        return Kept(store, None, busy, str(error))


def record_store(context: Mapping[str, Any], output: Target | None, identity: Identity) -> RecordStore:
    """Return the best available store. If there is none, log what is not protected."""
    accessor = context.get("task_state_store")
    if accessor is not None:
        return TaskStateRecordStore(accessor)
    if output is not None:
        return ObjectRecordStore(output, identity)
    log.warning(
        "This Airflow has no task state store (3.3 has) and the task no output_path, so no record outlives this try: "
        "for 24 hours a retry finds a paid generation through its idempotency key; a later retry, or a clear, would "
        "pay again."
    )
    return NoRecordStore("nowhere: no task state store and no output_path")
