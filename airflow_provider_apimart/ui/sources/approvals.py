"""An approval task's page: what it asks about, what the person must know, and what was decided.

The task tells all of it in one XCom, while it waits and after it ended. That XCom has every take, of which its result,
if there is one, has the chosen take alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_apimart.ui.sources import sidecars
from airflow_provider_apimart.ui.sources.entries import Entry, of_note

#: A person can choose of these; Airflow calls the task's state "skipped" or "failed" where nothing is published.
UNPUBLISHED = ("rejected", "timeout")


def entry_of(asked: Mapping[str, Any], *, busy: bool, succeeded: bool) -> Entry:
    """Return what is asked about: all takes, with what they cost together.

    :param asked: the XCom.
    :param busy: the task waits or works.
    :param succeeded: it ended well.
    """
    videos = [video for video in _list(asked.get("videos")) if isinstance(video, Mapping)]
    # Several videos of one generation were paid for once.
    costs = {video.get("generation_id") or video.get("n"): video.get("cost_usd") for video in videos}
    known = [cost for cost in costs.values() if isinstance(cost, int | float) and not isinstance(cost, bool)]
    decision = _decision(asked).get("decision")
    # Who rejects a video has done what was asked: nothing is wrong.
    done = succeeded or decision in UNPUBLISHED
    chosen = asked.get("chosen")
    made_by = next((video for video in videos if video.get("n") == chosen), videos[0] if videos else {})
    told = {
        "outcome": "running" if busy else "completed" if done else "failed",
        "generation_id": made_by.get("generation_id"),
        "prompt": asked.get("prompt"),
        "cost_usd": sum(known) if known else None,
        "videos": [_with_name(video) for video in videos] if isinstance(asked.get("ticked"), list) else videos,
    }
    return of_note(told, {})


def _with_name(video: Mapping[str, Any]) -> dict[str, Any]:
    """Return a video of a sheet under the name of its row, with a mark once it was decided on."""
    mark = {"approved": "✓ ", "rejected": "✕ "}.get(str(video.get("decision")), "")
    return {**video, "name": f"{mark}{video.get('row') or video.get('n')}"}


def view_of(asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the question and the decision, or ``None`` before anything was asked.

    ``sheet`` says how many videos of a table were approved, and of how many: it has boxes to tick, and no takes.
    """
    if not asked:
        return None
    decision = _decision(asked)
    ticked = asked.get("ticked")
    sheet = {"videos": len(_list(asked.get("videos"))), "approved": len(ticked)} if isinstance(ticked, list) else None
    none: dict[str, Any] = {"decision": None, "by": None, "at": None, "changes": {}, "reason": None}
    told = sidecars.decision_view(decision) if decision else none
    numbers = {
        name: value if _is_count(value := asked.get(name)) else None for name in ("takes", "max_takes", "chosen")
    }
    texts = {
        name: value if isinstance(value := asked.get(name), str) else None for name in ("state", "note", "asked_at")
    }
    return {**told, **numbers, **texts, "sheet": sheet}


def _decision(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    decision = asked.get("decision")
    return decision if isinstance(decision, Mapping) else {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
