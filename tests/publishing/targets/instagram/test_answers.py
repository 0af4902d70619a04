"""Meta's errors, by code and subcode."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_apimart.publishing.errors import (
    CredentialsError,
    PostRejectedError,
    PublishError,
    TargetLimitError,
    TargetUnavailableError,
)
from airflow_provider_apimart.publishing.exchange import Reply
from airflow_provider_apimart.publishing.targets.instagram.answers import problem_of, refusal, status_code_of

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SECRET = "IGAA-a-token-of-a-test-that-opens-no-door"


def reply(code: int | None, subcode: int | None = None, status: int = 400, **more: Any) -> Reply:
    error = {"message": f"No, {SECRET}.", "code": code, "error_subcode": subcode, "is_transient": False, **more}
    return Reply(status, {}, json.dumps({"error": {**error, "fbtrace_id": "Atrace"}}).encode())


def read(answer: Reply, **more: Any) -> PublishError:
    return refusal(answer, "container", NOW, lambda text: text.replace(SECRET, "***"), **more)


@pytest.mark.parametrize(
    ("code", "subcode", "kind"),
    [
        (190, 463, CredentialsError),
        (190, None, CredentialsError),
        (102, None, CredentialsError),
        (10, None, CredentialsError),
        (200, None, CredentialsError),
        (299, None, CredentialsError),
        (25, 2207050, CredentialsError),
        (9, 2207042, TargetLimitError),
        (4, None, TargetUnavailableError),
        (17, None, TargetUnavailableError),
        (80002, None, TargetUnavailableError),
        (4, 2207051, PostRejectedError),
        (368, None, PostRejectedError),
        (352, 2207026, PostRejectedError),
        (36003, 2207009, PostRejectedError),
        (36004, 2207010, PostRejectedError),
        (1, 2207057, PostRejectedError),
        (100, None, PostRejectedError),
        (100, 2207023, PostRejectedError),
        (100, 33, TargetUnavailableError),
        (-1, 2207001, TargetUnavailableError),
        (-2, 2207003, TargetUnavailableError),
        (-1, 2207053, TargetUnavailableError),
        (24, 2207008, TargetUnavailableError),
        (24, 2207006, TargetUnavailableError),
        (9004, 2207052, TargetUnavailableError),
        (9007, 2207027, TargetUnavailableError),
        (1, None, TargetUnavailableError),
        (2, None, TargetUnavailableError),
        (987654, None, TargetUnavailableError),
    ],
)
def test_an_error_is_what_its_numbers_say(code: int, subcode: int | None, kind: type[PublishError]) -> None:
    error = read(reply(code, subcode))
    assert type(error) is kind
    assert SECRET not in str(error) and "Atrace" in str(error)
    assert error.reason == (f"{code}/{subcode}" if subcode else str(code))


@pytest.mark.parametrize(
    ("code", "subcode", "nothing_done"),
    [
        (1, None, False),
        (-1, 2207001, False),
        (24, 2207008, False),
        (100, 33, False),
        (9007, 2207027, True),
        (-2, 2207020, True),
        (4, None, True),
    ],
)
def test_a_publishing_call_is_undone_only_where_that_is_certain(
    code: int, subcode: int | None, nothing_done: bool
) -> None:
    error = read(reply(code, subcode), publishing=True)
    assert isinstance(error, TargetUnavailableError) and error.nothing_done is nothing_done
    other = read(reply(code, subcode))
    assert isinstance(other, TargetUnavailableError) and other.nothing_done


def test_an_error_that_says_that_it_passes_is_believed() -> None:
    assert isinstance(read(reply(100, None, is_transient=True)), TargetUnavailableError)
    # What it says of the opposite is not: 2207001 comes with false, and passes.
    assert isinstance(read(reply(-1, 2207001, is_transient=False)), TargetUnavailableError)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(500, {}, b"<html>"), TargetUnavailableError),
        (Reply(302, {"location": "https://elsewhere.example.com"}, b""), TargetUnavailableError),
        (Reply(200, {}, b"<html>"), TargetUnavailableError),
        (Reply(200, {}, b"[1]"), TargetUnavailableError),
        (Reply(400, {}, b'{"error": "no"}'), TargetUnavailableError),
        (Reply(429, {"retry-after": "77"}, b""), TargetUnavailableError),
        (Reply(401, {}, b""), CredentialsError),
    ],
)
def test_an_answer_of_no_known_form(answer: Reply, kind: type[PublishError]) -> None:
    error = read(answer, publishing=True)
    assert type(error) is kind
    if answer.status == 429:
        assert error.retry_after_seconds == 77


def test_the_daily_limit_is_asked_about_again_in_an_hour() -> None:
    error = read(reply(9, 2207042))
    assert isinstance(error, TargetLimitError) and error.until == NOW + timedelta(hours=1)
    assert "24 hours back" in str(error)


@pytest.mark.parametrize("header", ["", "[]", "{}", '{"1": [{}]}', '{"1": [{"estimated_time_to_regain_access": 0}]}'])
def test_too_many_calls_without_a_time_wait_five_minutes(header: str) -> None:
    answer = Reply(400, {"x-business-use-case-usage": header}, reply(80002).content)
    assert read(answer).retry_after_seconds == 300


def test_the_upload_host_has_its_own_form() -> None:
    body = {"debug_info": {"retriable": True, "type": "ProcessingFailedError", "message": "busy"}}
    problem = problem_of(Reply(503, {}, json.dumps(body).encode()))
    assert problem.transient and str(problem) == "ProcessingFailedError: busy"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Error: Media upload has failed with error code 2207026", 2207026),
        ("2207001", 2207001),
        ("Error", None),
        ("In Progress: Media is still being processed.", None),
        (None, None),
        ("122070261", None),
    ],
)
def test_a_containers_status_names_a_code(text: Any, code: int | None) -> None:
    assert status_code_of(text) == code
