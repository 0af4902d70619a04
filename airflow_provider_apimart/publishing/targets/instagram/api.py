"""Calls of the Graph API: one request, one JSON answer, or the error that it stands for.

The token travels in a header and a signed link in a body, so that no URL holds a secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_apimart.publishing.exchange import Exchange, Reply, Request
from airflow_provider_apimart.publishing.targets.instagram.answers import refusal
from airflow_provider_apimart.publishing.targets.instagram.settings import InstagramSettings


@dataclass(frozen=True)
class Graph:
    """The Graph API as one connection sees it.

    :param scrub: takes secrets out of Meta's text.
    """

    settings: InstagramSettings
    scrub: Callable[[str], str]
    now: Callable[[], datetime]

    def get(self, what: str, path: str, fields: str, **params: str) -> Exchange[Mapping[str, Any]]:
        """Read fields of an object.

        :param what: what is asked, for messages.
        :param path: without the version.
        """
        asked = {"fields": fields, **params, **self.settings.proof}
        reply = yield Request(what, "GET", self._url(path), params=asked)
        return self._body(reply, what)

    def post(
        self, what: str, path: str, fields: Mapping[str, Any], *, publishing: bool = False
    ) -> Exchange[Mapping[str, Any]]:
        """Create or publish something.

        :param publishing: whether this makes something public.
        """
        reply = yield Request(
            what,
            "POST",
            self._url(path),
            headers={"Content-Type": "application/json"},
            content=json.dumps({**fields, **self.settings.proof}).encode(),
            timeout_seconds=60.0,
        )
        return self._body(reply, what, publishing=publishing)

    def _url(self, path: str) -> str:
        return f"{self.settings.root}/{self.settings.api_version}/{path}"

    def _body(self, reply: Reply, what: str, *, publishing: bool = False) -> Mapping[str, Any]:
        body = reply.json()
        # Meta is known to report errors with 200 as well.
        if not 200 <= reply.status < 300 or not isinstance(body, dict) or "error" in body:
            raise refusal(reply, what, self.now(), self.scrub, publishing=publishing)
        return body
