"""A small, fast APIMart for measurements: jobs of a few seconds, a rate limit, failing generations, dropped answers.

Not the emulator: that one keeps and logs everything in SQLite, which is right for tests and too slow for ten thousand
rows. This one keeps its counts in memory and reports them at ``/stats``. Run as ``python -m benchmarks.servers.apimart
--port 0``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import uvicorn

from airflow_provider_apimart.emulator.media.videos import VideoSpec, make_video
from airflow_provider_apimart.emulator.server import open_socket

PRICE = 0.256


class Server:
    """The ASGI app and its counts."""

    def __init__(self, options: argparse.Namespace, video: bytes) -> None:
        self.options = options
        self.video = video
        self.jobs: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, dict[str, Any]] = {}
        self.posts: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.window: deque[float] = deque()
        self.first: float | None = None
        self.last = 0.0
        #: When each run of the peer in ``measurements/mapped.py`` ends.
        self.dbt_runs: list[float] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, content, kind, more = self.answer(scope["method"], scope["path"], headers, body)
        if status == 0:
            # A dropped answer: the work is done, the headers promise a body, and the connection ends.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            raise ConnectionResetError
        names = [(b"content-type", kind), (b"content-length", str(len(content)).encode()), *more]
        await send({"type": "http.response.start", "status": status, "headers": names})
        await send({"type": "http.response.body", "body": content})

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, bytes, list[tuple[bytes, bytes]]]:
        """Return status, body, media type and further headers."""
        if path.startswith("/media/"):
            self.requests["media"] += 1
            return 200, self.video, b"video/mp4", [(b"etag", b'"1"')]
        if path == "/stats":
            return 200, json.dumps(self.stats()).encode(), b"application/json", []
        now = time.time()
        if path.startswith("/dbt/"):
            return self.dbt(method, path, now)
        self.first, self.last = self.first or now, now
        if path.startswith("/api/pricing"):
            return self.json(404, {"error": {"message": "no such route"}})
        if (wait := self.limit(now)) > 0:
            self.requests["throttled"] += 1
            error = {"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}}
            return self.json(429, error, [(b"retry-after", str(int(wait) + 1).encode())])
        if method == "POST":
            self.requests["submit"] += 1
            answer = self.submit(headers["idempotency-key"], body, now, headers.get("host", ""))
            dropped = self.drops(self.requests["submit"])
        else:
            self.requests["task"] += 1
            answer = self.task(path.rpartition("/")[2], now, headers.get("host", ""))
            dropped = self.drops(self.requests["task"] + 50)
        if dropped:
            self.requests["dropped"] += 1
            return 0, b"", b"", []
        return answer

    def dbt(self, method: str, path: str, now: float) -> tuple[int, bytes, bytes, Any]:
        """Answer as dbt Cloud does: ``POST …/jobs/{id}/run/`` and ``GET …/runs/{id}/``."""
        if method == "POST":
            self.dbt_runs.append(now + self.options.job_seconds)
            data = {"id": len(self.dbt_runs), "href": "http://127.0.0.1/run", "status": 1}
        else:
            number = int(path.rstrip("/").rpartition("/")[2])
            data = {"id": number, "status": 10 if now >= self.dbt_runs[number - 1] else 3}
        return self.json(200, {"status": {"code": 200}, "data": data})

    def drops(self, count: int) -> bool:
        """Say whether this answer is lost: a fixed number per thousand, evenly spread."""
        return count * self.options.dropped_permille % 1000 < self.options.dropped_permille

    def limit(self, now: float) -> float:
        """Return the seconds until a request is allowed, 0 if it is allowed now; the window slides over a minute."""
        if not self.options.per_minute:
            return 0.0
        while self.window and self.window[0] <= now - 60:
            self.window.popleft()
        if len(self.window) >= self.options.per_minute:
            return self.window[0] + 60 - now
        self.window.append(now)
        return 0.0

    def submit(self, key: str, body: bytes, now: float, host: str) -> tuple[int, bytes, bytes, Any]:
        """Take a submission, once for each key."""
        self.posts[key] += 1
        found = self.by_key.get(key)
        replayed = found is not None
        if found is None:
            number = len(self.jobs) + 1
            fails = number * self.options.failing_permille % 1000 < self.options.failing_permille
            found = {
                "id": f"task_{number:026d}",
                "row": json.loads(body)["prompt"],
                "created": now,
                "ends": now + self.options.job_seconds,
                "fails": fails,
            }
            self.jobs[found["id"]] = self.by_key[key] = found
        more = [(b"idempotency-replayed", b"true")] if replayed else []
        data = [{"status": "submitted", "task_id": found["id"]}]
        return self.json(200, {"code": 200, "data": data}, more)

    def task(self, generation_id: str, now: float, host: str) -> tuple[int, bytes, bytes, Any]:
        """Return the state of a generation."""
        job = self.jobs.get(generation_id)
        if job is None:
            return self.json(404, {"error": {"message": "no such task"}})
        data: dict[str, Any] = {"id": job["id"], "status": "processing", "progress": 50, "created": int(job["created"])}
        if now >= job["ends"]:
            data["completed"], data["progress"] = int(job["ends"]), 100
            if job["fails"]:
                data |= {"status": "failed", "error": {"code": "500", "message": "upstream failed", "type": "error"}}
            else:
                url = f"http://{host}/media/{job['id']}.mp4"
                video = {"url": [url], "expires_at": int(job["ends"]) + 86400}
                data |= {"status": "completed", "cost": PRICE, "result": {"videos": [video]}}
        return self.json(200, {"code": 200, "data": data})

    @staticmethod
    def json(status: int, value: Any, more: Any = ()) -> tuple[int, bytes, bytes, Any]:
        """Return a JSON answer."""
        return status, json.dumps(value).encode(), b"application/json", list(more)

    def stats(self) -> dict[str, Any]:
        """Return the counts."""
        paid = Counter(job["row"] for job in self.jobs.values() if not job["fails"])
        return {
            "requests": self.requests,
            "generations": len(self.jobs),
            "failed": sum(1 for job in self.jobs.values() if job["fails"]),
            "paid_rows": len(paid),
            "paid_more_than_once": sum(1 for count in paid.values() if count > 1),
            "resent": sum(1 for count in self.posts.values() if count > 1),
            "seconds": self.last - (self.first or self.last),
        }


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--port", type=int, default=0)
    parse.add_argument("--job-seconds", type=float, default=4.0)
    parse.add_argument("--per-minute", type=int, default=0, help="0: no limit")
    parse.add_argument("--failing-permille", type=int, default=0)
    parse.add_argument("--dropped-permille", type=int, default=0)
    return parse


def main() -> None:
    """Serve until killed."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        make_video(VideoSpec(320, 180, 4, False, "a benchmark", ("a benchmark",)), path)
        video = path.read_bytes()
    sock = open_socket("127.0.0.1", options.port)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
    config = uvicorn.Config(Server(options, video), log_level="critical", access_log=False, lifespan="off")
    asyncio.run(uvicorn.Server(config).serve([sock]))


if __name__ == "__main__":
    main()
