"""A small S3 in memory: it counts requests, answers as late as it is told, and keeps or ignores conditions.

It speaks as much of the protocol as s3fs, boto and curl need for one bucket: objects with metadata, conditional writes
(each judged and made under one lock, as S3 promises), multipart uploads, listings by prefix. It checks no signatures.

Run as ``python -m benchmarks.servers.s3 SECONDS``: each answer waits for SECONDS first.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

Headers = dict[str, str]


@dataclass
class Stored:
    """One object."""

    data: bytes
    etag: str
    headers: Headers


@dataclass
class FakeS3:
    """The store, and what was asked of it.

    :param delay: seconds that each answer waits.
    :param conditional: whether conditions are kept; otherwise they are ignored, as old stores do.
    :param lose: for each request, whether its answer is lost after its work is done.
    """

    delay: float = 0.0
    conditional: bool = True
    lose: Callable[[str, str], bool] = lambda method, name: False
    objects: dict[str, Stored] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    begun: dict[str, Headers] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, name: str, data: bytes, sent: Headers, kept: Headers) -> tuple[int, str]:
        """Write an object if its condition holds, and return the status and the ETag or the code of the error."""
        with self.lock:
            there = self.objects.get(name)
            if self.conditional and sent.get("if-none-match") == "*" and there:
                return 412, "PreconditionFailed"
            if self.conditional and (wanted := sent.get("if-match")):
                if there is None:
                    return 404, "NoSuchKey"
                if there.etag.strip('"') != wanted.strip('"'):
                    return 412, "PreconditionFailed"
            etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
            self.objects[name] = Stored(data, etag, kept)
            self.written.append(name)
            return 200, etag


class Handler(BaseHTTPRequestHandler):
    """Answers for one bucket, ``/BUCKET/KEY``."""

    protocol_version = "HTTP/1.1"
    # An answer leaves in one piece, or the client's delayed acknowledgement costs it 40 ms.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    store: FakeS3

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_expect_100(self) -> bool:
        """Let a client that waits for it send the body."""
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def _go(self) -> None:
        url = urlsplit(self.path)
        bucket, _, name = unquote(url.path).lstrip("/").partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sent = {key.lower(): value for key, value in self.headers.items()}
        if self.store.delay:
            time.sleep(self.store.delay)
        with self.store.lock:
            self.store.asked.append((self.command, name))
        getattr(self, f"_{self.command.lower()}")(bucket, name, query, body, sent)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _go

    def _answer(self, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
        name = urlsplit(self.path).path.lstrip("/").partition("/")[2]
        if self.store.lose(self.command, name):
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _get(self, bucket: str, name: str, query: Headers, body: bytes, sent: Headers) -> None:
        if not name:
            self._list(bucket, query)
            return
        with self.store.lock:
            found = self.store.objects.get(name)
        if found is None:
            self._error(404, "NoSuchKey")
            return
        data, status, more = found.data, 200, {}
        if spread := sent.get("range"):
            first, _, last = spread.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(data), len(data))
            more = {"Content-Range": f"bytes {first}-{end - 1}/{len(data)}"}
            data, status = data[int(first) : end], 206
        about = {"ETag": found.etag, "Last-Modified": formatdate(0, usegmt=True), **found.headers, **more}
        self._answer(status, data, {**about, "Content-Length": str(len(data))})

    _head = _get

    def _list(self, bucket: str, query: Headers) -> None:
        prefix = query.get("prefix", "")
        with self.store.lock:
            names = sorted(name for name in self.store.objects if name.startswith(prefix))
        lines = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.store.objects[name].data)}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for name in names
        )
        self._answer(
            200,
            f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(names)}</KeyCount>"
            f"<IsTruncated>false</IsTruncated>{lines}</ListBucketResult>".encode(),
        )

    def _put(self, bucket: str, name: str, query: Headers, body: bytes, sent: Headers) -> None:
        if not name:
            self._answer(200)
            return
        if wanted := sent.get("x-amz-checksum-sha256"):
            if base64.b64encode(hashlib.sha256(body).digest()).decode() != wanted:
                self._error(400, "BadDigest")
                return
        echoed = {"x-amz-checksum-sha256": wanted} if wanted else {}
        if "uploadId" in query:
            with self.store.lock:
                self.store.parts[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, headers={"ETag": f'"{query["partNumber"]}"'})
            return
        self._written(*self.store.write(name, body, sent, _kept(sent)), echoed)

    def _written(self, status: int, said: str, headers: Headers, body: bytes = b"") -> None:
        if status == 200:
            self._answer(200, body, {"ETag": said, **headers})
        else:
            self._error(status, said)

    def _post(self, bucket: str, name: str, query: Headers, body: bytes, sent: Headers) -> None:
        if "uploads" in query:
            with self.store.lock:
                upload = str(len(self.store.begun))
                self.store.begun[upload], self.store.parts[upload] = _kept(sent), {}
            self._answer(
                200,
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode(),
            )
            return
        upload = query["uploadId"]
        data = b"".join(piece for _, piece in sorted(self.store.parts[upload].items()))
        status, said = self.store.write(name, data, sent, self.store.begun[upload])
        if status == 200:
            del self.store.parts[upload]
        done = f"<CompleteMultipartUploadResult><ETag>{escape(said)}</ETag></CompleteMultipartUploadResult>"
        self._written(status, said, {}, done.encode())

    def _delete(self, bucket: str, name: str, query: Headers, body: bytes, sent: Headers) -> None:
        with self.store.lock:
            if "uploadId" in query:
                self.store.parts.pop(query["uploadId"], None)
            else:
                self.store.objects.pop(name, None)
        self._answer(204)


def _kept(sent: Headers) -> Headers:
    return {key: value for key, value in sent.items() if key.startswith("x-amz-meta-") or key == "content-type"}


class Server(ThreadingHTTPServer):
    """The store on loopback."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, store: FakeS3) -> None:
        super().__init__(("127.0.0.1", 0), type("Bound", (Handler,), {"store": store}))

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that have gone."""


if __name__ == "__main__":
    server = Server(FakeS3(delay=float(sys.argv[1])))
    print(server.url, flush=True)
    server.serve_forever()
