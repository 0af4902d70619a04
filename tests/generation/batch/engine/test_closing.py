"""The deadline of a whole batch: nothing more is paid for, what runs is parked, and the next try goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.request import VeoRequest
from airflow_provider_apimart.generation.batch.draft import write_plan
from airflow_provider_apimart.generation.batch.engine.closing import (
    LAST_LANDINGS_SECONDS,
    LAST_QUESTIONS_SECONDS,
    longest,
)
from airflow_provider_apimart.generation.batch.engine.engine import Ending, Engine
from airflow_provider_apimart.generation.batch.engine.error_verdicts import StopKind
from airflow_provider_apimart.generation.batch.journal import JournalWriter
from airflow_provider_apimart.generation.batch.plan import Plan, Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.purchase.images import LocalImage
from airflow_provider_apimart.generation.waiting.account import RequestLane
from tests.generation.batch.engine.simulated import EPOCH, Api, Batch, Workers, local, planned
from tests.virtual import virtually

#: Requests that are under way at the deadline still end.
MOMENT = 2.0


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., Batch]:
    def make(count: int, rules: Rules | None = None, *, seconds: float, **api: Any) -> Batch:
        prompts = [f"prompt {number}" for number in range(count)]
        return Batch(tmp_path, prompts, Api(**api), rules or Rules(), deadline=seconds)

    return make


def ended_by_its_deadline(one: Batch) -> Ending:
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert (ending.stop.kind, ending.stop.final) == (StopKind.DEADLINE, False)
    return ending


def goes_on_to_the_end(one: Batch) -> None:
    one.deadline = None
    assert one.run() is not None
    assert one.outcomes() == {Outcome.LANDED: len(one.prompts)}
    assert set(one.api.paid.values()) == {1}


def test_nothing_is_submitted_after_it_and_what_runs_is_parked(batch: Callable[..., Batch]) -> None:
    one = batch(40, Rules(max_in_flight=5, poll_interval=3), seconds=30, job_seconds=10)
    ending = ended_by_its_deadline(one)
    assert 30 <= one.clock < 30 + MOMENT
    assert max(job.created for job in one.api.jobs.values()) < 30
    outcomes = one.outcomes()
    assert outcomes[Outcome.PARKED] == 5
    assert outcomes[Outcome.LANDED] + 5 == len(one.api.jobs)
    assert outcomes[Outcome.LEFT] == ending.left == 40 - len(one.api.jobs)
    assert any("what has not completed is parked" in line for line in one.said)
    goes_on_to_the_end(one)


def test_what_has_completed_by_then_is_landed(batch: Callable[..., Batch]) -> None:
    # Nobody would have asked for a minute yet.
    one = batch(5, Rules(poll_interval=60), seconds=20, job_seconds=10)
    ending = one.run()
    assert ending is not None and ending.left == 0
    assert one.outcomes() == {Outcome.LANDED: 5}
    assert 20 <= one.clock < 20 + MOMENT


def test_a_triggerer_that_comes_back_after_it_lands_what_has_completed(batch: Callable[..., Batch]) -> None:
    one = batch(8, Rules(max_in_flight=4), seconds=60, job_seconds=10)
    assert one.run(kill_at=5.0) is None
    one.clock = 1000.0
    ending = ended_by_its_deadline(one)
    # Four intents were written ahead; who was killed cannot say any more that they were not sent.
    assert (one.outcomes(), ending.left) == ({Outcome.LANDED: 4, Outcome.UNKNOWN: 4}, 0)
    assert one.clock < 1000 + MOMENT
    goes_on_to_the_end(one)


def test_an_account_that_refuses_everything_holds_nothing_up(batch: Callable[..., Batch]) -> None:
    one = batch(6, seconds=30)
    one.api.refuse = lambda kind, call: errors.RateLimitError("slow down", status=429, retry_after_seconds=3600.0)
    ended_by_its_deadline(one)
    assert 30 <= one.clock < 30 + MOMENT
    assert one.outcomes() == {Outcome.LEFT: 6}
    one.api.refuse = lambda kind, call: None
    goes_on_to_the_end(one)


def test_questions_that_a_paused_account_lets_not_pass_are_not_waited_for(batch: Callable[..., Batch]) -> None:
    one = batch(6, seconds=30, job_seconds=100)

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        asked = kind == "task"
        return errors.RateLimitError("slow down", status=429, retry_after_seconds=3600.0) if asked else None

    one.api.refuse = refuse
    ending = one.run()
    assert ending is not None and ending.stop is not None and ending.stop.kind is StopKind.DEADLINE
    assert 30 <= one.clock < 30 + 90
    assert one.outcomes() == {Outcome.PARKED: 6}
    one.api.refuse = lambda kind, call: None
    goes_on_to_the_end(one)


def test_a_dead_host_holds_nothing_up_and_what_may_be_paid_for_stays_known(batch: Callable[..., Batch]) -> None:
    one = batch(6, seconds=60)
    one.api.dropped = 1.0
    ended_by_its_deadline(one)
    assert 60 <= one.clock < 60 + MOMENT
    assert one.outcomes()[Outcome.UNKNOWN] == len(one.api.jobs) > 0
    one.api.dropped = 0.0
    goes_on_to_the_end(one)


def test_a_host_that_never_answers_does_not_hold_up_the_end(batch: Callable[..., Batch]) -> None:
    one = batch(6, Rules(max_in_flight=4), seconds=30, job_seconds=5)
    one.api.dead = True
    ended_by_its_deadline(one)
    assert one.clock <= 30 + LAST_QUESTIONS_SECONDS + MOMENT
    assert one.outcomes() == {Outcome.UNKNOWN: 4, Outcome.LEFT: 2}
    goes_on_to_the_end(one)


def test_a_landing_that_never_ends_is_left_to_the_next_try(batch: Callable[..., Batch]) -> None:
    class Stuck(Workers):
        async def land(self, *args: Any) -> Any:
            await asyncio.Event().wait()

    one = batch(2, seconds=60)
    one.workers = Stuck()
    assert one.run() is not None
    assert one.clock == pytest.approx(60 + LAST_LANDINGS_SECONDS, abs=MOMENT)
    assert not one.outcomes()[Outcome.LANDED]
    one.workers = Workers()
    goes_on_to_the_end(one)


def test_frames_that_a_paused_account_does_not_take_hold_nothing_up(batch: Callable[..., Batch]) -> None:
    image = LocalImage("first_frame_image", "/frame.png", b"a frame", "image/png")

    class Framed(Batch):
        def plan(self) -> Plan:
            request = VeoRequest(prompt="framed", duration=4, first_frame_image=image.path)
            row = replace(planned(["framed"])[0], request=request, images={"first_frame_image": image.sha256})
            return write_plan(
                local(self.folder / "state"),
                [row],
                identity=self.identity,
                rules=self.rules,
                output_uri="/videos/",
                apimart_conn_id="apimart_default",
                median_seconds=75.0,
            )

    class Frames(Workers):
        async def image(self, name: str, path: str, rules: Any) -> LocalImage:
            return image

    plain = batch(1, seconds=30)
    one = Framed(plain.folder, ["framed"], plain.api, deadline=30, workers=Frames())
    one.api.refuse = lambda kind, call: errors.RateLimitError("slow down", status=429, retry_after_seconds=3600.0)
    ended_by_its_deadline(one)
    assert 30 <= one.clock < 30 + MOMENT
    assert one.outcomes() == {Outcome.LEFT: 1}


def test_rows_that_may_fail_may_fail_up_to_the_deadline(batch: Callable[..., Batch]) -> None:
    one = batch(4, Rules(max_generations=1), seconds=1000, outcome_of=lambda prompt, ordinal: "failed")
    ending = one.run()
    assert ending is not None and ending.stop is None and one.clock < 100


@pytest.mark.parametrize("seed", range(4))
def test_cut_at_random_moments_each_row_is_paid_for_once(batch: Callable[..., Batch], seed: int) -> None:
    rand = random.Random(seed)
    rules = Rules(max_in_flight=15, max_generations=4)
    one = batch(120, rules, seconds=0, dropped=0.05, seed=seed, latency=0.3, spread=0.5)
    cuts = Counter[str]()
    while one.outcomes() != {Outcome.LANDED: 120}:
        one.deadline = one.clock + rand.uniform(1, 8)
        # Every other one is killed, most while they wind up.
        ending = one.run(kill_at=one.deadline + rand.uniform(-0.5, 0.2) if cuts.total() % 2 else None)
        cuts["killed" if ending is None else "ended"] += 1
        assert cuts.total() < 200
    assert min(cuts.values()) > 2
    assert set(one.api.paid.values()) == {1} and len(one.api.paid) == 120


def test_without_a_deadline_a_batch_is_given_up_long_after_it_must_have_ended() -> None:
    assert longest(Rules(max_generations=3), 1) == timedelta(days=1, hours=1.5)
    assert longest(Rules(max_generations=3, max_in_flight=20), 100) == timedelta(days=1, hours=5 * 1.5)
    slow = Rules(max_generations=1, max_in_flight=100, requests_per_minute=1)
    assert longest(slow, 100) == timedelta(days=1, hours=0.5, minutes=400)
    assert longest(Rules(max_in_flight=1, timeout_seconds=1e30), 10_000) == timedelta(days=365)


def test_a_row_that_was_never_sent_is_left_and_asks_nobody_to_look_for_it(batch: Callable[..., Batch]) -> None:
    one = batch(4, Rules(on_unknown_submit="fail"), seconds=30)
    unreachable = errors.ApimartConnectionError("nobody answers")
    one.api.refuse = lambda kind, call: unreachable
    ended_by_its_deadline(one)
    assert one.outcomes() == {Outcome.LEFT: 4}
    one.api.refuse, one.deadline = lambda kind, call: None, None
    assert one.run() is not None
    assert one.outcomes() == {Outcome.LANDED: 4}


def test_rows_that_are_being_prepared_when_submissions_are_stopped_hold_nothing_up(batch: Callable[..., Batch]) -> None:
    class Slow(Workers):
        async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
            await asyncio.sleep(3)
            return function(*args)

    one = batch(30, Rules(max_in_flight=3), seconds=1e9, dropped=1.0)
    assert one.run(kill_at=5.0) is None
    unknown = one.outcomes()[Outcome.UNKNOWN]
    assert 0 < unknown < 30
    # The connection was deleted. What may be paid for finds that out while the next rows are being prepared.
    one.again(max_in_flight=40)
    plan = one.plan()

    async def open_client() -> Api:
        await asyncio.sleep(0.2)
        raise errors.ConfigurationError("no such connection")

    async def work() -> Ending:
        loop = asyncio.get_running_loop()
        engine = Engine(
            plan,
            workers=Slow(),
            lane=RequestLane.alone(open_client, None, loop.time),
            writer=JournalWriter(plan.journal, "test"),
            log=logging.getLogger("simulated"),
            now=lambda: EPOCH + loop.time(),
        )
        return await asyncio.wait_for(engine.run(), 100_000)

    ending: Ending = virtually(work, one.clock)
    assert ending.stop is not None and ending.stop.kind is StopKind.CONNECTION
    assert ending.left == 30 - unknown
