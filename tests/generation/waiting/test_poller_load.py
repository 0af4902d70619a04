"""The shared poller, in virtual time, where more is to be asked than fits: who waits, and for how long."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.waiting import poller as poller_module
from airflow_provider_apimart.generation.waiting.poller import Pollers
from airflow_provider_apimart.generation.waiting.polling import spread_of
from airflow_provider_apimart.generation.waiting.rate_limiter import RateLimiter
from tests.generation.waiting.asked import SETTINGS, START, Asked, follow, run, waiting

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
    count, latency = 4500, 0.5
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


def test_a_gateway_that_breaks_all_that_is_under_way_once_is_no_dead_host() -> None:
    count = 5000
    asked = Asked(latency=0.2, ends={f"task_{number}": 1e9 for number in range(count)})
    failed: list[float] = []

    def refuse(generation_id: str, settings: Settings) -> Exception | None:
        now = asyncio.get_running_loop().time()
        if not 60 <= now < 60.19:
            return None
        failed.append(now)
        return errors.OutcomeUnknownError("connection reset")

    asked.refuse = refuse

    async def work(mine: Pollers) -> None:
        async with waiting(mine, asked, count):
            await asyncio.sleep(70)

    run(work)
    assert len(failed) > 40
    assert sum(61 < when < 69 for when in asked.questions) > 0.8 * sum(51 < when < 59 for when in asked.questions)


# --- beside a batch ---------------------------------------------------------------------------------------------------


def test_neither_the_poller_nor_a_batch_starves_the_other() -> None:
    limit = 300
    asked = Asked(per_minute=limit, settings=replace(SETTINGS, requests_per_minute=limit))
    asked.ends = {f"task_{number}": 9e9 for number in range(200)}
    sent: list[float] = []

    async def batch(mine: Pollers) -> None:
        loop = asyncio.get_running_loop()
        async with mine.join("apimart_default", asked.open) as shared:
            lane = shared.account.lane(RateLimiter(10_000.0))
            await lane.settings()
            while loop.time() < 600:
                await lane.admit()
                sent.append(loop.time())
                asked.window.append(loop.time())
            await lane.aclose()

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


# --- some fail, others do not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("good", "bad"), [(100, 10), (100, 25), (3, 12), (1000, 12)])
def test_ids_that_always_fail_hold_nobody_else_up(good: int, bad: int) -> None:
    """All at once, as after a restart of the triggerer."""

    def refuse(generation_id: str, settings: Settings) -> Exception | None:
        return errors.ServerError("oops", status=500) if int(generation_id.split("_")[1]) < bad else None

    ends = {f"task_{number}": 60.0 for number in range(good + bad)}
    asked = Asked(refuse=refuse, ends=ends)

    async def work(mine: Pollers) -> Any:
        def one(number: int) -> Any:
            name = f"task_{number}"
            return follow(mine, asked, name, jitter=spread_of(name), deadline=START + 7200)

        failing = [asyncio.create_task(one(number)) for number in range(bad)]
        await asyncio.gather(*(one(number) for number in range(bad, good + bad)))
        now = asyncio.get_running_loop().time()
        for each in failing:
            each.cancel()
        await asyncio.gather(*failing, return_exceptions=True)
        return now

    assert run(work) < 60 + 20
    most = max(len(asked.times[f"task_{number}"]) for number in range(bad))
    assert most <= 8, "who fails is asked about less and less often"


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5])
def test_a_host_that_fails_now_and_then_is_no_dead_one(share: float) -> None:
    dice = random.Random(1)

    def refuse(generation_id: str, settings: Settings) -> Exception | None:
        return errors.ServerError("oops", status=502) if dice.random() < share else None

    asked = Asked(refuse=refuse, ends={f"task_{number}": 60.0 for number in range(500)})

    async def work(mine: Pollers) -> Any:
        async def one(number: int) -> float:
            await follow(mine, asked, f"task_{number}")
            return asyncio.get_running_loop().time()

        return sorted(await asyncio.gather(*(one(number) for number in range(500))))

    known = run(work)
    # (Each by itself waits ever longer after one failure upon another.)
    assert known[250] < 75 and known[450] < 180


# --- once a minute ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [None, 45.0])
def test_nobody_waits_longer_than_a_minute_while_a_question_a_minute_for_each_fits(interval: float | None) -> None:
    # 400 would be 400 questions a minute, and 600 are allowed. But a hundred want one every three seconds.
    asked = Asked(per_minute=600, settings=replace(SETTINGS, requests_per_minute=600.0))
    asked.ends = {f"task_{number}": 1e9 for number in range(300)} | {f"task_eager_{n}": 1e9 for n in range(100)}

    async def work(mine: Pollers) -> None:
        eager = [asyncio.create_task(follow(mine, asked, f"task_eager_{n}", poll_interval=3.0)) for n in range(100)]
        async with waiting(mine, asked, 300, submitted_at=START - 900, poll_interval=interval):
            await asyncio.sleep(900)
        for each in eager:
            each.cancel()
        await asyncio.gather(*eager, return_exceptions=True)

    run(work)
    assert asked.throttled == 0
    calm = [name for name in asked.times if "eager" not in name]
    gaps = [after - one for name in calm for one, after in pairwise(asked.times[name]) if one > 120]
    assert max(gaps) <= 62
    # What is left over is the others'.
    assert len(asked.questions) > 0.95 * 9.9 * 900
    gaps = [after - one for n in range(100) for one, after in pairwise(asked.times[f"task_eager_{n}"]) if one > 120]
    assert sum(gaps) / len(gaps) < 1.1 * 100 / (9.9 - 300 / poller_module.LONGEST_WAIT_SECONDS)


def test_ten_thousand_are_each_asked_about_within_a_minute() -> None:
    count = 10_000
    asked = Asked(latency=0.2, ends={f"task_{number}": 1e9 for number in range(count)})

    async def work(mine: Pollers) -> None:
        async with waiting(mine, asked, count):
            await asyncio.sleep(240)

    run(work)
    assert asked.most_at_once <= 60
    assert len(asked.times) == count
    assert max(times[0] for times in asked.times.values()) <= 60
    assert max(after - one for times in asked.times.values() for one, after in pairwise([*times, 240])) <= 62


def test_a_thousand_at_a_fixed_interval_keep_it() -> None:
    asked = Asked(latency=0.2, ends={f"task_{number}": 1e9 for number in range(1000)})

    async def work(mine: Pollers) -> None:
        async with waiting(mine, asked, 1000, poll_interval=10.0):
            await asyncio.sleep(300)

    run(work)
    gaps = [after - one for times in asked.times.values() for one, after in pairwise(times)]
    assert sum(gaps) / len(gaps) < 10.5
    assert max(gaps) < 16


def test_no_more_are_under_way_than_the_rate_and_the_answers_make() -> None:
    """Little's law, without anybody computing it: questions are sent evenly."""
    asked = Asked(latency=0.2, ends={f"task_{number}": 1e9 for number in range(500)})
    most: list[int] = []

    async def one(mine: Pollers, number: int) -> None:
        await asyncio.sleep(number / 50)
        await follow(mine, asked, f"task_{number}", poll_interval=10.0, deadline=START + 300)

    async def work(mine: Pollers) -> None:
        many = asyncio.gather(*(one(mine, number) for number in range(500)))
        for latency in (0.2, 0.8, 0.02):
            asked.latency = latency
            await asyncio.sleep(30)
            asked.most_at_once = 0
            await asyncio.sleep(30)
            most.append(asked.most_at_once)
        await many

    run(work)
    # Some 50 a second, with answers of 0.2, 0.8 and 0.02 seconds.
    assert 8 <= most[0] <= 20 and 35 <= most[1] <= poller_module.MAX_REQUESTS and most[2] <= 8
