"""The page of one task: what it makes, how far it is, what it cost, what went wrong, who decided, and the posts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_apimart.hooks.stores.record_stores import BUSY_STATES
from airflow_provider_apimart.ui.sources import approvals, made, sidecars
from airflow_provider_apimart.ui.sources.clearing import clear_of
from airflow_provider_apimart.ui.sources.entries import Entry, of_note, of_record
from airflow_provider_apimart.ui.sources.instances import Instance
from airflow_provider_apimart.ui.sources.kinds import BATCHES, Kind
from airflow_provider_apimart.ui.sources.rows import manifest_of, summary_of
from airflow_provider_apimart.ui.sources.views import generation_view, picture_view

#: Airflow 3.3's state for a task that waits for a person.
WAITING_STATES = BUSY_STATES | {"awaiting_input"}
STOPPED = {
    "text": "The task ended before its video was in storage.",
    "money": "If its generation was paid for, it is not lost: nothing is paid again.",
    "next": "Clear the task: it goes on with the generation that it has.",
}


def task_view(instance: Instance, roots: tuple[str, ...] = (), now: datetime | None = None) -> dict[str, Any]:
    """Return the page of a task instance. It blocks: sidecars are read.

    :param roots: ``[apimart] video_roots``.
    """
    if instance.kind is Kind.NONE:
        return {"kind": "none"}
    entry = entry_of(instance)
    view = {
        "kind": str(instance.kind),
        **generation_view(instance.place, entry, in_list=False),
        "state": instance.state,
        "try_number": instance.try_number,
        "progress": None,
        "deadline": entry.deadline,
        "expected_seconds": entry.expected_seconds,
        "elapsed_seconds": _elapsed(instance, entry, now or datetime.now(UTC)),
        "approval": None,
        "posts": [],
        "check": None,
        "pictures": [picture_view(instance.place, *each) for each in made.pictures_of(instance).items()],
        "summary": summary_of(instance) if instance.kind in BATCHES else None,
        "manifest": None,
        "clear": clear_of(instance, entry, busy=instance.state in WAITING_STATES),
    }
    if instance.kind in BATCHES:
        return {**view, "manifest": manifest_of(instance)}
    return {**view, **_told_beside(instance, entry, roots)}


def entry_of(instance: Instance) -> Entry:
    """Return what is known of a task's generation: from its note, its result, or its record, in this order."""
    busy = instance.state in WAITING_STATES
    if instance.kind is not Kind.GENERATION:
        return _entry_of_other(instance, busy)
    if instance.note:
        entry = of_note(instance.note, instance.rendered)
        # A try that was killed, or marked as failed, left the note of its beginning.
        if entry.outcome == "running" and not busy:
            return _with(entry, outcome="parked", error=STOPPED)
        if entry.outcome in ("failed", "parked") and busy:
            return _with(entry, outcome="running")
        return entry
    if instance.result:
        return of_note(instance.result, instance.rendered)
    if instance.record:
        entry = of_record(instance.record, instance.rendered)
        if entry.outcome == "running" and not busy:
            return _with(entry, outcome="parked", error=STOPPED)
        return entry
    return of_note({"outcome": "running" if busy or instance.state is None else "failed"}, instance.rendered)


def _entry_of_other(instance: Instance, busy: bool) -> Entry:
    """Return the entry of a batch, or of a task that works on a video that another one has made."""
    if instance.asked:
        return approvals.entry_of(instance.asked, busy=busy, succeeded=instance.state == "success")
    return made.entry_of(instance, busy=busy)


def _with(entry: Entry, **changes: Any) -> Entry:
    return Entry(**{**vars(entry), **changes})


def _elapsed(instance: Instance, entry: Entry, now: datetime) -> float | None:
    """Return for how long the generation has been going on, or took."""
    since = datetime.fromisoformat(entry.submitted_at) if entry.submitted_at else instance.started_at
    if since is None:
        return None
    until = datetime.fromisoformat(entry.completed_at) if entry.completed_at else instance.ended_at
    if entry.outcome == "running" or until is None:
        until = now
    return max(0.0, (until - since).total_seconds())


def _told_beside(instance: Instance, entry: Entry, roots: tuple[str, ...]) -> dict[str, Any]:
    """Return what the task itself, or a sidecar of its video, tells of approval, posts and checks."""
    found: dict[str, Any] = {}
    result = instance.result
    if instance.asked:
        found["approval"] = approvals.view_of(instance.asked)
    elif isinstance(result.get("decision"), str):
        found["approval"] = sidecars.decision_view(result)
    if check := made.check_of(instance):
        found["check"] = check
    elif isinstance(result.get("check"), Mapping):
        found["check"] = sidecars.check_view(result["check"])
    paths = [video["path"] for video in entry.videos if video["path"]]
    if paths:
        found.setdefault("approval", sidecars.decision_of(paths[0], roots))
        found.setdefault("check", sidecars.check_of(paths[0], roots))
        found["posts"] = [post for path in paths for post in sidecars.posts_of(path, roots)]
    return found
