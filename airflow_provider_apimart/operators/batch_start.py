"""How a batch begins: arguments are checked, the table becomes planned rows, the budget is asked."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_apimart.client.errors import ConfigurationError, FieldProblem, InvalidParameterError
from airflow_provider_apimart.generation.batch.bill import Bill, money
from airflow_provider_apimart.generation.batch.draft import PlanDraft
from airflow_provider_apimart.generation.batch.plan import Plan, PlannedRow, Twin, row_fingerprint
from airflow_provider_apimart.generation.batch.resume import decision_on
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.generation.decide import Action
from airflow_provider_apimart.generation.pricing import PriceList
from airflow_provider_apimart.generation.record import RecordState
from airflow_provider_apimart.generation.schedule import expected_seconds
from airflow_provider_apimart.generation.table import (
    Columns,
    EmptyTableError,
    Row,
    RowProblem,
    stream_rows,
    table_error,
)
from airflow_provider_apimart.generation.table_files import is_delimiter
from airflow_provider_apimart.hooks.storage import read_image
from airflow_provider_apimart.hooks.tables import TableFormat, stream_table
from airflow_provider_apimart.operators import arguments

if TYPE_CHECKING:
    from airflow_provider_apimart.operators.batch import VeoGenerateBatchOperator

log = logging.getLogger(__name__)


def literal_problems(task: VeoGenerateBatchOperator) -> list[FieldProblem]:
    """Return what is wrong with the arguments as far as they are known while the DAG is parsed."""
    problems = arguments.fixed_problems("deferrable", task.deferrable, (True, False))
    return problems + _source_problems(task, parsing=True) + _argument_problems(task, arguments.unless_late(task))


def late_problems(task: VeoGenerateBatchOperator) -> list[FieldProblem]:
    """Return what is wrong with the arguments as they are rendered, before anything is paid for."""
    return _source_problems(task, parsing=False) + _argument_problems(task, arguments.always)


def _source_problems(task: VeoGenerateBatchOperator, *, parsing: bool) -> list[FieldProblem]:
    given = [name for name in ("requests", "table", "sql") if not arguments.is_unset(getattr(task, name))]
    # While the DAG is parsed, a template may yet render to nothing: {{ params.table or '' }}.
    late = [name for name in given if parsing and _may_be_blank(getattr(task, name))]
    if not given or len(given) - len(late) > 1:
        allowed = "exactly one of requests, table and sql (with sql_conn_id) says what the rows are"
        return [FieldProblem("requests", f"given: {', '.join(given) or 'none'}", allowed)]
    if arguments.is_unset(task.sql_conn_id) if "sql" in given else parsing and not arguments.is_unset(task.sql_conn_id):
        return [FieldProblem("sql_conn_id", task.sql_conn_id, "goes with sql, and sql with it")]
    return []


def _may_be_blank(value: Any) -> bool:
    return arguments.is_template(value) and not isinstance(value, (list, tuple))


def _argument_problems(task: VeoGenerateBatchOperator, check: arguments.Check) -> list[FieldProblem]:
    problems = check(arguments.choice_problems, "on_row_failure", task.on_row_failure, ("continue", "stop"))
    problems += check(arguments.choice_problems, "reuse", task.reuse, ("run", "always"))
    problems += check(arguments.choice_problems, "on_clear", task.on_clear, ("reuse", "regenerate"))
    problems += check(arguments.choice_problems, "on_unknown_submit", task.on_unknown_submit, ("resend", "fail"))
    problems += check(arguments.choice_problems, "on_mismatch", task.on_mismatch, ("warn", "fail"))
    problems += check(arguments.choice_problems, "manifest_format", task.manifest_format, ("jsonl", "parquet"))
    problems += check(arguments.seconds_problems, "timeout", task.timeout)
    problems += check(arguments.seconds_problems, "poll_interval", task.poll_interval)
    problems += check(arguments.count_problems, "max_in_flight", task.max_in_flight)
    problems += check(_rate_problems, "requests_per_minute", task.requests_per_minute)
    problems += check(arguments.range_problems, "max_failed_share", task.max_failed_share, 0, 1, "a share from 0 to 1")
    problems += check(arguments.money_problems, "max_cost_usd", task.max_cost_usd)
    problems += check(arguments.truth_problems, "dry_run", task.dry_run_only)
    problems += check(arguments.mapping_problems, "columns", task.columns)
    problems += check(arguments.mapping_problems, "defaults", task.defaults)
    problems += check(arguments.connection_problems, "apimart_conn_id", task.apimart_conn_id)
    if arguments.is_unset(task.output_path):
        problems.append(FieldProblem("output_path", task.output_path, "is needed: the folder for videos and manifest"))
    else:
        problems += check(arguments.output_problems, "output_path", task.output_path)
    if not arguments.is_unset(task.state_path):
        problems += check(arguments.output_problems, "state_path", task.state_path)
    return problems + _table_problems(task, check)


def _table_problems(task: VeoGenerateBatchOperator, check: arguments.Check) -> list[FieldProblem]:
    """Return what is wrong with how the table is to be read."""
    problems = check(arguments.truth_problems, "allow_empty", task.allow_empty)
    if not arguments.is_unset(task.table_quoting):
        problems += check(arguments.truth_problems, "table_quoting", task.table_quoting, " or None")
    if not arguments.is_unset(task.table_format):
        choices = (*get_args(TableFormat), None)
        problems += check(arguments.choice_problems, "table_format", task.table_format, choices)
    if not arguments.is_unset(task.table_delimiter):
        problems += check(_delimiter_problems, "table_delimiter", task.table_delimiter)
    return problems + check(arguments.mapping_problems, "skip_if", task.skip_if)


def _delimiter_problems(name: str, value: Any) -> list[FieldProblem]:
    if is_delimiter(value):
        return []
    return [FieldProblem(name, value, "allowed: one character, for CSV files, or None")]


def _rate_problems(name: str, value: Any) -> list[FieldProblem]:
    if arguments.is_unset(value):
        return []
    return arguments.range_problems(name, value, 1, math.inf, "a number of requests, 1 or more, or None")


# --- rows --------------------------------------------------------------------------------------------------------


def plan_rows(task: VeoGenerateBatchOperator, draft: PlanDraft, prices: PriceList) -> Planned:
    """Read the table into a draft, row by row, all of it checked, and tell what it costs.

    :raises TableError: with all that is wrong in all rows, or with all frames that cannot be used.
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


def _read(task: VeoGenerateBatchOperator, planned: Planned) -> None:
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
    """What is known of a table's rows once they are in a draft.

    :param share_identical: rows that ask for the same are paid for once.
    :param problems: frames that cannot be used.
    :param count: the table's rows.
    :param notes: what is worth saying about requests of this kind.
    """

    draft: PlanDraft
    bill: Bill
    share_identical: bool
    problems: list[RowProblem] = field(default_factory=list)
    count: int = 0
    notes: set[str] = field(default_factory=set)
    median_seconds: float = 0.0
    #: The checksum of each frame, or what is wrong with it: each file is read once for each kind of model that uses it.
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
    """Tell what is still to be paid for, and refuse it where that is more than the user allows.

    :return: how many rows are not at their end.
    :raises InvalidVeoArgument: with the estimate spelt out; nothing was submitted.
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
