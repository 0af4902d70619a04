"""Checks the arguments of a batch, when the DAG is parsed and again when they are rendered."""

from __future__ import annotations

import math
from typing import Any, Protocol, get_args

from airflow_provider_apimart.client.errors import FieldProblem
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.tables.text_files import is_delimiter
from airflow_provider_apimart.hooks.rows.table_files import TableFormat
from airflow_provider_apimart.operators import arguments, budget


class BatchArguments(Protocol):
    """The batch operator's arguments. Any of them may be a template while the DAG is parsed, so none has a type."""

    allow_empty: Any
    apimart_conn_id: Any
    check: Any
    columns: Any
    defaults: Any
    deferrable: Any
    budget: Any
    dry_run_only: Any
    fallback_model: Any
    manifest_format: Any
    max_cost_usd: Any
    max_failed_share: Any
    max_in_flight: Any
    on_clear: Any
    on_mismatch: Any
    on_row_failure: Any
    on_unknown_submit: Any
    output_path: Any
    poll_interval: Any
    requests: Any
    requests_per_minute: Any
    reuse: Any
    rules: Any
    skip_if: Any
    sql: Any
    sql_conn_id: Any
    sql_parameters: Any
    state_path: Any
    table: Any
    table_delimiter: Any
    table_format: Any
    table_quoting: Any
    timeout: Any


def literal_problems(task: BatchArguments) -> list[FieldProblem]:
    """Return what is wrong with those arguments that are known while the DAG is parsed."""
    problems = arguments.fixed_problems("deferrable", task.deferrable, (True, False))
    if task.check is not None:
        from airflow_provider_apimart.operators.checks import landing_problems

        problems += landing_problems(task)
    return problems + _source_problems(task, parsing=True) + _argument_problems(task, arguments.unless_late(task))


def late_problems(task: BatchArguments) -> list[FieldProblem]:
    """Return what is wrong with the rendered arguments, before anything is paid for."""
    return _source_problems(task, parsing=False) + _argument_problems(task, arguments.always)


def _source_problems(task: BatchArguments, *, parsing: bool) -> list[FieldProblem]:
    given = [name for name in ("requests", "table", "sql") if not arguments.is_unset(getattr(task, name))]
    # While the DAG is parsed, a template may still turn out to render to nothing: {{ params.table or '' }}.
    late = [name for name in given if parsing and _may_be_blank(getattr(task, name))]
    if not given or len(given) - len(late) > 1:
        allowed = "exactly one of requests, table and sql (with sql_conn_id) says what the rows are"
        return [FieldProblem("requests", f"given: {', '.join(given) or 'none'}", allowed)]
    if arguments.is_unset(task.sql_conn_id) if "sql" in given else parsing and not arguments.is_unset(task.sql_conn_id):
        return [FieldProblem("sql_conn_id", task.sql_conn_id, "goes with sql, and sql with it")]
    return []


def _may_be_blank(value: Any) -> bool:
    return arguments.is_template(value) and not isinstance(value, (list, tuple))


def _argument_problems(task: BatchArguments, check: arguments.Check) -> list[FieldProblem]:
    problems = check(arguments.choice_problems, "on_row_failure", task.on_row_failure, ("continue", "stop"))
    problems += check(arguments.choice_problems, "reuse", task.reuse, ("run", "always"))
    problems += check(arguments.choice_problems, "on_clear", task.on_clear, ("reuse", "regenerate"))
    if not arguments.is_unset(task.on_unknown_submit):
        problems += check(arguments.choice_problems, "on_unknown_submit", task.on_unknown_submit, ("resend", "fail"))
    problems += check(arguments.choice_problems, "on_mismatch", task.on_mismatch, ("warn", "fail"))
    problems += check(arguments.choice_problems, "rules", task.rules, ("table", "schema"))
    if not arguments.is_unset(task.fallback_model):
        problems += check(_model_problems, "fallback_model", task.fallback_model)
    problems += check(arguments.choice_problems, "manifest_format", task.manifest_format, ("jsonl", "parquet"))
    problems += check(arguments.seconds_problems, "timeout", task.timeout)
    problems += check(arguments.seconds_problems, "poll_interval", task.poll_interval)
    problems += check(arguments.count_problems, "max_in_flight", task.max_in_flight)
    problems += check(_rate_problems, "requests_per_minute", task.requests_per_minute)
    problems += check(arguments.range_problems, "max_failed_share", task.max_failed_share, 0, 1, "a share from 0 to 1")
    problems += check(arguments.money_problems, "max_cost_usd", task.max_cost_usd)
    problems += budget.budget_problems("budget", task.budget)
    problems += budget.wait_problems("budget", task.budget, task.deferrable)
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


def _table_problems(task: BatchArguments, check: arguments.Check) -> list[FieldProblem]:
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


def _model_problems(name: str, value: Any) -> list[FieldProblem]:
    found = VeoRequest.problems({"prompt": "any", "model": value})
    return [FieldProblem(name, value, problem.allowed) for problem in found]


def _delimiter_problems(name: str, value: Any) -> list[FieldProblem]:
    if is_delimiter(value):
        return []
    return [FieldProblem(name, value, "allowed: one character, for CSV files, or None")]


def _rate_problems(name: str, value: Any) -> list[FieldProblem]:
    if arguments.is_unset(value):
        return []
    return arguments.range_problems(name, value, 1, math.inf, "a number of requests, 1 or more, or None")
