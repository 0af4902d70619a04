"""``airflow-provider-apimart audit``: what APIMart has billed, beside what tasks have written down."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_apimart.records import error_text, kept_records

if TYPE_CHECKING:
    from airflow_provider_apimart.client.client import ApimartClient
    from airflow_provider_apimart.client.usage import Usage
    from airflow_provider_apimart.generation.audit.comparison import Audit, Line
    from airflow_provider_apimart.generation.audit.entries import Entry

DESCRIPTION = """\
Compare what APIMart has billed (GET /v1/usage) with what tasks have written down: the records in Airflow's metadata
database (3.3 and later) and the given folders, and the manifests of batches. Run it where "airflow" itself runs. It
pays nothing and changes nothing.

Days are those of UTC. APIMart books a generation when it is completed; one that is completed around midnight may stand
on another day than here. Records live as long as their DAG runs: what "airflow db clean" has deleted is on the bill
alone.
"""
EXIT_CODES = """\
exit status:
  0  the bill and the tasks say the same
  1  they differ on a day
  2  arguments are wrong, or the bill, a folder, a manifest or the database could not be read
"""


def add_to(commands: Any) -> None:
    """Add the command to the command line's subcommands."""
    command = commands.add_parser(
        "audit",
        help="compare what APIMart has billed with what tasks have written down",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--from", dest="first", metavar="YYYY-MM-DD", type=_day, required=True, help="the first day (UTC)")
    add("--to", dest="last", metavar="YYYY-MM-DD", type=_day, help="the last day (default: the first one)")
    add("--conn-id", help="the connection whose bill is read (default: apimart_default)")
    add("--scope", choices=("key", "account"), default="key",
        help="the bill of the connection's key, or of all keys of its account (default: key)")  # fmt: skip
    add("--folder", action="append", default=[], metavar="PATH", help="also the records beside this output_path")
    add("--manifest", action="append", default=[], metavar="PATH",
        help="also this manifest of a batch, beside those that Airflow's database knows")  # fmt: skip
    add("--no-database", action="store_true", help="do not read Airflow's metadata database")
    add("--tolerance", metavar="USD", type=_usd, default="0.01", help="what a day may differ by (default: 0.01)")
    add("--json", action="store_true", help="one JSON object")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; allowed: YYYY-MM-DD") from None


def _usd(text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or usd < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of USD; allowed: 0 or more")
    return usd


def check(options: argparse.Namespace, refuse: Callable[[str], Any]) -> None:
    """Refuse arguments that do not go together."""
    options.last = options.last or options.first
    if options.last < options.first:
        refuse(f"--to {options.last} is before --from {options.first}")
    if options.first > datetime.now(UTC).date():
        refuse(f"--from {options.first} is in the future")


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Run the command, and return its exit status."""
    from airflow_provider_apimart.client.errors import ApimartError
    from airflow_provider_apimart.generation.audit.comparison import compare
    from airflow_provider_apimart.generation.audit.entries import each_once
    from airflow_provider_apimart.hooks.apimart import ApimartHook

    troubles: list[str] = []
    try:
        with ApimartHook(options.conn_id or ApimartHook.default_conn_name).get_conn() as client:
            bill = list(_bill(client, options))
            mark = _mark(client)
    except ApimartError as error:
        # No bill is not a bill of 0.
        print(f"The bill cannot be read: {error}", file=sys.stderr)
        return 2
    known = each_once(_entries(options, troubles.append))
    if options.scope == "key":
        elsewhere = [entry for entry in known if entry.account not in (None, mark)]
        known = [entry for entry in known if entry.account in (None, mark)]
        if elsewhere:
            text = f"{len(elsewhere)} generations were paid with other keys, and are left out; see --scope account."
            print(text, file=sys.stderr)
    audit = compare(bill, known, options.first, options.last)
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    differing = audit.differing(options.tolerance)
    if options.json:
        print(json.dumps(_as_json(audit, options), ensure_ascii=False), file=out)
    else:
        _print(audit, differing, options, out)
    return 2 if troubles else 1 if differing else 0


# --- the bill ---------------------------------------------------------------------------------------------------------


def _bill(client: ApimartClient, options: argparse.Namespace) -> Iterator[Usage]:
    from airflow_provider_apimart.client.usage import MOST_DAYS, usage

    begin = options.first
    while begin <= options.last:
        end = min(options.last, begin + timedelta(days=MOST_DAYS - 1))
        yield from client.send(usage(begin, end, scope=options.scope))
        begin = end + timedelta(days=1)


def _mark(client: ApimartClient) -> str:
    from airflow_provider_apimart.generation.purchase.identity import account_mark

    return account_mark(client.settings.base_url, client.settings.api_key)


# --- what tasks have written down -------------------------------------------------------------------------------------


def _entries(options: argparse.Namespace, trouble: Callable[[str], None]) -> Iterator[Entry]:
    from airflow_provider_apimart.generation.audit.entries import of_line, of_record, of_told
    from airflow_provider_apimart.hooks.manifest import read_manifest

    manifests = dict.fromkeys(options.manifest)
    if not options.no_database:
        try:
            for where, told in _told(options):
                if isinstance(path := told.get("manifest"), str):
                    manifests[path] = None
                elif entry := of_told(told, where):
                    yield entry
        except Exception as error:
            trouble(f"The XComs in Airflow's database cannot be looked at: {error_text(error)}")
    for kept in kept_records(options, trouble, _no_store):
        if kept.record is None:
            trouble(kept.problem)
        else:
            yield from of_record(kept.record)
    for path in manifests:
        try:
            yield from filter(None, (of_line(line, path) for line in read_manifest(path)))
        except Exception as error:
            trouble(f"The manifest {path} cannot be read: {error_text(error)}")


def _no_store() -> None:
    print("This Airflow keeps no records in its database (3.3 does).", file=sys.stderr)


def _told(options: argparse.Namespace) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from airflow_provider_apimart.hooks.reports.told import told_by_tasks
    from airflow_provider_apimart.ui.sources.kinds import OPERATORS, Kind

    makers = [name for name, kind in OPERATORS.items() if kind in (Kind.GENERATION, Kind.BATCH)]
    # What was completed on the first day was told then or later.
    return told_by_tasks(makers, datetime.combine(options.first, time(), UTC))


# --- the answer -------------------------------------------------------------------------------------------------------


def _as_json(audit: Audit, options: argparse.Namespace) -> dict[str, Any]:
    def number(usd: Decimal) -> float:
        return round(float(usd), 6)

    return {
        "from": options.first.isoformat(),
        "to": options.last.isoformat(),
        "scope": options.scope,
        "agrees": not audit.differing(options.tolerance),
        "billed_usd": number(audit.billed_usd),
        "recorded_usd": number(audit.known_usd),
        "days": [
            {
                "date": line.day.isoformat(),
                "model": line.model,
                "billed_usd": number(line.billed_usd),
                "billed": line.billed,
                "recorded_usd": number(line.known_usd),
                "recorded": line.known,
                "without_cost": line.unpriced,
                "difference_usd": number(line.difference_usd),
                "agrees": line.agrees(options.tolerance),
                "generations": [_entry_as_json(entry) for entry in line.entries],
                "open": [_entry_as_json(entry) for entry in line.open],
            }
            for line in audit.lines
        ],
        "other_models": [
            {"model": name, "billed_usd": number(one.usd), "billed": one.requests}
            for name, one in sorted(audit.others.items())
        ],
    }


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    usd = None if entry.usd is None else round(float(entry.usd), 6)
    return {"generation_id": entry.id, "cost_usd": usd, "asked_by": entry.where}


def _print(audit: Audit, differing: list[Line], options: argparse.Namespace, out: TextIO) -> None:
    rows = [("day", "model", "billed", "recorded", "difference")]
    for line in audit.lines:
        difference = "" if line not in differing else f"{line.difference_usd:+.4f} USD: {_meaning(line)}"
        billed, known = f"{line.billed_usd:.4f} USD ({line.billed})", f"{line.known_usd:.4f} USD ({line.known})"
        rows.append((line.day.isoformat(), line.model, billed, known, difference))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows if len(rows) > 1 else []:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join((*cells, row[4])).rstrip(), file=out)
    for name, one in sorted(audit.others.items()):
        print(f"Not compared: {one.usd:.4f} USD ({one.requests}) for {name}, which no task has asked for.", file=out)
    waiting = [entry for line in audit.lines for entry in line.open]
    if waiting:
        text = (
            f"{len(waiting)} generations are open, and may be on the bill: `airflow-provider-apimart reconcile` asks."
        )
        print(text, file=out)
    end = f"{options.first} to {options.last}: {audit.billed_usd:.4f} USD billed, {audit.known_usd:.4f} USD recorded"
    print(f"{end}; {len(differing) or 'no'} day(s) with a difference.", file=out)


def _meaning(line: Line) -> str:
    if line.billed > line.known:
        more = line.billed - line.known
        return f"{more} billed that no record tells of" + (f", {len(line.open)} are open" if line.open else "")
    if line.billed < line.known:
        return f"{line.known - line.billed} recorded that are not on the bill (yet)"
    return "the same generations at other costs"
