"""What people decided about a video: ``<video>.decision.json`` beside it.

Unlike the note of its posts it is more than a note: the publish operators obey it. So it is written before a decision
counts, and a file that cannot be read or written is an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.hooks.storage.paths import file_of
from airflow_provider_apimart.media.history import material_of, output_of
from airflow_provider_apimart.publishing.decision import (
    Decision,
    Decisions,
    NotApprovedError,
    check_approved,
    last_words,
    read_decisions,
    written,
)
from airflow_provider_apimart.storage.files import Target, commit_bytes, exclusive, read_small

__all__ = ["decisions_of"]

#: Far above the size of any such file, because one that is too large to read would look like "nobody has decided".
MAX_BYTES = 64 * 1024 * 1024
#: Two tasks that decide about the same video can overwrite each other's line in a storage without locks. So each reads
#: again.
ATTEMPTS = 4
#: What a video may be made of, at most: far more than anybody cuts by hand.
MOST_FILES, MOST_STEPS = 500, 12


def decisions_of(video: Any) -> list[dict[str, Any]]:
    """Return the decisions about a video, the oldest first, as plain JSON: ``decision``, ``by``, ``at``,
    ``video_sha256``, ``poster_sha256``, ``changes``, ``reason`` and the place of the approval task.

    :param video: the video's path.
    :raises LandingError: if the storage does not answer, or if the file is not one of decisions.
    """
    found = _read(sidecar_of_decisions(file_of(video, "video")))
    return [] if found is None else [line.model_dump(mode="json") for line in found.decisions]


def record_decision(video: Target, decision: Decision) -> None:
    """Write a decision beside its video.

    :raises LandingError: if the storage does not answer, or if the file there is not one of decisions.
    """
    sidecar = sidecar_of_decisions(video)
    with exclusive(sidecar):
        for _ in range(ATTEMPTS):
            found = _read(sidecar) or Decisions(video_sha256=decision.video_sha256)
            wanted = found.with_one(decision)
            if wanted == found:
                return
            commit_bytes(sidecar, written(wanted))
    if decision not in (_read(sidecar) or Decisions(video_sha256="")).decisions:
        raise LandingError(f"{sidecar.uri}: other tasks write it at the same time, so the decision is not there yet")


def check_decisions(video: Target, sha256: str, *, required: bool) -> None:
    """Refuse a video that a person has not approved, or that was made of one.

    What was made of videos (a rendition, a join, a signed copy) counts as approved if a person has approved it or all
    of them.

    :param sha256: of the video that is to be posted.
    :param required: refuse a video about which nobody has decided, too.
    :raises NotApprovedError: names who decided what, and when.
    :raises LandingError: if a storage does not answer, or if a file there is not one of decisions.
    """
    _Asked(video, sha256).check(required=required)


def check_picture(picture: Target) -> None:
    """Refuse a picture that is shown beside a video, such as a thumbnail, if it was made of one that was rejected.

    A picture that is not there is not refused: whoever needs it says so.

    :raises NotApprovedError: names who decided what, and when.
    :raises LandingError: if a storage does not answer, or if a file there is not one of decisions.
    """
    data = read_small(picture, MAX_BYTES)
    if data is not None:
        _Asked(picture, hashlib.sha256(data).hexdigest()).check(required=False)


@dataclass(frozen=True)
class _Part:
    """A file that another one was made of.

    :param needs: whether it needs an approval of its own: a logo does not.
    """

    place: Target
    sha256: str
    needs: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.place.uri, self.sha256


class _Asked:
    """The decisions about a video, and about all that it was made of."""

    def __init__(self, video: Target, sha256: str) -> None:
        self._video = _Part(video, sha256)
        self._found: dict[tuple[str, str], tuple[Decision, ...]] = {}
        self._parts: dict[tuple[str, str], list[_Part]] = {}
        self._settled: set[tuple[str, str]] = set()
        self._look()

    def check(self, *, required: bool) -> None:
        """Refuse what was rejected, at the end or on the way; and, if an approval is required, what nobody approved."""
        for (uri, sha256), decisions in self._found.items():
            check_approved(decisions, sha256, uri, required=False)
        if required:
            self._need(self._video)

    def _look(self) -> None:
        level = [self._video]
        for _ in range(MOST_STEPS + 1):
            following: list[_Part] = []
            for part in level:
                if part.key in self._found:
                    # Notes can name each other in a circle.
                    continue
                if len(self._found) >= MOST_FILES:
                    raise self._too_much()
                following += self._read(part)
            level = following
            if not level:
                return
        raise self._too_much()

    def _too_much(self) -> NotApprovedError:
        return NotApprovedError(
            f"{self._video.place.uri}: whether it is approved cannot be told, because the video was made of more than "
            f"{MOST_FILES} files, or in more than {MOST_STEPS} steps"
        )

    def _read(self, part: _Part) -> list[_Part]:
        found = _read(sidecar_of_decisions(part.place))
        self._found[part.key] = found.decisions if found else ()
        made = output_of(part.place, part.sha256)
        material = material_of(made) if made is not None else ()
        self._parts[part.key] = [_Part(file_of(each.path, "video"), each.sha256, needs) for each, needs in material]
        return self._parts[part.key]

    def _need(self, part: _Part, way: tuple[tuple[str, str], ...] = ()) -> None:
        """Refuse a video that nobody has approved, unless it was made of approved ones only."""
        if part.key in self._settled or last_words(self._found[part.key], part.sha256):
            return
        # A picture that was made of nothing, such as a logo, needs no approval.
        parts = [each for each in self._parts[part.key] if each.needs or self._parts[each.key]]
        if part.key in way or (part.needs and not parts):
            check_approved((), part.sha256, part.place.uri, required=True)
        for each in parts:
            self._need(each, (*way, part.key))
        self._settled.add(part.key)


def sidecar_of_decisions(video: Target) -> Target:
    """Return where the decisions about a video are kept."""
    return video.sibling(f"{video.name}.decision.json")


def _read(sidecar: Target) -> Decisions | None:
    data = read_small(sidecar, MAX_BYTES)
    if data is None:
        return None
    try:
        return read_decisions(data)
    except ValueError as error:
        raise LandingError(
            f"{sidecar.uri} cannot be read ({error}). It is left as it is, and the video counts as not approved"
        ) from None
