"""What tasks have written down about generations that APIMart may have billed: from records and manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from airflow_provider_apimart.client.readers import read_money
from airflow_provider_apimart.generation.purchase.record import Record, RecordState


class Standing(StrEnum):
    """What is known about the bill of a generation."""

    #: It is completed.
    BILLED = "billed"
    #: It is or may be under way, or nobody has asked what became of it.
    OPEN = "open"
    #: It failed, or was refused.
    FREE = "free"


_RANK = {Standing.FREE: 0, Standing.OPEN: 1, Standing.BILLED: 2}


@dataclass(frozen=True)
class Entry:
    """One generation.

    :param id: its id, or the idempotency key of a submission whose answer was lost.
    :param at: when it was completed; if that is not known, when it was submitted; ``None`` if neither is.
    :param usd: what APIMart said that it cost; ``None`` if that is not known.
    :param where: who has asked for it.
    :param account: the mark of the API key that has paid; ``None`` if it is not known.
    """

    id: str
    model: str
    standing: Standing
    at: datetime | None
    usd: Decimal | None
    where: str
    account: str | None = None


_OF_RECORD = {
    RecordState.LANDED: Standing.BILLED,
    RecordState.SUBMITTED: Standing.OPEN,
    RecordState.INTENT: Standing.OPEN,
}
#: The outcomes of a manifest's rows (:class:`.Outcome`).
_OF_ROW = {
    **dict.fromkeys(("landed", "reused", "check_failed", "check_skipped", "unlanded"), Standing.BILLED),
    # Completed without a video: whether it was billed is not known.
    **dict.fromkeys(("parked", "unknown", "empty"), Standing.OPEN),
}

#: The words of notes and results.
_OF_WORD = {
    **_OF_ROW,
    "completed": Standing.BILLED,
    **dict.fromkeys(("running", "submitted", "intent"), Standing.OPEN),
}


def of_record(record: Record) -> Iterator[Entry]:
    """Yield the generation of a record, and those that it has replaced, whose costs are not known."""
    place = record.asked_by
    where = " / ".join(str(place[name]) for name in ("dag_id", "run_id", "task_id") if name in place)
    for name in ("map_index", "row"):
        if place.get(name) not in (None, -1, ""):
            where += f" [{place[name]}]"
    completed = record.state is RecordState.SUBMITTED and record.completed_at is not None
    yield Entry(
        id=record.generation_id or record.idempotency_key,
        model=record.model,
        standing=Standing.BILLED if completed else _OF_RECORD.get(record.state, Standing.FREE),
        at=record.completed_at or record.submitted_at or record.intent_at,
        usd=read_money(record.cost_usd),
        where=where,
        account=record.account,
    )
    for one in record.previous:
        yield Entry(
            id=one.generation_id or one.idempotency_key,
            model=one.model,
            standing=_OF_RECORD.get(one.state, Standing.FREE),
            at=one.submitted_at,
            usd=None,
            where=where,
        )


def of_told(told: Mapping[str, Any], where: str) -> Entry | None:
    """Return the generation that a task's note or result tells of; ``None`` if it tells of none.

    :param where: which task.
    """
    found = told.get("generation_id")
    if not isinstance(found, str) or not found:
        return None
    return Entry(
        id=found,
        model=str(told.get("model") or ""),
        standing=_OF_WORD.get(str(told.get("outcome") or told.get("status")), Standing.FREE),
        at=_time(told.get("completed_at")) or _time(told.get("submitted_at")),
        usd=read_money(told.get("cost_usd")),
        where=where,
    )


def of_line(line: Mapping[str, Any], manifest: str) -> Entry | None:
    """Return the generation of a manifest's row; ``None`` if it has none, or another row's.

    :param manifest: its path.
    """
    found = line.get("generation_id") or line.get("idempotency_key")
    if not isinstance(found, str):
        return None
    request = line.get("request")
    model = request.get("model") if isinstance(request, Mapping) else None
    return Entry(
        id=found,
        model=str(model or ""),
        standing=_OF_ROW.get(str(line.get("outcome")), Standing.FREE),
        at=_time(line.get("completed_at")) or _time(line.get("submitted_at")),
        usd=read_money(line.get("cost_usd")),
        where=f"{manifest}, row {line.get('row')}",
    )


def each_once(entries: Iterable[Entry]) -> list[Entry]:
    """Return each generation once: a record, a note and a manifest can name the same one."""
    found: dict[str, Entry] = {}
    for entry in entries:
        found[entry.id] = _both(found[entry.id], entry) if entry.id in found else entry
    return list(found.values())


def _both(one: Entry, other: Entry) -> Entry:
    """Return what two know of a generation. What a later one tells counts more than what an earlier one does."""
    more, less = (one, other) if _RANK[one.standing] >= _RANK[other.standing] else (other, one)
    # Of the rows that share a generation one has its cost, and the others say 0.
    costs = [entry.usd for entry in (one, other) if entry.usd is not None]
    return replace(
        more,
        model=more.model or less.model,
        at=more.at or less.at,
        usd=max(costs, default=None),
        account=more.account or less.account,
    )


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
