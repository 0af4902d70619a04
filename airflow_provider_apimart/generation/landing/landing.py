"""Landing: copies a finished, paid video from its expiring URL into the user's storage, whole and checked.

Owns the order of the steps (stage, download, length, container, commit, sidecar) and decides which task owns a file
name. Keeps invariant 7. It also guarantees that no try ever replaces a video that another task of the same run has paid
for. Files of other runs, and of earlier generations of the same task, are replaced: that is what a fixed path means.

The sidecar comes last. A video without a sidecar, or with that of another video, does not count as landed. The next try
lands it again. In a store with conditional writes, the write itself decides who owns a name: see ``claims.py``. The way
below is for all other storages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.generation.landing.claims import Claim, Seen
from airflow_provider_apimart.generation.landing.download import Downloader, Progress
from airflow_provider_apimart.generation.landing.mp4 import read_mp4
from airflow_provider_apimart.generation.landing.sidecars import (
    VIDEO_TYPE,
    beside,
    described,
    read_sidecar,
    rival_of,
    sidecar_bytes,
    sidecar_of,
)
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional.stores import conditional_writes
from airflow_provider_apimart.storage.conditional.writes import ConditionalWrites, UnsupportedError
from airflow_provider_apimart.storage.files import (
    Staged,
    Target,
    commit_bytes,
    exclusive,
    safe_name,
    staging,
    storage_errors,
    stored_sha256,
    stored_size,
    stored_version,
)

log = logging.getLogger(__name__)


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
    seen: Callable[[], Seen | None] = lambda: None,
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
    :param seen: returns the sidecar under this name, if it has been read. It is called once the video has been fetched.
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
        place = None
        if (writes := _writes(target, own_name=own_name)) is not None:
            claim = Claim(
                writes,
                staged.file,
                target,
                describe=describe,
                provenance=provenance,
                sample=sample,
                own_name=own_name,
                seen=seen(),
            )
            with suppress(UnsupportedError):
                place = claim.settle()
                _say_replaced(target, claim.replaced, provenance)
        if place is None:
            with nullcontext() if own_name else exclusive(target):
                place = _commit(staged, target, describe, provenance, sample, writer, own_name=own_name)
    video = describe(place)
    log.log(level, "Landed %s: %d bytes, sha256 %s", video.path, video.bytes, video.sha256)
    return video


def _writes(target: Target, *, own_name: bool) -> ConditionalWrites | None:
    """Return how to land with conditional writes, if the store keeps them, or if this name needs none."""
    writes = conditional_writes(target.fs)
    if writes is None or own_name:
        return writes
    with storage_errors(target, "written"):
        return writes if writes.trusted(target.path) else None


def already_landed(target: Target, generation_id: str, sample: int) -> LandedVideo | None:
    """Return this generation's video if it is in storage, whole: its sidecar says so and its bytes prove it.

    :raises LandingError: if the storage does not answer.
    """
    for place in (target, beside(target, generation_id)):
        video = whole(place, described(read_sidecar(place), place, generation_id, sample))
        if video is not None:
            return video
    return None


def whole(place: Target, video: LandedVideo | None) -> LandedVideo | None:
    """Return the video that a sidecar describes, if it is there as the sidecar says.

    :raises LandingError: if the storage does not answer.
    """
    if video is None or stored_size(place) != video.bytes or stored_sha256(place) != video.sha256:
        return None
    return video


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
        commit_bytes(sidecar_of(place), sidecar_bytes(provenance, describe(place), sample), writer=writer)

    if own_name:
        staged.commit(target)
        write_sidecar(target)
        return target

    stale: dict[str, Any] | None = None
    first: dict[str, Any] | None = None

    def rival() -> dict[str, Any] | None:
        nonlocal stale, first
        found = read_sidecar(target)
        first = found if first is None else first
        whose = None if found is None or found == stale else rival_of(found, provenance)
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
    place = beside(target, str(provenance["generation_id"]))
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
