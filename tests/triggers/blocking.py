"""A detector of calls that would block an event loop: any of them on the watched thread is remembered."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: What Python itself reports of files, names, processes and databases. (``socket.connect`` is asyncio's own way to
#: connect without blocking, too; a connect that blocks is preceded by a look-up or made by a library named below.)
EVENTS = ("open", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "sqlite3.connect", "os.system")
#: Imports happen once in a process, and read files.
IMPORTS = ("importlib", "linecache")

_watched: dict[int, list[str]] = {}


def _hook(event: str, args: tuple[object, ...]) -> None:
    found = _watched.get(threading.get_ident())
    if found is not None and event in EVENTS:
        stack = traceback.extract_stack()
        if not any(name in frame.filename for frame in stack for name in IMPORTS):
            found.append(f"{event} {args[:1]}\n" + "".join(traceback.format_list(stack[-8:])))


sys.addaudithook(_hook)


@contextmanager
def no_blocking_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Remember blocking calls on this thread."""
    found = _watched[threading.get_ident()] = []
    sleep = time.sleep

    def watched(seconds: float) -> None:
        if threading.get_ident() in _watched:
            found.append(f"time.sleep({seconds})\n" + "".join(traceback.format_stack(limit=8)))
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", watched)
    try:
        yield found
    finally:
        del _watched[threading.get_ident()]
