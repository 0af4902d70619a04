"""Finds post records wherever they are kept: the task state store, beside videos, and Variables (posts with a key)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.hooks.stores.model_stores import MAX_RECORD_BYTES, WITNESS
from airflow_provider_apimart.hooks.stores.post_stores import STATE_KEY, VARIABLE_PREFIX
from airflow_provider_apimart.hooks.stores.record_stores import (
    BUSY_STATES,
    POST_SUFFIX,
    paths_of_records,
    rows_of_airflow,
)
from airflow_provider_apimart.publishing.record import PostRecord, read_post_record
from airflow_provider_apimart.storage.files import Target, read_small


@dataclass(frozen=True)
class KeptPost:
    """A record, and where it was found.

    :param record: ``None`` if it cannot be read; then ``problem`` says why.
    :param busy: the state of a task that Airflow is still working on, else empty.
    """

    place: str
    record: PostRecord | None
    busy: str = ""
    problem: str = ""


def posts_of_airflow(dag_id: str | None = None) -> Iterator[KeptPost]:
    """Yield the records in Airflow's metadata database: of tasks (3.3 and later), and of posts with a key."""
    for row, state in rows_of_airflow(STATE_KEY, dag_id):
        place = f"task state store of {row.dag_id}/{row.run_id}/{row.task_id}[{row.map_index}]"
        yield _kept(place, row.value, str(state) if state in BUSY_STATES else "")


def posts_of_variables(dag_id: str | None = None) -> Iterator[KeptPost]:
    """Yield the records of posts with a key."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(Variable).where(Variable.key.startswith(VARIABLE_PREFIX)).order_by(Variable.key)
        found = [(str(each.key), each.val) for each in session.scalars(query)]
    for key, value in found:
        if key == WITNESS:
            continue
        kept = _kept(f"Variable {key}", value)
        if dag_id is None or (kept.record and kept.record.asked_by.get("dag_id") == dag_id):
            yield kept


def posts_in_folder(folder: Target) -> Iterator[KeptPost]:
    """Yield the records beside videos (Airflow 3.1 and 3.2).

    :raises ConfigurationError: if the folder does not exist.
    :raises LandingError: if its storage does not answer.
    """
    for target in paths_of_records(folder):
        if target.name.endswith(POST_SUFFIX):
            try:
                data = read_small(target, MAX_RECORD_BYTES)
            except ApimartError as error:
                yield KeptPost(target.uri, None, problem=str(error))
                continue
            if data is not None:
                yield _kept(target.uri, data)


def _kept(place: str, data: Any, busy: str = "") -> KeptPost:
    try:
        return KeptPost(place, read_post_record(data, place), busy)
    except ApimartError as error:
        return KeptPost(place, None, busy, str(error))
