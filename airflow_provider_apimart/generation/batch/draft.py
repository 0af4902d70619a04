"""A plan in the making: rows are packed into chunks as they arrive, and held back until the last one is checked.

So a table is never held in memory, however many rows it has and however long its prompts are. Only each row's slot and
price are in memory.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from types import TracebackType
from typing import IO, Self

from airflow_provider_apimart.generation.batch.plan import (
    INDEX,
    TWINS,
    VERSION,
    Index,
    Plan,
    PlannedRow,
    Rules,
    Twin,
    chunk_name,
    slot_of,
)
from airflow_provider_apimart.generation.purchase.identity import Identity
from airflow_provider_apimart.storage.files import Target, commit_bytes, stored_size

CHUNK_ROWS = 200
CHUNK_BYTES = 4 * 1024 * 1024
#: This much is kept in memory; the rest goes to an unnamed file in the worker's temporary folder.
SPOOL_BYTES = 8 * 1024 * 1024


class PlanDraft:
    """Rows that will become a plan. A context manager: leaving it discards them."""

    def __init__(self) -> None:
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOL_BYTES)
        self._digest = hashlib.sha256()
        self._slots: list[str] = []
        self._estimates: list[float | None] = []
        self._fallback_estimates: list[float | None] = []
        self._no_fallback: list[int] = []
        self._twins: list[Twin] = []
        #: For each chunk: the number of its rows and of its bytes.
        self._chunks: list[tuple[int, int]] = []
        self._lines: list[bytes] = []
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, row: PlannedRow, *, fallback_usd: float | None = None, no_fallback: bool = False) -> None:
        """Take the next row; its position is the number of rows before it.

        :param fallback_usd: what it is expected to cost with the fallback model.
        :param no_fallback: it wants the fallback model in any case.
        """
        if no_fallback:
            self._no_fallback.append(len(self._slots))
        self._fallback_estimates.append(fallback_usd)
        line = json.dumps(row.as_json(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        # The row itself holds no line break: bytes.splitlines splits at ASCII line ends only, and JSON escapes those.
        if len(self._lines) >= CHUNK_ROWS or self._length + len(line) > CHUNK_BYTES:
            self._close_chunk()
        self._lines.append(line)
        self._length += len(line)
        self._slots.append(slot_of(row.key, row.fingerprint))
        self._estimates.append(row.estimated_usd)

    def add_twin(self, twin: Twin) -> None:
        """Take a row that shares an earlier one's video."""
        self._twins.append(twin)

    def _close_chunk(self) -> None:
        if self._lines:
            data = b"".join(self._lines)
            self._spool.write(data)
            self._digest.update(data)
            self._chunks.append((len(self._lines), len(data)))
            self._lines.clear()
            self._length = 0

    def write(
        self,
        folder: Target,
        *,
        identity: Identity,
        rules: Rules,
        output_uri: str,
        apimart_conn_id: str,
        median_seconds: float,
    ) -> Plan:
        """Write the plan into a task's state folder, and return it.

        :raises LandingError: when it cannot be written.
        """
        self._close_chunk()
        doubles = b"".join(json.dumps(asdict(twin)).encode() + b"\n" for twin in self._twins)
        digest = self._digest.copy()
        digest.update(doubles)
        index = Index(
            identity=identity,
            rules=rules,
            output_uri=output_uri,
            apimart_conn_id=apimart_conn_id,
            slots=tuple(self._slots),
            estimates=tuple(self._estimates),
            rows=f"rows-{digest.hexdigest()[:16]}",
            chunks=tuple(rows for rows, _ in self._chunks),
            median_seconds=median_seconds,
            twins=len(self._twins),
            fallback_estimates=tuple(self._fallback_estimates) if rules.fallback_model else (),
            no_fallback=tuple(self._no_fallback),
        )
        text = json.dumps({"version": VERSION, **asdict(index)}, separators=(",", ":")).encode()
        home = folder.child(f"plan-{hashlib.sha256(text).hexdigest()[:16]}")
        # The index is written last: if it exists, the rows exist too.
        if stored_size(home.child(INDEX)) != len(text):
            self._write_rows(folder.child(index.rows), doubles)
            commit_bytes(home.child(INDEX), text)
        return Plan(home, index)

    def _write_rows(self, folder: Target, doubles: bytes) -> None:
        """Write the files that are missing: the folder's name determines their content."""
        self._spool.seek(0)
        for number, (_, length) in enumerate(self._chunks):
            data = self._spool.read(length)
            chunk = folder.child(chunk_name(number))
            if stored_size(chunk) != length:
                commit_bytes(chunk, data)
        if doubles:
            commit_bytes(folder.child(TWINS), doubles)


def write_plan(
    folder: Target,
    rows: Iterable[PlannedRow],
    *,
    identity: Identity,
    rules: Rules,
    output_uri: str,
    apimart_conn_id: str,
    median_seconds: float,
) -> Plan:
    """Write a plan whose rows are all available already."""
    with PlanDraft() as draft:
        for row in rows:
            draft.add(row)
        return draft.write(
            folder,
            identity=identity,
            rules=rules,
            output_uri=output_uri,
            apimart_conn_id=apimart_conn_id,
            median_seconds=median_seconds,
        )
