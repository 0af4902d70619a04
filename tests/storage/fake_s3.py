"""The small S3 of the benchmarks, with s3fs in front: it counts requests, loses answers and can ignore conditions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import s3fs

from airflow_provider_apimart.storage.conditional import writes
from airflow_provider_apimart.storage.files import Target
from benchmarks.servers.s3 import FakeS3, Server

BUCKET = "videos"


class Bucket:
    """One bucket, from the inside (``store``) and through s3fs (``fs``)."""

    def __init__(self, store: FakeS3, fs: Any) -> None:
        self.store = store
        self.fs = fs

    def target(self, name: str) -> Target:
        return Target(self.fs, f"{BUCKET}/{name}", f"s3://{BUCKET}/{name}")

    def data(self, name: str) -> bytes:
        return self.store.objects[name].data

    @property
    def names(self) -> list[str]:
        return sorted(self.store.objects)


@contextmanager
def serving(store: FakeS3) -> Iterator[Bucket]:
    server = Server(store)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    fs = s3fs.S3FileSystem(
        key="test",
        secret="test",
        endpoint_url=server.url,
        skip_instance_cache=True,
        use_listings_cache=False,
        config_kwargs={"max_pool_connections": 64, "retries": {"max_attempts": 2}},
    )
    try:
        yield Bucket(store, fs)
    finally:
        if fs._s3 is not None:
            s3fs.S3FileSystem.close_session(fs.loop, fs.s3)
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(writes, "_verdicts", {})
    with serving(FakeS3()) as opened:
        yield opened
