"""APIMart's status endpoint for jobs that run until they are ended on request: ``python -m benchmarks.servers.wait``.

It counts what a triggerer must not do: poll one generation twice at the same time. If a triggerer is killed during a
poll, the poll counts as in progress here until its answer would have been sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from airflow_provider_apimart.emulator.server import open_socket


class WaitServer:
    """The ASGI app.

    :param answer_seconds: how long an answer takes.
    """

    def __init__(self, answer_seconds: float) -> None:
        self.answer_seconds = answer_seconds
        self.began = time.time()
        self.done = False
        self.open = 0
        self.under_way: dict[str, int] = {}
        self.answered_at: dict[str, float] = {}
        self.mark()

    def mark(self) -> None:
        """Reset the counts."""
        self.seen: dict[str, int] = {}
        self.first_at = self.last_first_at = 0.0
        self.overlaps = self.polls = self.connections = 0
        self.told: set[str] = set()
        self.least_gap: float | None = None
        self.most_gap, self.marked_at = 0.0, time.time()
        self.peak_open = self.open

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        value = self.control(path) if path.startswith("/control/") else await self.poll(path.rsplit("/", 1)[-1])
        body = json.dumps(value).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def poll(self, name: str) -> dict[str, Any]:
        """Answer a poll of a job."""
        now = time.time()
        self.polls += 1
        if name not in self.seen:
            self.last_first_at = now
            self.first_at = self.first_at or now
        if (answered := self.answered_at.get(name)) is not None:
            self.least_gap = min(now - answered, math.inf if self.least_gap is None else self.least_gap)
            self.most_gap = max(now - max(answered, self.marked_at), self.most_gap)
        self.seen[name] = self.seen.get(name, 0) + 1
        self.under_way[name] = self.under_way.get(name, 0) + 1
        self.overlaps += self.under_way[name] > 1
        try:
            await asyncio.sleep(self.answer_seconds)
        finally:
            self.under_way[name] -= 1
        self.answered_at[name] = time.time()
        data: dict[str, Any] = {"id": name, "status": "processing", "created": int(self.began)}
        if self.done:
            self.told.add(name)
            video = {"url": [f"http://127.0.0.1/{name}.mp4"], "expires_at": int(time.time()) + 86400}
            data |= {"status": "completed", "completed": int(time.time()), "progress": 100, "cost": 0.256}
            data["result"] = {"videos": [video]}
        return {"code": 200, "data": data}

    def control(self, path: str) -> dict[str, Any]:
        """``mark`` resets the counts, ``done`` completes all jobs; both return the counts, as ``count`` does."""
        if path == "/control/mark":
            self.mark()
        if path == "/control/done":
            self.done = True
        # A job that has not been polled again yet is also waiting.
        now = time.time()
        still = max((now - max(answered, self.marked_at) for answered in self.answered_at.values()), default=0.0)
        return {
            **{"seen": len(self.seen), "polls": self.polls, "overlaps": self.overlaps, "told": len(self.told)},
            **{"first_at": self.first_at, "last_first_at": self.last_first_at, "least_gap": self.least_gap},
            **{"connections": self.connections, "open": self.open, "peak_open": self.peak_open},
            "most_gap": max(self.most_gap, still),
            "most_polls": max(self.seen.values(), default=0),
        }


def counting(app: WaitServer, control: str) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol, which reports each connection to the app.

    :param control: the address from which the parent sends its requests, which are not counted.
    """

    class Counting(HttpToolsProtocol):
        counted = False

        def connection_made(self, transport: Any) -> None:
            self.counted = transport.get_extra_info("peername")[0] != control
            if self.counted:
                app.connections += 1
                app.open += 1
                app.peak_open = max(app.peak_open, app.open)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            app.open -= self.counted
            super().connection_lost(exc)

    return Counting


#: The parent sends its requests from this loopback address.
CONTROL_ADDRESS = "127.0.0.2"


def main() -> None:
    """Serve until killed."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--answer-seconds", type=float, default=0.2)
    options = parse.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sock = open_socket("127.0.0.1", 0)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
    app = WaitServer(options.answer_seconds)
    config = uvicorn.Config(
        app, http=counting(app, CONTROL_ADDRESS), log_level="critical", access_log=False, lifespan="off",
        backlog=8192, timeout_keep_alive=120,
    )  # fmt: skip
    asyncio.run(uvicorn.Server(config).serve([sock]))


if __name__ == "__main__":
    main()
