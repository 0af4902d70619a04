"""Finds the video of ``video=``: another task's result, one of its videos, a manifest's row, or a path.

Nothing is sent here. The size and the checksum come from the task that landed the video, or from the sidecar beside it;
those of a video of the user's own are computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.client.remix import RemixRequest
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.landing.sidecars import MAX_SIDECAR_BYTES, sidecar_of
from airflow_provider_apimart.hooks.storage.paths import file_of, shown_path
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.publishing.errors import VideoChangedError
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.storage.files import Target, check_same_machine, read_small, stored_sha256, stored_size
from airflow_provider_apimart.storage.naming import is_absolute

ALLOWED = (
    "allowed: a generate task's output, one of its videos, a manifest's row, or the absolute path of a video, such as "
    "/data/clip.mp4 or s3://conn@bucket/clip.mp4"
)
NOT_LANDED = "this video was not landed (its path is null): give the task that generates it an output_path"
FACTS = ("duration_seconds", "width", "height", "has_audio")


def video_problems(name: str, value: Any, sample: Any) -> list[FieldProblem]:
    """Return what is wrong with ``video=``, without looking at the storage.

    :param sample: which of several videos, counted from 1; ``None`` if there is only one.
    """
    try:
        chosen = _chosen(value, sample)
    except InvalidParameterError as error:
        return list(error.problems)
    if isinstance(chosen, Mapping):
        chosen = chosen["path"]
    return _path_problems(name, chosen)


def sample_problems(name: str, value: Any) -> list[FieldProblem]:
    """Return what is wrong with ``sample=``."""
    if arguments.is_unset(value) or not arguments.count_problems(name, value):
        return []
    return [FieldProblem(name, value, "allowed: the number of one of the generation's videos, 1 or more, or None")]


def resolve(value: Any, sample: Any = None) -> VideoSource:
    """Return the video of ``video=``, with its size and checksum.

    :raises InvalidParameterError: if it names no video.
    :raises VideoChangedError: if there is no such file.
    :raises LandingError: if the storage does not answer.
    """
    place, video = find(value, sample)
    return VideoSource(place, video or _own(place))


def find(value: Any, sample: Any = None, name: str = "video") -> tuple[Target, VideoFile | None]:
    """Return where the video of ``video=`` is, and what is known of it; ``None`` for a video of the user's own.

    :param name: the argument that named it.
    :raises InvalidParameterError: if it names no video.
    :raises LandingError: if the storage does not answer.
    """
    problems = video_problems(name, value, sample)
    if problems:
        raise InvalidParameterError(tuple(problems))
    chosen = _chosen(value, sample)
    entry = chosen if isinstance(chosen, Mapping) else {"path": chosen}
    place = file_of(entry["path"], name)
    return place, _described(place, entry, entry.get("generation_id")) or _from_sidecar(place)


def path_of(value: Any, sample: Any = None) -> tuple[Any, ...]:
    """Return the path that ``video=`` names, without looking at the storage; nothing if it names no video."""
    try:
        chosen = _chosen(value, sample)
    except InvalidParameterError:
        return ()
    path = chosen["path"] if isinstance(chosen, Mapping) else chosen
    return (path,) if isinstance(path, (str, os.PathLike, ObjectStoragePath)) else ()


def generation_ids_of(value: Any) -> tuple[str, ...]:
    """Return the generations that ``video=`` or ``videos=`` names, without looking at the storage."""
    try:
        value = _from_json(value)
    except InvalidParameterError:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(dict.fromkeys(found for each in value for found in generation_ids_of(each)))
    found = value.get("generation_id") if isinstance(value, Mapping) else None
    return (str(found),) if found else ()


def resolve_all(value: Any, sample: Any = None) -> list[VideoSource]:
    """Return all videos of ``video=``, or the one that ``sample`` names.

    :raises ApimartError: as :func:`resolve`.
    """
    found, samples = _meant(value, sample)
    return [resolve(found, number) for number in samples]


def all_video_problems(name: str, value: Any, sample: Any) -> list[FieldProblem]:
    """Return what is wrong with the videos that :func:`resolve_all` returns, without looking at the storage."""
    try:
        found, samples = _meant(value, sample)
    except InvalidParameterError as error:
        return list(error.problems)
    return [problem for number in samples for problem in video_problems(name, found, number)]


def source_of(video: VideoFile) -> VideoSource:
    """Return a video that an earlier part of the task has resolved."""
    return VideoSource(file_of(video.uri, "video"), video)


def request_of(place: Target) -> VeoRequest | None:
    """Return what a landed video was asked to be, from the sidecar beside it; ``None`` if that is not known.

    :raises LandingError: if the storage does not answer.
    """
    return request_in(_sidecar(place).get("request"))


def request_in(found: Any) -> VeoRequest | None:
    """Return the request that a sidecar or a manifest's row describes; ``None`` if it describes none."""
    if not isinstance(found, Mapping):
        return None
    kind = RemixRequest if "source" in found else VeoRequest
    try:
        return kind.checked({name: value for name, value in found.items() if name in kind.FIELDS})
    except InvalidParameterError:
        # Written by another version, or by hand.
        return None


def _meant(value: Any, sample: Any) -> tuple[Any, Sequence[Any]]:
    """Return what ``video=`` stands for, and which of its videos are meant: all, unless ``sample`` names one."""
    found = _from_json(value)
    videos = found.get("videos") if isinstance(found, Mapping) else found
    if isinstance(videos, (list, tuple)) and len(videos) > 1 and arguments.is_unset(sample):
        return found, range(1, len(videos) + 1)
    return found, (sample,)


def _chosen(value: Any, sample: Any) -> Any:
    """Return the path, or the entry with the path, that ``video=`` stands for."""
    value = _from_json(value)
    if isinstance(value, (list, tuple)):
        # ``generate.output["videos"]``
        value = {"videos": value}
    if not isinstance(value, Mapping):
        return value
    number = None if arguments.is_unset(sample) else int(arguments.number_of(sample) or 0)
    videos = value.get("videos")
    if isinstance(videos, (list, tuple)):
        return _of_several(value, videos, number)
    if "path" not in value:
        raise _wrong("video", sorted(map(str, value)), ALLOWED)
    if value["path"] is None:
        raise _wrong("video", value.get("generation_id"), NOT_LANDED)
    return value


def _of_several(result: Mapping[str, Any], videos: list[Any] | tuple[Any, ...], number: int | None) -> Any:
    shown = result.get("generation_id") or result.get("row")
    if not videos:
        outcome = result.get("error") or result.get("outcome") or result.get("status")
        raise _wrong("video", shown, f"this row or result has no video ({outcome}); {ALLOWED}")
    if number is None and len(videos) > 1:
        hint = f'choose one: sample=1 to {len(videos)}, or video=...["videos"][0] to [{len(videos) - 1}]'
        raise _wrong("video", shown, f"this generation has {len(videos)} videos; {hint}")
    if number is not None and not 1 <= number <= len(videos):
        raise _wrong("sample", number, f"this generation has {len(videos)} videos; allowed: 1 to {len(videos)}")
    entry = videos[(number or 1) - 1]
    if not isinstance(entry, Mapping) or entry.get("path") is None:
        raise _wrong("video", shown, NOT_LANDED)
    return {"generation_id": result.get("generation_id"), **entry}


def _from_json(value: Any) -> Any:
    """Return the object that a template rendered to (``{{ … | tojson }}``); anything else unchanged."""
    try:
        return arguments.from_json_text(value)
    except (ValueError, RecursionError):
        raise _wrong("video", value, f"{ALLOWED}; a template that gives an object: {{{{ … | tojson }}}}") from None


def _path_problems(name: str, value: Any) -> list[FieldProblem]:
    text = str(value) if isinstance(value, (os.PathLike, ObjectStoragePath)) else value
    shown = shown_path(text) if isinstance(text, str) else text
    if not isinstance(text, str) or not text.strip() or any(ord(c) < 32 for c in text):
        return [FieldProblem(name, shown, ALLOWED)]
    if text.lower().startswith(("http://", "https://")):
        return [FieldProblem(name, "a URL", f"a video is taken from storage, where it was landed whole; {ALLOWED}")]
    if not is_absolute(text) or text.endswith("/"):
        return [FieldProblem(name, shown, ALLOWED)]
    return []


def _wrong(name: str, value: Any, allowed: str) -> InvalidParameterError:
    return InvalidParameterError((FieldProblem(name, value, allowed),))


# --- the facts -------------------------------------------------------------------------------------------------------


def _described(place: Target, video: Any, generation_id: Any) -> VideoFile | None:
    """Return the video that an XCom, a manifest or a sidecar describes; ``None`` if it has no size and checksum."""
    if not isinstance(video, Mapping):
        return None
    size, sha256 = video.get("bytes"), video.get("sha256")
    if not isinstance(size, int) or not isinstance(sha256, str) or not sha256:
        return None
    facts: dict[str, Any] = {name: video.get(name) for name in FACTS}
    return VideoFile(place.uri, size, sha256, generation_id=str(generation_id) if generation_id else None, **facts)


def _from_sidecar(place: Target) -> VideoFile | None:
    found = _sidecar(place)
    return _described(place, found.get("video"), found.get("generation_id"))


def _sidecar(place: Target) -> dict[str, Any]:
    data = read_small(sidecar_of(place), MAX_SIDECAR_BYTES)
    try:
        found = json.loads(data) if data else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _own(place: Target) -> VideoFile:
    check_same_machine(place, "the video")
    size = stored_size(place)
    if size is None:
        raise VideoChangedError(f"{place.uri} does not exist. Nothing was posted")
    return VideoFile(place.uri, size, stored_sha256(place))
