"""What a task tells that works on videos, or posts one: the videos, the pictures that it made, and its checks.

Such a task pays for nothing: its page shows the video, and nothing here is a generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.ui.sources import sidecars
from airflow_provider_apimart.ui.sources.entries import MAX_PATH, Entry, of_note
from airflow_provider_apimart.ui.sources.instances import Instance
from airflow_provider_apimart.ui.sources.kinds import Kind

#: A contact sheet shows a hundred videos.
MAX_PICTURES = 100
_KINDS = ("poster", "preview", "first_frame", "last_frame")
_VERDICTS = ("ok", "warn", "skip", "fail")


def entry_of(instance: Instance, *, busy: bool) -> Entry:
    """Return what such a task is about.

    :param busy: the task works.
    """
    told = instance.result or instance.note
    video = told.get("video")
    outcome = "running" if busy or instance.state is None else "completed" if instance.state == "success" else "failed"
    if instance.kind is Kind.MEDIA and _verdict(instance) == "skip":
        # That a bad video goes no further is what was asked for.
        outcome = "completed"
    names = {"generation_id": video.get("generation_id")} if isinstance(video, Mapping) else {}
    facts = {name: told.get(name) for name in ("generation_id", "cost_usd", "prompt", "model") if told.get(name)}
    return of_note({**names, **facts, "outcome": outcome, "videos": _videos(instance), "error": told.get("error")}, {})


def pictures_of(instance: Instance) -> dict[str, Mapping[str, Any]]:
    """Return the pictures that a task has made, by name: ``poster``, ``preview``, ``contact_sheet_1`` and so on."""
    if instance.kind not in (Kind.MEDIA, Kind.MEDIA_BATCH):
        return {}
    told = instance.result or instance.note
    given: list[tuple[str, Any]] = [(kind, told.get(kind)) for kind in _KINDS]
    if told.get("kind") in _KINDS:
        given.append((told["kind"], told))
    given += [(f"poster_{n}", poster) for n, poster in enumerate(_list(told.get("posters")), start=1)]
    sheets = _list(told.get("contact_sheets"))
    given += [(f"contact_sheet_{n}", {"path": path}) for n, path in enumerate(sheets, start=1)]
    found = {name: picture for name, picture in given if isinstance(picture, Mapping) and _is_path(picture.get("path"))}
    return dict(list(found.items())[:MAX_PICTURES])


def check_of(instance: Instance) -> dict[str, Any] | None:
    """Return the report of a check task: of several, the gravest."""
    reports = [each for each in instance.reports if each.get("verdict") in _VERDICTS]
    return sidecars.check_view(max(reports, key=_rank)) if reports else None


def _verdict(instance: Instance) -> str | None:
    check = check_of(instance)
    return check["verdict"] if check else None


def _rank(report: Mapping[str, Any]) -> int:
    return _VERDICTS.index(report["verdict"])


def _videos(instance: Instance) -> list[Any]:
    """Return the videos in the order in which the routes count them."""
    told = instance.result or instance.note
    outputs, video = told.get("outputs"), told.get("video")
    if isinstance(outputs, Mapping):
        # Renditions have names; their videos alone do not say which is which.
        named = [(name, output) for name, output in outputs.items() if isinstance(output, Mapping)]
        return [{**each, "name": name} for name, output in named for each in _maps(output.get("videos"))]
    if told.get("videos"):
        return _list(told["videos"])
    if isinstance(video, Mapping):
        return [{**video, "pictures": {"poster": told.get("poster")}}]
    if told.get("kind") in _KINDS:
        return _maps(told.get("made_of"))[:1]
    return [{name: report.get(name) for name in ("path", "sha256")} for report in instance.reports]


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_PATH
