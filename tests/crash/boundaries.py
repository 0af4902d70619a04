"""Everything that leaves a trace outside the process is a boundary, and a process can be killed at each of them.

Nothing is listed by hand: every answer of the API and of the media host, every load and save of the record, every
chunk, every flush and every change in the output's folder is seen by where it must pass.
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.quick_get import QuickGet
from airflow_provider_apimart.generation.landing.resumable import ResumableFile
from airflow_provider_apimart.generation.pricing.ledger import Ledger
from airflow_provider_apimart.hooks.stores.record_stores import ObjectRecordStore, TaskStateRecordStore

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Point:
    """The ``occurrence``-th time that a part crosses a boundary."""

    part: str
    label: str
    occurrence: int


class Boundaries:
    """Counts the boundaries that a part crosses, and kills the process at one of them."""

    def __init__(self, part: str, kill: Point | None) -> None:
        self.part = part
        self.kill = kill
        self.crossed: list[Point] = []
        self._seen: Counter[str] = Counter()

    def cross(self, label: str) -> None:
        here = Point(self.part, label, self._seen[label])
        self._seen[label] += 1
        self.crossed.append(here)
        if here == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self, folder: str) -> None:
        """Watch this process. Never undone: the process is a child that ends with its part."""
        for store in (TaskStateRecordStore, ObjectRecordStore):
            for name in ("load", "save"):
                setattr(store, name, self._around(f"record.{name}", getattr(store, name)))
        for name in ("reserve", "settle", "grow", "note_share"):
            setattr(Ledger, name, self._around(f"budget.{name}", getattr(Ledger, name)))
        Ledger._write = self._around("budget file", Ledger._write)  # type: ignore[method-assign]
        ResumableFile.write = self._around("chunk", ResumableFile.write)  # type: ignore[method-assign]
        os.fsync = self._around("fsync", os.fsync)
        self._watch_calls()
        self._watch_folder(folder)

    def _around(self, label: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.cross(f"before:{label}")
            result = original(*args, **kwargs)
            self.cross(f"after:{label}")
            return result

        return wrapper

    def _watch_calls(self) -> None:
        """Before a request is sent; when its answer begins; when it is read."""
        once, async_once, send, async_send, quick_get = (
            ApimartClient._send_once,
            AsyncApimartClient._send_once,
            httpx.Client.send,
            httpx.AsyncClient.send,
            QuickGet.get,
        )

        def send_once(client: ApimartClient, call: Any) -> Any:
            self.cross(f"before:{call.what}")
            result = once(client, call)
            self.cross(f"after:{call.what}")
            return result

        async def async_send_once(client: AsyncApimartClient, call: Any) -> Any:
            self.cross(f"before:{call.what}")
            result = await async_once(client, call)
            self.cross(f"after:{call.what}")
            return result

        def http_send(client: httpx.Client, request: httpx.Request, **kwargs: Any) -> Any:
            response = send(client, request, **kwargs)
            self.cross(f"answering:{request.method} {_place(request)}")
            return response

        async def async_http_send(client: httpx.AsyncClient, request: httpx.Request, **kwargs: Any) -> Any:
            response = await async_send(client, request, **kwargs)
            self.cross(f"answering:{request.method} {_place(request)}")
            return response

        async def async_quick_get(quick: QuickGet, call: Any, *args: Any) -> Any:
            reply = await quick_get(quick, call, *args)
            self.cross(f"answering:GET {_place(httpx.Request('GET', f'http://api{call.path}'))}")
            return reply

        ApimartClient._send_once = send_once  # type: ignore[assignment, method-assign]
        AsyncApimartClient._send_once = async_send_once  # type: ignore[assignment, method-assign]
        httpx.Client.send = http_send  # type: ignore[method-assign]
        httpx.AsyncClient.send = async_http_send  # type: ignore[method-assign]
        QuickGet.get = async_quick_get  # type: ignore[method-assign]

    def _watch_folder(self, folder: str) -> None:
        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event == "open":
                path, _, flags = args
                if isinstance(path, str) and path.startswith(folder) and flags & WRITING:
                    self.cross("open for writing")
            elif event in CHANGES and str(args[0]).startswith(folder):
                self.cross(event)

        sys.addaudithook(hook)


def _place(request: httpx.Request) -> str:
    return request.url.path.split("/")[1 if request.url.path.startswith("/media") else 2]


def share_certificates() -> None:
    """Load the system's certificates once: for each client of each child it would take most of the time."""
    context = ssl.create_default_context()

    def shared(*_: Any, **__: Any) -> ssl.SSLContext:
        return context

    httpx.create_ssl_context = shared
    httpx._transports.default.create_ssl_context = shared  # type: ignore[attr-defined]
