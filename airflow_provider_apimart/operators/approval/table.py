"""The table that a sheet is about: a batch's manifest, or a list of what ``video=`` takes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import ConfigurationError, FieldProblem
from airflow_provider_apimart.generation.batch.manifest import write_manifest
from airflow_provider_apimart.hooks.manifest import landed_rows
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.approval import values
from airflow_provider_apimart.operators.videos import all_video_problems
from airflow_provider_apimart.publishing.approval.sheet import MOST_ROWS
from airflow_provider_apimart.publishing.decision import Decision
from airflow_provider_apimart.storage.files import storage_errors
from airflow_provider_apimart.storage.naming import is_absolute

MANIFEST_SUFFIXES = (".jsonl", ".parquet")
#: A file of that name is what a sheet has written: it is never asked about, so names do not grow.
DECIDED_SUFFIX = ".decided.jsonl"
ALLOWED = (
    f"allowed: a batch's output, the absolute path of its manifest, or a list of 1 to {MOST_ROWS} generate tasks' "
    "outputs, manifest rows or paths of videos"
)
#: Problems of rows that one error names.
MAX_PROBLEMS = 10


@dataclass(frozen=True)
class Row:
    """One row of the table.

    :param name: its number in the manifest, or in the list, counted from 1.
    :param video: what ``video=`` takes.
    """

    name: int | str
    video: Any
    labels: Mapping[str, Any] = field(default_factory=dict)


def manifest_of(videos: Any) -> str | None:
    """Return the path of the manifest that ``videos=`` names, or ``None`` for a list."""
    videos = arguments.from_json_text(videos)
    if isinstance(videos, Mapping):
        videos = videos.get("manifest")
    path = str(videos) if isinstance(videos, (str, ObjectStoragePath)) else ""
    return path if path.endswith(MANIFEST_SUFFIXES) and is_absolute(path) else None


def rows_of(videos: Any) -> Iterator[Row]:
    """Yield the rows of ``videos=``.

    :raises ConfigurationError: if a manifest cannot be read.
    :raises LandingError: if its storage does not answer.
    """
    manifest = manifest_of(videos)
    if manifest is None:
        for number, video in enumerate(_list_of(videos), start=1):
            about = video if isinstance(video, Mapping) else {}
            labels = about.get("labels")
            name = about.get("row")
            yield Row(
                name if isinstance(name, (int, str)) else number, video, labels if isinstance(labels, Mapping) else {}
            )
        return
    for line in _lines(manifest):
        yield Row(line["row"], line, line["labels"])


def videos_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``videos=``, without looking at the storage."""
    try:
        manifest = manifest_of(value)
        if manifest is not None:
            decided = manifest.endswith(DECIDED_SUFFIX)
            return [FieldProblem(name, manifest, "a sheet has written this file; give the batch's own")] * decided
        found = _list_of(value)
    except (ValueError, RecursionError):
        return [FieldProblem(name, value, ALLOWED)]
    if not 1 <= len(found) <= MOST_ROWS:
        return [FieldProblem(name, f"{len(found)} videos", ALLOWED)]
    problems = [
        FieldProblem(f"{name}[{number}]", problem.value, problem.allowed)
        for number, video in enumerate(found)
        for problem in all_video_problems(name, video, None)
    ]
    return problems[:MAX_PROBLEMS]


def write_decided(manifest: str, decided: Iterable[tuple[Row, Decision]]) -> str:
    """Write the manifest's landed rows with their decisions (``decisions``, one for each of ``videos``) beside it.

    :return: where.
    :raises LandingError: if the storage does not take it.
    """
    place = file_of(manifest, "videos")
    target = place.sibling(f"{posixpath.splitext(place.name)[0]}{DECIDED_SUFFIX}")
    lines: dict[int, dict[str, Any]] = {}
    for row, decision in decided:
        line = lines.setdefault(id(row), {**row.video, "decisions": []})
        line["decisions"].append(values.told_of(decision))
    write_manifest(target, lines.values(), "jsonl")
    return target.uri


def _lines(manifest: str) -> Iterator[dict[str, Any]]:
    with storage_errors(file_of(manifest, "videos"), "read"):
        try:
            yield from landed_rows(manifest)
        except FileNotFoundError:
            raise ConfigurationError(f"videos={manifest!r}: there is no such manifest") from None
        except (ValueError, KeyError, TypeError) as error:
            text = f"videos={manifest!r} is no manifest of a batch ({type(error).__name__})"
            raise ConfigurationError(text) from error


def _list_of(videos: Any) -> Sequence[Any]:
    """Return the entries of ``videos=``.

    :raises ValueError: if it is no list.
    """
    videos = arguments.from_json_text(videos)
    if isinstance(videos, (str, bytes, Mapping, ObjectStoragePath)) or not isinstance(videos, Iterable):
        raise ValueError("not a list")
    # A mapped task's outputs come one by one.
    return list(videos)
