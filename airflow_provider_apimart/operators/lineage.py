"""What the operators share about lineage: what a try has made, told to Airflow's assets and to OpenLineage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.client.model_rules import FRAME_FIELDS
from airflow_provider_apimart.operators import arguments

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_apimart.hooks.reports.lineage import Lineage


class TellsLineage:
    """An operator that tells what it has read and made.

    A subclass calls :meth:`_tell` as soon as it is known what was made, and may override :meth:`_sources` and
    :meth:`_query`.
    """

    #: What this try has made, once it is known.
    _lineage: Lineage | None = None

    def _sources(self) -> Iterable[Any]:
        """Return the paths and URLs that the task reads, from the rendered arguments."""
        return [getattr(self, name, None) for name in FRAME_FIELDS]

    def _query(self) -> tuple[str, str] | None:
        """Return the SQL text that the task's rows come from, and its connection."""
        return None

    def _tell(self, context: Mapping[str, Any] | Context, made: Callable[..., Lineage]) -> None:
        """Keep what was made for OpenLineage, and tell the task's asset events. It never raises.

        :param made: gets the task's ``map_index``.
        """
        from airflow_provider_apimart.hooks.reports.lineage import tell_assets
        from airflow_provider_apimart.operators.task import map_index_of

        try:
            self._lineage = made(map_index=map_index_of(context))
        except Exception:
            # The videos are paid for, and landed or posted. That must not fail because they cannot be described.
            log: Any = self.log  # type: ignore[attr-defined]
            log.warning("What was made cannot be told to assets and OpenLineage.", exc_info=True)
            return
        tell_assets(self, context, self._lineage)

    # --- called by OpenLineage's provider -----------------------------------------------------------------------------

    def get_openlineage_facets_on_start(self) -> Any:
        """Return what the task is about to read (an ``OperatorLineage``). Only OpenLineage's provider calls this."""
        from airflow_provider_apimart.hooks.reports.lineage import Lineage, inputs_of
        from airflow_provider_apimart.hooks.reports.openlineage import operator_lineage

        return operator_lineage(Lineage(inputs=inputs_of(self._sources())), self._query())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what the task has read and made (an ``OperatorLineage``). Only OpenLineage's provider calls this.

        :param task_instance: not needed: this process has done the work.
        """
        from airflow_provider_apimart.hooks.reports.lineage import Lineage, inputs_of
        from airflow_provider_apimart.hooks.reports.openlineage import operator_lineage

        made = self._lineage or Lineage(facts=self._paid_for())
        inputs = tuple(dict.fromkeys((*made.inputs, *(() if made.inputs else inputs_of(self._sources())))))
        return operator_lineage(replace(made, inputs=inputs), self._query())

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:
        """Return what a try that failed has read, paid for and made (an ``OperatorLineage``)."""
        return self.get_openlineage_facets_on_complete(task_instance)

    def _paid_for(self) -> dict[str, Any]:
        """Return what is known of a generation whose videos this try has not got."""
        generation_id, model = getattr(self, "generation_id", None), getattr(self, "model", None)
        if not generation_id:
            return {}
        from airflow_provider_apimart.hooks.reports.lineage import generation_facts

        return generation_facts([generation_id], [] if arguments.is_unset(model) else [str(model)])
