"""``airflow-provider-apimart reconcile``: find paid generations that no task brings home any more, and land them.

Run it where ``airflow`` itself runs: it reads Airflow's metadata database (3.3 and later), Airflow's connections, and
the record folders that it is given (3.1 and 3.2). It submits nothing, so it cannot pay.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_provider_apimart import __version__

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.generation.reconcile import Finding, Kept


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(prog="airflow-provider-apimart", description=__doc__)
    parse.add_argument("--version", action="version", version=__version__)
    commands = parse.add_subparsers(dest="command", required=True)
    command = commands.add_parser("reconcile", help="list paid generations that are not landed, and land them")
    add = command.add_argument
    add("--land", action="store_true", help="land what is still there; without it, it is only listed")
    add("--output", metavar="PATH", help="land here (a folder, ending in /) instead of where the tasks wanted it")
    add("--dag-id", help="only the records of this DAG")
    add("--folder", action="append", default=[], metavar="PATH", help="also the records beside this output_path")
    add("--no-database", action="store_true", help="do not read Airflow's metadata database")
    add("--conn-id", help="the connection to ask with (default: the one that paid)")
    add("--include-busy", action="store_true", help="also generations whose task Airflow is still working on")
    add("--json", action="store_true", help="one JSON object a line")
    return parse


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when nothing is left to do, 1 when something is, 2 when it could not be found out."""
    options = parser().parse_args(argv)
    if options.output and not options.output.endswith("/"):
        parser().error(f"--output {options.output!r} must be a folder and end in /")
    if options.output:
        from airflow_provider_apimart.generation.places import is_absolute

        if not is_absolute(options.output):
            parser().error(f"--output {options.output!r} must be absolute: sidecars and records name what lands there")
    # Connections come from Airflow's own database, as for the airflow command itself; said before airflow is imported.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    return _reconcile(options)


def _reconcile(options: argparse.Namespace) -> int:
    from airflow_provider_apimart.generation.reconcile import findings
    from airflow_provider_apimart.hooks.apimart import ApimartHook

    by_connection: dict[str, list[Kept]] = {}
    for kept in _kept(options):
        conn_id = options.conn_id or (kept.record and kept.record.apimart_conn_id) or ApimartHook.default_conn_name
        if options.include_busy or not kept.busy:
            by_connection.setdefault(conn_id, []).append(kept)
    found = left = 0
    for conn_id, records in by_connection.items():
        with ApimartHook(conn_id).get_conn() as client:
            for finding in findings(records, client):
                outcome = _outcome(finding, client, options)
                found, left = found + 1, left + (not outcome.startswith("landed"))
                _show(finding, outcome, as_json=options.json)
    if not options.json:
        landed = f", {found - left} landed now" if options.land else ""
        print(f"{found} paid or doubtful generations are not in storage{landed}; {left} left.")
    return 1 if left else 0


def _outcome(finding: Finding, client: ApimartClient, options: argparse.Namespace) -> str:
    from airflow_provider_apimart.client.errors import ApimartError
    from airflow_provider_apimart.generation.reconcile import bring_home
    from airflow_provider_apimart.hooks.storage import target_of

    if not (options.land and finding.landable):
        return "not landed"
    where = options.output or (finding.kept.record and finding.kept.record.output_path)
    if not where:
        return "not landed: its task had no output_path; give --output"
    try:
        landed = bring_home(finding, client, target_of(where))
    except ApimartError as error:
        return f"could not be landed: {error}"
    return "landed " + ", ".join(video.path for video in landed)


def _show(finding: Finding, outcome: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**finding.as_json(), "outcome": outcome}, ensure_ascii=False), flush=True)
        return
    cost = "cost unknown" if finding.cost_usd is None else f"{finding.cost_usd:g} USD"
    status = finding.view.status if finding.view else "unknown"
    superseded = ", superseded" if finding.superseded else ""
    print(f"{finding.generation_id or '(no id)'}  {status}, {cost}{superseded}; {finding.note}")
    print(f"  {_place(finding)}: {outcome}", flush=True)


def _kept(options: argparse.Namespace) -> Iterator[Kept]:
    from airflow_provider_apimart.hooks import record_stores
    from airflow_provider_apimart.hooks.storage import target_of

    if not options.no_database:
        try:
            yield from record_stores.records_of_airflow(options.dag_id)
        except ImportError:
            print(
                "This Airflow has no task state store (3.3 has): only the given folders are looked at.", file=sys.stderr
            )
    for folder in options.folder:
        for kept in record_stores.records_in_folder(target_of(folder if folder.endswith("/") else f"{folder}/")):
            if options.dag_id in (None, kept.record and kept.record.asked_by.get("dag_id")):
                yield kept


def _place(finding: Finding) -> str:
    record = finding.kept.record
    asked = record.asked_by if record else {}
    if not asked:
        return finding.kept.store.description
    index = "" if asked.get("map_index", -1) == -1 else f"[{asked['map_index']}]"
    return f"{asked.get('dag_id')} / {asked.get('run_id')} / {asked.get('task_id')}{index}"


if __name__ == "__main__":
    sys.exit(main())
