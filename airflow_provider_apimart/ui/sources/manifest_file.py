"""A manifest as a file: which file it is now, all its lines one after another, and some of its lines alone.

Whoever writes Dags may write such a file, so nothing in it is held beyond a bound: a line, or a batch of cells.
"""

from __future__ import annotations

import io
import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, cast

from airflow_provider_apimart.generation.batch.manifest import JSON_COLUMNS
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.storage.files import Target, is_local, looking
from airflow_provider_apimart.ui.sources.storage import NoAnswer, NotShown, check_path, open_local

#: A prompt of 20,000 characters, all of them escaped, takes a thirtieth of this.
MAX_LINE = 4 * 1024 * 1024
#: Read at once from other storages: a range of lines, and how far lines may lie apart to be in one.
BLOCK, GAP = 1024 * 1024, 64 * 1024
#: Of a Parquet file: what is held at once. The batch operator's own groups have a thousandth part of a group's bound.
PARQUET_ROWS, PARQUET_BYTES, PARQUET_GROUP = 64, 16 * 1024 * 1024, 512 * 1024 * 1024
#: Of the manifest of a batch of generations, and of that of a batch of media work.
GENERATED, WORKED_ON = "manifest-", "media-"
NAMES = (GENERATED, WORKED_ON)
#: What storages call the version of a file. Without any of these nobody can say whether it is still the same file.
_VERSIONS = ("ETag", "etag", "VersionId", "generation", "LastModified", "last_modified", "updated", "mtime", "modified")

Line = Mapping[str, Any]
#: Where a line lies: its first byte and its length.
Span = tuple[int, int]


@dataclass(frozen=True)
class Manifest:
    """A manifest that may be shown."""

    path: str
    target: Target
    roots: tuple[str, ...] = ()

    @property
    def is_parquet(self) -> bool:
        """Whether it is a table of Parquet, and not lines of JSON."""
        return self.path.endswith(".parquet")

    def version(self) -> tuple[Any, ...] | None:
        """Return what changes whenever the file does; ``None`` if this storage does not tell. It blocks.

        :raises FileNotFoundError: if it is not there.
        """
        if is_local(self.target.fs):
            with self.open() as file:
                found = os.fstat(file.fileno())
            return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        self.target.fs.invalidate_cache(posixpath.dirname(self.target.path))
        with looking(self.target):
            info = self.target.fs.info(self.target.path)
        told = tuple(str(info[name]) for name in _VERSIONS if info.get(name))
        return (info.get("size"), *told) if told else None

    def open(self) -> BinaryIO:
        """Open it. It blocks."""
        if is_local(self.target.fs):
            return open_local(self.target, self.roots)
        # (Some of these files have no bound on the length of a line, and all of them are slow at reading lines.)
        raw = self.target.fs.open(self.target.path, "rb", block_size=BLOCK)
        return cast(BinaryIO, io.BufferedReader(raw, BLOCK))

    def spans(self) -> Iterator[tuple[Span, Line]]:
        """Yield all lines of JSON, each with where it lies. It blocks."""
        start = 0
        with self.open() as file:
            while text := file.readline(MAX_LINE + 1):
                line = _parsed(text)
                if isinstance(line, Mapping):
                    yield (start, len(text)), line
                start += len(text)

    def at(self, spans: Sequence[Span]) -> Iterator[Line]:
        """Yield some lines of JSON, in the order of the file. It blocks.

        :raises NoAnswer: if other lines lie there now.
        """
        for part in _ranges(spans):
            first = part[0][0]
            data = self._read(first, part[-1][0] + part[-1][1] - first)
            for start, length in part:
                line = _parsed(data[start - first : start - first + length])
                if not isinstance(line, Mapping):
                    raise NoAnswer("The manifest has changed; load the page again.")
                yield line

    def groups(self) -> list[int]:
        """Return how many rows each group of a Parquet file has."""
        with self.open() as file:
            return [rows for _, rows in _groups(_parquet(file))]

    def rows(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> Iterator[Line]:
        """Yield rows of a Parquet file. It blocks.

        :param groups: those of these groups alone.
        :param columns: these alone.
        """
        with self.open() as file:
            parquet = _parquet(file)
            known = [number for number, _ in _groups(parquet)]
            wanted = known if groups is None else list(groups)
            there = None if columns is None else [name for name in columns if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(PARQUET_ROWS, row_groups=wanted, columns=there):
                if batch.nbytes > PARQUET_BYTES:
                    raise NotShown(f"This is no manifest: some rows have more than {PARQUET_BYTES:,} bytes.")
                for line in batch.to_pylist():
                    yield {**line, **{name: json.loads(line[name]) for name in JSON_COLUMNS if line.get(name)}}

    def lines(self) -> Iterator[Line]:
        """Yield all lines. It blocks."""
        return self.rows() if self.is_parquet else (line for _, line in self.spans())

    def _read(self, start: int, length: int) -> bytes:
        if is_local(self.target.fs):
            with self.open() as file:
                file.seek(start)
                return file.read(length)
        return cast(bytes, self.target.fs.cat_file(self.target.path, start=start, end=start + length))


def manifest_at(path: str, roots: tuple[str, ...] = (), names: tuple[str, ...] = NAMES) -> Manifest:
    """Return the manifest that lies there. It blocks.

    :param names: what the file's name has to begin with.
    :raises NotShown: if it may not be shown.
    """
    check_path(path, roots)
    name = posixpath.basename(path)
    if not name.startswith(names) or not name.endswith((".jsonl", ".parquet")):
        raise NotShown("This file's name is not the name of a manifest.")
    return Manifest(path, file_of(path, "manifest"), roots)


@contextmanager
def manifest_errors() -> Iterator[None]:
    """Turn whatever a storage or a file raises into what the user is told.

    :raises NotShown: if this is no manifest that may be shown.
    :raises NoAnswer: if its storage does not answer, or if the file cannot be read.
    """
    try:
        yield
    except (NotShown, NoAnswer):
        raise
    except FileNotFoundError:
        raise NotShown("The manifest is not there any more. It may have been moved or deleted.") from None
    except Exception as error:
        raise NoAnswer(f"The manifest cannot be read now ({type(error).__name__}).") from error


def _parsed(text: bytes) -> Any:
    if len(text) > MAX_LINE:
        raise NotShown(f"This is no manifest: one of its lines has more than {MAX_LINE:,} bytes.")
    return json.loads(text)


def _parquet(file: BinaryIO) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(file)


def _groups(parquet: Any) -> Iterator[tuple[int, int]]:
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        if group.total_byte_size > PARQUET_GROUP:
            raise NotShown(f"This is no manifest: one of its groups has more than {PARQUET_GROUP:,} bytes.")
        yield number, group.num_rows


def _ranges(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield lines that are read together: they lie near each other, and take no more than one long line may."""
    if not spans:
        return
    part = [spans[0]]
    for before, span in pairwise(spans):
        far = span[0] - before[0] - before[1] > GAP
        if far or span[0] + span[1] - part[0][0] > MAX_LINE:
            yield part
            part = []
        part.append(span)
    yield part
