"""What a landing holds in memory, in a process of its own: the servers of the tests would be counted with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.generation.landing.fetching import DATA
from tests.generation.landing.media_server import MediaServer, Serve
from tests.storage.object_store import BUCKET, Store, store

__all__ = ["store"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak anew"
)
SIZE = 64 * 2**20

HELD = """
import sys
from pathlib import Path

def held(name):
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0]) / 1024

def reset():
    Path("/proc/self/clear_refs").write_text("5")
    return held("VmRSS:")
"""

FETCH = """
from airflow_provider_apimart.generation.landing.download import Downloader

with Downloader(allow_private=True) as downloader, open(sys.argv[2], "r+b", buffering=0) as sink:
    before = reset()
    downloader.fetch(sys.argv[1], lambda: None, sink, max_bytes=2**40)
    print(held("VmHWM:") - before)
"""

UPLOAD = """
import s3fs
from airflow_provider_apimart.storage import uploads
from airflow_provider_apimart.storage.files import Target, commit_bytes, staging

fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=sys.argv[1])
uploads.PUT_BYTES = int(sys.argv[3])
place = lambda name: Target(fs, f"{sys.argv[2]}/{name}", f"s3://{sys.argv[2]}/{name}")
commit_bytes(place("small"), b"opens the session")
with staging(place("large")) as staged:
    for _ in range(64):
        staged.file.write(bytes(2**20))
    before = reset()
    staged.commit(place("large"))
    print(held("VmHWM:") - before)
"""


def megabytes(script: str, *arguments: str) -> float:
    """How much a script held at its peak beyond what it held before."""
    command = [sys.executable, "-c", HELD + script, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True).stdout)


def test_download_holds_some_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    path = tmp_path / "sink"
    path.touch()
    data = DATA * (SIZE // len(DATA))
    with MediaServer(Serve(data)) as media:
        assert megabytes(FETCH, media.url(), str(path)) < 8
    assert path.stat().st_size == len(data)


@pytest.mark.parametrize(("in_one", "limit"), [(SIZE, 8), (0, 20)], ids=["in one request", "in parts"])
def test_upload_to_s3_holds_little(store: Store, in_one: int, limit: int) -> None:
    assert megabytes(UPLOAD, store.client.meta.endpoint_url, BUCKET, str(in_one)) < limit
    assert len(store.get("large")) == SIZE
