"""What OpenLineage is told, in its own client's classes."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.openlineage.sqlparser import DatabaseInfo, get_openlineage_facets_with_sql
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from airflow_provider_apimart.hooks.reports import lineage, openlineage
from airflow_provider_apimart.hooks.reports.lineage import Lineage
from airflow_provider_apimart.hooks.reports.openlineage import operator_lineage
from airflow_provider_apimart.storage.naming import DatasetName

SHA = "ab" * 32


def event(told: Any) -> dict[str, Any]:
    """Return the event that OpenLineage's client would send, as JSON."""
    sent = RunEvent(
        eventType=RunState.COMPLETE,
        eventTime="2026-01-01T00:00:00Z",
        run=Run(runId="01890a5d-ac96-774b-bcce-b302099a8057", facets=told.run_facets),
        job=Job(namespace="default", name="a_dag.make", facets=told.job_facets),
        inputs=told.inputs,
        outputs=told.outputs,
        producer="https://example.com",
    )
    found: dict[str, Any] = json.loads(Serde.to_json(sent))
    return found


class Warehouse(DbApiHook):
    """A database whose hook names itself to OpenLineage, as that of Postgres does; it is never connected to."""

    conn_name_attr = "warehouse"

    def get_connection(self, conn_id: str) -> Any:  # type: ignore[override]
        return conn_id

    def get_openlineage_database_info(self, connection: Any) -> DatabaseInfo:
        return DatabaseInfo(scheme="postgres", authority="db:5432", database="shop")

    def get_openlineage_database_dialect(self, connection: Any) -> str:
        return "postgres"

    def get_openlineage_default_schema(self) -> str:
        return "public"

    def get_conn(self) -> Any:
        raise AssertionError("the database is not asked")


def test_a_generation() -> None:
    told = Lineage(
        inputs=(DatasetName("s3://frames", "first.png"),),
        outputs=(lineage.Output(DatasetName("file", "/data/a.mp4"), bytes=1234, files=1),),
        facts=lineage.generation_facts(["gen-1"], ["veo3.1-fast-official"], cost_usd=0.256),
    )
    found = event(operator_lineage(told))
    assert [(one["namespace"], one["name"]) for one in found["inputs"]] == [("s3://frames", "first.png")]
    (output,) = found["outputs"]
    assert (output["namespace"], output["name"]) == ("file", "/data/a.mp4")
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["size"], statistics["fileCount"]) == (1234, 1) and "rowCount" not in statistics
    facet = found["run"]["facets"]["apimart_generation"]
    assert facet.pop("_producer") and facet.pop("_schemaURL")
    assert facet == {
        "generations": 1,
        "generationIds": ["gen-1"],
        "models": ["veo3.1-fast-official"],
        "costUsd": 0.256,
    }


def test_a_post_has_its_own_facet_and_no_statistics() -> None:
    result = {
        "target": "youtube",
        "account": "UC 1",
        "post_id": "abc",
        "url": "https://youtu.be/abc",
        "state": "public",
        "public_since": "2026-01-01T00:00:00Z",
        "video": {"path": "s3://conn@vids/a.mp4", "bytes": 1234, "sha256": SHA, "generation_id": "gen-1"},
    }
    made = lineage.of_post(result, map_index=2)
    assert made.extra == {
        **{name: result[name] for name in ("target", "account", "post_id", "url", "state", "public_since")},
        **{"path": "s3://conn@vids/a.mp4", "uri": "s3://vids/a.mp4", "bytes": 1234, "sha256": SHA},
        **{"generation_id": "gen-1", "map_index": 2},
    }
    found = event(operator_lineage(made))
    assert [(one["namespace"], one["name"]) for one in found["inputs"]] == [("s3://vids", "a.mp4")]
    (output,) = found["outputs"]
    assert (output["namespace"], output["name"], output.get("outputFacets") or {}) == ("youtube://UC%201", "abc", {})
    assert found["run"]["facets"]["apimart_post"]["url"] == "https://youtu.be/abc"
    assert "apimart_generation" not in found["run"]["facets"]


@pytest.mark.skipif(
    "use_connection" not in inspect.signature(get_openlineage_facets_with_sql).parameters,
    reason="an older OpenLineage provider would ask the database; the tables are not told",
)
def test_the_tables_of_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openlineage, "sql_hook", lambda conn_id: Warehouse())
    sql = "SELECT p.text AS prompt FROM prompts p JOIN marketing.products m ON m.id = p.id"
    found = event(operator_lineage(Lineage(inputs=(DatasetName("file", "/x.png"),)), (sql, "warehouse")))
    assert sorted((one["namespace"], one["name"]) for one in found["inputs"]) == [
        ("file", "/x.png"),
        ("postgres://db:5432", "shop.marketing.products"),
        ("postgres://db:5432", "shop.public.prompts"),
    ]
    assert found["job"]["facets"]["sql"]["query"] == sql


def test_a_connection_that_is_gone_costs_only_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    found = event(operator_lineage(Lineage(inputs=(DatasetName("file", "/x.png"),)), ("SELECT 1", "no_such_conn")))
    assert [one["name"] for one in found["inputs"]] == ["/x.png"]
