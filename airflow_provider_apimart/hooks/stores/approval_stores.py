"""Where an approval keeps its case, and where a further take keeps the record of its generation.

Airflow 3.3's task state store, else an object beside the video. One of the two is always there: what a person decides
about is in storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.generation.purchase.record import RecordStore, read_record
from airflow_provider_apimart.hooks.stores.model_stores import RECORD_FOLDER, ObjectModelStore, TaskStateModelStore
from airflow_provider_apimart.hooks.stores.record_stores import APPROVAL_SUFFIX, STATE_KEY, ObjectRecordStore
from airflow_provider_apimart.publishing.approval.case import Case, read_case
from airflow_provider_apimart.publishing.approval.sheet import Sheet, read_sheet
from airflow_provider_apimart.storage.files import Target

K = TypeVar("K", bound=BaseModel)

CASE_KEY = "apimart_approval"


class KeptStore(Protocol[K]):
    """Keeps what is known about one question. A ``load`` that fails must raise: "nothing" means "nothing was asked, and
    nothing paid".
    """

    def load(self) -> K | None:
        """Return what is kept, or ``None`` if there is nothing."""
        ...

    def save(self, record: K) -> None:
        """Keep it, replacing any other."""
        ...


def case_store(context: Mapping[str, Any], video: Target, identity: Identity) -> KeptStore[Case]:
    """Return the store of a task instance's case.

    :param video: the first video that is asked about.
    """
    return _store(context, video, identity, "", read_case)


def sheet_store(context: Mapping[str, Any], video: Target, identity: Identity) -> KeptStore[Sheet]:
    """Return the store of a task instance's sheet.

    :param video: the first video that is asked about.
    """
    return _store(context, video, identity, "sheet", read_sheet)


def _store(
    context: Mapping[str, Any], video: Target, identity: Identity, kind: str, read: Callable[[Any, str], K]
) -> KeptStore[K]:
    accessor = context.get("task_state_store")
    if accessor is not None:
        return TaskStateModelStore(accessor, f"{CASE_KEY}.{kind}" if kind else CASE_KEY, read)
    name = f"{replace(identity, row=kind).slug}{APPROVAL_SUFFIX}"
    return ObjectModelStore(video.sibling(RECORD_FOLDER).child(name), read)


def take_identity(identity: Identity, take: int, sha256: str) -> Identity:
    """Return who pays for a take: the same in every try, another one for every take of every video.

    :param sha256: of the video that was asked about first.
    """
    return replace(identity, row=f"take {take} of {sha256[:16]}")


def take_store(context: Mapping[str, Any], output: Target, identity: Identity) -> RecordStore:
    """Return the store of a take's record.

    :param output: where the take goes.
    :param identity: as :func:`take_identity` gives it.
    """
    accessor = context.get("task_state_store")
    if accessor is not None:
        return TaskStateModelStore(accessor, f"{STATE_KEY}.{identity.row}", read_record)
    return ObjectRecordStore(output, identity)
