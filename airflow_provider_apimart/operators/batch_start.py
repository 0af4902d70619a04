"""The start of a batch: the table becomes planned rows, and their cost is checked against the budget."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.errors import ConfigurationError, FieldProblem, InvalidParameterError
from airflow_provider_apimart.generation.batch.bill import Bill, money
from airflow_provider_apimart.generation.batch.draft import PlanDraft
from airflow_provider_apimart.generation.batch.engine.resume import decision_on
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow, Twin, row_fingerprint
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.generation.pricing.prices import PriceList
from airflow_provider_apimart.generation.purchase.decide import Action
from airflow_provider_apimart.generation.purchase.record import RecordState
from airflow_provider_apimart.generation.tables.rows import (
    Columns,
    EmptyTableError,
    Row,
    RowProblem,
    stream_rows,
    table_error,
)
from airflow_provider_apimart.generation.waiting.schedule import expected_seconds
from airflow_provider_apimart.hooks.storage import read_image
from airflow_provider_apimart.hooks.tables import stream_table
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.batch_arguments import BatchArguments

log = logging.getLogger(__name__)


# --- rows --------------------------------------------------------------------------------------------------------


def plan_rows(task: BatchArguments, draft: PlanDraft, prices: PriceList) -> Planned:
    """Read the table into a draft, row by row, check all of it, and add up what it costs.

    :raises TableError: with every problem of every row, or with all frames that cannot be used.
    """
    planned = Planned(draft, Bill(prices), share_identical=task.reuse == "always")
    try:
        _read(task, planned)
    except EmptyTableError as error:
        if not arguments.truth_of(task.allow_empty):
            raise
        log.info("%s.", error)
    if planned.problems:
        raise table_error("the table", planned.count, planned.problems)
    for note in sorted(planned.notes):
        log.warning("%s", note)
    return planned


def _read(task: BatchArguments, planned: Planned) -> None:
    columns, defaults, skip_if = (arguments.object_of(each) for each in (task.columns, task.defaults, task.skip_if))
    if task.requests is not None:
        planned.take(
            stream_rows(
                _records(task.requests),
                columns=Columns(dict(columns or {})),
                defaults=defaults,
                skip_if=skip_if,
                name="requests",
            )
        )
    else:
        stream_table(
            planned.take,
            task.table or None,
            sql=task.sql or None,
            sql_conn_id=task.sql_conn_id or None,
            sql_parameters=task.sql_parameters,
            format=task.table_format or None,
            delimiter=task.table_delimiter or None,
            quoting=arguments.truth_of(task.table_quoting),
            columns=columns,
            defaults=defaults,
            skip_if=skip_if,
            share_identical=planned.share_identical,
            prefix="table_",
        )


def _records(requests: Any) -> Iterator[Mapping[str, Any]]:
    try:
        # A template renders to text: "{{ ti.xcom_pull('rows') | tojson }}".
        rows = json.loads(requests) if isinstance(requests, str) else requests
    except (ValueError, RecursionError):
        rows = None
    if rows is None or isinstance(rows, (str, bytes, Mapping)) or hasattr(rows, "to_dict"):
        hint = "; of a data frame, df.to_dict('records')" if hasattr(rows, "to_dict") else ""
        allowed = f"allowed: a list of dicts, one for each row, or its JSON text ({{{{ … | tojson }}}}){hint}"
        raise ConfigurationError(f"requests={str(requests)[:100]!r}: {allowed}")
    for number, record in enumerate(rows, start=1):
        if not isinstance(record, Mapping):
            raise ConfigurationError(f"requests: row {number} is {str(record)[:100]!r}; allowed: a dict")
        yield record


@dataclass
class Planned:
    """What is known about a table's rows once they are in a draft.

    :param share_identical: pay only once for rows with identical requests.
    :param problems: frames that cannot be used.
    :param count: the number of rows in the table.
    :param notes: remarks about the requests, to be logged.
    """

    draft: PlanDraft
    bill: Bill
    share_identical: bool
    problems: list[RowProblem] = field(default_factory=list)
    count: int = 0
    notes: set[str] = field(default_factory=set)
    median_seconds: float = 0.0
    #: The checksum of each frame, or what is wrong with it. Each file is read only once per parameter and model.
    _frames: dict[tuple[str, str, str], str | tuple[FieldProblem, ...]] = field(default_factory=dict)
    #: The position of the first row of each fingerprint.
    _first: dict[str, int] = field(default_factory=dict)

    def take(self, rows: Iterable[Row]) -> None:
        """Read all rows."""
        for row in rows:
            self.count += 1
            images = self._checksums(row)
            if images is not None:
                self._add(row, images)

    def _checksums(self, row: Row) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for name, path in row.request.local_images.items():
            place = name, path, row.request.model
            if place not in self._frames:
                try:
                    self._frames[place] = read_image(name, path, row.request).sha256
                except InvalidParameterError as error:
                    self._frames[place] = error.problems
            known = self._frames[place]
            if isinstance(known, str):
                found[name] = known
            else:
                self.problems += [RowProblem(row.number, problem) for problem in known]
        return None if self.problems else found

    def _add(self, row: Row, images: dict[str, str]) -> None:
        position = len(self.draft)
        self.median_seconds = self.median_seconds or expected_seconds(row.request.model, row.request.resolution)
        self.notes.update(row.request.notes())
        digest = row_fingerprint(row.request, images)
        key = row.key
        if self.share_identical:
            first = self._first.setdefault(digest, position)
            if first != position:
                self.draft.add_twin(Twin(row.number, first, row.labels))
                return
            key = f"{digest[:32]}-1"
        usd = self.bill.add(row.request)
        price = None if usd is None else float(usd)
        self.draft.add(PlannedRow(position, row.number, key, digest, row.request, row.labels, images, price))


# --- budget ------------------------------------------------------------------------------------------------------


def approve(owner: str, plan: Plan, ledger: Ledger, bill: Bill, limit: Decimal | None) -> int:
    """Log what is still to be paid for, and refuse it if the batch would cost more than the user allows.

    :return: how many rows have not ended yet.
    :raises InvalidVeoArgument: with the estimate in its text; nothing was submitted.
    """
    spent, coming = Decimal(0), Decimal(0)
    new, under_way = 0, 0
    for position, slot in enumerate(plan.index.slots):
        row = ledger.rows.get(slot)
        if row is not None and row.state is RecordState.LANDED:
            spent += Decimal(0) if row.reused else Decimal(str(row.cost_usd or 0))
        action = decision_on(plan, row, slot, None, time.time()).action
        if action is Action.SUBMIT:
            new += 1
        elif action in (Action.RESEND, Action.WAIT):
            under_way += 1
        else:
            continue
        if row is None or row.state is not RecordState.LANDED:
            coming += Decimal(str(plan.index.estimates[position] or 0))
    log.info("%s.", bill.short)
    done = len(plan.index.slots) - new - under_way
    text = (
        f"{new:,} rows are to be paid for, {under_way:,} are under way, {done:,} have ended: "
        f"about {coming:,.2f} USD to come, {spent:,.2f} USD spent"
    )
    log.info("%s%s.", text, "" if limit is None else f"; max_cost_usd is {money(limit)}")
    if limit is not None and new:
        if bill.unknown:
            models = ", ".join(sorted(bill.unknown))
            allowed = f"no price is known for {models}, so the table cannot be compared; leave it out to go on"
            arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
        if spent + coming > limit:
            allowed = f"this table costs about {spent + coming:,.2f} USD ({text}). The bill: {bill.short}"
            arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
    return new + under_way
