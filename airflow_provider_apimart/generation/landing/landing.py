"""Landing: copies a finished, paid video from its expiring URL into the user's storage, whole and checked.

Owns the order of the steps (stage, download, length, container, commit, sidecar) and decides which task owns a file
name. Keeps invariant 7. It also guarantees that no try ever replaces a video that another task of the same run has paid
for. Files of other runs, and of earlier generations of the same task, are replaced: that is what a fixed path means.

The sidecar comes last. A video without a sidecar, or with that of another video, does not count as landed. The next try
lands it again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.generation.landing.download import Downloader, Progress
from airflow_provider_apimart.generation.landing.mp4 import read_mp4
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.files import (
    Staged,
    Target,
    commit_bytes,
    exclusive,
    numbered,
    read_small,
    safe_name,
    staging,
    stored_sha256,
    stored_size,
    stored_version,
)

log = logging.getLogger(__name__)

SCHEMA = 1
VIDEO_TYPE = "video/mp4"
MAX_SIDECAR_BYTES = 8 * 1024 * 1024
#: The names that distinguish the writers of one run.
WRITER = ("task_id", "map_index", "row")


def sidecar_of(target: Target) -> Target:
    """Return where the JSON beside a video goes."""
    return target.sibling(f"{target.name}.json")


def land(
    url: str,
    target: Target,
    *,
    refresh: Callable[[], str | None],
    downloader: Downloader,
    max_bytes: int,
    provenance: Mapping[str, Any],
    sample: int = 1,
    on_progress: Progress | None = None,
    own_name: bool = False,
    level: int = logging.INFO,
    compare: Callable[[LandedVideo], list[dict[str, Any]]] | None = None,
) -> LandedVideo:
    """Copy a video into storage and write its sidecar.

    :param url: where the video is now.
    :param target: where it goes; a file, see ``storage.video_targets``.
    :param refresh: requests a new URL from APIMart.
    :param max_bytes: a larger video is refused.
    :param provenance: how the video was made, for the sidecar: plain JSON without secrets. ``generation_id`` identifies
        it; ``airflow`` (``dag_id``, ``run_id``, ``task_id``, ``map_index``, in a batch ``row``) names its owner.
    :param sample: which of the generation's videos, counted from 1.
    :param own_name: the name contains the generation's id, so other writers need no lock and no check.
    :param level: the log level of the line about this video: one of ten thousand videos is no news.
    :param compare: returns where the video differs from the request, for the sidecar. The sidecar says ``null`` if that
        is not known.
    :raises LandingError: and its subclasses.
    """
    generation_id = str(provenance["generation_id"])
    writer = f"{safe_name(generation_id)}-{sample}"
    # The content of a landed video is MP4, whatever the user names the file.
    with staging(target, writer=writer, content_type=VIDEO_TYPE) as staged:
        try:
            size, sha256 = downloader.fetch(url, refresh, staged.file, max_bytes=max_bytes, on_progress=on_progress)
        except OSError as error:
            raise LandingError(f"{target.uri} could not be written: {type(error).__name__}: {error}") from error
        info = read_mp4(staged.file, size)

        def describe(place: Target) -> LandedVideo:
            return LandedVideo(path=place.uri, bytes=size, sha256=sha256, **asdict(info))

        provenance = {**provenance, "mismatches": compare(describe(target)) if compare else None}
        with nullcontext() if own_name else exclusive(target):
            place = _commit(staged, target, describe, provenance, sample, writer, own_name=own_name)
    video = describe(place)
    log.log(level, "Landed %s: %d bytes, sha256 %s", video.path, video.bytes, video.sha256)
    return video


def already_landed(target: Target, generation_id: str, sample: int) -> LandedVideo | None:
    """Return this generation's video if it is in storage, whole: its sidecar says so and its bytes prove it.

    :raises LandingError: if the storage does not answer.
    """
    for place in (target, _beside(target, generation_id)):
        video = _described(place, generation_id, sample)
        if video is not None and stored_size(place) == video.bytes and stored_sha256(place) == video.sha256:
            return video
    return None


def _beside(target: Target, generation_id: str) -> Target:
    return numbered(target, safe_name(generation_id))


def _commit(
    staged: Staged,
    target: Target,
    describe: Callable[[Target], LandedVideo],
    provenance: Mapping[str, Any],
    sample: int,
    writer: str,
    *,
    own_name: bool,
) -> Target:
    """Commit the video and its sidecar as ``target``, or beside it if another task of the same run owns that name.

    Without a lock, two tasks can find the name free at the same time. So each task checks again just before it commits,
    and once more after that. The task whose video was replaced commits the copy that it still holds beside ``target``.
    """

    def write_sidecar(place: Target) -> None:
        sidecar = {"schema": SCHEMA, **provenance, "video": {**describe(place).model_dump(), "sample": sample}}
        data = json.dumps(sidecar, indent=2, ensure_ascii=False, default=str).encode() + b"\n"
        commit_bytes(sidecar_of(place), data, writer=writer)

    if own_name:
        staged.commit(target)
        write_sidecar(target)
        return target

    stale: dict[str, Any] | None = None
    first: dict[str, Any] | None = None

    def rival() -> dict[str, Any] | None:
        nonlocal stale, first
        found = _sidecar(target)
        first = found if first is None else first
        whose = None if found is None or found == stale else _rival(found, provenance)
        # A sidecar without its video (somebody removed the file) claims nothing, not even once our video is there. The
        # sidecar is read first: a writer that lands between the two checks has written its video before its sidecar.
        if whose is not None and stored_size(target) is None:
            stale, whose = found, None
        return whose

    def taken() -> bool:
        return rival() is not None

    version = staged.commit(target, taken)
    if version and not taken():
        write_sidecar(target)
        if not taken() and stored_version(target) == version:
            _say_replaced(target, first, provenance)
            return target
    place = _beside(target, str(provenance["generation_id"]))
    whose = rival() or {}
    log.warning(
        "%s holds the video of another task of this run (%s, map index %s). It is kept, and this one lands as %s: "
        "give each task its own output_path, or end it in '/'",
        target.uri,
        whose.get("task_id"),
        whose.get("map_index"),
        place.uri,
    )
    staged.commit(place)
    write_sidecar(place)
    return place


def _say_replaced(target: Target, before: Mapping[str, Any] | None, provenance: Mapping[str, Any]) -> None:
    """Log that an earlier paid video was replaced, which is what a fixed path means."""
    old = (before or {}).get("generation_id")
    if old not in (None, provenance["generation_id"]):
        whose = (before or {}).get("airflow")
        run = whose.get("run_id") if isinstance(whose, Mapping) else None
        log.warning(
            "%s held the video of generation %s (run %s), which this one has replaced. To keep each, end output_path "
            "in '/'",
            target.uri,
            old,
            run,
        )


def _rival(sidecar: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the owner of the video that a sidecar describes, if that is another task of the same run."""
    mine, theirs = provenance.get("airflow"), sidecar.get("airflow")
    if not isinstance(mine, Mapping) or not isinstance(theirs, dict):
        return None
    same_run = all(mine.get(name) == theirs.get(name) for name in ("dag_id", "run_id"))
    same_writer = all(mine.get(name) == theirs.get(name) for name in WRITER)
    return theirs if same_run and not same_writer else None


def _sidecar(target: Target) -> dict[str, Any] | None:
    data = read_small(sidecar_of(target), MAX_SIDECAR_BYTES)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _described(target: Target, generation_id: str, sample: int) -> LandedVideo | None:
    """Return the content of ``target``'s sidecar, if it describes this video."""
    found = _sidecar(target) or {}
    video = found.get("video")
    if found.get("generation_id") != generation_id or not isinstance(video, dict) or video.get("sample") != sample:
        return None
    try:
        return LandedVideo(
            path=target.uri,
            bytes=int(video["bytes"]),
            sha256=str(video["sha256"]),
            duration_seconds=float(video["duration_seconds"]),
            width=int(video["width"]),
            height=int(video["height"]),
            has_audio=bool(video["has_audio"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
