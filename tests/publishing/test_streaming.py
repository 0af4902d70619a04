"""A video is sent in constant memory, whole, and from object stores in few requests."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import VideoChangedError
from airflow_provider_apimart.publishing.post import VideoFile
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.storage.uploads import BLOCK_BYTES
from tests.generation.landing.test_memory import megabytes
from tests.storage.object_store import BUCKET, Store, store

__all__ = ["store"]

MIB = 2**20

SEND = """
import fsspec, json
from airflow_provider_apimart.publishing.decide import Action, Decision
from airflow_provider_apimart.publishing.exchange import NoCredentials, Sender
from airflow_provider_apimart.publishing.post import Post, PostIdentity, VideoFile
from airflow_provider_apimart.publishing.publish import Publication
from airflow_provider_apimart.publishing.sealing import Seal
from airflow_provider_apimart.publishing.source import VideoSource
from airflow_provider_apimart.publishing.targets.youtube.target import YouTubeTarget
from airflow_provider_apimart.storage.files import Target

url, protocol, options, path, size, sha256 = sys.argv[1:]
content = {"title": "t", "category_id": "22", "privacy_status": "public", "made_for_kids": False,
           "contains_synthetic_media": True, "notify_subscribers": True}

class Store:
    description, durable, record = "memory", True, None
    def load(self):
        return self.record
    def save(self, record):
        self.record = record

fs = fsspec.filesystem(protocol, **json.loads(options))
video = VideoFile(path, int(size), sha256)
source = VideoSource(Target(fs, path, path), video)
with Sender(NoCredentials(), source) as sender:
    for chunk in source.stream(0, 1):
        pass
    sender._client(url)
    publication = Publication(
        target=YouTubeTarget(url), sender=sender, store=Store(), identity=PostIdentity("d", "r", "t"),
        post=Post("youtube", video, content), source=source, seal=Seal("client-secret"))
    before = reset()
    publication.drafting.start(None, Decision(Action.START, ""), "UC1")
    drafted = publication.drafting.upload(publication.store.record, 0)
    assert drafted.draft_id == "vid1", drafted
    print(held("VmHWM:") - before)
"""


class Sink:
    """Takes an upload, and keeps nothing but its checksum."""

    def __enter__(self) -> Sink:
        sink = self
        self.digest = hashlib.sha256()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(200, {"Location": "/session?upload_id=1"}, b"")

            def do_PUT(self) -> None:
                left = int(self.headers["Content-Length"])
                while left:
                    data = self.rfile.read(min(left, MIB))
                    left -= len(data)
                    sink.digest.update(data)
                whole, _, size = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
                last = int(whole.partition("-")[2])
                if last + 1 < int(size):
                    self.answer(308, {"Range": f"bytes=0-{last}"}, b"")
                else:
                    self.answer(201, {}, json.dumps({"id": "vid1"}).encode())

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak anew")


@linux
def test_a_file_is_sent_in_constant_memory(sink: Sink, tmp_path: Path) -> None:
    data = bytes(range(256)) * (64 * MIB // 256) + b"tail"
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    assert megabytes(SEND, sink.url, "file", "{}", str(path), str(len(data)), sha256) < 12
    assert sink.digest.hexdigest() == sha256


@linux
def test_a_video_in_s3_is_sent_in_constant_memory(sink: Sink, store: Store) -> None:
    data = bytes(range(256)) * (32 * MIB // 256) + b"tail"
    store.client.put_object(Bucket=BUCKET, Key="clip.mp4", Body=data)
    sha256 = hashlib.sha256(data).hexdigest()
    options = json.dumps({"key": "test", "secret": "test", "endpoint_url": store.endpoint})
    assert megabytes(SEND, sink.url, "s3", options, f"{BUCKET}/clip.mp4", str(len(data)), sha256) < 40
    assert sink.digest.hexdigest() == sha256


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 12 * MIB + 7), (0, 1), (3, BLOCK_BYTES), (BLOCK_BYTES - 1, 2), (12 * MIB, 7)]
)
def test_any_part_of_a_video_in_s3_is_read_exactly(store: Store, offset: int, length: int) -> None:
    data = hashlib.shake_128(b"video").digest(12 * MIB + 7)
    store.client.put_object(Bucket=BUCKET, Key="clip.mp4", Body=data)
    source = VideoSource(store.target("clip.mp4"), VideoFile("s3://x", len(data), ""))
    seen: list[bytes] = []
    assert b"".join(source.stream(offset, length, seen.append)) == data[offset : offset + length]
    assert b"".join(seen) == data[offset : offset + length]


def test_a_video_in_s3_that_is_shorter_than_it_was(store: Store) -> None:
    store.client.put_object(Bucket=BUCKET, Key="clip.mp4", Body=b"short")
    source = VideoSource(store.target("clip.mp4"), VideoFile("s3://x", 10, ""))
    with pytest.raises(VideoChangedError, match="ended after 5 bytes"):
        list(source.stream(0, 10))


def test_a_block_is_one_request(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(3 * BLOCK_BYTES)
    store.client.put_object(Bucket=BUCKET, Key="clip.mp4", Body=data)
    asked: list[str] = []
    call = store.fs._call_s3

    async def counted(method: str, *arguments: Any, **more: Any) -> Any:
        asked.append(method)
        return await call(method, *arguments, **more)

    monkeypatch.setattr(store.fs, "_call_s3", counted)
    source = VideoSource(store.target("clip.mp4"), VideoFile("s3://x", len(data), ""))
    assert sum(map(len, source.stream(0, len(data)))) == len(data)
    assert asked.count("get_object") == 3
