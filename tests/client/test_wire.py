"""Both clients against a real socket that misbehaves: drops, resets, stalls, trickles, floods and redirects."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import socket
import threading
from typing import Any

import pytest

from airflow_provider_apimart.client import errors, protocol
from airflow_provider_apimart.client.body import Body
from airflow_provider_apimart.client.client import MAX_CONNECTIONS, AsyncApimartClient
from airflow_provider_apimart.client.errors import ApimartError, Charge
from airflow_provider_apimart.client.settings import Settings
from tests.client.harness import KEY, QUICK, Both, Step, WireServer, drop, http, parts, raw, reset, stall, trickle

BODY = {"model": "veo3.1-fast-official", "prompt": "강아지 🐕", "duration": 8}
ACCEPTED = raw(http(b'{"code":200,"data":[{"status":"submitted","task_id":"task_1"}]}'))
TASK = raw(http(b'{"code":200,"data":{"id":"task_1","status":"processing"}}'))


def submit(seconds: float = 5.0, **options: Any) -> protocol.Call[Any]:
    return dataclasses.replace(protocol.submit(BODY, "key-1", **options), timeout_seconds=seconds)


def ask(seconds: float = 5.0) -> protocol.Call[Any]:
    return dataclasses.replace(protocol.generation("task_1"), timeout_seconds=seconds)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
LOST: dict[str, Step] = {
    "drop after the request": drop,
    "reset after the request": reset,
    "cut in the headers": raw(b"HTTP/1.1 200 OK\r\nContent-"),
    "cut in the body": raw(http(b'{"code":200,', length=500)),
    "cut in a chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH\r\n\r\n"),
    "bad chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "broken gzip": raw(http(gzip.compress(b"{}" * 500)[:-9], "Content-Encoding: gzip")),
    "half of the JSON": raw(http(b'{"code":200,"data":[{"task_')),
    "a page": raw(http(b"<html>502</html>", status="502 Bad Gateway")),
}


@pytest.mark.parametrize("step", LOST)
def test_a_lost_answer_is_asked_for_with_the_same_bytes(both: Both, step: str) -> None:
    with WireServer([LOST[step], LOST[step], ACCEPTED]) as server:
        assert both.run("send", submit(), base_url=server.base_url).generation_id == "task_1"
    sent = [parts(request) for request in server.requests]
    assert len(sent) == 3
    assert len({body for _, body in sent}) == 1
    assert sent[0][1] == protocol.encode_body(BODY)
    assert {headers["idempotency-key"] for headers, _ in sent} == {"key-1"}


@pytest.mark.parametrize("step", LOST)
def test_a_lost_answer_leaves_a_doubt(both: Both, step: str) -> None:
    with WireServer([LOST[step]]) as server, pytest.raises(ApimartError) as caught:
        both.run("send", submit(resend_unknown=False), base_url=server.base_url)
    assert caught.value.charge is Charge.UNKNOWN
    assert not caught.value.terminal
    assert len(server.requests) == 1
    assert KEY not in f"{caught.value!r} {caught.value}"


def test_a_drop_before_the_request_was_read(both: Both) -> None:
    with WireServer([reset, reset, ACCEPTED], read=False) as server:
        # Whether the server has read it is not for the client to know: repeated only because the key protects it.
        assert both.run("send", submit(), base_url=server.base_url).generation_id == "task_1"


@pytest.mark.parametrize("call", [submit(), ask()], ids=["submit", "ask"])
def test_nobody_there(both: Both, call: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(errors.ApimartConnectionError, match=r"127\.0\.0\.1") as caught:
        both.run("send", call, base_url=base_url)
    assert caught.value.charge is Charge.NO
    assert "ssl" not in str(caught.value).lower()


@pytest.mark.parametrize("call", [submit, ask])
def test_no_answer_in_time(both: Both, call: Any) -> None:
    with WireServer([stall]) as server, pytest.raises(errors.ApimartTimeoutError, match=r"within 0\.05 s") as caught:
        both.run("send", call(0.05), base_url=server.base_url)
    assert len(server.requests) == QUICK.attempts
    assert caught.value.charge is (Charge.UNKNOWN if call is submit else Charge.NO)


def test_a_timeout_and_then_a_402_do_not_say_that_nothing_was_charged(both: Both) -> None:
    poor = raw(
        http(b'{"error":{"code":402,"message":"top up","type":"payment_required"}}', status="402 Payment Required")
    )
    with WireServer([stall, poor]) as server, pytest.raises(errors.InsufficientBalanceError) as caught:
        both.run("send", submit(0.05), base_url=server.base_url)
    assert caught.value.charge is Charge.UNKNOWN


@pytest.mark.parametrize("step", LOST)
def test_a_status_request_whose_answer_is_lost_costs_nothing_and_is_no_verdict(both: Both, step: str) -> None:
    with WireServer([LOST[step]]) as server, pytest.raises(ApimartError) as caught:
        both.run("send", ask(), base_url=server.base_url, repeat=False)
    assert caught.value.charge is Charge.NO
    assert not caught.value.terminal
    assert 1 <= len(server.requests) <= 2
    assert KEY not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize(
    "endless", [trickle(HEAD), trickle(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x")], ids=["body", "headers"]
)
def test_a_status_answer_that_trickles_is_given_up(both: Both, endless: Step) -> None:
    with WireServer([endless]) as server, pytest.raises(errors.ApimartTimeoutError) as caught:
        both.run("send", ask(0.3), base_url=server.base_url, repeat=False)
    assert caught.value.charge is Charge.NO
    assert len(server.requests) == 1


def test_a_status_answer_without_end(both: Both) -> None:
    flood = trickle(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1_000_000, 0)
    with WireServer([flood]) as server, pytest.raises(errors.ResponseError, match="larger than"):
        both.run("send", ask(), base_url=server.base_url, repeat=False)


def test_a_body_that_trickles_is_given_up(both: Both) -> None:
    with WireServer([trickle(HEAD)]) as server, pytest.raises(errors.ApimartTimeoutError):
        both.run("send", submit(0.3, resend_unknown=False), base_url=server.base_url)
    assert len(server.requests) == 1


def test_headers_that_trickle_are_given_up(both: Both) -> None:
    endless = trickle(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x")
    with WireServer([endless]) as server, pytest.raises(errors.ApimartTimeoutError) as caught:
        both.run("send", submit(0.3, resend_unknown=False), base_url=server.base_url)
    # It was sent, so it may have been paid for.
    assert caught.value.charge is errors.Charge.UNKNOWN
    assert len(server.requests) == 1


def test_the_bound_is_one_calls_not_the_clients(both: Both) -> None:
    quick = raw(http(b'{"code":200,"data":[{"task_id":"task_1"}]}'))
    with WireServer([trickle(HEAD), quick]) as server:
        with pytest.raises(errors.ApimartTimeoutError):
            both.run("send", submit(0.3, resend_unknown=False), base_url=server.base_url)
        assert both.run("send", submit(), base_url=server.base_url).generation_id == "task_1"


def test_endless_headers(both: Both) -> None:
    with WireServer([trickle(b"HTTP/1.1 200 OK\r\n", b"X-Endless: " + b"x" * 60_000 + b"\r\n", 0)]) as server:
        with pytest.raises(errors.OutcomeUnknownError):
            both.run("send", submit(resend_unknown=False), base_url=server.base_url)


def test_a_body_without_end(both: Both) -> None:
    flood = trickle(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1_000_000, 0)
    with WireServer([flood]) as server, pytest.raises(errors.ResponseError, match="larger than"):
        both.run("send", submit(resend_unknown=False), base_url=server.base_url)


BOMB = gzip.compress(bytes(64 * 1024 * 1024), compresslevel=1)


@pytest.mark.parametrize("call", [submit(resend_unknown=False), ask()], ids=["submit", "ask"])
def test_a_gzip_bomb(both: Both, call: Any) -> None:
    with WireServer([raw(http(BOMB, "Content-Encoding: gzip"))]) as server:
        with pytest.raises(errors.ResponseError, match="larger than"):
            both.run("send", call, base_url=server.base_url, repeat=False)


@pytest.mark.parametrize("call", [submit(resend_unknown=False), ask()], ids=["submit", "ask"])
def test_an_event_loop_turns_while_a_bomb_is_inflated(call: Any) -> None:
    async def work(base_url: str) -> int:
        turns, ended = 0, asyncio.Event()

        async def turn() -> None:
            nonlocal turns
            while not ended.is_set():
                turns += 1
                await asyncio.sleep(0)

        async with AsyncApimartClient(Settings(KEY, base_url), QUICK) as client:
            # Only the turns between the pieces are counted: those of waiting for the answer are not.
            inflate = Body.pieces
            ticking: list[asyncio.Task[None]] = []

            def pieces(body: Body, chunk: bytes) -> Any:
                if not ticking:
                    ticking.append(asyncio.create_task(turn()))
                return inflate(body, chunk)

            with pytest.MonkeyPatch.context() as patch, pytest.raises(errors.ResponseError):
                patch.setattr(Body, "pieces", pieces)
                await client.send(call, repeat=False)
            ended.set()
            await asyncio.gather(*ticking)
        return turns

    with WireServer([raw(http(BOMB, "Content-Encoding: gzip"))]) as server:
        # 32 MiB are read before it is given up, in pieces of 64 KiB.
        assert asyncio.run(work(server.base_url)) > 400


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("call", [submit, ask])
def test_redirects_are_not_followed(both: Both, status: str, call: Any) -> None:
    with WireServer([TASK]) as other:
        step = raw(http(b"", f"Location: {other.base_url}/v1/tasks/task_1", status=status))
        with WireServer([step]) as server, pytest.raises(errors.RedirectError, match="redirected to") as caught:
            both.run("send", call(), base_url=server.base_url)
        assert other.requests == []
    assert len(server.requests) == 1
    assert caught.value.terminal


@pytest.mark.parametrize(
    "location", ["https://[", "//", "", "http://a b", "javascript:alert(1)", "\\\\evil", "http://h:99999999"]
)
def test_redirects_to_nowhere(both: Both, location: str) -> None:
    with WireServer([raw(http(b"", f"Location: {location}", status="302 Found"))]) as server:
        with pytest.raises(ApimartError):
            both.run("send", ask(), base_url=server.base_url)


class Together:
    """Answers nobody before so many have asked, and notes how many were waiting at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lock, self.full = threading.Lock(), threading.Event()
        self.waiting = self.most = 0

    def __call__(self, connection: socket.socket, stopped: threading.Event) -> None:
        with self.lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            if self.waiting == self.count:
                self.full.set()
        self.full.wait(30)
        with self.lock:
            self.waiting -= 1
        TASK(connection, stopped)


def test_many_calls_share_the_connections() -> None:
    async def work(base_url: str) -> list[Any]:
        async with AsyncApimartClient(Settings(KEY, base_url), QUICK) as client:
            return await asyncio.gather(*(client.send(ask(30)) for _ in range(MAX_CONNECTIONS + 20)))

    together = Together(MAX_CONNECTIONS)
    with WireServer([together]) as server:
        found = asyncio.run(work(server.base_url))
    assert len(found) == len(server.requests) == MAX_CONNECTIONS + 20
    assert together.most == MAX_CONNECTIONS


def test_prices_go_without_the_key(both: Both) -> None:
    with WireServer([raw(http(b'{"data":{"models":{"video":[]}}}'))]) as server:
        assert both.run("prices", base_url=server.base_url) == ()
    headers, _ = parts(server.requests[0])
    assert "authorization" not in headers
    assert KEY.encode() not in server.requests[0]
