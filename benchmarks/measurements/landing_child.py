"""Lands one video and reports how long that took and how far memory rose above the process's initial size.

The order comes as JSON on stdin: ``url``, ``tiny`` (the URL of a video of a few kilobytes), ``output`` (a folder's URI)
and, for S3, ``endpoint``. The tiny video is landed first and timed separately, because one-off costs of a process say
nothing about throughput. The largest is reading the certificates, which curl does not do for plain HTTP.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import psutil

from airflow_provider_apimart.generation.landing.download import Downloader
from airflow_provider_apimart.generation.landing.once import land_once
from airflow_provider_apimart.storage.files import Target

PROVENANCE = {"generation_id": "bench", "airflow": {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}}


def peak_bytes() -> int:
    """Return this process's peak memory since the last :func:`reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def reset_peak() -> None:
    """Reset the peak to the current memory (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")


def file_system(order: dict[str, Any]) -> Any:
    """Return the storage, as Airflow's ObjectStoragePath would open it."""
    if "endpoint" not in order:
        return fsspec.filesystem("file")
    return fsspec.filesystem("s3", key="test", secret="test", endpoint_url=order["endpoint"])  # noqa: S106 - any will do


def main() -> None:
    """Land the videos and print the figures."""
    order = json.loads(sys.stdin.readline())
    fs = file_system(order)
    folder = order["output"].partition("://")[2] if "endpoint" in order else order["output"]

    def place(name: str) -> Target:
        return Target(fs, f"{folder}/{name}", f"{order['output']}/{name}")

    with Downloader(allow_private=True) as downloader:

        def landed(url: str, name: str) -> float:
            began = time.perf_counter()
            target, limit = place(name), 2**40
            land_once(url, target, refresh=lambda: None, downloader=downloader, max_bytes=limit, provenance=PROVENANCE)
            return time.perf_counter() - began

        first = landed(order["tiny"], "tiny.mp4")
        gc.collect()
        reset_peak()
        base = psutil.Process().memory_info().rss
        seconds = landed(order["url"], "video.mp4")
    # The next one must not find it there: a task looks before it lands, and would only read it back.
    for name in ("tiny.mp4", "tiny.mp4.json", "video.mp4", "video.mp4.json"):
        fs.rm_file(place(name).path)
    found = {"seconds": seconds, "first_seconds": first, "base_mb": base / 2**20}
    print(json.dumps(found | {"peak_mb": (peak_bytes() - base) / 2**20}), flush=True)


if __name__ == "__main__":
    main()
