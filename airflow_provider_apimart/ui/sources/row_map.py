"""Where each row of a manifest lies, and how it ended: so that a page reads its own rows and no others.

A manifest of 100,000 rows has some 100 MB. It is read once, by the first who looks; then each page, and each picture on
it, reads some kilobytes. The maps of the manifests that were looked at last are kept in this process, within bounds.
A manifest that has changed has another version, and is read anew.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from threading import Lock
from typing import Any

from airflow_provider_apimart.ui.sources.entries import Entry, of_line, outcome_of, row_of
from airflow_provider_apimart.ui.sources.manifest_file import Line, Manifest
from airflow_provider_apimart.ui.sources.storage import NoAnswer

#: Bytes of all maps together. A row takes 21.
MAX_BYTES = 32 * 1024 * 1024
MAX_MAPS = 64
ROW_BYTES = 21
#: A longer manifest has no map: each of its pages is read from its beginning.
MAX_ROWS = MAX_BYTES // ROW_BYTES // 2

_CODES = ("running", "completed", "failed", "parked", "left")


@dataclass
class RowMap:
    """The rows of a manifest, counted from 0, in the order of the file.

    :param outcomes: of each row, as a position in ``_CODES``.
    :param names: a number that stands for each row's name; two names may have the same.
    :param starts: the first byte of each line of JSON.
    :param lengths: of each line.
    :param groups: of a Parquet file: how many rows there are up to the end of each group.
    """

    outcomes: bytearray = field(default_factory=bytearray)
    names: array[int] = field(default_factory=lambda: array("q"))
    starts: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    groups: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """What it holds in memory."""
        arrays = (self.names, self.starts, self.lengths)
        return len(self.outcomes) + sum(len(each) * each.itemsize for each in arrays) + 8 * len(self.groups)

    def counts(self) -> dict[str, int]:
        """Return how many rows have each outcome."""
        found = {word: self.outcomes.count(code) for code, word in enumerate(_CODES)}
        return {word: count for word, count in found.items() if count}

    def page(self, outcome: str | None, first: int, size: int) -> list[int]:
        """Return the rows of a page.

        :param outcome: of those with this outcome alone.
        :param first: the first one of these, counted from 0.
        """
        if outcome is None:
            return list(range(first, min(first + size, len(self.outcomes))))
        code, at, found = _CODES.index(outcome), -1, []
        for number in range(first + size):
            at = self.outcomes.find(code, at + 1)
            if at < 0:
                break
            if number >= first:
                found.append(at)
        return found

    def named(self, name: str) -> Iterator[int]:
        """Yield the rows that may have this name."""
        wanted, at = hash(name), -1
        while True:
            try:
                at = self.names.index(wanted, at + 1)
            except ValueError:
                return
            yield at

    def read(self, manifest: Manifest, rows: Sequence[int]) -> list[Entry]:
        """Return some rows, given in the order of the file. It blocks.

        :raises NoAnswer: if other rows lie there now.
        """
        found = []
        for row, line in zip(rows, self._lines(manifest, rows), strict=False):
            if hash(row_of(line)) != self.names[row]:
                break
            found.append(of_line(line))
        if len(found) != len(rows):
            raise NoAnswer("The manifest has changed; load the page again.")
        return found

    def _lines(self, manifest: Manifest, rows: Sequence[int]) -> Iterator[Line]:
        if not manifest.is_parquet:
            yield from manifest.at([(self.starts[row], self.lengths[row]) for row in rows])
            return
        for group in sorted({bisect_right(self.groups, row) for row in rows}):
            first = self.groups[group - 1] if group else 0
            wanted = {row - first for row in rows}
            yield from (line for number, line in enumerate(manifest.rows([group])) if number in wanted)


def _made(manifest: Manifest) -> RowMap | None:
    """Read a manifest and return its map, or ``None`` if it has too many rows for one. It blocks."""
    made = RowMap()
    if manifest.is_parquet:
        groups = manifest.groups()
        if sum(groups) > MAX_ROWS:
            return None
        made.groups = tuple(accumulate(groups))
        for line in manifest.rows(columns=("row", "outcome")):
            _note(made, line)
        return made
    for (start, length), line in manifest.spans():
        if len(made.outcomes) == MAX_ROWS:
            return None
        made.starts.append(start)
        made.lengths.append(length)
        _note(made, line)
    return made


def _note(made: RowMap, line: Any) -> None:
    made.outcomes.append(_CODES.index(outcome_of(line)))
    made.names.append(hash(row_of(line)))


class RowMaps:
    """The maps of the manifests that were looked at last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._maps: OrderedDict[str, tuple[Any, RowMap]] = OrderedDict()
        #: Held while a manifest is read, so that twenty who look at once read it once.
        self._reading: dict[str, Lock] = {}

    @property
    def bytes(self) -> int:
        """What all of them hold in memory."""
        with self._lock:
            return sum(each.bytes for _, each in self._maps.values())

    def of(self, manifest: Manifest) -> RowMap | None:
        """Return the map of a manifest as it is now, or ``None`` if there can be none. It blocks."""
        version = manifest.version()
        if version is None:
            return None
        found = self._known(manifest.path, version)
        if found is not None:
            return found
        with self._lock:
            reading = self._reading.setdefault(manifest.path, Lock())
        try:
            with reading:
                found = self._known(manifest.path, version)
                if found is None:
                    found = _made(manifest)
                    if found is not None and manifest.version() == version:
                        self._keep(manifest.path, version, found)
                return found
        finally:
            with self._lock:
                self._reading.pop(manifest.path, None)

    def _known(self, path: str, version: Any) -> RowMap | None:
        with self._lock:
            since, found = self._maps.get(path, (None, None))
            if since != version:
                return None
            self._maps.move_to_end(path)
            return found

    def _keep(self, path: str, version: Any, made: RowMap) -> None:
        with self._lock:
            self._maps.pop(path, None)
            self._maps[path] = version, made
            held = sum(each.bytes for _, each in self._maps.values())
            while held > MAX_BYTES or len(self._maps) > MAX_MAPS:
                _, (_, oldest) = self._maps.popitem(last=False)
                held -= oldest.bytes


maps = RowMaps()
