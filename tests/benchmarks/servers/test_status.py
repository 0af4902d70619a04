from __future__ import annotations

import asyncio
import time

from benchmarks.servers.status import Job, StatusServer


def test_accounts_have_limits_and_books_of_their_own() -> None:
    job = Job(round(time.time(), 3) - 10, 5.0, 7)

    async def ask() -> tuple[StatusServer, list[int]]:
        server = StatusServer(answer_seconds=0.0)
        server.control("open", "one", per_minute=1)
        server.control("open", "two", per_minute=1, answer_seconds=0.01)
        answers = [await server.poll(f"/{name}/apimart/v1/tasks/{job.number}") for name in ("one", "one", "two")]
        assert answers[0][1]["data"]["status"] == "completed"
        return server, [status for status, _ in answers]

    server, statuses = asyncio.run(ask())
    assert statuses == [200, 429, 200]
    counts = [server.control("count", name) for name in ("one", "two")]
    assert [(count["polls"], count["throttled"]) for count in counts] == [(1, 1), (1, 0)]
    assert [index for _, index in server.control("asked", "two")] == [7]
    server.control("open", "one")
    assert server.control("count", "one")["polls"] == 0
