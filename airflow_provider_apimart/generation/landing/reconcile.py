"""Finds paid generations that no task lands any more: reports their fate and cost, and lands what is still available.

A record says "submitted" as long as its videos are not in storage: its task was parked and has no tries left, was
marked or deleted, or its DAG is gone. Nothing here submits anything, so nothing here can pay.

A final outcome is recorded, so that it is not reported forever. A failure that cost nothing is recorded as a failure. A
paid and lost generation is recorded as reported (``closed_at``), which changes nothing for its task. A generation whose
fate is unknown, or that could still be landed, is left as it is. Every write starts from the current record, and
succeeds only if nobody else has written in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, LandingError
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation.landing.delivery import deliver
from airflow_provider_apimart.generation.purchase import report
from airflow_provider_apimart.generation.purchase.record import (
    LandedVideo,
    Previous,
    Record,
    RecordState,
    SharedRecordStore,
    note_of,
)
from airflow_provider_apimart.generation.waiting.polling import last_word
from airflow_provider_apimart.storage.files import Target, numbered, safe_name

Ask = Callable[[str], Generation]

#: APIMart may write the result later than the status. For this long, "completed" without a video is not final.
EMPTY_PATIENCE = timedelta(hours=24)
#: After this many polls in a row failed because of the host or the key, the rest would fail too.
MOST_IN_VAIN = 3
IN_VAIN = (errors.ApimartConnectionError, errors.ApimartTimeoutError, errors.PermissionDeniedError)
#: How many times a write is attempted while others keep writing.
MAX_REWRITES = 5
UNSETTLED = (RecordState.SUBMITTED, RecordState.INTENT)


class Fate(StrEnum):
    """What can be done for a generation."""

    #: It has videos whose URLs have not expired.
    LANDABLE = "landable"
    #: It has videos whose URLs have expired. Landing them is tried anyway.
    EXPIRED = "expired"
    #: It is not finished.
    PENDING = "pending"
    #: It failed or was rejected, and nothing was charged.
    UNCHARGED = "uncharged"
    #: It was or may have been charged, and there will be no video.
    LOST = "lost"
    #: Not known at present: the outcome of its submission is unknown, or it cannot be polled.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Kept:
    """A record and the store that keeps it.

    :param busy: the task instance's state if Airflow has not finished with it, otherwise empty.
    :param problem: why the record could not be read, otherwise empty.
    """

    store: SharedRecordStore
    record: Record | None
    busy: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """One generation that is paid for, or may be, and is not in storage.

    :param entry: what the record says about it; ``None`` if the record could not be read.
    :param view: APIMart's answer, if it was polled and answered.
    :param note: what the user should know about it.
    """

    kept: Kept
    entry: Record | Previous | None
    view: Generation | None
    fate: Fate
    note: str

    @property
    def generation_id(self) -> str | None:
        """Its id; ``None`` if the submission's outcome is not known."""
        return self.entry.generation_id if self.entry else None

    @property
    def superseded(self) -> bool:
        """Whether its task has moved on to another generation."""
        return isinstance(self.entry, Previous)

    @property
    def landable(self) -> bool:
        """Whether landing its videos is worth a try."""
        return self.fate in (Fate.LANDABLE, Fate.EXPIRED)

    @property
    def cost_usd(self) -> float | None:
        """What it cost, if APIMart or the record says so."""
        if self.view is not None and self.view.cost_usd is not None:
            return self.view.cost_usd
        return self.entry.cost_usd if isinstance(self.entry, Record) else None

    def names(self, wanted: str) -> bool:
        """Whether ``wanted`` is its id, or the idempotency key of its submission."""
        return self.entry is not None and wanted in (self.entry.generation_id, self.entry.idempotency_key)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON without secrets or URLs."""
        record = self.kept.record
        return {
            "generation_id": self.generation_id,
            "model": self.entry.model if self.entry else "",
            "asked_by": record.asked_by if record else {},
            "output_path": record.output_path if record else None,
            "at_apimart": str(self.view.status) if self.view else None,
            "cost_usd": self.cost_usd,
            "superseded": self.superseded,
            "fate": str(self.fate),
            "note": self.note,
            "record": self.kept.store.description,
        }


class Asker:
    """Polls generations, and stops polling once the key or the host makes every poll fail."""

    def __init__(self, client: ApimartClient) -> None:
        self._client = client
        self._in_vain = 0
        self._given_up: ApimartError | None = None

    def __call__(self, generation_id: str) -> Generation:
        """Return APIMart's answer.

        :raises ApimartError: if it gives none.
        """
        if self._given_up is not None:
            raise self._given_up.with_traceback(None)
        try:
            view = self._client.generation(generation_id)
        except ApimartError as error:
            self._in_vain = self._in_vain + 1 if isinstance(error, IN_VAIN) else 0
            if self._in_vain >= MOST_IN_VAIN or isinstance(error, errors.AuthenticationError):
                self._given_up = error
            raise
        self._in_vain = 0
        return view


def findings(kept: Iterable[Kept], ask: Ask, *, closed: bool = False) -> Iterator[Finding]:
    """Yield every generation that is paid for, or may be, and is not in storage.

    :param ask: returns APIMart's answer about a generation, or raises :class:`.ApimartError`.
    :param closed: include those that were already reported for the last time.
    """
    for each in kept:
        record = each.record
        if record is None:
            yield Finding(each, None, None, Fate.UNKNOWN, each.problem)
            continue
        entries: tuple[Record | Previous, ...] = (record, *record.previous)
        for entry in entries:
            if entry.closed_at is not None and not closed:
                continue
            if entry.state is RecordState.SUBMITTED and entry.generation_id:
                yield _asked(each, entry, entry.generation_id, ask)
            elif entry.state is RecordState.INTENT:
                key = entry.idempotency_key
                note = (
                    "the outcome of its submission is not known: look in APIMart's console (idempotency key "
                    f"{key}), then --forget {key}"
                )
                yield Finding(each, entry, None, Fate.UNKNOWN, note)


def bring_home(finding: Finding, client: ApimartClient, output: Target) -> tuple[LandedVideo, ...]:
    """Land the videos of a finding.

    :raises LandingError: and its subclasses; :class:`.VideoExpiredError` if they are lost.
    """
    record, entry, view = finding.kept.record, finding.entry, finding.view
    if record is None or entry is None or view is None or finding.generation_id is None:
        raise LandingError("there is nothing to land")
    mine = record.but(
        generation_id=entry.generation_id,
        idempotency_key=entry.idempotency_key,
        model=entry.model,
        submitted_at=entry.submitted_at,
        fallback_from=None if finding.superseded else record.fallback_from,
    )
    if finding.superseded and not output.is_folder:
        # The unnumbered name belongs to the generation that superseded this one.
        output = numbered(output, safe_name(finding.generation_id))
    return deliver(client=client, record=mine, videos=view.videos, output=output, provenance=_provenance(mine, view))


# --- recording an outcome ---------------------------------------------------------------------------------------


def note_landed(finding: Finding, landed: tuple[LandedVideo, ...]) -> None:
    """Record that the videos are in storage."""
    _write_down(finding, {"state": RecordState.LANDED}, {"landed": landed})


def note_uncharged(finding: Finding) -> None:
    """Record a failure that cost nothing, as the task itself would have."""
    view = finding.view
    state = RecordState.FAILED
    if view is not None and view.rejected:
        state = RecordState.REJECTED
    elif view is not None and view.model_gone:
        state = RecordState.MODEL_GONE
    _write_down(finding, {"state": state}, {"note": note_of(view.error_message) if view else None})


def close(finding: Finding) -> None:
    """Record that this was reported for the last time."""
    _write_down(finding, {"closed_at": datetime.now(UTC)}, {"note": note_of(finding.note)})


def _write_down(finding: Finding, known: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Change what the current record says about a generation. It is loaded anew, because its task may be running.

    :param known: fields that are kept for every generation.
    :param more: fields that are kept only for the task's current generation.
    """
    view, store = finding.view, finding.kept.store
    if view is not None:
        more = {**more, "cost_usd": view.cost_usd, "completed_at": view.completed_at}
    for _ in range(MAX_REWRITES):
        # If the record was deleted in the meantime, that was intended.
        current = store.load()
        changed = current and _changed(current, finding, known, more)
        if current is None or changed is None or store.replace(current, changed):
            return
    raise LandingError(f"{store.description} is being written to by others; the next run writes it down")


def _changed(current: Record, finding: Finding, known: Mapping[str, Any], more: Mapping[str, Any]) -> Record | None:
    """Return the record with the finding's outcome; ``None`` if somebody has already recorded that."""
    if _is_it(current, finding):
        return current.but(**known, **more)
    previous = [old.model_copy(update=dict(known)) if _is_it(old, finding) else old for old in current.previous]
    return None if tuple(previous) == current.previous else current.but(previous=tuple(previous))


def _is_it(entry: Record | Previous, finding: Finding) -> bool:
    mine = finding.entry
    return (
        mine is not None
        and entry.state is mine.state
        and entry.state in UNSETTLED
        and (entry.idempotency_key, entry.generation_id) == (mine.idempotency_key, mine.generation_id)
    )


# --- polling ----------------------------------------------------------------------------------------------------


def _asked(kept: Kept, entry: Record | Previous, generation_id: str, ask: Ask) -> Finding:
    try:
        view = ask(generation_id)
    except Exception as error:
        # A generation that cannot be polled must not keep the others from being landed.
        return Finding(kept, entry, None, Fate.UNKNOWN, f"cannot be asked: {_told(error, generation_id)}")
    return Finding(kept, entry, view, *_fate(view, entry, datetime.now(UTC)))


def _told(error: Exception, generation_id: str) -> str:
    if isinstance(error, (errors.ConfigurationError, errors.AuthenticationError)):
        return f"{error} (--conn-id asks with another connection)"
    if isinstance(error, errors.NotFoundError):
        return f"{error} (made with another key? --conn-id; if APIMart has forgotten it: --forget {generation_id})"
    return str(error) if isinstance(error, ApimartError) else type(error).__name__


def _fate(view: Generation, entry: Record | Previous, now: datetime) -> tuple[Fate, str]:
    reason = view.error_message or "no reason given"
    if view.status is GenerationStatus.FAILED or (view.rejected and not view.videos):
        if view.cost_usd:
            return Fate.LOST, f"failed, but APIMart names a cost: ask its support ({reason})"
        return Fate.UNCHARGED, f"{'content rejected' if view.rejected else 'failed'}, not charged: {reason}"
    if view.status is not GenerationStatus.COMPLETED:
        strange = last_word(view)
        return Fate.PENDING, f"still going on ({view.progress or 0} %){f'; {strange}' if strange else ''}"
    if not view.videos:
        since = view.completed_at or entry.submitted_at
        if since is not None and now - since < EMPTY_PATIENCE:
            return Fate.PENDING, "completed without a video so far; it may still come"
        return Fate.LOST, "completed without a video: ask APIMart's support about the charge"
    until = [video.expires_at for video in view.videos]
    if any(at is not None and at <= now for at in until):
        return Fate.EXPIRED, f"its URL has expired ({report.iso(until[0])})"
    return Fate.LANDABLE, f"its URL lives until {report.iso(until[0]) or 'an unknown time'}"


def _provenance(record: Record, view: Generation) -> Mapping[str, Any]:
    return {
        "generation_id": record.generation_id,
        "idempotency_key": record.idempotency_key,
        "model": record.model,
        **({"fallback_from": record.fallback_from} if record.fallback_from else {}),
        "cost_usd": view.cost_usd,
        "submitted_at": report.iso(record.submitted_at),
        "completed_at": report.iso(view.completed_at),
        "airflow": dict(record.asked_by),
        "landed_by": "airflow-provider-apimart reconcile",
    }
