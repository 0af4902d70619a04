"""Guards: what many triggers cost. Nothing is timed; connections, requests, tasks, sockets and memory are counted."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client.client import MAX_CONNECTIONS
from airflow_provider_apimart.generation.waiting import poller, schedule
from airflow_provider_apimart.triggers import veo
from airflow_provider_apimart.triggers.veo import VeoGenerationTrigger
from tests.triggers.blocking import no_blocking_calls
from tests.triggers.small_server import SmallServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallServer]:
    with SmallServer(questions=1) as running:
        connection = {"conn_type": "apimart", "password": "sk-guarded", "host": running.url}
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
        # The order of events is what is tried here, not their pace.
        monkeypatch.setattr(veo, "FIRST_EVENT_SECONDS", 0.0)
        monkeypatch.setattr(schedule, "FIRST_POLL_SECONDS", 0.05)
        monkeypatch.setattr(schedule, "MIN_INTERVAL_SECONDS", 0.01)
        monkeypatch.setattr(schedule, "MAX_EARLY_INTERVAL_SECONDS", 0.05)
        monkeypatch.setattr(schedule, "MAX_INTERVAL_SECONDS", 0.05)
        monkeypatch.setattr(poller, "PROCESS_PER_SECOND", 5000.0)
        yield running


def trigger(number: int, **values: Any) -> VeoGenerationTrigger:
    now = time.time()
    return VeoGenerationTrigger(
        **{"generation_id": f"task_{number}", "submitted_at": now, "deadline": now + 600, **values}
    )


async def event_of(waiting: VeoGenerationTrigger) -> Any:
    async for event in waiting.run():
        return event.payload
    raise AssertionError("no event")


def sockets() -> int:
    """How many sockets this process has open, by what the system says."""
    return sum(1 for each in Path("/proc/self/fd").iterdir() if _is_socket(each))


def _is_socket(path: Path) -> bool:
    try:
        return "socket:" in str(path.readlink())
    except OSError:
        return False


def test_a_thousand_triggers_share_a_few_connections_and_ask_no_more_than_needed(
    server: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> tuple[list[Any], list[str]]:
        # The first of a process imports and warms up what all others use.
        await event_of(trigger(-1))
        with no_blocking_calls(monkeypatch) as blocking:
            events = await asyncio.gather(*(event_of(trigger(number)) for number in range(1000)))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return events, blocking

    events, blocking = asyncio.run(work())
    assert {event["reason"] for event in events} == {"finished"}
    assert {event["generation_id"] for event in events} == {f"task_{number}" for number in range(1000)}
    assert server.most_open <= MAX_CONNECTIONS
    # One for the first trigger, and no more than the poller asks at once for all others.
    assert server.connections <= 1 + poller.MAX_REQUESTS
    assert max(server.asked.values()) <= server.after + 1, "an answer was asked for again"
    assert blocking == []


def test_the_detector_detects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def blocks() -> None:
        time.sleep(0)  # noqa: ASYNC251 - it is what is to be found
        tmp_path.joinpath("file").write_text("x")
        socket.getaddrinfo("localhost", 80)

    async def threads() -> None:
        await asyncio.to_thread(time.sleep, 0)
        await asyncio.to_thread(tmp_path.joinpath("file").write_text, "x")

    with no_blocking_calls(monkeypatch) as found:
        asyncio.run(blocks())
    assert [line.split(" ")[0] for line in found] == ["time.sleep", "open", "socket.getaddrinfo"]
    with no_blocking_calls(monkeypatch) as found:
        asyncio.run(threads())
    assert found == []


def test_lives_over_real_sockets_leave_nothing(server: SmallServer) -> None:
    """Triggers that end, and triggers that are cancelled at any moment; 10,000 of them are in test_poller.py."""
    sizes: list[int] = []

    async def life(number: int) -> None:
        task = asyncio.create_task(event_of(trigger(number)))
        if number % 2:
            await asyncio.sleep(number % 11 / 100)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def work() -> None:
        before = sockets()
        for turn in range(5):
            await asyncio.gather(*(life(number) for number in range(turn * 100, turn * 100 + 100)))
            server.asked.clear()
            await asyncio.sleep(0.05)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert poller.here()._active == {}
            gc.collect()
            # (The server's ends are in this process, too, and close a little later.)
            for _ in range(100):
                if sockets() <= before:
                    break
                await asyncio.sleep(0.02)
            assert sockets() <= before
            sizes.append(len(gc.get_objects()))

    asyncio.run(work())
    assert sizes[-1] <= sizes[1] + 500


def test_a_trigger_that_waits_takes_little_memory(server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "FIRST_POLL_SECONDS", 60.0)
    count = 2000

    async def work() -> float:
        first = asyncio.create_task(event_of(trigger(0)))
        await asyncio.sleep(0.05)
        # Airflow's own (the trigger and its log) and asyncio's are counted, too.
        tracemalloc.start()
        tasks = [asyncio.create_task(event_of(trigger(number))) for number in range(1, count + 1)]
        await asyncio.sleep(0.2)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for task in (first, *tasks):
            task.cancel()
        await asyncio.gather(first, *tasks, return_exceptions=True)
        return taken / count

    assert asyncio.run(work()) < 15_000
