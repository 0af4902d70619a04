"""The status endpoints of APIMart and of the peers' APIs on loopback: ``python -m benchmarks.servers.status``.

The server stores no jobs: a job's number says when it was created and when it ends (:class:`Job`). So every contestant
polls the same jobs, and none has to be submitted. The server keeps the times of all polls and of all TCP connections,
and the parent reads them for a span of time. What a contestant says about itself is not used.

The first part of a path is the account. Each account has its own counts and limit, so that several contestants can be
served in parallel. Every answer takes the same time, 200 ms by default. With a limit, requests above it in any minute
(a sliding window) get a 429 with ``Retry-After``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import time
from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from airflow_provider_apimart.emulator.server import open_socket

#: The job of a child's trial poll, which no table includes.
WARM_UP_INDEX = 99_999

Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """The data in a job's number.

    :param created: unix seconds, to the millisecond.
    :param seconds: how long it takes, to the millisecond, under 10,000,000 s.
    :param index: tells jobs apart, under 100,000.
    """

    created: float
    seconds: float
    index: int

    @property
    def number(self) -> int:
        """The job's id: a whole number, because two of the peers take nothing else."""
        return (round(self.created * 1000) * 10**10 + round(self.seconds * 1000)) * 10**5 + self.index

    @property
    def ends(self) -> float:
        """When the job ends, in unix seconds."""
        return self.created + self.seconds

    @classmethod
    def of(cls, number: int) -> Job:
        """Read an id."""
        head, index = divmod(number, 10**5)
        created, seconds = divmod(head, 10**10)
        return cls(created / 1000, seconds / 1000, index)


def apimart(job: Job, done: bool, now: float) -> Answer:
    """``GET /v1/tasks/{id}``; the progress is linear."""
    data: dict[str, Any] = {"id": str(job.number), "status": "processing", "created": int(job.created)}
    data["progress"] = 100 if done else min(99, int((now - job.created) / job.seconds * 100))
    if done:
        video = {"url": [f"http://127.0.0.1/{job.number}.mp4"], "expires_at": int(job.ends) + 86400}
        data |= {"status": "completed", "completed": int(job.ends), "cost": 0.256, "result": {"videos": [video]}}
    return 200, {"code": 200, "data": data}


def openai(job: Job, done: bool, now: float) -> Answer:
    """``GET /v1/batches/{id}``."""
    names = {"object": "batch", "endpoint": "/v1/responses", "input_file_id": "file-1", "completion_window": "24h"}
    status = "completed" if done else "in_progress"
    return 200, {"id": str(job.number), **names, "status": status, "created_at": int(job.created)}


def airbyte(job: Job, done: bool, now: float) -> Answer:
    """``GET /jobs/{id}``."""
    names = {"jobType": "sync", "connectionId": "c", "startTime": datetime.fromtimestamp(job.created, UTC).isoformat()}
    return 200, {"jobId": job.number, "status": "succeeded" if done else "running", **names}


def dbt(job: Job, done: bool, now: float) -> Answer:
    """``GET /api/v2/accounts/{account}/runs/{id}/``."""
    return 200, {"status": {"code": 200}, "data": {"id": job.number, "status": 10 if done else 3}}


def fivetran(job: Job, done: bool, now: float) -> Answer:
    """``GET /v1/connectors/{id}``."""
    times = {
        "succeeded_at": datetime.fromtimestamp(job.ends if done else 0, UTC).isoformat(),
        "failed_at": datetime.fromtimestamp(0, UTC).isoformat(),
    }
    status = {"setup_state": "connected", "sync_state": "scheduled" if done else "syncing"}
    names = {"id": str(job.number), "service": "bench", "schema": "bench", "schedule_type": "auto", "paused": False}
    return 200, {"code": "Success", "data": {**names, **times, "status": status}}


def http(job: Job, done: bool, now: float) -> Answer:
    """An HTTP resource that answers 404 until the job is done."""
    return (200, {"done": True}) if done else (404, {"done": False})


#: The second part of the path selects the API.
APIS = {each.__name__: each for each in (apimart, openai, airbyte, dbt, fivetran, http)}


class Account:
    """One account: its limit, and the times of its polls.

    :param answer_seconds: how long each answer takes.
    :param per_minute: its limit; 0: none.
    """

    def __init__(self, answer_seconds: float, per_minute: int = 0) -> None:
        self.answer_seconds, self.per_minute = answer_seconds, per_minute
        self.polls, self.throttled, self.indices = array("d"), array("d"), array("l")
        self.window: deque[float] = deque()

    def limit(self, now: float) -> float:
        """Return the seconds until the next request is allowed, 0 if it is allowed now."""
        if not self.per_minute:
            return 0.0
        while self.window and self.window[0] <= now - 60:
            self.window.popleft()
        if len(self.window) >= self.per_minute:
            return self.window[0] + 60 - now
        self.window.append(now)
        return 0.0

    def answered(self, now: float, index: int) -> None:
        """Note a poll that is answered."""
        self.polls.append(now)
        self.indices.append(index)


class StatusServer:
    """The ASGI app.

    :param answer_seconds: how long an answer takes unless the account sets another time.
    """

    def __init__(self, answer_seconds: float) -> None:
        self.answer_seconds = answer_seconds
        self.accounts: dict[str, Account] = {}
        self.connections = array("d")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        more: list[tuple[bytes, bytes]] = []
        if path.startswith("/control/"):
            query = {name: float(values[0]) for name, values in parse_qs(scope["query_string"].decode()).items()}
            status, value = 200, self.control(*path.split("/")[2:4], **query)
        else:
            status, value = await self.poll(path)
            if status == 429:
                more = [(b"retry-after", str(value["retry_after"]).encode())]
        body = json.dumps(value).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def poll(self, path: str) -> tuple[int, Any]:
        """Answer a poll of a job, after the time that an answer takes."""
        now = time.time()
        parts = path.strip("/").split("/")
        account, job = self.accounts[parts[0]], Job.of(int(parts[-1]))
        if (wait := account.limit(now)) > 0:
            account.throttled.append(now)
            await asyncio.sleep(account.answer_seconds)
            return 429, {"error": {"message": "slow down"}, "retry_after": int(wait) + 1}
        account.answered(now, job.index)
        await asyncio.sleep(account.answer_seconds)
        # The job's state is taken when the answer is sent.
        now = time.time()
        return APIS[parts[1]](job, now >= job.ends, now)

    def control(
        self,
        what: str,
        name: str,
        since: float = 0.0,
        until: float = math.inf,
        per_minute: float = 0,
        answer_seconds: float | None = None,
    ) -> Any:
        """``open`` resets an account and its limit; ``count`` counts in a span of time, ``asked`` lists the polls."""
        if what == "open":
            seconds = self.answer_seconds if answer_seconds is None else answer_seconds
            self.accounts[name] = Account(seconds, int(per_minute))
            return {}
        account = self.accounts[name]
        if what == "count":
            # Only its first request shows which account uses a connection, so the count covers all accounts.
            kinds = {"polls": account.polls, "throttled": account.throttled, "connections": self.connections}
            return {kind: bisect_left(times, until) - bisect_left(times, since) for kind, times in kinds.items()}
        span = slice(bisect_left(account.polls, since), bisect_left(account.polls, until))
        return list(zip(account.polls[span], account.indices[span], strict=True))


def counting(app: StatusServer) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol, which reports each connection to the app."""

    class Counting(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            app.connections.append(time.time())
            super().connection_made(transport)

    return Counting


def main() -> None:
    """Serve until killed."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--answer-seconds", type=float, default=0.2)
    options = parse.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sock = open_socket("127.0.0.1", 0)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
    app = StatusServer(options.answer_seconds)
    config = uvicorn.Config(
        app, http=counting(app), log_level="critical", access_log=False, lifespan="off", backlog=8192,
        timeout_keep_alive=120,
    )  # fmt: skip
    asyncio.run(uvicorn.Server(config).serve([sock]))


if __name__ == "__main__":
    main()
