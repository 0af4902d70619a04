"""Small stores in memory that speak enough of GCS' and Azure's protocols for gcsfs and adlfs, and count requests.

They judge conditions as the stores document it: each condition and its write under one lock. They check no signatures.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree

from airflow_provider_apimart.storage.files import Target

BUCKET = "videos"
Headers = dict[str, str]


@dataclass
class Kept:
    """One object. Its version differs from that of every other write."""

    data: bytes
    version: int
    content_type: str
    note: str


@dataclass
class Memory:
    """The content of the bucket, and what was asked of it.

    :param conditional: whether conditions are kept; otherwise they are ignored.
    :param lose: for each request, whether its answer is lost after its work is done.
    """

    conditional: bool = True
    lose: Callable[[str, str], bool] = lambda method, name: False
    objects: dict[str, Kept] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    writes: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def write(
        self, name: str, data: bytes, content_type: str, note: str, holds: Callable[[Kept | None], bool]
    ) -> Kept | None:
        """Write an object if its condition holds; ``None`` if it does not."""
        with self.lock:
            if self.conditional and not holds(self.objects.get(name)):
                return None
            self.writes += 1
            kept = self.objects[name] = Kept(data, 1_700_000_000_000_000 + self.writes, content_type, note)
            self.written.append(name)
            return kept


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    store: Memory

    def log_message(self, *_: Any) -> None: ...

    def _go(self) -> None:
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.name = self.name_in(url.path)
        with self.store.lock:
            self.store.asked.append((self.command, self.name))
        getattr(self, f"_{self.command.lower()}")()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _go

    def name_in(self, path: str) -> str:
        raise NotImplementedError

    def answer(self, status: int, body: bytes = b"", headers: Headers | None = None) -> None:
        if self.store.lose(self.command, self.name):
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def content(self, kept: Kept, headers: Headers) -> None:
        """Answer with an object or the range of it that was asked for."""
        wanted = self.headers.get("x-ms-range") or self.headers.get("Range")
        if wanted is None:
            self.answer(200, kept.data, headers)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if int(first) >= len(kept.data):
            self.unsatisfiable()
            return
        data = kept.data[int(first) : int(last) + 1 if last else None]
        spread = f"bytes {first}-{int(first) + len(data) - 1}/{len(kept.data)}"
        self.answer(206, data, {**headers, "Content-Range": spread})

    def unsatisfiable(self) -> None:
        raise NotImplementedError


class GcsHandler(Handler):
    """The JSON API."""

    def name_in(self, path: str) -> str:
        if "upload_id" in self.query:
            return str(self.store.uploads[self.query["upload_id"]]["name"])
        if path.startswith("/upload/"):
            about = self.body.split(b"\r\n\r\n", 1)[1] if self.query["uploadType"] == "multipart" else self.body
            return str(json.JSONDecoder().raw_decode(about.decode("latin-1"))[0]["name"])
        return unquote(path.rpartition("/o/")[2])

    def unsatisfiable(self) -> None:
        self.error(416, "The requested range cannot be satisfied.")

    def error(self, status: int, message: str) -> None:
        about = json.dumps({"error": {"code": status, "message": message}}).encode()
        self.answer(status, about, {"Content-Type": "application/json"})

    def resource(self, name: str, kept: Kept) -> None:
        about = {
            "kind": "storage#object",
            "name": name,
            "bucket": BUCKET,
            "generation": str(kept.version),
            "size": str(len(kept.data)),
            "contentType": kept.content_type,
            "updated": "2026-01-01T00:00:00.000Z",
            "metadata": {"apimart": kept.note},
        }
        self.answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _get(self) -> None:
        kept = self.store.objects.get(self.name)
        if kept is None:
            self.error(404, f"No such object: {BUCKET}/{self.name}")
        elif self.query.get("alt") != "media":
            self.resource(self.name, kept)
        elif self.query.get("ifGenerationMatch", str(kept.version)) != str(kept.version):
            self.error(412, "At least one of the pre-conditions you specified did not hold.")
        else:
            self.content(kept, self.media_headers(kept))

    def media_headers(self, kept: Kept) -> Headers:
        return {"X-Goog-Generation": str(kept.version), "Content-Type": kept.content_type}

    def _post(self) -> None:
        if self.query["uploadType"] == "resumable":
            with self.store.lock:
                upload = str(len(self.store.uploads))
                self.store.uploads[upload] = {
                    **json.loads(self.body),
                    "data": b"",
                    "condition": self.query.get("ifGenerationMatch"),
                }
            host = self.headers["Host"]
            place = f"http://{host}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&upload_id={upload}"
            self.answer(200, headers={"Location": place})
            return
        mark = self.headers["Content-Type"].partition('boundary="')[2].rstrip('"').encode()
        _, first, second = self.body.split(b"--" + mark + b"\r\n")
        data = second.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n--" + mark + b"--\r\n")
        self.take(json.loads(first.split(b"\r\n\r\n", 1)[1]), data, self.query.get("ifGenerationMatch"))

    def _put(self) -> None:
        upload = self.store.uploads[self.query["upload_id"]]
        spread, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
        if int(spread.partition("-")[0]) != len(upload["data"]):
            self.error(400, "this piece does not continue the last one")
            return
        upload["data"] += self.body
        if len(upload["data"]) < int(total):
            self.answer(308, headers={"Range": f"bytes=0-{len(upload['data']) - 1}"})
        else:
            self.take(upload, upload["data"], upload["condition"])

    def take(self, about: dict[str, Any], data: bytes, condition: str | None) -> None:
        if base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() != about["md5Hash"]:
            self.error(400, "Provided MD5 hash does not match.")
            return
        note = about.get("metadata", {}).get("apimart", "")

        def holds(there: Kept | None) -> bool:
            return condition is None or condition == str(there.version if there else 0)

        kept = self.store.write(about["name"], data, about["contentType"], note, holds)
        if kept is None:
            self.error(412, "At least one of the pre-conditions you specified did not hold.")
        else:
            self.resource(about["name"], kept)

    def _delete(self) -> None:
        self.store.objects.pop(self.name, None)
        self.answer(204)


class SilentGcsHandler(GcsHandler):
    """One that does not say which generation it sends, as some emulators."""

    def media_headers(self, kept: Kept) -> Headers:
        return {}


class AzureHandler(Handler):
    """The Blob service, ``/ACCOUNT/CONTAINER/BLOB``."""

    def name_in(self, path: str) -> str:
        return unquote(path).split("/", 3)[3]

    def unsatisfiable(self) -> None:
        self.error(416, "InvalidRange")

    def error(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self.answer(status, body, {"x-ms-error-code": code, "Content-Type": "application/xml"})

    def about(self, kept: Kept) -> Headers:
        noted = {"x-ms-meta-apimart": kept.note} if kept.note else {}
        return {
            "ETag": f'"0x{kept.version:X}"',
            "Last-Modified": formatdate(0, usegmt=True),
            "Content-Type": kept.content_type,
            "x-ms-blob-type": "BlockBlob",
            **noted,
        }

    def _get(self) -> None:
        kept = self.store.objects.get(self.name)
        if kept is None:
            self.error(404, "BlobNotFound")
        elif self.command == "HEAD":
            self.answer(200, headers={**self.about(kept), "Content-Length": str(len(kept.data))})
        else:
            self.content(kept, self.about(kept))

    _head = _get

    def _put(self) -> None:
        md5 = base64.b64encode(hashlib.md5(self.body, usedforsecurity=False).digest()).decode()
        if self.headers.get("Content-MD5", md5) != md5:
            self.error(400, "Md5Mismatch")
        elif self.query.get("comp") == "block":
            with self.store.lock:
                self.store.blocks.setdefault(self.name, {})[self.query["blockid"]] = self.body
            self.answer(201)
        elif self.query.get("comp") == "blocklist":
            with self.store.lock:
                wanted = [str(each.text) for each in ElementTree.fromstring(self.body)]
                there = self.store.blocks.get(self.name, {})
                if not set(wanted) <= set(there):
                    self.error(400, "InvalidBlockList")
                    return
                self.take(b"".join(there[each] for each in wanted))
        else:
            self.take(self.body)

    def take(self, data: bytes) -> None:
        def holds(there: Kept | None) -> bool:
            if self.headers.get("If-None-Match") == "*":
                return there is None
            wanted = self.headers.get("If-Match")
            return wanted is None or (there is not None and wanted == f'"0x{there.version:X}"')

        kind = self.headers.get("x-ms-blob-content-type", "")
        with self.store.lock:
            kept = self.store.write(self.name, data, kind, self.headers.get("x-ms-meta-apimart", ""), holds)
            if kept is not None:
                self.store.blocks.pop(self.name, None)
        if kept is not None:
            self.answer(201, headers=self.about(kept))
        elif self.headers.get("If-None-Match"):
            self.error(409, "BlobAlreadyExists")
        else:
            self.error(412, "ConditionNotMet")

    def _delete(self) -> None:
        self.store.objects.pop(self.name, None)
        self.answer(202)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None: ...


class Bucket:
    """One bucket, from the inside (``store``) and through its file system (``fs``)."""

    def __init__(self, store: Memory, fs: Any, scheme: str) -> None:
        self.store = store
        self.fs = fs
        self._scheme = scheme

    def target(self, name: str) -> Target:
        return Target(self.fs, f"{BUCKET}/{name}", self.uri(name))

    def uri(self, name: str) -> str:
        return f"{self._scheme}://{BUCKET}/{name}"

    def data(self, uri: str) -> bytes:
        return self.store.objects[uri.removeprefix(self.uri(""))].data

    @property
    def names(self) -> list[str]:
        return sorted(self.store.objects)


@contextmanager
def serving(handler: type[Handler], store: Memory) -> Iterator[str]:
    """Serve a store on loopback, and yield its URL."""
    server = Server(("127.0.0.1", 0), type("Bound", (handler,), {"store": store}))
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def gcs(handler: type[GcsHandler] = GcsHandler) -> Iterator[Bucket]:
    """Yield a bucket of GCS, seen through gcsfs."""
    # Not ``gcsfs.GCSFileSystem``, which asks over gRPC what kind of bucket this is, for a minute if nobody answers.
    from gcsfs.core import GCSFileSystem

    store = Memory()
    with serving(handler, store) as url:
        fs = GCSFileSystem(
            project="p", token="anon", endpoint_url=url, skip_instance_cache=True, use_listings_cache=False
        )
        try:
            yield Bucket(store, fs, "gs")
        finally:
            if fs._session is not None:
                GCSFileSystem.close_session(fs.loop, fs._session)


@contextmanager
def azure() -> Iterator[Bucket]:
    """Yield a container of Azure, seen through adlfs."""
    import adlfs
    from fsspec.asyn import sync

    store = Memory()
    key = base64.b64encode(b"not a key").decode()
    with serving(AzureHandler, store) as url:
        told = f"DefaultEndpointsProtocol=http;AccountName=acct;AccountKey={key};BlobEndpoint={url}/acct;"
        fs = adlfs.AzureBlobFileSystem(connection_string=told, skip_instance_cache=True, use_listings_cache=False)
        try:
            yield Bucket(store, fs, "abfs")
        finally:
            sync(fs.loop, fs.service_client.close)
