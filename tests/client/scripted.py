"""Answers by a script in the place of the wire, and a good call of every method."""

from __future__ import annotations

from typing import Any

import httpx

BODY = {"model": "veo3.1-fast-official", "prompt": "강아지 🐕", "duration": 8}
ACCEPTED = {"code": 200, "data": [{"status": "submitted", "task_id": "task_1"}]}
CALLS: dict[str, tuple[Any, ...]] = {
    "submit": (BODY, "key-1"),
    "generation": ("task_1",),
    "upload_image": ("a.png", b"png", "image/png"),
    "key_balance": (),
    "account_balance": (),
    "models": (),
    "prices": (),
}
GOOD: dict[str, Any] = {
    "submit": ACCEPTED,
    "generation": {"code": 200, "data": {"id": "task_1", "status": "processing"}},
    "upload_image": {"url": "https://getapib.org/f/image/a.png"},
    "key_balance": {"remain_balance": 1},
    "account_balance": {"remain_balance": 1},
    "models": {"data": []},
    "prices": {"data": {"models": {"video": []}}},
}


class Script:
    """Answers with the rows of a script, one by one (the last again and again), and keeps what was asked."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        row = self.rows[min(len(self.seen), len(self.rows)) - 1]
        if isinstance(row, Exception):
            raise row
        if isinstance(row, httpx.Response):
            return row
        status, body = row if isinstance(row, tuple) else (200, row)
        return httpx.Response(status, json=body)
