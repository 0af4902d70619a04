"""Where records are kept: Airflow 3.3's task state store, else an object beside ``output_path``, else nowhere, and
said so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.generation.identity import Identity
from airflow_provider_apimart.generation.record import NoRecordStore, Record, RecordStore, read_record
from airflow_provider_apimart.generation.storage import Target, commit_bytes, read_small

log = logging.getLogger(__name__)

STATE_KEY = "apimart_veo_generation"
RECORD_FOLDER = ".apimart-records"
#: Far above what a record can hold: one that is not read at all would look like "nothing was paid".
MAX_RECORD_BYTES = 64 * 1024 * 1024


class TaskStateRecordStore:
    """The record in Airflow's task state store, which outlives retries, crashes and clears (Airflow 3.3 and later).

    It lives as long as the DAG run: a record that expired earlier would let a late clear pay again.
    """

    durable = True

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor
        self.description = f"Airflow's task state store (key {STATE_KEY})"

    def load(self) -> Record | None:
        """Return the record of this task instance."""
        data = self._accessor.get(STATE_KEY)
        return None if data is None else read_record(data, self.description)

    def save(self, record: Record) -> None:
        """Keep the record of this task instance."""
        from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]

        self._accessor.set(STATE_KEY, record.model_dump(mode="json"), retention=NEVER_EXPIRE)


class ObjectRecordStore:
    """The record as a small JSON object beside ``output_path``, for Airflow 3.1 and 3.2."""

    durable = True

    def __init__(self, output: Target, identity: Identity) -> None:
        folder = output if output.is_folder else output.sibling("")
        self._target = folder.child(RECORD_FOLDER).child(f"{identity.slug}.json")
        self.description = self._target.uri

    def load(self) -> Record | None:
        """Return the record of this task instance."""
        data = read_small(self._target, MAX_RECORD_BYTES)
        return None if data is None else read_record(data, self.description)

    def save(self, record: Record) -> None:
        """Keep the record of this task instance."""
        commit_bytes(self._target, record.model_dump_json(indent=1).encode())


def record_store(context: Mapping[str, Any], output: Target | None, identity: Identity) -> RecordStore:
    """Return the best store that there is, and say once what is not protected where there is none."""
    accessor = context.get("task_state_store")
    if accessor is not None:
        return TaskStateRecordStore(accessor)
    if output is not None:
        return ObjectRecordStore(output, identity)
    log.warning(
        "This Airflow has no task state store (3.3 has) and the task no output_path, so no record outlives this try: "
        "for 24 "
        "hours a retry finds a paid generation through its idempotency key; a later retry, or a clear, would pay again."
    )
    return NoRecordStore("nowhere: no task state store and no output_path")
