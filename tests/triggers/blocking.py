"""A detector of calls that would block an event loop: any of them on the watched thread is remembered."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

#: What Python itself reports of files, names, processes and databases. (``socket.connect`` is asyncio's own way to
#: connect without blocking, too; a connect that blocks is preceded by a look-up or made by a library named below.)
EVENTS = ("open", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "sqlite3.connect", "os.system")
#: Imports happen once in a process, and read files.
IMPORTS = ("importlib", "linecache")

_watched: dict[int, list[str]] = {}


def _stack() -> list[str]:
    # Not traceback's: that reads the files that it shows.
    lines, frame = [], sys._getframe(2)
    while frame is not None:
        lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return lines


def _hook(event: str, args: tuple[object, ...]) -> None:
    if event not in EVENTS or (found := _watched.get(threading.get_ident())) is None:
        return
    stack = _stack()
    if not any(name in line for line in stack for name in IMPORTS):
        found.append(f"{event} {args[:1]} {stack[:10]}")


sys.addaudithook(_hook)


@contextmanager
def no_blocking_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Remember blocking calls on this thread."""
    _watched[threading.get_ident()] = []
    sleep = time.sleep

    def watched(seconds: float) -> None:
        if (found := _watched.get(threading.get_ident())) is not None:
            found.append(f"time.sleep {seconds} {_stack()[:10]}")
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", watched)
    try:
        yield _watched[threading.get_ident()]
    finally:
        del _watched[threading.get_ident()]
