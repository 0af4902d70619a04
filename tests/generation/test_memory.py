"""What an upload holds in memory, in a process of its own: the server of the tests would be counted with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.generation.object_store import BUCKET, Store, store

__all__ = ["store"]

LIMIT_MB = 20

UPLOAD = """
import sys
from pathlib import Path
import s3fs
from airflow_provider_apimart.generation.storage import Target, commit_bytes, staging

def held(name):
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0]) / 1024

fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=sys.argv[1])
place = lambda name: Target(fs, f"{sys.argv[2]}/{name}", f"s3://{sys.argv[2]}/{name}")
commit_bytes(place("small"), b"opens the session")
with staging(place("large")) as staged:
    for _ in range(64):
        staged.file.write(bytes(2**20))
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS:")
    staged.commit(place("large"))
    print(held("VmHWM:") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak anew")
def test_upload_to_s3_holds_three_blocks_and_little_more(store: Store) -> None:
    command = [sys.executable, "-c", UPLOAD, store.client.meta.endpoint_url, BUCKET]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert float(done.stdout) < LIMIT_MB
    assert len(store.get("large")) == 64 * 2**20
