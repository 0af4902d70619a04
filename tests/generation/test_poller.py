"""The shared poller, in virtual time: what it asks and when, what stops it, what it leaves behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation import account as account_module
from airflow_provider_apimart.generation import poller as poller_module
from airflow_provider_apimart.generation.gate import Gate
from airflow_provider_apimart.generation.poller import Pollers, here
from airflow_provider_apimart.generation.polling import Step
from tests.generation.asked import SETTINGS, START, Asked, pollers, silent, watch
from tests.virtual import virtually


async def follow(mine: Pollers, asked: Asked, generation_id: str = "task_1", **values: Any) -> Any:
    async with mine.join("apimart_default", asked.open) as shared:
        one = watch(generation_id, **values)
        one.durations = shared.kinds.of("kind", 75.0)
        return await shared.poller.follow(one, silent)


@asynccontextmanager
async def waiting(mine: Pollers, asked: Asked, count: int, **values: Any) -> AsyncIterator[None]:
    """So many wait for as long as the block runs."""
    many = [asyncio.create_task(follow(mine, asked, f"task_{number}", **values)) for number in range(count)]
    try:
        yield
    finally:
        for each in many:
            each.cancel()
        await asyncio.gather(*many, return_exceptions=True)


def run(work: Callable[[Pollers], Awaitable[Any]]) -> Any:
    async def all_of_it() -> Any:
        before = asyncio.all_tasks()
        found = await work(pollers())
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before, "tasks were left behind"
        return found

    return virtually(all_of_it)


# --- asking -----------------------------------------------------------------------------------------------------------


def test_many_share_one_client_and_each_gets_its_own_answer() -> None:
    asked = Asked(ends={f"task_{number}": 40.0 + number / 10 for number in range(300)})

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(*(follow(mine, asked, f"task_{number}") for number in range(300)))

    found = run(work)
    assert [each.generation_id for each in found] == [f"task_{number}" for number in range(300)]
    assert (asked.opened, asked.closed) == (1, 1)
    assert asked.most_at_once <= poller_module.MAX_REQUESTS
    most = max(len(times) for times in asked.times.values())
    assert most <= 14


def test_durations_are_learnt_from_the_others_and_outlive_the_last_one() -> None:
    async def work(mine: Pollers) -> list[int]:
        counts = []
        for number in range(12):
            asked.ends[f"task_{number}"] = asyncio.get_running_loop().time() + 300
            await follow(mine, asked, f"task_{number}")
            counts.append(len(asked.times[f"task_{number}"]))
        return counts

    asked = Asked()
    counts = run(work)
    assert counts[0] > 15
    assert max(counts[8:]) <= 10


def test_a_fixed_interval_is_kept() -> None:
    asked = Asked(ends={"task_1": 100.0}, latency=0.0)
    run(lambda mine: follow(mine, asked, poll_interval=7.0))
    assert asked.times["task_1"] == pytest.approx([7.0 * n for n in range(1, 16)], abs=0.2)


def test_what_is_said_is_said_in_the_context_of_who_waits() -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark")
    heard: dict[str, set[str]] = {}
    asked = Asked(ends={"task_a": 100.0, "task_b": 100.0})

    async def one(mine: Pollers, generation_id: str) -> None:
        mark.set(generation_id)

        def say(step: Step) -> None:
            heard.setdefault(generation_id, set()).add(mark.get())

        async with mine.join("apimart_default", asked.open) as shared:
            await shared.poller.follow(watch(generation_id), say)

    async def work(mine: Pollers) -> None:
        await asyncio.gather(*(asyncio.create_task(one(mine, name)) for name in ("task_a", "task_b")))

    run(work)
    assert heard == {"task_a": {"task_a"}, "task_b": {"task_b"}}


def test_a_log_that_breaks_stops_nobody() -> None:
    def say(step: Step) -> None:
        raise OSError("no space left")

    asked = Asked(ends={"task_1": 50.0})

    async def work(mine: Pollers) -> Any:
        async with mine.join("apimart_default", asked.open) as shared:
            return await shared.poller.follow(watch(), say)

    assert run(work).generation_id == "task_1"


# --- more than fits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_minute", [600, 120])
def test_what_does_not_fit_the_account_waits_longer_and_is_served_in_turn(per_minute: int) -> None:
    count = 600
    asked = Asked(per_minute=per_minute, settings=replace(SETTINGS, requests_per_minute=per_minute))
    asked.ends = {f"task_{number}": 75.0 + 30 * (number % 7) for number in range(count)}

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(
            *(follow(mine, asked, f"task_{number}", deadline=START + 7200) for number in range(count))
        )

    found = run(work)
    assert all(found)
    assert asked.throttled == 0, "the ceiling is known, so it is not met"
    questions = asked.questions
    for index, when in enumerate(questions):
        assert index < per_minute or when - questions[index - per_minute] > 60
    # None is forgotten while others are asked about over and over.
    most = max(len(times) for times in asked.times.values())
    assert most <= 4 * min(len(times) for times in asked.times.values()) + 4


def test_answers_that_take_long_make_everybody_wait_longer_and_leave_no_room_unused() -> None:
    # A second for each answer: no more than MAX_REQUESTS questions a second, whatever the account would allow.
    count = 400
    asked = Asked(latency=1.0, ends={f"task_{number}": 1e9 for number in range(count)} | {"task_new": 1e9})

    async def work(mine: Pollers) -> None:
        async with waiting(mine, asked, count):
            await asyncio.sleep(60)
            new = asyncio.create_task(follow(mine, asked, "task_new", poll_interval=5.0))
            await asyncio.sleep(120)
            new.cancel()
            await asyncio.gather(new, return_exceptions=True)

    run(work)
    assert len([when for when in asked.questions if when > 60]) > 0.9 * poller_module.MAX_REQUESTS * 120
    fair = count / poller_module.MAX_REQUESTS
    gaps = [after - before for times in asked.times.values() for before, after in pairwise(times)]
    assert max(gaps) < 3 * fair
    # Who wants to know sooner knows sooner, and stands in no queue.
    gaps = [after - before for before, after in pairwise([60.0, *asked.times["task_new"]])]
    assert len(gaps) >= 4 and max(gaps) < 1.5 * fair


def test_jobs_of_a_new_kind_that_come_faster_than_may_be_asked_are_not_asked_about_in_vain() -> None:
    # A thousand within a minute, and five hundred questions a minute.
    count, dice = 1000, random.Random(3)
    asked = Asked(latency=0.05, per_minute=500, settings=replace(SETTINGS, requests_per_minute=500.0))
    late: list[float] = []

    async def one(mine: Pollers, name: str) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(dice.uniform(0, 60))
        asked.ends[name] = loop.time() + 75 * math.exp(0.3 * dice.gauss(0, 1))
        await follow(mine, asked, name, deadline=START + 7200)
        late.append(loop.time() - asked.ends[name])

    async def work(mine: Pollers) -> None:
        await asyncio.gather(*(one(mine, f"task_{number}") for number in range(count)))

    run(work)
    # Who knew how likely each is to have ended, and asked about the likeliest, would know after 39 s; it was 71 s when
    # everybody was asked about after ten seconds first.
    assert sum(late) / count < 55
    assert sorted(late)[int(0.95 * count)] < 115


def test_no_room_is_unused_when_all_of_a_herd_have_been_asked() -> None:
    # A triggerer that starts late finds thousands that have been running for long: all are due, and due again at once.
    count, latency = 1500, 0.5
    asked = Asked(latency=latency, ends={f"task_{number}": 1e9 for number in range(count)})

    async def work(mine: Pollers) -> None:
        async with waiting(mine, asked, count, submitted_at=START - 300):
            await asyncio.sleep(180)

    run(work)
    fits = poller_module.MAX_REQUESTS / latency
    by_5_s = [sum(begin <= when < begin + 5 for when in asked.questions) for begin in range(10, 170, 5)]
    assert min(by_5_s) > 0.95 * fits * 5


def test_a_loop_that_was_blocked_puts_nobody_off_for_minutes() -> None:
    asked = Asked(latency=0.2, ends={f"task_{number}": 1e9 for number in range(400)})

    async def work(mine: Pollers) -> None:
        async with waiting(mine, asked, 400):
            await asyncio.sleep(40)
            asked.latency = 30.0
            await asyncio.sleep(2)
            asked.latency = 0.2
            await asyncio.sleep(120)

    run(work)
    # (The answers that were under way took half a minute; then all go on.)
    assert max(after - one for times in asked.times.values() for one, after in pairwise(times)) < 75


def test_a_process_takes_no_more_than_its_share_of_the_event_loop() -> None:
    count = 4000
    asked = Asked(ends={f"task_{number}": 60.0 + number % 60 for number in range(count)})

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(*(follow(mine, asked, f"task_{number}") for number in range(count)))

    assert all(run(work))
    assert max(asked.per_second().values()) <= poller_module.PROCESS_PER_SECOND + 2
    ends = max(asked.questions)
    assert len(asked.questions) > 0.6 * poller_module.PROCESS_PER_SECOND * (ends - 10), "what may be asked is asked"


def test_a_429_pauses_the_account_and_not_each_by_itself() -> None:
    asked = Asked(ends={f"task_{number}": 300.0 for number in range(50)})
    refused: list[float] = []

    def refuse(generation_id: str, settings: Settings) -> Exception | None:
        now = asyncio.get_running_loop().time()
        if not refused and now > 60:
            refused.append(now)
            return errors.RateLimitError("slow down", status=429, retry_after_seconds=40.0)
        return None

    asked.refuse = refuse

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(*(follow(mine, asked, f"task_{number}") for number in range(50)))

    assert all(run(work))
    assert [when for when in asked.questions if refused[0] + 0.1 < when < refused[0] + 40] == []


def test_a_dead_host_is_asked_by_one_at_a_time_and_comes_back_without_a_herd() -> None:
    count, down, up = 500, 60.0, 400.0
    asked = Asked(ends={f"task_{number}": 200.0 for number in range(count)})

    def refuse(generation_id: str, settings: Settings) -> Exception | None:
        dead = down < asyncio.get_running_loop().time() < up
        return errors.ApimartConnectionError("connection refused") if dead else None

    asked.refuse = refuse

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(*(follow(mine, asked, f"task_{number}") for number in range(count)))

    assert all(run(work))
    during = [when for when in asked.questions if down + 20 < when < up]
    assert 3 <= len(during) <= 40, "500 triggers, and the dead host is asked by one now and then"
    back = next(when for when in asked.questions if when > up)
    assert sum(1 for when in asked.questions if back <= when < back + 2) <= 8
    assert max(asked.questions) < back + 60, "then all are served soon"


# --- what ends a wait -------------------------------------------------------------------------------------------------


def test_the_deadline_ends_it_with_a_last_question() -> None:
    asked = Asked(ends={"task_1": 9e9})
    assert run(lambda mine: follow(mine, asked, deadline=START + 333)) is None
    assert asked.questions[-1] == pytest.approx(333, abs=1)


@pytest.mark.parametrize("deadline", [START + 400, START - 100], ids=["while they wait", "before they wait"])
def test_at_the_deadline_everybody_has_a_last_question_though_not_all_fit(deadline: float) -> None:
    names = [f"task_{number}" for number in range(1000)]
    asked = Asked(per_minute=500, settings=replace(SETTINGS, requests_per_minute=500.0))
    asked.ends = dict.fromkeys(names, 1e9)
    said: list[Step] = []

    async def one(mine: Pollers, name: str) -> Any:
        async with mine.join("apimart_default", asked.open) as shared:
            found = watch(name, deadline=deadline, submitted_at=START - 200)
            return await shared.poller.follow(found, said.append)

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(*(one(mine, name) for name in names))

    assert run(work) == [None] * len(names)
    assert all(asked.times[name][-1] >= deadline - START - 1 for name in names)
    assert max(asked.questions) < max(0, deadline - START) + 60 * len(names) / 500 + 10
    assert not [step.say for step in said if "no question" in (step.say or "")]


def test_the_deadline_ends_it_though_nothing_may_be_asked() -> None:
    async def work(mine: Pollers) -> float:
        found = await follow(mine, asked, deadline=START + 100)
        assert found is None
        return asyncio.get_running_loop().time()

    asked = Asked(refuse=lambda name, settings: errors.RateLimitError("no", status=429, retry_after_seconds=9999.0))
    ended = run(work)
    assert 100 <= ended <= 100 + poller_module.DEADLINE_GRACE_SECONDS + 1


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("wrong key", status=401),
        errors.InsufficientBalanceError("empty", status=402),
        errors.NotFoundError("no such task", status=404),
        errors.ServerError("gateway", status=502),
        errors.ResponseError("broken JSON"),
        RuntimeError("anything"),
    ],
)
def test_no_error_ends_it(error: Exception) -> None:
    asked = Asked(ends={"task_1": 50.0})
    asked.refuse = lambda name, settings: error if asyncio.get_running_loop().time() < 500 else None
    found = run(lambda mine: follow(mine, asked))
    assert found is not None and found.is_final


# --- the connection ---------------------------------------------------------------------------------------------------


def test_a_rotated_key_is_found_and_the_old_client_is_closed() -> None:
    asked = Asked(ends={f"task_{number}": 600.0 for number in range(40)})
    new = Settings("sk-new", SETTINGS.base_url)

    def refuse(generation_id: str, settings: Settings) -> Exception | None:
        now = asyncio.get_running_loop().time()
        if now > 130:
            asked.settings = new
        wrong = now > 100 and settings != new
        return errors.AuthenticationError("wrong key", status=401) if wrong else None

    asked.refuse = refuse

    async def work(mine: Pollers) -> Any:
        return await asyncio.gather(*(follow(mine, asked, f"task_{number}") for number in range(40)))

    assert all(run(work))
    assert asked.opened == asked.closed
    gaps = [later - sooner for sooner, later in zip(asked.lookups, asked.lookups[1:], strict=False)]
    assert min(gaps) >= account_module.LOOK_AGAIN_SECONDS, "not for each of forty"


def test_it_is_looked_up_now_and_then_and_never_for_each_question() -> None:
    asked = Asked(ends={"task_1": 1700.0})
    run(lambda mine: follow(mine, asked, poll_interval=5.0))
    assert len(asked.questions) > 300
    assert 4 <= len(asked.lookups) <= 7


def test_an_edited_ceiling_is_kept_to_from_the_next_lookup_on() -> None:
    asked = Asked(ends={f"task_{number}": 1200.0 for number in range(30)})

    def refuse(generation_id: str, settings: Settings) -> None:
        asked.settings = replace(SETTINGS, requests_per_minute=30)

    asked.refuse = refuse

    async def work(mine: Pollers) -> Any:
        waits = (follow(mine, asked, f"task_{number}", poll_interval=10.0) for number in range(30))
        return await asyncio.gather(*waits)

    run(work)
    late = [when for when in asked.questions if 400 < when <= 1000]
    assert len(late) <= 300


def test_the_ceiling_is_kept_from_the_first_request_on() -> None:
    asked = Asked(settings=replace(SETTINGS, requests_per_minute=30.0))
    sent: list[float] = []

    async def work(mine: Pollers) -> None:
        async with mine.join("apimart_default", asked.open) as shared:

            async def one() -> None:
                await shared.account.wire().admit()
                sent.append(asyncio.get_running_loop().time())

            await asyncio.gather(*(one() for _ in range(50)))

    run(work)
    assert len(sent) == 50 and sum(when < 60 for when in sent) <= 30


def test_a_connection_that_cannot_be_looked_up_is_waited_for() -> None:
    asked = Asked(ends={f"task_{number}": 50.0 for number in range(100)})
    asked.lookup_fails = errors.ConfigurationError("there is no such connection")

    async def work(mine: Pollers) -> Any:
        asyncio.get_running_loop().call_later(200, lambda: setattr(asked, "lookup_fails", None))
        return await asyncio.gather(*(follow(mine, asked, f"task_{number}") for number in range(100)))

    assert all(run(work))
    assert 2 <= len(asked.lookups) <= 12, "not for each of a hundred"


# --- what is left behind ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", [0.0, 5.0, 10.02, 10.049, 30.0, 57.0])
def test_a_cancelled_wait_leaves_nothing_and_the_others_go_on(when: float) -> None:
    asked = Asked(ends={"task_a": 9e9, "task_b": 60.0}, latency=0.05)
    kept: list[weakref.ref[Any]] = []
    heard: list[Step] = []

    async def work(mine: Pollers) -> Any:
        async def doomed() -> None:
            async with mine.join("apimart_default", asked.open) as shared:

                def say(step: Step) -> None:
                    heard.append(step)

                kept.append(weakref.ref(say))
                await shared.poller.follow(watch("task_a"), say)

        other = asyncio.create_task(follow(mine, asked, "task_b"))
        task = asyncio.create_task(doomed())
        await asyncio.sleep(when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0.01)
        gc.collect()
        assert [ref() for ref in kept] == [None] * len(kept)
        return await other

    assert run(work).generation_id == "task_b"
    assert len(asked.times.get("task_a", [])) <= 6


@pytest.mark.parametrize("when", [0.0, 0.005, 10.02, 30.0])
def test_the_last_one_that_is_cancelled_closes_the_client(when: float) -> None:
    asked = Asked(ends={"task_1": 9e9})

    async def work(mine: Pollers) -> None:
        task = asyncio.create_task(follow(mine, asked))
        await asyncio.sleep(when)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(work)
    assert asked.opened == asked.closed


def test_ten_thousand_lives_leave_no_task_and_no_memory() -> None:
    asked = Asked(latency=0.01)
    sizes: list[int] = []

    async def life(mine: Pollers, number: int) -> None:
        task = asyncio.create_task(follow(mine, asked, f"task_{number}", poll_interval=3.0, deadline=START + 1e9))
        if number % 3 == 0:
            await asyncio.sleep(number % 7)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        asked.times.pop(f"task_{number}", None)

    async def work(mine: Pollers) -> None:
        for thousand in range(10):
            asked.ends.clear()
            for hundred in range(10):
                numbers = range(thousand * 1000 + hundred * 100, thousand * 1000 + hundred * 100 + 100)
                await asyncio.gather(*(life(mine, number) for number in numbers))
            gc.collect()
            sizes.append(len(gc.get_objects()))
            assert len(asyncio.all_tasks()) == 1
            assert mine._active == {}

    run(work)
    assert asked.opened == asked.closed
    # What was warmed up in the first thousand is all that stays.
    assert sizes[-1] <= sizes[1] + 200


def test_a_heap_forgets_those_who_left() -> None:
    asked = Asked(ends={"task_stays": 100.0})

    async def work(mine: Pollers) -> None:
        stays = asyncio.create_task(follow(mine, asked, "task_stays"))
        await asyncio.sleep(1)
        poller = mine._active["apimart_default"].poller
        tasks = [asyncio.create_task(follow(mine, asked, f"task_{number}")) for number in range(1000)]
        await asyncio.sleep(1)
        assert len(poller) == 1001
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(poller) == 1
        assert len(poller._agenda._heap) < 200
        assert poller._wanted < 1
        await stays

    run(work)


def test_each_event_loop_and_connection_has_its_own() -> None:
    async def two() -> tuple[Pollers, bool]:
        mine, asked = here(), Asked()
        async with mine.join("one", asked.open) as one, mine.join("two", asked.open) as other:
            apart = one is not other and one.account is not other.account
            async with mine.join("one", asked.open) as again:
                apart = apart and again is one
        return mine, apart

    (first, apart), (second, _) = virtually(two), virtually(two)
    assert apart and first is not second
    assert first._active == {}


def test_what_is_remembered_is_bounded() -> None:
    async def work(mine: Pollers) -> None:
        for number in range(100):
            async with mine.join(f"conn_{number}", Asked().open):
                pass
        assert len(mine._memory) == poller_module.MAX_REMEMBERED

    run(work)


# --- beside a batch ---------------------------------------------------------------------------------------------------


def test_neither_the_poller_nor_a_batch_starves_the_other() -> None:
    limit = 300
    asked = Asked(per_minute=limit, settings=replace(SETTINGS, requests_per_minute=limit))
    asked.ends = {f"task_{number}": 9e9 for number in range(200)}
    sent: list[float] = []

    async def batch(mine: Pollers) -> None:
        loop = asyncio.get_running_loop()
        async with mine.join("apimart_default", asked.open) as shared:
            wire = shared.account.wire(Gate(10_000.0))
            await wire.settings()
            while loop.time() < 600:
                await wire.admit()
                sent.append(loop.time())
                asked.window.append(loop.time())
            await wire.aclose()

    async def work(mine: Pollers) -> None:
        waits = [
            follow(mine, asked, f"task_{number}", poll_interval=3.0, deadline=START + 600) for number in range(200)
        ]
        await asyncio.gather(batch(mine), *waits)

    run(work)
    ours = [when for when in asked.questions if when < 600]
    assert asked.throttled == 0
    assert len(sent) + len(ours) == pytest.approx(limit / 60 * 600, rel=0.07)
    assert min(len(sent), len(ours)) >= 0.4 * (len(sent) + len(ours))
