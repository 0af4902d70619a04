"""The start of a batch: the table becomes planned rows, and their cost is checked against the budget."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.client.errors import ConfigurationError, FieldProblem, InvalidParameterError
from airflow_provider_apimart.client.fallback import is_another, with_model
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.batch.bill import Bill, money
from airflow_provider_apimart.generation.batch.draft import PlanDraft
from airflow_provider_apimart.generation.batch.engine.resume import decision_on, next_todo
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow, Twin, row_fingerprint
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.generation.catalogue.schemas import schema_problems
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
from airflow_provider_apimart.hooks.storage.paths import read_image
from airflow_provider_apimart.hooks.tables import stream_table
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.batch.arguments import BatchArguments

log = logging.getLogger(__name__)


# --- rows --------------------------------------------------------------------------------------------------------


def plan_rows(
    task: BatchArguments, draft: PlanDraft, prices: PriceList, client: ApimartClient | None = None
) -> Planned:
    """Read the table into a draft, row by row, check all of it, and add up what it costs.

    :param client: asks APIMart for the schemas of models that are not known here, with ``rules="schema"``.
    :raises InvalidVeoArgument: if no row could use the fallback model.
    :raises TableError: with every problem of every row, or with all frames that cannot be used.
    """
    fallback = None if arguments.is_unset(task.fallback_model) else str(task.fallback_model)
    planned = Planned(
        draft,
        Bill(prices),
        share_identical=task.reuse == "always",
        fallback_model=fallback,
        fallback_bill=Bill(prices),
        client=client if task.rules == "schema" else None,
    )
    try:
        _read(task, planned)
    except EmptyTableError as error:
        if not arguments.truth_of(task.allow_empty):
            raise
        log.info("%s.", error)
    if planned.problems:
        raise table_error("the table", planned.count, planned.problems)
    if fallback is not None and planned.count and not planned.fallback_bill.count:
        allowed = "allowed: another model than that of every row, or None"
        arguments.refuse(arguments.owner_of(task), [FieldProblem("fallback_model", fallback, allowed)])
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
            tells_lineage=True,
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
    :param fallback_bill: what the table costs with the fallback model, where that can take the place of a row's own.
    """

    draft: PlanDraft
    bill: Bill
    share_identical: bool
    problems: list[RowProblem] = field(default_factory=list)
    count: int = 0
    notes: set[str] = field(default_factory=set)
    fallback_model: str | None = None
    fallback_bill: Bill = field(default_factory=lambda: Bill(PriceList()))
    client: ApimartClient | None = None
    median_seconds: float = 0.0
    #: The checksum of each frame, or what is wrong with it. Each file is read only once per parameter and model.
    _frames: dict[tuple[str, str, str], str | tuple[FieldProblem, ...]] = field(default_factory=dict)
    #: The position of the first row of each fingerprint.
    _first: dict[str, int] = field(default_factory=dict)

    def take(self, rows: Iterable[Row]) -> None:
        """Read all rows."""
        for row in rows:
            self.count += 1
            images = self._checksums(row.number, row.request)
            fallback = self._checked(row)
            if images is not None:
                self._add(row, images, fallback)

    def _checked(self, row: Row) -> VeoRequest | None:
        """Check a row by APIMart's schema, and by what the fallback model takes. Return its request to the latter."""
        other = None
        try:
            if self.fallback_model is not None and is_another(row.request.model, self.fallback_model):
                other = with_model(row.request, self.fallback_model)
                self._checksums(row.number, other)
        except InvalidParameterError as error:
            self.problems += [RowProblem(row.number, problem) for problem in error.problems]
        if self.client is not None:
            for request in filter(None, (row.request, other)):
                found = schema_problems(self.client, request)
                self.problems += [RowProblem(row.number, problem) for problem in found]
        return other

    def _checksums(self, number: int, request: VeoRequest) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for name, path in request.local_images.items():
            place = name, path, request.model
            if place not in self._frames:
                try:
                    self._frames[place] = read_image(name, path, request).sha256
                except InvalidParameterError as error:
                    self._frames[place] = error.problems
            known = self._frames[place]
            if isinstance(known, str):
                found[name] = known
            else:
                self.problems += [RowProblem(number, problem) for problem in known]
        return None if self.problems else found

    def _add(self, row: Row, images: dict[str, str], fallback: VeoRequest | None) -> None:
        if self.problems:
            return
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
        if fallback is not None:
            self.notes.update(f"fallback_model: {note}" for note in fallback.notes())
        usd = self.bill.add(row.request)
        price = None if usd is None else float(usd)
        other = None if fallback is None else self.fallback_bill.add(fallback)
        self.draft.add(
            PlannedRow(position, row.number, key, digest, row.request, row.labels, images, price),
            fallback_usd=None if other is None else float(other),
            no_fallback=self.fallback_model is not None and fallback is None,
        )


# --- budget ------------------------------------------------------------------------------------------------------


def approve(
    owner: str,
    plan: Plan,
    ledger: Ledger,
    bill: Bill,
    limit: Decimal | None,
    fallback_bill: Bill | None = None,
    check: Any = None,
) -> int:
    """Log what is still to be paid for, and refuse it if the batch would cost more than the user allows.

    :param fallback_bill: what the fallback model would cost. The batch is refused if its limit does not cover that
        either: the fallback could then not be used.
    :param check: the operator's argument; what it needs has to be there before a row is paid for.
    :return: how many rows have not ended yet.
    :raises InvalidVeoArgument: with the estimate in its text; nothing was submitted.
    :raises ConfigurationError: if the extra for ``check`` is missing.
    """
    spent, coming, fallback_coming = Decimal(0), Decimal(0), Decimal(0)
    new, under_way = 0, 0
    for position, slot in enumerate(plan.index.slots):
        row = ledger.rows.get(slot)
        if row is not None and row.state is RecordState.LANDED:
            spent += Decimal(0) if row.reused else Decimal(str(row.cost_usd or 0))
        decision = decision_on(plan, row, slot, None, time.time())
        todo = next_todo(plan, position, row, decision)
        if todo is not None:
            new += 1
        elif decision.action in (Action.RESEND, Action.WAIT):
            under_way += 1
        else:
            continue
        if row is None or row.state is not RecordState.LANDED:
            taken_up = todo.fallback if todo else bool(row and row.fallback_from)
            usd = Decimal(str(plan.index.estimate(position, fallback=taken_up)))
            coming += usd
            can_fall_back = todo is not None and plan.index.can_fall_back(position)
            fallback_coming += Decimal(str(plan.index.estimate(position, fallback=True))) if can_fall_back else usd
    log.info("%s.", bill.short)
    done = len(plan.index.slots) - new - under_way
    text = (
        f"{new:,} rows are to be paid for, {under_way:,} are under way, {done:,} have ended: "
        f"about {coming:,.2f} USD to come, {spent:,.2f} USD spent"
    )
    log.info("%s%s.", text, "" if limit is None else f"; max_cost_usd is {money(limit)}")
    other = plan.index.rules.fallback_model
    if other is not None:
        log.info("With fallback_model=%r in place of every other model: about %s USD to come.", other, fallback_coming)
    if limit is not None and new:
        unknown = {*bill.unknown, *(fallback_bill.unknown if fallback_bill else ())}
        if unknown:
            models = ", ".join(sorted(unknown))
            allowed = f"no price is known for {models}, so the table cannot be compared; leave it out to go on"
            arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
        if spent + coming > limit:
            allowed = f"this table costs about {spent + coming:,.2f} USD ({text}). The bill: {bill.short}"
            arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
        if spent + fallback_coming > limit:
            allowed = (
                f"with fallback_model={other!r} in place of every other model this table costs about "
                f"{spent + fallback_coming:,.2f} USD, so the fallback could not be used to the end"
            )
            arguments.refuse(owner, [FieldProblem("max_cost_usd", float(limit), allowed)])
    if new and check is not None:
        from airflow_provider_apimart.operators.checks import before_paying

        before_paying(check)
    return new + under_way
