"""Paid generations that no task brings home any more: what became of them, what they cost, and landing what is still
there.

A record says "submitted" as long as its videos are not in storage: its task was parked and has no tries left, was
marked or deleted, or its DAG is gone. Nothing here submits anything, so nothing here can pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ApimartError, LandingError
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation import report
from airflow_provider_apimart.generation.delivery import deliver
from airflow_provider_apimart.generation.purchase import keep, settle
from airflow_provider_apimart.generation.record import LandedVideo, Record, RecordState, RecordStore
from airflow_provider_apimart.generation.storage import Target, numbered, safe_name


@dataclass(frozen=True)
class Kept:
    """A record and the store that keeps it.

    :param busy: Airflow's own word that the task is still on its way (its state), else empty.
    :param problem: why the record could not be read, else empty.
    """

    store: RecordStore
    record: Record | None
    busy: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """One generation that is paid for, or may be, and is not in storage.

    :param generation_id: ``None`` where the submission's outcome is not known.
    :param view: APIMart's word, where it was asked and answered.
    :param note: what a person should know of it.
    :param superseded: its task has moved on to another generation.
    """

    kept: Kept
    generation_id: str | None
    model: str
    view: Generation | None
    note: str
    superseded: bool = False

    @property
    def landable(self) -> bool:
        """Whether its videos can be landed now."""
        return self.view is not None and self.view.status is GenerationStatus.COMPLETED and bool(self.view.videos)

    @property
    def cost_usd(self) -> float | None:
        """What it cost, as far as APIMart or the record say."""
        record = self.kept.record
        if self.view is not None and self.view.cost_usd is not None:
            return self.view.cost_usd
        return record.cost_usd if record and not self.superseded else None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON. Holds no secret and no URL."""
        record = self.kept.record
        return {
            "generation_id": self.generation_id,
            "model": self.model,
            "asked_by": record.asked_by if record else {},
            "output_path": record.output_path if record else None,
            "at_apimart": str(self.view.status) if self.view else None,
            "cost_usd": self.cost_usd,
            "superseded": self.superseded,
            "note": self.note,
            "record": self.kept.store.description,
        }


def findings(kept: Iterable[Kept], client: ApimartClient) -> Iterator[Finding]:
    """Yield every generation that is paid for, or may be, and is not in storage."""
    for each in kept:
        record = each.record
        if record is None:
            yield Finding(each, None, "", None, each.problem)
            continue
        if record.state is RecordState.SUBMITTED:
            yield _asked(each, record.generation_id or "", record.model, client, superseded=False)
        elif record.state is RecordState.INTENT:
            yield Finding(each, None, record.model, None, _unknown(record.idempotency_key))
        for old in record.previous:
            if old.generation_id and old.state is RecordState.SUBMITTED:
                yield _asked(each, old.generation_id, old.model, client, superseded=True)
            elif old.state is RecordState.INTENT:
                yield Finding(each, None, old.model, None, _unknown(old.idempotency_key), superseded=True)


def bring_home(finding: Finding, client: ApimartClient, output: Target) -> tuple[LandedVideo, ...]:
    """Land the videos of a finding and write that down.

    :raises LandingError: and its subclasses.
    """
    record, view = finding.kept.record, finding.view
    if record is None or view is None or finding.generation_id is None:
        raise LandingError("there is nothing to land")
    mine = record.but(generation_id=finding.generation_id, model=finding.model)
    if finding.superseded and not output.is_folder:
        # The name belongs to the generation that took its place.
        output = numbered(output, safe_name(finding.generation_id))
    if not finding.superseded:
        _, mine = settle(finding.kept.store, mine, view)
    landed = deliver(client=client, record=mine, videos=view.videos, output=output, provenance=_provenance(mine, view))
    if not finding.superseded:
        keep(finding.kept.store, mine.but(state=RecordState.LANDED, landed=landed))
    return landed


def _asked(kept: Kept, generation_id: str, model: str, client: ApimartClient, *, superseded: bool) -> Finding:
    try:
        view = client.generation(generation_id)
    except ApimartError as error:
        return Finding(kept, generation_id, model, None, f"APIMart does not say: {error}", superseded)
    if view.status is GenerationStatus.FAILED:
        note = f"failed, not charged: {view.error_message or 'no reason given'}"
    elif view.status is GenerationStatus.COMPLETED and not view.videos:
        note = "completed without a video: ask APIMart's support about the charge"
    elif view.status is GenerationStatus.COMPLETED:
        note = f"its URL lives until {report.iso(view.videos[0].expires_at) or 'an unknown time'}"
    else:
        note = f"still going on ({view.progress or 0} %)"
    return Finding(kept, generation_id, model, view, note, superseded)


def _unknown(key: str) -> str:
    return f"the outcome of its submission is not known: look in APIMart's console (idempotency key {key})"


def _provenance(record: Record, view: Generation) -> Mapping[str, Any]:
    return {
        "generation_id": record.generation_id,
        "idempotency_key": record.idempotency_key,
        "model": record.model,
        "cost_usd": view.cost_usd,
        "submitted_at": report.iso(record.submitted_at),
        "completed_at": report.iso(view.completed_at),
        "airflow": dict(record.asked_by),
        "landed_by": "airflow-provider-apimart reconcile",
    }
