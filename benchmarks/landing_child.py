"""Lands one video and tells how long that took and what memory it held at its peak beyond the process as it was.

Told by JSON on stdin: ``url``, ``output`` (a folder's URI) and, for S3, ``endpoint``. A process of its own, because a
process's peak is measured once. What is imported and opened before is done here before the clock starts: a worker has it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import psutil

from airflow_provider_apimart.generation.download import Downloader
from airflow_provider_apimart.generation.landing import land
from airflow_provider_apimart.generation.storage import Target, commit_bytes

PROVENANCE = {"generation_id": "bench", "airflow": {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}}


def peak_bytes() -> int:
    """Return the most memory that this process has held since the last :func:`reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def reset_peak() -> None:
    """Let the peak start from here (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def file_system(order: dict[str, Any]) -> Any:
    """Return the storage, as Airflow's ObjectStoragePath would open it."""
    if "endpoint" not in order:
        return fsspec.filesystem("file")
    return fsspec.filesystem("s3", key="test", secret="test", endpoint_url=order["endpoint"])  # noqa: S106 - moto's


def main() -> None:
    """Land and tell."""
    order = json.loads(sys.stdin.readline())
    fs = file_system(order)
    folder = order["output"].partition("://")[2] if "endpoint" in order else order["output"]
    # A first small file: the session with the storage is open then.
    warm = Target(fs, f"{folder}/warm.json", f"{order['output']}/warm.json")
    commit_bytes(warm, b"{}")
    target = Target(fs, f"{folder}/video.mp4", f"{order['output']}/video.mp4")
    with Downloader(allow_private=True) as downloader:
        reset_peak()
        base = psutil.Process().memory_info().rss
        began = time.perf_counter()
        video = land(
            order["url"],
            target,
            refresh=lambda: None,
            downloader=downloader,
            max_bytes=2**40,
            provenance=PROVENANCE,
        )
        seconds = time.perf_counter() - began
    found = {"seconds": seconds, "bytes": video.bytes, "base_mb": base / 2**20}
    print(json.dumps(found | {"peak_mb": (peak_bytes() - base) / 2**20}), flush=True)


if __name__ == "__main__":
    main()
