"""What a batch of media work does with one row of a manifest: check its videos, make pictures and renditions of them.

An error is the row's own, so that one bad video does not hold up the others. Nothing is paid here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError, FieldProblem, InvalidParameterError
from airflow_provider_apimart.hooks.rows.row_texts import filled
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media import frame_orders, poster_orders
from airflow_provider_apimart.media.check import Asked, Rules, Verdict
from airflow_provider_apimart.media.checking import Checked, check_video
from airflow_provider_apimart.media.renditions.look import Wanted as WantedRenditions
from airflow_provider_apimart.media.renditions.look import wanted
from airflow_provider_apimart.media.renditions.order import order_of
from airflow_provider_apimart.media.sidecar import Output
from airflow_provider_apimart.media.workshop import Order, Source, Wanted, make
from airflow_provider_apimart.operators.arguments import is_unset
from airflow_provider_apimart.operators.checks import asked_of, broken_text, gravest
from airflow_provider_apimart.operators.media.rendition import LOOK, look_path_problems, plain
from airflow_provider_apimart.operators.videos import request_in
from airflow_provider_apimart.storage.files import Target, error_text

log = logging.getLogger(__name__)

#: What the manifest tells of an output. The rest (parameters, inputs) is in the media sidecar.
TOLD = ("path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio", "fingerprint")


class MediaOutcome(StrEnum):
    """The outcome of a row whose videos are not to be used."""

    CHECK_FAILED = "check_failed"
    CHECK_SKIPPED = "check_skipped"
    #: Something that was asked for could not be made of them.
    MEDIA_FAILED = "media_failed"


@dataclass(frozen=True)
class Work:
    """What is to be done with each video.

    :param rules: of the check; ``None`` for no check.
    :param renditions: the arguments of the renditions, with places for a row's values; empty for none.
    :param find: returns the file that an argument of the renditions (its name, its path) names.
    :param installed: returns the fonts of this machine.
    :param bounds: of the work on one video.
    """

    rules: Rules | None
    pictures: tuple[Wanted, ...]
    frames: tuple[Wanted, ...]
    renditions: Mapping[str, Any]
    find: Callable[[str, str], Source]
    installed: Callable[[], tuple[str, ...]]
    folder: Target | None
    bounds: Mapping[str, Any]


@dataclass
class Done:
    """A row of the batch's own manifest.

    :param posters: with their labels, for the contact sheet.
    :param again: whether another try may make what is missing.
    """

    line: dict[str, Any]
    posters: list[tuple[Source, str]] = field(default_factory=list)
    again: bool = False


def renditions_of(renditions: Mapping[str, Any], line: Mapping[str, Any]) -> WantedRenditions:
    """Return the renditions of a row: the arguments with the row's values filled in.

    :raises InvalidParameterError: names everything that is wrong with them.
    """
    row = f"row {line['row']}: renditions"
    values = {name: line[name] for name in ("row", "labels", "request", "generation_id")}
    try:
        # Read as JSON before, never after: what a row's text looks like decides nothing.
        arguments = {name: _unset_is_none(filled(plain(value), values)) for name, value in renditions.items()}
    except ValueError as error:
        raise InvalidParameterError((FieldProblem(row, dict(renditions), str(error)),)) from None
    asked, problems = wanted(arguments.get("shapes"), **{name: arguments.get(name) for name in LOOK})
    if asked is not None:
        problems = look_path_problems(asked)
    if asked is None or problems:
        raise InvalidParameterError(tuple(FieldProblem(f"{row}.{p.field}", p.value, p.allowed) for p in problems))
    return asked


def _unset_is_none(value: Any) -> Any:
    return None if is_unset(value) else value


def do_row(line: Mapping[str, Any], work: Work) -> Done:
    """Do all the work on a landed row. What is there already, whole, is not done again."""
    videos = [{**video, "check": None, "pictures": {}, "renditions": {}} for video in line["videos"]]
    done = Done({**line, "videos": videos, "check": None, "error": None})
    checked: list[Checked] = []
    errors: list[str] = []
    for number, video in enumerate(videos, 1):
        try:
            source = Source(file_of(video["path"], "video"), video["sha256"])
            verdict = _check(source, line, video, work, checked)
            _make(source, line, video, work, good=verdict not in (Verdict.FAIL, Verdict.SKIP))
        except (ApimartError, OSError) as error:
            errors.append(_text(video, str(error)))
            # An OSError is this machine's: no room, no more processes or files.
            done.again |= not getattr(error, "terminal", False)
            verdict = None
        except MemoryError:
            # It is the worker's, and the next row's just as well.
            raise
        except Exception as error:
            # Nobody has thought of it, so no retry is known to mend it. The other rows have nothing to do with it.
            log.exception("Row %s: an unexpected error.", line["row"])
            errors.append(_text(video, error_text(error)))
            verdict = None
        if poster := video["pictures"].get("poster"):
            label = str(line["row"]) if len(videos) == 1 else f"{line['row']}/{number}"
            told = f"{label} {verdict or 'failed'}" if verdict is not Verdict.OK else label
            done.posters.append((Source(file_of(poster["path"], "poster"), poster["sha256"]), told))
    _judge(done.line, checked, errors)
    return done


def _check(
    source: Source, line: Mapping[str, Any], video: dict[str, Any], work: Work, checked: list[Checked]
) -> Verdict:
    if work.rules is None:
        return Verdict.OK
    request = request_in(line["request"])
    asked = Asked() if request is None else asked_of(request)
    one = check_video(source, asked, work.rules, folder=work.folder, **work.bounds)
    checked.append(one)
    verdict = one.report.verdict
    video["check"] = {"verdict": str(verdict), "text": broken_text([one], verdict) if verdict is not Verdict.OK else ""}
    return verdict


def _make(source: Source, line: Mapping[str, Any], video: dict[str, Any], work: Work, *, good: bool) -> None:
    """Make what is wanted of a video; of one that fails its check only the pictures, if that can be done."""
    bounds = {"folder": work.folder, **work.bounds}
    orders = [
        Order(job, version, (source,), pictures, **bounds)
        for job, version, pictures in (
            (poster_orders.JOB, poster_orders.VERSION, work.pictures),
            (frame_orders.JOB, frame_orders.VERSION, work.frames if good else ()),
        )
        if pictures
    ]
    for order in orders:
        try:
            video["pictures"] |= {output.kind: _told(output) for output in make(order)}
        except ApimartError as error:
            if good:
                raise
            log.info("No pictures of %s, which fails its check: %s", source.place.uri, error)
    if good and work.renditions:
        order = order_of(source, renditions_of(work.renditions, line), work.find, work.installed, **bounds)
        video["renditions"] = {each.name: _told(output) for each, output in zip(order.wanted, make(order), strict=True)}


def _judge(line: dict[str, Any], checked: list[Checked], errors: list[str]) -> None:
    worst = gravest(checked)
    if checked:
        text = "" if worst is Verdict.OK else broken_text(checked, worst)
        line["check"] = {"verdict": str(worst), "text": text}
    if worst is Verdict.FAIL:
        line |= {"outcome": str(MediaOutcome.CHECK_FAILED), "error": broken_text(checked, worst)}
    elif errors:
        line |= {"outcome": str(MediaOutcome.MEDIA_FAILED), "error": "; ".join(errors)}
    elif worst is Verdict.SKIP:
        line |= {"outcome": str(MediaOutcome.CHECK_SKIPPED), "error": broken_text(checked, worst)}


def _told(output: Output) -> dict[str, Any]:
    return {name: getattr(output, name) for name in TOLD}


def _text(video: Mapping[str, Any], said: str) -> str:
    text = said.rstrip(". ")
    return text if str(video["path"]) in text else f"{video['path']}: {text}"
