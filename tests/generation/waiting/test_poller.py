"""The shared poller, in virtual time: what it asks and when, what stops it, what it leaves behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.waiting import account as account_module
from airflow_provider_apimart.generation.waiting import poller as poller_module
from airflow_provider_apimart.generation.waiting.poller import Pollers, here
from airflow_provider_apimart.generation.waiting.polling import Step
from tests.generation.waiting.asked import SETTINGS, START, Asked, follow, polling, run, waiting
from tests.virtual import virtually

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
            await shared.poller.follow(polling(generation_id), say)

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
            return await shared.poller.follow(polling(), say)

    assert run(work).generation_id == "task_1"


def test_a_busy_poller_looks_at_its_queue_once_for_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    launch = poller_module.Poller._launch

    def counted(poller: poller_module.Poller) -> float | None:
        nonlocal looks
        looks += 1
        return launch(poller)

    monkeypatch.setattr(poller_module.Poller, "_launch", counted)
    asked = Asked(latency=0.2, ends={f"task_{number}": 300.0 for number in range(2000)})

    async def work(mine: Pollers) -> None:
        nonlocal looks
        async with waiting(mine, asked, 2000, poll_interval=10.0):
            await asyncio.sleep(60)
            looks = 0
            before = len(asked.questions)
            await asyncio.sleep(60)
            assert looks < 1.3 * (len(asked.questions) - before)

    run(work)


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
            found = polling(name, deadline=deadline, submitted_at=START - 200)
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
                await shared.account.lane().admit()
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
                await shared.poller.follow(polling("task_a"), say)

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
        assert len(poller._timers._heap) < 200
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
