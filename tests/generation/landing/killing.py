"""Lands one video again and again, killed with SIGKILL one step later each time, until a try gets through.

Run as ``python -m tests.generation.landing.killing URL FILE``; prints what was found after each kill and after its
retry as JSON. A process of its own, because forking is safe only where there are no threads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from airflow_provider_apimart.client.environment import load_tls
from airflow_provider_apimart.generation.landing import resumable
from airflow_provider_apimart.generation.landing.download import Downloader
from airflow_provider_apimart.generation.landing.landing import already_landed, land
from airflow_provider_apimart.storage import localfs
from airflow_provider_apimart.storage.files import Target
from tests.crash.children import forked

STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "fcntl.flock"}


def target(path: str) -> Target:
    return Target(fsspec.filesystem("file"), path, path)


def landing(url: str, path: str) -> None:
    airflow = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "try_number": 1}
    with Downloader(allow_private=True, sleep=lambda _: None) as downloader:
        land(
            url,
            target(path),
            refresh=lambda: None,
            downloader=downloader,
            max_bytes=10**9,
            provenance={"generation_id": "g", "airflow": airflow},
        )


def kill_at(step: int, folder: str) -> None:
    """Kill this process at its ``step``-th step: what touches the folder, each chunk, each flush to the disk."""
    left = [step]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            count()
            return original(*args, **kwargs)

        return wrapper

    resumable.ResumableFile.write = counted(resumable.ResumableFile.write)  # type: ignore[method-assign]
    os.fsync = counted(os.fsync)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        # Locks are taken on numbers, all else by name.
        if event in STEPS and (event == "fcntl.flock" or str(args[0]).startswith(folder)):
            count()

    sys.addaudithook(hook)


def seen(path: Path) -> dict[str, Any]:
    names = sorted(os.listdir(path.parent)) if path.parent.exists() else []
    whole = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    return {"names": names, "sha256": whole}


def main(url: str, path: Path, old: Path) -> None:
    rounds = []
    load_tls()  # Once here, and not in every child.
    for step in range(1000):
        shutil.rmtree(path.parent, ignore_errors=True)
        if old.exists():
            shutil.copytree(old, path.parent)

        def killed(step: int = step) -> None:
            kill_at(step, str(path.parent))
            landing(url, str(path))

        ended = forked(killed)
        after_kill = {**seen(path), "landed": already_landed(target(str(path)), "g", 1) is not None}
        retried = forked(lambda: landing(url, str(path)))
        after_retry = {**seen(path), "landed": already_landed(target(str(path)), "g", 1) is not None}
        rounds.append({"ended": ended, "killed": after_kill, "retry_ended": retried, "retried": after_retry})
        if ended == 0:
            break
    json.dump(rounds, sys.stdout)


if __name__ == "__main__":
    if os.environ.get("NAMED_PARTS"):
        localfs._create_anonymous = lambda folder, part: None
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
