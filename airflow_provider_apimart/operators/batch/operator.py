"""``VeoGenerateBatchOperator``: a table of prompts becomes landed videos and a manifest, each row paid for once.

What a try does is in ``tries.py``, which loads when a task begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_apimart._compat import (
    BaseOperator,
    ObjectStoragePath,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators import arguments, models
from airflow_provider_apimart.operators.arguments import DEFAULT_TIMEOUT
from airflow_provider_apimart.operators.batch import arguments as batch_arguments
from airflow_provider_apimart.operators.lineage import TellsLineage
from airflow_provider_apimart.operators.templates import AuthorTemplates

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.generation.batch import manifest
    from airflow_provider_apimart.generation.pricing.budget import Budget
    from airflow_provider_apimart.generation.purchase.decide import OnClear, OnUnknownSubmit
    from airflow_provider_apimart.generation.purchase.mismatch import OnMismatch


class VeoGenerateBatchOperator(TellsLineage, AuthorTemplates, BaseOperator):
    """Generate a video for each row of a table, in one task, and land them all.

    Each row is paid for once, whatever crashes: a retry, or a clear, continues with the rows that are missing. All
    rows are checked before the first is paid for. The videos are named ``<generation id>.mp4``. The manifest maps rows
    to videos, one line per row: ``{"row", "outcome", "labels", "request", "generation_id", "path", "videos",
    "mismatches", "cost_usd", "estimated_cost_usd", "submitted_at", "completed_at", "error", "idempotency_key",
    "fallback_from"}``. The outcome is ``landed``, ``reused``, ``failed``, ``rejected``, ``refused``, ``model_gone``,
    ``empty``, ``parked``, ``unlanded``, ``unknown`` or ``left``.

    Returns (XCom) ``{"manifest", "rows", "landed", "reused", "failed", "left", "mismatched", "outcomes", "cost_usd",
    "estimated_cost_usd", "fallbacks"}``. ``mismatched`` counts the landed or reused rows whose videos differ from their
    requests, ``fallbacks`` those that went to ``fallback_model``.

    :param requests: the rows, as dicts of request parameters under APIMart's names. Other names become labels.
    :param table: a CSV, JSONL or Parquet file instead of ``requests``, local or in any object storage.
    :param table_format: the file's format. Needed only if the file name does not show it.
    :param table_delimiter: the delimiter of a CSV file. The default is the one that its first line names (``sep=;``),
        else ``,``.
    :param table_quoting: how to read quotes in a CSV file. ``False``: they are characters of the text, as in most TSV
        files. ``True``: they enclose values. ``None``: they enclose values, and a value that looks as if a stray quote
        had merged rows is refused.
    :param sql: a query instead of ``requests`` and ``table``. Its columns are the table's columns.
    :param sql_conn_id: the connection of the database that runs the query.
    :param sql_parameters: the query's parameters.
    :param columns: maps a column to a parameter (``{"text": "prompt"}``), or to a label's name.
    :param defaults: parameters for the rows that do not set them.
    :param skip_if: which rows to leave out. Maps a column to a value, or a list of values. A row is left out as soon as
        one column matches. ``None`` matches an empty cell (``{"Title": None}``).
    :param allow_empty: accept a table without rows. The task then succeeds with an empty manifest.
    :param output_path: the folder for the videos and the manifest, in any storage.
    :param max_in_flight: the most generations that run at APIMart at once.
    :param requests_per_minute: the most requests (of any kind) sent per minute. ``None`` adapts to APIMart's own
        refusals (429).
    :param on_row_failure: ``"continue"``, or ``"stop"``: submit no more rows once more than ``max_failed_share`` of all
        rows have failed. Running generations are still landed.
    :param max_failed_share: the share of rows (0 to 1) that may fail without the task failing.
    :param reuse: ``"run"``: each row is paid for in this DAG run. ``"always"``: a row is not paid for if any task or
        run has landed the same request under the same ``state_path``, and identical rows share one video.
    :param state_path: the root folder for the batch's own files (in ``.apimart-batch``). The default is
        ``output_path``.
    :param fallback_model: the model to use for rows whose own model APIMart no longer has: the same request, as a new
        generation that is paid for under its own key. ``None`` gives them the outcome ``model_gone``, at no cost.
    :param rules: what rows are checked against whose model the provider does not know. ``"table"``: nothing.
        ``"schema"``: APIMart's own schema of the model, if it can be had.
    :param max_cost_usd: refuse a table that will cost more, before anything is paid for. It limits the real costs, too.
    :param budget: a :class:`~airflow_provider_apimart.operators.budget.Budget` of a day or a month that rows are paid
        from, shared with other tasks. Once it has no room for the next row, no more rows are paid for: what is paid for
        is brought home, the others are ``left``, and the task fails. A retry or a clear goes on with them. Not
        templated.
    :param dry_run: log what the table will cost, and pay nothing.
    :param on_clear: ``"reuse"``: a cleared task continues with its rows. ``"regenerate"``: it pays for all of them
        again.
    :param on_unknown_submit: what to do with a row whose submission may or may not have been carried out. ``"resend"``:
        send the identical request under the same idempotency key. ``"fail"``: submit nothing until a person has looked.
        ``None``: what the connection says, or else ``"resend"``.
    :param on_mismatch: what to do with a landed row whose video differs from its request (duration, resolution, aspect
        ratio, sound, number of videos). ``"warn"``: note it in the manifest and the log. ``"fail"``: count the row as
        failed, for ``max_failed_share`` and ``on_row_failure``. Its video stays landed and listed, and is not paid for
        again.
    :param check: check the videos of each landed row once all rows have ended (needs the extra ``media``):
        ``"default"``, or a dict of rules and verdicts such as ``{"black": "fail", "loudness": "off"}``; see
        docs/media.md. A row that fails has the outcome ``check_failed`` (``check_skipped`` for the verdict ``skip``),
        is left out by what reads the manifest next, counts for ``max_failed_share``, and is not paid for again by any
        try. Not templated.
    :param timeout: how long one generation may take from its submission: ``timedelta`` or seconds. After that the row
        is parked, and the next try re-attaches to it.
    :param poll_interval: seconds between two polls of one generation. ``None`` adapts to how long generations take.
    :param deferrable: work in the triggerer (``True``) or in the worker.
    :param manifest_format: ``"jsonl"`` or ``"parquet"`` (needs pyarrow).
    :param apimart_conn_id: the connection.
    """

    template_fields: Sequence[str] = (
        *("requests", "table", "table_format", "table_delimiter", "table_quoting", "sql", "sql_conn_id"),
        *("sql_parameters", "columns", "defaults", "skip_if", "allow_empty", "output_path", "state_path"),
        "apimart_conn_id",
        *("max_in_flight", "requests_per_minute", "on_row_failure", "max_failed_share", "reuse", "max_cost_usd"),
        *("dry_run_only", "on_clear", "on_unknown_submit", "on_mismatch", "timeout", "poll_interval"),
        *("manifest_format", "fallback_model", "rules"),
    )
    object_fields = ("requests", "sql_parameters", "columns", "defaults", "skip_if")
    # A row's text is data, whoever wrote the list: a prompt may have braces in it.
    data_fields = ("requests",)
    file_fields = ("sql",)
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", "requests": "json", "defaults": "json"}
    ui_color = "#d9ccff"

    def __init__(
        self,
        *,
        output_path: str | ObjectStoragePath,
        requests: Any = None,
        table: str | ObjectStoragePath | None = None,
        table_format: Any = None,
        table_delimiter: str | None = None,
        table_quoting: bool | None = None,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Any = None,
        columns: Mapping[str, str] | str | None = None,
        defaults: Mapping[str, Any] | str | None = None,
        skip_if: Mapping[str, Any] | str | None = None,
        allow_empty: bool | str = False,
        max_in_flight: int | str = 20,
        requests_per_minute: float | str | None = None,
        on_row_failure: str = "continue",
        max_failed_share: float | str = 0.0,
        reuse: str = "run",
        state_path: str | ObjectStoragePath | None = None,
        fallback_model: str | None = None,
        rules: models.ModelRulesFrom = "table",
        max_cost_usd: float | str | None = None,
        budget: Budget | None = None,
        dry_run: bool | str = False,
        on_clear: OnClear = "reuse",
        on_unknown_submit: OnUnknownSubmit | None = None,
        on_mismatch: OnMismatch = "warn",
        check: Mapping[str, str] | Literal["default"] | None = None,
        timeout: timedelta | float | str = DEFAULT_TIMEOUT,
        poll_interval: timedelta | float | str | None = None,
        deferrable: bool = True,
        manifest_format: manifest.ManifestFormat = "jsonl",
        apimart_conn_id: str = ApimartHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = output_path
        self.requests = requests
        self.table = table
        self.table_format = table_format
        self.table_delimiter = table_delimiter
        self.table_quoting = table_quoting
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.sql_parameters = sql_parameters
        self.columns = columns
        self.defaults = defaults
        self.skip_if = skip_if
        self.allow_empty = allow_empty
        self.max_in_flight = max_in_flight
        self.requests_per_minute = requests_per_minute
        self.on_row_failure = on_row_failure
        self.max_failed_share = max_failed_share
        self.reuse = reuse
        self.state_path = state_path
        self.fallback_model = fallback_model
        self.rules = rules
        self.max_cost_usd = max_cost_usd
        self.budget = budget
        # Not "dry_run": that is a method of Airflow's operators.
        self.dry_run_only = dry_run
        self.on_clear = on_clear
        self.on_unknown_submit = on_unknown_submit
        self.on_mismatch = on_mismatch
        self.check = check
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.manifest_format = manifest_format
        self.apimart_conn_id = apimart_conn_id
        self.help_url: str | None = None
        arguments.refuse(arguments.owner_of(self), batch_arguments.literal_problems(self))

    # --- the two ends of the task --------------------------------------------------------------------------------

    def execute(self, context: Context) -> dict[str, Any]:
        """Read and check the table, write the plan, and carry it out here or in the triggerer."""
        return self._run(context)

    def execute_after_reset(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on with the rows that are left in the budget's next day or month, as a retry does.

        :param event: the trigger's event; see :class:`~airflow_provider_apimart.triggers.budget.BudgetResetTrigger`.
        """
        return self._run(context)

    def _run(self, context: Context) -> dict[str, Any]:
        from airflow_provider_apimart.operators.batch import tries

        return tries.run(self, context)

    def execute_complete(
        self,
        context: Context,
        event: Any,
        plan_uri: str | None = None,
        began: float = 0.0,
        manifest_format: manifest.ManifestFormat | None = None,
    ) -> dict[str, Any]:
        """Write the manifest of the rows that the trigger has worked through, in the output folder that the plan names.

        :param event: the trigger's event; see :class:`~airflow_provider_apimart.triggers.veo.VeoBatchTrigger`.
        :param plan_uri: the folder of the plan; ``None`` if Airflow dropped it, as ``dags test`` does.
        :param began: when the try began, in unix seconds; 0 if Airflow dropped it.
        :param manifest_format: the format when the try began; ``None`` if Airflow dropped it.
        """
        from airflow_provider_apimart.operators.batch import tries

        return tries.complete(self, context, event, plan_uri, began, manifest_format)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. If Airflow itself ended the deferral, log what happens to the paid generations."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            late = isinstance(error, TaskDeferralTimeout)
            self.log.error(
                "Airflow ended the wait (%s%s), and no manifest was written. What runs at APIMart goes on and is "
                "billed when it completes (there is no cancel); the next try, or a clear, goes on from the journal "
                "without paying again.",
                error,
                "; the trigger had not ended in time: check that a triggerer is running" if late else "",
            )
            raise

    def on_kill(self) -> None:
        """Log what happens to the paid generations: APIMart has no cancel."""
        self.log.warning(
            "Airflow stopped this batch. APIMart has no cancel: what is running there goes on and is billed when it "
            "completes. The next try, or a clear, goes on with it without paying again."
        )

    # --- lineage -------------------------------------------------------------------------------------------------

    def _sources(self) -> Iterable[Any]:
        return (self.table,)

    def _query(self) -> tuple[str, str] | None:
        return None if arguments.is_unset(self.sql) else (str(self.sql), str(self.sql_conn_id))
