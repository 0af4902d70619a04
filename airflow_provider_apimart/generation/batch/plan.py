"""The plan of a batch: its rows and its rules, written to storage by the worker (``draft.py``) and never changed.

Rows are kept in chunks, so that no reader has to hold all prompts. What every reader needs to know about all rows
(slots and estimates) is in one small index. A plan's name is a hash of its content. So a retry of the same table finds
the plan, and a changed table gets a plan of its own beside the one that a running trigger still uses.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.client.fallback import with_model
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.batch.journal import FOLDER as JOURNAL_FOLDER
from airflow_provider_apimart.generation.purchase.decide import OnClear, OnUnknownSubmit
from airflow_provider_apimart.generation.purchase.identity import Identity, fingerprint, idempotency_key
from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch
from airflow_provider_apimart.storage.files import Target, check_same_machine, read_whole

VERSION = 1
STATE_FOLDER = ".apimart-batch"
CHUNKS_HELD = 4
INDEX, TWINS = "index.json", "twins.jsonl"


@dataclass(frozen=True)
class Rules:
    """The rules of a batch.

    :param max_generations: how often a row may fail at APIMart, over all tries, before the batch gives it up.
    :param on_mismatch: with "fail", a video that differs from its request counts as a failure.
    :param fallback_model: the model to use for rows whose own is gone.
    :param fallback_at_last: this is the last try, so a model for which APIMart has no channel counts as gone, too.
    :param max_cost_usd: a row that would push the total over this limit is not submitted.
    :param budget: the arguments of the :class:`.Budget` that rows are paid from.
    """

    max_in_flight: int = 20
    requests_per_minute: float | None = None
    stop_on_failure: bool = False
    max_failed_share: float = 0.0
    timeout_seconds: float = 1800.0
    poll_interval: float | None = None
    on_clear: OnClear = "reuse"
    on_unknown_submit: OnUnknownSubmit = "resend"
    max_generations: int = 2
    max_cost_usd: float | None = None
    on_mismatch: OnMismatch = "warn"
    fallback_model: str | None = None
    fallback_at_last: bool = False
    budget: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """One row as the plan holds it.

    :param position: 0-based, among the rows that are paid for.
    :param number: the row's number in the table.
    :param images: SHA-256 of the local frames, by field.
    :param fallback_from: the model of the table, if this is the row with the fallback model in its place. Not kept in
        the plan: :meth:`Plan.with_fallback` makes such rows.
    """

    position: int
    number: int
    key: str
    fingerprint: str
    request: VeoRequest
    labels: Mapping[str, Any]
    images: Mapping[str, str]
    estimated_usd: float | None = None
    fallback_from: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "number": self.number,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "request": self.request.model_dump(mode="json", exclude_none=True),
            "labels": dict(self.labels),
            "images": dict(self.images),
            "estimated_usd": self.estimated_usd,
        }


@dataclass(frozen=True)
class Index:
    """What is known about all rows without reading them.

    :param slots: the slot of each row, by position.
    :param estimates: the estimated cost of each row in USD, by position.
    :param medians: the usual duration of each row's job, in seconds.
    :param rows: the folder of the chunks, beside the plan's. It is named by its content, so plans with the same rows
        and different rules share it.
    :param chunks: how many rows each chunk has.
    :param twins: how many further rows share the video of another row.
    :param fallback_estimates: the estimated cost of each row with the fallback model, by position; empty without one.
    :param no_fallback: the positions, in order, of rows that want the fallback model in any case.
    """

    identity: Identity
    rules: Rules
    output_uri: str
    apimart_conn_id: str
    slots: tuple[str, ...]
    estimates: tuple[float | None, ...]
    rows: str
    chunks: tuple[int, ...]
    median_seconds: float = 75.0
    twins: int = 0
    fallback_estimates: tuple[float | None, ...] = ()
    no_fallback: tuple[int, ...] = ()

    def estimate(self, position: int, *, fallback: bool) -> float:
        """Return what a row is expected to cost, with the fallback model or its own; 0 if that is not known."""
        estimates = self.fallback_estimates if fallback and self.fallback_estimates else self.estimates
        return estimates[position] or 0.0

    def can_fall_back(self, position: int) -> bool:
        """Say whether a fallback model can take the place of a row's own."""
        place = bisect_left(self.no_fallback, position)
        wants_it = place < len(self.no_fallback) and self.no_fallback[place] == position
        return self.rules.fallback_model is not None and not wants_it


@dataclass(frozen=True, slots=True)
class Twin:
    """A row with the same request as an earlier row, whose video it shares.

    :param position: the position of the row that is paid for.
    """

    number: int
    position: int
    labels: Mapping[str, Any]


@dataclass
class Plan:
    """A plan in storage.

    :param folder: the plan's own folder.
    """

    folder: Target
    index: Index
    _held: OrderedDict[int, list[PlannedRow]] = field(default_factory=OrderedDict, repr=False)

    @property
    def journal(self) -> Target:
        """The folder of the journal, which all plans of this task share."""
        return self.folder.sibling(JOURNAL_FOLDER)

    @property
    def _rows_folder(self) -> Target:
        return self.folder.sibling(self.index.rows)

    def place(self, position: int) -> tuple[int, int]:
        """Return the chunk of a row, and the row's place in it."""
        chunk = 0
        for size in self.index.chunks:
            if position < size:
                return chunk, position
            position -= size
            chunk += 1
        raise IndexError(position)

    def held(self, position: int) -> PlannedRow | None:
        """Return a row if its chunk is in memory."""
        chunk, offset = self.place(position)
        rows = self._held.get(chunk)
        return rows[offset] if rows else None

    def row(self, position: int) -> PlannedRow:
        """Return a row. Read its chunk if it is not in memory."""
        chunk, offset = self.place(position)
        if chunk not in self._held:
            self._held[chunk] = list(self._read(chunk))
            while len(self._held) > CHUNKS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(chunk)
        return self._held[chunk][offset]

    def rows(self) -> Iterator[PlannedRow]:
        """Yield all rows, one chunk at a time."""
        for chunk in range(len(self.index.chunks)):
            yield from self._read(chunk)

    def twins(self) -> list[Twin]:
        """Return the rows that share another one's video, in the order of the table."""
        if not self.index.twins:
            return []
        return [Twin(**json.loads(text)) for text in read_whole(self._rows_folder.child(TWINS)).splitlines()]

    def idempotency_key(self, row: PlannedRow, *, epoch: int, number: int) -> str:
        """Return the key of a row's generation."""
        return idempotency_key(self.identity_of(row), epoch=epoch, number=number, fingerprint=row.fingerprint)

    def with_fallback(self, row: PlannedRow, model: str) -> PlannedRow:
        """Return a row with another model in the place of its own: another request, under a key of its own."""
        request = with_model(row.request, model)
        return replace(
            row,
            request=request,
            fingerprint=row_fingerprint(request, row.images),
            estimated_usd=self.index.fallback_estimates[row.position] if self.index.fallback_estimates else None,
            fallback_from=row.request.model,
        )

    def as_sent(self, row: PlannedRow, fallback_model: str | None) -> PlannedRow:
        """Return a row as its latest generation was requested.

        :param fallback_model: the model that took the place of its own, if one did.
        """
        return row if fallback_model is None else self.with_fallback(row, fallback_model)

    def identity_of(self, row: PlannedRow) -> Identity:
        """Return the identity of a row."""
        whole = self.index.identity
        return Identity(whole.dag_id, whole.run_id, whole.task_id, whole.map_index, whole.clear_epoch, row.key)

    def _read(self, chunk: int) -> Iterator[PlannedRow]:
        start = sum(self.index.chunks[:chunk])
        for offset, text in enumerate(read_whole(self._rows_folder.child(chunk_name(chunk))).splitlines()):
            value = json.loads(text)
            value["request"] = VeoRequest.model_construct(**value["request"])
            yield PlannedRow(position=start + offset, **value)


def slot_of(key: str, fingerprint: str) -> str:
    """Return a row's name in the journal. Another key, or another image under the same path, gives another slot."""
    return hashlib.sha256(f"{key} {fingerprint}".encode()).hexdigest()[:24]


def row_fingerprint(request: VeoRequest, images: Mapping[str, str]) -> str:
    """Return the fingerprint of a request, with checksums in the place of local frames."""
    return fingerprint(request.body({name: f"sha256:{digest}" for name, digest in images.items()}))


def state_folder(root: Target, identity: Identity) -> Target:
    """Return the folder of a task's plans and journal."""
    return root.child(STATE_FOLDER).child(identity.slug)


def read_plan(folder: Target) -> Plan:
    """Return the plan that was written into ``folder``.

    :raises LandingError: when it cannot be read.
    """
    check_same_machine(folder.child(INDEX), "the batch's plan")
    value = json.loads(read_whole(folder.child(INDEX)))
    if value.pop("version", None) != VERSION:
        raise ConfigurationError(f"{folder.uri} was written by another version of the provider")
    value["identity"] = Identity(**value["identity"])
    value["rules"] = Rules(**value["rules"])
    known = {one.name for one in fields(Index)}
    lists = ("slots", "estimates", "chunks", "fallback_estimates", "no_fallback")
    values: dict[str, Any] = {
        name: tuple(one) if name in lists else one for name, one in value.items() if name in known
    }
    return Plan(folder, Index(**values))


def chunk_name(number: int) -> str:
    """Return the name of a chunk's file in the plan's folder."""
    return f"rows-{number:05d}.jsonl"
