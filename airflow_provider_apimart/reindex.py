"""``airflow-provider-apimart index``: fills the gallery's index from the runs that Airflow still knows, and prunes it.

The API server keeps the index by itself from the first time that somebody opens the gallery. This command is for what
came before: runs that are older, or of an older version of the provider. It pays nothing and changes no task.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_apimart.records import first_line

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

DESCRIPTION = """\
Fill the gallery's index (Browse -> Videos) from the runs that Airflow's database still has, and prune it.

The API server keeps the index up to date by itself. Run this once after the provider was installed or upgraded, where
"airflow" itself runs: it reads Airflow's metadata database, and the manifests of batches. It can run at any time, also
while API servers work, and again; a run that was stopped is completed by the next one. It pays nothing and changes no
task.
It also makes the index's tables, for installations whose API server may not: run it there as a database user who may.
"""
EXIT_CODES = """\
exit status:
  0  all of it is in the index
  1  a batch's manifest could not be read: its rows are missing
  2  arguments are wrong, or the database could not be used
"""


def add_to(commands: Any) -> None:
    """Add the command to the command line's subcommands."""
    command = commands.add_parser(
        "index",
        help="fill the gallery's index from earlier runs, and prune it",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--dag-id", help="only the runs of this Dag")
    add("--since", metavar="YYYY-MM-DD", type=_day, help="only tasks that began on this day (UTC) or later")
    add("--forget-before", metavar="YYYY-MM-DD", type=_day,
        help="only this: take what was submitted before this day out of the index; the videos stay")  # fmt: skip
    add("--rebuild", action="store_true",
        help="empty the index first: what Airflow's database no longer has is then lost to the gallery")  # fmt: skip


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; allowed: YYYY-MM-DD") from None


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Run the command, and return its exit status."""
    try:
        return _run(options, out)
    except Exception as error:
        print(f"The index could not be filled: {first_line(error)}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, out: TextIO) -> int:
    from airflow_provider_apimart.ui.index import tables
    from airflow_provider_apimart.ui.sources.settings import settings

    using = settings()
    engine = tables.airflow_engine()
    if options.rebuild:
        tables.make_anew(engine)
    else:
        tables.make_ready(engine)
    if options.forget_before is not None:
        print(f"{_prune(engine, options.forget_before)} generations taken out of the index.", file=out)
        return 0
    troubles = list(_fill(engine, options, using.video_roots, out))
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    if using.index_retention_days:
        gone = _prune(engine, datetime.now(UTC) - timedelta(days=using.index_retention_days))
        print(f"{gone} generations older than {using.index_retention_days} days taken out.", file=out)
    return 1 if troubles else 0


def _fill(engine: Engine, options: argparse.Namespace, roots: tuple[str, ...], out: TextIO) -> Iterator[str]:
    """Fill the index, and yield what could not be read."""
    from airflow_provider_apimart.ui.index import backfill

    count = backfill.Count()
    for count in backfill.tasks_into(engine, dag_id=options.dag_id, since=options.since):
        print(f"{count.tasks} tasks looked at ...", file=sys.stderr)
    lines = 0
    for read, trouble in backfill.manifests_into(engine, roots):
        lines += read
        if trouble is not None:
            yield trouble
    text = f"{count.tasks} tasks looked at: {count.changed} generations are new or changed in the index"
    print(f"{text}; {count.batches} batches, {lines} of their rows read.", file=out)


def _prune(engine: Engine, before: datetime) -> int:
    from airflow_provider_apimart.ui.index.keeper import PRUNE_STEP, prune

    gone = part = prune(engine, before)
    while part == PRUNE_STEP:
        part = prune(engine, before)
        gone += part
    return gone
