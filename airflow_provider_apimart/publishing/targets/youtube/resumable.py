"""Google's resumable upload: open a session, send bytes, ask how far it is.

The session's URL lets anybody who holds it upload to the account. So it never appears in an error, and the access token
is sent only to a session on YouTube's own hosts.

Source: "Using the resumable upload protocol", developers.google.com/youtube/v3/guides/using_resumable_upload_protocol.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from airflow_provider_apimart.client.envelope import retry_after
from airflow_provider_apimart.publishing.errors import PublishError, TargetUnavailableError
from airflow_provider_apimart.publishing.exchange import Exchange, Reply, Request, VideoBytes
from airflow_provider_apimart.publishing.target import Drafted, Session, SessionGone, Stored
from airflow_provider_apimart.publishing.targets.youtube.answers import refusal

#: Pieces are multiples of this (the protocol's rule), so it is also the size of the tail.
PIECE_BYTES = 256 * 1024
#: How long YouTube may take to answer the last byte.
UPLOAD_TIMEOUT_SECONDS = 180.0
MEDIA_TYPE = "video/*"
GOOGLE_HOSTS = (".googleapis.com", ".google.com", ".youtube.com")
_RANGE = re.compile(r"(?:bytes[= ])?0-(\d{1,15})")


@dataclass(frozen=True)
class Resumable:
    """The upload protocol at one address.

    :param base_url: of the API, such as ``https://www.googleapis.com``.
    :param scrub: takes secrets out of YouTube's text.
    """

    base_url: str
    scrub: Callable[[str], str]
    now: Callable[[], datetime]

    def start(self, resource: Mapping[str, Any], name: str, size: int, params: Mapping[str, str]) -> Exchange[Session]:
        """Open a session.

        :param name: the file's name, which YouTube keeps.
        :param params: more of the query.
        """
        reply = yield Request(
            what="start of the upload",
            method="POST",
            url=f"{self.base_url}/upload/youtube/v3/videos",
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Length": str(size),
                "X-Upload-Content-Type": MEDIA_TYPE,
                "Slug": name,
            },
            params={"uploadType": "resumable", **params},
            content=json.dumps(resource, ensure_ascii=False, allow_nan=False).encode(),
        )
        if reply.status not in (200, 201):
            raise refusal(reply, "start of the upload", self.now(), self.scrub)
        url = urljoin(self.base_url, reply.headers.get("location", ""))
        if not reply.headers.get("location") or not self.is_own(url):
            # Nothing was sent to it. A session that is never used is nothing.
            raise TargetUnavailableError("YouTube named no upload session of its own", nothing_done=True)
        return Session(url)

    def is_own(self, url: str) -> bool:
        """Return whether a session is where the access token may go: at the API's own address, or Google's."""
        own, other = urlsplit(self.base_url), urlsplit(url)
        if (own.scheme, own.netloc) == (other.scheme, other.netloc):
            return True
        hosts = (f".{own.hostname or ''}", f".{other.hostname or ''}")
        return (
            other.scheme == "https" and other.port in (None, 443) and all(host.endswith(GOOGLE_HOSTS) for host in hosts)
        )

    def ask(self, url: str, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Ask how far an upload is."""
        if not self.is_own(url):
            # The connection's address was changed since.
            return SessionGone()
        reply = yield Request(
            what="question about the upload",
            method="PUT",
            url=url,
            headers={"Content-Range": f"bytes */{size}", "Content-Length": "0"},
            content=b"",
            timeout_seconds=UPLOAD_TIMEOUT_SECONDS,
        )
        return self._told(reply, "question about the upload", url)

    def send(self, url: str, body: VideoBytes, size: int) -> Exchange[Stored | SessionGone | Drafted]:
        """Send a part of the file."""
        if not self.is_own(url):
            return SessionGone()
        last = body.offset + body.length - 1
        reply = yield Request(
            what="upload",
            method="PUT",
            url=url,
            headers={"Content-Range": f"bytes {body.offset}-{last}/{size}", "Content-Type": MEDIA_TYPE},
            content=body,
            timeout_seconds=UPLOAD_TIMEOUT_SECONDS,
        )
        if reply.status == 401:
            # The sender has renewed the access token, but cannot send the bytes a second time. The session knows how
            # many it has taken.
            raise TargetUnavailableError("the access token expired in mid-upload", status=401)
        return self._told(reply, "upload", url)

    def _told(self, reply: Reply, what: str, url: str) -> Stored | SessionGone | Drafted:
        if reply.status in (200, 201):
            return _drafted(reply)
        if reply.status == 308:
            stored = _stored(reply)
            pause = retry_after(reply.headers)
            if pause:
                raise TargetUnavailableError(
                    f"YouTube has {stored.offset} bytes and asks to wait", retry_after_seconds=pause
                )
            return stored
        if reply.status in (404, 410):
            return SessionGone()
        raise self._error(reply, what, url)

    def _error(self, reply: Reply, what: str, url: str) -> PublishError:
        error = refusal(reply, what, self.now(), self.scrub)
        error.scrub(url)
        return error


def _stored(reply: Reply) -> Stored:
    """Return how many bytes a session has: ``Range: bytes=0-41`` means 42. No ``Range``: none."""
    text = reply.headers.get("range", "").strip()
    if not text:
        return Stored(0)
    found = _RANGE.fullmatch(text)
    if found is None:
        raise TargetUnavailableError("YouTube's answer does not say how many bytes it has")
    return Stored(int(found[1]) + 1)


def _drafted(reply: Reply) -> Drafted:
    """Return the video that an upload has become. An upload is complete if, and only if, there is an id."""
    body = reply.json()
    video_id = body.get("id") if isinstance(body, dict) else None
    if not isinstance(video_id, str) or not video_id.strip():
        raise TargetUnavailableError("YouTube took the upload for complete, but its answer names no video")
    return Drafted(video_id.strip())
