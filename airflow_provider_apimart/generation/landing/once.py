"""Lands a video unless it is in storage already, and asks the storage while the download begins.

Hardly any video is there already: only that of a try that died between its last write and its record. But each landing
has to know, and in an object store the answer takes as long as a good part of the download. So the download does not
wait for it. Nothing depends on the order: the download changes nothing, and a failed one, an expired URL and the first
write all wait for the answer. Where the question costs next to nothing, or holds back other work of the file system, it
comes first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from airflow_provider_apimart.client.errors import ApimartError
from airflow_provider_apimart.generation.landing.claims import Seen, see
from airflow_provider_apimart.generation.landing.download import Downloader, Progress
from airflow_provider_apimart.generation.landing.landing import already_landed, land, whole
from airflow_provider_apimart.generation.landing.sidecars import (
    MAX_SIDECAR_BYTES,
    beside,
    described,
    read_sidecar,
    sidecar_of,
)
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional.stores import conditional_writes
from airflow_provider_apimart.storage.conditional.writes import Read
from airflow_provider_apimart.storage.files import Target

log = logging.getLogger(__name__)


class _ThereError(Exception):
    """The video is in storage already."""

    def __init__(self, video: LandedVideo) -> None:
        super().__init__(video.path)
        self.video = video


class Look:
    """The question whether a generation's video is in storage, whole. It is asked when this is made.

    :param own_name: the name contains the generation's id, so that the video cannot have landed beside it.
    """

    def __init__(self, target: Target, generation_id: str, sample: int, *, own_name: bool = False) -> None:
        self._target = target
        self._generation_id = generation_id
        self._sample = sample
        self._own_name = own_name
        self._writes = conditional_writes(target.fs)
        self._reading: Future[Read | None] | None = None
        if self._writes is not None:
            self._reading = self._writes.start_reading(sidecar_of(target).path, MAX_SIDECAR_BYTES)
        self._answer: tuple[LandedVideo | None, Seen | None] | None = None

    @property
    def takes_long(self) -> bool:
        """Whether other work can be done until the answer is there."""
        return self._reading is not None

    def answer(self) -> tuple[LandedVideo | None, Seen | None]:
        """Wait for the answer.

        :return: the video if it is in storage, whole; and the sidecar that was seen, for :func:`.land`.
        :raises LandingError: if the storage does not answer.
        """
        if self._answer is None:
            self._answer = self._found()
        return self._answer

    def _found(self) -> tuple[LandedVideo | None, Seen | None]:
        target, generation_id, sample = self._target, self._generation_id, self._sample
        if self._writes is None:
            return already_landed(target, generation_id, sample), None
        seen = see(self._writes, target, self._reading)
        video = whole(target, described(seen.sidecar, target, generation_id, sample))
        # It lands beside the name only if another task's video is there.
        if video is None and not self._own_name and seen.stored is not None:
            place = beside(target, generation_id)
            video = whole(place, described(read_sidecar(place), place, generation_id, sample))
        return video, seen

    def check(self) -> None:
        """Wait for the answer, and raise if the video is there."""
        video, _ = self.answer()
        if video is not None:
            raise _ThereError(video)

    def check_if_answered(self) -> None:
        """Do the same, but not wait."""
        if self._answer is None and self._reading is not None and self._reading.done():
            self.check()

    def forget(self) -> None:
        """Ask no longer."""
        if self._reading is not None:
            self._reading.cancel()


def land_once(
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
    """Land a video, unless it is in storage already, whole. The parameters are those of :func:`.land`."""
    look = Look(target, str(provenance["generation_id"]), sample, own_name=own_name)

    def refreshed() -> str | None:
        look.check()
        return refresh()

    def progressed(received: int, total: int | None) -> None:
        look.check_if_answered()
        if on_progress is not None:
            on_progress(received, total)

    def seen() -> Seen | None:
        look.check()
        return look.answer()[1]

    try:
        if not look.takes_long:
            look.check()
        try:
            return land(
                url,
                target,
                refresh=refreshed,
                downloader=downloader,
                max_bytes=max_bytes,
                provenance=provenance,
                sample=sample,
                on_progress=progressed,
                own_name=own_name,
                level=level,
                compare=compare,
                seen=seen,
            )
        except ApimartError:
            look.check()
            raise
    except _ThereError as there:
        log.log(level, "%s is there already, whole: not fetched again.", there.video.path)
        return there.video
    finally:
        look.forget()
