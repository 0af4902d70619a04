"""One try's view of the post record: nothing that another try has written is lost without notice.

Where the store can replace a record only if it is still the same one, two tries cannot both do so. Elsewhere the record
is read right before it is saved, and what another try writes between the two is overwritten.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol, runtime_checkable

from airflow_provider_apimart.publishing.record import PostRecord, PostStore

log = logging.getLogger(__name__)


@runtime_checkable
class ComparingPostStore(Protocol):
    """A store with a compare-and-swap."""

    def replace(self, old: PostRecord | None, new: PostRecord) -> bool:
        """Replace ``old`` (``None``: no record) by ``new`` if ``old`` is still there; return whether it was."""
        ...


class Kept:
    """The record as this try knows it."""

    def __init__(self, store: PostStore) -> None:
        self.store = store
        #: What the store holds as far as this try knows. Any other content was written by another try.
        self.record: PostRecord | None = None

    def load(self) -> PostRecord | None:
        """Read the record."""
        self.record = self.store.load()
        return self.record

    def save_unless_changed(self, record: PostRecord) -> bool:
        """Save ``record``, unless another try has written meanwhile: then take over what it has written."""
        current = self._put(self.record, record)
        if current is None:
            return True
        log.warning("Another try of this task has written its record meanwhile: deciding anew.")
        self.record = current
        return False

    def save_public(self, record: PostRecord) -> None:
        """Save that something is public, and keep what another try has written meanwhile."""
        mine = self.record
        current = self._put(mine, record)
        while current is not None:
            current = self._put(current, record.beside(current))

    def add(self, record: PostRecord, **changes: Any) -> PostRecord:
        """Save ``record`` with ``changes``, unless another try has got further or has begun another post meanwhile."""
        changed = record.but(**changes)
        self._put(record, changed)
        return changed

    def _put(self, expected: PostRecord | None, record: PostRecord) -> PostRecord | None:
        """Save ``record`` if the store holds ``expected`` or nothing; else return what it holds."""
        current = self.store.load()
        if current is not None and current != expected:
            return current
        if not isinstance(self.store, ComparingPostStore):
            self.store.save(record)
        elif not self.store.replace(current, record):
            # Written between the two lines above.
            return self._put(expected, record)
        self.record = record
        return None
