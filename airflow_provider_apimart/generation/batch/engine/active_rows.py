"""Rows in progress, and rows that wait until they are due."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from airflow_provider_apimart.client.models import Generation
from airflow_provider_apimart.generation.batch.plan import PlannedRow
from airflow_provider_apimart.generation.purchase.record import Record
from airflow_provider_apimart.generation.purchase.settling import Settling


@dataclass(slots=True, eq=False)
class Active:
    """A row in progress. Times are unix seconds.

    :param doubtful: a submission under its key may have been carried out.
    :param first_sent: when this process first tried to submit it.
    :param failing_since: when its polls began to fail (on the account's clock), if the last poll failed.
    :param settling: what has been observed since APIMart said "completed" without a video.
    :param last_word: what was unusual about APIMart's last answer.
    :param period: the budget's period that it is paid in, and what it counts as there.
    :param at_work: seconds after the submission at which it was last seen running.
    """

    row: PlannedRow
    slot: str
    record: Record
    doubtful: bool = False
    failures: int = 0
    first_sent: float | None = None
    failing_since: float | None = None
    at_work: float = 0.0
    asked: bool = False
    view: Generation | None = None
    settling: Settling | None = None
    last_word: str = ""
    period: str = ""
    counted: Decimal = Decimal(0)

    @property
    def submitted(self) -> float:
        """When it was submitted."""
        return (self.record.submitted_at or self.record.intent_at).timestamp()


@dataclass(frozen=True, slots=True)
class Todo:
    """A row whose next generation has yet to be paid for.

    :param fallback: by the fallback model.
    """

    position: int
    epoch: int
    number: int
    fallback: bool = False


@dataclass
class Due:
    """Rows ordered by due time."""

    heap: list[tuple[float, int, Active]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def push(self, when: float, active: Active) -> None:
        """Add a row."""
        heapq.heappush(self.heap, (when, next(self._order), active))

    def pop(self, now: float) -> Active | None:
        """Take the first row if it is due."""
        return heapq.heappop(self.heap)[2] if self.heap and self.heap[0][0] <= now else None

    def clear(self) -> list[tuple[float, Active]]:
        """Take all rows, and return them with the times at which they were due."""
        taken, self.heap = self.heap, []
        return [(when, active) for when, _, active in taken]

    def __len__(self) -> int:
        return len(self.heap)
