"""Finds the video of ``video=``: another task's result, one of its videos, a manifest's row, or a path.

Nothing is sent here. The size and the checksum come from the task that landed the video, or from the sidecar beside it;
those of a video of the user's own are computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart._compat import ObjectStoragePath
from airflow_provider_apimart.client.errors import FieldProblem, InvalidParameterError
from airflow_provider_apimart.generation.landing.landing import MAX_SIDECAR_BYTES, sidecar_of
from airflow_provider_apimart.hooks.storage import file_of, shown_path
from airflow_provider_apimart.operators import arguments
from airflow_provider_apimart.publishing.errors import VideoChangedError
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.storage.files import Target, check_same_machine, read_small, stored_sha256, stored_size
from airflow_provider_apimart.storage.places import is_absolute

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
    problems = video_problems("video", value, sample)
    if problems:
        raise InvalidParameterError(tuple(problems))
    chosen = _chosen(value, sample)
    entry = chosen if isinstance(chosen, Mapping) else {"path": chosen}
    place = file_of(entry["path"], "video")
    video = _described(place, entry, entry.get("generation_id")) or _from_sidecar(place) or _own(place)
    return VideoSource(place, video)


def source_of(video: VideoFile) -> VideoSource:
    """Return a video that an earlier part of the task has resolved."""
    return VideoSource(file_of(video.uri, "video"), video)


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
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong("video", value, f"{ALLOWED}; a template that gives an object: {{{{ … | tojson }}}}") from None
    return value


def _path_problems(name: str, value: Any) -> list[FieldProblem]:
    text = str(value) if isinstance(value, (os.PathLike, ObjectStoragePath)) else value
    shown = shown_path(text) if isinstance(text, str) else text
    if not isinstance(text, str) or not text.strip() or any(ord(c) < 32 for c in text):
        return [FieldProblem(name, shown, ALLOWED)]
    if text.lower().startswith(("http://", "https://")):
        return [FieldProblem(name, "a URL", f"a video is posted from storage, where it was landed whole; {ALLOWED}")]
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
    data = read_small(sidecar_of(place), MAX_SIDECAR_BYTES)
    try:
        found = json.loads(data) if data else None
    except (ValueError, RecursionError):
        found = None
    return _described(place, found.get("video"), found.get("generation_id")) if isinstance(found, dict) else None


def _own(place: Target) -> VideoFile:
    check_same_machine(place, "the video")
    size = stored_size(place)
    if size is None:
        raise VideoChangedError(f"{place.uri} does not exist. Nothing was posted")
    return VideoFile(place.uri, size, stored_sha256(place))
