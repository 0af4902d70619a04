"""The media sidecar (``<video>.media.json``): what was found in a video, and what was made of it.

Several tasks write it, so every change merges with what is there. It is a note: what was made can be made again, and
nothing that was paid for depends on it. It stands beside what was made of the video, and so, unless there is an
``output_path``, beside the video.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_apimart.client.errors import LandingError
from airflow_provider_apimart.storage.files import Target, read_small
from airflow_provider_apimart.storage.rewriting import rewrite, rewrite_unlocked

VERSION = 1
MAX_BYTES = 8 * 1024 * 1024
MOST_EARLIER = 1000


class MadeOf(BaseModel):
    """A file that another one was made of."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str
    sha256: str


class Output(BaseModel):
    """A file that was made of a video.

    :param kind: ``poster``, ``preview``, ``first_frame``, ``last_frame``, ``contact_sheet``, ``rendition``, ``join``,
        ``provenance``.
    :param path: where it is, as the user would write it.
    :param fingerprint: of its inputs, its parameters and the version of the work; its name holds the beginning.
    :param parameters: what was asked for.
    :param made_of: its inputs, in their order: the video first, then what was put into it.
    :param made_at: ISO 8601 in UTC.
    """

    # What a later version adds is kept.
    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
    path: str
    bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    has_audio: bool | None = None
    fingerprint: str
    parameters: dict[str, Any] = {}
    made_of: tuple[MadeOf, ...] = ()
    made_at: str

    def as_result(self) -> dict[str, Any]:
        """Return it as an operator's XCom. A video's has ``videos``, so that whatever takes a generation takes it."""
        found = self.model_dump(mode="json")
        if self.duration_seconds is not None and self.has_audio is not None:
            names = ("path", "bytes", "sha256", "duration_seconds", "width", "height", "has_audio")
            found["videos"] = [{name: found[name] for name in names}]
        return found


class MediaNote(BaseModel):
    """The content of a media sidecar.

    :param video_sha256: the video that it is about. A note about another one counts for nothing.
    :param check: the report of the last check: ``verdict``, ``rules``, ``facts``, ``checked_at``.
    :param earlier: what was made of videos that had this name before, the newest 1,000. It is kept because a decision
        about such a video is one about what was made of it.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    version: Literal[1] = 1
    video_sha256: str
    check: dict[str, Any] | None = None
    outputs: tuple[Output, ...] = ()
    earlier: tuple[Output, ...] = ()

    def output(self, fingerprint: str) -> Output | None:
        """Return what was made under a fingerprint."""
        return next((output for output in self.outputs if output.fingerprint == fingerprint), None)


def beside(video: Target) -> Target:
    """Return where the media sidecar of a video is."""
    return video.sibling(f"{video.name}.media.json")


def place_of(video: Target, video_sha256: str, folder: Target | None = None) -> Target:
    """Return where the media sidecar of a video is.

    :param folder: where its outputs go, if not beside it. Videos of the same name may meet there, so its content names
        it, too.
    """
    if folder is None or folder.path.rstrip("/") == video.path.rstrip("/").rpartition("/")[0]:
        return beside(video)
    return folder.child(f"{video.name}.{video_sha256[:10]}.media.json")


def read_note(place: Target, video_sha256: str | None = None) -> MediaNote | None:
    """Return the note at ``place``; ``None`` if there is none, or if it is about another video.

    :raises LandingError: if the storage does not answer, or if the file is not a media sidecar of this version.
    """
    found = _parsed(place, read_small(place, MAX_BYTES))
    if not found or (video_sha256 is not None and found["video_sha256"] != video_sha256):
        return None
    return MediaNote.model_validate(found)


def keep_check(place: Target, video_sha256: str, report: dict[str, Any]) -> None:
    """Note the report of a check, in the place of an earlier one.

    :param report: as from :meth:`.checking.Checked.as_json`, and how it was made.
    """
    rewrite(place, MAX_BYTES, partial(_parsed, place), lambda found: _with(found, video_sha256, check=report))


def keep_outputs(place: Target, video_sha256: str, outputs: Iterable[Output], *, locked: bool = False) -> None:
    """Note what was made of a video; an entry with the same fingerprint is replaced.

    :param locked: whether the caller holds the lock of the folder.
    """
    lines = [output.model_dump(mode="json") for output in outputs]
    write = rewrite_unlocked if locked else rewrite
    write(place, MAX_BYTES, partial(_parsed, place), lambda found: _with(found, video_sha256, outputs=lines))


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_EMPTY: dict[str, Any] = {"version": VERSION, "video_sha256": "", "check": None, "outputs": [], "earlier": []}


def _with(
    found: dict[str, Any], video_sha256: str, *, check: dict[str, Any] | None = None, outputs: Iterable[Any] = ()
) -> dict[str, Any] | None:
    if found.get("video_sha256") != video_sha256:
        # Nothing yet, or about a video that this one has replaced.
        earlier = [*found.get("earlier", ()), *found.get("outputs", ())][-MOST_EARLIER:]
        base = {**_EMPTY, "video_sha256": video_sha256, "earlier": earlier}
    else:
        base = found
    new = list(outputs)
    fingerprints = {line["fingerprint"] for line in new}
    lines = [line for line in base["outputs"] if line["fingerprint"] not in fingerprints] + new
    if any(line not in base["outputs"] for line in new):
        base = {**base, "outputs": lines}
    if check is not None:
        base = {**base, "check": check}
    return None if base == found else base


def _parsed(place: Target, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {}
    try:
        note = MediaNote.model_validate_json(data)
    except (ValidationError, RecursionError):
        raise LandingError(f"{place.uri} is not a media sidecar of this version; it is left as it is") from None
    return note.model_dump(mode="json")
