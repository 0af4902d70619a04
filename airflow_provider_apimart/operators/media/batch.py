"""``VideoBatchOperator``: check, pictures and renditions for all landed rows of a manifest, in one task."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_apimart._compat import AirflowException
from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.generation.batch.manifest import write_manifest
from airflow_provider_apimart.hooks.manifest import MAX_PROBLEMS, landed_rows
from airflow_provider_apimart.hooks.reports import notes
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media import frame_orders, poster_orders
from airflow_provider_apimart.media.errors import MediaSourceError
from airflow_provider_apimart.media.parallel import each, processors
from airflow_provider_apimart.media.renditions.installed import installed_fonts
from airflow_provider_apimart.media.renditions.look import Wanted
from airflow_provider_apimart.media.workshop import Source
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.operators.checks import CheckRules, check_problems, rules_of
from airflow_provider_apimart.operators.media import batch_end
from airflow_provider_apimart.operators.media.base import MediaOperator
from airflow_provider_apimart.operators.media.batch_row import Work, do_row, renditions_of
from airflow_provider_apimart.operators.media.poster import FRAME_FORMATS, frames_problems
from airflow_provider_apimart.operators.media.rendition import LOOK, look_paths, look_problems, shape_problems
from airflow_provider_apimart.operators.task import map_index_of
from airflow_provider_apimart.storage.files import Target, safe_name, stored_sha256, stored_size
from airflow_provider_apimart.storage.naming import is_absolute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class VideoBatchOperator(MediaOperator):
    """Check the videos of a batch, and make posters and renditions of them: all landed rows of a manifest, in one task.

    Several videos are worked on at once, each in a child process of its own. Rows are read and written one by one, so a
    table of any length fits into memory. Killed anywhere, the next try makes what is missing and nothing else. A video
    that is not good is its own row's failure and holds up no other; of a video that fails its check no frames and no
    renditions are made. Nothing is paid.

    .. code-block:: python

        finish = VideoBatchOperator(
            task_id="finish",
            manifest=generate.output,
            check="default",
            renditions={"shapes": ["youtube", "reels"], "captions": {"text": "{labels[caption]}"}},
        )
        # Each landed and good row, in its 9:16 rendition, as arguments for any publish operator:
        posts(finish.output, rendition="reels", title="{labels[name]}")

    Returns (XCom) ``{"manifest", "rows", "good", "failed", "outcomes", "contact_sheets": [path]}``. Its own manifest,
    ``media-<dag id>-<task id>-<run id>.jsonl``, has a line for each landed row, in the same order and with the same
    fields, so whatever reads a batch's manifest reads it. The ``outcome`` of a row is ``check_failed``,
    ``check_skipped`` or ``media_failed`` where its videos are not to be used, and ``error`` says why. Each of its
    ``videos`` also has ``check`` (``{"verdict", "text"}`` or null), ``pictures`` (by kind) and ``renditions`` (by
    name), each ``{"path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio", "fingerprint"}``.

    :param manifest: of a batch: its output (``generate.output``), or the path in it; also the manifest of another
        ``VideoBatchOperator``.
    :param check: ``"default"``, or a dict of rules and verdicts as in ``VideoCheckOperator``; ``None`` checks nothing.
    :param poster: make a poster of each video.
    :param poster_format: ``jpeg`` or ``webp``.
    :param poster_width: in pixels; ``None`` keeps the video's. It is never made larger.
    :param preview: make an animated preview of each video.
    :param frames: make these frames of each video: any of ``first`` and ``last``.
    :param frame_format: of these: ``png`` or ``jpeg``.
    :param renditions: arguments of ``VideoRenditionOperator``: ``shapes``, and any of ``logo``, ``captions``,
        ``end_card``, ``music`` and ``loudness``; ``None`` makes none. Texts in it name values of the row:
        ``{labels[…]}``, ``{request[…]}``, ``{row}`` and ``{generation_id}``. A brace that is text is written twice.
    :param contact_sheet: put the posters of each hundred videos on a picture, with the numbers of their rows.
    :param max_failed_share: which share of the rows may fail without failing the task.
    :param max_parallel: how many videos are worked on at once; ``None`` is the number of processors.
    :param output_path: a folder for everything, with ``/`` at the end; ``None`` puts pictures and renditions beside
        each video, and manifest and contact sheets beside the batch's manifest.
    :param time_limit: how long each piece of work on one video may take: ``timedelta`` or seconds.
    :param memory_limit_mib: how much memory each piece of work may take, in MiB.
    """

    template_fields: Sequence[str] = (
        *("manifest", "check", "poster", "poster_format", "poster_width", "preview", "frames", "frame_format"),
        *("renditions", "contact_sheet", "max_failed_share", "max_parallel"),
        *MediaOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"check": "json", "renditions": "json"}
    object_fields: ClassVar[Collection[str]] = ("manifest", "check", "frames", "renditions")
    needed_fields: ClassVar[Collection[str]] = ("manifest",)

    def __init__(
        self,
        *,
        manifest: Any,
        check: CheckRules = None,
        poster: bool | str = True,
        poster_format: str = "jpeg",
        poster_width: int | str | None = None,
        preview: bool | str = False,
        frames: Sequence[str] | None = None,
        frame_format: str = "png",
        renditions: Mapping[str, Any] | None = None,
        contact_sheet: bool | str = True,
        max_failed_share: float | str = 0.0,
        max_parallel: int | str | None = None,
        time_limit: timedelta | float | str = timedelta(minutes=30),
        memory_limit_mib: int | str = 4096,
        **kwargs: Any,
    ) -> None:
        super().__init__(time_limit=time_limit, memory_limit_mib=memory_limit_mib, **kwargs)
        self.manifest = manifest
        self.check = check
        self.poster = poster
        self.poster_format = poster_format
        self.poster_width = poster_width
        self.preview = preview
        self.frames = frames
        self.frame_format = frame_format
        self.renditions = renditions
        self.contact_sheet = contact_sheet
        self.max_failed_share = max_failed_share
        self.max_parallel = max_parallel
        self._refuse_literals()

    def _own_problems(self, check: arguments.Check) -> list[FieldProblem]:
        problems = check(manifest_problems, "manifest", self.manifest)
        problems += check(check_problems, "check", self.check)
        for name in ("poster", "preview", "contact_sheet"):
            problems += check(arguments.truth_problems, name, getattr(self, name))
        problems += check(arguments.choice_problems, "poster_format", self.poster_format, poster_orders.FORMATS)
        for name in ("poster_width", "max_parallel"):
            if not arguments.is_unset(getattr(self, name)):
                problems += check(arguments.count_problems, name, getattr(self, name))
        problems += check(frames_problems, "frames", self.frames)
        problems += check(arguments.choice_problems, "frame_format", self.frame_format, FRAME_FORMATS)
        problems += check(renditions_problems, "renditions", self.renditions)
        return problems + check(
            arguments.range_problems, "max_failed_share", self.max_failed_share, 0, 1, "a share from 0 to 1"
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Do what is not done yet, write the manifest, and fail if more rows have failed than may."""
        with self._work():
            path = manifest_path(self.manifest)
            if stored_size(file_of(path, "manifest")) is None:
                raise MediaSourceError(f"the manifest {path} does not exist on this machine or in this storage")
            self._refuse_rows(path)
            folder, work = self._folder(), self._wanted()
            ti = context["ti"]
            name = _manifest_name(ti.dag_id, ti.task_id, ti.run_id, map_index_of(context))
            target = file_of(path, "manifest").sibling(name) if folder is None else folder.child(name)
            totals, sheets = batch_end.Totals(), self._sheets(target)
            with closing(each(lambda line: do_row(line, work), landed_rows(path), self._at_once())) as rows:
                found = batch_end.lines((done for _, done in rows), totals, sheets)
                write_manifest(target, found, "jsonl")
        self.log.info("%s. The manifest: %s", totals.told(), target.uri)
        made = sheets.made if sheets is not None else []
        self._tell_made(context, {f"contact_sheet_{number}": sheet for number, sheet in enumerate(made, 1)})
        told: dict[str, Any] = {
            **{"manifest": target.uri, "rows": totals.rows, "good": totals.good, "failed": totals.failed},
            **{"outcomes": dict(totals.outcomes), "contact_sheets": [sheet.path for sheet in made]},
        }
        try:
            batch_end.refuse(totals, sheets, target.uri, arguments.number_of(self.max_failed_share) or 0.0)
        except AirflowException as error:
            # A task that fails returns nothing, and its rows say what is wrong with which video.
            text = str(error)
            notes.leave(context, lambda: notes.of_media_batch(told, text))
            raise
        notes.leave(context, lambda: notes.of_media_batch(told))
        return told

    def _refuse_rows(self, path: str) -> None:
        """Refuse what is wrong with any row's renditions before anything is made."""
        problems: list[FieldProblem] = []
        # A file of all rows is looked for once, and told once.
        seen: set[str] = set()
        for line in landed_rows(path) if self.renditions else ():
            try:
                asked = renditions_of(arguments.object_of(self.renditions), line)
                problems += _missing_files(asked, line["row"], seen)
            except InvalidParameterError as error:
                problems += error.problems
            if len(problems) >= MAX_PROBLEMS:
                break
        if problems:
            raise InvalidParameterError(tuple(problems[:MAX_PROBLEMS]))

    def _wanted(self) -> Work:
        pictures = []
        if arguments.truth_of(self.poster):
            width = arguments.number_of(self.poster_width)
            pictures.append(poster_orders.poster_wanted(self.poster_format, None if width is None else int(width)))
        if arguments.truth_of(self.preview):
            pictures.append(poster_orders.preview_wanted())
        frames: list[Any] = list(dict.fromkeys(self.frames or ()))
        return Work(
            rules=None if self.check is None else rules_of(self.check),
            pictures=tuple(pictures),
            frames=tuple(frame_orders.frame_wanted(which, self.frame_format) for which in frames),  # type: ignore[arg-type]
            renditions=arguments.object_of(self.renditions) or {},
            find=lru_cache(maxsize=256)(_shared_file),
            installed=cache(installed_fonts),
            folder=self._folder(),
            bounds=self._bounds(),
        )

    def _sheets(self, manifest: Target) -> batch_end.Sheets | None:
        if not (arguments.truth_of(self.contact_sheet) and arguments.truth_of(self.poster)):
            return None
        folder = Target(manifest.fs, posixpath.dirname(manifest.path), posixpath.dirname(manifest.uri))
        return batch_end.Sheets(folder, posixpath.splitext(manifest.name)[0], self._bounds())

    def _at_once(self) -> int:
        return int(arguments.number_of(self.max_parallel) or 0) or processors()

    def _sources(self) -> Iterable[Any]:
        return [manifest_path(self.manifest)]


def _missing_files(asked: Wanted, row: Any, seen: set[str]) -> list[FieldProblem]:
    problems = []
    for name, path in look_paths(asked):
        if path not in seen and stored_size(file_of(path, name)) is None:
            text = "it does not exist on this machine or in this storage"
            problems.append(FieldProblem(f"row {row}: renditions.{name}", path, text))
        seen.add(path)
    return problems


def _shared_file(name: str, path: str) -> Source:
    """Return a file of the renditions' arguments. Its checksum is computed here, once for all rows."""
    place = file_of(path, name)
    return Source(place, stored_sha256(place))


def _manifest_name(dag_id: str, task_id: str, run_id: str, map_index: int) -> str:
    index = f"-{map_index}" if map_index >= 0 else ""
    return f"media-{'-'.join(map(safe_name, (dag_id, task_id, run_id)))}{index}.jsonl"


def manifest_path(value: Any) -> str:
    """Return the path of ``manifest=``: the path itself, or what a batch's XCom says."""
    return str(value["manifest"] if isinstance(value, Mapping) else value)


def manifest_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``manifest=``, without looking at the storage."""
    path = value.get("manifest") if isinstance(value, Mapping) else value
    if path is not None and is_absolute(str(path)) and str(path).endswith((".jsonl", ".parquet")):
        return []
    return [
        FieldProblem(name, value, "allowed: a batch's output, or the absolute path of its manifest (.jsonl, .parquet)")
    ]


def renditions_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``renditions=``. Texts with a row's values are known when the rows are."""
    if arguments.is_unset(value):
        return []
    if problems := arguments.mapping_problems(name, value):
        return problems
    given: Mapping[str, Any] = arguments.object_of(value) or {}
    unknown = sorted(set(given) - {"shapes", *LOOK})
    if unknown:
        return [FieldProblem(name, unknown, f"allowed: shapes, {', '.join(LOOK)}")]
    problems = [] if _has_places(given.get("shapes")) else shape_problems("shapes", given.get("shapes"))
    for part in LOOK:
        problems += [] if _has_places(given.get(part)) else look_problems(part, given.get(part))
    return [FieldProblem(f"{name}.{problem.field}", problem.value, problem.allowed) for problem in problems]


def _has_places(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_places, value.values()))
    return any(map(_has_places, value)) if isinstance(value, (list, tuple)) else isinstance(value, str) and "{" in value
