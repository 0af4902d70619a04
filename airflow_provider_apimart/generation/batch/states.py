"""What is known about each row of a batch: the lines of the journal, and the state that they add up to.

A line describes one step of one row. Lines come from several writers (a try, its trigger, a restarted trigger) and are
merged by their content, not by the order in which they are read: a later generation of a row takes precedence over an
earlier one, and within a generation the later state does. So the result is the same if two writers work at once, a line
is read twice, or a folder is read in any order.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from airflow_provider_apimart.generation.purchase.record import LandedVideo, Record, RecordState, note_of


class Outcome(StrEnum):
    """The outcome of a row, as users see it."""

    #: Its videos are in storage.
    LANDED = "landed"
    #: The same request was landed under the same root before. Nothing was paid.
    REUSED = "reused"
    #: Its videos are in storage, and fail the check that the batch asks for. Paid for, and not paid for again.
    CHECK_FAILED = "check_failed"
    #: The same, for rules whose verdict is "skip": what comes after leaves the row out.
    CHECK_SKIPPED = "check_skipped"
    #: APIMart reported as many failures as the batch allows a row. Not charged.
    FAILED = "failed"
    #: APIMart refused the content. Not charged.
    REJECTED = "rejected"
    #: APIMart refused the request (400 and the like). Not charged.
    REFUSED = "refused"
    #: APIMart has the row's model no longer. Not charged.
    MODEL_GONE = "model_gone"
    #: Completed without a video.
    EMPTY = "empty"
    #: Not finished by its deadline. It keeps running at APIMart, and the next try re-attaches.
    PARKED = "parked"
    #: Paid for, but not in storage.
    UNLANDED = "unlanded"
    #: It is not known whether the submission was carried out.
    UNKNOWN = "unknown"
    #: Not started.
    LEFT = "left"

    @property
    def good(self) -> bool:
        """Whether the row has its videos, and they are good."""
        return self in (Outcome.LANDED, Outcome.REUSED)


#: The order of the states. "Lost" is a landed row whose file is gone.
_RANK = {
    RecordState.INTENT: 1,
    RecordState.REFUSED: 1,
    RecordState.SUBMITTED: 2,
    RecordState.FAILED: 3,
    RecordState.REJECTED: 3,
    RecordState.MODEL_GONE: 3,
    RecordState.LANDED: 4,
}


@dataclass(slots=True)
class RowState:
    """What is known about one row's latest generation. Times are unix seconds.

    :param at: when the line that decides was written.
    :param landed_json: the landed videos, as JSON: a batch holds this for each of its rows, and as objects it would be
        four times as large.
    :param outcome: how the row's last run ended, if that says more than its state.
    :param final: neither a retry nor a clear can change the outcome.
    :param lost: it was landed, but one of its files is gone.
    :param source: the landed row of another run whose videos this row uses.
    :param fallback_from: the model that was wanted, if this is the generation of a fallback model.
    :param fallback_model: that fallback model.
    """

    state: RecordState
    epoch: int
    number: int
    at: float
    intent_at: float | None = None
    account: str | None = None
    uploads: dict[str, str] | None = None
    uploaded_at: float | None = None
    generation_id: str | None = None
    submitted_at: float | None = None
    completed_at: float | None = None
    cost_usd: float | None = None
    note: str | None = None
    outcome: Outcome | None = None
    final: bool = False
    lost: bool = False
    landed_json: bytes | None = None
    reused: bool = False
    fallback_from: str | None = None
    fallback_model: str | None = None

    @property
    def landed(self) -> list[dict[str, Any]] | None:
        """The landed videos, as the journal has them."""
        return None if self.landed_json is None else json.loads(self.landed_json)

    @property
    def row_outcome(self) -> Outcome:
        """The outcome, as far as it can be told from the journal."""
        match self.state:
            case RecordState.LANDED if not self.lost:
                return Outcome.REUSED if self.reused else Outcome.LANDED
            case RecordState.FAILED:
                return Outcome.FAILED
            case RecordState.REJECTED:
                return Outcome.REJECTED
            case RecordState.MODEL_GONE:
                return Outcome.MODEL_GONE
            case RecordState.INTENT:
                return self.outcome or Outcome.UNKNOWN
            case RecordState.REFUSED:
                return self.outcome or Outcome.LEFT
            case _:
                return self.outcome or (Outcome.UNLANDED if self.lost else Outcome.PARKED)


#: Fields that a generation keeps from its earlier lines if a later line does not set them.
_CARRIED = (
    "intent_at", "account", "uploads", "uploaded_at", "generation_id", "submitted_at", "completed_at", "cost_usd",
    "landed_json", "fallback_from", "fallback_model",
)  # fmt: skip


@dataclass
class Ledger:
    """All rows, merged from their lines.

    :param rows: the state of each row, by slot (see :func:`.plan.slot_of`).
    :param wanted: if given, lines of other rows are skipped.
    """

    rows: dict[str, RowState] = field(default_factory=dict)
    wanted: frozenset[str] | None = None

    def fold(self, lines: Iterable[Mapping[str, Any]]) -> Ledger:
        """Add more lines, in any order."""
        for line in lines:
            slot = line["row"]
            if self.wanted is None or slot in self.wanted:
                found = self.rows.get(slot)
                fresh = state_of(line)
                self.rows[slot] = fresh if found is None else merged(found, fresh)
        return self


def state_of(line: Mapping[str, Any]) -> RowState:
    """Read one line."""
    found = {name: line[name] for name in _CARRIED if name in line}
    if (landed := line.get("landed")) is not None:
        found["landed_json"] = json.dumps(landed, ensure_ascii=False, separators=(",", ":")).encode()
    if isinstance(account := found.get("account"), str):
        # The same for all rows.
        found["account"] = sys.intern(account)
    return RowState(
        state=RecordState(line["state"]),
        epoch=line.get("epoch", 0),
        number=line.get("number", 1),
        at=line["at"],
        outcome=Outcome(line["outcome"]) if "outcome" in line else None,
        final=line.get("final", False),
        lost=line.get("lost", False),
        reused=line.get("reused", False),
        note=line.get("note"),
        **found,
    )


def merged(one: RowState, other: RowState) -> RowState:
    """Merge two lines of a row; their order does not matter."""
    old, new = sorted((one, other), key=_weight)
    if (old.epoch, old.number) == (new.epoch, new.number):
        # After it is landed again, it is still the video that another run has paid for.
        new.reused = new.reused or (old.reused and new.generation_id in (None, old.generation_id))
        for name in _CARRIED:
            if getattr(new, name) is None:
                setattr(new, name, getattr(old, name))
    return new


def _weight(row: RowState) -> tuple[Any, ...]:
    # "Nothing was done" and "about to be sent" alternate under one key. If the times cannot tell which came last, the
    # interpretation that may have cost money counts.
    return row.epoch, row.number, _RANK[row.state], row.at, row.state is RecordState.INTENT, not row.lost


def line_of(
    slot: str,
    record: Record,
    at: float,
    *,
    outcome: Outcome | None = None,
    note: str | None = None,
    final: bool = False,
) -> dict[str, Any]:
    """Return the line that describes a record's present state."""
    line: dict[str, Any] = {"row": slot, "state": str(record.state), "number": record.number, "at": round(at, 3)}
    if record.epoch:
        line["epoch"] = record.epoch
    if record.state is RecordState.INTENT:
        line |= {"intent_at": seconds_of(record.intent_at), "account": record.account}
        if record.uploads:
            line |= {"uploads": record.uploads, "uploaded_at": seconds_of(record.uploaded_at)}
    else:
        line |= {
            "generation_id": record.generation_id,
            "submitted_at": seconds_of(record.submitted_at),
            "completed_at": seconds_of(record.completed_at),
            "cost_usd": record.cost_usd,
        }
    if record.fallback_from:
        line |= {"fallback_from": record.fallback_from, "fallback_model": record.model}
    if record.landed:
        line |= {"landed": [video.model_dump() for video in record.landed], "fingerprint": record.fingerprint}
    if record.state is RecordState.LANDED and outcome is not None and not outcome.good:
        # Its file was lost, and this try has not landed it again either.
        line["lost"] = True
    note = note_of(note) if note is not None else record.note
    return {
        **{name: value for name, value in line.items() if value is not None},
        **({"outcome": str(outcome)} if outcome else {}),
        **({"note": note} if note else {}),
        **({"final": True} if final else {}),
    }


def record_of(row: RowState, *, fingerprint: str, idempotency_key: str, model: str, **more: Any) -> Record:
    """Return the record that a row's lines add up to."""
    return Record(
        state=row.state,
        fingerprint=fingerprint,
        idempotency_key=idempotency_key,
        epoch=row.epoch,
        number=row.number,
        model=model,
        account=row.account,
        uploads=row.uploads or {},
        uploaded_at=_moment(row.uploaded_at),
        intent_at=_moment(row.intent_at if row.intent_at is not None else row.at) or datetime.now(UTC),
        generation_id=row.generation_id,
        submitted_at=_moment(row.submitted_at),
        completed_at=_moment(row.completed_at),
        cost_usd=row.cost_usd,
        note=row.note,
        landed=tuple(LandedVideo.model_validate(video) for video in row.landed or ()),
        fallback_from=row.fallback_from,
        **more,
    )


def seconds_of(moment: datetime | None) -> float | None:
    """Return a time as unix seconds."""
    return None if moment is None else round(moment.timestamp(), 3)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
