"""Calls of the Data API: one request, one JSON answer, or the error that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_apimart.publishing.exchange import Exchange, Request
from airflow_provider_apimart.publishing.targets.youtube.answers import refusal

#: How many ids one question may name, and how many entries one page has.
PAGE = 50


@dataclass(frozen=True)
class Api:
    """The Data API at one address.

    :param base_url: such as ``https://www.googleapis.com``.
    :param scrub: takes secrets out of YouTube's text.
    """

    base_url: str
    scrub: Callable[[str], str]
    now: Callable[[], datetime]

    def call(
        self,
        what: str,
        method: str,
        path: str,
        params: Mapping[str, str],
        *,
        content: bytes | None = None,
        content_type: str = "application/json; charset=UTF-8",
        timeout_seconds: float = 30.0,
    ) -> Exchange[Mapping[str, Any]]:
        """Send a request and return its answer's JSON object."""
        reply = yield Request(
            what=what,
            method=method,
            url=f"{self.base_url}{path}",
            headers={"Content-Type": content_type} if content is not None else {},
            params=params,
            content=content,
            timeout_seconds=timeout_seconds,
        )
        body = reply.json()
        if not 200 <= reply.status < 300 or not isinstance(body, dict):
            raise refusal(reply, what, self.now(), self.scrub)
        return body

    def page(self, what: str, resource: str, params: Mapping[str, str]) -> Exchange[tuple[list[dict[str, Any]], str]]:
        """Return the resources of one page, and the next page's token (empty for none)."""
        body = yield from self.call(what, "GET", f"/youtube/v3/{resource}", params)
        items, token = body.get("items"), body.get("nextPageToken")
        found = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        return found, token if isinstance(token, str) else ""

    def items(self, what: str, resource: str, params: Mapping[str, str]) -> Exchange[list[dict[str, Any]]]:
        """Return the resources of the first page."""
        found, _ = yield from self.page(what, resource, params)
        return found
