"""Finds where the ``n``-th video of a task, or of a row of a batch, lies: in the record of it, never in the request.

So for the pictures that a task has made.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_apimart.ui.sources import made
from airflow_provider_apimart.ui.sources.entries import Entry, of_note
from airflow_provider_apimart.ui.sources.instances import read_instance
from airflow_provider_apimart.ui.sources.kinds import Kind
from airflow_provider_apimart.ui.sources.rows import find_row
from airflow_provider_apimart.ui.sources.views import Place

#: Their notes and results name their own videos.
_MAKERS = (Kind.GENERATION, Kind.BATCH, Kind.APPROVAL)


@dataclass(frozen=True)
class Located:
    """A video in storage.

    :param poster: where its poster lies, if the record of the video says so. Else the video's sidecar may.
    """

    path: str
    poster: str | None = None


def find_video(
    place: Place, n: int, row: str | None = None, generation_id: str | None = None, roots: tuple[str, ...] = ()
) -> Located | None:
    """Return where a landed video lies, or ``None`` if there is none. It blocks.

    :param n: counted from 1.
    :param row: the row of a batch.
    :param generation_id: the generation that it has to be of; ``None`` for whatever the task, or the row, has now.
    :param roots: ``[apimart] video_roots``.
    :raises NoAnswer: if a batch's manifest cannot be read now.
    """
    entry = _entry(place, row, roots)
    if entry is None or generation_id not in (None, entry.generation_id):
        return None
    path = entry.video_path(n)
    return None if path is None else Located(path, entry.videos[n - 1].get("poster"))


def picture_path(place: Place, name: str) -> str | None:
    """Return where a picture that a task has made lies, or ``None`` if there is none. It blocks.

    :param name: as :func:`.made.pictures_of` calls it.
    """
    instance = read_instance(place, whole=False)
    picture = None if instance is None else made.pictures_of(instance).get(name)
    return None if picture is None else str(picture["path"])


def _entry(place: Place, row: str | None, roots: tuple[str, ...]) -> Entry | None:
    instance = read_instance(place, whole=False)
    if instance is None or instance.kind is Kind.NONE:
        return None
    if row is not None:
        return find_row(instance, row, roots)
    if instance.kind not in _MAKERS:
        return made.entry_of(instance, busy=False)
    told = (each for each in (instance.asked, instance.note, instance.result) if each.get("videos"))
    return next(map(of_note, told), None)
