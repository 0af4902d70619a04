"""What the routes answer with, as plain JSON: one generation, for lists and for its own page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from airflow_provider_apimart.ui.sources.entries import Entry

#: A list shows this many characters of a prompt; its own page shows all.
MAX_PROMPT_IN_LISTS = 2000
MAX_LABEL = 120


@dataclass(frozen=True)
class Place:
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def ids(self) -> str:
        """The beginning of its paths under a route."""
        ids = (self.dag_id, self.run_id, self.task_id, str(self.map_index))
        return "/".join(quote(each, safe="") for each in ids)

    def path(self, n: int, row: str | None = None, generation_id: str | None = None) -> str:
        """Return the path of its ``n``-th video under a route.

        :param generation_id: of this generation alone, whatever the task has made since.
        """
        asked = {"row": row, "generation": generation_id}
        query = urlencode({name: value for name, value in asked.items() if value is not None}, quote_via=quote, safe="")
        return f"{self.ids}/{n}{'?' if query else ''}{query}"


def generation_view(place: Place, entry: Entry, *, in_list: bool = True) -> dict[str, Any]:
    """Return one generation. URLs are relative to the app's root."""
    cut = in_list and len(entry.prompt) > MAX_PROMPT_IN_LISTS
    return {
        "dag_id": place.dag_id,
        "run_id": place.run_id,
        "task_id": place.task_id,
        "map_index": place.map_index,
        "row": entry.row,
        "generation_id": entry.generation_id,
        "outcome": entry.outcome,
        "detail": entry.detail,
        "prompt": entry.prompt[:MAX_PROMPT_IN_LISTS] if cut else entry.prompt,
        "prompt_cut": cut,
        "label": label_of(entry.labels),
        "labels": dict(entry.labels or {}),
        "model": entry.model,
        "parameters": dict(entry.parameters or {}),
        "seed": entry.seed,
        "cost_usd": entry.cost_usd,
        "submitted_at": entry.submitted_at,
        "completed_at": entry.completed_at,
        "videos": [
            _video(video, n, place.path(n, entry.row, entry.generation_id if in_list else None))
            for n, video in enumerate(entry.videos, start=1)
        ],
        "error": dict(entry.error) if entry.error else None,
        "check": dict(entry.check) if entry.check else None,
        "fallback_from": entry.fallback_from,
    }


def picture_view(place: Place, name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a picture that a task has made. Its URL is relative to the app's root."""
    sides = {side: value if isinstance(value := told.get(side), int) else None for side in ("width", "height")}
    return {"name": name, "path": told["path"], **sides, "url": f"picture/{place.ids}/{name}"}


def label_of(labels: Mapping[str, Any] | None) -> str:
    """Return the labels in one line."""
    return ", ".join(str(value) for value in (labels or {}).values() if value not in (None, ""))[:MAX_LABEL]


def _video(video: Mapping[str, Any], n: int, where: str) -> dict[str, Any]:
    landed = video["path"] is not None
    return {
        "n": n,
        **{name: value for name, value in video.items() if name != "poster"},
        "video_url": f"video/{where}" if landed else None,
        "poster_url": f"poster/{where}" if landed else None,
    }
