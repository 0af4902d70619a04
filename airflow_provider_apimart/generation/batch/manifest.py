"""The manifest of a batch: one line per row, with the request, its outcome and its cost.

It is written under a hidden name and then committed, so no reader ever sees half of it. JSONL by default; in Parquet
(with pyarrow) labels and request are JSON text, since tables differ in their columns.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal

from airflow_provider_apimart.client.errors import ConfigurationError
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow
from airflow_provider_apimart.generation.batch.states import Ledger, Outcome, RowState
from airflow_provider_apimart.generation.purchase.mismatch import mismatches, text_of
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.generation.purchase.report import iso
from airflow_provider_apimart.storage.files import Target, safe_name, staging, storage_errors

ManifestFormat = Literal["jsonl", "parquet"]
#: Lines and characters that are held in memory at once.
GROUP, GROUP_TEXT = 1000, 1024 * 1024
JSON_COLUMNS = ("labels", "request", "videos", "mismatches", "check")


@dataclass(frozen=True)
class RowCheck:
    """What the check says of a row's videos.

    :param verdict: ``ok``, ``warn``, ``skip`` or ``fail``; ``None`` if they could not be checked this time.
    :param text: which rules are broken, or why they could not be checked.
    """

    verdict: str | None
    text: str

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of a landed row; ``None`` leaves it as it is."""
        return {"fail": Outcome.CHECK_FAILED, "skip": Outcome.CHECK_SKIPPED}.get(self.verdict or "")


@dataclass
class Totals:
    """The totals of a manifest.

    :param hopeless: rows without videos, for which a retry cannot change anything.
    :param mismatched: how many rows have videos that differ from their request; ``mismatches`` holds the first few as
        text.
    :param left_note: why the first of the rows that are left was left, if that is known.
    :param gone: the models that are gone, with how many rows each.
    :param fallbacks: how many rows went to a fallback model, by the model that was wanted and the fallback.
    :param unchecked: landed rows that could not be checked this time, and why the first of them could not.
    :param owed: rows whose generation is or may be paid for, and whose videos another try can still land.
    """

    rows: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    cost_usd: float = 0.0
    estimated_usd: float = 0.0
    left_usd: float = 0.0
    hopeless: int = 0
    owed: int = 0
    mismatched: int = 0
    mismatches: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unchecked: int = 0
    unchecked_note: str = ""
    left_note: str = ""
    gone: Counter[str] = field(default_factory=Counter)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def good(self) -> int:
        """Rows with their videos."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.good)

    @property
    def left(self) -> int:
        """Rows that were not started."""
        return self.outcomes[Outcome.LEFT]

    @property
    def failed(self) -> int:
        """Rows that ended without their videos, or with videos that fail their check."""
        return self.rows - self.good - self.left - self.outcomes[Outcome.CHECK_SKIPPED]


def manifest_target(output: Target, plan: Plan, kind: ManifestFormat) -> Target:
    """Return where a task's manifest goes: the same name in every try."""
    identity = plan.index.identity
    index = f"-{identity.map_index}" if identity.map_index >= 0 else ""
    names = "-".join(safe_name(name) for name in (identity.dag_id, identity.task_id, identity.run_id))
    return output.child(f"manifest-{names}{index}.{kind}")


def manifest_lines(
    plan: Plan,
    ledger: Ledger,
    totals: Totals,
    checks: Mapping[int, RowCheck] | None = None,
    left_why: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the manifest's lines in the order of the table, and add them up.

    :param checks: what the check says of landed rows, by the row's position in the plan.
    :param left_why: why rows are left of which nothing else is known.
    """
    twins = plan.twins()
    shared = {twin.position for twin in twins}
    parents: dict[int, tuple[dict[str, Any], RowState | None]] = {}
    waiting = iter(twins)
    twin = next(waiting, None)

    def doubles(before: int | None) -> Iterator[dict[str, Any]]:
        nonlocal twin
        while twin is not None and (before is None or twin.number < before):
            parent, state = parents[twin.position]
            good = Outcome(parent["outcome"]).good
            line = {**parent, "row": twin.number, "labels": dict(twin.labels)}
            # One video has one price, and it belongs to the row that was paid for.
            line |= {"outcome": str(Outcome.REUSED)} if good else {}
            line["cost_usd"] = 0.0 if parent["videos"] else None
            line["estimated_cost_usd"] = 0.0
            _count(totals, line, state)
            yield line
            twin = next(waiting, None)

    for row in plan.rows():
        yield from doubles(row.number)
        state = ledger.rows.get(plan.index.slots[row.position])
        line = _line(plan, plan.as_sent(row, state.fallback_model if state else None), state)
        if left_why and line["outcome"] == Outcome.LEFT and not line["error"]:
            line["error"] = f"not paid for: {left_why}"
        if checks is not None and row.position in checks:
            line = _with_check(line, checks[row.position])
        if row.position in shared:
            parents[row.position] = line, state
        _count(totals, line, state)
        yield line
    yield from doubles(None)


def _line(plan: Plan, row: PlannedRow, state: RowState | None) -> dict[str, Any]:
    outcome = state.row_outcome if state else Outcome.LEFT
    landed = (state.landed or []) if state and outcome.good else []
    cost = 0.0 if outcome is Outcome.REUSED else state.cost_usd if state else None
    videos = [LandedVideo.model_validate(video) for video in landed]
    return {
        "row": row.number,
        "outcome": str(outcome),
        "labels": dict(row.labels),
        "request": row.request.model_dump(mode="json", exclude_none=True),
        "generation_id": state.generation_id if state else None,
        "path": landed[0]["path"] if landed else None,
        "videos": landed,
        "mismatches": mismatches(row.request, videos, count=len(videos), cost_usd=cost) if videos else [],
        "cost_usd": cost,
        "estimated_cost_usd": row.estimated_usd,
        "submitted_at": _iso(state.submitted_at) if state else None,
        "completed_at": _iso(state.completed_at) if state else None,
        "error": state.note if state and not outcome.good else None,
        "idempotency_key": plan.idempotency_key(row, epoch=state.epoch, number=state.number) if state else None,
        "fallback_from": row.fallback_from,
        "check": None,
    }


def _with_check(line: dict[str, Any], check: RowCheck) -> dict[str, Any]:
    outcome = check.outcome
    changed = {"outcome": str(outcome), "error": check.text} if outcome else {}
    return {**line, **changed, "check": {"verdict": check.verdict, "text": check.text}}


def _count(totals: Totals, line: dict[str, Any], state: RowState | None) -> None:
    outcome = Outcome(line["outcome"])
    totals.rows += 1
    totals.outcomes[outcome] += 1
    totals.cost_usd += line["cost_usd"] or 0.0
    totals.estimated_usd += line["estimated_cost_usd"] or 0.0
    if line["mismatches"]:
        totals.mismatched += 1
        if len(totals.mismatches) < 3:
            totals.mismatches.append(f"row {line['row']} ({line['path']}): {text_of(line['mismatches'])}")
    if line["fallback_from"]:
        totals.fallbacks[line["fallback_from"], line["request"]["model"]] += 1
    if line["check"] and line["check"]["verdict"] is None:
        totals.unchecked += 1
        totals.unchecked_note = totals.unchecked_note or line["check"]["text"]
    if outcome is Outcome.MODEL_GONE:
        totals.gone[line["request"]["model"]] += 1
    if outcome is Outcome.LEFT:
        totals.left_usd += line["estimated_cost_usd"] or 0.0
        totals.left_note = totals.left_note or line["error"] or ""
    elif outcome is not Outcome.CHECK_SKIPPED and not outcome.good:
        hopeless = bool(state and state.final) or outcome in (Outcome.REJECTED, Outcome.CHECK_FAILED)
        totals.hopeless += hopeless
        totals.owed += not hopeless and outcome in (Outcome.PARKED, Outcome.UNLANDED, Outcome.UNKNOWN)
        if len(totals.errors) < 3:
            totals.errors.append(f"row {line['row']} {outcome}: {line['error'] or 'no reason given'}")


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else iso(datetime.fromtimestamp(seconds, tz=UTC))


def write_manifest(target: Target, lines: Iterable[dict[str, Any]], kind: ManifestFormat) -> None:
    """Write a manifest so that a reader sees all of it or nothing of it.

    :raises LandingError: when the storage does not take it.
    """
    write = _write_parquet if kind == "parquet" else _write_jsonl
    with staging(target, writer="manifest") as staged:
        with storage_errors(target, "written"):
            write(staged.file, lines)
        staged.commit(target)


def _write_jsonl(file: BinaryIO, lines: Iterable[dict[str, Any]]) -> None:
    group, length = list[bytes](), 0
    for line in lines:
        group.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        length += len(group[-1])
        if length >= GROUP_TEXT:
            file.write(b"".join(group))
            group, length = [], 0
    file.write(b"".join(group))


def _write_parquet(file: BinaryIO, lines: Iterable[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema(
        [
            ("row", pyarrow.int64()),
            *(
                (name, text)
                for name in ("outcome", "labels", "request", "generation_id", "path", "videos", "mismatches")
            ),
            ("cost_usd", number),
            ("estimated_cost_usd", number),
            *((name, text) for name in ("submitted_at", "completed_at", "error", "idempotency_key")),
            *((name, text) for name in ("fallback_from", "check")),
        ]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        group, length = list[dict[str, Any]](), 0
        for line in lines:
            packed = {name: json.dumps(line[name], ensure_ascii=False) for name in JSON_COLUMNS}
            group.append({**line, **packed})
            length += sum(map(len, packed.values()))
            if len(group) >= GROUP or length >= GROUP_TEXT:
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
                group, length = [], 0
        writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def check_format(kind: str) -> None:
    """Check before anything is paid that a manifest of this format can be written."""
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ConfigurationError(
                "manifest_format='parquet' needs pyarrow: pip install 'airflow-provider-apimart[parquet]'"
            ) from error


def read_lines(file: BinaryIO, kind: ManifestFormat) -> Iterator[dict[str, Any]]:
    """Yield the lines of a manifest."""
    if kind == "parquet":
        from pyarrow import parquet

        for batch in parquet.ParquetFile(file).iter_batches(batch_size=GROUP):
            for line in batch.to_pylist():
                yield {**line, **{name: json.loads(line[name]) for name in JSON_COLUMNS if name in line}}
    else:
        for text in file:
            yield json.loads(text)
