"""The rows of a batch, as its manifest tells them: a page is held in memory, never the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart.ui.sources.entries import Entry, of_line, outcome_of, row_of
from airflow_provider_apimart.ui.sources.instances import Instance
from airflow_provider_apimart.ui.sources.manifest_file import NAMES, manifest_at, manifest_errors
from airflow_provider_apimart.ui.sources.row_map import maps
from airflow_provider_apimart.ui.sources.storage import NotShown


@dataclass
class Page:
    """A page of a batch's rows.

    :param total: how many rows there are with this outcome.
    :param outcomes: how many rows have each outcome.
    """

    rows: list[Entry] = field(default_factory=list)
    total: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


def manifest_of(instance: Instance) -> str | None:
    """Return where the latest manifest of a batch is, if it has one."""
    for told in (instance.note, instance.result):
        path = told.get("manifest")
        if isinstance(path, str):
            return path
    return None


def read_entries(path: str, roots: tuple[str, ...] = (), names: tuple[str, ...] = NAMES) -> Iterator[Entry]:
    """Yield the rows of a manifest. It blocks.

    :param names: what the file's name has to begin with.
    :raises NotShown: if this is no manifest that may be shown.
    :raises NoAnswer: if its storage does not answer, or if the file cannot be read.
    """
    with manifest_errors():
        for line in manifest_at(path, roots, names).lines():
            yield of_line(line)


def read_page(path: str, outcome: str | None, page: int, size: int, roots: tuple[str, ...] = ()) -> Page:
    """Return a page of a manifest's rows, in the order of the table. It blocks.

    :param outcome: only rows with this outcome.
    :param page: counted from 1.
    """
    first = (page - 1) * size
    with manifest_errors():
        manifest = manifest_at(path, roots)
        known = maps.of(manifest)
        if known is not None:
            counts = known.counts()
            total = sum(counts.values()) if outcome is None else counts.get(outcome, 0)
            rows = known.page(outcome, first, size) if first < total else []
            return Page(known.read(manifest, rows), total, counts)
        found = Page()
        for line in manifest.lines():
            word = outcome_of(line)
            found.outcomes[word] = found.outcomes.get(word, 0) + 1
            if outcome in (None, word):
                if first <= found.total < first + size:
                    found.rows.append(of_line(line))
                found.total += 1
        return found


def find_row(instance: Instance, row: str, roots: tuple[str, ...] = ()) -> Entry | None:
    """Return one row of a batch, or ``None`` if there is none. It blocks."""
    path = manifest_of(instance)
    if path is None:
        return None
    try:
        with manifest_errors():
            manifest = manifest_at(path, roots)
            known = maps.of(manifest)
            if known is None:
                return next((of_line(line) for line in manifest.lines() if row_of(line) == row), None)
            # One after another: two names may have the same number.
            found = (known.read(manifest, [number])[0] for number in known.named(row))
            return next((entry for entry in found if entry.row == row), None)
    except NotShown:
        return None


def summary_of(instance: Instance) -> dict[str, Any] | None:
    """Return a batch's counts and cost."""
    for told in (instance.note.get("summary"), instance.result):
        if isinstance(told, Mapping) and "rows" in told:
            return {str(name): value for name, value in told.items() if not isinstance(value, (list, tuple))}
    return None
