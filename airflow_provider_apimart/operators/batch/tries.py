"""What a try of a batch does: plan the rows, work through them here or in the triggerer, write the manifest.

Thin on purpose. The rows come from ``hooks/tables.py``. ``generation/batch/engine/`` works through them. A journal
beside the output keeps each row's outcome. The manifest is written from it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_apimart._compat import AirflowException, AirflowFailException
from airflow_provider_apimart.client.client import ApimartClient
from airflow_provider_apimart.generation.batch import manifest
from airflow_provider_apimart.generation.batch.bill import Bill
from airflow_provider_apimart.generation.batch.draft import PlanDraft
from airflow_provider_apimart.generation.batch.engine import closing
from airflow_provider_apimart.generation.batch.engine.error_verdicts import Stop, StopKind
from airflow_provider_apimart.generation.batch.plan import STATE_FOLDER, Plan, read_plan, state_folder
from airflow_provider_apimart.generation.batch.states import Ledger
from airflow_provider_apimart.generation.pricing.balance import price_list
from airflow_provider_apimart.generation.tables.rows import TableError
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.reports import lineage, notes
from airflow_provider_apimart.hooks.storage.paths import folder_of, target_of
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.arguments import TRIGGERER_GRACE
from airflow_provider_apimart.operators.batch import arguments as batch_arguments
from airflow_provider_apimart.operators.batch import budget as batch_budget
from airflow_provider_apimart.operators.batch import end as batch_end
from airflow_provider_apimart.operators.batch import start as batch_start
from airflow_provider_apimart.operators.batch import work as batch_work
from airflow_provider_apimart.operators.labels import check_name
from airflow_provider_apimart.operators.recall import AS_IT_WAS
from airflow_provider_apimart.operators.task import DeferringTask, failures, identity_of
from airflow_provider_apimart.storage.files import Target, is_local, local_path
from airflow_provider_apimart.storage.places import check_listing, check_target
from airflow_provider_apimart.triggers.batch import VeoBatchTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class BatchTask(batch_arguments.BatchArguments, DeferringTask, Protocol):
    """The operator of a batch."""


def run(task: BatchTask, context: Context) -> dict[str, Any]:
    """Read and check the table, write the plan, and carry it out here or in the triggerer."""
    owner = arguments.owner_of(task)
    arguments.refuse(owner, batch_arguments.late_problems(task))
    check_name(task, context)
    began = time.time()
    with failures(task):
        manifest.check_format(task.manifest_format)
        output, root = _output(task), _root(task)
        check_target(output)
        named = "output_path" if task.state_path is None else "state_path"
        if task.state_path is not None:
            check_target(root, named)
        check_listing(root.child(STATE_FOLDER), named)
        with PlanDraft() as draft, ApimartHook(task.apimart_conn_id).get_conn() as client:
            try:
                planned = batch_start.plan_rows(task, draft, price_list(client), client)
            except TableError as error:
                # A table error needs no help page, and there is no record to report.
                raise AirflowFailException(str(error)) from error
            bill = planned.bill
            if arguments.truth_of(task.dry_run_only):
                return _bill_only(task, context, bill, planned.count)
            plan = draft.write(
                state_folder(root, identity_of(context)),
                identity=identity_of(context),
                rules=batch_work.rules_of(task, context),
                output_uri=output.uri,
                apimart_conn_id=task.apimart_conn_id,
                median_seconds=planned.median_seconds,
            )
        ledger = batch_work.known(task, plan, root)
        limit = arguments.money_of(task.max_cost_usd)
        missing = batch_start.approve(
            arguments.owner_of(task), plan, ledger, bill, limit, planned.fallback_bill, task.check
        )
        if missing and task.budget is not None:
            batch_budget.look(owner, plan, task.budget, bill, planned.fallback_bill)
    with batch_end.keeping_what_is_paid():
        if missing:
            del ledger
            summary = {"rows": len(plan.index.slots), "left": missing}
            notes.leave(context, lambda: notes.of_batch(task, outcome="running", manifest=None, summary=summary))
            stop = _work(task, plan, output, began, missing)
        else:
            task.log.info("Nothing to do: every row has its outcome.")
            stop = None
        return _finish(task, context, plan, output, stop, began)


def complete(
    task: BatchTask,
    context: Context,
    event: Any,
    plan_uri: str | None,
    began: float,
    manifest_format: manifest.ManifestFormat | None,
) -> dict[str, Any]:
    """Write the manifest of the rows that the trigger has worked through, in the output folder that the plan names.

    The parameters are those of the operator's ``execute_complete``.
    """
    with batch_end.keeping_what_is_paid():
        plan = read_plan(target_of(batch_end.plan_uri_of(plan_uri, event)))
        stop = batch_end.stop_of(event)
        # Airflow has rendered the arguments again since then, and a template may give another value now.
        task.manifest_format = manifest_format or task.manifest_format
        for name, kept in (("output_path", plan.index.output_uri), ("apimart_conn_id", plan.index.apimart_conn_id)):
            now = getattr(task, name)
            # (A folder is the same with and without its slash.)
            if str(now).rstrip("/") != kept.rstrip("/"):
                task.log.warning(AS_IT_WAS, name, kept, now)
                setattr(task, name, kept)
        return _finish(task, context, plan, target_of(plan.index.output_uri), stop, began)


def _output(task: BatchTask) -> Target:
    return folder_of(task.output_path)


def _root(task: BatchTask) -> Target:
    return folder_of(task.output_path if arguments.is_unset(task.state_path) else task.state_path)


def _work(task: BatchTask, plan: Plan, output: Target, began: float, missing: int) -> Stop | None:
    # Airflow does not enforce execution_timeout while a task is deferred. In a worker it interrupts the process,
    # but a callback of the event loop may swallow that interruption. So the engine gets a deadline of its own.
    limit = task.execution_timeout
    deadline = None if limit is None else began + limit.total_seconds()
    if task.deferrable:
        longest = closing.longest(plan.index.rules, missing) if limit is None else limit + TRIGGERER_GRACE
        if is_local(output.fs):
            # The triggerer looks for this folder, to find out whether it sees the same disk.
            os.makedirs(local_path(output), exist_ok=True)
        task.defer(
            trigger=VeoBatchTrigger(
                plan_uri=plan.folder.uri,
                output_path=output.uri,
                apimart_conn_id=task.apimart_conn_id,
                rows=len(plan.index.slots),
                deadline=deadline,
            ),
            method_name="execute_complete",
            kwargs={"plan_uri": plan.folder.uri, "began": began, "manifest_format": task.manifest_format},
            timeout=longest,
        )

    return batch_work.here(plan, output, task.apimart_conn_id, task.log, deadline)


def _bill_only(task: BatchTask, context: Context, bill: Bill, rows: int) -> dict[str, Any]:
    for line in bill.lines():
        task.log.info("%s", line)
    task.log.info("dry_run: nothing was submitted and nothing paid.")
    found = {
        **{"manifest": None, "rows": rows, "landed": 0, "reused": 0, "failed": 0, "left": rows},
        **{"mismatched": 0, "outcomes": {}, "cost_usd": 0.0, "estimated_cost_usd": float(bill.usd), "fallbacks": 0},
    }
    task._tell(context, partial(lineage.of_batch, found, lineage.Tally()))
    return found


def _finish(
    task: BatchTask, context: Context, plan: Plan, output: Target, stop: Stop | None, began: float
) -> dict[str, Any]:
    """Check what has landed, write the manifest, send the metrics, and succeed or fail by the user's policy."""
    ledger = batch_budget.read_and_settle(plan)
    totals, tally = manifest.Totals(), lineage.Tally()
    target = manifest.manifest_target(output, plan, task.manifest_format)
    checks = _checks(task, plan, ledger)
    left_why = None if stop is None else stop.text
    lines = tally.over(manifest.manifest_lines(plan, ledger, totals, checks, left_why))
    manifest.write_manifest(target, lines, task.manifest_format)
    batch_end.count(plan, ledger, since=began)
    level = logging.WARNING if totals.failed or totals.left or totals.mismatched else logging.INFO
    task.log.log(level, "%s. The manifest: %s", batch_end.told(totals), target.uri)
    short = gone = None
    if stop is not None and stop.kind is StopKind.BALANCE:
        short = _ask(task, batch_end.what_is_held)
    if totals.gone:
        gone = _ask(task, partial(batch_end.what_models_there_are, totals.gone))
    rules = plan.index.rules
    found = batch_end.result(totals, target.uri)
    task._tell(context, partial(lineage.of_batch, found, tally))
    try:
        batch_end.refuse(totals, stop, target.uri, rules.max_failed_share, short, rules.on_mismatch, gone)
    except AirflowException as error:
        batch_budget.when_exhausted(task, stop, totals, str(error))
        told = partial(notes.of_batch, task, outcome="failed", manifest=target.uri, summary=found, error=str(error))
        notes.leave(context, told)
        raise
    notes.leave(context, lambda: notes.of_batch(task, outcome="completed", manifest=target.uri, summary=found))
    return found


def _checks(task: BatchTask, plan: Plan, ledger: Ledger) -> dict[int, manifest.RowCheck] | None:
    if task.check is None:
        return None
    from airflow_provider_apimart.operators.batch.check import check_rows

    return check_rows(task.check, plan, ledger)


def _ask(task: BatchTask, question: Callable[[ApimartClient], str]) -> str:
    with ApimartHook(task.apimart_conn_id).get_conn() as client:
        return question(client)
