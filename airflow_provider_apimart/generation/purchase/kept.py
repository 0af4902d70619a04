"""The record of a task as this try knows it, beside what other tries of the same task write."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.purchase.decide import Decision
from airflow_provider_apimart.generation.purchase.record import Record, RecordStore
from airflow_provider_apimart.generation.purchase.transitions import settled

if TYPE_CHECKING:
    from airflow_provider_apimart.generation.purchase.spending import Spending

log = logging.getLogger(__name__)

#: A record that was read so recently is not read again before the intent is saved. Another try that saves in between
#: computes the same key, so nothing is paid twice.
FRESH_SECONDS = 0.5


class KeptRecord:
    """What the store holds as far as this try knows. Any other content was written by another try."""

    def __init__(self, store: RecordStore) -> None:
        self.store = store
        self.known: Record | None = None
        # When it was read, on a monotonic clock.
        self._read_at = -math.inf

    def load(self) -> Record | None:
        """Read the record."""
        self.known = self.store.load()
        self._read_at = time.monotonic()
        return self.known

    def save(self, record: Record) -> None:
        """Write the record, whatever the store holds."""
        self.store.save(record)
        self.known = record

    def save_if_unchanged(self, record: Record) -> bool:
        """Write the record, unless another try has written its own meanwhile. Return whether it is written."""
        unchanged = self.store.load() == self.known
        if unchanged:
            self.save(record)
        return unchanged

    def was_just_read(self) -> bool:
        """Return whether a second look may be left out."""
        return time.monotonic() - self._read_at < FRESH_SECONDS

    def from_another_try(self) -> Record | None:
        """Return the record of another try that has replaced the known one; from now on it is the known one.

        A record that was deleted was deleted on purpose, and counts as unchanged.
        """
        current = self.store.load()
        if current is None or current == self.known:
            return None
        log.warning("Another try of this task has written its record meanwhile: deciding anew.")
        self.known = current
        return current


def settle(
    store: RecordStore, record: Record, view: Generation, spending: Spending | None = None
) -> tuple[Decision, Record]:
    """Save APIMart's final answer, and return what it means for the try that waited for it.

    :param spending: the budget that is told what it has cost.
    """
    decision, record = settled(record, view)
    if spending is not None:
        spending.settle(record)
    keep(store, record)
    return decision, record


def keep(store: RecordStore, record: Record) -> None:
    """Save the outcome of a generation, unless the record belongs to another generation by now: an old try that
    finishes late must not make the store forget what a newer try has paid for.
    """
    current = store.load()
    if current is None or current.idempotency_key == record.idempotency_key:
        store.save(record)
        return
    log.warning(
        "The record of generation %s was replaced meanwhile by that of %s, which stays.",
        record.generation_id,
        current.generation_id or f"the one under key {current.idempotency_key}",
    )
