"""Which name a video gets in a store with conditional writes, and the writes themselves: the video, then its sidecar.

The write of the video decides: it succeeds only if the name is as this task saw it, so two tasks cannot both get it. A
write that is refused is followed by a look at what is there. Each video carries a mark in the store's own metadata: the
generation, the checksum, the run and the writer. So a video is recognized before its sidecar is written:

* one's own, from a try that was killed, or from a request whose answer was lost: it stays, and gets its sidecar;
* that of another task of the same run: it is kept, and this one lands beside it;
* that of another run or an earlier generation: it is replaced, if it is still the one that was seen.

If the process dies before the video is written, nothing is there. If it dies after that, the video is there without a
sidecar, does not count as landed, and the next try finds it by its mark.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.generation.landing.sidecars import (
    MAX_SIDECAR_BYTES,
    RUN,
    VIDEO_TYPE,
    WRITER,
    beside,
    parsed,
    rival_of,
    sidecar_bytes,
    sidecar_of,
)
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.conditional.writes import (
    ABSENT,
    ANY,
    ChangedError,
    ConditionalWrites,
    Read,
    Stored,
    UnsupportedError,
)
from airflow_provider_apimart.storage.files import Target, looking, safe_name, storage_errors, stored_sha256

log = logging.getLogger(__name__)

#: So often a name may change under a task's hands before the try gives up. Each change is another task's success.
ATTEMPTS = 8


@dataclass(frozen=True)
class Mark:
    """What a video's metadata says about it.

    :param video: the generation and the sample.
    :param run: a fingerprint of the DAG and the run; empty if the owner is not known.
    :param writer: a fingerprint of the task, the map index and the row.
    """

    video: str
    sha256: str
    run: str = ""
    writer: str = ""

    @classmethod
    def of(cls, provenance: Mapping[str, Any], sample: int, sha256: str) -> Mark:
        """Return the mark of a video that is about to be written."""
        mark = cls(f"{safe_name(str(provenance['generation_id']))}-{sample}", sha256)
        airflow = provenance.get("airflow")
        if not isinstance(airflow, Mapping):
            return mark
        return replace(mark, run=_fingerprint(airflow, RUN), writer=_fingerprint(airflow, WRITER))

    @classmethod
    def read(cls, note: str) -> Mark | None:
        """Return the mark in an object's note; ``None`` if there is none."""
        version, *fields = note.split("/")
        return cls(*fields) if version == "1" and len(fields) == 4 else None

    @property
    def note(self) -> str:
        """The mark as one line of ASCII."""
        return "/".join(("1", self.video, self.sha256, self.run, self.writer))

    def is_rival_of(self, mine: Mark) -> bool:
        """Return whether another task of the same run has written this."""
        return bool(self.run) and self.run == mine.run and self.writer != mine.writer


def _fingerprint(names: Mapping[str, Any], which: tuple[str, ...]) -> str:
    text = json.dumps([names.get(name) for name in which], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Seen:
    """A sidecar as it was seen. What another task has done since shows when something is written.

    :param stored: what the store said about it; ``None`` if there was none.
    """

    sidecar: Mapping[str, Any] | None = None
    stored: Stored | None = None


def see(writes: ConditionalWrites, target: Target, reading: Future[Read | None] | None = None) -> Seen:
    """Read the sidecar of a video, in one request.

    :param reading: that request, if it is under way.
    :raises LandingError: if the storage does not answer.
    """
    place = sidecar_of(target)
    with storage_errors(place, "read"):
        try:
            with looking(place):
                if reading is None:
                    found = writes.read(place.path, MAX_SIDECAR_BYTES)
                else:
                    found = writes.finish_reading(reading)
        except FileNotFoundError:
            found = None
    return Seen(parsed(found.data), found.stored) if found else Seen()


class Claim:
    """The landing of one video.

    :param file: holds the whole, checked video.
    :param describe: returns what the sidecar says about the video at a place.
    :param own_name: the name contains the generation's id, so that nobody else's video can be there.
    :param seen: the sidecar, if it has been read.
    """

    def __init__(
        self,
        writes: ConditionalWrites,
        file: BinaryIO,
        target: Target,
        *,
        describe: Callable[[Target], LandedVideo],
        provenance: Mapping[str, Any],
        sample: int,
        own_name: bool,
        seen: Seen | None,
    ) -> None:
        self._writes = writes
        self._file = file
        self._target = target
        self._describe = describe
        self._provenance = provenance
        self._sample = sample
        self._own_name = own_name
        self._video = describe(target)
        self._mark = Mark.of(provenance, sample, self._video.sha256)
        self._seen = seen
        self.replaced: Mapping[str, Any] | None = None

    def settle(self) -> Target:
        """Write the video and its sidecar, and return the place of the video.

        :raises LandingError: if the storage does not answer, or others change the name again and again.
        :raises UnsupportedError: if the store does not take such writes; nothing was written.
        """
        if self._own_name:
            return self._settle_own(self._target)
        if self._seen is None:
            self._seen = see(self._writes, self._target)
        version = self._write_video(self._target)
        if version is not None and self._write_sidecar(version):
            return self._target
        place = beside(self._target, str(self._provenance["generation_id"]))
        seen = see(self._writes, self._target)
        whose = (seen.sidecar or {}).get("airflow")
        whose = whose if isinstance(whose, Mapping) else {}
        log.warning(
            "%s holds the video of another task (%s, map index %s). It is kept, and this one lands as %s: give each "
            "task its own output_path, or end it in '/'",
            self._target.uri,
            whose.get("task_id"),
            whose.get("map_index"),
            place.uri,
        )
        return self._settle_own(place)

    def _settle_own(self, place: Target) -> Target:
        """Write to a name that only this generation's tries use."""
        # Whoever else writes it writes the same video, so no store has to be tried for this.
        self._put(place, self._file, self._video.bytes, self._video.sha256, VIDEO_TYPE, ANY, self._mark.note)
        self._put_sidecar(place, ANY)
        return place

    def _write_video(self, target: Target) -> str | None:
        """Write the video under a name that others may want.

        :return: its version; ``None`` if the name belongs to another task of this run.
        """
        when, seen = ABSENT, self._seen or Seen()
        if seen.stored is not None:
            found = self._look(target)
            verdict = self._verdict(target, found)
            if verdict is None or verdict.kept:
                return verdict.version if verdict else None
            when = verdict.version
        for _ in range(ATTEMPTS):
            try:
                version = self._put(
                    target, self._file, self._video.bytes, self._video.sha256, VIDEO_TYPE, when, self._mark.note
                )
            except ChangedError:
                verdict = self._verdict(target, self._look(target))
                if verdict is None or verdict.kept:
                    return verdict.version if verdict else None
                when = verdict.version
            else:
                if when != ABSENT:
                    self.replaced = seen.sidecar
                return version
        raise LandingError(f"{target.uri} is written to by others again and again; the next try lands the video there")

    def _verdict(self, target: Target, found: Stored | None) -> _Verdict | None:
        """Return what to do about what is there; ``None`` if it belongs to another task of this run."""
        if found is None:
            return _Verdict(ABSENT)
        mark = Mark.read(found.note)
        if mark is None:
            # Written by an older version, or by hand. Its sidecar may be newer than the one that was seen.
            self._seen = see(self._writes, target)
            if self._seen.sidecar is not None and rival_of(self._seen.sidecar, self._provenance):
                return None
            same = found.size == self._video.bytes and stored_sha256(target) == self._video.sha256
            return _Verdict(found.version, kept=same)
        if mark.video == self._mark.video and mark.sha256 == self._mark.sha256:
            return _Verdict(found.version, kept=found.size == self._video.bytes)
        return None if mark.is_rival_of(self._mark) else _Verdict(found.version)

    def _write_sidecar(self, version: str) -> bool:
        """Write the sidecar of the video that this task has just written; false if the video is no longer there."""
        seen = self._seen or Seen()
        for _ in range(ATTEMPTS):
            try:
                self._put_sidecar(self._target, seen.stored.version if seen.stored else ABSENT)
            except ChangedError:
                # Another run has replaced the video meanwhile, or was late with the sidecar of one that is replaced.
                found = self._look(self._target)
                if found is None or found.version != version:
                    return False
                seen = see(self._writes, self._target)
                continue
            return True
        raise LandingError(
            f"{sidecar_of(self._target).uri} is written to by others again and again; the next try finds the video "
            f"{self._target.uri} and writes it"
        )

    def _put_sidecar(self, place: Target, when: str) -> None:
        data = sidecar_bytes(self._provenance, self._describe(place), self._sample)
        digest = hashlib.sha256(data).hexdigest()
        self._put(sidecar_of(place), io.BytesIO(data), len(data), digest, "application/json", when, "")

    def _put(
        self, place: Target, file: BinaryIO, size: int, sha256: str, content_type: str, when: str, note: str
    ) -> str:
        try:
            with storage_errors(place, "written", passing=(ChangedError, UnsupportedError)):
                return self._writes.put(
                    place.path, file, size, sha256=sha256, content_type=content_type, note=note, when=when
                )
        finally:
            place.fs.invalidate_cache(place.path.rpartition("/")[0])

    def _look(self, target: Target) -> Stored | None:
        with storage_errors(target, "read"):
            try:
                with looking(target):
                    return self._writes.look(target.path)
            except FileNotFoundError:
                return None


@dataclass(frozen=True)
class _Verdict:
    """What to do about an object.

    :param version: the version that may be replaced, or :data:`.ABSENT`.
    :param kept: it is this very video already.
    """

    version: str
    kept: bool = False
