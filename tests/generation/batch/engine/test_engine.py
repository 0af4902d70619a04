"""The engine in virtual time: limits kept, rows paid for once, every row with an outcome, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.settings import Settings
from airflow_provider_apimart.generation.batch.engine.engine import Engine
from airflow_provider_apimart.generation.batch.engine.error_verdicts import StopKind
from airflow_provider_apimart.generation.batch.engine.resume import read_ledger
from airflow_provider_apimart.generation.batch.journal import read_journal
from airflow_provider_apimart.generation.batch.plan import Rules
from airflow_provider_apimart.generation.batch.states import Outcome
from airflow_provider_apimart.generation.purchase.record import LandedVideo
from tests.generation.batch.engine.simulated import PRICE, Api, Batch, Workers


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., Batch]:
    def make(count: int, rules: Rules | None = None, **api: Any) -> Batch:
        return Batch(tmp_path, [f"prompt {number}" for number in range(count)], Api(**api), rules or Rules())

    return make


def failing(share: int) -> Callable[[str, int], str]:
    """One prompt in ``share`` fails the first time."""
    return lambda prompt, ordinal: "failed" if ordinal == 1 and int(prompt.split()[1]) % share == 0 else "completed"


def check_paid_once(batch: Batch, count: int) -> None:
    assert batch.outcomes() == {Outcome.LANDED: count}
    assert set(batch.api.paid.values()) == {1}
    assert len(batch.api.paid) == count


def test_ten_thousand_rows_of_a_faulty_limited_api(batch: Callable[..., Batch]) -> None:
    rules = Rules(max_in_flight=100)
    one = batch(10_000, rules, per_minute=1500, dropped=0.01, outcome_of=failing(50), job_seconds=4, spread=0.2)
    ending = one.run()
    assert ending is not None
    check_paid_once(one, 10_000)
    assert ending.stop is None
    # A submission and a question for each generation, failed ones included, and lost answers asked for again.
    least = 60 * 2 * 10_200 * 1.01 / 1500
    assert one.clock <= 1.15 * least
    assert one.api.throttled < 0.01 * sum(one.api.requests.values())
    assert one.written < 10_000 * 1000
    assert 20 < len(one.said) < 60


@pytest.mark.parametrize("limit", [{"per_minute": 600}, {"per_minute": 600, "fixed_window": True}])
def test_a_limit_that_is_known_is_never_met(batch: Callable[..., Batch], limit: dict[str, Any]) -> None:
    one = batch(500, Rules(max_in_flight=50, requests_per_minute=600), **limit)
    one.run()
    assert one.api.throttled == 0
    assert one.clock <= 1.15 * (2 * 500 / 600 * 60)


@pytest.mark.parametrize("tells_times", [True, False])
def test_without_a_limit_the_slots_are_kept_full(batch: Callable[..., Batch], tells_times: bool) -> None:
    one = batch(1000, Rules(max_in_flight=40), job_seconds=8, tells_times=tells_times)
    one.run()
    # The first questions come at ten seconds, by what is known of Veo: that is the price of the first jobs.
    assert one.clock <= 1.15 * (1000 * 8 / 40) + 10
    assert one.api.most_at_once <= 40


def test_no_more_run_at_once_than_allowed(batch: Callable[..., Batch]) -> None:
    one = batch(100, Rules(max_in_flight=7), dropped=0.05)
    one.run()
    check_paid_once(one, 100)
    assert one.api.most_at_once == 7


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments_and_run_again(batch: Callable[..., Batch], seed: int) -> None:
    rand = random.Random(seed)
    one = batch(
        150,
        Rules(max_in_flight=15, max_generations=4),
        dropped=0.05,
        seed=seed,
        outcome_of=failing(10),
        latency=0.3,
        spread=0.5,
    )
    kills = 0
    while one.run(kill_at=one.clock + rand.uniform(0.05, 12)) is None:
        kills += 1
        assert kills < 200
    assert kills > 3
    check_paid_once(one, 150)


@pytest.mark.parametrize("late", [0.0, 0.4, 7.0, 40.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_triggerer_that_was_taken_for_dead_and_the_one_in_its_place_pay_once(
    batch: Callable[..., Batch], late: float, seed: int
) -> None:
    rules = Rules(max_in_flight=15, max_generations=4)
    one = batch(100, rules, dropped=0.05, seed=seed, outcome_of=failing(10), latency=0.3, spread=0.5)
    endings = one.run_beside(0.0, late)
    assert len(endings) == 2
    check_paid_once(one, 100)


@pytest.mark.parametrize("share", [1 / 3, 2 / 3])
def test_killed_at_a_third_and_at_two_thirds(batch: Callable[..., Batch], share: float) -> None:
    one = batch(600, Rules(max_in_flight=50), dropped=0.01, outcome_of=failing(50))
    assert one.run(kill_when=lambda engine: engine.state.progress.done >= 600 * share) is None
    landed = one.outcomes()[Outcome.LANDED]
    assert 600 * share - 60 < landed < 600
    before = len(one.workers.landed)
    assert one.run() is not None
    check_paid_once(one, 600)
    # What had landed, and was written down, is not fetched again.
    assert len(one.workers.landed) - before <= 600 - landed


def test_the_next_process_knows_how_long_a_job_takes(batch: Callable[..., Batch]) -> None:
    one = batch(200, Rules(max_in_flight=20))
    assert one.run(kill_when=lambda engine: engine.state.progress.done >= 100) is None
    killed_at = one.clock
    assert one.run() is not None
    check_paid_once(one, 200)
    # A hundred jobs of five seconds, twenty at once. What is known of Veo in general would have it wait for ten first.
    assert one.clock - killed_at <= 1.08 * (100 * 5 / 20)


def test_short_jobs_are_not_waited_for_as_long_as_is_usual_of_veo(batch: Callable[..., Batch]) -> None:
    one = batch(400, Rules(max_in_flight=40), job_seconds=3)
    one.run()
    check_paid_once(one, 400)
    # The first questions about most rows would come at ten seconds: a third more than all of it takes.
    assert one.clock <= 400 * 3 / 40 + 4
    assert one.api.requests["task"] < 1.1 * 400


def test_the_rows_that_show_how_long_a_job_takes_leave_a_limited_account_to_the_others(
    batch: Callable[..., Batch],
) -> None:
    one = batch(30, Rules(max_in_flight=30, requests_per_minute=60), job_seconds=120)
    one.run()
    check_paid_once(one, 30)
    assert one.clock <= 1.15 * (30 + 120 + 30)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_wrong_teaches_the_next_process_nothing(batch: Callable[..., Batch], hours: int) -> None:
    one = batch(60, Rules(max_in_flight=20))
    assert one.run(kill_when=lambda engine: engine.state.progress.done >= 30) is None
    plan, asked = one.plan(), one.api.requests["task"]
    lines = [
        {**line, "completed_at": line["completed_at"] + hours * 3600}
        for line in read_journal(plan.journal)
        if "completed_at" in line
    ]
    for path in Path(plan.journal.path).glob("*.jsonl"):
        kept = [line for line in map(json.loads, path.read_text().splitlines()) if "completed_at" not in line]
        path.write_text("".join(json.dumps(line) + "\n" for line in [*kept, *lines]))
    # (With a belief that is a thousand times too short, every job would be asked about ten times a second.)
    assert one.run() is not None
    check_paid_once(one, 60)
    assert one.api.requests["task"] - asked < 100


def test_a_402_in_the_middle_brings_home_what_runs_and_says_what_is_left(batch: Callable[..., Batch]) -> None:
    one = batch(60, Rules(max_in_flight=10), balance=30.4 * PRICE)
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert (ending.stop.kind, ending.stop.final) == (StopKind.BALANCE, True)
    assert one.outcomes() == {Outcome.LANDED: 30, Outcome.LEFT: 30}
    assert ending.left == 30
    one.api.balance = 1000.0
    assert one.run() is not None
    check_paid_once(one, 60)


FLOOR = "[token_id=90701] insufficient balance (current: 0.013570 USD, required: 0.050000 USD)"


def below_the_floor(until: float) -> Callable[[str, Any], errors.ApimartError | None]:
    """Every request is refused from the twentieth second on, until somebody tops up."""

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        poor = 20 <= asyncio.get_running_loop().time() < until
        return errors.InsufficientBalanceError(FLOOR, status=402) if poor else None

    return refuse


def test_below_the_floor_a_batch_says_why_it_waits_and_brings_home_everything_after_the_top_up(
    batch: Callable[..., Batch],
) -> None:
    one = batch(200, Rules(max_in_flight=200), job_seconds=60)
    one.api.refuse = below_the_floor(until=1200)
    ending = one.run()
    assert ending is not None and ending.stop is None
    check_paid_once(one, 200)
    said = [line for line in one.said if "0.01357 USD" in line]
    # In twenty minutes, after 0, 1, 3, 7 and 15 of them, whatever the number of polls.
    assert len(said) == 5
    assert all("top up" in line and "200 generations are paid for" in line for line in said)
    assert sum("answers again" in line for line in one.said) == 1
    assert not [line for line in one.said if "no usable answer" in line]
    assert one.clock < 1200 + 120


def test_below_the_floor_to_the_deadline_the_rows_are_parked_with_the_reason(batch: Callable[..., Batch]) -> None:
    one = batch(3, Rules(timeout_seconds=600), job_seconds=60)
    one.api.refuse = below_the_floor(until=10_000)
    assert one.run() is not None
    assert one.outcomes() == {Outcome.PARKED: 3}
    for row in read_ledger(one.plan()).rows.values():
        assert "0.01357 USD" in (row.note or "") and "top up" in (row.note or "")
        assert "the next try re-attaches" in (row.note or "")
    one.clock = 10_000
    assert one.run() is not None
    check_paid_once(one, 3)


def test_a_402_that_follows_a_lost_answer_leaves_the_row_unknown(batch: Callable[..., Batch]) -> None:
    one = batch(1, Rules())
    calls = iter([errors.OutcomeUnknownError("lost"), errors.InsufficientBalanceError("top up", status=402)])
    one.api.refuse = lambda kind, call: next(calls, None)
    assert one.run() is not None
    assert one.outcomes() == {Outcome.UNKNOWN: 1}
    assert one.run() is not None
    check_paid_once(one, 1)


def test_failing_generations_get_another_then_an_outcome(batch: Callable[..., Batch]) -> None:
    one = batch(
        20, Rules(max_generations=2), outcome_of=lambda prompt, ordinal: "failed" if "7" in prompt else "completed"
    )
    ending = one.run()
    assert ending is not None
    # Rows 7 and 17 each failed twice.
    assert one.outcomes() == {Outcome.LANDED: 18, Outcome.FAILED: 2}
    assert sum(1 for job in one.api.jobs.values() if job.outcome == "failed") == 4
    one.again(max_generations=4)
    one.api.outcome_of = lambda prompt, ordinal: "completed"
    one.run()
    check_paid_once(one, 20)


def test_rejected_and_empty_rows_are_not_tried_again(batch: Callable[..., Batch]) -> None:
    how = {"prompt 3": "rejected", "prompt 4": "empty"}
    one = batch(10, outcome_of=lambda prompt, ordinal: how.get(prompt, "completed"))
    one.run()
    expected = {Outcome.LANDED: 8, Outcome.REJECTED: 1, Outcome.EMPTY: 1}
    assert one.outcomes() == expected
    posts = one.api.requests["submit"]
    one.run()
    assert one.outcomes() == expected
    assert one.api.requests["submit"] == posts


def test_an_empty_row_is_asked_about_for_two_minutes_and_again_by_the_next_try(batch: Callable[..., Batch]) -> None:
    one = batch(1, Rules(poll_interval=5.0), outcome_of=lambda prompt, ordinal: "empty")
    one.run()
    first = one.api.requests["task"]
    assert one.outcomes() == {Outcome.EMPTY: 1} and first >= 8
    one.run()
    assert one.outcomes() == {Outcome.EMPTY: 1}
    assert one.api.requests["task"] >= first + 4, "the next try asks again"
    assert one.api.requests["submit"] == 1


def test_an_empty_row_at_its_deadline_is_parked(batch: Callable[..., Batch]) -> None:
    # (A job of the simulated API takes some 75 s, so the video has been missing for a moment only.)
    one = batch(1, Rules(poll_interval=5.0, timeout_seconds=100.0), outcome_of=lambda prompt, ordinal: "empty")
    one.run()
    assert one.outcomes() == {Outcome.PARKED: 1}
    (row,) = read_ledger(one.plan()).rows.values()
    assert not row.final and "names no video yet" in (row.note or "")


def test_a_video_that_comes_after_its_completed_is_landed(batch: Callable[..., Batch]) -> None:
    one = batch(5, outcome_of=lambda prompt, ordinal: "late")
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 5}
    check_paid_once(one, 5)


def test_a_status_that_is_not_known_is_told_once_and_when_the_deadline_passes(batch: Callable[..., Batch]) -> None:
    one = batch(4, Rules(timeout_seconds=400.0), outcome_of=lambda prompt, ordinal: "strange")
    one.run()
    assert one.outcomes() == {Outcome.PARKED: 4}
    told = [line for line in one.said if "'expired'" in line]
    assert len(told) == 1 and "100 %" in told[0] and "The wait goes on" in told[0]
    notes = [row.note or "" for row in read_ledger(one.plan()).rows.values()]
    assert len(notes) == 4 and all("'expired'" in note and "re-attaches" in note for note in notes)


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_of_the_content_is_its_rows_own_whatever_its_status(batch: Callable[..., Batch], status: int) -> None:
    one = batch(10)

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        bad = kind == "submit" and b"prompt 5" in call.content
        return errors.ContentRefusedError("it violates the usage guidelines", status=status) if bad else None

    one.api.refuse = refuse
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 9, Outcome.REFUSED: 1}


def test_a_refusal_that_passes_is_heard_a_few_times_and_ends_no_other_row(batch: Callable[..., Batch]) -> None:
    one = batch(10)
    heard: list[bytes] = []

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        if kind != "submit" or (b"prompt 5" not in call.content and heard.count(call.content) >= 2):
            return None
        heard.append(call.content)
        return errors.TemporaryRefusalError("moderation service timed out", status=400)

    one.api.refuse = refuse
    ending = one.run()
    assert ending is not None and ending.stop is None
    assert one.outcomes() == {Outcome.LANDED: 9, Outcome.REFUSED: 1}
    one.api.refuse = lambda kind, call: None
    one.run()
    check_paid_once(one, 10)


def test_a_refused_request_is_its_rows_own(batch: Callable[..., Batch]) -> None:
    one = batch(10)

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        bad = kind == "submit" and b"prompt 5" in call.content
        return errors.BadRequestError("no such thing", status=400) if bad else None

    one.api.refuse = refuse
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 9, Outcome.REFUSED: 1}


@pytest.mark.parametrize("error", [errors.AuthenticationError, errors.PermissionDeniedError, errors.NotFoundError])
def test_what_would_meet_every_row_stops_all(batch: Callable[..., Batch], error: type[errors.ApiStatusError]) -> None:
    one = batch(50, Rules(max_in_flight=5))
    one.api.refuse = lambda kind, call: error("no") if kind == "submit" and one.api.requests["submit"] > 20 else None
    ending = one.run()
    assert ending is not None and ending.stop is not None and ending.stop.final
    outcomes = one.outcomes()
    assert outcomes[Outcome.LANDED] == len(one.api.jobs) == 20
    assert outcomes[Outcome.LEFT] == 30
    assert one.api.requests["submit"] < 30


def test_stop_on_the_first_failure(batch: Callable[..., Batch]) -> None:
    rules = Rules(max_in_flight=5, stop_on_failure=True, max_generations=1)
    one = batch(50, rules, outcome_of=lambda prompt, ordinal: "failed" if prompt == "prompt 11" else "completed")
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert ending.stop.kind is StopKind.ROW_FAILURE and "prompt" not in ending.stop.text
    outcomes = one.outcomes()
    assert outcomes[Outcome.FAILED] == 1
    assert 10 <= outcomes[Outcome.LANDED] <= 25
    assert outcomes[Outcome.LANDED] + outcomes[Outcome.LEFT] == 49
    assert set(one.api.paid.values()) == {1}


def test_a_retry_does_not_pay_on_where_the_user_wanted_a_stop(batch: Callable[..., Batch]) -> None:
    rules = Rules(max_in_flight=5, stop_on_failure=True, max_failed_share=0.02)
    one = batch(
        200, rules, outcome_of=lambda prompt, ordinal: "rejected" if int(prompt.split()[1]) % 8 == 0 else "completed"
    )
    one.run()
    submitted = one.api.requests["submit"]
    assert one.outcomes()[Outcome.REJECTED] >= 5 and submitted < 60
    again = one.run()
    assert again is not None and again.stop is not None and again.stop.kind is StopKind.ROW_FAILURE
    assert again.stop.final, "no try can make rejected rows fewer"
    assert one.api.requests["submit"] == submitted


class ShortVideos(Workers):
    """Lands a second where four were asked for, once in four rows."""

    async def land(self, settings: Any, record: Any, row: Any, videos: Any) -> tuple[LandedVideo, ...]:
        landed = await super().land(settings, record, row, videos)
        seconds = 1.0 if row.number % 4 == 0 else 4.0
        return tuple(video.model_copy(update={"duration_seconds": seconds}) for video in landed)


def test_videos_that_are_not_what_was_asked_for_stop_a_batch_where_they_count_as_failed(
    batch: Callable[..., Batch],
) -> None:
    rules = Rules(max_in_flight=5, stop_on_failure=True, max_failed_share=0.02, on_mismatch="fail")
    one = batch(200, rules)
    one.workers = ShortVideos()
    ending = one.run()
    assert ending is not None and ending.stop is not None and ending.stop.kind is StopKind.ROW_FAILURE
    assert "is not what was asked for (duration: asked 4, delivered 1.0" in ending.stop.text
    submitted = one.api.requests["submit"]
    assert submitted < 60 and set(one.outcomes()) == {Outcome.LANDED, Outcome.LEFT}
    again = one.run()
    assert again is not None and again.stop is not None and again.stop.final, "no try can make them fewer"
    assert one.api.requests["submit"] == submitted
    one.again(on_mismatch="warn")
    done = one.run()
    assert done is not None and done.stop is None and one.outcomes() == {Outcome.LANDED: 200}


def test_a_pause_is_the_whole_accounts(batch: Callable[..., Batch]) -> None:
    one = batch(30, Rules(max_in_flight=10))
    times: list[float] = []
    paused: list[float] = []

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        import asyncio

        now = asyncio.get_running_loop().time()
        times.append(now)
        if len(times) == 25:
            paused.append(now)
            return errors.RateLimitError("slow down", status=429, retry_after_seconds=40.0)
        return None

    one.api.refuse = refuse
    one.run()
    check_paid_once(one, 30)
    # What was under way when the 429 came is all that follows it within the pause.
    assert [when for when in times if paused[0] + 0.1 < when < paused[0] + 40] == []


def test_a_deadline_parks_and_the_next_run_re_attaches(batch: Callable[..., Batch]) -> None:
    one = batch(5, Rules(timeout_seconds=60), job_seconds=200)
    one.run()
    assert one.outcomes() == {Outcome.PARKED: 5}
    one.again(timeout_seconds=1000)
    one.run()
    check_paid_once(one, 5)
    assert one.api.requests["submit"] == 5


def test_a_storage_that_takes_nothing_stops_the_paying(batch: Callable[..., Batch]) -> None:
    one = batch(300, Rules(max_in_flight=10), job_seconds=30)

    def full(generation_id: str) -> None:
        raise errors.LandingError("no space left")

    one.workers = Workers(full)
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert ending.stop.kind is StopKind.STORAGE
    assert len(one.api.jobs) < 60
    one.workers = Workers()
    one.run()
    check_paid_once(one, 300)


def test_nothing_more_is_paid_for_while_no_video_can_be_landed(batch: Callable[..., Batch]) -> None:
    one = batch(300, Rules(max_in_flight=10), job_seconds=3)
    broken = False

    def land(generation_id: str) -> None:
        if broken:
            raise errors.LandingError("no space left")

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        nonlocal broken
        broken = broken or len(one.api.jobs) >= 40
        return None

    one.workers, one.api.refuse = Workers(land), refuse
    ending = one.run()
    assert ending is not None and ending.stop is not None and ending.stop.kind is StopKind.STORAGE
    assert len(one.api.jobs) < 80
    one.workers = Workers()
    one.run()
    check_paid_once(one, 300)


def test_an_outage_of_the_storage_is_waited_for(batch: Callable[..., Batch]) -> None:
    one = batch(100, Rules(max_in_flight=10), job_seconds=3)
    attempts = 0

    def land(generation_id: str) -> None:
        nonlocal attempts
        attempts += 1
        if 20 <= attempts < 40:
            raise errors.LandingError("not now")

    one.workers = Workers(land)
    ending = one.run()
    assert ending is not None and ending.stop is None
    check_paid_once(one, 100)


def test_nothing_is_sent_while_the_journal_cannot_be_written(
    batch: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = batch(5)

    def broken(descriptor: int) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(errors.LandingError, match="read-only file system"):
        one.run()
    assert any("nothing is paid for without it" in line for line in one.said)
    assert one.api.requests["submit"] == 0


def test_unknown_submissions_are_left_alone_where_the_user_says_so(batch: Callable[..., Batch]) -> None:
    one = batch(20, Rules(on_unknown_submit="fail", max_in_flight=5))
    lost = {"prompt 3", "prompt 9"}

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        hit = kind == "submit" and any(f'"{prompt}"'.encode() in call.content for prompt in lost)
        return errors.OutcomeUnknownError("lost") if hit else None

    one.api.refuse = refuse
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 18, Outcome.UNKNOWN: 2}
    posts = sum(one.api.requests.values())
    lost.clear()
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 18, Outcome.UNKNOWN: 2}
    assert sum(one.api.requests.values()) == posts


def test_a_paid_call_never_goes_to_another_account_than_its_intent_names(batch: Callable[..., Batch]) -> None:
    """The connection is looked up again while a batch runs; what one account may have paid for stays its own."""
    one = batch(12, Rules(max_in_flight=6))
    ours, other = one.api.settings, Settings("sk-another-account", "http://127.0.0.1:9")

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        if kind == "submit" and b'"prompt 2"' in call.content and one.api.settings is ours:
            one.api.settings = other
            return errors.OutcomeUnknownError("lost")
        return None

    one.api.refuse = refuse
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 11, Outcome.UNKNOWN: 1}
    assert one.api.requests["submit"] == 12, "nothing was sent twice, and nothing to the wrong one"
    one.api.settings, one.api.refuse = ours, lambda kind, call: None
    one.run()
    check_paid_once(one, 12)


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimitError("not today", status=429, retry_after_seconds=3600.0),
        errors.ApimartConnectionError("nobody is there"),
    ],
    ids=["refuses", "is dead"],
)
def test_what_may_be_paid_for_is_not_sent_again_under_a_key_that_is_forgotten(
    batch: Callable[..., Batch], error: errors.ApimartError
) -> None:
    """An answer is lost, and then APIMart takes nothing for longer than it remembers keys."""
    one = batch(3, Rules(max_in_flight=1, timeout_seconds=100 * 3600.0))
    lost = False

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        nonlocal lost
        now = asyncio.get_running_loop().time()
        if kind != "submit" or now > 25 * 3600:
            return None
        if lost:
            return error
        lost = True
        one.api._submit(call, now)
        return errors.OutcomeUnknownError("the answer was lost")

    one.api.refuse = refuse
    ending = one.run()
    assert ending is not None
    assert set(one.api.paid.values()) == {1}
    assert one.outcomes() == {Outcome.LANDED: 2, Outcome.UNKNOWN: 1}
    one.run()
    assert set(one.api.paid.values()) == {1} and len(one.api.paid) == 3


def test_rows_that_wait_for_longer_than_a_key_lives_are_paid_for_all_the_same(batch: Callable[..., Batch]) -> None:
    """Nothing of them was done, and that is known."""
    one = batch(100, Rules(max_in_flight=20))
    now = 0.0

    def refuse(kind: str, call: Any) -> errors.ApimartError | None:
        nonlocal now
        now = asyncio.get_running_loop().time()
        if kind == "submit" and now < 30 * 3600:
            return errors.RateLimitError("not today", status=429, retry_after_seconds=3600.0)
        return None

    one.api.refuse = refuse
    one.run()
    check_paid_once(one, 100)
    assert now > 30 * 3600
    # Intents are written anew now and then, not all the time.
    assert one.written < 100 * 30 * 1000


def test_a_process_that_stood_still_for_a_day_pays_for_nothing_that_another_may_have_paid_for(
    batch: Callable[..., Batch],
) -> None:
    # (The jobs have ended by the first question: APIMart does not stand still with us.)
    one = batch(40, Rules(max_in_flight=8), job_seconds=1)
    stood: list[float] = []

    def stand_still(engine: Engine) -> bool:
        # Every row that waits has its intent: as after a SIGSTOP, all of their keys are old when it goes on.
        if len(engine.state.ready) > 2 and not stood:
            stood.append(engine.state.now())
            before = engine.state.now
            engine.state.now = lambda: before() + 24 * 3600
        return False

    one.run(kill_when=stand_still)
    assert stood
    outcomes = one.outcomes()
    assert outcomes[Outcome.UNKNOWN] > 2 and outcomes[Outcome.LANDED] + outcomes[Outcome.UNKNOWN] == 40
    assert set(one.api.paid.values()) == {1}
    assert len(one.api.paid) == outcomes[Outcome.LANDED]


def test_a_budget_is_held_to_while_it_runs(batch: Callable[..., Batch]) -> None:
    one = batch(40, Rules(max_in_flight=10, max_cost_usd=20 * PRICE))
    ending = one.run()
    assert ending is not None and ending.stop is not None
    assert ending.stop.kind is StopKind.BUDGET
    assert one.outcomes() == {Outcome.LANDED: 20, Outcome.LEFT: 20}


def test_identical_rows_are_each_a_video(tmp_path: Path) -> None:
    one = Batch(tmp_path, ["same", "other", "same", "same"], Api())
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 4}
    assert one.api.paid == Counter(same=3, other=1)


def test_rows_may_be_inserted_and_reordered_between_tries(tmp_path: Path) -> None:
    one = Batch(tmp_path, [f"prompt {number}" for number in range(10)], Api())
    one.run()
    one.prompts = ["new at the top", *reversed(one.prompts)]
    one.run()
    assert one.outcomes() == {Outcome.LANDED: 11}
    assert set(one.api.paid.values()) == {1}


@pytest.mark.parametrize("kind", ["submit", "task"])
def test_a_host_that_gives_no_answer_is_told_and_not_over_and_over(batch: Callable[..., Batch], kind: str) -> None:
    one = batch(4, Rules(timeout_seconds=600), job_seconds=5)
    gone = errors.ApimartConnectionError("connection refused")
    one.api.refuse = lambda asked, call: gone if asked == kind else None
    one.run()
    told = [line for line in one.said if "no usable answer" in line]
    assert "connection refused" in told[0]
    assert 3 <= len(told) <= 8
