"""What the routes would answer in states that a test does not want to wait for; the shapes are those of ui/views.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PROMPT = "A red sneaker splashes through neon puddles at night, slow motion, low camera, cinematic light"
HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "long": "x" * 20_000,
    "right_to_left": "مرحبا بالعالم ‮evil‬ فيديو للحذاء الأحمر",
    "zalgo": ("Z" + "\u0351\u036b\u0343\u036a\u0302" * 6 + "algo ") * 60,
}


def generation(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return one generation as the lists hold it."""
    place = f"mine/run/make/{number}"
    video = {
        "path": f"s3://acme-videos/spring/gen_{number:04}.mp4",
        "bytes": 4_182_331,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "duration_seconds": 8.0,
        "width": 1280,
        "height": 720,
        "has_audio": True,
    }
    view = {
        "dag_id": "mine",
        "run_id": "run",
        "task_id": "make",
        "map_index": number,
        "row": None,
        "generation_id": f"task_{number:08}",
        "outcome": "completed",
        "detail": None,
        "prompt": PROMPT,
        "prompt_cut": False,
        "label": f"Sneaker {number}",
        "labels": {"sku": f"Sneaker {number}"},
        "model": "veo3.1-fast-official",
        "parameters": {"duration": 8, "aspect_ratio": "16:9", "resolution": "720p"},
        "seed": 4711,
        "cost_usd": 0.8,
        "submitted_at": "2026-03-04T05:06:07Z",
        "completed_at": "2026-03-04T05:07:40Z",
        "videos": [{"n": 1, **video, "video_url": f"video/{place}/1", "poster_url": f"poster/{place}/1"}],
        "error": None,
        "fallback_from": None,
    }
    return {**view, **changes}


def task(**changes: Any) -> dict[str, Any]:
    """Return a task's page: by default, a video that has gone all the way."""
    view = {
        **generation(),
        "kind": "generation",
        "state": "success",
        "try_number": 1,
        "progress": None,
        "deadline": None,
        "expected_seconds": None,
        "elapsed_seconds": 93.0,
        "approval": {
            "decision": "approved",
            "by": "Mina Park",
            "at": "2026-03-04T06:00:00Z",
            "changes": {"title": "Run"},
        },
        "posts": [
            {
                "target": "youtube",
                "url": "https://youtu.be/abc",
                "studio_url": None,
                "state": "public",
                "privacy": "public",
                "at": "2026-03-04T07:00:00Z",
            }
        ],
        "check": {"verdict": "warn", "rules": [{"rule": "loudness", "verdict": "warn", "text": "Louder than wanted."}]},
        "summary": None,
        "manifest": None,
        "clear": {"pays": False},
    }
    takes = [{**view["videos"][0], "n": n, "video_url": f"video/mine/run/make/0/{n}"} for n in (1, 2, 3)]
    return {**view, "videos": takes, **changes}


def running(elapsed: float) -> dict[str, Any]:
    """Return a task's page while its video is being made."""
    nothing = {"approval": None, "posts": [], "check": None, "clear": None, "cost_usd": None, "completed_at": None}
    return task(
        **nothing, videos=[], outcome="running", state="deferred", elapsed_seconds=elapsed, expected_seconds=100.0
    )


FAILED = task(
    approval=None,
    posts=[],
    check=None,
    videos=[],
    outcome="failed",
    detail="failed",
    state="failed",
    cost_usd=None,
    completed_at=None,
    clear={"pays": True},
    error={
        "text": "APIMart ended generation task_00000000: internal error.",
        "money": "Nothing was charged: failed generations are free.",
        "next": "Clear the task to pay for a new one.",
    },
)


_TAKES = task()["videos"]
ASKING = task(
    kind="approval",
    state="awaiting_input",
    outcome="running",
    posts=[],
    check=None,
    clear=None,
    videos=_TAKES[:2],
    approval={
        "decision": None,
        "state": "asked",
        "note": "Take 2 is ready. It cost $0.80.",
        "takes": 2,
        "max_takes": 3,
        "asked_at": "2026-03-04T05:30:00Z",
    },
)
BATCH = task(
    kind="batch",
    videos=[],
    approval=None,
    posts=[],
    check=None,
    outcome="completed",
    summary={"rows": 8, "cost_usd": 5.6},
    manifest="s3://acme-videos/spring/manifest-0001.jsonl",
)


class Answers:
    """Answers the routes of a page; a test may change what is said while the page is open.

    :param video: an MP4.
    :param poster: a PNG.
    """

    def __init__(self, video: Path, poster: bytes) -> None:
        self.task: Any = task()
        self.status = 200
        self.rows = [generation(number) for number in range(60)]
        self.asked: list[str] = []
        self._video = video
        self._poster = poster

    def install(self, page: Page) -> None:
        """Answer from now on, instead of the server."""
        page.route("**/apimart/api/**", self._json)
        page.route("**/apimart/poster/**", lambda route: route.fulfill(body=self._poster, content_type="image/png"))
        page.route("**/apimart/video/**", lambda route: route.fulfill(path=self._video, content_type="video/mp4"))

    def _json(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        name = url.path.partition("/apimart/api/")[2]
        self.asked.append(name)
        if self.status != 200:
            route.fulfill(status=self.status, json={"detail": "a reason"})
        elif name.startswith("task/"):
            route.fulfill(body=json.dumps(self.task), content_type="application/json")
        elif name.startswith("rows/"):
            route.fulfill(json=self._table(query))
        elif name == "spend":
            route.fulfill(json={"days": self._spend()})
        else:
            route.fulfill(json=self._page(query))

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        found = [row for row in self.rows if query.get("q", "") in row["prompt"]]
        first, limit = int(query.get("cursor", 0)), int(query.get("limit", 24))
        more = first + limit < len(found)
        return {
            "items": found[first : first + limit],
            "next": str(first + limit) if more else None,
            "total": len(found),
            "cost_usd": 0.8 * len(found),
            "outcomes": {"completed": len(found)},
            "exact": True,
            "index": {"state": "ready", "text": ""},
        }

    def _table(self, query: Mapping[str, str]) -> dict[str, Any]:
        rows = [{**row, "row": f"S-{number}", "map_index": -1} for number, row in enumerate(self.rows)]
        nothing = {"videos": [], "cost_usd": None, "completed_at": None}
        rows[2] = {**rows[2], **nothing, "outcome": "failed", "detail": "rejected"}
        wanted = [row for row in rows if query.get("outcome") in (None, "", row["outcome"])]
        return {
            "total": len(wanted),
            "outcomes": {"completed": len(rows) - 1, "failed": 1},
            "rows": wanted,
            "manifest": BATCH["manifest"],
        }

    @staticmethod
    def _spend() -> list[dict[str, Any]]:
        days = [(f"2026-03-{day:02}", dag) for day in range(1, 15) for dag in ("mine", "theirs")]
        return [
            {"day": day, "dag_id": dag, "cost_usd": 1.6 * (1 + index % 5), "videos": 2, "failures": 0}
            for index, (day, dag) in enumerate(days)
        ]
