"""A YouTube on this machine, over a real socket, with faults: just enough to count what is public.

It keeps the protocol's rules that matter here: bytes are stored only from where the session stands, the last byte makes
the video, an update deletes what it leaves out, and a video that others can see is counted.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


class Lost(Exception):
    """Answer nothing, and drop the connection."""


@dataclass
class Upload:
    resource: dict[str, Any]
    size: int
    name: str
    data: bytearray = field(default_factory=bytearray)
    video_id: str = ""
    gone: bool = False


#: Called with the handler's request and the answer that it would give (``None`` before the effect). Returns another
#: answer, or raises :class:`Lost`.
Fault = Callable[["Call", Any], Any]


@dataclass
class Call:
    """A request as the faults see it."""

    kind: str
    body: bytes
    headers: dict[str, str]
    query: dict[str, str]
    number: int


class FakeYouTube:
    def __init__(self) -> None:
        self.uploads: list[Upload] = []
        self.videos: dict[str, dict[str, Any]] = {}
        self.calls: list[Call] = []
        #: By kind of request, in order; ``before`` the effect and ``after`` it.
        self.before: dict[str, list[Fault | None]] = {}
        self.after: dict[str, list[Fault | None]] = {}
        self.processed = True
        self.listed = True
        self.keeps_names = True
        self.tokens = {"access-1"}
        self.grants = 0
        self.grant_error = ""
        self.playlist: list[str] = []
        self.thumbnails: dict[str, bytes] = {}
        #: Changes each video that is updated, for what YouTube does by itself.
        self.meddle: Callable[[dict[str, Any]], None] = lambda video: None
        #: How often a video became visible to others.
        self.published: list[str] = []
        self.lock = threading.RLock()

    @property
    def public(self) -> list[dict[str, Any]]:
        return [video for video in self.videos.values() if video["status"]["privacyStatus"] != "private"]

    def kinds(self) -> list[str]:
        return [call.kind for call in self.calls]

    # --- the API -----------------------------------------------------------------------------------------------------

    def answer(self, call: Call, method: str, path: str) -> tuple[int, Any, dict[str, str]]:
        with self.lock:
            self.calls.append(call)
            if call.kind != "token" and call.headers.get("authorization", "")[7:] not in self.tokens:
                return error(401, "authError")
            found = self._fault(self.before, call, None)
            if found is None:
                found = getattr(self, f"_{call.kind}")(call)
            found = self._fault(self.after, call, found)
        status, body, *more = found
        return status, body, (more[0] if more else {})

    @staticmethod
    def _fault(faults: dict[str, list[Fault | None]], call: Call, answer: Any) -> Any:
        queue = faults.get(call.kind)
        fault = queue.pop(0) if queue else None
        return fault(call, answer) if fault else answer

    def _token(self, call: Call) -> Any:
        if self.grant_error:
            return 400, {"error": self.grant_error}
        self.grants += 1
        token = f"access-{self.grants}"
        self.tokens = {token}
        return 200, {"access_token": token, "expires_in": 3599, "scope": "https://www.googleapis.com/auth/youtube"}

    def _channel(self, call: Call) -> Any:
        return 200, {
            "items": [
                {
                    "id": "UC1",
                    "snippet": {"title": "Seen"},
                    "status": {"longUploadsStatus": "allowed"},
                    "contentDetails": {"relatedPlaylists": {"uploads": "UU1"}},
                }
            ]
        }

    def _start(self, call: Call) -> Any:
        size = int(call.headers["x-upload-content-length"])
        self.uploads.append(Upload(json.loads(call.body), size, call.headers["slug"]))
        return 200, None, {"Location": f"/upload/session?upload_id=session-{len(self.uploads) - 1}"}

    def _session(self, call: Call) -> Any:
        one = self.uploads[int(call.query["upload_id"].removeprefix("session-"))]
        if one.gone:
            return 404, None
        asked = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", call.headers["content-range"])
        assert asked and int(asked[3]) == one.size
        if asked[1] is not None and not one.video_id and int(asked[1]) == len(one.data):
            one.data += call.body
        if len(one.data) == one.size and not one.video_id:
            self._make(one)
        if one.video_id:
            return 201, self.videos[one.video_id]
        return 308, None, ({"Range": f"bytes=0-{len(one.data) - 1}"} if one.data else {})

    def _make(self, one: Upload) -> None:
        one.video_id = f"vid{len(self.videos) + 1}"
        status = {"uploadStatus": "uploaded", "embeddable": True, "license": "youtube", **one.resource["status"]}
        self.videos[one.video_id] = {
            "kind": "youtube#video",
            "id": one.video_id,
            "snippet": {**one.resource["snippet"], "channelId": "UC1"},
            "status": status,
            "fileDetails": {"fileName": one.name} if self.keeps_names else {},
        }
        if status["privacyStatus"] != "private":
            self.published.append(one.video_id)

    def _videos(self, call: Call) -> Any:
        found = [self.videos[each] for each in call.query["id"].split(",") if each in self.videos]
        for video in found:
            if self.processed and video["status"]["uploadStatus"] == "uploaded":
                video["status"]["uploadStatus"] = "processed"
        parts = {*call.query["part"].split(","), "id", "kind"}
        return 200, {"items": [{name: value for name, value in one.items() if name in parts} for one in found]}

    def _update(self, call: Call) -> Any:
        body = json.loads(call.body)
        video = self.videos[body["id"]]
        kept = {name: value for name, value in video["status"].items() if name in ("uploadStatus",)}
        if video["status"]["privacyStatus"] != "private" and "publishAt" in body["status"]:
            return error(400, "invalidPublishAt")[:2]
        was = video["status"]["privacyStatus"]
        video["status"] = {**body["status"], **kept}
        video["snippet"] = {**body["snippet"], "channelId": "UC1"}
        self.meddle(video)
        if was == "private" and video["status"]["privacyStatus"] != "private":
            self.published.append(video["id"])
        return 200, video

    def _uploads(self, call: Call) -> Any:
        if call.query["playlistId"] != "UU1":
            return 200, {"items": [{"id": each} for each in self.playlist if each == call.query["videoId"]]}
        ids = reversed(self.videos) if self.listed else ()
        return 200, {"items": [{"contentDetails": {"videoId": each}} for each in ids]}

    def _entry(self, call: Call) -> Any:
        self.playlist.append(json.loads(call.body)["snippet"]["resourceId"]["videoId"])
        return 200, {}

    def _thumbnail(self, call: Call) -> Any:
        self.thumbnails[call.query["videoId"]] = call.body
        return 200, {}

    # --- the socket --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                call = Call(KINDS[self.command, url.path], body, headers, query, len(fake.calls))
                try:
                    status, found, more = fake.answer(call, self.command, url.path)
                except Lost:
                    self.close_connection = True
                    return
                data = b"" if found is None else json.dumps(found).encode()
                self.send_response(status)
                for name, value in {**more, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                # In one piece with the headers: else the client's system waits 40 ms for more.
                self._headers_buffer += [b"\r\n", data]
                self.flush_headers()

            do_GET = do_POST = do_PUT = serve

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


KINDS = {
    ("POST", "/token"): "token",
    ("GET", "/youtube/v3/channels"): "channel",
    ("POST", "/upload/youtube/v3/videos"): "start",
    ("PUT", "/upload/session"): "session",
    ("GET", "/youtube/v3/videos"): "videos",
    ("PUT", "/youtube/v3/videos"): "update",
    ("GET", "/youtube/v3/playlistItems"): "uploads",
    ("POST", "/youtube/v3/playlistItems"): "entry",
    ("POST", "/upload/youtube/v3/thumbnails/set"): "thumbnail",
}


def error(status: int, reason: str) -> tuple[int, Any, dict[str, str]]:
    one = {"domain": "youtube.video", "reason": reason, "message": f"{reason}."}
    return status, {"error": {"code": status, "message": f"{reason}.", "errors": [one]}}, {}


# --- faults ----------------------------------------------------------------------------------------------------------


def lose(call: Call, answer: Any) -> Any:
    raise Lost


def fail(call: Call, answer: Any) -> Any:
    return 503, None


def refuse(status: int, reason: str) -> Fault:
    return lambda call, answer: error(status, reason)
