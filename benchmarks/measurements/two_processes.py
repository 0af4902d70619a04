"""Two triggerer-like processes on one account with a limit of requests per minute. Loopback only.

``python -m benchmarks.measurements.two_processes`` takes about two minutes and prints what each process got, minute by
minute. The processes do not know of each other; the second starts half a minute later. ``--ceiling`` states the limit
in both connections; without it, both learn the limit from 429s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import threading
import time
from collections import Counter, deque
from typing import Any

from airflow_provider_apimart.client.client import AsyncApimartClient
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.waiting.poller import here
from airflow_provider_apimart.generation.waiting.polling import PollingWait, Step, spread_of

KEYS = ("sk-process-one", "sk-process-two")


class Limited:
    """A server that answers "processing", or 429 above its limit, with one sliding window for all keys.

    :param window: the seconds over which the limit counts; shorter than a minute, so that a benchmark covers many
        windows.
    """

    def __init__(self, limit: int, window: float) -> None:
        self.limit, self.seconds = limit, window
        self.window: deque[float] = deque()
        self.began = time.monotonic()
        self.passed: Counter[tuple[str, int]] = Counter()
        self.refused: Counter[tuple[str, int]] = Counter()
        self.most = 0
        self.port = 0

    async def serve(self, ready: threading.Event) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self.talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                key = next(key for key in KEYS if key in head)
                now = time.monotonic()
                minute = int((now - self.began) // 10)
                while self.window and self.window[0] <= now - self.seconds:
                    self.window.popleft()
                if len(self.window) < self.limit:
                    self.window.append(now)
                    self.passed[key, minute] += 1
                    self.most = max(self.most, len(self.window))
                    status, more = "200 OK", ""
                    answer: Any = {"code": 200, "data": {"id": "task", "status": "processing"}}
                else:
                    self.refused[key, minute] += 1
                    wait = int(self.window[0] + self.seconds - now) + 1
                    status, more = "429 Too Many Requests", f"Retry-After: {wait}\r\n"
                    answer = {"error": {"code": 429, "message": "slow down", "type": "rate_limit_error"}}
                body = json.dumps(answer).encode()
                head = (
                    f"HTTP/1.1 {status}\r\n{more}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def triggerer(port: int, key: str, generations: int, seconds: float, ceiling: float | None) -> None:
    """Wait for generations that never end, like many triggers in one triggerer."""
    settings = Settings(key, f"http://127.0.0.1:{port}", requests_per_minute=ceiling)

    async def open_client() -> AsyncApimartClient:
        return AsyncApimartClient(settings)

    def silent(step: Step) -> None:
        pass

    async def one(number: int) -> None:
        generation_id, now = f"task_{number}", time.time()
        async with here().join("apimart_default", open_client) as shared:
            polling = PollingWait(generation_id, now, now + seconds, 75.0, 3.0, jitter=spread_of(generation_id))
            await shared.poller.follow(polling, silent)

    async def work() -> None:
        waits = asyncio.gather(*(one(number) for number in range(generations)))
        await asyncio.wait([waits], timeout=seconds)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)

    asyncio.run(work())


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=600, help="requests a minute that the server lets through")
    parser.add_argument("--ceiling", type=float, help="requests_per_minute of both connections")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--late", type=float, default=30.0, help="when the second process begins")
    options = parser.parse_args()
    server, ready = Limited(options.limit, 60.0), threading.Event()
    threading.Thread(target=lambda: asyncio.run(server.serve(ready)), daemon=True).start()
    ready.wait()
    context = multiprocessing.get_context("spawn")
    children = []
    for key, start in zip(KEYS, (0.0, options.late), strict=True):
        time.sleep(start)
        arguments = (server.port, key, 200, options.seconds - start, options.ceiling)
        children.append(context.Process(target=triggerer, args=arguments))
        children[-1].start()
    for child in children:
        child.join()
    print(f"limit {options.limit}/min, ceiling {options.ceiling or 'not stated'}; per 30 s:")
    print(f"{'from':>6} {'one':>6} {'two':>6} {'sum':>6} {'429s':>6}")
    for begin in range(0, int(options.seconds) // 10, 3):
        slots = range(begin, begin + 3)
        one, two = (sum(server.passed[key, slot] for slot in slots) for key in KEYS)
        refused = sum(server.refused[key, slot] for key in KEYS for slot in slots)
        print(f"{begin * 10:>5}s {one:>6} {two:>6} {one + two:>6} {refused:>6}")
    total, no = sum(server.passed.values()), sum(server.refused.values())
    print(f"{total} answered, {no} refused ({100 * no / (total + no):.2f} %); most in any minute: {server.most}")


if __name__ == "__main__":
    main()
