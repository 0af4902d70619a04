"""The sidecar: the JSON beside a video that says how it was made, and which task owns the name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.generation.purchase.record import LandedVideo
from airflow_provider_apimart.storage.files import Target, numbered, read_small, safe_name

SCHEMA = 1
VIDEO_TYPE = "video/mp4"
MAX_SIDECAR_BYTES = 8 * 1024 * 1024
#: The names that distinguish the runs of all DAGs, and the writers of one run.
RUN = ("dag_id", "run_id")
WRITER = ("task_id", "map_index", "row")


def sidecar_of(target: Target) -> Target:
    """Return where the JSON beside a video goes."""
    return target.sibling(f"{target.name}.json")


def beside(target: Target, generation_id: str) -> Target:
    """Return where a generation's video goes if another task of its run owns the name."""
    return numbered(target, safe_name(generation_id))


def sidecar_bytes(provenance: Mapping[str, Any], video: LandedVideo, sample: int) -> bytes:
    """Return the content of a sidecar."""
    sidecar = {"schema": SCHEMA, **provenance, "video": {**video.model_dump(), "sample": sample}}
    return json.dumps(sidecar, indent=2, ensure_ascii=False, default=str).encode() + b"\n"


def rival_of(sidecar: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the owner of the video that a sidecar describes, if that is another task of the same run."""
    mine, theirs = provenance.get("airflow"), sidecar.get("airflow")
    if not isinstance(mine, Mapping) or not isinstance(theirs, dict):
        return None
    same_run = all(mine.get(name) == theirs.get(name) for name in RUN)
    same_writer = all(mine.get(name) == theirs.get(name) for name in WRITER)
    return theirs if same_run and not same_writer else None


def read_sidecar(target: Target) -> dict[str, Any] | None:
    """Return the content of a video's sidecar; ``None`` if there is none that can be read."""
    return parsed(read_small(sidecar_of(target), MAX_SIDECAR_BYTES))


def parsed(data: bytes | None) -> dict[str, Any] | None:
    """Return the content of a sidecar from its bytes; ``None`` if it cannot be read."""
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def described(sidecar: Mapping[str, Any] | None, target: Target, generation_id: str, sample: int) -> LandedVideo | None:
    """Return what the sidecar of ``target`` says about its video, if that is this one."""
    found = sidecar or {}
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
