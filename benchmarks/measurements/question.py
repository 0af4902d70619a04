"""What one status question costs the process that asks: ours beside plain HTTP clients. Loopback only.

``make bench BENCH_ARGS=question`` takes about ten seconds. A server in a process of its own answers each
question after 20 ms; sixteen are under way at once. The figure is the CPU of the asking process for each question, with
the answer read as JSON (ours: into a ``Generation``). Each contestant has several rounds, in turn, and the least is
shown: other work on the machine only adds. Only ratios carry over to another machine.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import httpx

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.settings import Settings

KEY = "sk-question"
PATH = "/v1/tasks/task_01K8SGYNNNVBQTXNR4MM964S7K"
AT_ONCE = 16
ANSWER = json.dumps(
    {
        "code": 200,
        "data": {
            **{"id": "task_01K8SGYNNNVBQTXNR4MM964S7K", "status": "processing", "progress": 45},
            **{"created": 1765000891, "estimated_time": 120},
        },
    }
).encode()

Ask = Callable[[], Awaitable[object]]


class _Answers(asyncio.Protocol):
    """Answers each request on a connection after a time, whatever it asks."""

    seconds = 0.02
    whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.head = transport, b""

    def data_received(self, data: bytes) -> None:
        self.head += data
        if self.head.endswith(b"\r\n\r\n"):
            self.head = b""
            asyncio.get_running_loop().call_later(self.seconds, self.transport.write, self.whole)  # type: ignore[attr-defined]


def serve(told: Connection) -> None:
    """Serve until killed."""

    async def work() -> None:
        server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(work())


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Ask]:
    """The way of the poller: one call, sent once, read into a ``Generation``."""
    async with AsyncApimartClient(Settings(KEY, url)) as client:
        call = protocol.generation(PATH.rpartition("/")[2])
        yield lambda: client.send(call, repeat=False)


@asynccontextmanager
async def plain_httpx(url: str, transport: httpx.AsyncBaseTransport | None = None) -> AsyncIterator[Ask]:
    """``httpx.AsyncClient.get`` and its JSON."""
    headers = {"Authorization": f"Bearer {KEY}"}

    async def ask() -> object:
        return (await client.get(f"{url}{PATH}")).json()

    options = {"headers": headers, "trust_env": False, "verify": ssl.create_default_context(), "transport": transport}
    async with httpx.AsyncClient(**options) as client:  # type: ignore[arg-type]
        yield ask


@asynccontextmanager
async def httpx_aiohttp(url: str) -> AsyncIterator[Ask]:
    """The same over the ``httpx-aiohttp`` transport, if it is installed."""
    from httpx_aiohttp import AiohttpTransport

    async with aiohttp.ClientSession() as session, plain_httpx(url, AiohttpTransport(client=session)) as ask:
        yield ask


@asynccontextmanager
async def plain_aiohttp(url: str) -> AsyncIterator[Ask]:
    """``aiohttp.ClientSession.get`` and its JSON."""
    headers = {"Authorization": f"Bearer {KEY}"}

    async def ask() -> object:
        async with session.get(f"{url}{PATH}") as response:
            return await response.json()

    async with aiohttp.ClientSession(headers=headers) as session:
        yield ask


CONTESTANTS = {"ours": ours, "httpx": plain_httpx, "httpx-aiohttp": httpx_aiohttp, "aiohttp": plain_aiohttp}


async def cost(contestant: str, url: str, count: int) -> float:
    """Return the CPU seconds of this process for each of ``count`` questions."""

    async def some(number: int, ask: Ask) -> None:
        for _ in range(number):
            await ask()

    async with CONTESTANTS[contestant](url) as ask:
        # Connections and caches are made before the figure is taken.
        await asyncio.gather(*(some(5, ask) for _ in range(AT_ONCE)))
        began = time.process_time()
        await asyncio.gather(*(some(count // AT_ONCE, ask) for _ in range(AT_ONCE)))
        return (time.process_time() - began) / (count // AT_ONCE * AT_ONCE)


def measure(url: str, names: list[str], rounds: int, count: int) -> dict[str, float]:
    """Return the least cost of each contestant, in milliseconds."""
    found = {name: float("inf") for name in names}
    for _ in range(rounds):
        for name in names:
            found[name] = min(found[name], asyncio.run(cost(name, url, count)) * 1000)
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all contestants that are installed."""
    names = [name for name in CONTESTANTS if importlib.util.find_spec(name.replace("-", "_")) or name == "ours"]
    receiving, sending = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(sending,), daemon=True)
    server.start()
    try:
        found = measure(f"http://127.0.0.1:{receiving.recv()}", names, options.question_rounds, options.questions)
    finally:
        server.kill()
        server.join()
    for name, milliseconds in sorted(found.items(), key=lambda pair: pair[1]):
        print(f"  {name}: {milliseconds:.3f} ms", flush=True)
    lines = [{"row": name, "cpu_ms": cpu, "ours_to_this": found["ours"] / cpu} for name, cpu in found.items()]
    return {"lines": lines, "at_once": AT_ONCE, "answer_seconds": _Answers.seconds, "rounds": options.question_rounds}
