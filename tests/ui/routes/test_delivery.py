"""Many people watch videos at the same time: threads, memory and connections stay bounded, and are given back."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import HTTPException
from starlette.requests import ClientDisconnect

from airflow_provider_apimart.ui.routes import delivery
from airflow_provider_apimart.ui.routes.delivery import send_file
from airflow_provider_apimart.ui.sources import storage
from airflow_provider_apimart.ui.sources.settings import Settings
from airflow_provider_apimart.ui.sources.storage import PIECE

SIZE = 5 * PIECE
OPTIONS = Settings(max_streams=20)


class SlowFile:
    """A file in a storage that answers only when it is told to."""

    size = SIZE
    media_type = "video/mp4"

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.busy = threading.Event()
        self.readers: set[str] = set()
        self.asked = 0
        self.largest = 0

    def read(self, start: int, length: int) -> bytes:
        self.readers.add(threading.current_thread().name)
        self.asked += 1
        if self.asked >= storage.READERS:
            self.busy.set()
        self.largest = max(self.largest, length)
        assert self.answers.wait(20)
        return bytes(length)


@pytest.fixture
def slow() -> Iterator[SlowFile]:
    file = SlowFile()
    yield file
    file.answers.set()
    assert delivery.streams.sending == 0


async def sent(answer: Any) -> int:
    """Send an answer to a client that takes all of it, and return how much that was."""
    total = 0

    async def send(message: Any) -> None:
        nonlocal total
        total += len(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    return total


async def watch(file: Any, header: str | None = None) -> int:
    """Return the size of what a viewer got, or the status of the refusal."""
    try:
        return await sent(await send_file(file, header, OPTIONS))
    except HTTPException as error:
        return error.status_code


def test_the_server_gets_little_at_a_time() -> None:
    """What a slow client has not taken is copied by the server: that copy is small, and nothing is lost on the way."""

    class File:
        size, media_type = PIECE + PIECE // 2 + 7, "video/mp4"

        def read(self, start: int, length: int) -> bytes:
            return bytes((start + n) % 251 for n in range(length))

    async def bodies() -> list[bytes]:
        found: list[bytes] = []

        async def send(message: Any) -> None:
            found.append(message.get("body", b""))

        async def receive() -> Any:
            await asyncio.Event().wait()

        answer = await send_file(File(), None, OPTIONS)  # type: ignore[arg-type]
        await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        return found

    found = asyncio.run(bodies())
    assert max(map(len, found)) == delivery.SLICE < PIECE
    assert b"".join(found) == File().read(0, File.size)


def test_threads_and_streams_are_bounded(slow: SlowFile) -> None:
    async def crowd() -> list[int]:
        viewers = [asyncio.create_task(watch(slow)) for _ in range(30)]
        # Airflow's own routes wait for none of this: they run in other threads.
        assert await asyncio.to_thread(lambda: 7) == 7
        await asyncio.to_thread(slow.busy.wait)
        assert delivery.streams.sending == OPTIONS.max_streams
        slow.answers.set()
        return await asyncio.gather(*viewers)

    found = asyncio.run(crowd())
    assert sorted(found) == [503] * 10 + [SIZE] * 20
    assert len(slow.readers) <= storage.READERS and slow.largest <= PIECE
    assert all(name.startswith("apimart-files") for name in slow.readers)


def test_a_client_that_goes_gives_its_stream_back(slow: SlowFile) -> None:
    slow.answers.set()

    async def gone() -> None:
        answer = await send_file(slow, None, OPTIONS)  # type: ignore[arg-type]
        assert delivery.streams.sending == 1

        async def send(_: Any) -> None:
            raise OSError("the client has gone")

        async def receive() -> Any:
            await asyncio.Event().wait()

        with pytest.raises(ClientDisconnect):
            await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        assert delivery.streams.sending == 0
        cancelled = asyncio.create_task(sent(await send_file(slow, None, OPTIONS)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)

    asyncio.run(gone())
    assert slow.asked < 10


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_a_client_that_takes_nothing_gives_its_stream_back(
    slow: SlowFile, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Who holds connections open, and reads none of them, must not keep the others from watching."""
    monkeypatch.setattr(delivery, "STALL_SECONDS", 0.05)
    slow.answers.set()

    async def held() -> None:
        answer = await send_file(slow, None, OPTIONS)  # type: ignore[arg-type]

        async def never(_: Any = None) -> Any:
            await asyncio.Event().wait()

        with pytest.raises(ClientDisconnect):
            await asyncio.wait_for(answer({"type": "http", "asgi": {"spec_version": version}}, never, never), 20)
        assert delivery.streams.sending == 0

    asyncio.run(held())
    assert slow.asked == 1


def test_an_answer_that_is_never_sent_gives_its_stream_back(slow: SlowFile) -> None:
    slow.answers.set()

    async def dropped() -> None:
        answer = await send_file(slow, None, OPTIONS)  # type: ignore[arg-type]
        assert delivery.streams.sending == 1
        del answer

    asyncio.run(dropped())
    gc.collect()


def test_a_storage_that_fails_is_told_and_holds_nothing(slow: SlowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(start: int, length: int) -> bytes:
        raise PermissionError("AccessDenied: key AKIASECRET")

    monkeypatch.setattr(slow, "read", fail)
    with pytest.raises(HTTPException) as told:
        asyncio.run(send_file(slow, None, OPTIONS))  # type: ignore[arg-type]
    assert told.value.status_code == 502 and "SECRET" not in str(told.value.detail)


def test_a_storage_that_does_not_answer_is_not_waited_for(slow: SlowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 0.05)
    assert asyncio.run(watch(slow)) == 504


def test_a_file_that_has_shrunk_is_told(slow: SlowFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "read", lambda start, length: b"short")
    assert asyncio.run(watch(slow)) == 502
