"""``airflow-provider-apimart reconcile``: find paid generations that no task brings home any more, and land them.

Run it where ``airflow`` itself runs: it reads Airflow's metadata database (3.3 and later), Airflow's connections, and
the record folders that it is given (3.1 and 3.2). It submits nothing, so it cannot pay. It does not look into batches:
clear a batch's task, and it brings home what it has paid for. It also lists the drafts and posts that publishing tasks
have left behind; it sends nothing to their targets.

One record, connection or folder that is in trouble is told, and keeps nothing else from being landed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TextIO

from airflow_provider_apimart import __version__, audit, connect, reconcile_posts, reindex
from airflow_provider_apimart.records import error_text, kept_records

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.generation.landing.reconcile import Ask, Finding, Kept

EXIT_CODES = """\
exit status:
  0  nothing is left to do
  1  something is left: not landed, not known, or lost and told for the first (and last) time; or a draft, or a post
     of which nobody knows whether it is public
  2  arguments are wrong, or a folder or the database could not be looked at; the others were, and so 2 says nothing
     of what is left
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(prog="airflow-provider-apimart", description="Commands beside Airflow's own.")
    parse.add_argument("--version", action="version", version=__version__)
    commands = parse.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "reconcile",
        help="list paid generations that are not landed, and land them",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--land", action="store_true", help="land what is still there, and write down what has come to its end")
    add("--output", metavar="PATH", help="land here (a folder, ending in /) instead of where the tasks wanted it")
    add("--dag-id", help="only the records of this DAG")
    add("--folder", action="append", default=[], metavar="PATH", help="also the records beside this output_path")
    add("--no-database", action="store_true", help="do not read Airflow's metadata database")
    add("--conn-id", help="the connection to ask with (default: the one that paid)")
    add("--include-busy", action="store_true", help="also generations whose task Airflow is still working on")
    add("--forget", action="append", default=[], metavar="ID",
        help="tell no more of this generation (its id, or the idempotency key of a submission)")  # fmt: skip
    add("--all", action="store_true", help="also tell what was told for the last time before")
    add("--json", action="store_true", help="one JSON object a line")
    audit.add_to(commands)
    connect.add_to(commands)
    reindex.add_to(commands)
    return parse


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit status: see :data:`EXIT_CODES`."""
    options = parser().parse_args(argv)
    if options.command == "audit":
        audit.check(options, parser().error)
        return _in_airflow(lambda out: audit.run(options, out))
    if options.command == "connect":
        return _in_airflow(lambda out: connect.run(options, out))
    if options.command == "index":
        return _in_airflow(lambda out: reindex.run(options, out))
    if options.output and not options.output.endswith("/"):
        parser().error(f"--output {options.output!r} must be a folder and end in /")
    if options.no_database and not options.folder:
        parser().error("--no-database without --folder leaves nothing to look at")
    if options.output:
        from airflow_provider_apimart.storage.naming import is_absolute

        if not is_absolute(options.output):
            parser().error(f"--output {options.output!r} must be absolute: sidecars and records name what lands there")
    return _in_airflow(lambda out: _Reconcile(options, out).run())


def _in_airflow(command: Callable[[TextIO], int]) -> int:
    """Run a command that uses Airflow. It is given the real stdout."""
    # With this, connections come from Airflow's own database, as they do for the airflow command itself. It must be set
    # before airflow is imported.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    out = sys.stdout
    # Airflow logs to stdout by default, and would mix its lines with what the command prints.
    with redirect_stdout(sys.stderr):
        return command(out)


class _Reconcile:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, out: TextIO) -> None:
        self.options = options
        self.out = out
        self.found = self.landed = self.left = 0
        self.cost_usd = 0.0
        #: Whether a folder or the database could not be read, or a generation to forget was not found.
        self.blind = False
        self.unforgotten = set(options.forget)

    def run(self) -> int:
        from airflow_provider_apimart.generation.landing.reconcile import findings
        from airflow_provider_apimart.hooks.apimart import ApimartHook

        by_connection: dict[str, list[Kept]] = {}
        for kept in self._kept():
            of_record = kept.record and kept.record.apimart_conn_id
            conn_id = self.options.conn_id or of_record or ApimartHook.default_conn_name
            if self.options.include_busy or not kept.busy:
                by_connection.setdefault(conn_id, []).append(kept)
        for conn_id, records in by_connection.items():
            with _asking(conn_id) as (client, ask):
                for finding in findings(records, ask, closed=self.options.all):
                    self._tell(finding, client)
        posts = reconcile_posts.tell(self.options, self.out, self._blind)
        for wanted in sorted(self.unforgotten):
            self._blind(f"--forget {wanted}: no such generation is left")
        if not self.options.json:
            cost = f" ({self.cost_usd:g} USD)" if self.cost_usd else ""
            landed = f", {self.landed} landed now" if self.options.land else ""
            text = f"{self.found} paid or doubtful generations are not in storage{cost}{landed}; {self.left} left."
            print(text, file=self.out)
            if posts:
                print(f"{posts} drafts, or posts of which nobody knows whether they are public.", file=self.out)
        return 2 if self.blind else 1 if self.left or posts else 0

    def _tell(self, finding: Finding, client: ApimartClient | None) -> None:
        from airflow_provider_apimart.generation.landing.reconcile import Fate

        left = finding.fate is not Fate.UNCHARGED and not (finding.entry and finding.entry.closed_at)
        if left:
            self.found += 1
            self.cost_usd += finding.cost_usd or 0.0
        try:
            outcome = self._outcome(finding, client)
        except Exception as error:
            outcome = f"could not be landed: {error_text(error)}"
        if outcome.startswith("landed"):
            self.landed += 1
            left = False
        elif outcome.startswith("forgotten"):
            left = False
        self.left += left
        if self.options.json:
            text = json.dumps({**finding.as_json(), "outcome": outcome}, ensure_ascii=False)
        else:
            text = _line(finding, outcome)
        print(text, file=self.out, flush=True)

    def _outcome(self, finding: Finding, client: ApimartClient | None) -> str:
        """Do what can be done for a generation, and return what was done."""
        from airflow_provider_apimart.generation.landing import reconcile
        from airflow_provider_apimart.generation.landing.reconcile import Fate

        wanted = {each for each in self.options.forget if finding.names(each)}
        if wanted:
            reconcile.close(finding)
            self.unforgotten -= wanted
            return "forgotten: not told again"
        if finding.fate is Fate.UNCHARGED:
            if self.options.land:
                reconcile.note_uncharged(finding)
            return "nothing to land, nothing was charged"
        if not self.options.land:
            return "not landed; --land lands it" if finding.landable else "not landed"
        if finding.landable and client is not None:
            return self._land(finding, client)
        if finding.fate is Fate.LOST:
            return _closed(finding, "not landed")
        return "not landed"

    def _land(self, finding: Finding, client: ApimartClient) -> str:
        from airflow_provider_apimart.client.errors import VideoExpiredError
        from airflow_provider_apimart.generation.landing import reconcile
        from airflow_provider_apimart.hooks.storage.paths import target_of

        where = self.options.output or (finding.kept.record and finding.kept.record.output_path)
        if not where:
            text = "not landed: its task had no output_path; give --output"
            return _closed(finding, text) if finding.fate is reconcile.Fate.EXPIRED else text
        try:
            landed = reconcile.bring_home(finding, client, target_of(where))
        except VideoExpiredError as error:
            return _closed(finding, f"could not be landed: {error}")
        outcome = "landed " + ", ".join(video.path for video in landed)
        try:
            reconcile.note_landed(finding, landed)
        except Exception as error:
            # The videos are in storage. The next run finds them there, and downloads nothing.
            outcome += f" (not written down: {error_text(error)})"
        return outcome

    def _kept(self) -> Iterator[Kept]:
        """Yield the records of all places that can be read."""
        return kept_records(self.options, self._blind, self._no_store, dag_id=self.options.dag_id)

    def _no_store(self) -> None:
        text = "This Airflow has no task state store (3.3 has): only the given folders are looked at."
        print(text, file=sys.stderr)
        if not self.options.folder:
            self._blind("There is nothing to look at: give the output_path of your tasks as --folder.")

    def _blind(self, text: str) -> None:
        self.blind = True
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _asking(conn_id: str) -> Iterator[tuple[ApimartClient | None, Ask]]:
    """Yield a connection's client and the function that polls with it.

    If the connection cannot be used, yield no client and a function that raises the reason.
    """
    from airflow_provider_apimart.client.errors import ApimartError, ConfigurationError
    from airflow_provider_apimart.client.models import Generation
    from airflow_provider_apimart.generation.landing.reconcile import Asker
    from airflow_provider_apimart.hooks.apimart import ApimartHook

    client, failure = None, ConfigurationError("")
    try:
        client = ApimartHook(conn_id).get_conn()
    except ConfigurationError as error:
        failure = error
    except Exception as error:
        # The text of an error of Airflow's own may hold the connection.
        text = str(error) if isinstance(error, ApimartError) else type(error).__name__
        failure = ConfigurationError(f"the connection {conn_id!r} cannot be used: {text}")

    def refuse(generation_id: str) -> Generation:
        raise failure.with_traceback(None)

    if client is None:
        yield None, refuse
    else:
        with client:
            yield client, Asker(client)


def _closed(finding: Finding, outcome: str) -> str:
    """Record that this generation is now reported for the last time, and return the outcome with a note of that."""
    from airflow_provider_apimart.generation.landing.reconcile import close

    try:
        close(finding)
    except Exception as error:
        return f"{outcome} (not written down: {error_text(error)})"
    return f"{outcome}. Nothing more can be done here: it is not told again (--all tells it)"


def _line(finding: Finding, outcome: str) -> str:
    cost = "cost unknown" if finding.cost_usd is None else f"{finding.cost_usd:g} USD"
    status = finding.view.status if finding.view else "unknown"
    superseded = ", superseded" if finding.superseded else ""
    told = f"{finding.generation_id or '(no id)'}  {status}, {cost}{superseded}; {finding.note}"
    return f"{told}\n  {_place(finding)}: {outcome}"


def _place(finding: Finding) -> str:
    record = finding.kept.record
    asked = record.asked_by if record else {}
    if not asked:
        return finding.kept.store.description
    index = "" if asked.get("map_index", -1) == -1 else f"[{asked['map_index']}]"
    return f"{asked.get('dag_id')} / {asked.get('run_id')} / {asked.get('task_id')}{index}"


if __name__ == "__main__":
    sys.exit(main())
