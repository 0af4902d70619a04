"""Turns what a task has read and made into OpenLineage's classes.

Only OpenLineage's own provider calls for this, so only then is this module imported: nothing else needs the package
``apache-airflow-providers-openlineage``.
"""

from __future__ import annotations

import logging

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import RunFacet, output_statistics_output_dataset

from airflow_provider_apimart.hooks.reports.lineage import Lineage, Output
from airflow_provider_apimart.hooks.rows.sql_rows import sql_hook
from airflow_provider_apimart.storage.naming import DatasetName

log = logging.getLogger(__name__)


@attr.define
class ApimartGenerationRunFacet(RunFacet):
    """What a run paid APIMart for.

    :param generations: how many generations there are.
    :param generationIds: their ids; of a long batch the first ones.
    :param models: their models.
    :param costUsd: what APIMart charged for them; ``None`` if it is not known.
    """

    generations: int
    generationIds: list[str]
    models: list[str]
    costUsd: float | None = None


@attr.define
class ApimartPostRunFacet(RunFacet):
    """What a run has posted, and where.

    :param sha256: the video's checksum.
    """

    target: str
    account: str
    postId: str
    url: str | None
    state: str
    sha256: str
    generationId: str | None = None


def operator_lineage(lineage: Lineage, query: tuple[str, str] | None = None) -> OperatorLineage[Dataset, RunFacet]:
    """Return what OpenLineage is told of a task.

    :param query: the SQL text that the task's rows come from, and its connection.
    """
    facets: dict[str, RunFacet] = {}
    if lineage.facts:
        facets["apimart_generation"] = ApimartGenerationRunFacet(**lineage.facts)
    if lineage.post:
        facets["apimart_post"] = ApimartPostRunFacet(**lineage.post)
    told = OperatorLineage[Dataset, RunFacet](
        inputs=[InputDataset(namespace=name.namespace, name=name.name) for name in lineage.inputs],
        outputs=[_output(output) for output in lineage.outputs],
        run_facets=facets,
    )
    tables = None if query is None else _tables(*query)
    return told if tables is None else told.merge(tables)


def _output(output: Output) -> OutputDataset:
    known: DatasetName = output.name
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=output.rows, size=output.bytes, fileCount=output.files
    )
    empty = output.rows is None and output.bytes is None and output.files is None
    return OutputDataset(
        namespace=known.namespace,
        name=known.name,
        outputFacets={} if empty else {"outputStatistics": statistics},
    )


def _tables(sql: str, conn_id: str) -> OperatorLineage[Dataset, RunFacet] | None:
    """Return the tables that a query reads, by its text alone; ``None`` if the database's hook cannot name them."""
    from airflow.providers.openlineage.sqlparser import get_openlineage_facets_with_sql

    try:
        # (No connection: a question to the database would not be worth its risk.)
        return get_openlineage_facets_with_sql(
            hook=sql_hook(conn_id), sql=sql, conn_id=conn_id, database=None, use_connection=False
        )
    except Exception as error:
        # The other names are worth having without the tables.
        log.info("OpenLineage is not told the tables of the query to %r: %s", conn_id, type(error).__name__)
        return None
