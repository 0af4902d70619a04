"""A Graph API in memory, behind an httpx transport: containers, posts, limits, and answers that are lost or wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import fsspec
import httpx

from airflow_provider_apimart.publishing.exchange import Sender
from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile
from airflow_provider_apimart.publishing.publish import Publication, Standing
from airflow_provider_apimart.publishing.record import PostRecord
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.targets.instagram.settings import InstagramCredentials, InstagramSettings
from airflow_provider_apimart.publishing.targets.instagram.target import InstagramTarget
from airflow_provider_apimart.storage.files import Target

USER = "17841400000000001"
IG_TOKEN = "IGAA-a-token-of-a-test-that-opens-no-door"
FB_TOKEN = "EAAB-a-token-of-a-test-that-opens-no-door"
NEW_TOKEN = "IGAA-another-token-of-a-test-that-opens-no-door"
LINK = "https://videos.example.com/clip.mp4?X-Amz-Signature=5ecre7"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
CONTENT: dict[str, Any] = {
    "caption": "A day at the lake #calm",
    "share_to_feed": True,
    "is_ai_generated": True,
    "thumb_offset_ms": None,
    "cover_url": None,
    "collaborators": None,
    "audio_name": None,
}
BYTES = bytes(range(256)) * 300


@dataclass
class Container:
    fields: dict[str, Any]
    status: str = "FINISHED"
    polls: int = 0
    error: int | None = None
    received: bytes = b""
    media: str | None = None


@dataclass
class Fault:
    """What happens to a request: nothing done or done, then an answer or none.

    :param error: status, code and subcode of the answer; ``None`` drops the connection.
    """

    effect: bool
    error: tuple[int, int | None, int | None] | None = None
    cut: int = 0
    headers: dict[str, str] = field(default_factory=dict)


def refused(status: int, code: int | None, subcode: int | None, **headers: str) -> httpx.Response:
    body = {"message": "No.", "type": "OAuthException", "code": code, "error_subcode": subcode, "is_transient": False}
    return httpx.Response(status, json={"error": {**body, "fbtrace_id": "Atrace"}}, headers=headers)


class Meta:
    """The Graph API. ``posts`` is what the public sees."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.posts: dict[str, str] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.requests: list[tuple[str, httpx.Request]] = []
        self.polls = 0
        self.errors: list[int | None] = []
        self.used, self.total = 0, 50
        self.account_type = "BUSINESS"
        self.label: bool | None = True
        self.second_publish_posts_again = True
        self.expires_at = 0
        #: Unix seconds of other posts of the last 24 hours; counted from ``since`` on, unlike ``used``.
        self.published: list[float] = []
        self.scopes = ["instagram_basic", "instagram_content_publish", "pages_read_engagement"]

    def count(self, route: str) -> int:
        return sum(name == route for name, _ in self.requests)

    def handle(self, request: httpx.Request) -> httpx.Response:
        route, act = self._route(request)
        content = request.read()
        self.requests.append((route, request))
        expected = f"OAuth {FB_TOKEN}" if route == "upload" else "Bearer "
        assert route == "renew" or request.headers["authorization"].startswith(expected)
        fault = self.faults[route].pop(0) if self.faults[route] else None
        if fault is None:
            return act(content)
        if fault.effect:
            act(content[: fault.cut] if fault.cut else content)
        if fault.error is None:
            raise httpx.ReadError("connection lost", request=request)
        return refused(*fault.error, **fault.headers)

    def _route(self, request: httpx.Request) -> tuple[str, Callable[[bytes], httpx.Response]]:
        method, path = request.method, request.url.path.removeprefix("/v25.0/")
        if method == "POST":
            if path == f"{USER}/media":
                return "create", self._create
            if path == f"{USER}/media_publish":
                return "publish", self._publish
            assert path.startswith("/ig-api-upload/v25.0/")
            return "upload", lambda content: self._upload(path.rpartition("/")[2], request, content)
        if path == "/refresh_access_token":
            assert request.url.params["access_token"] == IG_TOKEN
            renewed = {"access_token": NEW_TOKEN, "token_type": "bearer", "expires_in": 5184000}
            return "renew", lambda _: httpx.Response(200, json=renewed)
        if path == "debug_token":
            facts = {"is_valid": True, "expires_at": self.expires_at, "scopes": self.scopes}
            return "token", lambda _: httpx.Response(200, json={"data": facts})
        if path == "me":
            about = {"id": "99", "user_id": USER, "username": "lake", "account_type": self.account_type}
            return "account", lambda _: httpx.Response(200, json=about)
        if path == USER:
            return "account", lambda _: httpx.Response(200, json={"id": USER, "username": "lake"})
        if path.endswith("content_publishing_limit"):
            since = request.url.params.get("since")
            later = [each for each in self.published if since is None or each >= float(since)]
            used = self.used + len(later)
            entry = {"quota_usage": used, "config": {"quota_total": self.total, "quota_duration": 86400}}
            return "limit", lambda _: httpx.Response(200, json={"data": [entry]})
        if path in self.containers:
            return "status", lambda _: self._status(path, "video_status" in request.url.params["fields"])
        if path in self.posts:
            return "page", lambda _: self._page(path, request.url.params["fields"])
        return "unknown", lambda _: refused(400, 100, 33)

    def _create(self, content: bytes) -> httpx.Response:
        name = str(18000000000000000 + len(self.containers))
        error = self.errors.pop(0) if self.errors else None
        found = Container(json.loads(content), polls=self.polls, error=error)
        if found.fields.get("upload_type") == "resumable":
            found.status = "IN_PROGRESS"
        self.containers[name] = found
        return httpx.Response(200, json={"id": name, "uri": "https://elsewhere.example.com/steal"})

    def _upload(self, name: str, request: httpx.Request, content: bytes) -> httpx.Response:
        container = self.containers[name]
        offset, size = int(request.headers["offset"]), int(request.headers["file_size"])
        if offset != len(container.received):
            return httpx.Response(416, json={"debug_info": {"retriable": False, "type": "OffsetError"}})
        container.received += content
        if len(container.received) == size:
            container.status = "FINISHED"
        return httpx.Response(200, json={"success": True, "message": "Upload successful."})

    def _status(self, name: str, video: bool) -> httpx.Response:
        container = self.containers[name]
        code, said = container.status, container.status.title()
        if container.polls and code == "FINISHED":
            container.polls -= 1
            code = "IN_PROGRESS"
        elif container.error:
            code, said = "ERROR", f"Error: Media upload has failed with error code {container.error}"
        body: dict[str, Any] = {"id": name, "status_code": code, "status": said}
        if video:
            body["video_status"] = {
                "uploading_phase": {"status": "in_progress", "bytes_transferred": len(container.received)}
            }
        return httpx.Response(200, json=body)

    def _publish(self, content: bytes) -> httpx.Response:
        name = json.loads(content)["creation_id"]
        container = self.containers[name]
        if container.status == "EXPIRED":
            return refused(400, -2, 2207020)
        if container.media and not self.second_publish_posts_again:
            return refused(400, 9007, 2207027)
        media = str(17900000000000000 + len(self.posts))
        self.posts[media] = name
        container.status, container.media = "PUBLISHED", media
        return httpx.Response(200, json={"id": media})

    def _page(self, media: str, fields: str) -> httpx.Response:
        if "is_ai_generated" in fields and self.label is None:
            return refused(400, 100, None)
        body = {"id": media, "permalink": f"https://www.instagram.com/reel/{media}/"}
        return httpx.Response(200, json={**body, "is_ai_generated": self.label} if self.label is not None else body)


class Served:
    """The same on a real socket, for hooks and operators. Use it as a context manager."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def connection(self, **changes: Any) -> str:
        """The Airflow connection to it, as JSON."""
        return json.dumps({"conn_type": "instagram", "host": self.url, "password": IG_TOKEN, "login": USER, **changes})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(served) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                url = f"{served.url}{self.path}"
                request = httpx.Request(self.command, url, headers=dict(self.headers), content=content)
                try:
                    response = served.meta.handle(request)
                except httpx.ReadError:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(response.status_code)
                for name, value in response.headers.items():
                    if name != "content-length":
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.content)))
                self.end_headers()
                self.wfile.write(response.content)

            do_GET = do_POST = _answer

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class Memory:
    """A store that outlives tries. ``die_at`` raises on that save, before or after it is kept."""

    description, durable = "memory", True

    def __init__(self) -> None:
        self.text: str | None = None
        self.saved: list[str] = []

    def load(self) -> PostRecord | None:
        return PostRecord.model_validate_json(self.text) if self.text else None

    def save(self, record: PostRecord) -> None:
        self.text = record.model_dump_json()
        self.saved.append(record.state)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Desk:
    """One post: what outlives its tries."""

    def __init__(self, folder: Path, meta: Meta, token: str = IG_TOKEN, **content: Any) -> None:
        path = folder / "clip.mp4"
        path.write_bytes(BYTES)
        video = VideoFile(str(path), len(BYTES), hashlib.sha256(BYTES).hexdigest(), 8.0, 720, 1280, True)
        self.meta, self.token, self.clock, self.store = meta, token, Clock(), Memory()
        self.post = Post("instagram", video, {**CONTENT, **content})
        self.source = VideoSource(Target(fsspec.filesystem("file"), str(path), str(path)), video)
        self.way, self.links = "auto", 0
        self.base_url = ""

    def link(self) -> str:
        self.links += 1
        return LINK

    def target(self) -> InstagramTarget:
        settings = InstagramSettings(self.token, USER, self.base_url)
        return InstagramTarget(settings, link=self.link, way=self.way, now=self.clock)

    def advance(self, lost: bool = False) -> Standing:
        """One try, in a new process as far as this side knows."""
        target = self.target()
        credentials = InstagramCredentials(target.settings)
        transport = None if self.base_url else httpx.MockTransport(self.meta.handle)
        with Sender(credentials, self.source, transport) as sender:
            return Publication(
                target=target,
                sender=sender,
                store=self.store,
                identity=PostIdentity("dag", "run", "task"),
                post=self.post,
                source=self.source,
                seal=Seal("secret"),
                trusted=not lost,
                lost=lost,
                sleep=self.clock.sleep,
                now=self.clock,
            ).advance()

    def finish(self, tries: int = 20) -> Standing:
        """Advance until it is public, waiting as asked."""
        for _ in range(tries):
            standing = self.advance()
            if standing.decision.action == "keep":
                return standing
            wait = (standing.until - self.clock.time).total_seconds() if standing.until else 10.0
            self.clock.sleep(max(wait, 0.0))
        raise AssertionError(f"not public after {tries} tries: {self.store.text}")
