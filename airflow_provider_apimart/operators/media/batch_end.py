"""How a batch of media work ends: its manifest's lines, its contact sheets, its totals, and whether it has failed."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart._compat import AirflowException, AirflowFailException
from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.media.poster_orders import SHEET_JOB, SHEET_SIZE, VERSION, sheet_wanted
from airflow_provider_apimart.media.sidecar import Output
from airflow_provider_apimart.media.workshop import Order, Source, make
from airflow_provider_apimart.operators.media.batch_row import Done, MediaOutcome
from airflow_provider_apimart.storage.files import Target

log = logging.getLogger(__name__)

SAY_EVERY_SECONDS = 30.0
#: Reasons that an error names.
MAX_REASONS = 3


class MediaBatchError(AirflowException):
    """Some of the work could not be done this time. Another try does what is missing."""


@dataclass
class Sheets:
    """Makes the contact sheets of a batch, each as soon as its posters are there.

    :param stem: the beginning of their names.
    """

    folder: Target
    stem: str
    bounds: Mapping[str, Any]
    made: list[Output] = field(default_factory=list)
    errors: list[ApimartError] = field(default_factory=list)
    _waiting: list[tuple[Source, str]] = field(default_factory=list)
    _number: int = 0

    def add(self, posters: Iterable[tuple[Source, str]]) -> None:
        """Take the posters of a row."""
        for poster in posters:
            self._waiting.append(poster)
            if len(self._waiting) == SHEET_SIZE:
                self.finish()

    def finish(self) -> None:
        """Make a sheet of what is waiting. An error is kept: the rows are more than their picture."""
        if not self._waiting:
            return
        self._number += 1
        posters, labels = zip(*self._waiting, strict=True)
        self._waiting = []
        sheet = sheet_wanted(labels, self._number)
        try:
            order = Order(SHEET_JOB, VERSION, posters, (sheet,), folder=self.folder, stem=self.stem, **self.bounds)
            self.made += make(order)
        except ApimartError as error:
            log.warning("Contact sheet %d: %s", self._number, error)
            self.errors.append(error)


@dataclass
class Totals:
    """The totals of a batch's own manifest.

    :param again: rows, and contact sheets, that another try may finish.
    """

    rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    again: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Rows whose videos fail their check, or of which something could not be made."""
        return self.outcomes[MediaOutcome.CHECK_FAILED] + self.outcomes[MediaOutcome.MEDIA_FAILED]

    @property
    def good(self) -> int:
        """Rows with everything that was asked for."""
        return self.rows - self.failed - self.outcomes[MediaOutcome.CHECK_SKIPPED]

    def count(self, done: Done) -> None:
        """Count a row."""
        self.rows += 1
        self.outcomes[done.line["outcome"]] += 1
        self.again += done.again
        if done.line["error"] and len(self.reasons) < MAX_REASONS:
            self.reasons.append(f"row {done.line['row']} {done.line['outcome']}: {done.line['error']}")

    def told(self) -> str:
        """Return the totals as text."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return f"{self.good} of {self.rows} rows have all that was asked for ({counts or 'none'})"


def lines(rows: Iterable[Done], totals: Totals, sheets: Sheets | None) -> Iterator[dict[str, Any]]:
    """Yield the lines of the manifest, count them, and make the contact sheets on the way."""
    said = time.monotonic()
    for done in rows:
        totals.count(done)
        if sheets is not None:
            sheets.add(done.posters)
        yield done.line
        if time.monotonic() - said >= SAY_EVERY_SECONDS:
            said = time.monotonic()
            log.info("%d rows are done, %d of them failed.", totals.rows, totals.failed)
    if sheets is not None:
        sheets.finish()
        for error in sheets.errors:
            totals.again += not error.terminal


def refuse(totals: Totals, sheets: Sheets | None, manifest: str, max_failed_share: float) -> None:
    """Fail the task if another try may finish something, or if more rows have failed than may.

    :raises MediaBatchError: another try does what is missing.
    :raises AirflowFailException: another try would end in the same way.
    """
    reasons = "; ".join([*totals.reasons, *(f"contact sheet: {error}" for error in (sheets.errors if sheets else ()))])
    text = (
        f"{totals.told()}. Nothing was paid, and no video was changed. {reasons}. The manifest names every row: "
        f"{manifest}. "
    )
    if totals.again:
        raise MediaBatchError(f"{text}A retry does what is missing, and nothing again.")
    if totals.failed > max_failed_share * totals.rows + 1e-6:
        raise AirflowFailException(
            f"{text}A retry would end in the same way. To go on without these rows, raise max_failed_share; to go on "
            "with a video that fails its check, set the rule to 'warn' or 'off' in check=, and clear this task. A "
            'failed check pays for nothing by itself: for other videos, clear the batch with on_clear="regenerate".'
        )
    if sheets is not None and sheets.errors:
        log.warning("Some contact sheets are missing: %s", reasons)
