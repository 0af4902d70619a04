"""The transport of an asynchronous client's GETs: what it sends, and what becomes of its connections."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_apimart.client import protocol
from airflow_provider_apimart.client.client import ApimartClient, AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError, OutcomeUnknownError, ResponseError
from airflow_provider_apimart.client.quick_get import PoolSize
from airflow_provider_apimart.client.settings import Settings
from tests.client.harness import KEY, QUICK, Both, Step, WireServer, _read_request, http, parts, raw, stall
from tests.client.sample_errors import REFUSALS
from tests.client.sample_tasks import NO_TASK, TASKS

BODY = b'{"code":200,"data":{"id":"task_1","status":"processing"}}'
TASK = raw(http(BODY))
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def kept_for(answers: int, then: Step) -> Step:
    """Answer so many requests on one connection, read one more, and do something else."""

    def step(connection: socket.socket, stopped: threading.Event) -> None:
        connection.sendall(KEPT)
        for _ in range(answers - 1):
            _read_request(connection)
            connection.sendall(KEPT)
        _read_request(connection)
        then(connection, stopped)

    return step


def close(connection: socket.socket, stopped: threading.Event) -> None:
    """Say nothing, close."""


# --- the same answers as the blocking client's ------------------------------------------------------------------------


@pytest.mark.parametrize("sample", [*TASKS, *NO_TASK, *REFUSALS], ids=lambda sample: sample.name)
def test_every_recorded_answer_is_read_as_the_blocking_client_reads_it(sample: Any) -> None:
    headers = [f"{name}: {value}" for name, value in sample.headers.items()]
    answer = raw(http(sample.content, *headers, status=f"{sample.status} Whatever"))
    found = []
    for kind in ("sync", "async"):
        with WireServer([answer]) as server:
            try:
                found.append(
                    Both(kind).run("send", protocol.generation("task_1"), base_url=server.base_url, repeat=False)
                )
            except ApimartError as error:
                found.append((type(error), str(error), error.charge, error.retry_after_seconds))
    assert found[0] == found[1]


def test_what_is_sent(both: Both) -> None:
    with WireServer([TASK]) as server:
        both.run("generation", "a/b c", base_url=f"{server.base_url}/gate%20way/")
        host = server.base_url.removeprefix("http://")
    (request,) = server.requests
    headers, body = parts(request)
    assert request.startswith(b"GET /gate%20way/v1/tasks/a%2Fb%20c?language=en HTTP/1.1\r\n")
    assert headers["user-agent"].startswith("airflow-provider-apimart/")
    assert (headers["host"], headers["accept"]) == (host, "application/json")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == b""
    wanted = {"host", "accept", "accept-encoding", "user-agent", "authorization"}
    assert set(headers) - {"connection"} == wanted


def test_long_headers_are_read(both: Both) -> None:
    with WireServer([raw(http(BODY, f"Content-Security-Policy: {'x' * 30_000}"))]) as server:
        assert both.run("generation", "task_1", base_url=server.base_url).generation_id == "task_1"


def test_an_encoding_that_is_named_twice_is_refused(both: Both) -> None:
    packed = raw(http(BODY, "Content-Encoding: gzip", "content-encoding: gzip"))
    with WireServer([packed]) as server, pytest.raises(ResponseError, match="not requested"):
        both.run("send", protocol.generation("task_1"), base_url=server.base_url, repeat=False)


def test_cookies_are_not_kept() -> None:
    async def work(base_url: str) -> None:
        async with AsyncApimartClient(Settings(KEY, base_url), QUICK) as client:
            await client.generation("task_1")
            await client.generation("task_1")

    with WireServer([raw(http(BODY, "Set-Cookie: session=1"))]) as server:
        asyncio.run(work(server.base_url))
    assert all(b"ookie" not in request for request in server.requests)


@pytest.mark.parametrize(
    "step", [close, raw(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"), raw(b"nonsense\r\n\r\n")]
)
def test_the_key_is_in_no_log(both: Both, step: Step, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with WireServer([step]) as server, pytest.raises(ApimartError) as caught:
        both.run("generation", "task_1", base_url=server.base_url)
    told = [f"{record.getMessage()} {record.args} {record.exc_info}" for record in caplog.records]
    assert KEY not in "\n".join([*told, repr(caught.value), str(caught.value.__cause__)])


# --- connections ------------------------------------------------------------------------------------------------------


def asked_in_turn(both: Both, base_url: str, count: int) -> None:
    """Ask so many times with one client, one after the other, and without repeats."""
    call = protocol.generation("task_1")
    if both.kind == "sync":
        with ApimartClient(Settings(KEY, base_url), QUICK) as client:
            for _ in range(count):
                client.send(call, repeat=False)
        return

    async def work() -> None:
        async with AsyncApimartClient(Settings(KEY, base_url), QUICK) as client:
            for _ in range(count):
                await client.send(call, repeat=False)

    asyncio.run(work())


def test_connections_are_kept(both: Both) -> None:
    taken: list[int] = []

    def counted(connection: socket.socket, stopped: threading.Event) -> None:
        taken.append(1)
        kept_for(5, close)(connection, stopped)

    with WireServer([counted]) as server:
        asked_in_turn(both, server.base_url, 5)
    assert len(taken) == 1


def test_a_kept_connection_that_the_server_closes_is_no_failure(both: Both) -> None:
    with WireServer([kept_for(2, close), kept_for(1, close), TASK]) as server:
        asked_in_turn(both, server.base_url, 4)
        assert len(server.requests) == 3


def test_a_new_connection_that_breaks_is_a_failure(both: Both) -> None:
    with WireServer([close, TASK]) as server, pytest.raises(OutcomeUnknownError):
        both.run("send", protocol.generation("task_1"), base_url=server.base_url, repeat=False)
    assert len(server.requests) == 1


def test_a_host_that_closes_all_connections_is_a_failure(both: Both) -> None:
    with WireServer([kept_for(1, close), close]) as server, pytest.raises(OutcomeUnknownError):
        asked_in_turn(both, server.base_url, 2)
    assert len(server.requests) == 2


def test_a_paid_call_on_a_closed_connection_is_not_sent_again_by_itself(both: Both) -> None:
    submit = protocol.submit({"prompt": "x"}, "key-1", resend_unknown=False)

    async def work(base_url: str) -> None:
        async with AsyncApimartClient(Settings(KEY, base_url), QUICK) as client:
            await client.send(submit)
            await client.send(submit)

    with WireServer([kept_for(1, close), TASK]) as server, pytest.raises(OutcomeUnknownError):
        if both.kind == "async":
            asyncio.run(work(server.base_url))
        else:
            with ApimartClient(Settings(KEY, server.base_url), QUICK) as client:
                client.send(submit)
                client.send(submit)
    assert len(server.requests) == 1, "it went over the kept connection, and over no other"


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it is another thread that is waited for
        await asyncio.sleep(0.01)


def test_a_cancelled_question_leaves_no_connection_and_no_warning() -> None:
    async def work(server: WireServer) -> int:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        client = AsyncApimartClient(Settings(KEY, server.base_url), QUICK)
        tasks = [asyncio.create_task(client.generation("task_1")) for _ in range(5)]
        await _until(lambda: len(server.requests) == 5)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in found} == {asyncio.CancelledError}
        # The server sees them close, though the client is still open.
        await asyncio.to_thread(gone.acquire)
        await client.aclose()
        del client, tasks, found
        gc.collect()
        return len(complaints)

    gone = threading.Semaphore(0)
    ended: list[bool] = []

    def silent(connection: socket.socket, stopped: threading.Event) -> None:
        connection.settimeout(10)
        ended.append(connection.recv(1) == b"")
        if len(ended) == 5:
            gone.release()

    with WireServer([silent]) as server:
        assert asyncio.run(work(server)) == 0
    assert ended == [True] * 5


def test_closing_ends_what_is_under_way() -> None:
    async def work(server: WireServer) -> Any:
        client = AsyncApimartClient(Settings(KEY, server.base_url), QUICK)
        task = asyncio.create_task(client.send(protocol.generation("task_1"), repeat=False))
        await _until(lambda: len(server.requests) == 1)
        await client.aclose()
        (found,) = await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(RuntimeError, match="closed"):
            await client.generation("task_1")
        return found

    with WireServer([stall]) as server:
        found = asyncio.run(work(server))
    assert isinstance(found, (ApimartError, asyncio.CancelledError))


# --- how many ---------------------------------------------------------------------------------------------------------


class Pool:
    """Connections as aiohttp keeps them: the next is the one that has been idle for longest."""

    def __init__(self) -> None:
        self.size, self.now, self.idle, self.busy = PoolSize(30.0), 0.0, 0, 0

    def at_once(self, count: int) -> None:
        """Send so many calls at once, and end them."""
        leaving = 0
        for _ in range(count):
            leaving += self.size.surplus(self.now)
            self.size.began()
            self.idle, self.busy = max(0, self.idle - 1), self.busy + 1
        for _ in range(count):
            self.size.ended()
        self.idle, self.busy = self.idle + count - leaving, 0


def test_a_pool_shrinks_to_what_it_needs() -> None:
    pool = Pool()
    pool.at_once(50)
    assert pool.idle == 50
    for second in range(200):
        pool.now = float(second)
        pool.at_once(4)
    assert pool.idle == 4


def test_a_pool_keeps_what_a_busy_moment_needed_for_a_while() -> None:
    pool = Pool()
    for second in range(300):
        pool.now = float(second)
        pool.at_once(40 if second % 25 == 0 else 3)
        assert pool.idle == 40
