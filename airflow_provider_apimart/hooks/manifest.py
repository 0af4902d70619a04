"""Reads the manifest of a batch, for the tasks that come after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from airflow_provider_apimart._compat import conf
from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.generation.batch.manifest import read_lines
from airflow_provider_apimart.hooks.rows.row_texts import filled
from airflow_provider_apimart.hooks.rows.verbatim import verbatim
from airflow_provider_apimart.hooks.storage.paths import storage_path
from airflow_provider_apimart.publishing.decision import Verdict

#: Problems of rows that one error names.
MAX_PROBLEMS = 10


def read_manifest(path: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a manifest, one per row of the table, in the table's order.

    :param path: as the batch operator's XCom names it (``result["manifest"]``); JSONL or Parquet.
    """
    with storage_path(path).open("rb") as file:  # type: ignore[no-untyped-call]
        # The manifest's texts came from a table. They stay data even if a DAG file reads the manifest.
        yield from map(verbatim, read_lines(file, "parquet" if path.endswith(".parquet") else "jsonl"))


def landed_rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of the rows whose videos are in storage.

    :param path: as the batch operator's XCom names it (``result["manifest"]``); JSONL or Parquet.
    """
    return (line for line in read_manifest(path) if line["outcome"] in ("landed", "reused"))


def parcels(path: str, *, size: int = 100) -> list[list[dict[str, Any]]]:
    """Return the rows whose videos are in storage, in lists of ``size``, to map a task over.

    Airflow maps over at most 1,024 items, and keeps them in its database. So each row is cut down to its number,
    labels, generation id, cost and videos.

    :param path: as the batch operator's XCom names it (``result["manifest"]``); JSONL or Parquet.
    :param size: how many rows a list holds at most.
    """
    names = ("row", "labels", "generation_id", "cost_usd", "videos")
    rows = [{name: line[name] for name in names} for line in landed_rows(path)]
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def posts(
    manifest: str | Mapping[str, Any],
    *,
    sample: int | Literal["all"] | None = None,
    size: int | None = None,
    rendition: str | None = None,
    **arguments: Any,
) -> list[list[dict[str, Any]]]:
    """Return a batch's landed videos as arguments for any publish operator, to map it over (``expand_kwargs``).

    .. code-block:: python

        @task
        def to_post(batch):
            (parcel,) = posts(batch["manifest"], title="{labels[name]} #shorts", tags=["{labels[brand]}", "ai"])
            return parcel


        YouTubePublishOperator.partial(task_id="post", privacy_status="public").expand_kwargs(to_post(batch.output))

    The texts in ``arguments`` name values of the row: ``{labels[…]}``, ``{request[…]}``, ``{video[…]}`` (``path``,
    ``bytes``, ``sha256``, ``duration_seconds``, ``width``, ``height``, ``has_audio``), ``{row}`` and
    ``{generation_id}``. A text that is nothing but one of them gives the value itself, with its type. A brace that is
    text is written twice. A row's own texts are data: nothing in them is filled in or rendered, here or later.

    :param manifest: as the batch operator's XCom names it (``result["manifest"]``), or that whole XCom. Of a decided
        manifest (:class:`.VideoSheetApprovalOperator`) the approved videos.
    :param sample: which video of rows with several, counted from 1, or ``"all"``. ``None`` refuses such rows.
    :param size: of a parcel; ``None`` is Airflow's limit for one mapped task (``[core] max_map_length``, 1,024).
    :param rendition: post this rendition of each video instead of the video itself, by its name. The manifest is then
        that of a ``VideoBatchOperator``.
    :param arguments: the operator's arguments that differ from row to row, by name.
    :return: the arguments in parcels, each for one mapped task; none is empty.
    :raises InvalidParameterError: names the first rows for which a text cannot be filled in, and why.
    """
    path = str(manifest["manifest"] if isinstance(manifest, Mapping) else manifest)
    found: list[dict[str, Any]] = []
    problems: list[FieldProblem] = []
    for line in landed_rows(path):
        for video in _videos(line, sample, rendition, problems):
            values = {
                "row": line["row"],
                "labels": line["labels"],
                "request": line["request"],
                "generation_id": line["generation_id"],
                "video": video,
            }
            row = {"video": {"generation_id": line["generation_id"], **video}}
            for name, template in arguments.items():
                try:
                    row[name] = verbatim(filled(template, values))
                except ValueError as error:
                    problems.append(FieldProblem(f"row {line['row']}: {name}", template, str(error)))
            found.append(row)
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise InvalidParameterError(tuple(problems[:MAX_PROBLEMS]))
    length = size or conf.getint("core", "max_map_length", fallback=1024)
    return [found[start : start + length] for start in range(0, len(found), length)]


def _videos(
    line: Mapping[str, Any], sample: Any, rendition: str | None, problems: list[FieldProblem]
) -> list[dict[str, Any]]:
    chosen = _samples(line, sample, problems)
    if rendition is None:
        return chosen
    found = []
    for video in chosen:
        made = video.get("renditions") or {}
        if rendition in made:
            found.append(dict(made[rendition]))
        else:
            allowed = f"it has {', '.join(map(repr, made)) or 'no renditions'}"
            problems.append(FieldProblem(f"row {line['row']}: rendition", rendition, allowed))
    return found


def _samples(line: Mapping[str, Any], sample: Any, problems: list[FieldProblem]) -> list[dict[str, Any]]:
    videos: list[dict[str, Any]] = line["videos"]
    if "decisions" in line:
        # Of a sheet that a person has ticked: one decision for each video.
        pairs = zip(videos, line["decisions"], strict=True)
        videos = [video for video, decision in pairs if decision["decision"] == Verdict.APPROVED]
        if not videos:
            return []
    if sample == "all" or (sample is None and len(videos) == 1):
        return videos
    if isinstance(sample, int) and not isinstance(sample, bool) and 1 <= sample <= len(videos):
        return [videos[sample - 1]]
    allowed = f"1 to {len(videos)}, or 'all'" if len(videos) > 1 else "1, 'all' or None"
    problems.append(
        FieldProblem(f"row {line['row']}: sample", sample, f"it has {len(videos)} videos; allowed: {allowed}")
    )
    return []
