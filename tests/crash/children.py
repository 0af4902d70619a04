"""Children of a process that has Airflow loaded: one for a part of a life, and a few that share out many lives."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync

Job = TypeVar("Job")


def prepare_to_fork() -> None:
    """Leave nothing in this process that its children could not use, once everything is imported."""
    # The thread in which asgiref runs what would block a loop, once for all loops; the children make their own.
    SyncToAsync.single_thread_executor.shutdown()
    SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    if threading.active_count() > 1:
        raise RuntimeError(f"children cannot be forked beside threads: {threading.enumerate()}")
    gc.collect()
    gc.freeze()


def forked(action: Callable[[], None]) -> int:
    """Run ``action`` in a child and return how it ended: 0, an exit code, or minus a signal."""
    return _ended(_forked(action))


def shared_out(folder: Path, jobs: Sequence[Job], live: Callable[[Job], dict[str, Any]], workers: int) -> list[Any]:
    """Live all jobs, each worker its part of them, and return what became of them, worker by worker."""

    def work(first: int) -> None:
        with _results(folder, first).open("w") as file:
            for job in jobs[first::workers]:
                print(json.dumps(live(job)), file=file)

    children = [_forked(lambda first=first: work(first)) for first in range(workers)]  # type: ignore[misc]
    codes = [_ended(child) for child in children]
    if any(codes):
        raise RuntimeError(f"workers ended with {codes}")
    return [json.loads(line) for first in range(workers) for line in _results(folder, first).read_text().splitlines()]


def _results(folder: Path, first: int) -> Path:
    return folder / f"results-{first}.jsonl"


def _forked(action: Callable[[], None]) -> int:
    child = os.fork()
    if not child:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return child


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
