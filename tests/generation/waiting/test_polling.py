"""When to ask next: bounds, the deadline, errors, the log, and a simulation against fixed intervals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from airflow_provider_apimart.client import errors
from airflow_provider_apimart.client.models import Generation, GenerationStatus
from airflow_provider_apimart.generation.waiting import schedule
from airflow_provider_apimart.generation.waiting.polling import PollingWait, Step, error_interval
from tests.generation.records import view

START = 1_790_000_000.0


def polling(**values: Any) -> PollingWait:
    return PollingWait(
        **{"generation_id": "task_1", "submitted_at": START, "deadline": START + 1800, "median_seconds": 75.0, **values}
    )


def running(progress: int | None = None, **values: Any) -> Generation:
    return view("running", progress=progress, **values)


# --- progress and estimates ---------------------------------------------------------------------------------------


def test_progress_moves_the_expected_end() -> None:
    told = polling().saw(running(progress=10), START + 60)
    alone = polling().saw(running(), START + 60)
    assert told.wait_seconds is not None and alone.wait_seconds is not None
    assert told.wait_seconds > 2 * alone.wait_seconds


@pytest.mark.parametrize("estimate", [-300.0, 0.0, 1e-320, 1e300, None])
@pytest.mark.parametrize("progress", [None, 0, 10, 99, 100])
def test_nothing_that_apimart_says_ends_the_wait(estimate: float | None, progress: int | None) -> None:
    for elapsed in (-100, 0, 1, 75, 1700):
        step = polling().saw(running(progress, estimated_seconds=estimate), START + elapsed)
        assert step.wait_seconds is not None and 0 < step.wait_seconds <= 66


# --- words that are not known -------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["expired", "timeout", "rejected", "archived", "finished"])
def test_a_status_that_is_not_known_is_told_and_ends_nothing(word: str) -> None:
    one = polling()
    told = Generation.read({"status": word, "progress": 40}, "task_1")
    first, second = one.saw(told, START + 60), one.saw(told, START + 100)
    assert first.final is None and first.wait_seconds and first.warn and repr(word) in str(first.say)
    assert not second.warn and (second.say is None or repr(word) in second.say)
    last = one.saw(told, START + 1800)
    assert last == Step(None, None, last.say, last.warn) and repr(word) in str(last.say)
    assert repr(word) in one.last_word


@pytest.mark.parametrize("word", ["processing", "expired"])
def test_a_video_beside_a_hundred_percent_gets_a_warning(word: str) -> None:
    result = {"videos": [{"url": ["https://media.example/v.mp4"]}]}
    step = polling().saw(Generation.read({"status": word, "progress": 100, "result": result}, "task_1"), START + 60)
    assert step.final is None and step.wait_seconds
    assert step.warn and "100 %" in str(step.say) and repr(word) in str(step.say)


@pytest.mark.parametrize("word", ["finished", "done", "Succeed", "complete", "SUCCESSFUL"])
def test_another_word_for_completed_counts_with_a_video_and_only_then(word: str) -> None:
    result = {"videos": [{"url": ["https://media.example/v.mp4"]}]}
    with_video = Generation.read({"status": word, "progress": 100, "result": result}, "task_1")
    assert with_video.status is GenerationStatus.COMPLETED and with_video.videos
    for other in ({}, {"result": {"videos": []}}, {"result": {"url": "nonsense"}}):
        without = Generation.read({"status": word, "progress": 100, **other}, "task_1")
        assert without.status is GenerationStatus.PROCESSING and without.strange_status == word


def test_known_words_are_not_strange() -> None:
    for word in ("submitted", "pending", "queued", "processing", "in_progress", "running", "completed", "failed", ""):
        assert not Generation.read({"status": word, "progress": 100}, "task_1").strange_status


# --- the first question -------------------------------------------------------------------------------------------


def test_the_first_question() -> None:
    assert polling().first_wait(START) == 10
    assert polling().first_wait(START + 4) == 6
    assert polling().first_wait(START + 500) == 0, "one that was submitted by an earlier try is asked about at once"
    assert polling(poll_interval=25.0).first_wait(START) == 25
    assert polling(deadline=START + 3).first_wait(START) == 3
    assert polling(deadline=START - 3).first_wait(START) == 0


def test_a_clock_that_is_behind_does_not_delay_it() -> None:
    assert polling().first_wait(START - 600) == 10


# --- the deadline -------------------------------------------------------------------------------------------------


def drive(one: PollingWait, answer: Any, limit: int = 10_000) -> tuple[float, list[tuple[float, Step]]]:
    """Wait without a clock until it says stop, and return when that was and every step."""
    now, steps = START + one.first_wait(START), []
    for _ in range(limit):
        said = answer(now - START)
        step = one.failed(said, now) if isinstance(said, Exception) else one.saw(said, now)
        steps.append((now, step))
        if step.wait_seconds is None:
            return now, steps
        assert step.wait_seconds > 0
        now += step.wait_seconds
    raise AssertionError("it does not end")


@pytest.mark.parametrize("jitter", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("answer", [lambda _: running(), lambda _: errors.ApimartTimeoutError("x")])
def test_the_last_question_comes_at_the_deadline_exactly(jitter: float, answer: Any) -> None:
    ended, steps = drive(polling(deadline=START + 333, jitter=jitter), answer)
    assert ended == pytest.approx(START + 333)
    assert steps[-1][1] == Step(None, None, steps[-1][1].say, steps[-1][1].warn)


def test_a_final_word_at_the_deadline_or_after_it_counts() -> None:
    for late in (0, 1000):
        step = polling().saw(view("completed"), START + 1800 + late)
        assert step.final is not None and step.final.status is GenerationStatus.COMPLETED


def test_an_interval_that_does_not_fit_is_cut_at_the_deadline() -> None:
    step = polling(poll_interval=600.0).saw(running(), START + 1700)
    assert step.wait_seconds == 100


# --- errors -------------------------------------------------------------------------------------------------------


def test_errors_back_off_and_an_answer_resets_them() -> None:
    one = polling(jitter=0.0)
    waits = [one.failed(errors.ServerError("x", status=500), START + n).wait_seconds for n in range(7)]
    assert waits == [3, 6, 12, 24, 48, 60, 60]
    one.saw(running(), START + 10)
    assert one.failed(errors.ServerError("x"), START + 11).wait_seconds == 3


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_retry_after_of_another_error_holds_for_a_minute_at_most(jitter: float) -> None:
    error = errors.ServerError("down", status=503, retry_after_seconds=200.0)
    seconds = polling(jitter=jitter).failed(error, START).wait_seconds
    assert seconds is not None and 60 <= seconds <= 66


@pytest.mark.parametrize("error", [errors.RateLimitError("x", status=429), errors.ServerError("x", status=503)])
def test_retry_after_that_is_not_ahead_is_none(error: errors.ApimartError) -> None:
    error.retry_after_seconds = 0.0
    one = polling(jitter=0.0)
    assert [one.failed(error, START + n).wait_seconds for n in range(4)] == [3, 6, 12, 24]


@pytest.mark.parametrize("lead", [0.0, 15.0, 100.0])
def test_a_worker_whose_clock_is_ahead_does_not_make_it_ask_more(lead: float) -> None:
    """A job of 75 s that tells its progress; the worker's clock is ahead of ours."""
    one = polling(submitted_at=START + lead, deadline=START + 600)
    now = START + one.first_wait(START)
    while now < START + 75:
        progress = int((now - START) / 75 * 100)
        step = one.saw(running(progress), now)
        assert step.wait_seconds is not None and step.wait_seconds >= 1
        now += step.wait_seconds
    assert one.polls <= 12


def test_a_clock_that_is_set_back_does_not_make_it_ask_more() -> None:
    one = polling(deadline=START + 600)
    one.first_wait(START)
    for seconds in (10, 20, 30):
        one.saw(running(), START + seconds)
    waits = [one.saw(running(), START - 3600 + seconds).wait_seconds for seconds in range(9)]
    assert all(wait is not None and wait >= 3 for wait in waits)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_retry_after_is_a_floor_up_to_a_cap(jitter: float) -> None:
    def wait(asked: float) -> float:
        error = errors.RateLimitError("slow down", status=429, retry_after_seconds=asked)
        seconds = polling(jitter=jitter).failed(error, START).wait_seconds
        assert seconds is not None
        return seconds

    assert 45 <= wait(45) < 50
    assert 300 <= wait(86_400) < 331
    assert wait(0) >= schedule.MIN_INTERVAL_SECONDS


@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("rotated", status=401),
        errors.InsufficientBalanceError("empty", status=402),
        errors.BadRequestError("invalid task id", status=400),
        errors.ResponseError("broken JSON"),
        RuntimeError("anything"),
    ],
)
def test_no_error_is_a_verdict(error: Exception) -> None:
    one = polling()
    for n in range(100):
        assert one.failed(error, START + n).wait_seconds is not None
    assert one.failures == 100


def test_the_backoff_does_not_overflow() -> None:
    assert error_interval(10**6, RuntimeError()) == schedule.MAX_INTERVAL_SECONDS


# --- the log ------------------------------------------------------------------------------------------------------


def lines(answer: Any, **values: Any) -> list[tuple[float, str]]:
    _, steps = drive(polling(**values), answer)
    return [(at - START, step.say) for at, step in steps if step.say]


def job(seconds: float, *, progress: bool) -> Any:
    def answer(elapsed: float) -> Generation:
        if elapsed >= seconds:
            return view("completed")
        return running(int(100 * elapsed / seconds) if progress else None)

    return answer


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("interval", [None, 1.0])
def test_a_job_of_five_minutes_is_told_in_a_handful_of_lines(progress: bool, interval: float | None) -> None:
    said = lines(job(300, progress=progress), poll_interval=interval)
    assert 4 <= len(said) <= 15
    assert all(later - sooner >= 5 for (sooner, _), (later, _) in itertools.pairwise(said[:-1]))
    assert all(later - sooner <= 66 for (sooner, _), (later, _) in itertools.pairwise(said)), "nobody is left alone"
    assert said[-1][1].startswith("completed")


def test_a_line_says_how_far_and_how_long() -> None:
    step = polling().saw(running(40), START + 30)
    assert step.say == "processing 40 %, 30 s, about 45 s left"
    assert polling().saw(running(), START + 100).say == "processing, 100 s, taking longer than usual"


def test_trouble_is_told_but_not_over_and_over() -> None:
    one = polling()
    said = [one.failed(errors.ServerError("gateway", status=502), START + n).say for n in range(64)]
    told = [n + 1 for n, say in enumerate(said) if say]
    assert told == [1, 2, 4, 8, 16, 32, 64]
    assert "task_1" in str(said[0]) and "The wait goes on" in str(said[0])


def test_who_is_not_answered_at_the_deadline_can_say_why() -> None:
    one = PollingWait("task_1", 0.0, 100.0, 75.0)
    assert one.failed(errors.ServerError("gateway", status=502), 100.0).wait_seconds is None
    assert one.last_word == "no usable answer (gateway (HTTP 502))"


@pytest.mark.parametrize("text", ["insufficient balance (current: 0.013570 USD, required: 0.050000 USD)", "pay"])
def test_a_402_is_told_as_a_matter_of_money_to_the_end(text: str) -> None:
    one = PollingWait("task_1", 0.0, 100.0, 75.0)
    error = errors.InsufficientBalanceError(text, status=402)
    going_on, ended = one.failed(error, 50.0), one.failed(error, 100.0)
    for said in (str(going_on.say), str(ended.say), one.last_word):
        assert "top up" in said and text in said
    assert "task_1 is paid for" in str(going_on.say) and "The wait goes on" in str(going_on.say)
    assert ended.wait_seconds is None and "task_1" in str(ended.say)
