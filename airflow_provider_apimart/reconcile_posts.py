"""The part of ``airflow-provider-apimart reconcile`` about posts: lists drafts, orphans and what may be public.

It sends nothing and changes nothing: a clear of the task goes on with a draft, or asks the target.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TextIO

from airflow_provider_apimart.records import first_line

if TYPE_CHECKING:
    from airflow_provider_apimart.hooks.stores.post_listing import KeptPost


def tell(options: argparse.Namespace, out: TextIO, blind: Callable[[str], None]) -> int:
    """Print what lies at the targets; return how much of it somebody has to settle.

    :param blind: is told of a place that could not be looked at.
    """
    from airflow_provider_apimart.publishing.leftovers import leftovers

    left = 0
    for kept in _kept(options, blind):
        if kept.record is None:
            left += 1
            line = {"kind": "post", "what": "unreadable record", "open": True, "place": kept.place}
            print(json.dumps(line) if options.json else f"{kept.place}: {kept.problem}", file=out, flush=True)
            continue
        for found in leftovers(kept.record):
            if not found.is_open and not options.all:
                continue
            left += found.is_open
            text = json.dumps({**found.as_json(), "place": kept.place}, ensure_ascii=False)
            print(text if options.json else str(found), file=out, flush=True)
    return left


def _in_folder(folder: str) -> Iterator[KeptPost]:
    from airflow_provider_apimart.hooks.storage.paths import folder_of
    from airflow_provider_apimart.hooks.stores import post_listing

    return post_listing.posts_in_folder(folder_of(folder))


def _kept(options: argparse.Namespace, blind: Callable[[str], None]) -> Iterator[KeptPost]:
    from airflow_provider_apimart.hooks.stores import post_listing

    sources: list[tuple[str, Callable[[], Iterator[KeptPost]]]] = []
    if not options.no_database:
        sources += [
            ("Airflow's database", lambda: post_listing.posts_of_airflow(options.dag_id)),
            ("Airflow's variables", lambda: post_listing.posts_of_variables(options.dag_id)),
        ]
    for folder in options.folder:
        sources.append((f"--folder {folder}", partial(_in_folder, folder)))
    for name, source in sources:
        try:
            for kept in source():
                mine = options.dag_id in (None, kept.record and kept.record.asked_by.get("dag_id"))
                if mine and (options.include_busy or not kept.busy):
                    yield kept
        except ImportError:
            # Before Airflow 3.3 there is no task state store. The command has said so.
            continue
        except Exception as error:
            blind(f"{name} cannot be looked at for posts: {first_line(error)}")
